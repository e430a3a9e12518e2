"""The last numbers of streams that hold nothing any more: one that is used again goes on where it was.

Of the newest the names are known. Of the others there is only a digest of the name, in 16 bytes with the number, so
that names without end take little. Pure; knows nothing of what a stream was.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict

NAMED = 10_000
"""Streams that hold nothing whose names are known, so that snapshots still list them."""

_SHARDS = 256
_FULL = 0.6
"""Part of the places of a shard that may be taken before it grows."""


class RetiredStreams:
    """Numbers by the names of streams."""

    def __init__(self, named: int = NAMED) -> None:
        self._most = named
        self._named: OrderedDict[bytes, int] = OrderedDict()
        self._others = [_Shard() for _ in range(_SHARDS)]

    def __len__(self) -> int:
        return len(self._named) + sum(len(each) for each in self._others)

    def get(self, name: bytes) -> int | None:
        """Return the last number of a stream whose name is known."""
        return self._named.get(name)

    def put(self, name: bytes, number: int) -> bytes | None:
        """Remember a stream's last number; return the name that is known no more, if there is one."""
        self._named[name] = number
        if len(self._named) <= self._most:
            return None
        oldest, number = self._named.popitem(last=False)
        digest = _digest(oldest)
        self._others[digest % _SHARDS].put(digest, number)
        return oldest

    def pop(self, name: bytes) -> int:
        """Return the last number of a stream that is used again, 0 if it was never there, and forget it."""
        if (number := self._named.pop(name, None)) is not None:
            return number
        digest = _digest(name)
        return self._others[digest % _SHARDS].pop(digest)


def _digest(name: bytes) -> int:
    """Return 64 bits of which none are zero: that is a free place."""
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) | 1 << 63


class _Shard:
    """Numbers by digest, in a table with open places: no objects, and so 16 bytes for a place."""

    __slots__ = ("_count", "_digests", "_numbers")

    def __init__(self) -> None:
        self._count = 0
        self._digests = array("Q", bytes(8 * 8))
        self._numbers = array("Q", bytes(8 * 8))

    def __len__(self) -> int:
        return self._count

    def _place(self, digest: int) -> int:
        """Return where a digest is, or may be put."""
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
        old = [each for each in zip(self._digests, self._numbers, strict=True) if each[1]]
        self._count = len(old)
        places = len(self._digests) * (2 if 2 * len(old) > _FULL * len(self._digests) else 1)
        self._digests, self._numbers = array("Q", bytes(8 * places)), array("Q", bytes(8 * places))
        for digest, number in old:
            place = self._place(digest)
            self._digests[place], self._numbers[place] = digest, number

    def pop(self, digest: int) -> int:
        """Return a number and keep its place: what stands behind it in the table must be found."""
        place = self._place(digest)
        number, self._numbers[place] = self._numbers[place], 0
        return number
