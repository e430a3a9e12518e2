"""Subscriptions that are renewed, given up or stale, in virtual time: scenarios of what TWS does to a session."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ibbridge.codec.messages import MESSAGES, REQUESTS
from ibbridge.codec.passthrough import is_flat
from ibbridge.ib.notices import AGAIN
from ibbridge.subscriptions.market_hours import OWN
from tests.support.daemon_core import AAPL, DAY, LIMIT, MSFT, Middle

if TYPE_CHECKING:
    from ibbridge.tws.outbound import OutboundMessage

STREAM = "md.AAPL-STK-SMART-USD."


@pytest.fixture
def middle():
    return Middle()


def gaps(middle):
    """Topic and reason of every gap that was told."""
    return [(heard.topic, heard.data["reason"]) for heard in middle.published if heard.body["type"] == "gap"]


def test_the_gap_of_an_error_has_the_time_of_the_error_and_all_gaps_of_a_loss_have_one_time(middle):
    first = middle.subscribe("a", 1)
    middle.ask("reqMktData", "a", 2, contract=MSFT)
    for number in (first, middle.last_id()):
        middle.tick(number)
    error = middle.error(first, 10182)
    middle.clock.us += 5
    middle.tick(first)
    middle.lost()
    told = [heard.body["ts"] for heard in middle.published if heard.body["type"] == "gap"]
    assert told[0] == error.body["ts"]
    assert len(told) == 3
    assert told[1] == told[2] > told[0]


def errors(middle):
    return [heard for heard in middle.published if heard.body["type"] == "error"]


def names(sent):
    return [each.name for each in sent]


def flow(middle, number, seconds=60, every=5, price=1.0):
    """A stream that speaks for a while; what the daemon sent meanwhile."""
    found = []
    for _ in range(0, seconds, every):
        middle.tick(number, price)
        found += wait(middle, every, 5)
    return found


def wait(middle, seconds, step=1):
    """Nothing comes for so long; what the daemon sent meanwhile."""
    return [each for _ in range(0, seconds, step) for each in middle.pass_time(step)]


def ours(sent):
    """Return the sent messages without the daemon's own requests for trading hours."""
    return [each for each in sent if each.name not in ("reqContractDetails", "cancelContractData")]


def tell_hours(middle, text="19700101:0000-21000101:0000", zone="UTC"):
    """TWS answers the daemon's question."""
    number = next(each.data["reqId"] for each in reversed(middle.link.sent) if each.name == "reqContractDetails")
    details = {"liquidHours": text, "timeZoneId": zone}
    middle.hear("contractDetails", reqId=number, contractDetails=details)
    middle.hear("contractDetailsEnd", reqId=number)


# Gaps


def test_a_lost_connection_is_a_gap_on_every_stream_that_was_open_and_its_state_is_stale_until_data_comes(middle):
    first = middle.subscribe()
    middle.ask("reqMktData", "a", 2, contract=MSFT)
    middle.ask("reqPositions", "a", 3)
    heard = middle.tick(first)
    middle.hear("position", account="DU1", contract=AAPL)
    middle.lost()
    assert gaps(middle) == [(f"{STREAM}gap.", "connection"), ("acct.DU1.gap.", "connection")]
    gap = next(each for each in middle.published if each.topic == f"{STREAM}gap.")
    assert gap.body["flags"] == ["synthetic"]
    assert gap.body["seq"] == heard.body["seq"] + 1
    assert gap.data["since"] == heard.body["ts"]
    assert [each.body["flags"] for each in middle.state(STREAM)[STREAM]] == [["stale"]]
    middle.connect()
    assert [each.body["flags"] for each in middle.state(STREAM)[STREAM]] == [["stale"]]
    middle.tick(next(each.data["reqId"] for each in middle.link.sent[-2:] if each.data["contract"]["symbol"] == "AAPL"))
    assert "flags" not in middle.state(STREAM)[STREAM][0].body


def test_a_gap_is_told_once_however_often_the_connection_fails_before_anything_comes(middle):
    middle.tick(middle.subscribe())
    for _ in range(3):
        middle.lost()
        middle.connect()
    assert len(gaps(middle)) == 1
    middle.tick(middle.last_id())
    middle.lost()
    assert len(gaps(middle)) == 2


def test_the_gap_after_a_gap_tells_the_same_time_as_that(middle):
    since = middle.tick(middle.subscribe()).body["ts"]
    middle.error(middle.last_id(), 10182)
    middle.error(middle.last_id(), 10182)
    told = [heard.data["since"] for heard in middle.published if heard.body["type"] == "gap"]
    assert told[0] > since, "the error was heard"
    assert len(told) == 2


def test_two_requests_on_one_stream_are_one_gap(middle):
    middle.tick(middle.subscribe("a"))
    middle.tick(middle.subscribe("b", genericTickList="233"))
    middle.lost()
    assert gaps(middle) == [(f"{STREAM}gap.", "connection")]


def test_orders_and_executions_have_no_gaps(middle):
    middle.place("k")
    middle.hear("openOrder", orderId=middle.last_id(), order={"clientId": 1})
    middle.lost()
    assert gaps(middle) == []


# 1101, 1102, farms


