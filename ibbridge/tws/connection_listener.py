"""Listeners to the connection to TWS. `wiring` has the list of the parts that listen, in one order."""

from __future__ import annotations


class ConnectionListener:
    """A part that acts when the connection to TWS changes, or when time passes. Each method does nothing by default."""

    def connection_started(self) -> None:
        """Act on a new connection whose version is known: the request ids of the last connection are void."""

    def connection_ready(self) -> None:
        """Act on a connection that takes requests now, before any client may use it."""

    def connection_lost(self) -> None:
        """Act on the loss of the connection. The queued messages have been dropped before."""

    def uncontested(self) -> None:
        """Act on a change of the session while no other login has the market data."""

    def tick(self, now: float) -> None:
        """Do the work that is due at `now`, in seconds of a monotonic clock. This is called about every second."""
