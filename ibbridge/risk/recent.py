"""Times of the latest events of a kind, and how many of them lie within a span.

Pure: the caller gives the times, in µs, which rise. When the clock is set back, `set_back` makes later times those of
the new clock, so that an event never counts for longer than its span.
"""

from __future__ import annotations

from bisect import bisect_right

_ROOM = 64
"""Events after which those that are too old are removed."""


class RecentTimes:
    """Times of events within the last `span` µs, in rising order."""

    __slots__ = ("span", "times")

    def __init__(self, span: int) -> None:
        self.span = span
        self.times: list[int] = []

    def add(self, now: int) -> None:
        """Note an event."""
        self.times.append(now)
        if not len(self.times) % _ROOM:
            self._trim(now)

    def undo(self) -> None:
        """Forget the latest event."""
        self.times.pop()

    def count(self, now: int, span: int) -> int:
        """Return the number of events in the last `span` µs. An event exactly that long ago does not count."""
        times = self.times
        return len(times) - bisect_right(times, now - span) if times else 0

    def _trim(self, now: int) -> None:
        times = self.times
        del times[: bisect_right(times, now - self.span)]

    def set_back(self, before: int, now: int) -> None:
        """Make times after `now` those of `now`. What was too old when the clock showed `before` does not come back."""
        self._trim(before)
        times = self.times
        for index in range(len(times) - 1, -1, -1):
            if times[index] <= now:
                break
            times[index] = now

    def clear(self) -> None:
        """Forget all events."""
        self.times = []

    def merge(self, other: RecentTimes) -> None:
        """Take over the events of another."""
        self.times = sorted(self.times + other.times)

    def dump(self) -> list[int]:
        """Return the times as plain data."""
        return list(self.times)

    def load(self, times: list[int]) -> None:
        """Restore the times of an earlier process."""
        self.times = list(times)
