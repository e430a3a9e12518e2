"""What must have happened by when.

Pure: told the time, in seconds of a clock that only goes forward. What is put here without the time counts from the
next look, so that nobody gets less than was promised. Knows nothing of what it is that must happen.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Things, each with the seconds that it may take. Nothing is taken out: whoever gets it sees whether it matters."""

    def __init__(self) -> None:
        self._fresh: list[tuple[float, T]] = []
        self._heap: list[tuple[float, int, T]] = []
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._heap)

    def add(self, thing: T, seconds: float) -> None:
        """`thing` is due so many seconds after the next look."""
        self._fresh.append((seconds, thing))

    def due(self, now: float) -> list[T]:
        """What is due, in order of its time. Each is told once."""
        for seconds, thing in self._fresh:
            heapq.heappush(self._heap, (now + seconds, next(self._count), thing))
        self._fresh.clear()
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        return found
