"""Unreadable messages of TWS: the clients that are told, and the requests that end."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.ib.notices import BAD_MESSAGE
from ibbridge.inbound.unreadable import Concerned
from tests.support.daemon_core import AAPL, DAY, LIMIT, Heard, Middle

CHAIN: dict[str, Any] = {
    "underlyingSymbol": "AAPL", "futFopExchange": "", "underlyingSecType": "STK", "underlyingConId": 265598
}  # fmt: skip


def spoilt(middle: Middle, name: str, *, admitted: bool = True, **known: Any) -> tuple[Concerned, list[Heard]]:
    """A message comes of which only that can be read: who it is said to concern, and what is published."""
    before = len(middle.published)
    concerned = middle.unreadable.notify(name, known, "strikes.1: no number", 5, admitted=admitted)
    return concerned, [heard for heard in middle.published[before:] if heard.body["type"] != "orderState"]


def error(heard: list[Heard], topic: str, ends: bool | None) -> None:
    (only,) = heard
    assert (only.topic, only.data["errorCode"], only.data["ends"]) == (topic, BAD_MESSAGE, ends)
    assert "strikes.1" in only.data["errorString"]


def later(middle: Middle) -> list[Heard]:
    """Return the messages that are published within the next ten minutes, while TWS is silent."""
    before = len(middle.published)
    for _ in range(60):
        middle.pass_time(10.0)
    return middle.published[before:]


def test_a_history_that_cannot_be_read_is_over_at_once() -> None:
    middle = Middle()
    middle.ask("reqHistoricalData", id=7, contract=AAPL, **DAY)
    number = middle.last_id()
    concerned, heard = spoilt(middle, "historicalData", reqId=number)
    assert concerned == Concerned(number, {"client": "a", "id": 7})
    error(heard, "req.a.7.error.", ends=True)
    assert later(middle) == []  # not that TWS has not answered
    assert middle.topic_of("historicalDataEnd", reqId=number) == "req.a.7.historicalDataEnd."


def test_one_row_of_a_chain_spoils_it_once_and_the_rest_comes_where_it_would() -> None:
    middle = Middle()
    middle.ask("reqSecDefOptParams", id=7, **CHAIN)
    number = middle.last_id()
    topic = "req.a.7.securityDefinitionOptionParameter."
    assert middle.topic_of("securityDefinitionOptionParameter", reqId=number) == topic
    error(spoilt(middle, "securityDefinitionOptionParameter", reqId=number)[1], "req.a.7.error.", ends=True)
    assert spoilt(middle, "securityDefinitionOptionParameter", reqId=number)[1] == []
    assert middle.topic_of("securityDefinitionOptionParameter", reqId=number) == topic
    end = middle.topic_of("securityDefinitionOptionParameterEnd", reqId=number)
    assert end == "req.a.7.securityDefinitionOptionParameterEnd."
    assert later(middle) == []
    assert middle.state("req.") == {"req.a.": []}


def test_what_is_over_gives_back_its_room_and_the_next_is_answered() -> None:
    middle = Middle()
    for asked in range(60):  # of which TWS takes fifty at a time
        middle.ask("reqHistoricalData", id=asked, contract=AAPL, **{**DAY, "barSizeSetting": "1 hour"})
        middle.pass_time(20.0)
        spoilt(middle, "historicalData", reqId=middle.last_id())
    assert len([each for each in middle.link.sent if each.name == "reqHistoricalData"]) == 60


def test_a_head_timestamp_that_cannot_be_read_is_cancelled_as_one_that_can() -> None:
    middle = Middle()
    middle.ask("reqHeadTimeStamp", contract=AAPL, whatToShow="TRADES")
    number = middle.last_id()
    spoilt(middle, "headTimestamp", reqId=number)
    assert middle.link.sent[-1] == ("cancelHeadTimeStamp", {"reqId": number})


@pytest.mark.parametrize("done", [True, False])
def test_a_part_of_historical_ticks_ends_the_request_too(done: bool) -> None:
    middle = Middle()
    ticks: dict[str, Any] = {"startDateTime": "20260101 12:00:00 UTC", "numberOfTicks": 10, "whatToShow": "MIDPOINT"}
    middle.ask("reqHistoricalTicks", id=7, contract=AAPL, **ticks)
    number = middle.last_id()
    error(spoilt(middle, "historicalTicks", reqId=number, done=done)[1], "req.a.7.error.", ends=True)
    assert later(middle) == []


def test_a_stream_goes_on() -> None:
    middle = Middle()
    number = middle.subscribe(id=7)
    concerned, heard = spoilt(middle, "tickPrice", reqId=number)
    assert concerned.ref == {"client": "a", "id": 7, "holders": [{"client": "a", "id": "7"}]}
    error(heard, "md.AAPL-STK-SMART-USD.error.", ends=False)
    assert spoilt(middle, "tickPrice", reqId=number, admitted=False)[1] == []
    assert middle.tick(number).topic == "md.AAPL-STK-SMART-USD.tickPrice."


def test_a_book_of_which_a_row_is_lost_is_emptied_and_asked_for_again() -> None:
    middle = Middle()
    middle.ask("reqMktDepth", id=7, contract=AAPL, numRows=5)
    number = middle.last_id()
    middle.hear("updateMktDepth", reqId=number, position=0, operation=0, side=1, price=1.5, size=2.0)
    middle.link.take()
    _, heard = spoilt(middle, "updateMktDepth", reqId=number)
    assert [(each.topic.split(".")[2], each.data.get("reason")) for each in heard] == [
        ("gap", "unreadable"), ("error", None)
    ]  # fmt: skip
    assert [each.name for each in middle.link.take()] == ["cancelMktDepth", "reqMktDepth"]
    again = middle.tracker._requests  # its rows come under a new number
    assert number not in again
    fresh = max(again)
    row = middle.hear("updateMktDepth", reqId=fresh, position=0, operation=0, side=1, price=1.6, size=2.0)
    assert row is not None
    assert row.topic == "md.AAPL-STK-SMART-USD+depth.updateMktDepth."
    spoilt(middle, "updateMktDepth", reqId=fresh)
    assert middle.link.take() == []  # the second time it waits: TWS may send no other rows


def test_a_stream_that_has_spoken_so_is_not_said_to_be_silent() -> None:
    middle = Middle()
    middle.ask("reqPnL", id=7, account="DU1", modelCode="")
    number = middle.last_id()
    error(spoilt(middle, "pnl", reqId=number)[1], "req.a.7.error.", ends=False)
    assert [each.topic for each in later(middle)] == []


def test_an_answer_without_a_number_ends_the_question_that_it_was_to() -> None:
    middle = Middle()
    middle.ask("reqFamilyCodes", id=7)
    middle.ask("reqScannerParameters", id=8)
    concerned, heard = spoilt(middle, "familyCodes")
    assert concerned == Concerned(None, {"client": "a", "id": 7})
    error(heard, "req.a.7.error.", ends=True)
    middle.ask("reqFamilyCodes", id=9)
    assert middle.topic_of("familyCodes", familyCodes=[]) == "req.a.9.familyCodes."
    assert middle.topic_of("scannerParameters", xml="") == "req.a.8.scannerParameters."
    assert later(middle) == []


def test_of_several_questions_the_one_is_over_whose_argument_the_answer_repeats() -> None:
    middle = Middle()
    middle.ask("reqMarketRule", id=7, marketRuleId=26)
    middle.ask("reqMarketRule", id=8, marketRuleId=32)
    error(spoilt(middle, "marketRule", marketRuleId=32)[1], "req.a.8.error.", ends=True)
    assert middle.topic_of("marketRule", marketRuleId=26, priceIncrements=[]) == "req.a.7.marketRule."


def test_a_list_of_orders_with_one_that_cannot_be_read_is_incomplete() -> None:
    middle = Middle()
    middle.ask("reqCompletedOrders", id=7, apiOnly=False)
    error(spoilt(middle, "completedOrder")[1], "req.a.7.error.", ends=True)
    assert spoilt(middle, "completedOrder")[1] == []
    middle.ask("reqCompletedOrders", id=8, apiOnly=False)
    assert middle.topic_of("completedOrdersEnd") == "req.a.7.completedOrdersEnd."
    assert middle.topic_of("completedOrdersEnd") == "req.a.8.completedOrdersEnd."
    assert later(middle) == []


@pytest.mark.parametrize("name", ["orderStatus", "openOrder"])
def test_the_owner_of_an_order_is_told_that_something_was_said_of_it(name: str) -> None:
    middle = Middle()
    number = middle.place("k")
    concerned, heard = spoilt(middle, name, orderId=number)
    assert concerned == Concerned(number, {"owner": "a", "key": "k", "orderId": number})
    error(heard, "ord.a.k.error.", ends=None)
    assert spoilt(middle, name, orderId=number, admitted=False)[1] == []
    elsewhere = {"clientId": 5} if name == "orderStatus" else {"order": {"clientId": 5}}
    assert spoilt(middle, name, orderId=number, **elsewhere) == (Concerned(number, None), [])


def test_the_owner_of_an_order_is_told_of_an_execution() -> None:
    middle = Middle()
    number = middle.place("k")
    error(
        spoilt(middle, "execDetails", reqId=-1, execution={"orderId": number, "clientId": 1})[1],
        "ord.a.k.error.",
        ends=None,
    )
    assert spoilt(middle, "execDetails", reqId=-1, execution={"orderId": number, "clientId": 5})[1] == []
    assert spoilt(middle, "execDetails", reqId=-1)[1] == []


def test_executions_that_were_asked_for_are_incomplete() -> None:
    middle = Middle()
    middle.ask("reqExecutions", id=7)
    number = middle.last_id()
    error(spoilt(middle, "execDetails", reqId=number)[1], "req.a.7.error.", ends=True)


def test_the_number_of_another_clients_order_is_no_request() -> None:
    middle = Middle()
    middle.ask("reqHistoricalData", id=7, contract=AAPL, **DAY)
    assert spoilt(middle, "openOrder", orderId=middle.last_id()) == (Concerned(middle.last_id(), None), [])


def test_a_what_if_is_over() -> None:
    middle = Middle()
    middle.ask("whatIfOrder", id=7, contract=AAPL, order=LIMIT)
    error(spoilt(middle, "openOrder", orderId=middle.last_id())[1], "req.a.7.error.", ends=True)


def test_an_error_that_cannot_be_read_reaches_who_it_is_about() -> None:
    middle = Middle()
    middle.ask("reqHistoricalData", id=7, contract=AAPL, **DAY)
    error(spoilt(middle, "error", reqId=middle.last_id())[1], "req.a.7.error.", ends=False)
    number = middle.place("k")
    error(spoilt(middle, "error", reqId=number)[1], "ord.a.k.error.", ends=None)


def test_who_wants_positions_is_told() -> None:
    middle = Middle()
    middle.ask("reqPositions", "a", id=7)
    middle.ask("reqPositions", "b", id=8)
    heard = spoilt(middle, "position")[1]
    assert [each.topic for each in heard] == ["req.a.7.error.", "req.b.8.error."]
    assert {each.data["ends"] for each in heard} == {False}


@pytest.mark.parametrize(
    ("name", "known"), [(None, {}), ("nobody", {}), ("historicalData", {}), ("tickPrice", {"reqId": 3})]
)
def test_what_concerns_nobody_is_told_to_nobody(name: Any, known: dict[str, Any]) -> None:
    middle = Middle()
    middle.ask("reqHistoricalData", id=7, contract=AAPL, **DAY)
    assert spoilt(middle, name, **known) == (Concerned(known.get("reqId"), None), [])


@pytest.mark.parametrize("number", [2**31, 2**64, -(2**70), "7", 7.0, True, None, {}])
def test_a_number_that_none_of_ours_can_be_is_none(number: Any) -> None:
    for known in ({"reqId": number}, {"orderId": number}, {"execution": {"orderId": number}}):
        for name in ("historicalData", "openOrder", "execDetails"):
            assert spoilt(Middle(), name, **known) == (Concerned(None, None), [])


def test_the_daemons_own_question_is_over_and_nobody_is_told() -> None:
    middle = Middle()
    number = middle.subscribe()
    middle.tick(number)
    middle.hear("marketDataType", reqId=number, marketDataType=1)
    before = len(middle.published)
    for _ in range(60):
        middle.pass_time(10.0)
    asked = [each.data["reqId"] for each in middle.link.sent if each.name == "reqContractDetails"]
    spoilt(middle, "contractDetails", reqId=asked[-1])  # for the hours of its market
    assert [each for each in middle.published[before:] if each.topic.startswith("req.~hours")] == []
