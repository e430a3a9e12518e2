"""Reports of TWS about an order: its quantities, its end, and the meaning of an error for it.

Pure. This module knows the fields of messages. It must not know whose an order is, or where a message is published.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ibbridge.orders.order import CANCEL_SHOWS, INACTIVE
from ibbridge.orders.state_machine import OVERTURNED_BY_STATUS, OrderEvent, OrderState, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.ib.error_codes import ErrorCode
    from ibbridge.orders.order import Order

_CANCELLED, _REJECTED = 202, 201
_UNSET = (None, "", 0, False, "0", "None", "NONE", 2147483647, 1.7976931348623157e308)
_ROOM = 2**63


def take_report(order: Order, name: str, data: Mapping[str, Any]) -> None:
    """Take the quantities and the end of an order from a message about it."""
    if name == "orderStatus":
        order.filled, order.remaining = _plain(data.get("filled")), _plain(data.get("remaining"))
        order.average = _plain(data.get("avgFillPrice"))
    elif name == "openOrder":
        _take_change(order, data.get("order") or {})
    elif name == "completedOrder":
        _complete(order, data)
    elif name == "execDetails":
        execution = data.get("execution") or {}
        _take_quantity(order, execution.get("cumQty"), execution.get("avgPrice"))
        if order.ended and order.reason in OVERTURNED_BY_STATUS:
            order.step(OrderEvent.REOPEN)
        order.step(OrderEvent.FILL)


def _take_change(order: Order, reported: Mapping[str, Any]) -> None:
    """Take over the attributes of a change that is under way, if TWS reports that they are not the old ones any more.

    TWS fills in and normalises attributes. So only those that the change names are looked at, and what counts is that
    one of them differs from what it was. A report in which all are as before may be older than the change.
    """
    if order.pending is None:
        return
    before, wanted = order.args.get("order") or {}, order.pending["order"]
    named = [name for name, value in wanted.items() if not _same(value, before.get(name))]
    if not named or any(not _same(before.get(name), reported.get(name)) for name in named):
        order.args, order.pending = order.pending, None
        order.step(OrderEvent.MODIFIED)


def _same(one: Any, other: Any) -> bool:
    """Return True if two values of an attribute are the same to TWS, which reports one that is not set in many ways."""
    if one in _UNSET and other in _UNSET:
        return True
    try:
        return bool(one == other) or Decimal(str(one)) == Decimal(str(other))
    except ArithmeticError:
        return False


def _complete(order: Order, data: Mapping[str, Any]) -> None:
    state = data.get("orderState") or {}
    why = (state.get("completedStatus") or "").lower()
    if "expire" in why:
        order.step(OrderEvent.END, Reason.EXPIRED)
    elif state.get("status") == INACTIVE or "reject" in why:  # among completed orders it is over
        order.step(OrderEvent.END, Reason.REJECTED)
    _take_quantity(order, (data.get("order") or {}).get("filledQuantity"), None)


def _take_quantity(order: Order, filled: Any, average: Any) -> None:
    """Take a filled quantity, unless more is known to be filled."""
    new, known, left = _number(filled), _number(order.filled), _number(order.remaining)
    if new is None or (known is not None and new <= known):
        return
    if left is not None:
        order.remaining = max(0.0, left - (new - (known or 0.0)))
    order.filled = _plain(filled)
    order.average = _plain(average) if average not in (None, "") else order.average


def _number(value: Any) -> float | None:
    """Return a quantity as a number; None if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _plain(value: Any) -> Any:
    """Return a quantity as it can be written and published: an integer without room in 64 bits as text."""
    return str(value) if isinstance(value, int) and abs(value) >= _ROOM else value


def take_error(order: Order, error: ErrorCode, code: int, text: str, ts: int, *, namesake: bool = False) -> bool | None:
    """Apply an error of TWS to an order. Return whether the order is over; None if the error does not say.

    An error that is not known to end the order, and is no warning, is no acknowledgement: it may be about an order that
    TWS does not have. If another client of TWS has a `namesake`, an order with the same order id, the error of a
    cancelled or rejected order may be about that one, unless TWS has reported such a status of this order before.
    """
    ends = error.ends_order(acknowledged=bool(order.perm_id), followed=order.has_followup)
    order.error = {"code": code, "text": text, "ts": ts, "own": False}
    if namesake and code in (_CANCELLED, _REJECTED) and order.status not in CANCEL_SHOWS:
        ends = None
        order.step(OrderEvent.GARBLE)
    elif error.refuses == "cancellation":
        order.answer_cancel()
        order.step(OrderEvent.DOUBT)
    elif ends and code != _CANCELLED and order.state is OrderState.MODIFYING:
        ends = None  # a change was rejected, and perhaps the order with it
        order.step(OrderEvent.DOUBT)
    elif ends:
        order.step(OrderEvent.END, Reason.CANCELLED if code == _CANCELLED else Reason.REJECTED)
        order.answer_cancel()
    elif order.state is OrderState.MODIFYING and (error.refuses == "change" or error.error_class != "warning"):
        order.pending = None
        order.step(OrderEvent.MODIFIED)
    elif ends is False:
        order.step(OrderEvent.ACK)
    elif order.state is OrderState.SENT:  # TWS may have the order or not: it is looked up at once
        order.step(OrderEvent.DOUBT)
    return ends
