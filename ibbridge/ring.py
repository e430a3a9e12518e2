"""What was published a moment ago, kept in memory for those who have missed it.

Topics and bodies by their `offset`, as many as were allowed, messages and bytes both. Pure; knows nothing of streams or
of what a message says. Made for being written: to keep what one read brought costs one copy of pointers, and the slots
are one list, so that the garbage collector has no objects to walk.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OVERHEAD = sys.getsizeof(b"")
"""Bytes that a message takes in memory beside its own. Topics are shared and count nothing."""


class Ring:
    """Topics and bodies of the newest messages; `first` to `next - 1` are the offsets that are there."""

    def __init__(self, messages: int, size: int) -> None:
        self.first = 1
        self.next = 1
        self.size = 0
        self._most = messages
        self._largest = size
        self._slots: list[bytes | None] = [None] * (2 * messages)
        self._batches: deque[tuple[int, int]] = deque()  # how many messages, and their bytes: they go as they came

    def extend(self, frames: list[bytes]) -> None:
        """Keep what was published next: topics and bodies in turn. Where there is no room the oldest goes."""
        count = len(frames) // 2
        if count > self._most:  # more in one go than there is room for: only the end of it is kept
            self._drop_all()
            self.first = self.next = self.next + count - self._most
            frames, count = frames[-2 * self._most :], self._most
        size = sum(map(len, frames[1::2])) + OVERHEAD * count
        while self._batches and (self.next - self.first + count > self._most or self.size + size > self._largest):
            self._drop_oldest()
        self._put(self.next, frames)
        self._batches.append((count, size))
        self.next += count
        self.size += size

    def _put(self, offset: int, frames: list[bytes] | list[None]) -> None:
        """Into the slots from `offset` on, of which there is one circle."""
        start = 2 * (offset % self._most)
        before_end = min(len(frames), len(self._slots) - start)
        self._slots[start : start + before_end] = frames[:before_end]
        self._slots[: len(frames) - before_end] = frames[before_end:]

    def _drop_oldest(self) -> None:
        count, size = self._batches.popleft()
        self._put(self.first, [None] * (2 * count))
        self.first += count
        self.size -= size

    def _drop_all(self) -> None:
        while self._batches:
            self._drop_oldest()

    def at(self, offsets: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
        """Topic and body of each of these messages; IndexError for one that is kept no more."""
        slots, most = self._slots, self._most
        for offset in offsets:
            topic, body = slots[2 * (offset % most)], slots[2 * (offset % most) + 1]
            if topic is None or body is None:
                raise IndexError(f"{offset} is not in the ring: {self.first} to {self.next - 1} are")
            yield topic, body

    def __len__(self) -> int:
        return self.next - self.first
