"""Simulator → daemon → subscriber, through real sockets, at one text, one late text and one protobuf server version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgpack
import pytest

from tests.integration.rig import AAPL, MSFT, Bridge, Subscriber, trading

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = (178, 200, 226)
MARKET = {"action": "BUY", "totalQuantity": 100, "orderType": "MKT"}
DAY = {"durationStr": "1 D", "barSizeSetting": "1 hour", "whatToShow": "TRADES", "useRTH": 0}
NEVER = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 1.0}


@pytest.fixture(scope="module", params=VERSIONS)
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Bridge, Subscriber]]:
    with trading(request.param) as (bridge, sub):
        assert bridge.do("status")["tws"]["serverVersion"] == request.param
        yield bridge, sub
        sub.check_numbers()
        assert [heard for heard in sub.heard if heard.type == "decodeError"] == []
        assert bridge.do("status")["counts"].get("internalErrors", 0) == 0


def test_ticks_come_on_the_topic_that_the_reply_names_without_a_gap(running):
    bridge, _ = running
    sub = bridge.sub("md.AAPL-STK-SMART-USD.")
    result = bridge.do("reqMktData", contract=AAPL)
    assert result["topic"] == "md.AAPL-STK-SMART-USD."
    for tick_type in (1, 2, 4):
        heard = sub.until("tickPrice", lambda data, wanted=tick_type: data["tickType"] == wanted)
        assert heard.topic == "md.AAPL-STK-SMART-USD.tickPrice."
        assert heard.data["price"] > 0
    for _ in range(20):
        sub.until("tickSize")
    assert [heard.body["seq"] for heard in sub.heard] == list(range(1, len(sub.heard) + 1))
    sub.close()


def test_an_order_is_placed_filled_paid_for_and_becomes_a_position(running):
    bridge, sub = running
    bridge.do("reqPositions", client="alpha")
    sub.until("positionEnd")
    placed = bridge.do("placeOrder", client="alpha", key="buy 1", contract=AAPL, order=MARKET)
    assert placed["topic"] == "ord.alpha.buy%201."
    ref = {"owner": "alpha", "key": "buy 1", "orderId": placed["orderId"]}
    wanted = {"openOrder", "orderStatus", "execDetails", "commissionAndFeesReport", "position"}
    seen: dict[str, list] = {}
    for heard in sub:
        if heard.topic.split(".")[0] in ("ord", "exec", "acct") and heard.type in wanted:
            seen.setdefault(heard.type, []).append(heard)
            filled = any(each.data["status"] == "Filled" for each in seen.get("orderStatus", ()))
            bought = any(each.data["position"] == 100 for each in seen.get("position", ()))
            if filled and bought and seen.keys() >= wanted:
                break
    assert {each.topic for each in seen["orderStatus"]} == {"ord.alpha.buy%201.orderStatus."}
    assert {each.topic for each in seen["openOrder"]} == {"ord.alpha.buy%201.openOrder."}
    assert {each.topic for each in seen["execDetails"]} == {"exec.alpha.execDetails."}
    assert {each.topic for each in seen["commissionAndFeesReport"]} == {"exec.alpha.commissionAndFeesReport."}
    assert {each.topic for each in seen["position"]} == {"acct.DU1234567.position."}
    for kind in wanted - {"position"}:
        assert all(each.body["ref"] == ref for each in seen[kind]), kind
    fills = {each.data["execution"]["execId"]: each.data["execution"] for each in seen["execDetails"]}
    assert sum(fill["shares"] for fill in fills.values()) == 100
    assert all(fill["orderRef"] == "alpha/buy 1" for fill in fills.values())
    paid = {each.data["commissionAndFeesReport"]["execId"] for each in seen["commissionAndFeesReport"]}
    assert paid <= set(fills)
    bridge.do("cancelPositions", client="alpha")


def test_a_resting_order_is_cancelled_by_its_key_and_only_once_placed(running):
    bridge, sub = running
    placed = bridge.do("placeOrder", key="rest", contract=AAPL, order=NEVER)
    again = bridge.call("placeOrder", key="rest", contract=AAPL, order=NEVER)
    assert again["dup"] is True
    assert again["result"]["orderId"] == placed["orderId"]
    assert bridge.call("placeOrder", key="rest", contract=MSFT, order=NEVER)["error"]["code"] == "E_KEY_REUSED"
    topic = placed["topic"]
    sub.until("orderStatus", lambda data: data["status"] == "Submitted", topic)
    assert bridge.call("cancelOrder", client="someone else", key="rest")["error"]["code"] == "E_ARG"
    bridge.do("cancelOrder", key="rest")
    assert sub.until("orderStatus", lambda data: data["status"] == "Cancelled", topic).data["filled"] == 0
    assert sub.until("error", topic=topic).data.items() >= {"errorCode": 202, "class": "order", "ends": True}.items()
    opened = [heard for heard in sub.heard if heard.type == "openOrder" and heard.topic.startswith(topic)]
    assert {heard.data["orderId"] for heard in opened} == {placed["orderId"]}


def test_what_an_order_would_cost_is_told_to_who_asked_and_nothing_is_placed(running):
    bridge, sub = running
    asked = bridge.do("whatIfOrder", client="asker", contract=AAPL, order=MARKET)
    answer = sub.until("openOrder", topic=asked["topic"])
    assert asked["topic"] == f"req.asker.{asked['id']}."
    assert float(answer.data["orderState"]["initMarginAfter"]) > 0
    assert bridge.do("reqOpenOrders", client="asker")
    sub.until("openOrderEnd", topic="req.asker.")
    assert not [heard for heard in sub.heard if heard.topic.startswith("ord.asker.")]


def test_a_refused_order_is_told_on_its_topic(running):
    bridge, sub = running
    nothing = {**AAPL, "symbol": "NO-SUCH", "exchange": "X"}
    placed = bridge.do("placeOrder", key="nonsense", contract=nothing, order=MARKET)
    assert sub.until("error", topic=placed["topic"]).body["ref"]["key"] == "nonsense"


def test_contract_details_and_bars_come_to_who_asked(running):
    bridge, sub = running
    asked = bridge.do("reqContractDetails", client="asker", contract=AAPL)
    details = sub.until("contractDetails", topic=asked["topic"])
    assert details.data["contractDetails"]["contract"]["conId"] == 265598
    assert details.body["ref"] == {"client": "asker", "id": asked["id"]}
    sub.until("contractDetailsEnd", topic=asked["topic"])
    asked = bridge.do("reqHistoricalData", client="asker", contract=AAPL, **DAY)
    assert len(sub.until("historicalData", topic=asked["topic"]).data["bars"]) >= 24
    asked = bridge.do("reqContractDetails", client="asker", contract={**AAPL, "symbol": "NO-SUCH"})
    error = sub.until("error", topic=asked["topic"])
    assert error.data.items() >= {"errorCode": 200, "class": "data", "ends": True}.items()


def test_answered_requests_are_over(running):
    bridge, sub = running
    before = bridge.do("status")["requests"]
    asked = bridge.do("reqHistoricalData", contract=MSFT, **DAY)
    sub.until("historicalData", topic=asked["topic"])
    asked = bridge.do("reqContractDetails", contract=MSFT)  # answered after all of the above
    sub.until("contractDetailsEnd", topic=asked["topic"])
    assert bridge.do("status")["requests"] == before


def test_a_snapshot_is_the_last_that_was_seen_of_everything(running):
    bridge, sub = running
    bridge.do("reqMktData", client="other", contract=MSFT)
    sub.until("tickPrice", topic="md.MSFT")
    page = bridge.do("snapshot", prefix="md.")
    assert page["next"] is None
    seqs = {stream["stream"]: stream["seq"] for stream in page["streams"]}
    assert seqs.keys() >= {"md.MSFT-STK-SMART-USD."}
    state = {(topic.decode(), body) for stream in page["streams"] for topic, body in stream["messages"]}
    for heard in sub:  # until everything in it has come
        stream = ".".join(heard.topic.split(".")[:2]) + "."
        if stream in seqs and heard.body["seq"] >= seqs[stream]:
            del seqs[stream]
        if not seqs:
            break
    unpacked = [(topic, msgpack.unpackb(body)) for topic, body in state]
    last: dict = {}
    told = {stream["stream"]: stream["seq"] for stream in page["streams"]}
    for heard in sub.heard:
        stream = ".".join(heard.topic.split(".")[:2]) + "."
        if heard.type.startswith("tick") and "tickType" in heard.data and heard.body["seq"] <= told.get(stream, 0):
            last[heard.topic, heard.data["tickType"]] = heard.body
    expected = sorted((topic, body["seq"]) for (topic, _), body in last.items())
    assert expected
    assert sorted((t, b["seq"]) for t, b in unpacked if "tickType" in b["data"]) == expected


def test_ping_and_status_say_how_it_is(running):
    bridge, _ = running
    assert bridge.do("ping")["pong"] is True
    status = bridge.do("status")
    assert status["tws"]["stage"] == "ready"
    assert status["tws"]["accounts"] == ["DU1234567"]
    assert status["tws"]["farms"]["usfarm"] == "ok"
    assert status["pid"] == bridge.process.pid
    assert status["published"] > 0
    assert status["surplusFields"] == {}


def test_two_clients_share_a_line_and_the_last_cancel_ends_it(running):
    bridge, sub = running
    first = bridge.do("reqTickByTickData", client="one", contract=AAPL, tickType="BidAsk")
    second = bridge.do("reqTickByTickData", client="two", contract=AAPL, tickType="BidAsk")
    assert first["topic"] == second["topic"] == "md.AAPL-STK-SMART-USD+tbt-BidAsk."
    sub.until("tickByTickBidAsk")
    held = bridge.do("status")["requests"]
    bridge.cancel("cancelTickByTickData", first["id"], "one")
    assert bridge.do("status")["requests"] == held
    sub.until("tickByTickBidAsk")
    bridge.cancel("cancelTickByTickData", second["id"], "two")
    assert bridge.do("status")["requests"] == held - 1
    (stream,) = bridge.do("snapshot", prefix=first["topic"])["streams"]
    assert stream["messages"] == []
