"""States of an order, as far as the daemon knows it, and the events that change them: one table.

Pure. TWS has more statuses of an order; the clients get them as they come. This module says what is known of an order:
whether it has left, whether TWS has said anything of it, and whether it is over.
"""

from __future__ import annotations

from enum import Enum


class OrderState(Enum):
    """Knowledge of an order."""

    QUEUED = "queued"
    """The order was accepted, and was not written to TWS yet."""
    SENT = "sent"
    """The order was written, and TWS has said nothing of it."""
    REPORTED = "reported"
    """TWS has reported the order, or its owner was told that TWS has not."""
    ENDED = "ended"
    """TWS has said that the order is over."""
    NOT_SENT = "not sent"
    """The order was accepted, and will never be written."""


class OrderEvent(Enum):
    """Event that may change the state of an order."""

    LEAVE = "the order is written to TWS"
    REPORT = "TWS says something of the order, or does not in time"
    OPEN = "TWS reports a status of an open order"
    END = "TWS reports a last status, or an error that ends the order"
    WITHDRAW = "the order is cancelled, late, or without connection before it is written"


_State, _Event = OrderState, OrderEvent
_KNOWN = (_State.QUEUED, _State.SENT, _State.REPORTED)

TRANSITIONS: dict[tuple[OrderState, OrderEvent], OrderState] = {
    (_State.QUEUED, _Event.LEAVE): _State.SENT,
    **{(state, _Event.REPORT): _State.REPORTED for state in _KNOWN},
    **{(state, _Event.OPEN): _State.REPORTED for state in (*_KNOWN, _State.ENDED)},
    **{(state, _Event.END): _State.ENDED for state in (*_KNOWN, _State.ENDED)},
    **{(state, _Event.WITHDRAW): _State.NOT_SENT for state in _KNOWN},
}
"""The next state by state and event. A pair that is not here changes nothing."""
