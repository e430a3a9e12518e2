"""Rate limit for undecodable messages: those within the limit go to disk with their bytes, the others are counted.

A host that is no TWS, or a TWS with a new layout for its ticks, sends any number of undecodable messages. The first
ones show the fault; the rest would fill the disk. Pure: the caller gives the time, in seconds of a monotonic clock.
"""

from __future__ import annotations

from typing import Any, NamedTuple

BURST, PER_SECOND = 1_000, 2.0
"""Undecodable messages published with their bytes: a burst, and a rate per second after the burst."""

BURST_BYTES, BYTES_PER_SECOND = 4 * 2**20, 2_048.0
"""Bytes of these messages: a burst, and a rate per second. At most 177 MB a day reach the disk."""

KINDS = 20
"""Kinds of messages with a count of their own; the others share one count."""

NO_TWS = 20
"""Undecodable messages after which a host counts as no TWS, unless more messages than that could be decoded."""


class MessageType(NamedTuple):
    """Kind of undecodable message: messages with the same id and name share a count."""

    id: int | None
    name: str | None


class DecodeErrors:
    """Two token buckets, of messages and of bytes, and counts of the messages that found one of them empty."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._messages = float(BURST)
        self._bytes = float(BURST_BYTES)
        self._count = self._size = 0
        self._kinds: dict[MessageType, dict[str, Any]] = {}
        self._others = 0

    def admit(self, kind: MessageType, reason: str, size: int, now: float) -> bool:
        """Return True if a message of `size` bytes may be published with its bytes; count the message otherwise."""
        self._refill(now)
        if self._messages >= 1 and self._bytes > 0:
            self._messages -= 1
            self._bytes -= size  # may go below 0: even the largest message is published, and the next ones are counted
            return True
        self._count += 1
        self._size += size
        if kind in self._kinds:
            self._kinds[kind]["count"] += 1
        elif len(self._kinds) < KINDS:
            self._kinds[kind] = {**kind._asdict(), "reason": reason, "count": 1}
        else:
            self._others += 1
        return False

    def summary(self) -> dict[str, Any] | None:
        """Return the counts since the last summary, and reset them; None if nothing was counted.

        The reason given for a kind is that of its first message.
        """
        if not self._count:
            return None
        about = {"count": self._count, "bytes": self._size, "kinds": [*self._kinds.values()], "others": self._others}
        self._count = self._size = self._others = 0
        self._kinds = {}
        return about

    def _refill(self, now: float) -> None:
        passed, self._at = now - self._at, now
        self._messages = min(BURST, self._messages + passed * PER_SECOND)
        self._bytes = min(BURST_BYTES, self._bytes + passed * BYTES_PER_SECOND)


class Readability:
    """Counts of decoded and undecodable messages since the greeting, to tell a TWS from another host."""

    def __init__(self) -> None:
        self._read = 0
        self._unread = 0

    def note(self, *, read: bool) -> bool:
        """Count a message; return False if the counts show that the host is no TWS."""
        if read:
            self._read += 1
        else:
            self._unread += 1
        return self._unread < NO_TWS or self._read > self._unread
