"""Quantities of an order: how much is filled, at which price, and what remains, from reports in any order.

Pure. TWS says how much is filled in `orderStatus`, in each execution (`cumQty`) and in a completed order, and each of
these may be late, repeated or missing. What is filled does not come back, so the greatest report is the newest. Only
the correction of an execution takes something back: its execId differs after the last dot, and TWS sends no
`orderStatus` for it. This module must not know messages, or what follows for the state of an order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.orders.exec_ids import is_of_leg, stem_and_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.orders.order import Order

_ROOM = 2**63

LARGEST = 10**60
"""Quantities and prices from here on are none: the sums and products of smaller ones are numbers."""

COMBINATION = "BAG"
"""`secType` of a combination. Each of its legs has executions of its own."""


class OrderFill(NamedTuple):
    """An execution and its corrections: `first` is the number of the oldest that is known, `last` of the newest."""

    first: int
    shares_at_first: float
    last: int
    shares: float
    price: float


@dataclass(slots=True)
class OrderFills:
    """Executions of an order, by the part of their execIds that they share with corrections.

    `is_corrected`: TWS has corrected one of them.
    """

    by_stem: dict[str, OrderFill] = field(default_factory=dict)
    is_corrected: bool = False


def number(value: Any) -> float | None:
    """Return a quantity as a number; None if it is none."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if abs(found) < LARGEST else None


def _plain(value: Any) -> Any:
    """Return a quantity as it can be written and published: an integer without room in 64 bits as text."""
    return str(value) if isinstance(value, int) and abs(value) >= _ROOM else value


def take_status(order: Order, filled: Any, remaining: Any, average: Any, *, final: bool) -> None:
    """Take the quantities of an `orderStatus`, unless more is known to be filled. `final`: the status ends an order.

    Once an order is over, a status of an open order that counts no more than is known was said before the end.
    """
    count, left = number(filled), number(remaining)
    if count is None:
        return
    known = order.counted
    if known is not None and count < known:
        if order.remaining is None and left is not None:
            order.remaining = max(0.0, left + count - known)
        return
    if known == count and order.ended and not final:
        return
    order.counted, order.filled = count, _plain(filled)
    if left is not None:
        order.remaining = _plain(remaining)
    if number(average) is not None:
        order.average = _plain(average)
    _correct(order)


def take_count(order: Order, filled: Any, average: Any) -> bool:
    """Take a filled quantity that is no status, unless as much is known to be filled. Return True if it is more."""
    count, left = number(filled), number(order.remaining)
    known = order.counted
    if count is None or (known is not None and count <= known):
        return False
    if left is not None:
        order.remaining = max(0.0, left - (count - (known or 0.0)))
    order.counted, order.filled = count, _plain(filled)
    if number(average) is not None:
        order.average = _plain(average)
    _correct(order)
    return count > (known or 0.0)


def take_execution(order: Order, execution: Mapping[str, Any]) -> bool:
    """Take an execution of the order, or its correction. Return True if more is filled than was known."""
    named = stem_and_number(execution.get("execId") or "")
    shares = number(execution.get("shares"))
    if named is not None and shares is not None:
        _note(order.fills, *named, max(0.0, shares), number(execution.get("price")) or 0.0)
    more = take_count(order, execution.get("cumQty"), execution.get("avgPrice"))
    _correct(order)
    return more


def _note(fills: OrderFills, stem: str, revision: int, shares: float, price: float) -> None:
    known = fills.by_stem.get(stem)
    if known is None:
        fills.by_stem[stem] = OrderFill(revision, shares, revision, shares, price)
        return
    if revision < known.first:
        fills.by_stem[stem] = known._replace(first=revision, shares_at_first=shares)
    elif revision > known.last:
        fills.by_stem[stem] = known._replace(last=revision, shares=shares, price=price)
    fills.is_corrected = fills.is_corrected or revision != known.first


def _correct(order: Order) -> None:
    """Compute what is filled from the executions, if one of them was corrected.

    TWS may count the old quantities afterwards, or the corrected ones. The executions are right in both cases. What
    TWS counts beyond all of them is filled too, by executions that are not known.
    """
    if order.counted is None or not order.fills.is_corrected:
        return
    fills = order.fills.by_stem.values()
    before = math.fsum(fill.shares_at_first for fill in fills)
    after = math.fsum(fill.shares for fill in fills)
    if before > order.counted:
        order.filled = min(order.counted, after)
    else:
        order.filled = after + max(0.0, order.counted - max(before, after))
    if order.filled == after:
        worth = math.fsum(fill.shares * fill.price for fill in fills)
        order.average = worth / after if after else 0.0


def is_leg(order: Order, contract: Mapping[str, Any], exec_id: str) -> bool:
    """Return True if an execution is that of a leg of the order's combination: only the combination's own count."""
    if contract.get("secType") == COMBINATION:
        return False
    ordered = order.args.get("contract")
    if isinstance(ordered, dict):
        return ordered.get("secType") == COMBINATION or bool(ordered.get("comboLegs"))
    return is_of_leg(exec_id)


def is_filled_up(order: Order) -> bool:
    """Return True if executions or statuses say that nothing of the order remains."""
    if not order.counted or order.pending is not None:
        return False
    if (left := number(order.remaining)) is not None:
        return left == 0.0
    given = order.args.get("order")
    total = number(given.get("totalQuantity")) if isinstance(given, dict) else None
    return bool(total) and order.counted >= (total or 0.0)
