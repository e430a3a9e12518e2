"""Lines: the budget of each kind, who holds what, quotas, and subscriptions that wait for a line."""

from __future__ import annotations

from collections import Counter

import pytest

from ibbridge.subscriptions.lines import KINDS, NoLineError
from tests.support.daemon_core import AAPL, DAY, Middle, refusal


def stock(number: int) -> dict[str, str]:
    return {**AAPL, "symbol": f"S{number}"}


def fill(middle: Middle, count: int, client: str = "a", first: int = 0) -> None:
    for number in range(first, first + count):
        middle.ask("reqMktData", client, f"{client}{number}", contract=stock(number))


def used(middle: Middle, kind: str = "level1") -> dict[str, int]:
    return middle.subscriptions.lines.summary()[kind]


@pytest.mark.parametrize(
    ("command", "kind", "args", "most"),
    [
        ("reqMktData", "level1", {}, 100),
        ("reqMktDepth", "depth", {"numRows": 5}, 3),
        ("reqTickByTickData", "tickByTick", {"tickType": "Last"}, 5),
        ("reqHistoricalData", "bars", {**DAY, "keepUpToDate": True}, 45),
    ],
)
def test_the_line_after_the_last_is_refused_and_the_refusal_says_who_holds_the_others(command, kind, args, most):
    middle = Middle()
    for number in range(most):
        middle.ask(command, "ab"[number % 2], number, contract=stock(number), **args)
    assert used(middle, kind) == {"used": most, "free": 0, "most": most}
    sent = len(middle.link.sent)
    refused = refusal("E_LINES", middle.ask, command, "c", "one more", contract=stock(most), **args)
    assert refused.outcome == "not_sent"
    assert refused.more == {"kind": kind, "most": most, "holders": {"a": most - most // 2, "b": most // 2}}
    assert f"a {most - most // 2}" in str(refused)
    assert len(middle.link.sent) == sent


def test_who_may_not_know_the_other_clients_is_told_how_many_lines_they_have():
    holders = Counter({"alpha": 60, "beta": 30, "me": 10})
    whole = NoLineError("level1", "all 100 lines are in use", 100, holders)
    assert "(alpha 60, beta 30, me 10)" in str(whole)
    own = whole.told_to(lambda client: client == "me")
    assert own.more == {"kind": "level1", "most": 100, "holders": {"me": 10}, "others": 90}
    assert "(me 10, other clients 90)" in str(own)
    assert (own.code, own.outcome) == (whole.code, whole.outcome)
    assert whole.told_to(lambda _: True).as_map() == whole.as_map()
    nothing = whole.told_to(lambda _: False)
    assert not {name for name in ("alpha", "beta") if name in str(nothing.as_map())}


def test_scanners_have_a_budget_of_ten():
    middle = Middle()
    for number in range(10):
        middle.ask("reqScannerSubscription", "a", number, subscription={"scanCode": f"TOP_{number}"})
    refusal("E_LINES", middle.ask, "reqScannerSubscription", "a", 10, subscription={"scanCode": "MOST"})
    middle.cancel("cancelScannerSubscription", 3)
    middle.ask("reqScannerSubscription", "a", 11, subscription={"scanCode": "MOST"})


def test_what_is_shared_takes_one_line_and_counts_for_each_holder():
    middle = Middle(lines=2)
    middle.ask("reqMktData", "a", 1, contract=AAPL)
    middle.ask("reqMktData", "b", 1, contract=AAPL)
    assert used(middle)["used"] == 1
    middle.ask("reqMktData", "b", 2, contract=stock(1))
    assert refusal("E_LINES", middle.ask, "reqMktData", "c", contract=stock(2)).more["holders"] == {"b": 2, "a": 1}


def test_a_line_is_free_when_its_last_holder_cancels_or_tws_refuses_it():
    middle = Middle(lines=2)
    fill(middle, 2)
    number = middle.last_id()
    middle.cancel("cancelMktData", "a0")
    assert used(middle)["free"] == 1
    middle.error(number, 200)
    assert used(middle)["free"] == 2


def test_a_snapshot_takes_a_line_until_it_ends():
    middle = Middle(lines=1)
    middle.ask("reqMktData", "a", 1, contract=AAPL, snapshot=True)
    assert used(middle)["used"] == 1
    middle.hear("tickSnapshotEnd", reqId=middle.last_id())
    assert used(middle)["used"] == 0


def test_a_budget_that_tws_corrects_holds_until_the_next_connection():
    middle = Middle(lines=100)
    fill(middle, 11)
    middle.error(middle.last_id(), 101, "Max number of tickers has been reached")
    assert used(middle) == {"used": 10, "free": 0, "most": 10}
    refusal("E_LINES", middle.ask, "reqMktData", "b", contract=stock(77))
    middle.reconnect()
    assert used(middle)["most"] == 100


def test_a_reconnect_counts_nothing_twice():
    middle = Middle(lines=10)
    fill(middle, 7)
    for _ in range(3):
        middle.reconnect()
        middle.pass_time(1)
        assert used(middle)["used"] == 7


def test_a_quota_bounds_each_client_alone():
    middle = Middle(quota=2)
    fill(middle, 2, "a")
    assert "a has 2 lines" in str(refusal("E_LINES", middle.ask, "reqMktData", "a", contract=stock(9)))
    fill(middle, 2, "b", first=20)
    middle.ask("reqMktData", "a", 5, contract=stock(20))  # b's line, which takes no other


class TestWaiting:
    def test_it_is_requested_as_soon_as_there_is_a_line_the_oldest_first(self):
        middle = Middle(lines=1)
        middle.ask("reqMktData", "a", 1, contract=AAPL)
        for client in "bc":
            reply = middle.ask("reqMktData", client, 1, contract=stock(ord(client)), wait=True)
            assert reply["held_by"] == "lines"
            assert reply["held_until"] is None
        middle.link.take()
        assert middle.pass_time(5) == []
        middle.cancel("cancelMktData", 1)
        middle.link.take()
        sent = middle.pass_time(1)
        assert [each.data["contract"]["symbol"] for each in sent] == [f"S{ord('b')}"]
        assert middle.tick(middle.last_id()).topic.startswith(f"md.S{ord('b')}-STK")

    def test_clients_share_one_that_waits(self):
        middle = Middle(lines=1)
        middle.ask("reqMktData", "a", 1, contract=AAPL)
        middle.ask("reqMktData", "b", 1, contract=stock(1), wait=True)
        middle.ask("reqMktData", "c", 1, contract=stock(1))
        middle.cancel("cancelMktData", 1, "b")
        middle.cancel("cancelMktData", 1, "a")
        middle.link.take()
        assert len(middle.pass_time(1)) == 1

    def test_a_cancelled_one_is_never_requested_and_sends_no_cancel(self):
        middle = Middle(lines=1)
        middle.ask("reqMktData", "a", 1, contract=AAPL)
        middle.ask("reqMktData", "b", 1, contract=stock(1), wait=True)
        middle.link.take()
        middle.cancel("cancelMktData", 1, "b")
        middle.cancel("cancelMktData", 1, "a")
        assert [each.name for each in middle.link.take()] == ["cancelMktData"]
        assert middle.pass_time(2) == []

    def test_it_waits_on_over_a_reconnect(self):
        middle = Middle(lines=1)
        middle.ask("reqMktData", "a", 1, contract=AAPL)
        middle.ask("reqMktData", "b", 1, contract=stock(1), wait=True)
        middle.reconnect()
        middle.link.take()
        assert middle.pass_time(1) == []
        middle.cancel("cancelMktData", 1)
        middle.link.take()
        assert len(middle.pass_time(1)) == 1

    def test_a_value_that_is_no_flag_is_refused_and_so_is_one_for_a_snapshot(self):
        middle = Middle()
        assert "wait must be true or false" in str(refusal("E_ARG", middle.ask, "reqMktData", contract=AAPL, wait=1))
        refusal("E_ARG", middle.ask, "reqMktData", contract=AAPL, snapshot=True, wait=True)
        refusal("E_ARG", middle.ask, "reqCurrentTime", wait=True)


def test_each_kind_is_in_the_summary():
    assert [*Middle().subscriptions.lines.summary()] == [kind.name for kind in KINDS]
