"""A TWS that is not there, comes late, goes, comes back, stays mute, or talks nonsense."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

import msgpack
import pytest

from ibbridge.codec import Dialect
from tests.integration.rig import AAPL, MSFT, Bridge, Host, Market, Place
from tests.support.daemon_core import LIMIT

TICK = {"tickType": 1, "price": 1.5, "size": 100.0, "attrib": {}}


def tick(number, **changes):
    return {"reqId": number, **TICK, **changes}


# Not there


@pytest.mark.scenario("B1")
def test_without_a_tws_the_daemon_runs_and_says_so_and_connects_when_one_appears():
    with Place() as place, Bridge(place.port) as bridge:
        sub = bridge.sub("sys.")
        down = sub.until("connection", lambda data: data["stage"] == "down" and data["failures"] >= 3)
        assert "refused" in down.data["lastError"].lower()
        assert (down.data["host"], down.data["port"]) == ("127.0.0.1", place.port)
        status = bridge.do("status")["tws"]
        assert status["stage"] in ("down", "resolving", "connecting")
        assert "refused" in status["lastError"].lower()
        refused = bridge.call("reqMktData", contract=AAPL)["error"]
        assert (refused["code"], refused["outcome"]) == ("E_NOT_CONNECTED", "not_sent")
        with Market(place.port):
            ready = sub.until("connection", lambda data: data["stage"] == "ready")
            assert (ready.data["failures"], ready.data["lastError"]) == (0, "")
            bridge.do("reqMktData", contract=AAPL)


def test_after_a_restart_of_tws_streams_flow_again_on_the_same_topics():
    with Place() as place, Bridge(place.port) as bridge:
        with Market(place.port, newest=178):
            sub = bridge.ready()
            for contract in (AAPL, MSFT):
                bridge.do("reqMktData", contract=contract)
            bridge.do("reqPositions")
            before = {key: sub.until("tickPrice", topic=f"md.{key}-") for key in ("AAPL", "MSFT")}
        sub.until("connection", lambda data: data["stage"] == "down")
        with Market(place.port, newest=226):  # and it has been updated meanwhile
            ready = sub.until("connection", lambda data: data["stage"] == "ready")
            assert ready.data["serverVersion"] == 226
            sub.until("positionEnd")
            for key, old in before.items():
                heard = sub.until("tickPrice", topic=f"md.{key}-")
                assert heard.topic == old.topic
                assert heard.body["gen"] == old.body["gen"] + 1
                assert heard.body["seq"] > old.body["seq"]
        sub.check_numbers()


def test_a_position_that_was_closed_while_the_daemon_or_tws_was_away_is_0_and_no_state():
    def say(guest, **held):
        for symbol, size in held.items():
            contract = {**AAPL, "symbol": symbol, "conId": len(symbol) + ord(symbol[0])}
            guest.say("position", account="DU1", contract=contract, position=float(size), avgCost=2.5)
        guest.say("positionEnd")

    def state():
        (stream,) = bridge.do("snapshot", prefix="acct.DU1.")["streams"]
        bodies = [msgpack.unpackb(body) for _, body in stream["messages"]]
        return {body["data"]["contract"]["symbol"]: body.get("flags", []) for body in bodies}

    def closed(symbol):
        data = sub.until("position", lambda data: data["position"] == 0).data
        return (data["contract"]["symbol"], data["avgCost"]) == (symbol, 0.0)

    with Host() as host, Bridge(host.port) as bridge:
        with host.accept() as guest:
            guest.start()
            sub = bridge.ready()
            bridge.do("reqPositions")
            guest.request("reqPositions")
            say(guest, AAPL=100, MSFT=50, IBM=7)
            sub.until("positionEnd")
            assert state() == {"AAPL": [], "MSFT": [], "IBM": []}
        with host.accept() as guest:
            guest.start()
            guest.request("reqPositions")
            say(guest, MSFT=50, IBM=7)
            assert closed("AAPL")
            assert state() == {"MSFT": [], "IBM": []}
            bridge.stop(signal.SIGKILL)
        bridge.start()
        with host.accept() as guest:
            guest.start()
            sub = bridge.ready()
            assert state() == {"MSFT": ["stale"], "IBM": ["stale"]}
            bridge.do("reqPositions")
            guest.request("reqPositions")
            say(guest, MSFT=50)
            assert closed("IBM")
            assert state() == {"MSFT": []}


def test_an_order_id_is_above_what_tws_says_however_early_a_strategy_asks():
    with Host() as host, Bridge(host.port) as bridge:
        order = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}
        with host.accept() as guest:
            guest.greet()
            guest.say("managedAccounts", accountsList="DU1")
            assert bridge.call("placeOrder", key="k", contract=AAPL, order=order)["error"]["outcome"] == "not_sent"
            guest.say("nextValidId", orderId=4711)
            sub = bridge.ready()
            assert bridge.do("placeOrder", key="k", contract=AAPL, order=order)["orderId"] == 4711
            assert guest.request("placeOrder")["orderId"] == 4711
            guest.say("error", reqId=4711, errorTime=0, errorCode=201, errorString="no", advancedOrderRejectJson="")
            assert sub.until("error").topic == "ord.me.k.error."


def test_who_waits_for_an_answer_is_told_when_the_connection_is_lost():
    with Host() as host, Bridge(host.port) as bridge:
        with host.accept() as guest:
            guest.start()
            sub = bridge.ready()
            question = bridge.do("reqContractDetails", contract=AAPL)
            asked = bridge.do("whatIfOrder", contract=AAPL, order=LIMIT)
            guest.request("placeOrder")
        error = sub.until("error", topic=asked["topic"])
        assert error.data["errorCode"] == 504
        assert error.body["ref"]["id"] == asked["id"]
        with host.accept() as guest:
            guest.start()
            again = guest.request("reqContractDetails")
            guest.say("contractDetailsEnd", reqId=again["reqId"])
            sub.until("contractDetailsEnd", topic=question["topic"])


def test_a_host_name_that_is_none_is_an_error_of_the_connection_and_not_of_the_daemon():
    with Bridge(1, tws__host="a" * 64) as bridge:
        sub = bridge.sub("sys.")
        down = sub.until("connection", lambda data: data["stage"] == "down" and data["failures"] >= 2)
        assert down.data["lastError"]


# There, and not well


@pytest.mark.scenario("B2")
def test_a_tws_that_accepts_and_says_nothing_is_given_up_after_the_deadline():
    with Host() as host, Bridge(host.port, tws__handshake_timeout=0.2) as bridge:
        sub = bridge.sub("sys.")
        for failures in (1, 2):
            with host.accept() as guest:
                down = sub.until("connection", lambda data: data["stage"] == "down")
                assert "dialog" in down.data["lastError"]
                assert down.data["failures"] == failures
                guest.closed()


@pytest.mark.scenario("B4")
def test_a_tws_that_never_says_its_accounts_is_given_up_after_the_deadline():
    with Host() as host, Bridge(host.port, tws__start_timeout=0.2) as bridge:
        sub = bridge.sub("sys.")
        with host.accept() as guest:
            guest.greet()
            with contextlib.suppress(ConnectionError):  # if it is given up by now
                guest.say("nextValidId", orderId=1)
            assert bridge.call("reqCurrentTime")["error"]["code"] == "E_NOT_CONNECTED"
            down = sub.until("connection", lambda data: data["stage"] == "down")
            assert "logged in" in down.data["lastError"]
            guest.closed()


@pytest.mark.scenario("B3")
def test_a_tws_that_accepts_and_closes_is_tried_again_and_counted():
    with Host() as host, Bridge(host.port) as bridge:
        sub = bridge.sub("sys.")
        for number in range(1, 4):
            with host.accept() as guest:
                if number == 3:
                    guest.greet()
            down = sub.until("connection", lambda data: data["stage"] == "down")
            assert "reset" in down.data["lastError"].lower() or "closed" in down.data["lastError"].lower()
            assert down.data["failures"] == number


@pytest.mark.parametrize("version", [178, 226])
def test_a_tws_that_splits_every_byte(version):
    with Host() as host, Bridge(host.port) as bridge, host.accept(version) as guest:
        guest.step = 1
        guest.start()
        sub = bridge.ready()
        bridge.do("reqMktData", contract=AAPL)
        number = guest.request("reqMktData")["reqId"]
        for price in range(50):
            guest.say("tickPrice", **tick(number, price=float(price)))
        for price in range(50):
            assert sub.until("tickPrice").data["price"] == price


@pytest.mark.scenario("B8")
def test_the_time_of_the_greeting_may_be_in_any_bytes():
    dialect = Dialect.server(200)
    with Host() as host, Bridge(host.port) as bridge:
        sub = bridge.sub("sys.")
        for time in (b"20260105 12:00:00 \xd6\xd0\xb9\xfa", b"20260105 12:00:00 Mitteleurop\xe4ische Zeit", b""):
            with host.accept() as guest:
                guest.frame(b"200\0" + time + b"\0")
                guest.raw(dialect.put("managedAccounts", {"accountsList": "DU1"}))
                guest.raw(dialect.put("nextValidId", {"orderId": 1}))
                ready = sub.until("connection", lambda data: data["stage"] == "ready")
                assert ready.data["connectionTime"][:8] == time[:8].decode()


def test_a_host_that_speaks_before_it_is_spoken_to_is_understood():
    dialect = Dialect.server(200)
    early = len(b"200\0now\0").to_bytes(4, "big") + b"200\0now\0"
    early += dialect.put("managedAccounts", {"accountsList": "DU1"}) + dialect.put("nextValidId", {"orderId": 7})
    with Host() as host, Bridge(host.port) as bridge, host.accept() as guest:
        guest.raw(early)
        sub = bridge.ready()
        bridge.do("reqCurrentTime")
        guest.request("reqCurrentTime")
        assert [each for each in sub.heard if each.type == "decodeError"] == []


@pytest.mark.scenario("B10")
def test_a_version_that_was_not_offered_or_a_redirect_is_a_clear_refusal():
    with Host() as host, Bridge(host.port) as bridge:
        sub = bridge.sub("sys.")
        for answer in (b"-200\0gateway.example:4001\0", b"100\0now\0", b"9999\0now\0"):
            with host.accept() as guest:
                guest.frame(answer)
                down = sub.until("connection", lambda data: data["stage"] == "down")
                assert "HandshakeError" in down.data["lastError"]
                guest.closed()


# Nonsense


@pytest.fixture(scope="module", params=[200, 226])
def talking(request):
    """A TWS that the test plays, a daemon that has subscribed to AAPL, and its number there."""
    with Host() as host, Bridge(host.port) as bridge, host.accept(request.param) as guest:
        guest.start()
        sub = bridge.ready()
        bridge.do("reqMktData", contract=AAPL)
        yield bridge, guest, sub, guest.request("reqMktData")["reqId"]
        sub.check_numbers()


TEXT = [
    (b"1\x006\x001\x00not a number\x001.5\x00100\x000\x00", 1, "tickPrice"),
    (b"1\x006\x001\x00", 1, "tickPrice"),
    (b"9999\x00what\x00", 9999, None),
    (b"", None, None),
    (b"\xff\xfe\xfd", None, None),
    (b"\x00" * 100, None, None),
    (b"x" * 100_000, None, None),
]
RAW = [
    (b"\0\0\0\xc9\xff\xff", 1, "tickPrice"),
    (b"\0\0\0\1\xff", 1, "tickPrice"),
    (b"\0\0\xff\xff1\0", 0xFFFF - 200, None),
    (b"\0\0", None, None),
    (b"", None, None),
    (b"\xff" * 100_000, 0xFFFFFFFF - 200, None),
]


@pytest.mark.scenario("B36")
def test_a_message_that_cannot_be_read_is_published_with_its_bytes_and_the_stream_goes_on(talking):
    bridge, guest, sub, asked = talking
    before = bridge.do("status")["counts"].get("decodeErrors", 0)
    cases = TEXT if guest.acceptor.version == 200 else RAW
    for payload, number, name in cases:
        guest.frame(payload)
        guest.say("tickPrice", **tick(asked))
        error = sub.until("decodeError")
        assert error.topic == "sys.tws.decodeError."
        assert error.data["raw"] == payload
        assert (error.data["id"], error.data["name"]) == (number, name)
        assert error.data["reason"]
        assert sub.until("tickPrice").topic == "md.AAPL-STK-SMART-USD.tickPrice."
    status = bridge.do("status")
    assert status["counts"]["decodeErrors"] == before + len(cases)
    assert (status["tws"]["stage"], status["tws"]["failures"]) == ("ready", 0)


@pytest.mark.parametrize(("encoding", "said"), [("utf-8", "Konto für X"), ("gbk", "中国标准时间")])
def test_an_error_in_the_code_page_of_the_host_is_published_as_text(encoding, said):
    raw = said.encode("cp1252" if encoding == "utf-8" else encoding)
    with Host() as host, Bridge(host.port, tws__encoding=encoding) as bridge, host.accept(178) as guest:
        guest.start()
        sub = bridge.ready()
        guest.frame(b"4\x002\x00-1\x00399\x00" + raw + b"\x00\x00")
        assert sub.until("error", lambda data: data["errorCode"] == 399).data["errorString"] == said


DAY: dict[str, Any] = {"durationStr": "1 D", "barSizeSetting": "1 day", "whatToShow": "TRADES"}
CHAIN: dict[str, Any] = {
    "underlyingSymbol": "AAPL", "futFopExchange": "", "underlyingSecType": "STK", "underlyingConId": 265598
}  # fmt: skip


def fields(version, number, *rest):
    head = b"%d\0" % number if version < 201 else number.to_bytes(4, "big")
    return head + b"".join(f"{each}".encode() + b"\0" for each in rest)


@pytest.mark.parametrize("version", [178, 200, 226])
def test_who_asked_is_told_at_once_of_an_answer_that_cannot_be_read(version):
    with Host() as host, Bridge(host.port) as bridge, host.accept(version) as guest:
        guest.start()
        sub = bridge.ready()
        history = bridge.do("reqHistoricalData", contract=AAPL, **DAY)["id"]
        number = guest.request("reqHistoricalData")["reqId"]
        span = ("20180401", "20180424") if version < 196 else ()
        bars = ("20180423", 1, 1, 1, 1, 10, 1, 3, "20180424", "?", "?", "?", "?", -1, "-1.00", -1)
        guest.frame(fields(version, 17, number, *span, 2, *bars))
        told = sub.until("error", topic=f"req.me.{history}.")
        assert (told.data["errorCode"], told.data["ends"]) == (508, True)
        about = sub.until("decodeError").data
        assert (about["field"], about["reqId"], about["ref"]) == (
            "bars.1.open", number, {"client": "me", "id": history}
        )  # fmt: skip

        chain = bridge.do("reqSecDefOptParams", **CHAIN)["id"]
        number = guest.request("reqSecDefOptParams")["reqId"]
        for strike in (11.0, "?", 11.0):
            of = ("CBOE", 265598, "AAPL", 100, 1, "20260101", 3, 10.0, strike, 12.0)
            guest.frame(fields(version, 75, number, *of))
        guest.say("securityDefinitionOptionParameterEnd", reqId=number)
        told = sub.until("error", topic=f"req.me.{chain}.")
        assert (told.data["errorCode"], told.data["ends"]) == (508, True)
        assert sub.until("decodeError").data["field"] == "strikes.1"
        end = sub.until("securityDefinitionOptionParameterEnd")
        assert end.topic == f"req.me.{chain}.securityDefinitionOptionParameterEnd."
        sub.check_numbers()


def test_data_of_requests_that_nobody_here_made_is_published(talking):
    _, guest, sub, _ = talking
    guest.say("tickPrice", **tick(77))
    assert sub.until("tickPrice", lambda data: data["reqId"] == 77).topic == "md.~77.tickPrice."


@pytest.mark.scenario("B35")
def test_surplus_fields_are_counted_and_the_known_ones_published(talking):
    bridge, guest, sub, _ = talking
    head = b"" if guest.acceptor.version == 200 else b"\0\0\0\1"
    guest.frame((head or b"1\x00") + b"6\x0077\x001\x00123.5\x00100\x000\x00new\x00newer\x00")
    assert sub.until("tickPrice", lambda data: data["price"] == 123.5)
    assert bridge.do("status")["surplusFields"] == {"tickPrice": 2}


@pytest.mark.scenario("B37")
def test_a_length_that_no_message_has_ends_the_connection_and_the_next_is_clean():
    with Host() as host, Bridge(host.port) as bridge:
        with host.accept() as guest:
            guest.start()
            sub = bridge.ready()
            bridge.do("reqMktData", contract=AAPL)
            number = guest.request("reqMktData")["reqId"]
            guest.say("tickPrice", **tick(number))
            guest.raw(b"\xff\xff\xff\xff garbage")
            guest.closed()
        down = sub.until("connection", lambda data: data["stage"] == "down")
        assert "FramingError" in down.data["lastError"]
        with host.accept() as guest:
            guest.start()
            again = guest.request("reqMktData")["reqId"]
            assert again > number
            guest.say("tickPrice", **tick(again, price=2.5))
            while (heard := sub.until("tickPrice")).data["price"] != 2.5:
                pass
            assert heard.topic == "md.AAPL-STK-SMART-USD.tickPrice."
        assert [each for each in sub.heard if each.type == "decodeError"] == []
        sub.check_numbers()


def test_a_number_that_msgpack_has_no_room_for_is_published_as_undecodable():
    position = "61\x003\x00DU1\x00{0}\x00AAPL\x00STK\x00\x000\x00\x00\x00SMART\x00USD\x00AAPL\x00NMS\x001\x002\x00"
    with Host() as host, Bridge(host.port) as bridge, host.accept(178) as guest:
        guest.start()
        sub = bridge.ready()
        for number in ("9" * 30, "-" + "9" * 30, "18446744073709551616"):
            for text in (
                "1\x006\x00{0}\x001\x001.5\x00100\x000\x00",  # a tick's reqId
                "1\x006\x0077\x00{0}\x001.5\x00100\x000\x00",  # its type
                "9\x001\x00{0}\x00",  # the next order id
                "49\x001\x00{0}\x00",  # the time
                "4\x002\x00{0}\x00{0}\x00text\x00\x00",  # an error
                position,
            ):
                guest.frame(text.format(number).encode())
                assert sub.until("decodeError").data["reason"]
        guest.say("tickPrice", **tick(77))
        sub.until("tickPrice", lambda data: data["reqId"] == 77 and data["tickType"] == 1)
        order = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}
        assert bridge.do("placeOrder", key="k", contract=AAPL, order=order)["orderId"] < 2**31
        sub.check_numbers()


def test_a_flood_of_garbage_leaves_the_daemon_alive():
    with Host() as host, Bridge(host.port, log__level="error") as bridge, host.accept(178) as guest:
        guest.start()
        sub = bridge.ready()
        for number in range(2000):
            guest.frame(b"%d\0" % (number % 120) + bytes([number % 256]) * (number % 40) + b"\0" * (number % 7))
        guest.say("tickPrice", **tick(77, price=123.0))
        sub.until("tickPrice", lambda data: data["price"] == 123.0)
        sub.check_numbers()
        assert bridge.do("ping")["pong"]


def test_of_an_outage_the_log_has_its_beginning_and_its_end_and_not_each_try():
    with Place() as place, Bridge(place.port, tws__reconnect_max=0.05) as bridge:
        sub = bridge.sub("sys.")
        sub.until("connection", lambda data: data["stage"] == "down" and data["failures"] >= 12)
        with Host(place.port) as host, host.accept() as guest:
            guest.start()
            sub.stage("ready")
        sub.until("connection", lambda data: data["stage"] == "down" and data["failures"] >= 3)
        lines = [line for line in bridge.says("ready again").splitlines() if "TWS at" in line]
    levels = [(line.split()[2], line.split(": ", 1)[1]) for line in lines]
    first, ready, *later = levels
    assert first[0] == "WARNING"
    assert "connection refused" in first[1]
    assert ready[0] == "WARNING"
    assert "ready again, after" in ready[1]
    assert [level for level, _ in later] == ["WARNING"] * len(later)
    assert len(later) <= 2, "it was closed, and is refused"
