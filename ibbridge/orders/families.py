"""Families of orders: a parent and its children, of which TWS keeps all until it is told to transmit the last.

Pure. An order with `transmit` false stays at TWS, with the orders of its family that came before. A later child with
`transmit` true has TWS transmit all of them. Once TWS works a parent, nothing holds its children together any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.orders.state_machine import OrderState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ibbridge.orders.order import Order

    Parent = Callable[[Order], Order | None]


def is_transmitted(order: Order) -> bool:
    """Return True if TWS is to transmit the order. TWS does not report an order that it only keeps."""
    given = order.args.get("order")
    return bool(given.get("transmit", True)) if isinstance(given, dict) else True


def families(orders: Sequence[Order], parent: Parent) -> list[Order]:
    """Return the head of each order's family.

    The head is one of `orders`, or it is the parent of some of them that TWS keeps, or will keep, when they come.
    """
    members = {order.key: order for order in orders}
    heads: dict[Order, Order] = {}
    for order in orders:
        above = members.get(order.parent) or parent(order)
        if above in heads:
            heads[order] = heads[above]
        else:
            heads[order] = above if above is not None and is_kept(above) else order
    return [heads[order] for order in orders]


def transmitted(heads: Sequence[Order], values: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Return for each of these orders whether TWS transmits it: itself does, or a later one of its family."""
    found: list[bool] = []
    through: set[Order] = set()
    for head, each in zip(reversed(heads), reversed(values), strict=True):
        if (each.get("order") or {}).get("transmit", True):
            through.add(head)
        found.append(head in through)
    return found[::-1]


def is_kept(order: Order) -> bool:
    """Return True if TWS keeps the order, or will keep it when it comes."""
    return order.state is OrderState.HELD or (order.state is OrderState.QUEUED and not is_transmitted(order))


def kept_with(order: Order, orders: Callable[[], Iterable[Order]], parent: Parent) -> list[Order]:
    """Return the orders that TWS was keeping when this order left, and has transmitted, because it reports this one."""
    ancestors = _ancestors(order, parent)
    if not any(each.state is OrderState.HELD for each in ancestors):
        return []
    head = ancestors[-1]
    held = (each for each in orders() if each.state is OrderState.HELD and each.order_id < order.order_id)
    return [each for each in held if each is head or head in _ancestors(each, parent)]


def _ancestors(order: Order, parent: Parent) -> list[Order]:
    """Return the parent of an order, its parent and so on."""
    found: list[Order] = []
    above = parent(order)
    while above is not None and above is not order and above not in found:
        found.append(above)
        above = parent(above)
    return found
