"""From a command to what TWS is sent: ids, sharing, cancels, reconnections, orders."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ibbridge.codec.messages import OUTBOUND, REQUESTS
from ibbridge.codec.schema import REQUEST_IDS, Kind
from ibbridge.config.model import RESTRICTED
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests import command_index
from ibbridge.requests.request import CommandId
from tests.support.daemon_core import AAPL, DAY, FIRST_ID, LIMIT, MSFT, Middle, refusal


@pytest.fixture
def middle():
    return Middle()


def sent(middle):
    """The requests that have gone out, with their numbers, since the last look."""
    return [
        (name, next((data[each] for each in ("reqId", "tickerId", "orderId") if each in data), None))
        for name, data in middle.link.take()
    ]


# Ids


@pytest.mark.scenario("B32")
def test_numbers_of_requests_and_orders_are_one_row(middle):
    middle.subscribe("a", 1)
    middle.place("k")
    middle.ask("reqContractDetails", contract=AAPL)
    assert [number for _, number in sent(middle)] == [FIRST_ID, FIRST_ID + 1, FIRST_ID + 2]


@pytest.mark.scenario("B41")
def test_ids_never_go_back_whatever_tws_says_after_its_restart(middle):
    middle.place("k1")
    middle.lost()
    middle.connect(first_id=1)
    assert middle.place("k2") == FIRST_ID + 1


@pytest.mark.scenario("B41")
def test_ids_go_up_to_what_tws_says(middle):
    middle.lost()
    middle.connect(first_id=9000)
    assert middle.place("k") == 9000
    middle.sender.ids.raise_to(12_345)
    assert middle.place("k2") == 12_346


@pytest.mark.parametrize("absurd", [2**31 - 1, 2**31 - 2, 2**31, 10**12, 10**40, -1, -(10**40), None])
def test_a_number_that_leaves_no_room_for_ids_is_not_believed(middle, absurd):
    middle.sender.ids.raise_to(absurd)
    assert middle.place("k") == FIRST_ID


@pytest.mark.scenario("B41")
def test_a_refused_request_may_use_up_an_id_but_never_gives_one_twice(middle):
    seen = set()
    for number in range(20):
        middle.link.takes = number % 3 != 0
        if not middle.link.takes:
            assert refusal("E_BUSY", middle.place, f"k{number}").outcome == "not_sent"
            continue
        given_now = middle.place(f"k{number}")
        assert given_now not in seen
        seen.add(given_now)
    assert [number for _, number in sent(middle)] == sorted(seen)


# Sharing


@pytest.mark.scenario("B27")
def test_two_clients_of_one_stream_are_one_line_and_the_last_cancel_goes_out(middle):
    number = middle.subscribe("a", 1)
    assert middle.ask("reqMktData", "b", 1, contract=AAPL)["topic"] == "md.AAPL-STK-SMART-USD."
    assert sent(middle) == [("reqMktData", number)]
    middle.cancel("cancelMktData", 1, "a")
    assert sent(middle) == []
    assert middle.tick(number).topic == "md.AAPL-STK-SMART-USD.tickPrice."
    middle.cancel("cancelMktData", 1, "b")
    assert sent(middle) == [("cancelMktData", number)]
    assert len(middle.tracker) == 0


def test_two_requests_with_the_same_arguments_on_one_topic_are_two_streams(middle):
    for number, name in enumerate(("reqPositionsMulti", "reqPnL")):
        middle.ask(name, "a", number, account="DU1", modelCode="")
    middle.requests.execute("cancelPnL", {"id": 1}, CommandId("a", 2), None)
    assert [name for name, _ in sent(middle)] == ["reqPositionsMulti", "reqPnL", "cancelPnL"]


def test_one_client_may_hold_a_stream_twice(middle):
    number = middle.subscribe("a", 1)
    middle.ask("reqMktData", "a", 2, contract=AAPL)
    middle.cancel("cancelMktData", 1)
    middle.cancel("cancelMktData", 2)
    assert sent(middle) == [("reqMktData", number), ("cancelMktData", number)]


def test_the_order_of_a_maps_keys_does_not_make_a_second_line(middle):
    middle.ask("reqMktData", "a", 1, contract=AAPL, genericTickList="233")
    other = dict(reversed(AAPL.items()))
    middle.requests.execute("reqMktData", {"genericTickList": "233", "contract": other}, CommandId("b", 1), None)
    assert len(sent(middle)) == 1


@pytest.mark.parametrize(
    "other", [{"contract": MSFT}, {"genericTickList": "233"}, {"contract": {**AAPL, "primaryExchange": "NASDAQ"}}]
)
def test_other_arguments_are_another_line(middle, other):
    middle.subscribe("a", 1)
    middle.ask("reqMktData", "b", 1, **{"contract": AAPL, **other})
    assert len(sent(middle)) == 2


@pytest.mark.parametrize("flag", ["snapshot", "regulatorySnapshot"])
def test_a_snapshot_is_never_shared_and_asked_again_only_if_it_costs_nothing(middle, flag):
    middle.ask("reqMktData", "a", 1, contract=AAPL, **{flag: True})
    middle.ask("reqMktData", "b", 1, contract=AAPL, **{flag: True})
    middle.link.go_on(2)  # of regulatory ones TWS takes one a second
    assert len(sent(middle)) == 2
    unanswered = middle.reconnect()
    costs = flag == "regulatorySnapshot"
    assert sorted(route.client for route in unanswered) == (["a", "b"] if costs else [])
    assert len(sent(middle)) == (0 if costs else 2)


def test_one_shots_are_never_shared(middle):
    for client in "ab":
        middle.ask("reqContractDetails", client, 1, contract=AAPL)
    assert len(sent(middle)) == 2


def test_a_stream_that_ended_in_an_error_is_asked_for_anew(middle):
    number = middle.subscribe("a", 1)
    middle.error(number, 354)
    assert middle.subscribe("b", 1) != number
    middle.cancel("cancelMktData", 1, "a")
    assert [name for name, _ in sent(middle)] == ["reqMktData", "reqMktData"], "there is nothing to cancel"
    middle.cancel("cancelMktData", 1, "b")
    assert [name for name, _ in sent(middle)] == ["cancelMktData"]


def test_the_cancel_carries_what_it_shares_with_the_request(middle):
    middle.ask("reqMktDepth", "a", 1, contract=AAPL, isSmartDepth=True)
    middle.link.take()
    middle.cancel("cancelMktDepth", 1)
    assert middle.link.sent[0].data["isSmartDepth"] is True


# Commands with an id that is in use


def test_the_same_id_and_request_again_is_the_same_answer_and_no_second_line(middle):
    first = middle.ask("reqMktData", "a", 7, contract=AAPL)
    assert middle.ask("reqMktData", "a", 7, contract=AAPL) == {**first, "dup": True}
    assert len(sent(middle)) == 1


def test_the_same_id_for_another_request_is_refused_while_the_first_is_under_way(middle):
    middle.ask("reqContractDetails", "a", 7, contract=AAPL)
    refusal("E_ID_REUSED", middle.ask, "reqMktData", "a", 7, contract=AAPL)
    refusal("E_ID_REUSED", middle.ask, "reqContractDetails", "a", 7, contract=MSFT)
    middle.ask("reqContractDetails", "b", 7, contract=MSFT)
    middle.hear("contractDetailsEnd", reqId=FIRST_ID)
    middle.ask("reqContractDetails", "a", 7, contract=MSFT)
    assert len(sent(middle)) == 3


# Cancels


@pytest.mark.parametrize("named", [2, "01", None, True, 1.0, [], {}, "x" * 1000, b"1"])
def test_a_cancel_of_what_there_is_not_is_refused(middle, named):
    middle.subscribe("a", 1)
    error = refusal("E_ARG", middle.cancel, "cancelMktData", named)
    assert len(str(error)) < 300
    assert len(middle.tracker) == 1


def test_a_number_and_its_digits_are_one_id_as_they_are_in_a_topic(middle):
    middle.subscribe("a", 7)
    refusal("E_ID_REUSED", middle.ask, "reqMktData", "a", "7", contract=MSFT)
    middle.link.take()
    middle.cancel("cancelMktData", "7")
    assert [name for name, _ in sent(middle)] == ["cancelMktData"]


def test_a_cancel_may_come_again(middle):
    middle.subscribe("a", 1)
    middle.cancel("cancelMktData", 1)
    middle.link.take()
    assert middle.cancel("cancelMktData", 1) == {"dup": True}
    assert sent(middle) == []


@pytest.mark.parametrize("name", ["reqFamilyCodes", "whatIfOrder"])
def test_a_command_that_comes_again_while_its_answer_is_under_way_is_sent_once(middle, name):
    args: dict[str, Any] = {"contract": AAPL, "order": LIMIT} if name == "whatIfOrder" else {}
    topic = middle.ask(name, "a", 5, **args)["topic"]
    assert middle.ask(name, "a", 5, **args).items() >= {"topic": topic, "dup": True}.items()
    assert len(sent(middle)) == 1
    refusal("E_ID_REUSED", middle.ask, "reqContractDetails", "a", 5, contract=AAPL)


def test_a_cancel_of_another_kind_or_of_another_client_is_refused(middle):
    middle.subscribe("a", 1)
    refusal("E_ARG", middle.cancel, "cancelMktDepth", 1)
    refusal("E_ARG", middle.cancel, "cancelMktData", 1, "b")


def test_a_cancel_names_everything_that_is_wrong(middle):
    error = refusal("E_ARG", middle.ask, "cancelMktData", reqId=500, contract=AAPL)
    assert len(error.faults) == 3


def test_a_cancel_that_tws_does_not_take_changes_nothing_and_may_be_tried_again(middle):
    number = middle.subscribe("a", 1)
    middle.link.takes = False
    assert refusal("E_BUSY", middle.cancel, "cancelMktData", 1).outcome == "not_sent"
    middle.tick(number)
    assert len(middle.state("md.")["md.AAPL-STK-SMART-USD."]) == 1
    middle.link.takes = True
    middle.cancel("cancelMktData", 1)
    assert sent(middle) == [("reqMktData", number), ("cancelMktData", number)]


@pytest.mark.parametrize("version", [178, 200, 214])
@pytest.mark.parametrize(
    ("ask", "args", "cancel"),
    [
        ("reqContractDetails", {}, "cancelContractData"),
        ("reqHistoricalTicks", {"numberOfTicks": 1, "whatToShow": "TRADES"}, "cancelHistoricalTicks"),
    ],
)
def test_a_cancel_that_this_server_version_does_not_have_is_refused(version, ask, args, cancel):
    middle = Middle(version)
    middle.ask(ask, "a", 1, contract=AAPL, **args)
    assert "needs server version 215" in str(refusal("E_ARG", middle.cancel, cancel, 1))
    assert len(middle.tracker) == 1


def test_a_cancel_while_there_is_no_connection_is_accepted_and_the_stream_is_not_asked_for_again(middle):
    middle.subscribe("a", 1)
    middle.link.take()
    middle.lost()
    middle.cancel("cancelMktData", 1)
    middle.connect()
    assert sent(middle) == []


# Reconnections


def test_streams_are_asked_for_again_under_new_numbers_on_the_same_topics(middle):
    old = middle.subscribe("a", 1)
    middle.ask("reqRealTimeBars", "a", 2, contract=AAPL, whatToShow="TRADES")
    middle.ask("reqHistoricalData", "a", 3, contract=AAPL, keepUpToDate=True, **DAY)
    middle.ask("reqPnL", "a", 4, account="DU1")
    middle.link.take()
    assert middle.reconnect() == []
    names = ["reqPnL", "reqMktData", "reqRealTimeBars", "reqHistoricalData"]
    again = sent(middle)
    assert [name for name, _ in again] == names
    assert [number for _, number in again] == [old + 4, old + 5, old + 6, old + 7]
    heard = middle.tick(old + 5)
    assert (heard.topic, heard.body["gen"]) == ("md.AAPL-STK-SMART-USD.tickPrice.", 2)
    middle.cancel("cancelMktData", 1)
    assert sent(middle) == [("cancelMktData", old + 5)]


def test_who_shared_a_stream_still_does(middle):
    middle.subscribe("a", 1)
    middle.ask("reqMktData", "b", 1, contract=AAPL)
    middle.link.take()
    middle.reconnect()
    assert len(sent(middle)) == 1
    middle.ask("reqMktData", "c", 1, contract=AAPL)
    middle.cancel("cancelMktData", 1, "a")
    middle.cancel("cancelMktData", 1, "b")
    assert sent(middle) == []
    middle.cancel("cancelMktData", 1, "c")
    assert [name for name, _ in sent(middle)] == ["cancelMktData"]


def test_questions_are_put_once_more_and_what_is_no_mere_question_is_not(middle):
    middle.ask("reqContractDetails", "a", 1, contract=AAPL)
    middle.ask("reqCurrentTime", "b", 2)
    middle.ask("whatIfOrder", "c", 3, contract=AAPL, order=LIMIT)
    middle.place("k")
    middle.link.take()
    assert [(route.client, route.id) for route in middle.lost()] == [("c", 3)]
    middle.connect()
    assert [name for name, _ in sent(middle)] == ["reqContractDetails", "reqCurrentTime"], "least of all an order"
    assert sorted((route.client, route.id) for route in middle.lost()) == [("a", 1), ("b", 2)]
    middle.connect()
    assert sent(middle) == [], "what was asked again and is lost again is over"
    assert middle.lost() == []


def test_a_cancel_between_the_handshake_and_ready_counts(middle):
    middle.subscribe("a", 1)
    middle.lost()
    middle.link.take()
    middle.begin()
    middle.cancel("cancelMktData", 1)
    middle.ready()
    assert sent(middle) == []


def test_what_is_over_is_forgotten_in_time_and_what_is_not_is_not(middle, monkeypatch):
    monkeypatch.setattr(command_index, "MOST_REMEMBERED", 10)
    number = middle.subscribe("a", "held")
    for each in range(50):
        middle.ask("reqContractDetails", "a", each, contract=AAPL)
        middle.hear("contractDetailsEnd", reqId=middle.last_id())
        middle.ask("reqRealTimeBars", "a", f"bars{each}", contract=AAPL, whatToShow="TRADES")
        middle.error(middle.last_id(), 420)
    assert len(middle.subscriptions) == 1
    assert len(middle.requests._requests._index._requests) <= 13
    middle.link.take()
    middle.cancel("cancelMktData", "held")
    assert sent(middle) == [("cancelMktData", number)]


def test_a_stream_that_is_given_up_leaves_no_trace_in_the_table(middle):
    for each in range(50):
        middle.ask("reqHistoricalData", "a", each, contract=AAPL, keepUpToDate=True, **DAY)
        middle.cancel("cancelHistoricalData", each)
        middle.subscribe("a", f"s{each}")
        middle.cancel("cancelMktData", f"s{each}")
    table, index = middle.subscriptions, middle.requests._requests._index
    assert (len(table), len(table._of), len(table._on), len(index._requests)) == (0, 0, 0, 0)


def test_a_connection_that_fails_before_it_is_ready_loses_no_stream(middle):
    middle.subscribe("a", 1)
    middle.link.take()
    for _ in range(3):
        middle.lost()
        middle.begin()
    middle.lost()
    middle.connect()
    assert [name for name, _ in sent(middle)] == ["reqMktData"]


def test_a_connection_that_dies_while_streams_are_asked_for_loses_none(middle):
    middle.subscribe("a", 1)
    middle.ask("reqPositions", "a", 2)
    middle.lost()
    middle.link.take()
    middle.link.takes = False
    middle.connect()
    middle.lost()
    middle.link.takes = True
    middle.connect()
    assert [name for name, _ in sent(middle)] == ["reqPositions", "reqMktData"]


def test_what_tws_did_not_take_is_asked_for_as_soon_as_it_does(middle):
    middle.subscribe("a", 1)
    middle.ask("reqPositions", "a", 2)
    middle.lost()
    middle.link.take()
    middle.link.takes = False
    middle.connect()
    assert middle.pass_time(1) == []
    middle.link.takes = True
    assert [each.name for each in middle.pass_time(1)] == ["reqPositions", "reqMktData"]
    assert middle.pass_time(1) == []


def test_a_stream_that_an_older_tws_does_not_have_is_given_up_and_said_so(middle):
    middle.ask("reqMktData", "a", 1, contract=AAPL, mktDataOptions=[{"tag": "x", "value": "y"}])
    middle.lost()
    middle.link.take()
    middle.link.speak(178)
    middle.connect()
    (error,) = [heard for heard in middle.published if heard.body["type"] == "error"]
    assert (error.topic, error.data["ends"]) == ("md.AAPL-STK-SMART-USD.error.", True)
    assert "mktDataOptions" in error.data["errorString"]
    middle.reconnect()
    assert sent(middle) == []


# Requests that a connection has once


def test_positions_are_asked_for_by_each_and_cancelled_by_the_last(middle):
    for client in "ab":
        assert middle.ask("reqPositions", client)["topic"] == "acct."
    middle.ask("cancelPositions", "a")
    assert sent(middle) == [("reqPositions", None)] * 2
    middle.ask("cancelPositions", "b")
    assert sent(middle) == [("cancelPositions", None)]


def test_who_holds_no_positions_does_not_cancel_those_of_others(middle):
    middle.ask("reqPositions", "a")
    middle.ask("cancelPositions", "b")
    assert [name for name, _ in sent(middle)] == ["reqPositions"]


@pytest.mark.scenario("B26")
def test_a_second_account_is_refused_while_another_client_has_the_updates_of_the_first(middle):
    assert middle.ask("reqAccountUpdates", "a", subscribe=True, acctCode="DU1")["topic"] == "acct.DU1."
    assert "a has the updates of account DU1" in str(
        refusal("E_BUSY", middle.ask, "reqAccountUpdates", "b", subscribe=True, acctCode="DU2")
    )
    middle.ask("reqAccountUpdates", "b", subscribe=True, acctCode="DU1")
    middle.ask("reqAccountUpdates", "a", subscribe=False, acctCode="DU1")
    middle.link.take()
    middle.reconnect()
    assert [name for name, _ in sent(middle)] == ["reqAccountUpdates"]
    middle.ask("reqAccountUpdates", "b", subscribe=False, acctCode="DU1")
    assert middle.link.take()[0].data == {"subscribe": False, "acctCode": "DU1"}
    middle.reconnect()
    assert sent(middle) == []


@pytest.mark.parametrize(
    ("command", "one", "other", "said"),
    [
        ("reqMktDepth", {"numRows": 5}, {"numRows": 10}, "numRows 5"),
        ("reqTickByTickData", {"tickType": "Last"}, {"tickType": "Last", "numberOfTicks": 9}, "numberOfTicks left out"),
    ],
)
def test_what_would_be_counted_twice_is_not_asked_for_twice_in_two_ways(middle, command, one, other, said):
    topic = middle.ask(command, "a", 1, contract=AAPL, **one)["topic"]
    error = refusal("E_BUSY", middle.ask, command, "b", 1, contract=AAPL, **other)
    has = f"{topic} can have one {command} at a time, and a has one with {said}"
    assert str(error) == f"{has}; use the same arguments to share it"
    assert middle.ask(command, "b", 2, contract={**AAPL, "conId": 265598}, **one)["topic"] == topic
    assert len(middle.link.take()) == 1
    assert middle.ask(command, "b", 3, contract=MSFT, **other)["topic"] != topic
    middle.cancel(command.replace("req", "cancel"), 1, "a")
    refusal("E_BUSY", middle.ask, command, "b", 4, contract=AAPL, **other)
    middle.cancel(command.replace("req", "cancel"), 2, "b")
    assert middle.ask(command, "b", 5, contract=AAPL, **other)["topic"] == topic
    refusal("E_BUSY", middle.ask, command, "a", 6, contract=AAPL, **one)


def test_a_stream_that_was_not_taken_is_not_held(middle):
    middle.link.takes = False
    refusal("E_BUSY", middle.ask, "reqPositions", "a")
    refusal("E_BUSY", middle.ask, "reqMktData", "a", 1, contract=AAPL)
    refusal("E_BUSY", middle.ask, "reqCurrentTime", "a", 1)
    refusal("E_BUSY", middle.ask, "whatIfOrder", "a", 1, contract=AAPL, order=LIMIT)
    middle.link.takes = True
    assert middle.reconnect() == []
    assert sent(middle) == []
    assert len(middle.tracker) == 0


# Refusals


@pytest.mark.parametrize("name", RESTRICTED)
def test_what_concerns_the_whole_connection_is_refused_unless_it_is_allowed(name):
    assert refusal("E_PERM", Middle().ask, name).outcome == "refused"


@pytest.mark.parametrize(
    ("name", "args"), [("reqGlobalCancel", {}), ("setServerLogLevel", {"logLevel": 5}), ("reqIds", {})]
)
def test_what_the_configuration_allows_goes_out(name, args):
    middle = Middle(allowed=RESTRICTED)
    middle.ask(name, **args)
    assert [each for each, _ in sent(middle)] == [name]


def test_to_start_the_connection_is_never_a_clients_business():
    refusal("E_PERM", Middle(allowed=RESTRICTED).ask, "startApi", clientId=1)


KEYED = [request for request in OUTBOUND if request.key in REQUEST_IDS and not request.target]


@pytest.mark.parametrize("request_", KEYED, ids=lambda each: each.name)
def test_a_clients_own_request_id_is_refused(request_):
    key = "k" if request_.does is Kind.ORDER else None
    error = refusal("E_ARG", Middle(allowed=RESTRICTED).ask, request_.name, key=key, **{request_.key: 5})
    assert "the daemon's to give" in str(error)


def test_a_key_is_for_orders(middle):
    refusal("E_ARG", middle.ask, "reqMktData", key="k", contract=AAPL)


SHARES = {"cancelPositions", "cancelNewsBulletins"}
"""Cancels that need no connection: without one, what they cancel is not there."""


@pytest.mark.parametrize("name", sorted({*REQUESTS, "whatIfOrder"} - {*RESTRICTED, "startApi", *SHARES}))
def test_without_a_connection_nothing_is_sent_and_a_retry_is_safe(name):
    middle = Middle(ready=False)
    args: dict[str, Any] = {"contract": AAPL, "order": LIMIT} if name in ("placeOrder", "whatIfOrder") else {}
    with pytest.raises(CommandRefused) as refused:
        middle.ask(name, key="k" if name == "placeOrder" else None, **args)
    error = refused.value
    assert (error.code, error.outcome) in (("E_NOT_CONNECTED", "not_sent"), ("E_ARG", "refused"))
    assert ("retry_after" in error.more) is (error.code == "E_NOT_CONNECTED")
    assert sent(middle) == []
    assert len(middle.orders) == 0
    middle.connect()
    assert sent(middle) == []


@pytest.mark.parametrize("version", [178, 226])
def test_faults_are_named_all_at_once(version):
    order = {"action": "BUY", "totalQuantity": "many", "orderTyp": "LMT", "lmtPrice": "dear", "orderRef": "mine"}
    error = refusal("E_ARG", Middle(version).ask, "placeOrder", key="k", contract={"symbl": 1}, order=order, orderId=1)
    named = ("orderRef", "orderType is missing", "orderId", "totalQuantity", "did you mean orderType", "lmtPrice")
    assert [each for each in named if each not in str(error)] == []


# Orders


@pytest.mark.parametrize("version", [178, 200, 226])
def test_an_order_goes_out_with_its_owner_and_key_in_its_ref(version):
    middle = Middle(version)
    result = middle.ask("placeOrder", "alpha", key="k 1", contract=AAPL, order=LIMIT)
    topics = ["ord.alpha.k%201.", "exec.alpha."]
    assert result == {"key": "k 1", "orderId": FIRST_ID, "topic": topics[0], "executions": topics[1], "topics": topics}
    ((name, data),) = middle.link.take()
    assert (name, data["orderId"], data["order"]["orderRef"]) == ("placeOrder", FIRST_ID, "alpha/k 1")
    assert data["order"]["lmtPrice"] == 150.0


def test_the_same_key_and_order_is_the_first_answer_for_ever_even_without_a_connection(middle):
    first = middle.ask("placeOrder", key="k", contract=AAPL, order=LIMIT)
    again = {**first, "dup": True}
    assert middle.ask("placeOrder", key="k", contract=AAPL, order=LIMIT) == again
    middle.hear("orderStatus", orderId=FIRST_ID, status="Filled", clientId=1, permId=5)
    middle.lost()
    assert middle.ask("placeOrder", key="k", contract=AAPL, order=LIMIT) == again
    middle.connect()
    inside = {"key": "k", "order": LIMIT, "contract": AAPL}
    assert middle.requests.execute("placeOrder", inside, CommandId("a", 1), None) == again
    assert sent(middle) == [("placeOrder", FIRST_ID)]


@pytest.mark.parametrize(
    "other",
    [{"order": {**LIMIT, "lmtPrice": 151.0}}, {"contract": MSFT}, {"order": {**LIMIT, "action": "SELL"}}, {"x": 1}],
)
def test_the_same_key_for_another_order_is_refused(middle, other):
    middle.place("k")
    refusal("E_KEY_REUSED", middle.ask, "placeOrder", key="k", **{"contract": AAPL, "order": LIMIT, **other})
    assert len(sent(middle)) == 1


def test_the_same_key_of_another_client_is_another_order(middle):
    assert middle.place("k", "a") != middle.place("k", "b")


def test_an_order_that_was_not_taken_is_not_known_and_its_key_is_free(middle):
    middle.link.takes = False
    assert refusal("E_BUSY", middle.place, "k").outcome == "not_sent"
    refusal("E_ARG", middle.ask, "cancelOrder", key="k")
    middle.link.takes = True
    middle.place("k", lmtPrice=151.0)
    assert len(sent(middle)) == 1


@pytest.mark.parametrize("key", ["", "a/b", "é", "a\0b", "a\n", "x" * 41, 7, b"k", None, ["k"]])
def test_a_key_is_printable_ascii_without_a_slash_and_fits_into_the_ref(middle, key):
    refusal("E_ARG", middle.ask, "placeOrder", key=key, contract=AAPL, order=LIMIT)
    assert sent(middle) == []


def test_the_key_may_stand_in_the_arguments(middle):
    order = {"key": "k", "contract": AAPL, "order": LIMIT}
    assert middle.requests.execute("placeOrder", order, CommandId("a", 1), None)["key"] == "k"
    middle.requests.execute("cancelOrder", {"key": "k"}, CommandId("a", 2), None)
    assert sent(middle) == [("placeOrder", FIRST_ID), ("cancelOrder", FIRST_ID)]


def test_only_the_owner_cancels_an_order_and_only_by_its_key(middle):
    number = middle.place("k", "a")
    refusal("E_ARG", middle.ask, "cancelOrder", "b", key="k")
    refusal("E_ARG", middle.ask, "cancelOrder", "a", key="other")
    refusal("E_ARG", middle.ask, "cancelOrder", "a")
    refusal("E_ARG", middle.ask, "cancelOrder", "a", key="k", orderId=number)
    assert middle.ask("cancelOrder", "a", key="k") == {"key": "k", "orderId": number}
    assert sent(middle) == [("placeOrder", number), ("cancelOrder", number)]


@pytest.mark.parametrize("version", [178, 200, 226])
def test_a_what_if_goes_out_marked_as_one_and_leaves_no_order(version):
    middle = Middle(version)
    assert middle.ask("whatIfOrder", "a", 4, contract=AAPL, order=LIMIT)["topic"] == "req.a.4."
    ((name, data),) = middle.link.take()
    assert (name, data["order"]["whatIf"]) == ("placeOrder", True)
    assert len(middle.orders) == 0
    assert middle.place("k") == data["orderId"] + 1


def test_an_order_that_is_marked_as_a_what_if_is_refused(middle):
    refusal("E_ARG", middle.place, "k", whatIf=True)
    assert middle.place("k") == FIRST_ID


def test_a_price_that_this_version_cannot_carry_is_refused_and_no_order_remembered():
    middle = Middle(178)
    error = refusal("E_ARG", middle.place, "k", customerAccount="x")
    assert "customerAccount" in str(error)
    assert len(middle.orders) == 0
    assert sent(middle) == []


# Orders that TWS says nothing of


def told(middle, seconds=40):
    """The errors that so much time brings, by topic."""
    before = len(middle.published)
    for _ in range(seconds):
        middle.pass_time(1)
    heard = [each for each in middle.published[before:] if each.body["type"] == "error"]
    return [(each.topic, each.data["errorCode"], each.data["ends"]) for each in heard]


@pytest.mark.scenario("B29")
def test_an_order_that_was_dropped_without_being_named_is_told_and_never_sent_again(middle):
    middle.place("k")
    middle.error(-1, 100, "Max rate of messages per second has been exceeded")
    assert told(middle) == [("ord.a.k.error.", 504, None)]
    assert told(middle) == []
    assert [name for name, _ in sent(middle)] == ["placeOrder"]


def test_tws_says_nothing_of_an_order_that_it_is_not_to_transmit_and_that_is_no_news(middle):
    middle.place("parent", transmit=False)
    assert told(middle) == []
    assert middle.lost() == []
    assert {each.data["state"] for each in middle.published if each.topic == "ord.a.parent.orderState."} == {"held"}


def test_a_completed_order_is_known_by_its_ref_as_long_as_nothing_else_is_known_of_it(middle):
    def completed(perm_id):
        order = {"permId": perm_id, "orderRef": "a/k"}
        return middle.topic_of("completedOrder", order=order, orderState={"status": "Filled"})

    middle.place("k")
    assert completed(7) == "ord.a.k.completedOrder."
    assert completed(8) == "ord.ext.~8.completedOrder.", "of another daemon, whose clients have the same names"
    assert told(middle) == []


def test_an_order_that_tws_has_spoken_of_is_told_nothing(middle):
    middle.hear("orderStatus", orderId=middle.place("k"), clientId=1, permId=7, status="Submitted")
    middle.error(middle.place("k2"), 201)
    assert told(middle) == []


def test_a_cancel_that_tws_says_nothing_of_is_told_and_one_that_it_has_heard_is_not(middle):
    numbers = [middle.place(key) for key in ("k", "k2")]
    for number in numbers:
        middle.hear("orderStatus", orderId=number, clientId=1, permId=number, status="Submitted")
    for key in ("k", "k2"):
        middle.ask("cancelOrder", key=key)
    middle.hear("orderStatus", orderId=numbers[0], clientId=1, permId=numbers[0], status="Submitted")
    middle.hear("openOrder", orderId=numbers[0], order={"clientId": 1}, orderState={"status": "PreSubmitted"})
    middle.hear("orderStatus", orderId=numbers[1], clientId=1, permId=numbers[1], status="PendingCancel")
    assert told(middle) == [("ord.a.k.error.", 504, None)]


@pytest.mark.scenario("B46")
def test_what_may_be_the_refusal_of_a_cancel_is_not_the_end_of_an_order_that_tws_has_not_acknowledged(middle):
    number = middle.place("k")
    assert middle.error(number, 321, "read-only").data["ends"] is True
    middle.ask("cancelOrder", key="k")
    assert middle.error(number, 321, "read-only").data["ends"] is None
    assert middle.error(number, 202, "cancelled").data["ends"] is True


def test_the_time_of_an_order_begins_when_it_has_left():
    middle = Middle(rate=1)
    for number in range(60):
        middle.place(f"k{number}")
    middle.place("last")
    for number in range(60):
        assert told(middle, 1) == []
        middle.hear("openOrder", orderId=FIRST_ID + number, order={"clientId": 1, "permId": number + 1})
    middle.pass_time(10)
    assert sent(middle)[-1] == ("placeOrder", FIRST_ID + 60)
    assert told(middle, 10) == []
    assert told(middle) == [("ord.a.last.error.", 504, None)]


# Whatever clients do, in any order

CLIENTS, IDS, SYMBOLS = st.sampled_from("ab"), st.integers(1, 3), st.sampled_from(["AAPL", "MSFT"])


class Leases(RuleBasedStateMachine):
    """Subscriptions, cancels and reconnections: TWS has exactly the lines that somebody holds, each once."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = Middle()
        self.held: dict[tuple[str, int], str] = {}
        self.cancelled: set[tuple[str, int]] = set()
        self.lines: dict[int, str] = {}
        self.ids: set[int] = set()
        self.connected = True

    def drain(self) -> None:
        for name, data in self.middle.link.take():
            if name == "reqMktData":
                assert data["reqId"] not in self.ids, "an id is never given twice"
                self.ids.add(data["reqId"])
                self.lines[data["reqId"]] = data["contract"]["symbol"]
            else:
                assert name == "cancelMktData"
                del self.lines[data["reqId"]]

    @rule(client=CLIENTS, number=IDS, symbol=SYMBOLS)
    def subscribe(self, client, number, symbol):
        mine = self.held.get((client, number))
        ask = "reqMktData", client, number
        contract = {**AAPL, "symbol": symbol}
        if not self.connected:
            refusal("E_NOT_CONNECTED", self.middle.ask, *ask, contract=contract)
        elif mine not in (None, symbol):
            refusal("E_ID_REUSED", self.middle.ask, *ask, contract=contract)
        else:
            self.middle.ask(*ask, contract=contract)
            self.held[client, number] = symbol

    @rule(client=CLIENTS, number=IDS)
    def cancel(self, client, number):
        if (client, number) not in self.held and (client, number) in self.cancelled:
            assert self.middle.cancel("cancelMktData", number, client) == {"dup": True}
        elif self.held.pop((client, number), None) is None:
            refusal("E_ARG", self.middle.cancel, "cancelMktData", number, client)
        else:
            self.middle.cancel("cancelMktData", number, client)
            self.cancelled.add((client, number))

    @rule()
    def lose(self):
        self.middle.lost()
        self.lines.clear()
        self.connected = False

    @rule()
    def begin(self):
        if not self.connected:
            self.middle.begin()

    @rule()
    def connect(self):
        if not self.connected:
            self.middle.connect()
            self.connected = True

    @rule(symbol=SYMBOLS)
    def fail(self, symbol):
        """TWS ends a line: who held it holds nothing any more, though it may still be named in a cancel."""
        for number, line in list(self.lines.items()):
            if line == symbol:
                self.middle.error(number, 354)
                del self.lines[number]
                for holder in [holder for holder, held in self.held.items() if held == symbol]:
                    self.middle.cancel("cancelMktData", holder[1], holder[0])
                    del self.held[holder]
                    self.cancelled.add(holder)

    @invariant()
    def lines_are_what_is_held(self):
        self.drain()
        if self.connected:
            assert sorted(self.lines.values()) == sorted(set(self.held.values()))


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.lists(st.tuples(CLIENTS, st.sampled_from(["k1", "k2"]), st.floats(1, 2), st.booleans()), max_size=12))
def test_no_key_ever_makes_two_orders(steps):
    middle = Middle()
    placed: dict[tuple[str, str], float] = {}
    for client, key, price, reconnect in steps:
        if reconnect:
            middle.reconnect()
        if placed.setdefault((client, key), price) == price:
            middle.place(key, client, lmtPrice=price)
        else:
            refusal("E_KEY_REUSED", middle.place, key, client, lmtPrice=price)
    refs = [data["order"]["orderRef"] for name, data in middle.link.sent if name == "placeOrder"]
    assert len(refs) == len(set(refs))


