"""Orders, executions and commissions as TWS reports them, in whatever order, and where they are published."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from ibbridge.orders import executions
from tests.support.daemon_core import AAPL, Heard, Middle

E1 = "0000e0d5.5f3b.01.01"


@pytest.fixture
def middle() -> Middle:
    return Middle()


def execution(
    middle: Middle, number: int, exec_id: str = E1, req_id: int = -1, client_id: int = 1, **about: Any
) -> None:
    """Have TWS report an execution; live, if there is no `req_id`."""
    known = {"execId": exec_id, "orderId": number, "clientId": client_id, "shares": 1.0, **about}
    middle.hear("execDetails", reqId=req_id, contract=AAPL, execution=known)


def commission(middle: Middle, exec_id: str = E1, **more: Any) -> None:
    report = {"execId": exec_id, "commissionAndFees": 1.0, "currency": "USD", **more}
    middle.hear("commissionAndFeesReport", commissionAndFeesReport=report)


def ask(middle: Middle, client: str, identifier: int = 1) -> int:
    """Have a client ask for executions; return the request id."""
    middle.ask("reqExecutions", client, identifier)
    return middle.last_id()


def told(middle: Middle) -> list[str]:
    """Return the topics of all executions and commissions that were published."""
    return [each.topic for each in middle.published if each.topic.startswith(("exec.", "req."))]


def last(middle: Middle, topic: str) -> Heard:
    return [each for each in middle.published if each.topic == topic][-1]


DETAILS, COMMISSION, END = "execDetails.", "commissionAndFeesReport.", "execDetailsEnd."


# -- executions and their commissions


def test_a_commission_is_its_executions_wherever_that_was_published(middle: Middle) -> None:
    number = middle.place("k", "me")
    execution(middle, number)
    for client in ("a", "b", "c"):
        asked = ask(middle, client)
        execution(middle, number, req_id=asked)
        commission(middle)
        middle.hear("execDetailsEnd", reqId=asked)
    lists = [f"req.{client}.1.{kind}" for client in "abc" for kind in (DETAILS, COMMISSION, END)]
    assert told(middle) == ["exec.me." + DETAILS, lists[0], "exec.me." + COMMISSION, *lists[1:]]
    commission(middle)
    assert told(middle)[-1] == lists[-1], "and the live one is the owner's that the owner has"


@pytest.mark.parametrize("turn", [*itertools.permutations(("E", "C", "E a", "C a", "E b", "C b"))])
def test_whoever_is_reported_to_first_everybody_has_each_report_once(turn: tuple[str, ...]) -> None:
    if any(turn.index(f"E{of}") > turn.index(f"C{of}") for of in (" a", " b")):
        return  # in a list the commission follows
    middle = Middle()
    number = middle.place("k", "me")
    asked = {name: ask(middle, name) for name in "ab"}
    for report in turn:
        if report[0] == "C":
            commission(middle)
        else:
            execution(middle, number, req_id=asked.get(report[2:], -1))
    places = ("exec.me.", "req.a.1.", "req.b.1.")
    assert Counter(told(middle)) == Counter(f"{place}{kind}" for place in places for kind in (DETAILS, COMMISSION))


def test_a_commission_that_comes_first_is_held_until_its_execution_comes(middle: Middle) -> None:
    number = middle.place("k", "me")
    commission(middle)
    at = middle.clock.us
    assert told(middle) == []
    execution(middle, number)
    assert told(middle) == ["exec.me." + DETAILS, "exec.me." + COMMISSION]
    heard = last(middle, "exec.me." + COMMISSION).body
    assert heard["ref"] == {"owner": "me", "key": "k", "orderId": number}
    assert heard["ts"] == at


def test_a_commission_whose_execution_does_not_come_is_published_without_it(
    middle: Middle, caplog: pytest.LogCaptureFixture
) -> None:
    commission(middle)
    at = middle.clock.us
    middle.pass_time(1)
    middle.pass_time(executions.LONGEST_HELD - 1)
    assert told(middle) == []
    middle.pass_time(1)
    assert told(middle) == ["exec.ext." + COMMISSION]
    assert (middle.published[-1].body.get("ref"), middle.published[-1].body["ts"]) == (None, at)
    assert "TWS has not reported the execution 0000e0d5.5f3b.01.01 of a commission" in caplog.text
    for _ in range(60):
        middle.pass_time(1)
    assert len(told(middle)) == 1


def test_commissions_that_are_held_are_bounded(middle: Middle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions, "MOST_HELD", 3)
    for count in range(5):
        commission(middle, f"{count}.01")
    assert [each.data["commissionAndFeesReport"]["execId"] for each in middle.published if each.topic[0] == "e"] == [
        "0.01", "1.01"
    ]  # fmt: skip


def test_commissions_that_are_held_are_published_when_the_connection_is_lost(middle: Middle) -> None:
    number = middle.place("k", "me")
    commission(middle)
    middle.reconnect()
    assert told(middle) == ["exec.ext." + COMMISSION]
    execution(middle, number, req_id=ask(middle, "a"))
    commission(middle)
    assert told(middle)[1:] == [
        "exec.me." + DETAILS, "req.a.1." + DETAILS, "exec.me." + COMMISSION, "req.a.1." + COMMISSION
    ]  # fmt: skip


def test_an_execution_that_was_missed_live_is_published_once_for_its_owner(middle: Middle) -> None:
    number = middle.place("k", "me")
    for client in ("a", "b"):
        asked = ask(middle, client)
        execution(middle, number, req_id=asked)
        commission(middle)
    execution(middle, number)
    commission(middle)
    mine = [each for each in middle.published if each.topic.startswith("exec.")]
    assert [(each.topic, each.body.get("flags")) for each in mine] == [
        ("exec.me." + DETAILS, ["synthetic"]), ("exec.me." + COMMISSION, None)
    ]  # fmt: skip
    assert mine[0].data["reqId"] == -1
    assert mine[0].body["ref"] == {"owner": "me", "key": "k", "orderId": number}
    assert last(middle, "req.a.1." + DETAILS).data["reqId"] != -1
    assert last(middle, "req.a.1." + DETAILS).body["ref"] == {"client": "a", "id": 1}


def test_executions_of_others_in_a_list_are_only_for_who_asked(middle: Middle) -> None:
    asked = ask(middle, "a")
    execution(middle, 77, req_id=asked, client_id=9, permId=5)
    commission(middle)
    assert told(middle) == ["req.a.1." + DETAILS, "req.a.1." + COMMISSION]
    execution(middle, 77, client_id=9, permId=5)
    commission(middle)
    assert told(middle)[2:] == ["exec.ext." + DETAILS, "exec.ext." + COMMISSION]


def test_a_list_that_was_given_up_takes_nothing_from_anybody(middle: Middle) -> None:
    number = middle.place("k", "me")
    asked = ask(middle, "a")
    for _ in range(300):
        middle.pass_time(1)
    before = len(told(middle))
    execution(middle, number, req_id=asked)
    commission(middle)
    execution(middle, 77, "F.01", req_id=asked, client_id=9)
    commission(middle, "F.01")
    late = [f"req.~{asked}.{kind}" for kind in (DETAILS, COMMISSION)]
    assert told(middle)[before:] == ["exec.me." + DETAILS, late[0], "exec.me." + COMMISSION, late[1], *late]


def test_a_correction_has_the_owner_of_the_execution_that_it_corrects(middle: Middle) -> None:
    number = middle.place("k", "me")
    for exec_id in (E1, "0000e0d5.5f3b.02.01.01"):
        execution(middle, number, exec_id)
        corrected = exec_id[:-1] + "2"
        execution(middle, 0, corrected, client_id=0)
        assert last(middle, "exec.me." + DETAILS).body["ref"]["key"] == "k"
        for each in (exec_id, corrected):
            commission(middle, each)
    assert Counter(told(middle)) == {"exec.me." + DETAILS: 4, "exec.me." + COMMISSION: 4}


def test_the_commission_of_an_unknown_correction_goes_to_the_owner_in_the_end(middle: Middle) -> None:
    execution(middle, middle.place("k", "me"))
    commission(middle, E1[:-1] + "2")
    for _ in range(2):
        middle.pass_time(executions.LONGEST_HELD)
    assert told(middle) == ["exec.me." + DETAILS, "exec.me." + COMMISSION]


def test_an_amount_that_tws_did_not_know_at_first_is_published_too(middle: Middle) -> None:
    execution(middle, middle.place("k", "me"))
    for amount in (None, 1.0, 1.0):
        commission(middle, commissionAndFees=amount)
    assert told(middle) == ["exec.me." + DETAILS, "exec.me." + COMMISSION, "exec.me." + COMMISSION]


# -- the life of one order, in any order


REPORTS = ("openOrder", "orderStatus", "execDetails", "commissionAndFeesReport", "completedOrder")


def report(middle: Middle, name: str, number: int) -> None:
    about = {"orderId": number, "clientId": 1, "permId": 7}
    match name:
        case "openOrder":
            middle.hear(name, orderId=number, order={**about, "orderRef": "me/k"}, orderState={"status": "Submitted"})
        case "orderStatus":
            middle.hear(name, **about, status="Filled")
        case "execDetails":
            execution(middle, number, permId=7, orderRef="me/k")
        case "commissionAndFeesReport":
            commission(middle)
        case _:
            middle.hear(name, order={"permId": 7, "orderRef": "me/k"}, orderState={"status": "Filled"})


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("turn", [*itertools.permutations(REPORTS)])
def test_what_tws_reports_of_an_order_is_its_owners_in_whatever_order_it_comes(
    turn: tuple[str, ...], restarted: bool
) -> None:
    middle = Middle()
    if restarted:
        number = 77
        middle.orders.take_up("me", "k", number, 0)
    else:
        number = middle.place("k", "me")
        middle.reconnect()
    before = len(middle.published)
    for name in turn:
        report(middle, name, number)
    heard = [each for each in middle.published[before:] if each.body["type"] != "orderState"]
    assert sorted(each.topic for each in heard) == sorted(
        f"exec.me.{name}." if name in REPORTS[2:4] else f"ord.me.k.{name}." for name in REPORTS
    )
    assert all(each.body["ref"] == {"owner": "me", "key": "k", "orderId": number} for each in heard)
    order = middle.orders.known("me", "k", number)
    assert order is not None
    assert order.perm_ids == (7,)


# -- ids that are given twice


def test_an_order_id_that_is_given_twice_joins_no_two_orders() -> None:
    middle = Middle(ready=False)
    middle.connect(1514)
    stop = middle.place("stop", "me")
    assert stop == 1514
    asked = ask(middle, "other")
    execution(middle, 1514, req_id=asked, permId=9001, orderRef="me/entry")
    middle.hear("execDetailsEnd", reqId=asked)
    missed = last(middle, "exec.me." + DETAILS)
    assert missed.body["ref"] == {"owner": "me", "key": "entry", "orderId": 1514}
    opened = {"orderId": 1514, "clientId": 1, "permId": 9444, "orderRef": "me/stop"}
    assert middle.topic_of("openOrder", orderId=1514, order=opened, orderState={"status": "PreSubmitted"}) == (
        "ord.me.stop.openOrder."
    )
    done = {"order": {"permId": 9001, "orderRef": "me/entry"}, "orderState": {"status": "Filled"}}
    assert middle.topic_of("completedOrder", **done) == "ord.me.entry.completedOrder."
    order = middle.orders.keyed("me", "stop")
    assert order is not None
    assert (order.perm_ids, order.ended) == ((9444,), False)
    assert middle.ask("cancelOrder", "me", key="stop") == {"key": "stop", "orderId": 1514}


def test_a_second_perm_id_of_an_order_is_the_orders(middle: Middle) -> None:
    number = middle.place("k", "me")
    opened = {"orderId": number, "clientId": 1, "permId": 7, "orderRef": "me/k"}
    middle.hear("openOrder", orderId=number, order=opened, orderState={"status": "Submitted"})
    middle.hear("orderStatus", orderId=number, clientId=1, permId=8, status="Filled")
    middle.hear("completedOrder", order={"permId": 8, "orderRef": "me/k"}, orderState={"status": "Filled"})
    said = [each for each in middle.published if each.body["type"] not in ("orderState", "reconciled")]
    topics = [each.topic for each in said if not each.topic.startswith("sys.tws")]
    assert topics == ["ord.me.k.openOrder.", "sys.bridge.alarm.", "ord.me.k.orderStatus.", "ord.me.k.completedOrder."]
