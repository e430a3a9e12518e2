"""Replies by client and command id, so that a command that comes again is answered and not carried out again.

Pure: told the time (seconds of any clock that only goes forward). What is kept is the reply's bytes and a digest of the
command, which tells a repetition from another command under the same id.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from ibbridge.commands.fair_memory import FairMemory

if TYPE_CHECKING:
    from ibbridge.inbound.router import Asking

SECONDS = 600.0
MOST = 100_000
LARGEST = 48 * 1024 * 1024
"""Bytes of memory that replies take together. Before their time those of whoever has most go first."""

EXPIRED = 100
"""Replies that one call drops at most because their time is over."""


class _Kept(NamedTuple):
    content: bytes
    reply: bytes
    until: float


class Replies:
    """The replies of the last ten minutes."""

    def __init__(self, most: int = MOST, largest: int = LARGEST) -> None:
        self.forgotten = 0
        """Replies that had to go before their time."""
        self._kept: FairMemory[Asking, _Kept] = FairMemory(most, largest)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes of memory that the replies take."""
        return self._kept.size

    def find(self, asking: Asking, content: bytes, now: float) -> tuple[bool, bytes] | None:
        """Return the first reply to this command, and whether it was the same; None if there was none."""
        self.expire(now)
        kept = self._kept.get(asking)
        return None if kept is None or kept.until <= now else (kept.content == content, kept.reply)

    def keep(self, asking: Asking, content: bytes, reply: bytes, now: float, peer: bytes = b"") -> None:
        """Remember the first reply to a command that came over the connection `peer`."""
        kept = _Kept(content, reply, now + SECONDS)
        self.forgotten += self._kept.put(asking, kept, len(reply), asking.client, peer)

    def expire(self, now: float, most: int = EXPIRED) -> None:
        """Forget what is too old, a few at a time: each call keeps one at most, and all at once would be a pause."""
        for _ in range(most):
            oldest = self._kept.oldest()
            if oldest is None or oldest[1].until > now:
                return
            self._kept.remove(oldest[0])


def content(command: Any) -> bytes:
    """Return a digest of plain values, the same in whatever order the keys of their maps were given."""
    return hashlib.blake2b(msgpack.packb(_sorted(command)), digest_size=16).digest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return [[name, _sorted(value[name])] for name in sorted(value)]
    return [len(value), [_sorted(each) for each in value]] if isinstance(value, list) else value


def repeated(reply: bytes) -> bytes:
    """A reply as it is given for the second time: with `dup: true`, which is the last key where it is there."""
    if reply.endswith(_DUP):
        return reply
    return bytes([reply[0] + 1]) + reply[1:] + _DUP


_DUP = b"\xa3dup\xc3"