# The daemon's knowledge of the host


@pytest.mark.scenario("B49")
def test_while_ib_is_not_behind_tws_orders_are_refused_and_cancels_are_not(middle):
    middle.place("before")
    middle.session.upstream = "lost"
    error = refusal("E_NOT_CONNECTED", middle.place, "during")
    assert error.outcome == "not_sent"
    middle.ask("cancelOrder", key="before")
    assert sent(middle)[-1][0] == "cancelOrder"
    assert middle.ask("placeOrder", key="before", contract=AAPL, order=LIMIT)["dup"]
    middle.session.upstream = "ok"
    middle.place("during")


def test_with_several_accounts_an_order_says_which(middle):
    middle.session.accounts = ("DU1", "DU2")
    assert "order.account is missing: one of DU1, DU2" in str(refusal("E_ARG", middle.place, "k"))
    middle.place("k", account="DU2")
    middle.place("group", faGroup="All")


def test_replies_name_topics_as_they_are_subscribed_to():
    middle = Middle(prefix="paper")
    assert middle.ask("reqMktData", contract=AAPL)["topic"] == "paper.md.AAPL-STK-SMART-USD."
    assert middle.ask("reqPositions")["topic"] == "paper.acct."
    placed = middle.ask("placeOrder", key="k", contract=AAPL, order=LIMIT)
    assert (placed["topic"], placed["executions"]) == ("paper.ord.a.k.", "paper.exec.a.")


