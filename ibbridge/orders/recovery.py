"""The start of the daemon: the orders of the journal, what was published of them last, and what the owners must know.

Pure. An order that was queued when the daemon ended never left, and is over. An order that had left, and that TWS had
not reported, is unknown until it is looked up. In a journal that was restored from a backup, so is an order that was
queued or held at TWS: it may have left since. The module must not know the files.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgpack

from ibbridge.ib.notices import NOT_CONNECTED
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


def adopter(client_id: int) -> Callable[[Iterator[tuple[bytes, bytes]]], Found]:
    """Return the function that finds the order keys in an event store that kept none."""
    return partial(adopt, client_id)


MAY_HAVE_LEFT = (
    "the order journal was restored from a backup, in which the order had not left or was held; nobody knows what has "
    "become of it since. The daemon looks for the order at TWS"
)


class NotingStore(Protocol):
    """Store of values by name: the part of `ibbridge.storage.event_store.EventStore` that a note needs."""

    def get(self, key: str) -> bytes | None:
        """Return the value under `key`, or None."""

    def put(self, key: str, value: bytes) -> bool:
        """Store a value under `key`. Return False if that was not possible."""


class MarkedStore(Protocol):
    """Store with a mark: the part of `ibbridge.storage.order_store.OrderStore` that a note needs."""

    @property
    def fault(self) -> str:
        """Text that says why nothing can be written; empty if there is no fault."""

    @property
    def doubt(self) -> str:
        """Text that says why orders may be missing; empty if there is no doubt."""

    @property
    def mark(self) -> Mark:
        """The mark of the open journal."""


class JournalNote:
    """Note in the event store that says which journal belongs to it. A journal in doubt is not noted."""

    def __init__(self, values: NotingStore, journal: MarkedStore) -> None:
        self._values = values
        self._journal = journal
        self._noted: Mark | None = None

    def read(self) -> Mark | None:
        """Return the journal that the event store knows of; None if it knows none."""
        packed = self._values.get(NOTED)
        return None if packed is None else Mark(*msgpack.unpackb(packed))

    def tick(self) -> None:
        """Write the note, if the journal is another one than was noted. Call it about every second."""
        mark = self._journal.mark
        if mark == self._noted or self._journal.fault or self._journal.doubt:
            return
        if self._values.put(NOTED, msgpack.packb(mark)):
            self._noted = mark


class Restored:
    """The orders of the journal that were not over long ago when the daemon started, or that clients still see."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._doubt = ""

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
        self._doubt = registry.journal.doubt

    def publish(self, notifications: OrderNotifications) -> None:
        """Tell the owners what the end of the earlier process has done to their orders, and what they were not told."""
        for order in self._orders:
            if self._doubt and order.state in (OrderState.QUEUED, OrderState.HELD):
                order.step(OrderEvent.LEAVE)
                notifications.doubt(order, NOT_CONNECTED, MAY_HAVE_LEFT)
            elif order.state is OrderState.QUEUED and order.message is None:
                notifications.never_left(order)
            elif order.state in (OrderState.SENT, OrderState.MODIFYING, OrderState.CANCELLING):
                notifications.step(order, OrderEvent.DOUBT)
            else:
                notifications.publish_state(order)
        self._orders = []
