"""The order journal: what is known of every order, on the disk before a byte of the order leaves.

Pure, apart from the store. An order is noted when it changes, and all noted orders are committed together: before an
order leaves, and about every second. The key of an order is the same order for ever: an order that is over keeps its
digest and its end, and not its arguments. Ids are reserved in blocks, so that no id is given twice over restarts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgpack

from ibbridge.orders.fills import OrderFill, OrderFills, number
from ibbridge.orders.order import Order
from ibbridge.orders.state_machine import OrderState, Reason
from ibbridge.storage.records import JournalRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ORDER, EXECUTION, POSITION, RISK = 1, 2, 3, 4
"""Kinds of records: orders, by owner and key; executions, by execId; positions, by owner, account and contract; the
book of risk and the events since."""

SETTLED = 600
"""Calls of `tick`, about a second apart, after which an order that is over is not taken up at the start any more. By
then the event store has what was published of it on the disk, whatever happens to the power."""

BLOCK = 1000
"""Ids that are reserved at a time."""

_FORGOTTEN: bytes = msgpack.packb(None)


class RecordStore(Protocol):
    """Store of records: the part of `ibbridge.storage.order_store.OrderStore` that this module needs."""

    @property
    def fault(self) -> str:
        """Text that says why nothing can be written; empty if there is no fault."""

    @property
    def doubt(self) -> str:
        """Text that says why orders may be missing; empty if there is no doubt."""

    @property
    def reserved(self) -> int:
        """Ids below this number may have been given."""

    def take_open(self, kind: int) -> list[JournalRecord]:
        """Return the records of a kind that were open at the start, once."""

    def knows(self, kind: int, name: bytes) -> bool:
        """Return True if there is a record of this name."""

    def find(self, kind: int, name: bytes) -> JournalRecord | None:
        """Return a record; None if there is none, or (with a fault) if it is unreadable."""

    def scan(self, kind: int, prefix: bytes, after: bytes, most: int) -> list[JournalRecord] | None:
        """Return the first records whose names begin with `prefix` and are above `after`; None if that failed."""

    def commit(self, records: Sequence[JournalRecord]) -> bool:
        """Write records, on the disk at the return. Return False if that failed."""

    def reserve(self, below: int) -> bool:
        """Reserve all ids below a number. Return False if that failed."""

    def accept(self) -> bool:
        """End the doubt. Return False if that failed."""

    def tick(self) -> None:
        """Do the maintenance."""


class OrderJournal:
    """Journal of the orders of this daemon's client id."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._noted: dict[tuple[str, str], Order | None] = {}
        self._records: dict[tuple[int, bytes], JournalRecord] = {}  # of the other kinds
        self._ended: dict[tuple[str, str], tuple[Order, int]] = {}
        self._ticks = 0
        self._settled: list[Order] = []

    @property
    def fault(self) -> str:
        """Why nothing can be written, where, and what to do about it; empty if there is no fault."""
        return self._store.fault

    @property
    def doubt(self) -> str:
        """Why orders may be missing, and what to do about it; empty if there is no doubt."""
        return self._store.doubt

    def accept(self) -> bool:
        """End the doubt: from here on a key that the journal does not have is free. Return False if that failed."""
        return self._store.accept()

    # -- orders

    def note(self, order: Order) -> None:
        """Have an order written with the next commit."""
        whose = order.owner, order.key
        self._noted[whose] = order
        if not order.settled or not order.ended:
            self._ended.pop(whose, None)  # so that the oldest comes first, which `tick` stops at
        if not order.ended:
            order.settled = False
        elif not order.settled:
            self._ended[whose] = order, self._ticks

    def forget(self, order: Order) -> None:
        """Have the key of an order freed with the next commit: its command is refused, and nothing of it has left."""
        self._noted.pop((order.owner, order.key), None)
        if self.fault or self._store.knows(ORDER, _name(order.owner, order.key)):  # or a late commit may still write it
            self._noted[order.owner, order.key] = None

    def commit(self) -> bool:
        """Write all that is noted. Return False, with a fault, if that failed; it stays noted then."""
        if not (self._noted or self._records):
            return not self.fault
        records = [_record(*whose, order) for whose, order in self._noted.items()]
        if not self._store.commit([*records, *self._records.values()]):
            return False
        self._noted, self._records = {}, {}
        return True

    def find(self, owner: str, key: str) -> Order | None:
        """Return the order under a key that is over, or was not open at the start; None if there is none.

        Return None too if the store cannot be read; there is a fault then.
        """
        if (owner, key) in self._noted:
            return self._noted[owner, key]
        record = self._store.find(ORDER, _name(owner, key))
        return None if record is None else _order(record)

    def list_orders(self, owner: str, after: str, most: int) -> tuple[list[Order] | None, str | None]:
        """Return the orders of an owner with keys above `after`, by key, and the key from which the next page goes on.

        The page is None if the store cannot be read.
        """
        self.commit()
        start = _name(owner, after) if after else _owner_prefix(owner)
        found = self._store.scan(ORDER, _owner_prefix(owner), start, most)
        if found is None:
            return None, None
        orders = [order for record in found if (order := _order(record)) is not None]
        following = msgpack.unpackb(found[-1].name)[1] if len(found) == most else None
        return orders, following

    def open_orders(self) -> list[Order]:
        """Return the orders that were not over long ago when the store was opened, by their ids. Only for the start."""
        found = [order for each in self._store.take_open(ORDER) if (order := _order(each)) is not None]
        self._ended |= {(order.owner, order.key): (order, self._ticks) for order in found if order.ended}
        return sorted(found, key=lambda order: order.order_id)

    def tick(self) -> None:
        """Write what is noted, and maintain the store. Call it about every second."""
        self._store.tick()
        self._ticks += 1
        for whose, (order, since) in [*self._ended.items()]:
            if self._ticks - since < SETTLED:
                break
            del self._ended[whose]
            order.settled = True
            self._settled.append(order)
            self.note(order)
        self.commit()

    def take_settled(self) -> list[Order]:
        """Return the orders whose records were closed since the last call."""
        settled, self._settled = self._settled, []
        return settled

    # -- executions and positions

    def note_record(self, record: JournalRecord) -> None:
        """Have a record of another kind written with the next commit, in the same transaction as all that is noted."""
        self._records[record.kind, record.name] = record

    def find_record(self, kind: int, name: bytes) -> JournalRecord | None:
        """Return a record of another kind; None if there is none, or (with a fault) if it cannot be read."""
        return self._records.get((kind, name)) or self._store.find(kind, name)

    def has_record(self, kind: int, name: bytes) -> bool:
        """Return True if there is a record of another kind. The disk is not asked."""
        return (kind, name) in self._records or self._store.knows(kind, name)

    def is_unreadable(self, kind: int, name: bytes) -> bool:
        """Return True if there is a record of another kind that cannot be read now. There is a fault then."""
        return self._store.knows(kind, name) and self.find_record(kind, name) is None

    def take_open(self, kind: int) -> list[JournalRecord]:
        """Return the records of another kind that were open when the store was opened."""
        return self._store.take_open(kind)

    def commit_records(self) -> None:
        """Write what is noted, if records of other kinds are among it.

        The messages about executions are published all the same if that fails.
        """
        if self._records:
            self.commit()

    # -- ids

    @property
    def reserved(self) -> int:
        """Ids below this number may have been given."""
        return self._store.reserved

    def reserve(self, number: int) -> bool:
        """Reserve ids up to a number and some more. Return False, with a fault, if that failed."""
        return self._store.reserve(number + BLOCK)


