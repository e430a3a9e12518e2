"""The backlog of the event store: items in order that wait in memory while the disk cannot take them.

Pure. If memory has no room, messages are dropped, the oldest first, and counted. Order keys and forgotten states are
never dropped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.storage.event_table import Forgotten
from ibbridge.storage.keys import Key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OVERHEAD = 400
"""Bytes that a message takes in memory beside its topic, body and identity."""


class PendingEvent(NamedTuple):
    """Message that waits to be written. `uptime` is the store's uptime (µs) when the message came."""

    stream: bytes
    seq: int
    uptime: int
    topic: bytes
    body: bytes
    identity: bytes | None
    key: bytes | None

    @property
    def size(self) -> int:
        """Approximate bytes of the message in memory."""
        return len(self.topic) + len(self.body) + len(self.identity or b"") + OVERHEAD


Item = PendingEvent | Forgotten | Key


class Backlog:
    """Backlog: items in order. `messages` counts the messages among them, `size` their bytes, `dropped` lost ones."""

    def __init__(self) -> None:
        self.messages = 0
        self.size = 0
        self.dropped = 0
        self._items: deque[Item] = deque()
        self._by_stream: dict[bytes, deque[PendingEvent]] = {}
        self._keys: dict[bytes, Key] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def first(self, most: int) -> list[Item]:
        """Return the first `most` items."""
        return list(islice(self._items, most))

    def key(self, name: bytes) -> Key | None:
        """Return the waiting key of a name; None if there is none."""
        return self._keys.get(name)

    def add(self, item: Item) -> None:
        """Add an item behind all others."""
        self._items.append(item)
        if isinstance(item, PendingEvent):
            self._by_stream.setdefault(item.stream, deque()).append(item)
            self.messages += 1
            self.size += item.size
        elif isinstance(item, Key):
            self._keys[item.name] = item

    def written(self, items: Sequence[Item]) -> None:
        """Remove written items, which were the first ones. Some of them may have been dropped meanwhile."""
        if not self._items:
            return
        for item in items:
            if self._items and self._items[0] is item:
                self._leave(self._items.popleft())
            elif isinstance(item, Key) and self._keys.get(item.name) is item:
                del self._keys[item.name]

    def drop(self, room: int) -> list[PendingEvent]:
        """Drop the oldest messages until the rest has at most `room` bytes; return the dropped messages."""
        dropped: list[PendingEvent] = []
        others: list[Item] = []
        while self.size > room:
            oldest = self._items.popleft()
            if isinstance(oldest, PendingEvent):
                self._leave(oldest)
                dropped.append(oldest)
            else:
                others.append(oldest)
        self._items.extendleft(reversed(others))
        self.dropped += len(dropped)
        return dropped

    def begins(self, stream: bytes) -> int | None:
        """Return the sequence number of a stream's first waiting message; None if none waits."""
        waiting = self._by_stream.get(stream)
        return waiting[0].seq if waiting else None

    def messages_of(self, stream: bytes, first: int) -> Iterator[PendingEvent]:
        """Return the waiting messages of a stream, from sequence number `first` on."""
        waiting = self._by_stream.get(stream, deque())
        return islice(waiting, bisect_left(waiting, first, key=attrgetter("seq")), None)

    def _leave(self, item: Item) -> None:
        if isinstance(item, PendingEvent):
            waiting = self._by_stream[item.stream]
            waiting.popleft()
            if not waiting:
                del self._by_stream[item.stream]
            self.messages -= 1
            self.size -= item.size
        elif isinstance(item, Key) and self._keys.get(item.name) is item:
            del self._keys[item.name]
