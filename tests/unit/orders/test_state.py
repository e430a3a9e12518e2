"""The states of an order: every event in every state, and what an order says of itself."""

from __future__ import annotations

import itertools

import pytest

from ibbridge.orders.order import Order
from ibbridge.orders.reports import take_report
from ibbridge.orders.state_machine import (
    OVERTURNED_BY_ANYTHING,
    OVERTURNED_BY_LIST,
    TRANSITIONS,
    OrderEvent,
    OrderState,
    Reason,
)

S, E, R = OrderState, OrderEvent, Reason

AT_TWS = (S.SENT, S.HELD, S.ACKED, S.WORKING, S.MODIFYING, S.CANCELLING, S.UNKNOWN)


def expected(state: OrderState, event: OrderEvent) -> OrderState:  # noqa: C901 - as many cases as there are events
    """Return the next state, as somebody would say it who does not know the table."""
    if state is S.DONE:  # only what disproves its end shows that an order is not over
        return S.WORKING if event is E.REOPEN else state
    if event in (E.LEAVE, E.KEEP):  # an order is written once, and a change may have TWS transmit it
        before = (S.QUEUED, S.HELD) if event is E.LEAVE else (S.QUEUED,)
        return {E.LEAVE: S.SENT, E.KEEP: S.HELD}[event] if state in before else state
    if event is E.END or (event is E.WITHDRAW and state in (S.QUEUED, S.SENT, S.HELD)):
        return S.DONE
    if event is E.STOP and state in (S.QUEUED, S.SENT, S.HELD, S.UNKNOWN, S.WORKING):
        return S.ACKED
    if state in (S.QUEUED, S.SENT, S.HELD, S.UNKNOWN) and event in (E.ACK, E.OPEN, E.FILL):
        return S.ACKED if event is E.ACK else S.WORKING
    if state is S.ACKED and event in (E.OPEN, E.FILL):
        return S.WORKING
    if event is E.MODIFY:
        return S.MODIFYING if state in (S.HELD, S.ACKED, S.WORKING) else state
    if event in (E.MODIFIED, E.REOPEN):
        return S.WORKING if state is (S.MODIFYING if event is E.MODIFIED else S.CANCELLING) else state
    if event is E.DOUBT:  # nobody waits for anything of an order that works
        return S.UNKNOWN if state in (S.SENT, S.MODIFYING, S.CANCELLING) else state
    if event in (E.GARBLE, E.MISS, E.CANCEL) and state in AT_TWS:
        return S.CANCELLING if event is E.CANCEL else S.UNKNOWN
    return state


@pytest.mark.parametrize(("state", "event"), [*itertools.product(S, E)])
def test_every_event_in_every_state(state: OrderState, event: OrderEvent) -> None:
    assert TRANSITIONS.get((state, event), state) is expected(state, event)


def test_every_state_can_be_reached() -> None:
    assert {S.QUEUED} | set(TRANSITIONS.values()) == set(S)


@pytest.mark.parametrize(
    ("state", "reason", "heard", "unsent", "ended"),
    [
        (S.QUEUED, None, False, False, False),
        (S.SENT, None, False, False, False),
        (S.ACKED, None, True, False, False),
        (S.UNKNOWN, None, True, False, False),
        (S.DONE, R.FILLED, True, False, True),
        (S.DONE, R.NOT_SENT, True, True, True),
    ],
)
def test_an_order_says_of_itself(
    state: OrderState, reason: Reason | None, heard: bool, unsent: bool, ended: bool
) -> None:
    order = Order("me", "k", 1, {}, state=state, reason=reason)
    assert (order.heard, order.unsent, order.ended) == (heard, unsent, ended)


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (None, S.ACKED, None),
        ("ApiPending", S.ACKED, None),
        ("PendingSubmit", S.ACKED, None),
        ("Inactive", S.ACKED, None),
        ("a status of tomorrow", S.ACKED, None),
        ("PreSubmitted", S.WORKING, None),
        ("Submitted", S.WORKING, None),
        ("PendingCancel", S.CANCELLING, None),
        ("Filled", S.DONE, R.FILLED),
        ("Cancelled", S.DONE, R.CANCELLED),
        ("ApiCancelled", S.DONE, R.CANCELLED),
    ],
)
def test_a_status_of_tws_decides(status: str | None, state: OrderState, reason: Reason | None) -> None:
    order = Order("me", "k", 1, {}, state=S.SENT)
    order.hear(status)
    assert (order.state, order.reason) == (state, reason)


