"""The clock of the daemon. Every part that must know the time is given one, so that tests decide what time it is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


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
