"""Events that TWS sent while nobody listened: what the daemon asks afterwards, step by step, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ibbridge.ib.list_reach import reaches
from ibbridge.orders.reconciliation import SETTLED
from tests.support.daemon_core import AAPL
from tests.support.order_lives import (
    LOOK_UPS,
    VERSIONS,
    Said,
    Stage,
    cancelled,
    changed,
    charged,
    completed,
    executed,
    failed,
    fills,
    opened,
    placed,
    states,
    status,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

E1 = "0000e0d5.5f3b.01.01"
EAST = "20231114 17:13:20 US/Eastern"
"""What TWS's greeting says of the time at which these scenes begin."""

TO_MIDNIGHT = 24_400.0
"""Seconds from then to the midnight of New York."""


def away(stage: Stage, connection_time: str = EAST, seconds: float = 0.0) -> None:
    """Lose the connection, and get another after some time. Its nextValidId is far too low."""
    stage.middle.lost()
    stage.middle.clock.pass_time(seconds)
    stage.middle.begin()
    stage.middle.session.connection_time = connection_time
    stage.read("nextValidId", {"orderId": 1})
    stage.read("managedAccounts", {"accountsList": "DU1"})
    assert [each.name for each in stage.middle.link.take()] == [], "before both have come, nothing is asked"
    stage.middle.ready()


def later(stage: Stage, seconds: int = 60, **rows: Iterable[Said]) -> None:
    """Let time pass, and give the same answers to all questions of the daemon."""
    for _ in range(seconds):
        stage.middle.pass_time(1.0)
        stage.lists(**rows)


@pytest.fixture(params=VERSIONS)
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


def test_the_questions_come_one_after_the_other_and_each_answer_is_used(stage: Stage) -> None:
    for step in (placed(), status("Submitted"), placed(key="gone"), status("Submitted", key="gone")):
        stage.do(step)
    stage.do(placed(key="lost"))
    away(stage)
    link = stage.middle.link
    asked = link.take()
    assert [each.name for each in asked] == ["reqAllOpenOrders"]
    stage.hear(opened("Submitted"))
    stage.hear(status("Submitted", 40, 60, 150))
    stage.read("openOrderEnd", {})
    asked = link.take()
    assert [each.name for each in asked] == ["reqExecutions"]
    number = {"reqId": asked[0].data["reqId"]}
    heard = stage.hear(executed(E1, 40, 40, req_id=number["reqId"]))
    assert [(each.topic, each.body.get("flags")) for each in fills(heard)] == [("exec.a.execDetails.", ["synthetic"])]
    assert [each.topic for each in fills(stage.hear(charged(E1)))] == ["exec.a.commissionAndFeesReport."]
    assert not fills(stage.hear(executed(E1, 40, 40))), "once"
    stage.read("execDetailsEnd", number)
    assert [each.name for each in link.take()] == ["reqCompletedOrders"]
    stage.hear(completed("Cancelled", "Cancelled by System:\n", key="gone"))
    stage.read("completedOrdersEnd", {})
    assert [each.name for each in link.take()] == ["reqPositions"], "to check the result by"
    stage.read("positionEnd", {})
    assert link.take() == []
    assert stage.shown() == "working 40/60@150"
    assert stage.shown("gone") == "done cancelled by broker 0/100"
    assert stage.shown("lost") == "unknown !504", "missing once"
    later(stage, opened=[opened("Submitted")])
    assert stage.shown("lost") == "done not_at_tws !504"
    assert stage.shown() == "working 40/60@150"


def test_no_id_of_a_next_valid_id_that_is_lower_is_given(stage: Stage) -> None:
    stage.do(placed())
    first = stage.order_id("k")
    away(stage)
    stage.lists()
    stage.do(placed(key="l"))
    assert stage.order_id("l") > first


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ({"opened": [opened("Submitted"), status("Submitted")]}, "working 0/100 !504"),
        ({"executed": [executed(E1, 40, 40)]}, "working 40/-@150 !504"),
        ({"completed": [completed("Filled", "Filled Size: 100", 100.0)]}, "done filled 100/- !504"),
        ({"completed": [completed("Cancelled", "Cancelled by Trader")]}, "done cancelled by by_hand 0/- !504"),
        ({"completed": [completed("Inactive", "Rejected by System: no")]}, "done rejected 0/- !504"),
    ],
)
def test_an_order_that_was_never_acknowledged_is_found_in_any_list_and_never_sent_again(
    stage: Stage, rows: dict[str, list[Said]], state: str
) -> None:
    stage.do(placed())
    away(stage)
    assert stage.shown() == "unknown !504"
    assert stage.lists(**rows) == list(LOOK_UPS)
    assert stage.shown() == state


