"""What was published a moment ago, kept in memory for those who have missed it.

Topics and bodies by their `offset`, as many as were allowed, messages and bytes both. Pure; knows nothing of streams or
of what a message says. Made for being written: to keep what one read brought costs one copy of pointers.

They are kept in blocks, which go as a whole. A full block is one run of bytes with the lengths of what is in it: the
messages themselves are free at once, and what comes next is made where they were, in memory that is still at hand. And
there is nothing in it for the garbage collector to walk; of half a million messages it made pauses of 25 to 50 ms.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OVERHEAD = 8
"""Bytes that a message takes in memory beside its topic and body: their lengths."""

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
        self._blocks: list[bytes] = []  # topics and bodies in turn
        self._lengths: list[array[int]] = []  # of each of them
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
        size = sum(map(len, frames)) + OVERHEAD * count
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
        self._blocks.append(b"".join(self._open))
        self._lengths.append(array("I", map(len, self._open)))
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
        del self._blocks[:gone], self._lengths[:gone], self._starts[:gone], self._sizes[:gone]

    def _drop_all(self, skipped: int) -> None:
        self.first = self.next = self.next + skipped
        self.size = self._open_size = 0
        self._blocks, self._lengths, self._starts, self._sizes, self._open = [], [], [], [], []

    def at(self, offsets: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
        """Topic and body of each of these messages; IndexError for one that is kept no more."""
        opened = self.next - len(self._open) // 2
        block, start, frames = -1, opened, self._open
        for offset in offsets:
            if not self.first <= offset < self.next:
                raise IndexError(f"{offset} is not in the ring: {self.first} to {self.next - 1} are")
            if offset >= opened:
                block, start, frames = -1, opened, self._open
            elif (number := bisect_right(self._starts, offset) - 1) != block:
                block, start, frames = number, self._starts[number], self._divided(number)
            place = 2 * (offset - start)
            yield frames[place], frames[place + 1]

    def _divided(self, number: int) -> list[bytes]:
        """What a block was made of."""
        whole, ends = self._blocks[number], accumulate(self._lengths[number], initial=0)
        return [whole[start:end] for start, end in pairwise(ends)]

    def __len__(self) -> int:
        return self.next - self.first
