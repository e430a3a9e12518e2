"""Order keys in the store: for ever, each used key with the orderId and permId of its order.

Pure. A record is written with the first message that is published about an order, by TWS or by the daemon. The record
is written again when the permId is known and when the order ends. After a restart the open orders are restored, and the
others are found when a command names their key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgpack

from ibbridge.orders.order import FOREIGN, is_end
from ibbridge.storage.keys import Found, Key
from ibbridge.streams import envelope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibbridge.orders.order import Order
    from ibbridge.orders.registry import OrderRegistry

HIGHEST: bytes = msgpack.packb("highest orderId")
"""Name of the record of the highest order id. The name cannot be a key's, because a key's name is two texts."""


class OrderRecord(NamedTuple):
    """The client id, orderId and permId of an order. With another client id only the use of the key matters."""

    client_id: int
    order_id: int
    perm_id: int


class KeyStore(Protocol):
    """Store of keys: the part of `ibbridge.storage.event_store.EventStore` that this module needs."""

    def open_keys(self) -> list[Key]:
        """Return the keys that were open at the start."""

    def key(self, name: bytes) -> bytes | None:
        """Return the value of a key; None if there is no such key."""

    def remember(self, *keys: Key) -> None:
        """Keep keys for ever, written with the next messages."""


class OrderKeys:
    """Records of all orders of a client id, kept in the store for the registry of orders."""

    def __init__(self, client_id: int, store: KeyStore) -> None:
        self.highest = 0
        """Highest order id that was ever published."""
        self._client_id = client_id
        self._store = store
        self._keeps = False

    def recall(self, orders: OrderRegistry) -> None:
        """Restore the orders that were open when the daemon ended, and keep records of `orders` from here on."""
        self._keeps = True
        for name, value, _ in self._store.open_keys():
            record = _record(value)
            if name == HIGHEST:
                self.highest = record.order_id
            elif record.client_id == self._client_id:
                order = orders.take_up(*_owner_and_key(name), record.order_id, record.perm_id)
                order.recorded = (record.order_id, record.perm_id, False)

    def find(self, owner: str, key: str) -> tuple[int, int] | None:
        """Return orderId and permId of the order of an earlier process under a key; None if there is none.

        Both are 0 if the order was placed under another client id. Return None too if the store cannot be read; the
        store then has a fault.
        """
        value = self._store.key(_name(owner, key))
        if value is None:
            return None
        record = _record(value)
        return record[1:] if record.client_id == self._client_id else (0, 0)

    def note(self, order: Order) -> None:
        """Keep the record of an order of which something is published, if it has changed."""
        now = (order.order_id, order.perm_id, order.ended)
        if order.recorded == now or not self._keeps:
            return
        order.recorded = now
        value = _value(self._client_id, order.order_id, order.perm_id)
        news = [Key(_name(order.owner, order.key), value, open=not order.ended)]
        if (order.order_id or 0) > self.highest:
            self.highest = order.order_id
            news.append(Key(HIGHEST, _value(self._client_id, self.highest, 0), open=True))
        self._store.remember(*news)


def key_name(ref: bytes) -> bytes | None:
    """Return the name of the order key in a packed `ref`; None if there is none."""
    about = msgpack.unpackb(ref, strict_map_key=False)
    owner, key = about.get("owner"), about.get("key")
    return _name(owner, key) if owner and key and owner != FOREIGN else None


def adopt(client_id: int, messages: Iterator[tuple[bytes, bytes]]) -> Found:
    """Return the keys of a store without key records, read from its messages: topics and bodies, the oldest first."""
    records: dict[bytes, OrderRecord] = {}
    ended: dict[bytes, bool] = {}
    names: dict[bytes, bytes] = {}
    highest = epoch = 0
    for topic, packed in messages:
        body = envelope.unpack(packed)
        epoch = max(epoch, body["epoch"])
        ref, data = body.get("ref") or {}, body["data"]
        if not {"owner", "key"} <= ref.keys() or ref["owner"] == FOREIGN:
            continue
        name = names[topic] = _name(ref["owner"], ref["key"])
        record = records[name] = _merged(records.get(name), client_id, ref, data)
        if status := data.get("status") or (data.get("orderState") or {}).get("status"):
            ended[name] = is_end(status)
        highest = max(highest, record.order_id if record.client_id == client_id else 0)
    keys = [Key(name, _value(*record), open=not ended.get(name)) for name, record in records.items()]
    if keys:
        keys.append(Key(HIGHEST, _value(client_id, highest, 0), open=True))
    return Found(keys, names, epoch)


def _merged(before: OrderRecord | None, client_id: int, ref: Mapping[str, Any], data: Mapping[str, Any]) -> OrderRecord:
    """Return the record of an order after one more message about the order."""
    about = data.get("order") or data.get("execution") or data
    client, number, perm_id = about.get("clientId"), ref.get("orderId"), about.get("permId")
    before = before or OrderRecord(client_id, 0, 0)
    return OrderRecord(client or before.client_id, number or before.order_id, perm_id or before.perm_id)


def _name(owner: str, key: str) -> bytes:
    name: bytes = msgpack.packb((owner, key))
    return name


def _owner_and_key(name: bytes) -> tuple[str, str]:
    owner, key = msgpack.unpackb(name)
    return owner, key


def _value(client_id: int, order_id: Any, perm_id: Any) -> bytes:
    value: bytes = msgpack.packb((client_id, order_id or 0, perm_id or 0))
    return value


def _record(value: bytes) -> OrderRecord:
    return OrderRecord(*msgpack.unpackb(value))
