"""The last sequence numbers of retired (empty) streams, so that a stream which is used again continues its numbers.

The names of the newest retired streams are kept. For the others a digest of the name is kept, in 16 bytes with the
number, so that endless new names take little memory. Pure. The module must not know the contents of a stream.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict

NAMED = 10_000
"""Retired streams with a known name, so that snapshots still list them."""

_SHARDS = 256
_FULL = 0.6
"""Share of a shard's places that may be taken before the shard grows."""


class RetiredStreams:
    """Last sequence numbers of retired streams, by name."""

    def __init__(self, named: int = NAMED) -> None:
        self._most = named
        self._named: OrderedDict[bytes, int] = OrderedDict()
        self._others = [_Shard() for _ in range(_SHARDS)]

    def __len__(self) -> int:
        return len(self._named) + sum(len(shard) for shard in self._others)

    def get(self, name: bytes) -> int | None:
        """Return the last sequence number of a stream; None if the name is not known."""
        return self._named.get(name)

    def put(self, name: bytes, number: int) -> bytes | None:
        """Keep a stream's last sequence number; return the name that this pushes out of the known names, if any."""
        self._named[name] = number
        if len(self._named) <= self._most:
            return None
        oldest, number = self._named.popitem(last=False)
        digest = _digest(oldest)
        self._others[digest % _SHARDS].put(digest, number)
        return oldest

    def pop(self, name: bytes) -> int:
        """Remove and return the last sequence number of a stream that is used again; 0 if the stream is new."""
        if (number := self._named.pop(name, None)) is not None:
            return number
        digest = _digest(name)
        return self._others[digest % _SHARDS].pop(digest)


def _digest(name: bytes) -> int:
    """Return a 64-bit digest that is never 0, because 0 marks a free place."""
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) | 1 << 63


class _Shard:
    """Hash table (open addressing) of numbers by digest, in two arrays: without objects a place takes 16 bytes."""

    __slots__ = ("_count", "_digests", "_numbers")

    def __init__(self) -> None:
        self._count = 0
        self._digests = array("Q", bytes(8 * 8))
        self._numbers = array("Q", bytes(8 * 8))

    def __len__(self) -> int:
        return self._count

    def _place(self, digest: int) -> int:
        """Return the place of a digest, or the free place for it."""
        mask = len(self._digests) - 1
        place = digest // _SHARDS & mask
        while self._digests[place] not in (0, digest):
            place = place + 1 & mask
        return place

    def put(self, digest: int, number: int) -> None:
        place = self._place(digest)
        if not self._digests[place]:
            self._count += 1
        self._digests[place], self._numbers[place] = digest, number
        if self._count > _FULL * len(self._digests):
            self._grow()

    def _grow(self) -> None:
        old = [entry for entry in zip(self._digests, self._numbers, strict=True) if entry[1]]
        self._count = len(old)
        places = len(self._digests) * (2 if 2 * len(old) > _FULL * len(self._digests) else 1)
        self._digests, self._numbers = array("Q", bytes(8 * places)), array("Q", bytes(8 * places))
        for digest, number in old:
            place = self._place(digest)
            self._digests[place], self._numbers[place] = digest, number

    def pop(self, digest: int) -> int:
        """Remove and return a number. Its place stays taken, so that digests behind it in the table are still found."""
        place = self._place(digest)
        number, self._numbers[place] = self._numbers[place], 0
        return number