@pytest.mark.scenario("B13")
def test_after_1101_every_stream_is_asked_for_again_accounts_first_and_late_ticks_are_nobodys(middle):
    old = middle.subscribe()
    middle.tick(old)
    middle.ask("reqHistoricalData", "a", 2, contract=AAPL, keepUpToDate=True, **DAY)
    middle.ask("reqPositions", "a", 3)
    middle.hear("position", account="DU1", contract=AAPL)
    middle.link.take()
    middle.resubscriber.on_notice(1100)
    middle.resubscriber.on_notice(1101)
    wanted = ["reqPositions", "cancelMktData", "reqMktData", "cancelHistoricalData", "reqHistoricalData"]
    assert names(middle.link.sent) == wanted
    assert gaps(middle) == [(f"{STREAM}gap.", "data"), ("acct.DU1.gap.", "data")]
    new = middle.link.sent[2].data["reqId"]
    assert middle.tick(new).topic == f"{STREAM}tickPrice.", "topics are stable"
    assert middle.tick(old).topic == f"md.~{old}.tickPrice."
    middle.link.take()
    middle.resubscriber.on_notice(1101)
    assert names(middle.link.sent) == wanted, "lost again is asked for again"
    middle.link.take()
    middle.cancel("cancelMktData", 1)
    assert names(middle.link.take()) == ["cancelMktData"]


@pytest.mark.scenario("B14")
def test_after_1102_a_stream_that_stays_dead_is_asked_for_again_alone_and_soon(middle):
    dead = middle.subscribe()
    middle.ask("reqMktData", "a", 2, contract=MSFT)
    alive = middle.last_id()
    for _ in range(10):
        middle.tick(dead)
        flow(middle, alive, 5)
    middle.link.take()
    middle.resubscriber.on_notice(1100)
    assert wait(middle, 600) == [], "while IB is away nobody is to blame"
    middle.resubscriber.on_notice(1102)
    sent = ours(flow(middle, alive, 30))
    assert [(each.name, each.data["reqId"]) for each in sent] == [("cancelMktData", dead), ("reqMktData", dead + 2)]
    assert (f"{STREAM}gap.", "silent") in gaps(middle)
    assert gaps(middle)[-1:] == [(f"{STREAM}gap.", "silent")]
    assert middle.tick(dead + 2).topic == f"{STREAM}tickPrice."


@pytest.mark.scenario("B14")
def test_after_1102_what_cannot_be_watched_is_asked_for_again(middle):
    middle.ask("reqScannerSubscription", "a", 1, subscription={"scanCode": "MOST_ACTIVE"})
    middle.hear("scannerData", reqId=middle.last_id(), rows=[])
    middle.ask("reqMktData", "a", 2, contract={**AAPL, "symbol": "BRFG:BRFG_ALL", "secType": "NEWS"})
    middle.ask("reqPnL", "a", 3, account="DU1", modelCode="")
    middle.hear("pnl", reqId=middle.last_id())
    middle.link.take()
    for code in (1100, 1102):
        middle.resubscriber.on_notice(code)
    assert sorted(names(middle.link.take())) == [
        "cancelMktData", "cancelScannerSubscription", "reqMktData", "reqScannerSubscription"
    ]  # fmt: skip


@pytest.mark.scenario("B15")
def test_bars_that_stay_dead_after_a_blip_of_three_seconds_are_asked_for_again(middle):
    middle.ask("reqRealTimeBars", "a", 1, contract=AAPL, whatToShow="TRADES")
    number = middle.last_id()
    for _ in range(12):
        middle.hear("realtimeBar", reqId=number)
        middle.pass_time(5)
    middle.resubscriber.on_notice(2103, "usfarm")
    assert wait(middle, 3) == []
    middle.resubscriber.on_notice(2104, "usfarm")
    assert names(ours(wait(middle, 20))) == ["cancelRealTimeBars", "reqRealTimeBars"]


def test_while_a_farm_is_down_its_streams_are_left_alone_and_those_of_others_are_not(middle):
    number = middle.subscribe()
    flow(middle, number)
    tell_hours_when_asked(middle)
    middle.resubscriber.on_notice(2103, "usfarm")
    assert ours(wait(middle, 3600, 10)) == []
    middle.resubscriber.on_notice(2104, "usfarm")
    assert names(ours(wait(middle, 30))) == ["cancelMktData", "reqMktData"]


def tell_hours_when_asked(middle):
    """Let it be silent for so long that the daemon wants to know its hours, and say that it is always open."""
    assert names(wait(middle, 61)) == ["reqContractDetails"]
    tell_hours(middle)
    flow(middle, next(each.data["reqId"] for each in reversed(middle.link.sent) if each.name == "reqMktData"), 120)


@pytest.mark.scenario("B16")
def test_a_keep_up_to_date_stream_that_died_is_asked_for_again_when_the_historical_farm_is_back(middle):
    middle.ask("reqHistoricalData", "a", 1, contract=AAPL, keepUpToDate=True, **DAY)
    number = middle.last_id()
    middle.hear("historicalDataUpdate", reqId=number)
    middle.pass_time(1)
    middle.resubscriber.on_notice(2105, "ushmds")
    heard = middle.error(number, 10182)
    assert gaps(middle) == [("md.AAPL-STK-SMART-USD+hist-1min-TRADES-all.gap.", "farm")]
    assert errors(middle)[0].data["ends"] is False, "it goes on: the daemon asks again"
    assert heard is not None
    middle.link.take()
    assert ours(wait(middle, 600, 10)) == []
    middle.link.take()
    middle.resubscriber.on_notice(2106, "ushmds")
    assert names(middle.link.take()) == ["cancelHistoricalData", "reqHistoricalData"]
    assert {316, 10182, 10225} == AGAIN


@pytest.mark.scenario("B16")
def test_bars_that_were_asked_for_while_their_farm_was_away_are_asked_for_again_when_it_is_back(middle):
    middle.resubscriber.on_notice(2105, "ushmds")
    middle.ask("reqHistoricalData", "a", 1, contract=AAPL, **{**DAY, "keepUpToDate": True})
    middle.link.take()
    assert wait(middle, 20) == []
    middle.resubscriber.on_notice(2106, "ushmds")
    wait(middle, 20)
    assert names(middle.link.take()) == ["cancelHistoricalData", "reqHistoricalData"]


