"""Virtual time of a world: callbacks in the order of their times, and nothing between them."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Entry:
    """Scheduled callback."""

    __slots__ = ("args", "callback")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args

    def cancel(self) -> None:
        self.callback = None


class Timeline:
    """Virtual time, in seconds. Callbacks of one time run in the order in which they were scheduled."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._entries: list[tuple[float, int, Entry]] = []
        self._count = 0

    def after(self, seconds: float, callback: Callable[..., object], *args: Any) -> Entry:
        """Schedule a call."""
        entry = Entry(callback, args)
        self._count += 1
        heapq.heappush(self._entries, (self.now + max(0.0, seconds), self._count, entry))
        return entry

    def run(self, until: float) -> None:
        """Let time pass, with everything that is scheduled meanwhile."""
        entries = self._entries
        while entries and entries[0][0] <= until:
            self.now, _, entry = heapq.heappop(entries)
            if entry.callback is not None:
                entry.callback(*entry.args)
        self.now = until
