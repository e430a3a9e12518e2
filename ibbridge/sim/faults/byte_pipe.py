"""The way of bytes to one client's socket, made worse: split, gathered, slowed, held back, or cut.

Bytes go in, pieces come out, each to be written by itself. It is told the time and knows no socket.
"""

from __future__ import annotations


class Pipe:
    """What waits for one client. Of what is set, `held` stops everything, and `left` ends it after so many bytes."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._first = 0.0
        self._last = 0.0
        self._credit = 0.0
        self.held = False
        self.piece = 0
        self.gather = 0.0
        self.rate = 0
        self.left: int | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def cut(self) -> bool:
        """Whether the connection is to end: all bytes that were allowed are out."""
        return self.left == 0

    def put(self, data: bytes, now: float) -> None:
        """Bytes for the client."""
        if data and not self._waiting:
            self._first = now
        self._waiting += data

    def take(self, now: float) -> list[bytes]:
        """The pieces that go out now."""
        count = self._allowed(now)
        if not count:
            return []
        if self.left is not None:
            count = min(count, self.left)
            self.left -= count
        out = bytes(self._waiting[:count])
        del self._waiting[:count]
        size = self.piece or len(out) or 1
        return [out[start : start + size] for start in range(0, len(out), size)]

    def _allowed(self, now: float) -> int:
        since, self._last = now - self._last, now
        if self.held or not self._waiting or now < self._first + self.gather:
            return 0
        if not self.rate:
            return len(self._waiting)
        # A second's worth at most is saved up, and an empty pipe saves nothing more than that.
        self._credit = min(self._credit + since * self.rate, self.rate)
        count = min(int(self._credit), len(self._waiting))
        self._credit -= count
        return count