@pytest.mark.scenario("B16")
def test_bars_that_tws_has_ended_are_asked_for_again_although_others_on_their_topic_flow(middle):
    numbers = []
    for client in "ab":
        middle.ask("reqHistoricalData", client, 1, contract=AAPL, keepUpToDate=True, **DAY)
        numbers.append(middle.last_id())
    for _ in range(12):
        for number in numbers:
            middle.hear("historicalDataUpdate", reqId=number)
        wait(middle, 5)
    middle.error(numbers[0], 10182)
    asked = []
    for _ in range(12):
        middle.hear("historicalDataUpdate", reqId=numbers[1])
        asked += ours(wait(middle, 5))
    assert names(asked) == ["cancelHistoricalData", "reqHistoricalData"]
    assert asked[0].data["reqId"] == numbers[0]


BARS = {"barSize": 5, "whatToShow": "TRADES", "useRTH": False}


@pytest.mark.parametrize(
    ("code", "ask", "says", "args"),
    [
        (10225, "reqRealTimeBars", "realtimeBar", BARS),
        (10225, "reqHistoricalData", "historicalDataUpdate", {**DAY, "keepUpToDate": True}),
        (10225, "reqTickByTickData", "tickByTickAllLast", {"tickType": "Last"}),
        (316, "reqMktDepth", "updateMktDepth", {"numRows": 5}),
    ],
)
def test_what_tws_has_ended_and_wants_asked_for_again_is_cancelled_and_asked_for_at_once(middle, code, ask, says, args):
    cancel = ask.replace("req", "cancel")
    sharing = "a" if ask == "reqHistoricalData" else "ab"
    for client in sharing:
        middle.ask(ask, client, 1, contract=AAPL, **args)
    number = middle.last_id()
    topic = middle.topic_of(says, reqId=number)
    wait(middle, 16)  # TWS takes a request for tick-by-tick data of one instrument each 15 s
    middle.link.take()
    middle.error(number, code)
    assert errors(middle)[-1].data["ends"] is False
    assert [reason for _, reason in gaps(middle)] == ["ended"]
    wait(middle, 16)
    sent = ours(middle.link.take())
    assert names(sent) == [cancel, ask]
    assert sent[0].data["reqId"] == number
    assert middle.topic_of(says, reqId=sent[1].data["reqId"]) == topic
    for client in sharing:
        assert middle.link.take() == []
        middle.cancel(cancel, 1, client)
    assert [each.data["reqId"] for each in middle.link.take()] == [sent[1].data["reqId"]], "the one there is now"


def test_what_tws_ends_each_time_is_asked_for_at_once_only_the_first_time(middle):
    middle.ask("reqRealTimeBars", "a", 1, contract=AAPL, **BARS)
    middle.hear("realtimeBar", reqId=middle.last_id())
    times = []
    middle.error(middle.last_id(), 10225)
    for second in range(600):
        if sent := [each for each in middle.link.take() if each.name == "reqRealTimeBars"][-1:]:
            times.append(second)
            middle.error(sent[-1].data["reqId"], 10225)
        middle.pass_time(1)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert times[:2] == [0, pytest.approx(30, abs=3)]
    assert pauses == sorted(pauses)


def test_a_stream_that_died_though_no_farm_was_down_is_asked_for_again_too_with_growing_pauses(middle):
    number = middle.subscribe()
    middle.tick(number)
    times = []
    middle.error(number, 10182)
    for second in range(600):
        if sent := ours(middle.pass_time(1)):
            times.append(second)
            middle.error(sent[-1].data["reqId"], 10182)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert times[0] == pytest.approx(15, abs=2)
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 2 * pauses[0] - 2


def test_while_another_login_has_the_data_it_is_asked_for_slowly_until_it_flows(middle):
    number = middle.subscribe()
    middle.tick(number)
    middle.pass_time(1)
    middle.error(number, 10197)
    assert gaps(middle) == [(f"{STREAM}gap.", "silent")]
    assert wait(middle, 50) == []
    again = ours(wait(middle, 20))
    assert names(again) == ["cancelMktData", "reqMktData"]
    middle.error(again[-1].data["reqId"], 10197)
    assert ours(wait(middle, 110)) == []
    again = ours(wait(middle, 20))
    assert names(again) == ["cancelMktData", "reqMktData"]
    assert ours(flow(middle, again[-1].data["reqId"], 600)) == []


def test_once_another_login_has_let_go_what_does_not_flow_by_itself_is_asked_for_at_once_all_of_it(middle):
    numbers = {}
    for symbol in "ABCDEFGHIJKL":
        middle.ask("reqMktData", "a", symbol, contract={**AAPL, "symbol": symbol})
        numbers[symbol] = middle.last_id()
        middle.tick(numbers[symbol])
    middle.pass_time(1)
    for number in numbers.values():
        middle.error(number, 10197)
    middle.pass_time(1)
    flowing = numbers.pop("A")
    middle.parts.dispatcher._connection.stage_changed()
    assert ours(flow(middle, flowing, 10)) == []
    again = ours(flow(middle, flowing, 10))
    assert sorted(each.data["reqId"] for each in again if each.name == "cancelMktData") == sorted(numbers.values())
    assert len([each for each in again if each.name == "reqMktData"]) == 11, "no limit: they were as many before"


