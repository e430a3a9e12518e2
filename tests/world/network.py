"""Network between the daemon and TWS: connections in memory, on which every byte takes its time.

Bytes of one direction arrive in their order. A connection that breaks loses what is on its way, and each side hears of
it at a time of its own, or never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tests.world.timeline import Timeline


class Side(Protocol):
    """Side of a connection."""

    def arrived(self, data: bytes) -> None:
        """Take bytes."""

    def over(self, reason: str) -> None:
        """Note that the connection is over."""


class Cable:
    """Connection between two sides: the daemon's, and TWS's."""

    def __init__(self, timeline: Timeline, delay: float, run: int) -> None:
        self.run = run
        """Number of the daemon's run that has made the connection."""
        self.daemon: Side | None = None
        self.tws: Side | None = None
        self.cut = False
        self._timeline = timeline
        self._delay = delay

    def send(self, side: str, data: bytes) -> None:
        """Send bytes to a side."""
        if not self.cut:
            self._timeline.after(self._delay, self._arrive, side, data)

    def end(self, side: str, reason: str) -> None:
        """Tell a side, behind all bytes that are on their way, that the other side has closed."""
        if not self.cut:
            self._timeline.after(self._delay, self._over, side, reason)

    def break_off(self, daemon_hears: float | None, tws_hears: float | None) -> None:
        """Lose what is on its way, and all that follows. Each side hears of it after so many seconds; None: never."""
        self.cut = True
        for side, seconds in (("daemon", daemon_hears), ("tws", tws_hears)):
            if seconds is not None:
                self._timeline.after(seconds, self._over, side, "Connection reset by peer")

    def _arrive(self, side: str, data: bytes) -> None:
        if not self.cut and (to := getattr(self, side)) is not None:
            to.arrived(data)

    def _over(self, side: str, reason: str) -> None:
        to: Any = getattr(self, side)
        if to is not None:
            setattr(self, side, None)
            to.over(reason)
