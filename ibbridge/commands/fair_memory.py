"""A bounded memory that clients share: when it is full, whoever fills it loses the oldest of their own.

The one that fills it is the connection or the client that has most, whichever has more; of a connection the client that
has most. So neither one name over a thousand connections nor a thousand names over one push out what others have.
Pure; knows nothing of what is kept but its size.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

OVERHEAD = 400
"""Bytes that an entry takes beside what is kept in it."""

K = TypeVar("K")
V = TypeVar("V")


class _Entry(Generic[K, V]):
    """One thing that is kept."""

    __slots__ = ("client", "kept", "key", "peer", "size", "value")

    def __init__(self, key: K, value: V, size: int, client: str, peer: bytes) -> None:
        self.key = key
        self.value = value
        self.size = size
        self.client = client
        self.peer = peer
        self.kept = True


class _Holder(Generic[K, V]):
    """What one client or connection has: its size, and its entries from the oldest on.

    `listed` is the number of its place in the heap.
    """

    __slots__ = ("_entries", "_live", "_start", "listed", "size")

    def __init__(self) -> None:
        self.size = 0
        self.listed = 0
        self._entries: list[_Entry[K, V]] = []
        self._start = 0
        self._live = 0

    def add(self, entry: _Entry[K, V]) -> None:
        self.size += entry.size
        self._live += 1
        self._entries.append(entry)

    def remove(self, entry: _Entry[K, V]) -> None:
        """Count an entry no more, which is not `kept` now; the list is cleared of such when they are half of it."""
        self.size -= entry.size
        self._live -= 1
        if len(self._entries) > 2 * self._live + 8:
            self._entries = [each for each in self._entries[self._start :] if each.kept]
            self._start = 0

    def oldest(self) -> _Entry[K, V]:
        while not self._entries[self._start].kept:
            self._start += 1
        return self._entries[self._start]


class _Holders(Generic[K, V]):
    """Holders by name, and which has most."""

    __slots__ = ("_heap", "_of", "_serial")

    def __init__(self) -> None:
        self._of: dict[Hashable, _Holder[K, V]] = {}
        # Sizes, negated, and names. Of each holder one place counts, the one that is `listed`; when that is met and the
        # holder has less by then, it is corrected.
        self._heap: list[tuple[int, int, Hashable]] = []
        self._serial = 0

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, name: Hashable, entry: _Entry[K, V]) -> None:
        holder = self._of.get(name)
        if holder is None:
            holder = self._of[name] = _Holder()
        holder.add(entry)
        self._list(name, holder)
        self._compact()

    def _compact(self) -> None:
        """Leave one place in the heap to each holder, when most places count no more."""
        if len(self._heap) > 4 * len(self._of) + 64:
            self._heap = [(-each.size, each.listed, name) for name, each in self._of.items()]
            heapq.heapify(self._heap)

    def _list(self, name: Hashable, holder: _Holder[K, V]) -> None:
        self._serial += 1
        holder.listed = self._serial
        heapq.heappush(self._heap, (-holder.size, self._serial, name))

    def remove(self, name: Hashable, entry: _Entry[K, V]) -> None:
        holder = self._of[name]
        holder.remove(entry)
        if not holder.size:
            del self._of[name]
            self._compact()

    def largest(self) -> _Holder[K, V]:
        """Return the holder that has most. There must be one."""
        while True:
            size, number, name = self._heap[0]
            holder = self._of.get(name)
            if holder is not None and holder.listed == number:
                if holder.size == -size:
                    return holder
                self._list(name, holder)
            heapq.heappop(self._heap)


class FairMemory(Generic[K, V]):
    """At most `most` entries, of `largest` bytes together."""

    def __init__(self, most: int, largest: int) -> None:
        self.size = 0
        self._most = most
        self._largest = largest
        self._entries: OrderedDict[K, _Entry[K, V]] = OrderedDict()
        self._clients: _Holders[K, V] = _Holders()
        self._peers: dict[bytes, _Holders[K, V]] = {}
        self._by_peer: _Holders[K, V] = _Holders()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return what is kept under a key."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def oldest(self) -> tuple[K, V] | None:
        """Return the key and the value that were put before all others."""
        entry = next(iter(self._entries.values()), None)
        return None if entry is None else (entry.key, entry.value)

    def put(self, key: K, value: V, size: int, client: str, peer: bytes) -> int:
        """Keep a value of `size` bytes in the place of an earlier one; return how many others had to go for it."""
        self.remove(key)
        entry = self._entries[key] = _Entry(key, value, size + OVERHEAD, client, peer)
        self.size += entry.size
        self._clients.add(client, entry)
        self._by_peer.add(peer, entry)
        self._peers.setdefault(peer, _Holders()).add(client, entry)
        gone = 0
        while len(self._entries) > self._most or self.size > self._largest:
            self.remove(self._next_to_go().key)
            gone += 1
        return gone

    def remove(self, key: K) -> None:
        """Keep nothing under a key any more."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        entry.kept = False
        del entry.value  # now, and not when the last list has been cleared of it
        self.size -= entry.size
        self._clients.remove(entry.client, entry)
        self._by_peer.remove(entry.peer, entry)
        clients = self._peers[entry.peer]
        clients.remove(entry.client, entry)
        if not clients:
            del self._peers[entry.peer]

    def _next_to_go(self) -> _Entry[K, V]:
        client, peer = self._clients.largest(), self._by_peer.largest()
        if client.size < peer.size:
            client = self._peers[peer.oldest().peer].largest()
        return client.oldest()
