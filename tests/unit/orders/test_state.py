"""The states of an order: every event in every state, and what an order says of itself."""

from __future__ import annotations

import itertools

import pytest

from ibbridge.orders.order import Order
from ibbridge.orders.state import TRANSITIONS, OrderEvent, OrderState

S, E = OrderState, OrderEvent

AFTER = {E.LEAVE: S.SENT, E.REPORT: S.REPORTED, E.OPEN: S.REPORTED, E.END: S.ENDED, E.WITHDRAW: S.NOT_SENT}


def expected(state: OrderState, event: OrderEvent) -> OrderState:
    """Return the next state, as somebody would say it who does not know the table."""
    if state is S.NOT_SENT:  # TWS has never seen it
        return state
    if event is E.LEAVE and state is not S.QUEUED:  # an order is written once
        return state
    if state is S.ENDED and event not in (E.OPEN, E.END):  # an `Inactive` order may become active again
        return state
    return AFTER[event]


@pytest.mark.parametrize(("state", "event"), [*itertools.product(S, E)])
def test_every_event_in_every_state(state: OrderState, event: OrderEvent) -> None:
    assert TRANSITIONS.get((state, event), state) is expected(state, event)


def test_every_state_can_be_reached() -> None:
    assert {S.QUEUED} | set(TRANSITIONS.values()) == set(S)


@pytest.mark.parametrize(
    ("state", "heard", "unsent", "ended"),
    [
        (S.QUEUED, False, False, False),
        (S.SENT, False, False, False),
        (S.REPORTED, True, False, False),
        (S.ENDED, True, False, True),
        (S.NOT_SENT, True, True, True),
    ],
)
def test_an_order_says_of_itself(state: OrderState, heard: bool, unsent: bool, ended: bool) -> None:
    order = Order("me", "k", 1, {}, state=state)
    assert (order.heard, order.unsent, order.ended) == (heard, unsent, ended)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, S.REPORTED),
        ("Submitted", S.REPORTED),
        ("Inactive", S.REPORTED),
        ("Filled", S.ENDED),
        ("Cancelled", S.ENDED),
    ],
)
def test_a_status_of_tws_decides(status: str | None, state: OrderState) -> None:
    order = Order("me", "k", 1, {}, state=S.SENT)
    order.hear(status)
    assert order.state is state
