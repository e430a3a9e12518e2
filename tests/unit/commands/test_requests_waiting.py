"""Requests between the reply that accepted them and the moment in which they leave for TWS."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from ibbridge.codec.messages import REQUESTS
from ibbridge.codec.schema import Pace
from ibbridge.orders.unreported import SAME_CANCEL
from ibbridge.requests.request import CommandId
from tests.support.daemon_core import AAPL, CLIENT_ID, DAY, LIMIT, MSFT, Middle, halt_all, refusal

RATE = 10
"""Of which a bucket of one: what does not leave at once waits for an eighth of a second, or a ninth."""


@pytest.fixture
def slow():
    """A connection whose budget is spent."""
    middle = Middle(rate=RATE)
    while not middle.pacing.waiting(Pace.CANCEL):
        middle.sender.send(middle.sender.message(REQUESTS["reqGlobalCancel"], {}))
    middle.link.take()
    return middle


def names(middle, seconds=60.0):
    """Let time pass, and return the names of the messages that leave, without those that only spend the budget."""
    middle.link.go_on(seconds)
    return [each.name for each in middle.link.take() if each.name != "reqGlobalCancel"]


def told(middle, topic):
    return [(each.data["errorCode"], each.data["ends"]) for each in middle.published if each.topic == topic]


# -- cancelled before it leaves


def test_cancelling_what_still_waits_withdraws_it_and_tws_hears_of_neither(slow):
    slow.ask("reqMktData", id=1, contract=AAPL)
    slow.ask("reqMktData", id=2, contract=MSFT)
    slow.ask("reqHistoricalData", id=3, contract=AAPL, **DAY)
    slow.cancel("cancelMktData", 1)
    slow.cancel("cancelHistoricalData", 3)
    assert names(slow) == ["reqMktData"]
    assert len(slow.tracker) == 1
    slow.cancel("cancelMktData", 2)
    assert names(slow) == ["cancelMktData"]


def test_a_stream_that_waits_and_has_another_holder_leaves(slow):
    slow.ask("reqMktData", "a", 1, contract=AAPL)
    slow.ask("reqMktData", "b", 1, contract=AAPL)
    slow.cancel("cancelMktData", 1, "a")
    assert names(slow) == ["reqMktData"]


def test_an_order_that_is_cancelled_while_it_waits_never_leaves_and_its_owner_is_told(slow):
    slow.place("k")
    assert slow.ask("cancelOrder", key="k")["key"] == "k"
    assert told(slow, "ord.a.k.error.") == [(202, True)]
    assert slow.ask("cancelOrder", key="k")["key"] == "k", "and again: there is nothing to send"
    assert names(slow) == []
    again = slow.ask("placeOrder", key="k", contract=AAPL, order=LIMIT)
    assert again["dup"], "the key is used, and no second order is made of it"
    assert names(slow) == []


def test_with_its_parent_an_order_that_waits_is_taken_back_and_no_other(slow):
    slow.place("parent", transmit=False)
    slow.place("child", parent="parent", transmit=False)
    slow.place("grandchild", parent="child")
    slow.place("another")
    slow.ask("cancelOrder", key="parent")
    assert names(slow) == ["placeOrder"]
    for key in ("parent", "child", "grandchild"):
        assert told(slow, f"ord.a.{key}.error.") == [(202, True)]


def test_a_bracket_leaves_in_order_and_a_cancel_behind_what_it_cancels(slow):
    for key in ("p", "c1", "x", "c2"):
        slow.place(key, "a" if key != "x" else "b", parent="p" if key.startswith("c") else None)
    slow.link.go_on(60)
    sent = [each.data for each in slow.link.take() if each.name == "placeOrder"]
    ids = {each["order"]["orderRef"]: each["orderId"] for each in sent}
    assert [*ids] == sorted(ids, key=ids.__getitem__), "they leave with rising ids"
    assert [each for each in ids if each != "b/x"] == ["a/p", "a/c1", "a/c2"]
    assert [each["order"].get("parentId", 0) for each in sent if each["order"]["orderRef"] != "b/x"] == [
        0, ids["a/p"], ids["a/p"],
    ]  # fmt: skip
    slow.ask("cancelOrder", key="p")
    assert names(slow) == ["cancelOrder"]


def test_to_cancel_all_orders_means_those_that_wait_as_well():
    middle = Middle(rate=RATE, allowed=["reqGlobalCancel"])
    for number in range(5):
        middle.place(f"k{number}", "ab"[number % 2])
    left = len(middle.link.take())
    assert 0 < left < 5
    middle.ask("reqGlobalCancel")
    middle.link.go_on(60)
    assert [each.name for each in middle.link.take()] == ["reqGlobalCancel"]
    assert sum(told(middle, f"ord.{'ab'[n % 2]}.k{n}.error.") == [(202, True)] for n in range(5)) == 5 - left


def test_to_cancel_all_orders_again_while_that_waits_is_the_same_cancel():
    middle = Middle(rate=RATE, allowed=["reqGlobalCancel"])
    for number in range(50):
        middle.ask("reqGlobalCancel", "ab"[number % 2], number)
    assert middle.ask("reqGlobalCancel", "a").get("dup")
    middle.link.go_on(60)
    assert len(middle.link.take()) == 3, "the one that left at once, and one of each client that waited"
    assert not middle.ask("reqGlobalCancel", "a").get("dup"), "there may be orders that the last one has not met"


def test_the_same_cancel_is_not_queued_again_while_it_waits(slow):
    slow.place("k")
    names(slow)
    for client in "bcd":
        slow.place("k", client)
    assert not slow.ask("cancelOrder", key="k").get("dup")
    for _ in range(50):
        assert slow.ask("cancelOrder", key="k") == {"key": "k", "orderId": 500, "dup": True}
    assert names(slow).count("cancelOrder") == 1


def test_a_cancel_that_has_left_is_the_same_until_tws_says_something_of_it_or_some_seconds_are_over():
    middle = Middle()
    number = middle.place("k")
    cancel = lambda: middle.ask("cancelOrder", key="k").get("dup", False)  # noqa: E731
    assert [cancel(), cancel(), cancel()] == [False, True, True]
    middle.hear("orderStatus", orderId=number, clientId=CLIENT_ID, status="Submitted")
    assert cancel(), "that was said before TWS read the cancel"
    middle.error(number, 161, "Cancel attempted when order is not in a cancellable state")
    assert [cancel(), cancel()] == [False, True], "TWS refused the first: the client may try again"
    middle.pass_time(SAME_CANCEL - 0.1)
    assert cancel()
    middle.pass_time(0.2)
    assert [cancel(), cancel()] == [False, True], "the last one may be lost"
    middle.clock.us -= 3_600_000_000
    assert not cancel(), "a clock that was set back makes no cancel a repetition"
    assert cancel()
    middle.reconnect()
    assert told(middle, "ord.a.k.error.")[-1] == (504, None)
    assert not cancel()


def test_a_cancel_that_says_something_else_takes_the_place_of_the_one_that_waits(slow):
    slow.place("k")
    names(slow)
    slow.place("j", "b")
    for time in ("", "20260105 10:00:00", "20260105 10:00:01"):
        slow.ask("cancelOrder", key="k", orderCancel={"manualOrderCancelTime": time})
    slow.link.go_on(60)
    sent = [each.data["orderCancel"] for each in slow.link.take() if each.name == "cancelOrder"]
    assert [each["manualOrderCancelTime"] for each in sent] == ["20260105 10:00:01"]


def test_what_nobody_has_of_a_stream_without_a_number_is_cancelled_once(slow):
    for _ in range(50):
        assert slow.ask("cancelPositions") == {"dup": True}
        assert slow.ask("reqAccountUpdates", subscribe=False, acctCode="")["topic"]
    assert names(slow) == []
    slow.ask("reqPositions")
    assert slow.ask("cancelPositions") == {}
    assert slow.ask("cancelPositions") == {"dup": True}


def test_a_thousand_orders_that_wait_each_for_the_one_before_are_taken_back_together():
    middle = Middle(rate=RATE, share=1500, allowed=["reqGlobalCancel"])
    first = middle.place("o")
    middle.place("p0", parentId=first)
    for number in range(1, 1500):
        middle.place(f"p{number}", parent=f"p{number - 1}")
    middle.ask("cancelOrder", key="p0")
    assert told(middle, "ord.a.p1499.error.") == [(202, True)]
    assert not middle.pacing.waiting(Pace.ORDER)
    for number in range(1500):
        middle.place(f"q{number}", parentId=first)
    middle.ask("reqGlobalCancel")
    assert told(middle, "ord.a.q1499.error.") == [(202, True)]


def test_whoever_begins_to_wait_goes_first_by_connection_and_by_name():
    middle = Middle(rate=RATE)
    call = {"cmd": "placeOrder", "args": {"contract": AAPL, "order": LIMIT}}
    for number in range(60):
        asked = {**call, "id": number, "client": f"c{number % 30}", "key": f"k{number}"}
        middle.commands.answer(msgpack.packb(asked), b"one")
    middle.link.go_on(4)
    middle.link.take()
    middle.commands.answer(msgpack.packb({**call, "client": "z", "id": 1, "key": "k"}), b"other")
    middle.link.go_on(0.3)
    assert "z/k" in [each.data["order"]["orderRef"] for each in middle.link.take()]


def test_what_depends_on_an_order_whose_time_passed_in_the_queue_never_leaves_either(slow):
    asking, soon = CommandId("a", "p"), slow.clock.us + 1
    args = {"contract": AAPL, "order": LIMIT}
    slow.requests.execute("placeOrder", args, asking, "parent", not_after=soon)
    slow.place("child", parent="parent", transmit=False)
    slow.place("grandchild", parent="child")
    slow.place("another")
    slow.clock.us = soon + 1
    assert names(slow) == ["placeOrder"]
    for key in ("parent", "child", "grandchild"):
        assert told(slow, f"ord.a.{key}.error.") == [(202, True)]


def test_whoever_cancels_all_orders_is_told_if_that_never_left():
    middle = Middle(rate=RATE, allowed=["reqGlobalCancel"])
    for number in range(4):
        middle.ask("reqGlobalCancel", "a", number)
    left = len(middle.link.take())
    assert 0 < left < 4
    middle.reconnect()
    assert names(middle) == []
    for number in range(4):
        assert told(middle, f"req.a.{number}.error.") == [(504, True)] * (number >= left)


def test_a_cancel_of_positions_that_still_wait_to_be_asked_for_is_the_last_word(slow):
    slow.ask("reqPositions", "a")
    slow.ask("reqPositions", "b")
    slow.ask("cancelPositions", "a")
    slow.ask("cancelPositions", "b")
    assert names(slow) == ["cancelPositions"]
    slow.ask("reqPositions", "b")
    assert names(slow) == ["reqPositions"]


def test_account_updates_are_what_was_said_last_whoever_said_it(slow):
    slow.ask("reqAccountUpdates", "a", subscribe=True, acctCode="DU1")
    slow.ask("reqAccountUpdates", "b", subscribe=True, acctCode="DU1")
    slow.ask("reqAccountUpdates", "a", subscribe=False, acctCode="DU1")
    slow.ask("reqAccountUpdates", "b", subscribe=False, acctCode="DU1")
    slow.ask("reqAccountUpdates", "c", subscribe=True, acctCode="DU1")
    slow.link.go_on(60)
    assert [each.data["subscribe"] for each in slow.link.take() if each.name == "reqAccountUpdates"][-1:] == [True]


def test_the_next_head_time_stamp_is_asked_for_behind_the_cancel_that_makes_room_for_it():
    middle = Middle()
    for number in range(51):
        middle.ask("reqHeadTimeStamp", contract={"conId": number + 1}, whatToShow="TRADES")
    asked = [each.data["reqId"] for each in middle.link.take()]
    assert len(asked) == 50
    middle.hear("headTimestamp", reqId=asked[0], headTimestamp="20200101")
    middle.link.go_on(0.1)
    assert [each.name for each in middle.link.take()] == ["cancelHeadTimeStamp", "reqHeadTimeStamp"]


@pytest.mark.parametrize("code", [162, 321])
def test_history_that_ends_in_an_error_or_a_cancel_makes_room(code):
    middle = Middle()
    for number in range(53):
        middle.ask("reqHistoricalData", id=number, contract=AAPL, **DAY)
    asked = [each.data["reqId"] for each in middle.link.take()]
    assert len(asked) == 50
    middle.error(asked[0], code, "no data")
    middle.cancel("cancelHistoricalData", 1)
    middle.link.go_on(0.1)
    assert [each.name for each in middle.link.take()] == ["cancelHistoricalData", *["reqHistoricalData"] * 2]
    assert middle.reconnect() == []
    assert [each.name for each in middle.link.take()] == ["reqHistoricalData"] * 50, "asked once more, as many as may"
    assert len(middle.pacing.waiting(Pace.HISTORY)) == 1


# -- answers without a number


def test_answers_without_a_number_go_to_who_was_sent_first_and_not_to_who_asked_first(slow):
    slow.ask("reqMktData", "a", contract=AAPL)
    slow.ask("reqMktData", "a", contract=MSFT)
    slow.ask("reqAllOpenOrders", "a", "late")
    slow.ask("reqOpenOrders", "b", "early")
    slow.link.go_on(60)
    order = [each.name for each in slow.link.take() if each.name.endswith("OpenOrders")]
    assert order == ["reqOpenOrders", "reqAllOpenOrders"], "b had its turn first"
    assert slow.topic_of("openOrderEnd") == "req.b.early.openOrderEnd."
    assert slow.topic_of("openOrderEnd") == "req.a.late.openOrderEnd."


# -- shares


def test_a_full_share_is_e_pacing_nothing_is_remembered_and_a_later_try_is_taken():
    middle = Middle(rate=RATE, share=3)
    for _ in range(20):
        middle.sender.send(middle.sender.message(REQUESTS["reqCurrentTime"], {}))
    for number in range(3):
        middle.place(f"k{number}")
    refused = refusal("E_PACING", middle.place, "k3")
    assert refused.outcome == "not_sent"
    middle.link.go_on(refused.more["retry_after"])
    middle.place("k3")
    middle.link.go_on(60)
    assert [each.name for each in middle.link.take()].count("placeOrder") == 4


# -- too late


def command(key, not_after):
    args = {"contract": AAPL, "order": LIMIT}
    return {"id": key, "client": "a", "cmd": "placeOrder", "key": key, "not_after": not_after, "args": args}


def test_an_order_that_is_too_late_when_its_turn_comes_does_not_leave_and_is_told(slow):
    assert slow.call(command("late", slow.clock.us + 1000))["ok"]
    assert slow.call(command("in time", slow.clock.us + 120_000_000))["ok"]
    slow.clock.us += 5000
    assert names(slow) == ["placeOrder"]
    assert told(slow, "ord.a.late.error.") == [(202, True)]
    assert told(slow, "ord.a.in%20time.error.") == []


def test_an_order_that_was_taken_before_halt_does_not_leave_and_can_still_be_withdrawn(slow):
    slow.place("stays")
    slow.place("withdrawn")
    halt_all(slow, "z")
    refusal("E_HALTED", slow.place, "refused")
    slow.ask("cancelOrder", key="withdrawn")
    assert names(slow) == []
    assert told(slow, "ord.a.stays.error.") == [(202, True)]


# -- the connection is lost


def test_what_waited_when_the_connection_was_lost_is_told_as_never_sent_and_an_order_that_left_as_unknown(slow):
    slow.place("left")
    slow.link.go_on(60)
    for _ in range(5):
        slow.sender.send(slow.sender.message(REQUESTS["reqGlobalCancel"], {}))
    slow.place("waited")
    slow.ask("cancelOrder", key="left")
    slow.link.take()
    slow.lost()
    assert told(slow, "ord.a.waited.error.") == [(504, True)]
    assert told(slow, "ord.a.left.error.") == [(504, False), (504, None)], "its cancel never left, and it may be there"


def test_questions_and_streams_that_waited_are_asked_for_on_the_next_connection(slow):
    slow.ask("reqContractDetails", id="numbered", contract=AAPL)
    slow.ask("reqCurrentTime", id="without")
    slow.ask("reqMktData", id="stream", contract=AAPL)
    slow.ask("reqMktData", id="cancelled", contract=MSFT)
    slow.cancel("cancelMktData", "cancelled")
    assert slow.reconnect() == []
    assert sorted(names(slow)) == ["reqContractDetails", "reqCurrentTime", "reqMktData"], "each once"


# -- whatever happens: no order twice, and of each it is known whether it left

KEYS = [f"k{n}" for n in range(30)]


class Orders(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.middle = Middle(rate=RATE, share=5)
        self.accepted = {}
        self.connected = True
        self.asked = {}

    @rule(key=st.sampled_from(KEYS), client=st.sampled_from("ab"))
    def place(self, key, client):
        args = {"contract": AAPL, "order": LIMIT}
        reply = self.middle.call(
            {"id": f"p{len(self.asked)}", "client": client, "cmd": "placeOrder", "key": key, "args": args}
        )
        self.asked[len(self.asked)] = key
        if reply["ok"]:
            number = reply["result"]["orderId"]
            assert self.accepted.get((client, key)) in (None, number)
            self.accepted[client, key] = number
        else:
            assert reply["error"]["code"] in {"E_PACING", "E_NOT_CONNECTED"}

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def cancel(self, data):
        client, key = data.draw(st.sampled_from(sorted(self.accepted)))
        self.middle.commands.answer(
            msgpack.packb({"id": f"c{len(self.asked)}", "client": client, "cmd": "cancelOrder", "args": {"key": key}})
        )
        self.asked[len(self.asked)] = key

    @precondition(lambda self: self.connected)
    @rule(n=st.integers(1, 5))
    def ask(self, n):
        for _ in range(n):
            self.middle.requests.execute("reqCurrentTime", {}, CommandId("d", f"q{len(self.asked)}"), None)
            self.asked[len(self.asked)] = None
            self.middle.link.go_on(0.3)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 3.0]))
    def time_passes(self, seconds):
        self.middle.link.go_on(seconds)

    @precondition(lambda self: self.connected)
    @rule()
    def lose(self):
        self.connected = False
        self.middle.lost()

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self):
        self.connected = True
        self.middle.connect()

    def teardown(self):
        self.middle.link.go_on(600)
        placed = [each.data for each in self.middle.link.sent if each.name == "placeOrder"]
        sent = {each["order"]["orderRef"]: each["orderId"] for each in placed}
        assert len(sent) == len(placed), "twice"
        assert [*sent.values()] == sorted(sent.values()), "ids rise"
        for (client, key), number in self.accepted.items():
            ref = f"{client}/{key}"
            assert number in (None, sent.get(ref)), "an id that was told is the id at TWS"
            never = [ends for _, ends in told(self.middle, f"ord.{client}.{key}.error.") if ends]
            assert len(never) == (ref not in sent), "it left, or its owner has been told that it did not"
            states = [each.data for each in self.middle.published if each.topic == f"ord.{client}.{key}.orderState."]
            assert (states[-1]["reason"] == "not_sent") == (ref not in sent)
            assert states[-1]["orderId"] == sent.get(ref)


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_question_without_a_number_that_had_to_wait_for_its_turn_has_a_deadline_too() -> None:
    middle = Middle(rate=2)
    while not middle.pacing.metrics(0.0)["queued"]:
        middle.ask("reqContractDetails", contract=AAPL)
    middle.ask("reqCurrentTime", id="late")
    middle.link.take()
    for _ in range(100):
        middle.pass_time(1.0)
    assert "reqCurrentTime" in [each.name for each in middle.link.take()]
    told = [each for each in middle.published if each.topic == "req.a.late.error."]
    assert [each.data["ends"] for each in told] == [True]


def test_a_type_of_market_data_that_has_not_left_before_the_connection_went_is_set_on_the_next_one():
    middle = Middle(allowed=["reqMarketDataType"], rate=1)
    middle.subscribe()
    middle.ask("reqMarketDataType", "b", 2, marketDataType=3)
    assert middle.session.market_data_type == 1
    middle.lost()
    assert middle.session.market_data_type == 3
    (connection,) = [heard for heard in middle.published if heard.topic == "sys.tws.connection."]
    assert connection.data["marketDataType"] == 3


# Held back by a limit of IB's

SMALL = {**DAY, "barSizeSetting": "30 secs"}


def held(middle, topic):
    return [heard.data for heard in middle.published if heard.topic == topic]


def test_a_reply_says_until_when_a_limit_holds_the_request_back_and_which():
    middle = Middle()
    first = middle.ask("reqHistoricalData", "a", 1, contract=AAPL, **SMALL)
    assert "held_until" not in first
    middle.pass_time(5)
    begin = middle.clock.us
    second = middle.ask("reqHistoricalData", "b", 1, contract=AAPL, **SMALL)
    assert (second["held_until"] - begin) / 1e6 == pytest.approx(10, abs=0.5)
    assert second["held_by"] == "IB's limit 'same history': 1 in 15 s"
    third = middle.ask("reqHistoricalData", "c", 1, contract=AAPL, **SMALL)
    assert (third["held_until"] - begin) / 1e6 == pytest.approx(25, abs=0.5)
    assert "held_until" not in middle.ask("reqHistoricalData", "a", 2, contract=MSFT, **SMALL), "is not concerned"
    middle.link.take()
    sent = [(second, [each.name for each in middle.pass_time(1)]) for second in range(30)]
    assert [second for second, left in sent if "reqHistoricalData" in left] == [10, 25]
    assert held(middle, "req.b.1.held.") == []


def test_a_request_that_waits_longer_than_was_said_says_so_on_its_topic():
    middle = Middle()
    middle.ask("reqHistoricalData", "a", 1, contract=AAPL, **SMALL)
    said = middle.ask("reqHistoricalData", "b", 1, contract=AAPL, **SMALL)["held_until"]
    middle.pass_time(10)
    middle.pacing.complained(162, "Historical data request pacing violation", middle.clock.now)
    for _ in range(90):
        middle.pass_time(1)
    (later,) = held(middle, "req.b.1.held.")
    assert (later["held_until"] - said) / 1e6 == pytest.approx(55, abs=3)
    assert "(162)" in later["held_by"]


def test_what_waits_for_the_end_of_another_request_is_held_until_nobody_knows_when():
    middle = Middle()
    for number in range(50):
        middle.ask("reqHeadTimeStamp", "a", number, contract={**AAPL, "symbol": f"S{number}"}, whatToShow="TRADES")
    result = middle.ask("reqHistoricalData", "a", 99, contract=AAPL, **DAY)
    assert (result["held_until"], result["held_by"]) == (None, "IB's limit 'open history': 50 at a time")
