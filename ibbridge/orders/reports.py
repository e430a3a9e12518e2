"""Reports of TWS about an order: its quantities, its end, and the meaning of an error for it.

Pure. This module knows the fields of messages. It must not know whose an order is, or where a message is published.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ibbridge.orders import fills
from ibbridge.orders.order import CANCEL_SHOWS, INACTIVE, is_end
from ibbridge.orders.state_machine import OVERTURNED_BY_ANYTHING, OrderEvent, OrderState, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.ib.error_codes import ErrorCode
    from ibbridge.orders.order import Order

_CANCELLED, _REJECTED, _FILLED, _ID_TAKEN = 202, 201, 104, 103
_NO_SUCH_ORDER = (135, 10147)
_NOT_KEPT = (10147, 10148)
"""Answers to the cancel of an order that TWS does not keep back: it has no such order, or the order is over."""

CANCELLERS = {"by system": "broker", "by trader": "by_hand"}
"""Causes by what TWS writes of an order that nobody here has cancelled. A person is a trader, and so is a program."""

_WHY = "reason:"

_UNSET = (None, "", 0, False, "0", "None", "NONE", 2147483647, 1.7976931348623157e308)


def take_report(order: Order, name: str, data: Mapping[str, Any]) -> None:
    """Take the quantities and the end of an order from a message about it."""
    if name == "orderStatus":
        final = is_end(data.get("status") or "")
        fills.take_status(order, data.get("filled"), data.get("remaining"), data.get("avgFillPrice"), final=final)
    elif name == "openOrder":
        _take_change(order, data.get("order") or {})
    elif name == "completedOrder":
        _complete(order, data)
    elif name == "execDetails":
        _execute(order, data.get("contract") or {}, data.get("execution") or {})


def _execute(order: Order, contract: Mapping[str, Any], execution: Mapping[str, Any]) -> None:
    """Take an execution. That of a leg shows that the order works, and fills nothing of it."""
    more = False
    if not fills.is_leg(order, contract, execution.get("execId") or ""):
        more = fills.take_execution(order, execution)
    if order.ended and order.reason in OVERTURNED_BY_ANYTHING:
        order.step(OrderEvent.REOPEN)
    order.disputed = order.disputed or (more and order.reason is Reason.REJECTED)
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
    """End an order that TWS lists as completed: it is over, even if the list does not say why."""
    about = data.get("order") or {}
    if order.ended and order.reason in OVERTURNED_BY_ANYTHING:
        order.step(OrderEvent.REOPEN)
    state = data.get("orderState") or {}
    order.step(OrderEvent.END, _completion(state, about))
    order.answer_cancel()
    if order.reason is Reason.CANCELLED:
        order.blame(_canceller(order, (state.get("completedStatus") or "").lower()))
    fills.take_count(order, about.get("filledQuantity"), None)


def _completion(state: Mapping[str, Any], about: Mapping[str, Any]) -> Reason | None:
    """Return why a completed order is over; None if the list does not say it. The status was taken before."""
    why = (state.get("completedStatus") or "").lower()
    filled, total = fills.number(about.get("filledQuantity")), fills.number(about.get("totalQuantity"))
    if "expire" in why:
        return Reason.EXPIRED
    if state.get("status") == INACTIVE or "reject" in why:  # among completed orders it is over
        return Reason.REJECTED
    if "cancel" in why:
        return Reason.CANCELLED
    return Reason.FILLED if why.startswith("filled") or (filled and total and filled >= total) else None


def _end(order: Order, code: int, text: str) -> None:
    """End an order by an error. IB says why it refuses an order, or cancels one by itself."""
    order.step(OrderEvent.END, Reason.CANCELLED if code == _CANCELLED else Reason.REJECTED)
    if code == _REJECTED or (code == _CANCELLED and text.partition(_WHY)[2].strip()):
        order.blame("broker")
    order.answer_cancel()


def _canceller(order: Order, why: str) -> str:
    """Return who has cancelled an order by the text in its `completedStatus`; empty if the text does not say it.

    TWS cancels a child with its parent, and the rest of an OCA group, whoever has caused that.
    """
    given = order.args.get("order") or {}
    alone = bool(given) and not (order.parent or given.get("parentId") or given.get("ocaGroup"))
    return next((cause for words, cause in CANCELLERS.items() if words in why), "") if alone else ""


def _note(order: Order, error: ErrorCode, said: dict[str, Any]) -> None:
    """Take over an error as the order's last one. The refusal of a late cancel must not hide why an order has ended."""
    if order.state is not OrderState.DONE or error.refuses != "cancellation":
        order.error = said


def take_error(order: Order, error: ErrorCode, code: int, text: str, ts: int, *, namesake: bool = False) -> bool | None:
    """Apply an error of TWS to an order. Return whether the order is over; None if the error does not say.

    An error that is not known to end the order, and is no warning, is no acknowledgement: it may be about an order that
    TWS does not have. If another client of TWS has a `namesake`, an order with the same order id, the error of a
    cancelled or rejected order may be about that one, unless TWS has reported such a status of this order before.
    """
    ends = error.ends_order(acknowledged=bool(order.perm_id), followed=order.has_followup)
    _note(order, error, {"code": code, "text": text, "ts": ts, "own": False})
    order.id_taken = order.id_taken or (code == _ID_TAKEN and not order.perm_id)
    if namesake and code in (_CANCELLED, _REJECTED) and order.status not in CANCEL_SHOWS:
        ends = None
        order.step(OrderEvent.GARBLE)
    elif error.refuses == "cancellation":
        order.kept = order.kept and code not in _NOT_KEPT  # so the lists decide
        order.answer_cancel()
        if code in _NO_SUCH_ORDER and order.is_missing:  # the lists have said so too
            order.step(OrderEvent.END, Reason.NOT_AT_TWS)
        order.step(OrderEvent.DOUBT)
    elif ends and code != _CANCELLED and order.state is OrderState.MODIFYING:
        ends = None  # a change was rejected, and perhaps the order with it
        order.step(OrderEvent.DOUBT)
    elif ends:
        _end(order, code, text)
    elif code == _FILLED and order.state is OrderState.MODIFYING:  # its end was missed
        order.pending = None
        order.step(OrderEvent.DOUBT)
    elif order.state is OrderState.MODIFYING and (error.refuses == "change" or error.error_class != "warning"):
        order.pending = None
        order.step(OrderEvent.MODIFIED)
    elif ends is False:
        order.step(OrderEvent.ACK)
    elif order.state is OrderState.SENT:  # TWS may have the order or not: it is looked up at once
        order.step(OrderEvent.DOUBT)
    return ends