@pytest.mark.parametrize(("begins", "ends"), [((1100, ""), (1102, "")), ((2157, "secdef"), (2158, "secdef"))])
@pytest.mark.scenario("B22")
def test_a_stream_that_tws_refuses_while_ibs_servers_are_away_is_kept_and_asked_for_when_they_are_back(
    middle, begins, ends
):
    number = middle.subscribe()
    middle.tick(number)
    middle.resubscriber.on_notice(*begins)
    error = middle.error(number, 200, "No security definition has been found for the request")
    assert error.data["ends"] is False
    assert gaps(middle) == [(f"{STREAM}gap.", "silent")]
    middle.link.take()
    middle.resubscriber.on_notice(*ends)
    assert names(middle.link.take()) == ["reqMktData"]
    assert middle.error(number + 1, 200).data["ends"] is True, "now TWS knows"


def test_what_is_wrong_with_a_request_is_wrong_while_ibs_servers_are_away_too(middle):
    number = middle.subscribe()
    middle.resubscriber.on_notice(1100)
    assert middle.error(number, 321, "Error validating request").data["ends"] is True
    middle.link.take()
    middle.resubscriber.on_notice(1102)
    assert middle.link.take() == []


@pytest.mark.scenario("B12")
def test_what_was_asked_for_while_ibs_servers_were_away_and_not_answered_is_asked_for_again(middle):
    heard = middle.subscribe()
    middle.tick(heard)
    middle.pass_time(1)
    middle.resubscriber.on_notice(1100)
    middle.ask("reqMktData", "a", 2, contract=MSFT)
    unheard = middle.last_id()
    middle.ask("reqMktData", "a", 3, contract={**AAPL, "symbol": "IBM"})
    middle.tick(middle.last_id())
    middle.link.take()
    middle.resubscriber.on_notice(1102)
    assert [(each.name, each.data["reqId"]) for each in middle.link.take()] == [
        ("cancelMktData", unheard), ("reqMktData", unheard + 2)
    ]  # fmt: skip
    middle.resubscriber.on_notice(1102)
    assert middle.link.take() == [], "once an outage"


@pytest.mark.scenario("B12")
def test_what_waited_for_its_turn_when_ibs_servers_went_is_asked_for_again_when_they_are_back():
    middle = Middle(rate=1)
    for number in range(4):
        middle.ask("reqMktData", "a", number, contract={**AAPL, "symbol": f"S{number}"})
    wait(middle, 2)
    left = len(middle.link.sent)
    middle.resubscriber.on_notice(1100)
    wait(middle, 10)
    late = [each.data["reqId"] for each in middle.link.sent[left:]]
    assert late
    middle.link.take()
    middle.resubscriber.on_notice(1102)
    wait(middle, 20)
    assert [each.data["reqId"] for each in middle.link.take() if each.name == "cancelMktData"] == late


def test_a_stream_that_flowed_before_and_says_nothing_on_the_next_connection_is_asked_for_again(middle):
    flow(middle, middle.subscribe(), 120)
    middle.reconnect()
    middle.link.take()
    assert names(wait(middle, 70)) == ["reqContractDetails"]
    tell_hours(middle)
    assert names(ours(wait(middle, 115))) == ["cancelMktData", "reqMktData"]


# Silence


def test_a_stream_that_falls_silent_while_its_market_is_open_is_asked_for_again(middle):
    number = middle.subscribe()
    flow(middle, number)
    tell_hours_when_asked(middle)
    middle.link.take()
    assert ours(wait(middle, 170)) == []
    assert names(ours(wait(middle, 20))) == ["cancelMktData", "reqMktData"]
    assert gaps(middle) == [(f"{STREAM}gap.", "silent")]


def test_of_two_lines_on_one_topic_the_one_that_dies_is_found(middle):
    alive = middle.subscribe()
    dead = middle.subscribe("b", genericTickList="233")
    for _ in range(60):
        middle.tick(dead)
        flow(middle, alive, 1)
    assert names(flow(middle, alive, 65)) == ["reqContractDetails"]
    tell_hours(middle)
    cancelled, again = ours(flow(middle, alive, 120))
    assert (cancelled.name, cancelled.data["reqId"], again.name) == ("cancelMktData", dead, "reqMktData")
    assert (again.data["genericTickList"], gaps(middle)) == ("233", [(f"{STREAM}gap.", "silent")])
    for _ in range(400):
        middle.tick(again.data["reqId"])
        assert ours(flow(middle, alive, 1)) == []


def test_of_two_that_have_the_same_bars_kept_up_to_date_the_one_that_dies_is_found(middle):
    numbers = []
    for client in "ab":
        middle.ask("reqHistoricalData", client, 1, contract=AAPL, keepUpToDate=True, **DAY)
        numbers.append(middle.last_id())
    alive, dead = numbers
    middle.hear("historicalDataUpdate", reqId=dead)
    sent = []
    for _ in range(65):
        middle.hear("historicalDataUpdate", reqId=alive)
        sent += middle.pass_time(1)
    assert names(sent) == ["reqContractDetails"]
    tell_hours(middle)
    for _ in range(120):
        middle.hear("historicalDataUpdate", reqId=alive)
        sent += middle.pass_time(1)
    assert [(each.name, each.data["reqId"]) for each in sent[1:2]] == [("cancelHistoricalData", dead)]
    assert names(sent[2:]) == ["reqHistoricalData"]


def test_nothing_is_asked_again_while_its_market_is_closed(middle):
    number = middle.subscribe()
    flow(middle, number)
    wait(middle, 61)
    tell_hours(middle, "20231114:CLOSED;20231115:CLOSED;20231116:0000-20231117:0000")
    assert ours(wait(middle, 6 * 3600, 30)) == []


def test_where_the_hours_are_not_known_patience_is_ten_times_as_long(middle):
    flow(middle, middle.subscribe())
    assert ours(wait(middle, 1780, 5)) == []
    assert names(ours(wait(middle, 40))) == ["cancelMktData", "reqMktData"]