# Orders of before a restart


def test_a_key_of_before_a_restart_is_no_new_orders_and_can_be_cancelled(middle):
    middle.orders.recall({"owner": "a", "key": "k", "orderId": 77}, {"orderId": 77, "permId": 9, "clientId": 1})
    error = refusal("E_KEY_REUSED", middle.place, "k")
    assert str(error).startswith("key 'k' names an earlier order of a, and the journal does not have its arguments")
    assert middle.ask("cancelOrder", key="k") == {"key": "k", "orderId": 77}
    assert [(sent.name, sent.data["orderId"]) for sent in middle.link.take()] == [("cancelOrder", 77)]
    middle.place("k", client="b")
    middle.place("other")


def test_an_order_of_before_a_restart_without_a_number_cannot_be_cancelled(middle):
    middle.orders.recall({"owner": "a", "key": "k", "orderId": 0}, {"permId": 9, "clientId": 1})
    refusal("E_ARG", middle.ask, "cancelOrder", key="k")


# Settings of the connection


def test_what_clients_have_set_is_set_on_the_next_connection_before_anything_is_asked_for():
    middle = Middle(allowed=["reqAutoOpenOrders", "setServerLogLevel"])
    middle.ask("reqAutoOpenOrders", bAutoBind=True)
    middle.ask("setServerLogLevel", logLevel=5)
    middle.ask("setServerLogLevel", "b", logLevel=2)
    middle.subscribe()
    middle.link.take()
    middle.reconnect()
    settings = [("reqAutoOpenOrders", {"bAutoBind": True}), ("setServerLogLevel", {"logLevel": 2})]
    assert middle.link.take()[:2] == settings


