"""States of an order, as far as the daemon knows it, and the events that change them: one table.

Pure. TWS has statuses of an order, which the clients get as they come. The states here say what is known of an order:
whether it has left, whether TWS has it, what is under way, and whether it is over. Only evidence moves an order: a
message of TWS about it, a message that leaves or cannot leave any more, or the lack of a message that was due.
"""

from __future__ import annotations

from enum import Enum


class OrderState(Enum):
    """Knowledge of an order."""

    QUEUED = "queued"
    """The order was accepted, and was not written to TWS yet."""
    SENT = "sent"
    """The order was written, and TWS has said nothing of it."""
    HELD = "held"
    """The order was written with `transmit` false: TWS keeps it back, and says nothing of it."""
    ACKED = "acked"
    """TWS has the order, and has not said that it works, or has said that it does not."""
    WORKING = "working"
    """TWS has said that the order works, or waits for its condition."""
    MODIFYING = "modifying"
    """A change of the order was written, and TWS has not taken or refused it."""
    CANCELLING = "cancelling"
    """A cancel was written, or TWS is cancelling the order. It may still fill."""
    UNKNOWN = "unknown"
    """Nobody knows whether TWS has the order, its change or its cancel; the daemon looks it up."""
    DONE = "done"
    """The order is over, for the reason that stands with the state."""


class OrderEvent(Enum):
    """Event that may change the state of an order."""

    LEAVE = "the order is written to TWS"
    KEEP = "the order is written to TWS with transmit false"
    WITHDRAW = "the order is cancelled, late, or without connection before it is written"
    ACK = "TWS says something of the order that is no status of a working or finished order"
    OPEN = "TWS reports a status of a working order"
    STOP = "TWS reports that it has the order, and that the order does not work"
    REOPEN = "TWS disproves that the order is over, or that it is cancelling (see Evidence)"
    MODIFY = "a change of the order is written"
    MODIFIED = "TWS reports the changed order, or refuses the change"
    CANCEL = "a cancel of the order is written, or TWS reports that it is cancelling"
    DOUBT = (
        "a report is late, or the connection is lost before it, or a cancel or the change of a filled order is refused"
    )
    GARBLE = "a message about the order cannot be read, or may be about another order with its order id"
    MISS = "TWS lists the order nowhere, and its lists begin after its last report of the order"
    FILL = "TWS reports an execution"
    END = "TWS reports a last status, or an error that ends the order, or knows nothing of it"


_S, _E = OrderState, OrderEvent
_LIVE = (_S.SENT, _S.HELD, _S.ACKED, _S.WORKING, _S.MODIFYING, _S.CANCELLING, _S.UNKNOWN)
_BEFORE = (_S.QUEUED, *_LIVE)

TRANSITIONS: dict[tuple[OrderState, OrderEvent], OrderState] = {
    (_S.QUEUED, _E.LEAVE): _S.SENT,
    (_S.QUEUED, _E.KEEP): _S.HELD,
    (_S.QUEUED, _E.WITHDRAW): _S.DONE,
    (_S.SENT, _E.WITHDRAW): _S.DONE,
    (_S.HELD, _E.WITHDRAW): _S.DONE,
    **dict.fromkeys(((state, _E.ACK) for state in (_S.QUEUED, _S.SENT, _S.HELD, _S.UNKNOWN)), _S.ACKED),
    **dict.fromkeys(((state, _E.OPEN) for state in (_S.QUEUED, _S.SENT, _S.HELD, _S.ACKED, _S.UNKNOWN)), _S.WORKING),
    **dict.fromkeys(((s, _E.STOP) for s in (_S.QUEUED, _S.SENT, _S.HELD, _S.WORKING, _S.UNKNOWN)), _S.ACKED),
    (_S.DONE, _E.REOPEN): _S.WORKING,
    (_S.CANCELLING, _E.REOPEN): _S.WORKING,
    **dict.fromkeys(((state, _E.MODIFY) for state in (_S.HELD, _S.ACKED, _S.WORKING)), _S.MODIFYING),
    (_S.MODIFYING, _E.MODIFIED): _S.WORKING,
    (_S.HELD, _E.LEAVE): _S.SENT,
    **dict.fromkeys(((state, _E.CANCEL) for state in _LIVE), _S.CANCELLING),
    **dict.fromkeys(((state, _E.DOUBT) for state in (_S.SENT, _S.MODIFYING, _S.CANCELLING)), _S.UNKNOWN),
    **dict.fromkeys(((state, _E.GARBLE) for state in _LIVE), _S.UNKNOWN),
    **dict.fromkeys(((state, _E.MISS) for state in _LIVE), _S.UNKNOWN),
    **dict.fromkeys(((state, _E.FILL) for state in (_S.QUEUED, _S.SENT, _S.HELD, _S.ACKED, _S.UNKNOWN)), _S.WORKING),
    **dict.fromkeys(((state, _E.END) for state in _BEFORE), _S.DONE),
}
"""The next state by state and event. A pair that is not here changes nothing."""


class Reason(Enum):
    """Reason for which an order is over, the strongest last: a stronger one replaces a weaker one."""

    NOT_SENT = "not_sent"
    """The order was accepted, and will never be written."""
    NOT_AT_TWS = "not_at_tws"
    """The order was written, and TWS has it neither among open nor among completed orders."""
    CANCELLED = "cancelled"
    """The order was cancelled; it may have filled in part."""
    EXPIRED = "expired"
    """The time of the order has passed. TWS calls such an order cancelled, too."""
    REJECTED = "rejected"
    """TWS or IB has refused the order."""
    FILLED = "filled"
    """All of the order is filled."""

    def yields_to(self, other: Reason) -> bool:
        """Return True if `other` replaces this reason."""
        order = list(Reason)
        return order.index(other) > order.index(self)


OVERTURNED_BY_ANYTHING = (Reason.NOT_SENT, Reason.NOT_AT_TWS)
"""Reasons that any report of TWS disproves: it has the order."""

OVERTURNED_BY_LIST = (None, Reason.EXPIRED, Reason.CANCELLED, Reason.REJECTED)
"""Reasons that a list of open orders disproves, if it was asked for after the end. None is an end without a reason. A
single report may be late or repeated, so it only has the order looked up. Nothing undoes that an order is filled."""