def test_what_never_spoke_is_left_alone_where_the_hours_are_not_known(middle):
    middle.subscribe()
    assert ours(wait(middle, 24 * 3600, 60)) == []


@pytest.mark.scenario("B29")
def test_a_stream_that_was_dropped_without_being_named_is_asked_for_again_while_its_market_is_open(middle):
    middle.subscribe()
    middle.error(-1, 100, "Max rate of messages per second has been exceeded")
    assert names(wait(middle, 61)) == ["reqContractDetails"]
    tell_hours(middle)
    assert ours(wait(middle, 115)) == []
    assert names(ours(wait(middle, 20))) == ["cancelMktData", "reqMktData"]
    assert gaps(middle) == [], "nothing can have been missed of what never came"
    times = [each for each in range(24 * 60) if ours(wait(middle, 60, 10))]
    assert times[0] >= 4
    assert 24 <= len(times) <= 28, "then more and more seldom, at last every hour"


def test_a_thin_stream_is_not_dead_after_three_minutes(middle):
    number = middle.subscribe()
    assert ours(flow(middle, number, 3600, 100)) == []
    tell_hours(middle)
    assert ours(flow(middle, number, 3600, 100)) == []
    assert ours(wait(middle, 600, 5)) == []


@pytest.mark.scenario("B22")
def test_hours_are_asked_for_once_a_contract_and_a_false_200_is_no_answer_for_ever(middle):
    """B22: what TWS says while its definitions are down is not kept as truth."""
    number = middle.subscribe()
    flow(middle, number)
    assert names(wait(middle, 120)) == ["reqContractDetails"]
    middle.error(middle.last_id(), 200)
    assert errors(middle)[-1].topic.startswith(f"req.{OWN}.")
    assert wait(middle, 1200, 10) == []
    flow(middle, number)
    assert "reqContractDetails" in names(flow(middle, number, 3600, 100))


def test_hours_are_not_asked_for_while_definitions_are_down(middle):
    flow(middle, middle.subscribe())
    middle.resubscriber.on_notice(2157, "secdefil")
    assert wait(middle, 120) == []
    middle.resubscriber.on_notice(2158, "secdefil")
    assert names(wait(middle, 2)) == ["reqContractDetails"]


def test_when_a_market_closes_that_nobody_knew_of_there_is_no_storm(middle):
    """A hundred streams fall silent together: it is not the streams."""
    numbers = []
    for each in range(100):
        middle.ask("reqMktData", "a", each, contract={**AAPL, "symbol": f"S{each}"})
        numbers.append(middle.last_id())
    for _ in range(12):
        for number in numbers:
            middle.tick(number)
        middle.pass_time(5)
    sent = Counter(names(wait(middle, 6 * 3600, 10)))
    assert 0 < sent["reqMktData"] <= 6 * 3600 // 180


def test_no_more_streams_are_asked_for_again_in_a_minute_than_allowed_but_all_in_the_end(middle):
    numbers = []
    for each in range(30):
        middle.ask("reqMktData", "a", each, contract={**AAPL, "symbol": f"S{each}"})
        numbers.append(middle.last_id())
    for _ in range(12):
        for number in numbers:
            middle.tick(number)
        middle.pass_time(5)
    middle.link.take()
    middle.resubscriber.on_notice(1102)
    minutes = [Counter(names(wait(middle, 60)))["reqMktData"] for _ in range(6)]
    assert max(minutes) <= 6
    assert sum(minutes) == 30


# Deadlines


@pytest.mark.scenario("B23")
def test_who_is_never_answered_is_told_and_a_late_answer_is_given_to_nobody(middle):
    middle.ask("reqMatchingSymbols", "a", 1, pattern="x")
    number = middle.last_id()
    middle.pass_time(0)
    wait(middle, 29)
    assert errors(middle) == []
    wait(middle, 2)
    (error,) = errors(middle)
    assert (error.topic, error.data["errorCode"], error.data["ends"]) == ("req.a.1.error.", 504, True)
    assert len(middle.tracker) == 0
    middle.ask("reqMatchingSymbols", "b", 1, pattern="x")
    assert middle.topic_of("symbolSamples", reqId=number) == f"req.~{number}.symbolSamples."
    assert middle.topic_of("symbolSamples", reqId=middle.last_id()) == "req.b.1.symbolSamples."
    wait(middle, 100)
    assert len(errors(middle)) == 1


@pytest.mark.scenario("B24")
def test_two_who_ask_the_same_without_a_number_each_have_one_answer_or_are_told(middle):
    middle.ask("reqCurrentTime", "a", 1)
    middle.ask("reqCurrentTime", "b", 2)
    middle.pass_time(0)
    middle.hear("currentTime", time=1)
    assert sorted(h.topic for h in middle.published if h.body["type"] == "currentTime") == [
        "req.a.1.currentTime.",
        "req.b.2.currentTime.",
    ]
    middle.ask("reqCurrentTime", "a", 3)
    wait(middle, 32)
    assert [error.topic for error in errors(middle)] == ["req.a.3.error."]
    assert middle.topic_of("currentTime", time=2) == "sys.tws.currentTime.", "a late one is nobody's"


def test_what_tws_throttles_is_given_time_for_each_answer(middle):
    middle.ask("reqContractDetails", "a", 1, contract={"symbol": "ES", "secType": "FUT", "exchange": "CME"})
    number = middle.last_id()
    middle.pass_time(0)
    for _ in range(6):
        wait(middle, 50)
        middle.hear("contractDetails", reqId=number, contractDetails={"contract": AAPL})
    assert errors(middle) == []
    wait(middle, 125)
    assert [error.topic for error in errors(middle)] == ["req.a.1.error."]


