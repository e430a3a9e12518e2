"""IB's limits on requests: what left is held against the limits as the support module has them."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.daemon_core import AAPL, MSFT
from tests.support.paced_line import BARS, DAILY, Line, answered, bars, check_history, most_within


@pytest.mark.scenario("B30")
def test_identical_history_leaves_once_in_fifteen_seconds():
    line = Line()
    for client in ("a", "b", "a"):
        line.put("reqHistoricalData", client, **BARS)
    left = line.go(60)
    check_history(left)
    first, second, third = (each.at for each in left)
    assert 15 < second - first < 16
    assert 15 < third - second < 16
    assert [each.message.client for each in left] == ["a", "b", "a"]


@pytest.mark.scenario("B30")
def test_at_most_five_for_one_contract_and_type_in_two_seconds():
    line = Line()
    bars(line, 12)
    bars(line, 4, whatToShow="BID_ASK")
    bars(line, 5, contract=MSFT)
    left = line.go(0.9)
    assert Counter((each.message.args["contract"]["symbol"], each.message.args["whatToShow"]) for each in left) == {
        ("AAPL", "TRADES"): 5,
        ("AAPL", "BID_ASK"): 2,  # which count twice
        ("MSFT", "TRADES"): 5,
    }
    line.go(10)
    assert len(line.left) == 21
    check_history(line.left)


@pytest.mark.parametrize(("what", "first"), [("TRADES", 60), ("BID_ASK", 30)])
@pytest.mark.scenario("B30")
def test_at_most_sixty_in_ten_minutes(what, first):
    line = Line()
    for number in range(70):
        line.put("reqHistoricalData", **{**BARS, "contract": {"conId": number + 1}, "whatToShow": what})
    assert len(answered(line, 590)) == first
    assert len(answered(line, 20)) == min(first, 70 - first)
    check_history(line.left)


def test_the_head_time_stamp_counts_as_small_bars_do_and_stays_open():
    line = Line()
    for number in range(70):
        line.put("reqHeadTimeStamp", contract={"conId": number + 1}, whatToShow="TRADES")
    assert len(line.go(700)) == 50, "nobody has cancelled one"
    line.pacing.completed(line.left[0].message)
    assert len(line.go(700)) == 1


def test_large_bars_are_held_by_none_of_the_three():
    line = Line()
    for _ in range(49):
        line.put("reqHistoricalData", **DAILY)
    assert len(line.go(2)) == 49


def test_no_more_than_fifty_are_open_at_once_of_whatever_size():
    line = Line()
    asked = [line.put("reqHistoricalData", **{**DAILY, "endDateTime": f"{n}"}) for n in range(60)]
    left = [each.message for each in line.go(3600)]
    assert left == asked[:50]
    assert line.pacing.wake() is None, "nothing to wait for but an answer"
    for each in asked[:4]:
        line.pacing.completed(each)
        line.pacing.completed(each)  # twice is once
    assert [each.message for each in line.go(1)] == asked[50:54]
    line.pacing.completed(asked[59])
    assert not line.go(1), "it was not open"


def test_what_is_withdrawn_or_dropped_was_never_open():
    line = Line()
    asked = [line.put("reqHistoricalData", **DAILY) for _ in range(60)]
    line.go(10)
    assert line.pacing.withdraw(asked[55])
    line.pacing.completed(asked[55])
    assert not line.go(1)
    assert line.pacing.drop() == [each for each in asked[50:] if each is not asked[55]]
    for each in asked:
        line.pacing.completed(each)  # of the connection that is gone
    for _ in range(60):
        line.put("reqHistoricalData", **DAILY)
    assert len(line.go(10)) == 50


@pytest.mark.parametrize(
    ("name", "args", "most", "within"),
    [
        ("reqRealTimeBars", [{"contract": {"conId": n}, "whatToShow": "TRADES"} for n in range(70)], 60, 600),
        ("reqMatchingSymbols", [{"pattern": f"p{n}"} for n in range(5)], 1, 1),
        ("reqMktData", [{"contract": {"conId": n}, "regulatorySnapshot": True} for n in range(5)], 1, 1),
        ("reqTickByTickData", [{"contract": AAPL, "tickType": each} for each in ("Last", "BidAsk")], 1, 15),
    ],
)
def test_other_limits_of_the_same_form(name, args, most, within):
    line = Line()
    for each in args:
        line.put(name, **each)
    assert len(line.go(within - 0.01)) == most
    line.go(within * len(args))
    assert len(line.left) == len(args)
    assert most_within(within, [(at, 1) for at, _ in line.left]) == most


def test_what_a_limit_holds_does_not_hold_what_none_concerns():
    line = Line()
    bars(line, 80)
    line.put("reqMatchingSymbols", pattern="a")
    line.put("reqMatchingSymbols", pattern="b")
    free = [line.put("reqHistoricalData", **DAILY), line.put("reqMktData", contract=AAPL), line.put("reqCurrentTime")]
    left = [each.message for each in line.go(0.9)]
    assert all(each in left for each in free)
    check_history(answered(line, 1300))
    assert len(line.left) == 85


def test_the_limits_outlive_a_connection():
    line = Line()
    line.put("reqHistoricalData", **BARS)
    line.go(1)
    line.pacing.drop()
    line.put("reqHistoricalData", **BARS)
    assert not line.go(13)
    assert line.go(3)