@pytest.mark.parametrize(("before", "after"), [*itertools.product(R, R)])
def test_a_stronger_reason_replaces_a_weaker_one(before: Reason, after: Reason) -> None:
    order = Order("me", "k", 1, {}, state=S.DONE, reason=before)
    order.step(E.END, after)
    strongest = [R.NOT_SENT, R.NOT_AT_TWS, R.CANCELLED, R.EXPIRED, R.REJECTED, R.FILLED]
    assert order.reason is max(before, after, key=strongest.index)


@pytest.mark.parametrize("reason", [*R, None])
@pytest.mark.parametrize("listed", [False, True])
def test_a_list_of_open_orders_disproves_an_end_and_a_single_status_has_it_looked_up(
    reason: Reason | None, listed: bool
) -> None:
    order = Order("me", "k", 1, {}, state=S.DONE, reason=reason)
    order.hear("Submitted", listed=listed)
    reopened = reason in OVERTURNED_BY_ANYTHING or (listed and reason in OVERTURNED_BY_LIST)
    assert (order.state, order.reason) == ((S.WORKING, None) if reopened else (S.DONE, reason))
    assert order.disputed == (reason in OVERTURNED_BY_LIST and not listed)


def test_an_order_that_tws_has_not_cancelled_works_again_when_a_list_says_so() -> None:
    order = Order("me", "k", 1, {}, state=S.CANCELLING)
    order.hear("Submitted")
    assert order.state is S.CANCELLING
    order.cancelling = True
    order.hear("Submitted", listed=True)
    assert order.state is S.CANCELLING, "TWS may not have taken the cancel yet"
    order.hear("PendingCancel")
    order.hear("Submitted", listed=True)
    assert not order.ended
    assert TRANSITIONS[S.CANCELLING, E.REOPEN] is order.state


@pytest.mark.parametrize("reason", R)
def test_any_report_disproves_that_tws_knows_nothing_of_an_order(reason: Reason) -> None:
    order = Order("me", "k", 1, {}, state=S.DONE, reason=reason)
    order.hear("Inactive")
    assert order.ended == (reason not in (R.NOT_SENT, R.NOT_AT_TWS))


@pytest.mark.parametrize("reason", [R.REJECTED, R.EXPIRED])
def test_inactive_does_not_disprove_a_refusal(reason: Reason) -> None:
    order = Order("me", "k", 1, {}, state=S.DONE, reason=reason)
    order.hear("Inactive")
    assert (order.state, order.reason) == (S.DONE, reason)


@pytest.mark.parametrize(
    ("status", "completed", "reason"),
    [
        ("Inactive", "Rejected by System", R.REJECTED),
        ("Inactive", "", R.REJECTED),
        ("Cancelled", "Order rejected: no such thing", R.REJECTED),
        ("Cancelled", "Cancelled by Trader", R.CANCELLED),
        ("Filled", "Filled Size: 100", R.FILLED),
        ("", "Filled Size: 100", R.FILLED),
        ("", "Cancelled by System:\n", R.CANCELLED),
        ("", "", None),
    ],
)
def test_a_completed_order_is_over_whatever_its_status(status: str, completed: str, reason: Reason | None) -> None:
    order = Order("me", "k", 1, {}, state=S.UNKNOWN)
    order.hear(status)
    take_report(order, "completedOrder", {"orderState": {"status": status, "completedStatus": completed}})
    assert (order.state, order.reason) == (S.DONE, reason)