# Where to listen


@pytest.mark.parametrize(
    ("name", "args", "topics"),
    [
        ("reqMktData", {"contract": AAPL}, ["md.AAPL-STK-SMART-USD."]),
        ("reqHistoricalData", {"contract": AAPL, **DAY}, ["req.a.5."]),
        (
            "reqHistoricalData",
            {"contract": AAPL, **DAY, "keepUpToDate": True},
            ["req.a.5.", "md.AAPL-STK-SMART-USD+hist-1min-TRADES-all."],
        ),
        ("reqPnL", {"account": "DU1", "modelCode": ""}, ["acct.DU1.", "req.a.5."]),
        ("reqPositions", {}, ["acct.", "req.a.5."]),
        ("reqAccountUpdates", {"subscribe": True, "acctCode": "DU1"}, ["acct.DU1.", "req.a.5."]),
        ("reqNewsBulletins", {"allMsgs": True}, ["news.bulletin.", "req.a.5."]),
        ("reqOpenOrders", {}, ["req.a.5.", "ord."]),
        ("reqCompletedOrders", {"apiOnly": False}, ["req.a.5.", "ord."]),
        ("reqExecutions", {"execFilter": {}}, ["req.a.5."]),
        ("whatIfOrder", {"contract": AAPL, "order": LIMIT}, ["req.a.5."]),
    ],
)
def test_the_reply_names_every_topic_on_which_something_about_the_request_is_published(middle, name, args, topics):
    assert middle.ask(name, "a", 5, **args) == {"topic": topics[0], "topics": topics}
