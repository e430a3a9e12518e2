"""Evidence about an order: whatever is repeated, late or missing, the same follows, and no order is over falsely."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.orders.order import STATUS_EVENTS, is_end
from tests.support.daemon_core import CLIENT_ID, LIMIT
from tests.support.order_lives import (
    LEG,
    LOOK_UPS,
    SPREAD,
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
    from collections.abc import Mapping, Sequence

E1, E2 = "0000e0d5.5f3b.01.01", "0000e0d5.5f3c.01.01"
LEG_1 = "0000e0d5.5f3b.02.01.01"


class Life(NamedTuple):
    """Messages of a life that may come in any order, twice or not at all, and those that end it."""

    middle: tuple[Said, ...]
    ends: tuple[Said, ...]
    reason: str
    contract: Mapping[str, Any] | None = None


PENDING = (opened("PreSubmitted"), status("PreSubmitted"), opened("Submitted"), status("Submitted"))
FILLS = (
    executed(E1, 40, 40, 149),
    status("Submitted", 40, 60, 149),
    executed(E2, 60, 100, 150, average=149.6),
    charged(E1),
    charged(E2),
)
FILLED = status("Filled", 100, 0, 149.6)

LIVES = {
    "filled": Life((*PENDING, *FILLS), (FILLED,), "filled"),
    "filled, told three times": Life(
        (*PENDING, *FILLS), (opened("Filled"), FILLED, completed("Filled", "Filled Size: 100", 100.0)), "filled"
    ),
    "cancelled": Life(PENDING, (status("Cancelled"), failed(202, "")), "cancelled"),
    "cancelled in part": Life((*PENDING, *FILLS[:2]), (status("Cancelled", 40, 60, 149), failed(202, "")), "cancelled"),
    "cancelled while it filled": Life((*PENDING, *FILLS, status("PendingCancel")), (FILLED, failed(202, "")), "filled"),
    "IOC": Life((*PENDING[:2], status("PendingCancel")), (status("Cancelled"),), "cancelled"),
    "rejected": Life((*PENDING[:2], status("Inactive")), (failed(201, "no"), status("Inactive")), "rejected"),
    "rejected and cancelled": Life(PENDING[:2], (status("Cancelled"), failed(201, "no")), "rejected"),
    "discarded": Life((failed(10329, "warning"), *PENDING[:2]), (status("Cancelled"), failed(201, "no")), "rejected"),
    "rejected in part": Life((*PENDING, *FILLS[:2]), (failed(201, "no"), status("Cancelled", 40, 60, 149)), "rejected"),
    "expired": Life((*PENDING, *FILLS[:2]), (completed("", "Expired", 40.0),), "expired"),
    "combination": Life(
        (
            *PENDING,
            executed(LEG_1, 100, 100, 5.0, contract=LEG),
            executed(E1, 40, 40, -1.5, contract=SPREAD),
            executed(E2, 60, 100, -1.5, contract=SPREAD),
        ),
        (status("Filled", 100, 0, -1.5),),
        "filled",
        SPREAD,
    ),
}


def ends(said: Said) -> bool:
    """Return True if a message says that an order is over."""
    name = said.data.get("status") or (said.data.get("orderState") or {}).get("status") or ""
    return said.name == "completedOrder" or is_end(name) or said.data.get("errorCode") in (201, 202)


def counted(said: Said) -> float:
    """Return what a message says is filled."""
    if said.name == "execDetails":
        return 0.0 if said.data["contract"] == LEG else float(said.data["execution"]["cumQty"])
    return float(said.data.get("filled") or (said.data.get("order") or {}).get("filledQuantity") or 0.0)


def told(life: Life) -> st.SearchStrategy[list[Said]]:
    """Return the messages of a life in any order; each but the ends may be missing, and each may be repeated."""
    middle = st.lists(st.sampled_from(life.middle), max_size=2 * len(life.middle))
    again = st.lists(st.sampled_from(life.ends), max_size=2)
    return st.tuples(middle, again).flatmap(lambda both: st.permutations([*both[0], *both[1], *life.ends]))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("life", LIVES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_is_late_repeated_or_missing_the_end_is_the_same_and_no_end_is_false(
    life: str, version: int, data: st.DataObject
) -> None:
    stage = Stage(version)
    contract = LIVES[life].contract
    stage.do(placed() if contract is None else placed(contract=contract))
    order = stage.middle.orders.keyed("a", "k")
    assert order is not None
    is_over, most = False, 0.0
    for said in data.draw(told(LIVES[life])):
        stage.hear(said)
        is_over, most = is_over or ends(said), max(most, counted(said))
        assert order.ended == is_over, said
        assert (order.filled or 0.0) == most, said
    assert order.reason is not None
    assert order.reason.value == LIVES[life].reason
    assert [each.name for each in stage.middle.link.take()] == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(STATUS_EVENTS)), st.integers(0, 100)), max_size=12))
def test_what_is_filled_never_goes_back_whatever_the_statuses(said: list[tuple[str, int]]) -> None:
    stage = Stage()
    stage.do(placed())
    order = stage.middle.orders.keyed("a", "k")
    assert order is not None
    most = 0.0
    for name, filled in said:
        stage.hear(status(name, filled, 100 - filled))
        most = max(most, filled)
        assert order.filled == most


CORRECTIONS = (
    executed(E1, 40, 40, 149), executed(E1[:-1] + "2", 30, 40, 148), executed(E2, 60, 100, 150), charged(E1),
    status("Filled", 100, 0, 149.6),
)  # fmt: skip


@pytest.mark.parametrize("turn", [*itertools.permutations(range(len(CORRECTIONS)))])
def test_a_correction_takes_back_what_it_corrects_in_whatever_order_it_comes(turn: tuple[int, ...]) -> None:
    stage = Stage()
    stage.do(placed())
    for number in turn:
        stage.hear(CORRECTIONS[number])
    assert stage.shown() == f"done filled 90/0@{(30 * 148 + 60 * 150) / 90:g}"


@pytest.mark.parametrize("counts", ["the old quantity", "the corrected one"])
def test_after_a_correction_executions_count_however_tws_goes_on_counting(counts: str) -> None:
    stage = Stage()
    stage.do(placed())
    taken = 10 if counts == "the corrected one" else 0
    for said in (executed(E1, 40, 40, 149), status("Submitted", 40, 60, 149), executed(E1[:-1] + "2", 30, 30, 149)):
        stage.hear(said)
    assert stage.shown().startswith("working 30/60")
    stage.hear(executed(E2, 60, 100 - taken, 149))
    stage.hear(status("Filled", 100 - taken, 0, 149))
    assert stage.shown() == "done filled 90/0@149"


def test_a_correction_is_kept_over_a_restart() -> None:
    stage = Stage()
    stage.do(placed())
    for said in (executed(E1, 40, 40, 149), executed(E1[:-1] + "2", 30, 40, 149)):
        stage.hear(said)
    journal = stage.middle.parts.streams.journal
    assert journal.commit()
    (order,) = journal.open_orders()
    assert (order.filled, order.counted) == (30.0, 40.0)
    assert order.fills.by_stem[E1[:-3]].shares == 30.0


REPORTS = {
    "E": executed(E1, 40, 40), "C": charged(E1), "E'": executed(E1[:-1] + "2", 30, 40),
    "C'": charged(E1[:-1] + "2", amount=2.0),
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("turn", [*itertools.permutations(REPORTS)])
def test_executions_and_commissions_are_the_owners_once_in_whatever_order_they_come(
    turn: Sequence[str], version: int
) -> None:
    stage = Stage(version)
    stage.do(placed())
    for name in (*turn, *turn):
        stage.hear(REPORTS[name])
    heard = fills(stage.middle.published)
    assert all(each.topic.startswith("exec.a.") for each in heard)
    found = [(each.data.get("execution") or each.data["commissionAndFeesReport"])["execId"][-2:] for each in heard]
    assert sorted(found) == ["01", "01", "02", "02"]
    assert all(each.body["ref"]["key"] == "k" for each in heard)
    assert stage.shown() == "working 30/-@150"


# -- what disproves an end


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (status("Cancelled"), "cancelled"),
        (failed(202, ""), "cancelled"),
        (failed(201, "no"), "rejected"),
        (completed("", "Expired"), "expired"),
        (completed("", ""), None),
    ],
)
def test_a_list_of_open_orders_that_was_asked_for_after_an_end_disproves_it(
    end: Said, reason: str | None, version: int
) -> None:
    stage = Stage(version)
    stage.do(placed())
    stage.hear(end)
    order = stage.middle.orders.keyed("a", "k")
    assert order is not None
    assert (order.ended, order.reason and order.reason.value) == (True, reason)
    stage.hear(opened("Submitted"))
    assert order.ended, "that may have been said before"
    stage.look_up(opened=[opened("Submitted"), status("Submitted")])
    assert stage.shown().startswith("working 0/100")


def test_no_list_disproves_that_an_order_is_filled() -> None:
    stage = Stage()
    stage.do(placed())
    stage.hear(status("Filled", 100, 0, 150))
    stage.hear(opened("Submitted"))
    stage.middle.parts.orders.reconciliation.request()
    stage.look_up(opened=[opened("Submitted"), status("Submitted")])
    assert stage.shown() == "done filled 100/0@150"


def test_a_list_that_was_asked_for_before_the_end_says_nothing_of_it() -> None:
    stage = Stage()
    stage.do(placed())
    stage.hear(status("Submitted"))
    stage.middle.parts.orders.reconciliation.request()
    stage.middle.pass_time(1.0)
    stage.hear(status("Cancelled"))
    stage.lists(opened=[opened("Submitted"), status("Submitted")])
    assert stage.shown() == "done cancelled 0/100"
    stage.look_up()
    assert stage.shown() == "done cancelled 0/100"


def test_an_order_that_is_over_is_looked_up_once_however_often_it_is_reported_as_open() -> None:
    stage = Stage()
    stage.do(placed())
    stage.hear(status("Cancelled"))
    for _ in range(3):
        stage.hear(status("Submitted"))
    stage.look_up()
    for _ in range(30):
        stage.hear(status("Submitted"))
        stage.middle.pass_time(1.0)
    assert stage.middle.link.take() == []
    assert stage.shown() == "done cancelled 0/100"


def test_an_execution_of_a_rejected_order_counts_and_has_it_looked_up() -> None:
    stage = Stage()
    stage.do(placed())
    stage.hear(failed(201, "no"))
    stage.hear(executed(E1, 40, 40))
    assert stage.shown() == "done rejected by broker 40/-@150 !201"
    stage.look_up(opened=[opened("Submitted"), status("Submitted", 40, 60, 150)])
    assert stage.shown() == "working 40/60@150 !201"


def test_an_order_whose_cancel_came_to_nothing_works_again_when_a_list_says_so() -> None:
    stage = Stage()
    for step in (placed(), status("Submitted"), cancelled(), status("PendingCancel"), status("Submitted")):
        stage.do(step)
    assert stage.shown() == "cancelling 0/100"
    stage.middle.parts.orders.reconciliation.request()
    stage.look_up(opened=[opened("Submitted"), status("Submitted")])
    assert stage.shown() == "working 0/100"


@pytest.mark.parametrize("name", ["", "Submitted", "PreSubmitted", "PendingCancel", "Inactive", "Cancelled"])
def test_a_completed_order_is_over_whatever_the_list_says_of_it(name: str) -> None:
    stage = Stage()
    stage.do(placed())
    stage.hear(completed(name))
    assert stage.shown().startswith("done")
    stage.hear(completed(name))
    assert stage.shown().startswith("done")


# -- quantities


def test_a_leg_of_a_combination_fills_nothing_even_if_the_order_is_of_an_earlier_process() -> None:
    stage = Stage()
    stage.do(placed(contract=SPREAD))
    order = stage.middle.orders.keyed("a", "k")
    assert order is not None
    order.args = {}  # as in the journal, when the order is over
    stage.hear(executed(LEG_1, 100, 100, contract=LEG))
    assert stage.shown() == "working"
    stage.hear(executed(E1, 40, 40, -1.5, contract=SPREAD))
    assert stage.shown() == "working 40/-@-1.5"


def test_an_order_that_executions_have_filled_is_over_when_tws_has_it_nowhere() -> None:
    stage = Stage()
    stage.do(placed())
    stage.hear(executed(E1, 100, 100))
    for _ in range(30):
        stage.middle.pass_time(1.0)
        stage.lists(executed=[executed(E1, 100, 100)])
    assert stage.shown() == "done filled 100/-@150"


def test_what_a_change_makes_of_an_order_is_not_filled_by_the_quantity_before() -> None:
    stage = Stage()
    for step in (placed(), status("Submitted"), changed(1, totalQuantity=200), executed(E1, 100, 100)):
        stage.do(step)
    for _ in range(4):
        stage.middle.pass_time(1.0)
    assert stage.middle.link.take() == []
    stage.do(opened("Submitted", totalQuantity=200))
    stage.do(status("Submitted", 100, 100, 150))
    assert stage.shown() == "working 100/100@150 r1"


# -- whose an order is


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("first", ["live", "list"])
def test_an_execution_that_comes_live_and_in_a_list_counts_and_is_published_once(first: str, version: int) -> None:
    stage = Stage(version)
    stage.do(placed())
    stage.hear(status("Submitted"))
    ways = [lambda: stage.hear(executed(E1, 40, 40)), lambda: stage.look_up(executed=[executed(E1, 40, 40)])]
    stage.middle.parts.orders.reconciliation.request()
    for way in ways if first == "live" else ways[::-1]:
        way()
    stage.hear(charged(E1))
    heard = [each.topic for each in fills(stage.middle.published)]
    assert heard == ["exec.a.execDetails.", "exec.a.commissionAndFeesReport."]
    assert stage.shown() == "working 40/60@150"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("unset", [2147483647, 0])
def test_an_execution_without_an_order_id_is_the_orders_by_its_perm_id(version: int, unset: int) -> None:
    stage = Stage(version)
    stage.do(placed())
    stage.hear(opened("Submitted"))
    stage.hear(executed(E1, 40, 40, orderId=unset, clientId=0, orderRef=""))
    assert stage.shown() == "working 40/-@150"
    assert [each.body["ref"]["key"] for each in fills(stage.middle.published)] == ["k"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client_id", [9, 0])
def test_an_order_of_another_client_of_tws_under_the_same_order_id_moves_nothing(version: int, client_id: int) -> None:
    stage = Stage(version)
    stage.do(placed())
    before = len(stage.middle.published)
    other = {"orderId": stage.order_id("k"), "clientId": client_id, "permId": 77, "orderRef": "a/k"}
    stage.read("openOrder", {**other, "order": {**LIMIT, **other}, "orderState": {"status": "Filled"}})
    stage.read("orderStatus", {**other, "status": "Filled", "filled": 100.0, "remaining": 0.0})
    stage.read("execDetails", {"reqId": -1, "execution": {**other, "execId": E1, "shares": 100.0, "cumQty": 100.0}})
    heard = [each for each in stage.middle.published[before:] if each.body["type"] != "ownerPosition"]
    assert [each.topic.split(".")[1] for each in heard] == ["ext"] * 3
    assert stage.shown() == "sent"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_manual_order_and_its_binding_move_nothing(version: int) -> None:
    stage = Stage(version)
    stage.do(placed())
    manual = {"orderId": 0, "clientId": 0, "permId": 77}
    stage.read("openOrder", {**manual, "order": {**LIMIT, **manual}, "orderState": {"status": "Submitted"}})
    stage.read("orderStatus", {**manual, "status": "Submitted"})
    stage.read("orderBound", {"permId": 77, "clientId": 0, "orderId": -5})
    assert stage.shown() == "sent"
    assert stage.middle.link.take() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_what_tws_replays_at_the_connect_without_being_asked_is_whose_it_is_and_ends_nothing(version: int) -> None:
    stage = Stage(version)
    stage.do(placed())
    stage.do(status("Submitted"))
    before = len(stage.middle.published)
    stage.middle.lost()
    stage.middle.begin()
    other = {"orderId": 3, "clientId": 9, "permId": 77}
    stage.hear(opened("Submitted"))
    stage.hear(status("Submitted"))
    stage.read("openOrder", {**other, "order": {**LIMIT, **other}, "orderState": {"status": "Submitted"}})
    stage.read("openOrderEnd", {})
    stage.hear(executed(E1, 40, 40, req_id=-1))
    stage.hear(charged(E1))
    stage.read("execDetailsEnd", {"reqId": -1})
    stage.read("completedOrder", {"order": {**LIMIT, "permId": 78}, "orderState": {"status": "Cancelled"}})
    stage.read("completedOrdersEnd", {})
    stage.middle.ready()
    assert stage.shown() == "working 40/60@150"
    heard = [each.topic for each in stage.middle.published[before:] if each.topic.startswith(("ord.", "exec."))]
    assert "exec.a.execDetails." in heard
    assert {"ord.ext.~77.openOrder.", "ord.ext.~78.completedOrder."} <= {*heard}
    sent = [each.name for each in stage.middle.link.sent]
    assert sent == list(LOOK_UPS[:1])
    stage.lists(opened=[opened("Submitted"), status("Submitted", 40, 60, 150)])
    assert stage.shown() == "working 40/60@150"


# -- ids


@pytest.mark.parametrize("version", VERSIONS)
def test_a_rolled_back_next_valid_id_gives_no_id_twice(version: int) -> None:
    stage = Stage(version)
    stage.do(placed())
    stage.read("nextValidId", {"orderId": 1})
    stage.do(placed(key="l"))
    assert stage.order_id("l") > stage.order_id("k")
    above = stage.order_id("l") + 50
    stage.read("nextValidId", {"orderId": above})
    stage.do(placed(key="m"))
    assert stage.order_id("m") == above


@pytest.mark.parametrize("version", VERSIONS)
def test_an_id_above_those_of_the_daemon_in_an_open_order_is_not_given_again(version: int) -> None:
    stage = Stage(version)
    theirs = {"orderId": 900, "clientId": CLIENT_ID, "permId": 77}
    stage.read("openOrder", {**theirs, "order": {**LIMIT, **theirs}, "orderState": {"status": "Submitted"}})
    stage.do(placed())
    assert stage.order_id("k") == 901


@pytest.mark.parametrize("version", VERSIONS)
def test_a_burnt_order_id_leaves_the_order_unknown_and_it_is_not_sent_again(version: int) -> None:
    stage = Stage(version)
    stage.do(placed())
    (state,) = states(stage.do(failed(103, "Duplicate order id")))
    assert state == "unknown !103"
    for _ in range(30):
        stage.middle.pass_time(1.0)
        stage.lists()
    assert stage.shown() == "done not_at_tws !103"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_order_that_tws_has_under_the_same_id_is_not_taken_for_the_refused_one(version: int) -> None:
    stage = Stage(version)
    stage.do(placed())
    stage.hear(failed(103, "Duplicate order id"))
    other = {"orderId": stage.order_id("k"), "clientId": CLIENT_ID, "permId": 77}
    before = len(stage.middle.published)
    stage.read("openOrder", {**other, "order": {**LIMIT, **other}, "orderState": {"status": "Submitted"}})
    stage.read("orderStatus", {**other, "status": "Filled", "filled": 100.0, "remaining": 0.0})
    assert [each.topic for each in stage.middle.published[before:]] == [
        "ord.ext.~77.openOrder.", "ord.ext.~77.orderStatus."
    ]  # fmt: skip
    assert stage.shown() == "unknown !103"
    stage.hear(opened("Submitted"))
    stage.hear(status("Submitted"))
    assert stage.shown() == "working 0/100 !103", "its orderRef shows that TWS has it after all"


def test_that_an_id_is_taken_is_kept_over_a_restart() -> None:
    stage = Stage()
    stage.do(placed())
    stage.hear(failed(103, "Duplicate order id"))
    journal = stage.middle.parts.streams.journal
    assert journal.commit()
    assert [order.id_taken for order in journal.open_orders()] == [True]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_order_of_yesterday_under_the_same_id_is_told_from_todays_by_ref_and_perm_id(version: int) -> None:
    stage = Stage(version)
    stage.do(placed())
    number = stage.order_id("k")
    yesterdays = {"orderId": number, "clientId": CLIENT_ID, "permId": 77, "orderRef": "a/yesterday"}
    stage.read("execDetails", {"reqId": -1, "execution": {**yesterdays, "execId": E2, "shares": 1.0, "cumQty": 1.0}})
    stage.hear(opened("Submitted"))
    stage.read("orderStatus", {**yesterdays, "status": "Cancelled"})
    stage.read("completedOrder", {"order": yesterdays | LIMIT, "orderState": {"status": "Cancelled"}})
    assert stage.shown() == "working"
