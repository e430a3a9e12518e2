"""A replay buffer in memory: the newest published messages, for clients that have missed some.

The buffer holds topics and bodies by their `offset`, within a limit of messages and one of bytes. Pure. The module must
not know streams or the contents of a message. Writing is cheap: keeping the messages of one read costs one copy of
pointers.

Messages are kept in blocks, which are dropped as a whole. A full block is one run of bytes with the lengths of its
parts. So the message objects are freed at once, and new messages reuse memory that is still in the cache. And the
garbage collector has no objects to walk in a block; with half a million messages as objects it paused for 25 to 50 ms.
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
"""Messages of a full block, unless its bytes reach their limit first."""

BLOCKS = 16
"""Least number of blocks that a ring has room for, so that one dropped block is a small part of the ring."""


class ReplayBuffer:
    """Ring buffer of the newest messages' topics and bodies. It holds the offsets `first` to `next - 1`."""

    def __init__(self, messages: int, size: int) -> None:
        self.first = 1
        self.next = 1
        self.size = 0
        self._most = messages
        self._largest = size
        self._full = max(1, min(BLOCK, messages // BLOCKS))
        self._full_size = size // BLOCKS
        self._blocks: list[bytes] = []  # topics and bodies in turn
        self._lengths: list[array[int]] = []  # the lengths of the topics and bodies in each block
        self._starts: list[int] = []  # the first offset of each block
        self._sizes: list[int] = []
        self._open: list[bytes] = []  # the newest topics and bodies, not a block yet
        self._open_size = 0

    def extend(self, frames: list[bytes]) -> None:
        """Add published topics and bodies, in turn; drop the oldest blocks to make room.

        The new messages are kept even if they exceed the limit of bytes; only the limit of messages cuts them.
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
        """Make a block of the open topics and bodies."""
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
        """Yield topic and body of the messages at these offsets. Raise IndexError for an offset not in the ring."""
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
        """Return the topics and bodies of a block."""
        whole, ends = self._blocks[number], accumulate(self._lengths[number], initial=0)
        return [whole[start:end] for start, end in pairwise(ends)]

    def metrics(self) -> dict[str, int]:
        """Return the messages and bytes in the buffer, for `status`."""
        return {"messages": len(self), "bytes": self.size}

    def __len__(self) -> int:
        return self.next - self.first