def test_what_is_throttled_is_counted_and_so_never_passed_on_unread():
    for request in REQUESTS.values():
        if request.throttled:
            rows = [name for name in request.answers if name not in request.ends]
            assert rows
            assert not any(is_flat(MESSAGES[name]) for name in rows)


def test_a_time_out_cancels_what_can_be_cancelled_but_never_an_order(middle):
    middle.ask("reqHistoricalData", "a", 1, contract=AAPL, **DAY)
    middle.ask("whatIfOrder", "a", 2, contract=AAPL, order=LIMIT)
    middle.pass_time(0)
    assert names(wait(middle, 85)) == []
    assert [error.topic for error in errors(middle)] == ["req.a.2.error."]
    assert names(wait(middle, 10)) == ["cancelHistoricalData", "reqHistoricalData"], "which may have been dropped"
    assert names(wait(middle, 95)) == ["cancelHistoricalData"]


def test_what_cannot_be_cancelled_now_is_not_over_now(middle):
    """TWS would still be at it, and count it among those that it has at most at a time."""
    middle.ask("reqContractDetails", "a", 1, contract=AAPL)
    middle.link.takes = False
    assert wait(middle, 40) == []
    assert errors(middle) == []
    middle.link.takes = True
    assert names(wait(middle, 30)) == ["cancelContractData"]
    assert [each.data["errorCode"] for each in errors(middle)] == [504]


def test_what_tws_keeps_after_its_answer_is_cancelled_as_soon_as_tws_takes_that(middle):
    middle.ask("reqHeadTimeStamp", "a", 1, contract=AAPL, whatToShow="TRADES", useRTH=1, formatDate=1)
    number = middle.last_id()
    middle.link.takes = False
    middle.hear("headTimestamp", reqId=number)
    freed: list[OutboundMessage] = []
    middle.pacing.completed = freed.append
    assert wait(middle, 2) == []
    assert freed == []
    middle.link.takes = True
    assert names(middle.pass_time(1)) == ["cancelHeadTimeStamp"]
    assert [each.args["reqId"] for each in freed] == [number]


def test_what_still_waits_to_be_sent_has_all_its_time(middle):
    middle.pacing.next_messages, middle.pacing.wake = lambda _: (), lambda: None
    middle.ask("reqHistoricalData", "a", 1, contract=AAPL, **DAY)
    wait(middle, 600)
    assert errors(middle) == []
    del middle.pacing.next_messages, middle.pacing.wake
    middle.parts.tws.port._drain()
    wait(middle, 185)
    assert len(errors(middle)) == 1


def test_what_had_to_wait_to_be_sent_has_all_its_time_from_then_on():
    middle = Middle()
    for number in range(40):  # of which one a second may leave
        middle.ask("reqMatchingSymbols", "a", number, pattern=f"{number}")
    left: dict[int, float] = {}
    told: dict[int, float] = {}
    for _ in range(100):
        for each in wait(middle, 1):
            left[int(each.data["pattern"])] = middle.clock.now
        for error in errors(middle)[len(told) :]:
            told[int(error.topic.split(".")[2])] = middle.clock.now
    assert sorted(told) == [*range(40)]
    assert all(30 <= told[number] - left.get(number, 0.0) <= 32 for number in told)


def test_an_account_summary_without_a_first_answer_is_over_and_one_with_it_is_not(middle):
    for group in ("All", "G"):
        middle.ask("reqAccountSummary", "a", group, groupName=group, tags="NetLiquidation")
        if group == "All":
            middle.hear("accountSummary", reqId=middle.last_id(), account="DU1")
    middle.pass_time(0)
    assert names(wait(middle, 65)) == ["cancelAccountSummary"]
    assert len(errors(middle)) == 1
    assert len(middle.tracker) == 1


def test_first_values_are_not_overdue_while_there_is_no_connection_that_could_bring_them(middle):
    middle.ask("reqPositions", "a", 1)
    wait(middle, 30)
    middle.lost()
    wait(middle, 120)
    assert errors(middle) == []
    middle.connect()
    assert errors(middle) == wait(middle, 58) == []
    wait(middle, 4)
    (error,) = errors(middle)
    assert (error.topic, error.data["errorCode"], error.data["ends"]) == ("req.a.1.error.", 504, False)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("reqPnL", {"account": "DU1", "modelCode": ""}),
        ("reqPnLSingle", {"account": "DU1", "modelCode": "", "conid": 7}),
        ("reqScannerSubscription", {"subscription": {"scanCode": "MOST_ACTIVE"}}),
    ],
)
def test_what_tws_answers_at_once_or_never_is_over_after_a_minute(middle, name, args):
    middle.ask(name, "a", 1, **args)
    assert errors(middle) == wait(middle, 58) == []
    assert names(wait(middle, 4)) == [f"cancel{name[3:]}"]
    (error,) = errors(middle)
    assert (error.data["errorCode"], error.data["ends"]) == (504, True)


@pytest.mark.parametrize("said_by", ["daemon", "TWS"])
def test_each_who_shares_a_stream_of_an_account_is_told_that_it_is_over(middle, said_by):
    for client, number in (("a", 1), ("b", 2)):
        middle.ask("reqPnL", client, number, account="DU1", modelCode="")
    if said_by == "daemon":
        wait(middle, 62)
    else:
        middle.error(middle.last_id(), 321, "Invalid account code")
    assert [(each.topic, each.data["ends"]) for each in errors(middle)] == [
        ("req.a.1.error.", True),
        ("req.b.2.error.", True),
    ]


