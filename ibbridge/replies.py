"""Replies by client and command id, so that a command that comes again is answered and not carried out again.

Pure: told the time (seconds of any clock that only goes forward). What is kept is the reply's bytes and a digest of the
command, which tells a repetition from another command under the same id.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

if TYPE_CHECKING:
    from ibbridge.routing import Asking

SECONDS = 600.0
MOST = 100_000
LARGEST = 64 * 1024 * 1024
"""Bytes of replies that are kept together. The oldest go first, before their time if they must."""


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
        self._most = most
        self._largest = largest
        self._size = 0
        self._kept: OrderedDict[Asking, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, asking: Asking, content: bytes, now: float) -> tuple[bool, bytes] | None:
        """The first reply to this command, and whether it was the same; None if there was none."""
        self._expire(now)
        kept = self._kept.get(asking)
        return None if kept is None or kept.until <= now else (kept.content == content, kept.reply)

    def keep(self, asking: Asking, content: bytes, reply: bytes, now: float) -> None:
        """Remember the first reply to a command."""
        if before := self._kept.pop(asking, None):
            self._size -= len(before.reply)
        self._kept[asking] = _Kept(content, reply, now + SECONDS)
        self._size += len(reply)
        while len(self._kept) > self._most or self._size > self._largest:
            self._drop()
            self.forgotten += 1

    def _expire(self, now: float) -> None:
        """A few at a time: each call keeps one at most, and all at once would be a pause."""
        for _ in range(EXPIRED):
            if not self._kept or next(iter(self._kept.values())).until > now:
                return
            self._drop()

    def _drop(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self._size -= len(kept.reply)


class TooMuchError(ValueError):
    """A command has more in it, or is nested deeper, than any has a reason to be."""


DEEPEST = 64
LARGEST_COMMAND = 50_000
"""Values, in all maps and lists together: more than IB's longest lists have, and about 20 ms."""


def content(command: Any) -> bytes:
    """A digest of a command, the same for the same values in whatever order the keys of its maps were given.

    Raises `TooMuchError`.
    """
    return hashlib.blake2b(msgpack.packb(_sorted(command, DEEPEST, [LARGEST_COMMAND])), digest_size=16).digest()


def _sorted(value: Any, deeper: int, room: list[int]) -> Any:
    if not isinstance(value, dict | list):
        return value
    room[0] -= len(value)
    if not deeper:
        raise TooMuchError(f"a command is nested at most {DEEPEST} deep")
    if room[0] < 0:
        raise TooMuchError(f"a command has at most {LARGEST_COMMAND} values, all its lists and maps together")
    if isinstance(value, dict):
        return [[repr(name), _sorted(value[name], deeper - 1, room)] for name in sorted(value, key=repr)]
    return [len(value), [_sorted(each, deeper - 1, room) for each in value]]


def repeated(reply: bytes) -> bytes:
    """A reply as it is given for the second time: with `dup: true`, which is the last key where it is there."""
    if reply.endswith(_DUP):
        return reply
    return bytes([reply[0] + 1]) + reply[1:] + _DUP


_DUP = b"\xa3dup\xc3"
