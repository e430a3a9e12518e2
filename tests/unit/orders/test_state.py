"""The states of an order: every event in every state, and what an order says of itself."""

from __future__ import annotations

import itertools

import pytest

from ibbridge.orders.order import Order
from ibbridge.orders.reports import take_report
from ibbridge.orders.state_machine import OVERTURNED_BY_STATUS, TRANSITIONS, OrderEvent, OrderState, Reason

S, E, R = OrderState, OrderEvent, Reason

AT_TWS = (S.SENT, S.HELD, S.ACKED, S.WORKING, S.MODIFYING, S.CANCELLING, S.UNKNOWN)


def expected(state: OrderState, event: OrderEvent) -> OrderState:
    """Return the next state, as somebody would say it who does not know the table."""
    if state is S.DONE:  # only what disproves its end shows that an order is not over
        return S.WORKING if event is E.REOPEN else state
    if event in (E.LEAVE, E.KEEP):  # an order is written once, and a change may have TWS transmit it
        before = (S.QUEUED, S.HELD) if event is E.LEAVE else (S.QUEUED,)
        return {E.LEAVE: S.SENT, E.KEEP: S.HELD}[event] if state in before else state
    if event is E.END or (event is E.WITHDRAW and state in (S.QUEUED, S.SENT, S.HELD)):
        return S.DONE
    if state in (S.QUEUED, S.SENT, S.HELD, S.UNKNOWN) and event in (E.ACK, E.OPEN, E.FILL):
        return S.ACKED if event is E.ACK else S.WORKING
    if state is S.ACKED and event in (E.OPEN, E.FILL):
        return S.WORKING
    if event is E.MODIFY:
        return S.MODIFYING if state in (S.HELD, S.ACKED, S.WORKING) else state
    if event is E.MODIFIED:
        return S.WORKING if state is S.MODIFYING else state
    if event is E.DOUBT:  # nobody waits for anything of an order that works
        return S.UNKNOWN if state in (S.SENT, S.MODIFYING, S.CANCELLING) else state
    if event in (E.GARBLE, E.CANCEL) and state in AT_TWS:
        return S.UNKNOWN if event is E.GARBLE else S.CANCELLING
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
    strongest = [R.NOT_SENT, R.NOT_AT_TWS, R.EXPIRED, R.CANCELLED, R.REJECTED, R.FILLED]
    assert order.reason is max(before, after, key=strongest.index)


@pytest.mark.parametrize("reason", R)
def test_a_status_of_an_open_order_disproves_an_end_that_tws_has_not_reported_by_a_status(reason: Reason) -> None:
    order = Order("me", "k", 1, {}, state=S.DONE, reason=reason)
    order.hear("Submitted")
    overturned = reason in OVERTURNED_BY_STATUS
    assert order.state is (S.WORKING if overturned else S.DONE)
    assert order.reason is (None if overturned else reason)


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
    ],
)
def test_a_completed_order_is_over_whatever_its_status(status: str, completed: str, reason: Reason) -> None:
    order = Order("me", "k", 1, {}, state=S.UNKNOWN)
    order.hear(status)
    take_report(order, "completedOrder", {"orderState": {"status": status, "completedStatus": completed}})
    assert (order.state, order.reason) == (S.DONE, reason)