def test_an_account_summary_that_has_spoken_before_is_asked_for_until_it_speaks_again(middle):
    middle.ask("reqAccountSummary", "a", 1, groupName="All", tags="NetLiquidation")
    middle.hear("accountSummary", reqId=middle.last_id(), account="DU1")
    middle.reconnect()
    middle.pass_time(0)
    for _ in range(3):
        assert names(wait(middle, 63)) == ["cancelAccountSummary", "reqAccountSummary"]
    middle.hear("accountSummary", reqId=middle.last_id(), account="DU1")
    assert wait(middle, 300) == []
    assert errors(middle) == []


@pytest.mark.scenario("B23")
def test_a_question_that_waits_for_a_connection_is_not_kept_for_ever(middle):
    middle.ask("reqMatchingSymbols", "a", 1, pattern="x")
    middle.pass_time(0)
    assert middle.lost() == []
    wait(middle, 32)
    assert "no connection" in errors(middle)[0].data["errorString"]
    middle.link.take()
    middle.connect()
    assert middle.link.take() == []


def test_what_was_answered_in_part_is_not_asked_again(middle):
    middle.ask("reqContractDetails", "a", 1, contract=AAPL)
    middle.hear("contractDetails", reqId=middle.last_id(), contractDetails={"contract": AAPL})
    assert [route.id for route in middle.lost()] == [1]


# Cancelled and asked for again


@pytest.mark.scenario("B31")
def test_late_ticks_of_a_cancelled_stream_do_not_reach_who_asks_next(middle):
    old = middle.subscribe("a", 1)
    middle.tick(old)
    middle.cancel("cancelMktData", 1)
    new = middle.subscribe("b", 1)
    assert middle.tick(old).topic == f"md.~{old}.tickPrice."
    assert middle.tick(new).topic == f"{STREAM}tickPrice."


# Everything at once


class Session(RuleBasedStateMachine):
    """TWS comes and goes, loses data, falls silent. In the end it streams just what is wanted."""

    SYMBOLS = ("A", "B", "C")

    def __init__(self):
        super().__init__()
        self.middle = Middle()
        self.connected = True
        self.wanted: dict[tuple[str, int], str] = {}  # by client and command id
        self.streaming: dict[int, str] = {}  # at TWS, by number
        self.asked: dict[int, str] = {}  # who asked, by number
        self.told: Counter[str] = Counter()
        self.ids = 0
        self.seen = 0

    def host(self):
        """TWS does what it is asked to."""
        for name, data in self.middle.link.take():
            if name == "reqMktData":
                assert self.connected
                assert data["reqId"] not in self.streaming
                self.streaming[data["reqId"]] = data["contract"]["symbol"]
            elif name == "cancelMktData":
                self.streaming.pop(data["reqId"], None)
            elif name == "reqMatchingSymbols":
                assert data["reqId"] not in self.asked
                self.asked[data["reqId"]] = data["pattern"]

    @rule(symbol=st.sampled_from(SYMBOLS), client=st.sampled_from("ab"))
    @precondition(lambda self: self.connected)
    def subscribe(self, symbol, client):
        self.ids += 1
        self.middle.ask("reqMktData", client, self.ids, contract={**AAPL, "symbol": symbol})
        self.wanted[client, self.ids] = symbol
        self.host()

    @rule(data=st.data())
    @precondition(lambda self: self.wanted)
    def cancel(self, data):
        client, number = data.draw(st.sampled_from(sorted(self.wanted)))
        self.middle.cancel("cancelMktData", number, client)
        del self.wanted[client, number]
        self.host()

    @rule(client=st.sampled_from("ab"))
    @precondition(lambda self: self.connected)
    def question(self, client):
        self.ids += 1
        self.middle.ask("reqMatchingSymbols", client, self.ids, pattern=f"{client}.{self.ids}")
        self.host()

    @rule(data=st.data())
    @precondition(lambda self: self.connected and self.asked)
    def answer(self, data):
        number = data.draw(st.sampled_from(sorted(self.asked)))
        whose = self.asked.pop(number)
        topic = self.middle.topic_of("symbolSamples", reqId=number)
        assert topic in (f"req.{whose}.symbolSamples.", f"req.~{number}.symbolSamples.")
        if "~" not in topic:
            self.told[whose] += 1

    @rule(data=st.data())
    @precondition(lambda self: self.connected and self.streaming)
    def tick(self, data):
        number = data.draw(st.sampled_from(sorted(self.streaming)))
        topic = self.middle.tick(number).topic
        assert topic == f"md.{self.streaming[number]}-STK-SMART-USD.tickPrice."

    @rule()
    @precondition(lambda self: self.connected)
    def lose(self):
        self.connected = False
        self.streaming.clear()
        self.asked.clear()
        self.middle.lost()

    @rule()
    @precondition(lambda self: not self.connected)
    def connect(self):
        self.connected = True
        self.middle.connect()
        self.host()

    @rule(really=st.booleans())
    @precondition(lambda self: self.connected)
    def lose_data(self, really):
        if really:
            self.streaming.clear()
        self.middle.resubscriber.on_notice(1101)
        self.host()

    @rule(code=st.sampled_from((1100, 1102)))
    @precondition(lambda self: self.connected)
    def upstream(self, code):
        self.middle.resubscriber.on_notice(code)
        self.host()

    @rule(seconds=st.sampled_from((1, 10, 100, 1000)))
    def time(self, seconds):
        self.middle.pass_time(seconds)
        self.host()

    @rule()
    @precondition(lambda self: self.connected)
    def busy(self):
        """TWS takes nothing for a while, just when everything is to be asked for again."""
        self.streaming.clear()
        self.middle.link.takes = False
        self.middle.resubscriber.on_notice(1101)
        self.middle.link.takes = True
        self.middle.pass_time(1)
        self.host()

    @invariant()
    def what_is_wanted_is_what_there_is(self):
        if self.connected:
            assert Counter(self.streaming.values()) == Counter(set(self.wanted.values()))

    @invariant()
    def nobody_is_told_twice(self):
        for heard in self.middle.published[self.seen :]:
            if heard.body["type"] == "error" and heard.topic.startswith("req."):
                self.told[heard.topic.removeprefix("req.").removesuffix(".error.")] += 1
        self.seen = len(self.middle.published)
        assert not self.told or max(self.told.values()) == 1

    def teardown(self):
        """Everybody who asked is answered or told: nothing waits for ever."""
        for _ in range(3):
            self.middle.pass_time(100)
        self.nobody_is_told_twice()
        assert all(route.ended for route in self.middle.requests._requests._index._requests.values() if route.one_shot)


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# Too much for TWS all the same