def test_executions_that_are_not_all_and_no_end_leave_an_order_over_with_what_they_say(stage: Stage) -> None:
    for step in (placed(), status("Submitted")):
        stage.do(step)
    away(stage)
    later(stage, executed=[executed(E1, 40, 40)])
    assert stage.shown() == "done not_at_tws 40/60@150"


def test_without_an_end_of_the_executions_nothing_follows_from_what_is_missing(stage: Stage) -> None:
    stage.do(placed())
    stage.do(status("Submitted"))
    away(stage)
    for _ in range(300):
        stage.middle.pass_time(1.0)
        for each in stage.middle.link.take():
            if each.name == "reqAllOpenOrders":
                stage.read("openOrderEnd", {})
            else:
                assert each.name == "reqExecutions", "the next question waits for the end"
    assert stage.shown() == "working 0/100"


def test_after_1102_the_orders_are_looked_up_too(stage: Stage) -> None:
    for step in (placed(), status("Submitted")):
        stage.do(step)
    stage.read("error", {"reqId": -1, "errorCode": 1100, "errorString": "lost"})
    stage.middle.pass_time(1.0)
    assert stage.middle.link.take() == []
    stage.middle.clock.pass_time(5.0)
    stage.read("error", {"reqId": -1, "errorCode": 1102, "errorString": "restored"})
    stage.look_up(completed=[completed("Filled", "Filled Size: 100", 100.0)])
    assert stage.shown() == "done filled 100/0"


def test_a_cancel_and_a_change_that_were_under_way_are_found_out(stage: Stage) -> None:
    for key in "kl":
        stage.do(placed(key=key))
        stage.do(status("Submitted", key=key))
    stage.do(cancelled())
    stage.do(changed(1, "l", lmtPrice=151.0))
    away(stage)
    assert (stage.shown(), stage.shown("l")) == ("unknown 0/100 !504", "unknown 0/100 !504 r1")
    changed_one = [opened("Submitted", "l", lmtPrice=151.0), status("Submitted", key="l")]
    stage.lists(opened=changed_one, completed=[completed("Cancelled", "Cancelled by Trader")])
    assert stage.shown() == "done cancelled by own 0/100 !504"
    assert stage.shown("l") == "working 0/100 !504 r1"
    stage.do(changed(2, "l", totalQuantity=50))


def test_a_host_that_downloads_its_orders_by_itself_after_a_restart(stage: Stage) -> None:
    stage.do(placed())
    stage.do(status("Submitted"))
    stage.middle.lost()
    stage.middle.begin()
    stage.hear(opened("Submitted"))
    stage.hear(status("Submitted"))
    stage.middle.ready()
    stage.lists()
    assert stage.shown() == "working 0/100", "a list just after the start may be incomplete"
    later(stage, opened=[opened("Submitted")])
    assert stage.shown() == "working 0/100"


# -- midnight


def test_an_order_that_was_last_heard_of_before_midnight_is_unknown_when_no_list_has_it(stage: Stage) -> None:
    for step in (placed(), status("Submitted")):
        stage.do(step)
    away(stage, seconds=TO_MIDNIGHT + 10.0)
    stage.lists()
    assert stage.shown() == "working 0/100"
    before = len(stage.middle.published)
    later(stage, 30)
    assert stage.shown() == "unknown 0/100 !504"
    (said,) = [each for each in stage.middle.published[before:] if each.topic == "ord.a.k.error."]
    assert "lists begin at midnight" in said.data["errorString"]
    later(stage, 600)
    assert len([each for each in stage.middle.published if each.topic == "ord.a.k.error."]) == 1
    assert "a/k" in stage.middle.parts.orders.reconciliation.why