def _name(owner: str, key: str) -> bytes:
    name: bytes = msgpack.packb((owner, key))
    return name


def _owner_prefix(owner: str) -> bytes:
    """Return how the names of all orders of an owner begin."""
    return b"\x92" + msgpack.packb(owner)  # type: ignore[no-any-return]


def _record(owner: str, key: str, order: Order | None) -> JournalRecord:
    if order is None:
        return JournalRecord(ORDER, _name(owner, key), _FORGOTTEN, open=False)
    value: dict[str, Any] = {
        "orderId": order.order_id,
        "permIds": order.perm_ids,
        "command": order.command,
        "digest": order.digest,
        "state": order.state.value,
        "reason": order.reason.value if order.reason else None,
        "cause": order.cause,
        "revision": order.revision,
        "filled": order.filled,
        "remaining": order.remaining,
        "average": order.average,
        "counted": order.counted,
        "fills": order.fills.by_stem if order.fills.is_corrected else {},  # of others the sum is enough
        "heardAt": order.heard_at,
        "idTaken": order.id_taken,
        "status": order.status,
        "error": order.error,
        "changes": order.changes,
        "hasFollowup": order.has_followup,
        "changedAt": order.changed_at,
        "changeDigest": order.change_digest,
        "group": order.group,
    }
    if not order.ended:
        value |= {
            "args": order.args,
            "notAfter": order.not_after,
            "parent": order.parent,
            "kept": order.kept,
            "pending": order.pending,
            "cancelledBy": order.cancelled_by,
        }
    return JournalRecord(ORDER, _name(owner, key), msgpack.packb(value), open=not order.settled)


def _fills(by_stem: Mapping[str, Sequence[Any]]) -> OrderFills:
    """Return the executions in a record: all of an order of which one was corrected, or none."""
    return OrderFills({stem: OrderFill(*each) for stem, each in by_stem.items()}, bool(by_stem))


def _order(record: JournalRecord) -> Order | None:
    """Return the order in a record; None if its key was freed."""
    value = msgpack.unpackb(record.value, strict_map_key=False)
    if value is None:
        return None
    owner, key = msgpack.unpackb(record.name)
    return Order(
        owner,
        key,
        value["orderId"],
        value.get("args", {}),
        value["command"],
        value["digest"],
        not_after=value.get("notAfter"),
        parent=value.get("parent", ""),
        kept=value.get("kept", False),
        revision=value["revision"],
        perm_id=next(iter(value["permIds"]), 0),
        perm_ids=tuple(value["permIds"]),
        state=OrderState(value["state"]),
        reason=Reason(value["reason"]) if value["reason"] else None,
        cause=value["cause"],
        status=value["status"],
        filled=value["filled"],
        remaining=value["remaining"],
        average=value["average"],
        counted=value.get("counted", number(value["filled"])),
        fills=_fills(value.get("fills", {})),
        heard_at=value.get("heardAt") or value["changedAt"],
        id_taken=value.get("idTaken", False),
        error=value["error"],
        changes=value["changes"],
        has_followup=value["hasFollowup"],
        changed_at=value["changedAt"],
        change_digest=value["changeDigest"],
        group=tuple(value["group"]),
        pending=value.get("pending"),
        cancelled_by=value.get("cancelledBy", ""),
        settled=not record.open,
    )
