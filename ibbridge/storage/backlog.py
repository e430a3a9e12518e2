"""What waits to be written, in order, while the disk cannot take it; and how much of it memory has room for.

Pure. Messages for which there is no room are dropped, the oldest first, and counted; order keys and forgotten states
never are.
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


class Waiting(NamedTuple):
    """A message as it waits to be written. `uptime` is that at which it came."""

    stream: bytes
    seq: int
    uptime: int
    topic: bytes
    body: bytes
    identity: bytes | None
    key: bytes | None

    @property
    def size(self) -> int:
        """About what it takes in memory."""
        return len(self.topic) + len(self.body) + len(self.identity or b"") + OVERHEAD


Item = Waiting | Forgotten | Key


class Backlog:
    """Items in order, of which `messages` are messages, with about `size` bytes; `dropped` are those that were lost."""

    def __init__(self) -> None:
        self.messages = 0
        self.size = 0
        self.dropped = 0
        self._items: deque[Item] = deque()
        self._by_stream: dict[bytes, deque[Waiting]] = {}
        self._keys: dict[bytes, Key] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def first(self, most: int) -> list[Item]:
        """Return the first so many items."""
        return list(islice(self._items, most))

    def key(self, name: bytes) -> Key | None:
        """Return the key of this name that waits, if one does."""
        return self._keys.get(name)

    def add(self, item: Item) -> None:
        """Add an item behind all others."""
        self._items.append(item)
        if isinstance(item, Waiting):
            self._by_stream.setdefault(item.stream, deque()).append(item)
            self.messages += 1
            self.size += item.size
        elif isinstance(item, Key):
            self._keys[item.name] = item

    def written(self, items: Sequence[Item]) -> None:
        """Remove items that were the first and have been written; some may have been dropped meanwhile."""
        if not self._items:
            return
        for item in items:
            if self._items and self._items[0] is item:
                self._leave(self._items.popleft())
            elif isinstance(item, Key) and self._keys.get(item.name) is item:
                del self._keys[item.name]

    def drop(self, room: int) -> list[Waiting]:
        """Drop the oldest messages, until the rest has no more than `room` bytes; return them."""
        dropped: list[Waiting] = []
        others: list[Item] = []
        while self.size > room:
            oldest = self._items.popleft()
            if isinstance(oldest, Waiting):
                self._leave(oldest)
                dropped.append(oldest)
            else:
                others.append(oldest)
        self._items.extendleft(reversed(others))
        self.dropped += len(dropped)
        return dropped

    def begins(self, stream: bytes) -> int | None:
        """Return the number of the first message of a stream that waits; None if none does."""
        waiting = self._by_stream.get(stream)
        return waiting[0].seq if waiting else None

    def messages_of(self, stream: bytes, first: int) -> Iterator[Waiting]:
        """Give the messages of a stream from number `first` on that wait."""
        waiting = self._by_stream.get(stream, deque())
        return islice(waiting, bisect_left(waiting, first, key=attrgetter("seq")), None)

    def _leave(self, item: Item) -> None:
        if isinstance(item, Waiting):
            waiting = self._by_stream[item.stream]
            waiting.popleft()
            if not waiting:
                del self._by_stream[item.stream]
            self.messages -= 1
            self.size -= item.size
        elif isinstance(item, Key) and self._keys.get(item.name) is item:
            del self._keys[item.name]
