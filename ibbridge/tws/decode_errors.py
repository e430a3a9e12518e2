"""A bound on the messages of TWS that cannot be read and are kept on disk with their bytes; beyond it they are counted.

A host that is no TWS, or one with a new layout for its ticks, sends any number of them. The first show what they are;
the rest would fill the disk. Pure: told the time, in seconds of a clock that only goes forward.
"""

from __future__ import annotations

from typing import Any, NamedTuple

BURST, PER_SECOND = 1_000, 2.0
"""Messages that are published with their bytes: so many at once, and so many a second after that."""

BURST_BYTES, BYTES_PER_SECOND = 4 * 2**20, 2_048.0
"""And no more bytes of them. At most 177 MB a day reach the disk."""

KINDS = 20
"""Kinds of messages that are told apart when they are counted."""

NO_TWS = 20
"""Unreadable messages before the connection is ready, without as many readable ones, by which a host is no TWS."""


class Kind(NamedTuple):
    """Messages that are counted together."""

    id: int | None
    name: str | None


class DecodeErrors:
    """A token bucket of messages and one of bytes, and counts of what found neither full."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._messages = float(BURST)
        self._bytes = float(BURST_BYTES)
        self._count = self._size = 0
        self._kinds: dict[Kind, dict[str, Any]] = {}
        self._others = 0

    def admit(self, kind: Kind, reason: str, size: int, now: float) -> bool:
        """Return True if a message of `size` bytes is to be published whole; count it otherwise."""
        self._refill(now)
        if self._messages >= 1 and self._bytes > 0:
            self._messages -= 1
            self._bytes -= size  # below 0: the largest message is published too, and those behind it wait
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
        """Return what was counted since the last summary, each kind with the reason of its first; None for nothing."""
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
    """Counts what a host has said since its greeting, to tell one that speaks TWS's language from one that does not."""

    def __init__(self) -> None:
        self._read = 0
        self._unread = 0

    def note(self, *, read: bool) -> bool:
        """Count a message; return False if a host that says this is no TWS."""
        if read:
            self._read += 1
        else:
            self._unread += 1
        return self._unread < NO_TWS or self._read > self._unread
