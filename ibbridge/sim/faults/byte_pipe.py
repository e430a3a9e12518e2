"""Byte pipe to one client's socket that can split, gather, slow, hold back or cut the data.

Bytes go in; pieces come out, each to be written by itself. Callers pass the time; the module knows no socket.
"""

from __future__ import annotations


class BytePipe:
    """Bytes that wait for one client, and the faults that shape their way out.

    `held` stops all output. `piece` is the size of one write in bytes, `gather` the seconds for which bytes are
    collected, `rate` the bytes per second; 0 turns each of the three off. `left` is the number of bytes until the
    connection ends, None for no end.
    """

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
        """Return True if the connection must end: all bytes that were allowed are out."""
        return self.left == 0

    def put(self, data: bytes, now: float) -> None:
        """Add bytes for the client."""
        if data and not self._waiting:
            self._first = now
        self._waiting += data

    def take(self, now: float) -> list[bytes]:
        """Remove and return the pieces that go out now."""
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
        # Unused rate is saved up to the worth of one second, and not while the pipe is empty.
        self._credit = min(self._credit + since * self.rate, self.rate)
        count = min(int(self._credit), len(self._waiting))
        self._credit -= count
        return count
