"""The clock of the daemon, timers and deadlines.

Every part that must know the time is given a clock, so that tests decide what time it is.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Clock(Protocol):
    """Source of the time."""

    def monotonic(self) -> float:
        """Return seconds that only go forward, for durations and deadlines."""

    def utc_us(self) -> int:
        """Return microseconds since 1970 UTC, for timestamps that others read."""


class Timer(Protocol):
    """Callback that has been scheduled."""

    def cancel(self) -> None:
        """Do not call it any more."""


class TimerClock(Clock, Protocol):
    """Clock that also calls back."""

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Schedule a call in so many seconds; at 0, behind the reads that wait already."""

    def call_soon(self, callback: Callable[..., object]) -> object:
        """Schedule a call behind those that are scheduled already, before the next read."""


class SystemClock:
    """Clock of the computer, with timers of the running event loop."""

    monotonic = staticmethod(time.monotonic)

    def utc_us(self) -> int:
        """Return microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Schedule a call in so many seconds on the running event loop."""
        return asyncio.get_running_loop().call_later(seconds, callback, *args)

    def call_soon(self, callback: Callable[..., object]) -> asyncio.Handle:
        """Schedule a call behind those that are scheduled already, before the next read."""
        return asyncio.get_running_loop().call_soon(callback)


class Deadlines(Generic[T]):
    """Queue of things with the time by which each must have happened. The caller gives the time.

    A thing is added without the time. Its seconds count from the next call of `due`, so that no thing gets less time
    than promised. A deadline cannot be removed: the receiver decides whether a passed one still matters.
    """

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
