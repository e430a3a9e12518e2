"""Order keys as the store keeps them: for ever, in a few bytes each, and never taken for new by mistake.

Pure. The names of all keys are known in memory by a digest of 8 bytes, so that a key is found although the disk does
not answer, and a row that has gone from the file is found to be missing: 8 MB for a million orders.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Key(NamedTuple):
    """A key that is kept for ever, and what belongs to it.

    `open`: the store gives it out at each start, and keeps the states that belong to it.
    """

    name: bytes
    value: bytes
    open: bool


class Found(NamedTuple):
    """What is found in the messages of a store that kept no keys.

    The keys, the name of its key by the topic of messages, and the highest epoch that a message is from.
    """

    keys: list[Key]
    names: dict[bytes, bytes]
    epoch: int


class KnownKeys:
    """The names of all keys of a store, as digests."""

    def __init__(self, names: Iterable[bytes] = ()) -> None:
        self._old = array("Q", sorted(map(_digest, names)))
        self._new: set[int] = set()

    def add(self, name: bytes) -> None:
        """Add a name."""
        if name not in self:
            self._new.add(_digest(name))

    def __contains__(self, name: bytes) -> bool:
        digest = _digest(name)
        place = bisect_left(self._old, digest)
        return digest in self._new or (place < len(self._old) and self._old[place] == digest)

    def __len__(self) -> int:
        return len(self._old) + len(self._new)


def _digest(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big")