def test_an_order_that_may_have_filled_before_midnight_is_over_when_its_owner_cancels_it(stage: Stage) -> None:
    for step in (placed(), status("Submitted")):
        stage.do(step)
    away(stage, seconds=TO_MIDNIGHT + 10.0)
    later(stage, 30)
    stage.do(cancelled())
    stage.hear(failed(10147, "OrderId 501 that needs to be cancelled is not found."))
    assert stage.shown() == "done not_at_tws 0/100 !10147"


def test_a_cancel_that_is_not_found_does_not_end_an_order_that_the_lists_have(stage: Stage) -> None:
    for step in (placed(), status("Submitted"), cancelled()):
        stage.do(step)
    stage.hear(failed(10147, "OrderId 501 that needs to be cancelled is not found."))
    assert stage.shown() == "unknown 0/100 !10147"


def test_an_order_that_is_over_before_midnight_and_is_reported_after_it_is_as_tws_says(stage: Stage) -> None:
    for step in (placed(), status("Submitted")):
        stage.do(step)
    away(stage, seconds=TO_MIDNIGHT + 10.0)
    later(stage, 30)
    stage.hear(completed("Filled", "Filled Size: 100", 100.0))
    assert stage.shown() == "done filled 100/0 !504"


def test_a_list_of_the_day_makes_the_next_absence_say_something(stage: Stage) -> None:
    for step in (placed(), status("Submitted")):
        stage.do(step)
    away(stage, seconds=TO_MIDNIGHT + 10.0)
    later(stage, 5, opened=[opened("Submitted"), status("Submitted")])
    away(stage, seconds=60.0)
    later(stage, 30)
    assert stage.shown() == "done not_at_tws 0/100"


@pytest.mark.parametrize(
    ("seen", "now", "connection_time", "reach"),
    [
        (1_700_020_000, 1_700_020_060, EAST, True),
        (1_700_024_000, 1_700_024_460, EAST, False),  # 23:53 and 00:01 in New York
        (1_700_002_700, 1_700_002_830, "20231114 23:59:00 Europe/Berlin", False),
        (1_700_002_700, 1_700_002_830, EAST, True),
        (1_700_024_000, 1_700_024_460, "20231115 12:00:00 Asia/Tokyo", False),  # IB's own day
        (1_700_020_000, 1_700_020_060, "", True),
        (1_700_020_700, 1_700_020_860, "", False),  # a full hour, in an unknown zone
        (1_700_020_700, 1_700_020_860, "20231114 23:00:00 Nowhere", False),
    ],
)
def test_the_lists_reach_back_to_midnight(seen: int, now: int, connection_time: str, reach: bool) -> None:
    assert reaches(seen * 1_000_000, now * 1_000_000, connection_time) is reach


def test_how_long_ago_an_order_was_heard_of_is_kept_over_a_restart() -> None:
    stage = Stage()
    stage.do(placed())
    stage.do(status("Submitted"))
    heard = stage.middle.clock.us
    stage.middle.clock.pass_time(SETTLED)
    journal = stage.middle.parts.streams.journal
    assert journal.commit()
    assert [order.heard_at for order in journal.open_orders()] == [heard]


# -- what is no order


@pytest.mark.parametrize("version", VERSIONS)
def test_a_what_if_places_nothing_and_moves_no_order(version: int) -> None:
    stage = Stage(version)
    stage.do(placed())
    order = placed().args["order"]
    stage.middle.ask("whatIfOrder", "a", "w", contract=AAPL, order=order)
    (sent,) = stage.middle.link.take()
    assert (sent.name, sent.data["order"]["whatIf"]) == ("placeOrder", True)
    number = sent.data["orderId"]
    about = {"orderId": number, "clientId": 1, "permId": 0, "whatIf": True}
    state = {"status": "PreSubmitted", "initMarginAfter": "100.0"}
    heard = stage.read("openOrder", {"orderId": number, "order": {**order, **about}, "orderState": state})
    assert [each.topic for each in heard if each.topic.startswith(("req", "ord"))] == ["req.a.w.openOrder."]
    assert states(heard) == []
    assert stage.shown() == "sent"
