"""The start of the daemon: the orders of the journal, what was published of them last, and what the owners must know.

Pure. An order that was queued when the daemon ended never left, and is over. An order that had left, and that TWS had
not reported, is unknown until it is looked up. The module must not know the files.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgpack

from ibbridge.orders.order_keys import adopt
from ibbridge.orders.order_states import TYPE, recall
from ibbridge.orders.state_machine import OrderEvent, OrderState
from ibbridge.storage.records import Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.order import Order
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.storage.keys import Found

NOTED = "journal"
"""Name of the value in the event store that says which journal belongs to it."""


def expected(packed: bytes | None) -> Mark | None:
    """Return the journal that the event store knows of; None if it knows none."""
    return None if packed is None else Mark(*msgpack.unpackb(packed))


def adopter(client_id: int) -> Callable[[Iterator[tuple[bytes, bytes]]], Found]:
    """Return the function that finds the order keys in an event store that kept none."""
    return partial(adopt, client_id)


def noted(mark: Mark) -> bytes:
    """Return the value for the event store that says which journal belongs to it."""
    packed: bytes = msgpack.packb(mark)
    return packed


class Restored:
    """The orders of the journal that were not over long ago when the daemon started, or that clients still see."""

    def __init__(self) -> None:
        self._orders: list[Order] = []

    def restore(self, registry: OrderRegistry, state: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Enter the orders of the journal, with what was published of them last."""
        for order in registry.journal.open_orders():
            registry.add(order)
        for _, _, packed in state:
            body = msgpack.unpackb(packed, strict_map_key=False)
            if body["type"] != TYPE:
                continue
            known = registry.find(body["ref"]["owner"], body["ref"]["key"])
            if known is not None and recall(known, body["data"]):
                registry.add(known)
                registry.journal.note(known)
        self._orders = registry.placed()

    def publish(self, notifications: OrderNotifications) -> None:
        """Tell the owners what the end of the earlier process has done to their orders, and what they were not told."""
        for order in self._orders:
            if order.state is OrderState.QUEUED and order.message is None:
                notifications.never_left(order)
            elif order.state in (OrderState.SENT, OrderState.MODIFYING, OrderState.CANCELLING):
                notifications.step(order, OrderEvent.DOUBT)
            else:
                notifications.publish_state(order)
        self._orders = []
