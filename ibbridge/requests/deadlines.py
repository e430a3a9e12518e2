"""Deadlines: things with the time by which each must have happened.

Pure: the caller gives the time, in seconds of a clock that only goes forward. A thing is added without the time. Its
seconds count from the next call of `due`, so that no thing gets less time than promised. The module must not know what
the things are.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Queue of deadlines. A deadline cannot be removed: the receiver decides whether a passed one still matters."""

    def __init__(self) -> None:
        self._fresh: list[tuple[float, T]] = []
        self._heap: list[tuple[float, int, T]] = []
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._heap)

    def add(self, thing: T, seconds: float) -> None:
        """Add a thing that is due `seconds` after the next call of `due`."""
        self._fresh.append((seconds, thing))

    def due(self, now: float) -> list[T]:
        """Remove and return the things that are due at `now`, the earliest first."""
        for seconds, thing in self._fresh:
            heapq.heappush(self._heap, (now + seconds, next(self._count), thing))
        self._fresh.clear()
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        return found