PACING = "Historical Market Data Service error message:Historical data request pacing violation"


@pytest.mark.parametrize(
    ("command", "args", "refusal", "answer"),
    [
        ("reqMatchingSymbols", {"pattern": "x"}, (100, "Max rate of messages"), "symbolSamples"),
        ("reqHistoricalData", {"contract": AAPL, **DAY}, (162, PACING), "historicalDataEnd"),
    ],
)
@pytest.mark.scenario("B29", "B30")
def test_a_question_that_was_too_much_for_tws_is_asked_again_and_answered_once(middle, command, args, refusal, answer):
    middle.ask(command, "a", 1, **args)
    for _ in range(3):
        number = middle.last_id()
        middle.error(number, *refusal)
        assert (errors(middle)[-1].topic, errors(middle)[-1].data["ends"]) == ("req.a.1.error.", False)
        assert names(wait(middle, 2)) == [command]
        assert middle.last_id() != number
        assert middle.topic_of(answer, reqId=number).startswith("req.~"), "the refused number is nobody's"
    assert middle.topic_of(answer, reqId=middle.last_id()) == f"req.a.1.{answer}."
    assert len(middle.tracker) == 0
    assert names(wait(middle, 20)) == []


@pytest.mark.scenario("B29")
def test_what_is_too_much_four_times_is_told_to_be_over(middle):
    middle.ask("reqContractDetails", "a", 1, contract=AAPL)
    for _ in range(4):
        middle.error(middle.last_id(), 100, "Max rate of messages")
        wait(middle, 2)
    assert [each.data["ends"] for each in errors(middle)] == [False, False, False, True]
    assert len(middle.tracker) == 0


@pytest.mark.scenario("B29")
def test_a_stream_that_was_too_much_is_asked_for_again_on_its_topic(middle):
    middle.ask("reqMktData", "a", 1, contract=AAPL)
    first = middle.last_id()
    middle.error(first, 100, "Max rate of messages")
    assert names(wait(middle, 2)) == ["reqMktData"]
    topic = middle.topic_of("tickPrice", reqId=middle.last_id(), tickType=1)
    assert topic == "md.AAPL-STK-SMART-USD.tickPrice."
    middle.cancel("cancelMktData", 1, client="a")
    assert middle.link.sent[-1] == ("cancelMktData", {"reqId": middle.last_id()})


@pytest.mark.scenario("B29")
def test_what_a_stream_was_refused_before_it_spoke_does_not_count_for_ever(middle):
    number = middle.subscribe()
    for _ in range(10):
        assert middle.error(number, 100, "Max rate of messages").data["ends"] is False
        assert names(wait(middle, 2)) == ["reqMktData"]
        number = middle.last_id()
        middle.tick(number)
        middle.reconnect()
        number = middle.last_id()


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.scenario("B29")
def test_what_has_begun_or_costs_money_is_not_asked_again(middle, answered):
    if answered:
        middle.ask("reqContractDetails", "a", 1, contract=AAPL)
        middle.hear("contractDetails", reqId=middle.last_id())
    else:
        middle.ask("reqMktData", "a", 1, contract=AAPL, regulatorySnapshot=True)
    middle.error(middle.last_id(), 100, "Max rate of messages")
    assert errors(middle)[-1].data["ends"] is True
    assert names(wait(middle, 2)) == []


@pytest.mark.scenario("B29")
def test_an_order_is_told_and_never_sent_again(middle):
    middle.place("k")
    middle.error(middle.link.sent[-1].data["orderId"], 100, "Max rate of messages")
    assert errors(middle)[-1].topic == "ord.a.k.error."
    assert names(wait(middle, 20)) == []


@pytest.mark.scenario("B29")
def test_a_question_that_was_refused_and_then_lost_with_its_connection_is_put_once_more(middle):
    middle.ask("reqContractDetails", "a", 1, contract=AAPL)
    middle.error(middle.last_id(), 100, "Max rate of messages")
    wait(middle, 2)
    assert middle.reconnect() == []
    assert middle.topic_of("contractDetailsEnd", reqId=middle.last_id()) == "req.a.1.contractDetailsEnd."


@pytest.mark.scenario("B30")
def test_history_that_is_dropped_without_a_word_is_asked_for_once_more_and_then_told(middle):
    middle.ask("reqHistoricalData", "a", 1, contract=AAPL, **DAY)
    first = middle.last_id()
    assert names(wait(middle, 89)) == []
    assert names(wait(middle, 3)) == ["cancelHistoricalData", "reqHistoricalData"]
    assert errors(middle) == []
    assert middle.topic_of("historicalData", reqId=first).startswith("req.~")
    assert names(wait(middle, 95)) == ["cancelHistoricalData"]
    (error,) = errors(middle)
    assert (error.topic, error.data["errorCode"], error.data["ends"]) == ("req.a.1.error.", 504, True)
    assert len(middle.tracker) == 0
