"""Reply cache: first replies by client and command id, so that a repeated command is answered but not executed again.

The cache keeps the bytes of a reply and a digest of its command. The digest tells a repetition from another command
under the same id. Pure: the caller gives the time, in seconds of any clock that only goes forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ibbridge.commands.fair_memory import FairMemory
from ibbridge.protocol.digest import digest

if TYPE_CHECKING:
    from ibbridge.requests.request import CommandId

__all__ = ["ReplyCache", "digest", "is_repeated", "repeated"]

SECONDS = 600.0
MOST = 100_000
LARGEST = 48 * 1024 * 1024
"""Bytes of memory for all replies together. When they are used up, the heaviest user's replies go early."""

EXPIRED = 100
"""Most replies that one call drops because they have expired."""


class _Kept(NamedTuple):
    content: bytes
    reply: bytes
    until: float


class ReplyCache:
    """Reply cache of the last ten minutes (`SECONDS`), bounded in entries and bytes."""

    def __init__(self, most: int = MOST, largest: int = LARGEST) -> None:
        self.forgotten = 0
        """Replies that were evicted before they expired."""
        self._kept: FairMemory[CommandId, _Kept] = FairMemory(most, largest)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes of memory that the replies take, overhead included."""
        return self._kept.size

    def find(self, command_id: CommandId, content: bytes, now: float) -> tuple[bool, bytes] | None:
        """Return the first reply under this command id, and whether the command was the same; None if there is none."""
        self.expire(now)
        kept = self._kept.get(command_id)
        return None if kept is None or kept.until <= now else (kept.content == content, kept.reply)

    def keep(self, command_id: CommandId, content: bytes, reply: bytes, now: float, peer: bytes = b"") -> None:
        """Remember the first reply to a command that came over the connection `peer`."""
        kept = _Kept(content, reply, now + SECONDS)
        self.forgotten += self._kept.put(command_id, kept, len(reply), command_id.client, peer)

    def expire(self, now: float, most: int = EXPIRED) -> None:
        """Forget expired replies, at most `most`: forgetting all of them at once would be a noticeable pause."""
        for _ in range(most):
            oldest = self._kept.oldest()
            if oldest is None or oldest[1].until > now:
                return
            self._kept.remove(oldest[0])


def repeated(reply: bytes) -> bytes:
    """Return the reply to a repeated command: the first reply with `dup: true` as its last key."""
    if is_repeated(reply):
        return reply
    return bytes([reply[0] + 1]) + reply[1:] + _DUP


def is_repeated(reply: bytes) -> bool:
    """Return True if a reply says that its command was executed before."""
    return reply.endswith(_DUP)


_DUP = b"\xa3dup\xc3"
