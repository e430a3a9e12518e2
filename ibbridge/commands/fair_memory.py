"""A bounded memory that clients share: a full memory evicts the oldest entry of its heaviest user.

The heaviest user is the client or the connection with the most bytes. Of the heaviest connection, the heaviest client
loses the entry. So neither one client name over a thousand connections nor a thousand names over one connection can
displace the entries of others. Pure. The module knows only the size of a value.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

OVERHEAD = 400
"""Bytes that an entry takes beside its value."""

K = TypeVar("K")
V = TypeVar("V")


class _Entry(Generic[K, V]):
    """A value with its key, size, client and connection. `kept` is False once the entry has been removed."""

    __slots__ = ("client", "kept", "key", "peer", "size", "value")

    def __init__(self, key: K, value: V, size: int, client: str, peer: bytes) -> None:
        self.key = key
        self.value = value
        self.size = size
        self.client = client
        self.peer = peer
        self.kept = True


class _Holder(Generic[K, V]):
    """The entries of one client or connection, the oldest first, and their size in bytes.

    `listed` is the serial number of the holder's valid place in the heap.
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
        """Stop counting an entry that is no longer `kept`. Drop such entries from the list when they are half of it."""
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
    """Holders by name, with a heap that finds the heaviest holder."""

    __slots__ = ("_heap", "_of", "_serial")

    def __init__(self) -> None:
        self._of: dict[Hashable, _Holder[K, V]] = {}
        # Negated sizes, serial numbers and names. Only the `listed` place of a holder counts. `largest` corrects a
        # place whose holder has become smaller since.
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
        """Rebuild the heap with one place for each holder, once most places are outdated."""
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
        """Return the holder with the most bytes. There must be at least one holder."""
        while True:
            size, number, name = self._heap[0]
            holder = self._of.get(name)
            if holder is not None and holder.listed == number:
                if holder.size == -size:
                    return holder
                self._list(name, holder)
            heapq.heappop(self._heap)


class FairMemory(Generic[K, V]):
    """Bounded memory of at most `most` entries and `largest` bytes, fair to clients and connections."""

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
        """Return the value under a key, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def oldest(self) -> tuple[K, V] | None:
        """Return the key and the value of the oldest entry; None if the memory is empty."""
        entry = next(iter(self._entries.values()), None)
        return None if entry is None else (entry.key, entry.value)

    def put(self, key: K, value: V, size: int, client: str, peer: bytes) -> int:
        """Keep a value of `size` bytes, replacing an earlier value of the key. Return how many entries were evicted."""
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
        """Remove the entry of a key, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        entry.kept = False
        del entry.value  # the holders' lists may refer to the entry for a long time yet
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
