"""Order keys in the store: kept for ever, in a few bytes each, and never mistaken for new ones.

Pure. The names of all keys are in memory as digests of 8 bytes: 8 MB for a million orders. So a key is found although
the disk does not answer, and a row that has vanished from the file is noticed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Key(NamedTuple):
    """Order key that is kept for ever, with its value.

    `open`: the store returns the key at each start, and keeps the states that belong to the key.
    """

    name: bytes
    value: bytes
    open: bool


class Found(NamedTuple):
    """Order keys found in the messages of a store that kept no keys.

    `names` has the name of a message's key by topic, `epoch` is the highest epoch of any message.
    """

    keys: list[Key]
    names: dict[bytes, bytes]
    epoch: int


class KnownKeys:
    """Set of the names of all order keys of a store, as digests."""

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
