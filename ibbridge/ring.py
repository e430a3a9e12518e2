"""What was published a moment ago, kept in memory for those who have missed it.

Topics and bodies by their `offset`, as many as were allowed, messages and bytes both. Pure; knows nothing of streams or
of what a message says. Made for being written: to keep what one read brought costs one copy of pointers.

They are kept in blocks, which go as a whole. A full block is a tuple of bytes: the garbage collector sees once that it
leads nowhere, and looks at none of it again. Half a million messages in one list it would walk at each full collection,
50 ms in which nothing else happens.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OVERHEAD = sys.getsizeof(b"")
"""Bytes that a message takes in memory beside its own. Topics are shared and count nothing."""

BLOCK = 512
"""Messages of a full block, if it has not its share of the bytes before."""

BLOCKS = 16
"""Of how many blocks a ring has room, at least: what goes at a time is no large part of it."""


class Ring:
    """Topics and bodies of the newest messages; `first` to `next - 1` are the offsets that are there."""

    def __init__(self, messages: int, size: int) -> None:
        self.first = 1
        self.next = 1
        self.size = 0
        self._most = messages
        self._largest = size
        self._full = max(1, min(BLOCK, messages // BLOCKS))
        self._full_size = size // BLOCKS
        self._blocks: list[tuple[bytes, ...]] = []  # topics and bodies in turn
        self._starts: list[int] = []  # the first offset of each
        self._sizes: list[int] = []
        self._open: list[bytes] = []  # the newest, not a block yet
        self._open_size = 0

    def extend(self, frames: list[bytes]) -> None:
        """Keep what was published next: topics and bodies in turn. Where there is no room the oldest goes.

        What comes is kept even if it is larger than was allowed, as far as it is not too many messages.
        """
        count = len(frames) // 2
        if count > self._most:
            self._drop_all(count - self._most)
            frames, count = frames[-2 * self._most :], self._most
        size = sum(map(len, frames[1::2])) + OVERHEAD * count
        if self._most < len(self) + count or self._largest < self.size + size:
            self._make_room(count, size)
        self._open += frames
        self._open_size += size
        self.next += count
        self.size += size
        if len(self._open) >= 2 * self._full or self._open_size >= self._full_size:
            self._close()

    def _close(self) -> None:
        """Make a block of what is open."""
        self._starts.append(self.next - len(self._open) // 2)
        self._blocks.append(tuple(self._open))
        self._sizes.append(self._open_size)
        self._open = []
        self._open_size = 0

    def _make_room(self, count: int, size: int) -> None:
        if self._open:
            self._close()
        starts, gone = [*self._starts, self.next], 0
        while gone < len(self._blocks) and (
            self.next - starts[gone] + count > self._most or self.size + size > self._largest
        ):
            self.size -= self._sizes[gone]
            gone += 1
        self.first = starts[gone]
        del self._blocks[:gone], self._starts[:gone], self._sizes[:gone]

    def _drop_all(self, skipped: int) -> None:
        self.first = self.next = self.next + skipped
        self.size = self._open_size = 0
        self._blocks, self._starts, self._sizes, self._open = [], [], [], []

    def at(self, offsets: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
        """Topic and body of each of these messages; IndexError for one that is kept no more."""
        opened = self.next - len(self._open) // 2
        block: Sequence[bytes]
        for offset in offsets:
            if not self.first <= offset < self.next:
                raise IndexError(f"{offset} is not in the ring: {self.first} to {self.next - 1} are")
            if offset >= opened:
                block, start = self._open, opened
            else:
                number = bisect_right(self._starts, offset) - 1
                block, start = self._blocks[number], self._starts[number]
            place = 2 * (offset - start)
            yield block[place], block[place + 1]

    def __len__(self) -> int:
        return self.next - self.first
