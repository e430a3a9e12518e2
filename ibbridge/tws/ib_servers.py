"""State of IB's servers behind TWS: whether TWS reaches them, and which of their farms are down.

Pure: it is told IB's codes. `ib.notices` knows what each code means.
"""

from __future__ import annotations

from ibbridge.ib import notices
from ibbridge.tws.connection_listener import ConnectionListener


class IbServers(ConnectionListener):
    """State of IB's servers as far as it decides whether requests can be answered. A new connection assumes the best.

    `up`: TWS is connected to IB. `definitions`: the farm that knows contracts is not down.
    """

    def __init__(self) -> None:
        self.up = True
        self.definitions = True
        self._down: dict[str, set[str]] = {"market": set(), "history": set()}

    def connection_started(self) -> None:
        """Assume that all servers are there, as TWS then only names those that are not."""
        self.up = self.definitions = True
        for down in self._down.values():
            down.clear()

    def apply_upstream(self, code: int | None) -> bool:
        """Apply a code about the connection to IB. Return True if TWS had lost that connection before."""
        was_lost = not self.up
        if state := notices.UPSTREAM.get(code or 0):
            self.up = state != "lost"
        return was_lost

    def apply_farm(self, code: int, farm: str) -> bool:
        """Apply a code about a farm that serves market data or history. Return True if the farm was down before."""
        down = self._down[notices.FARM_KINDS[code]]
        was_down = farm in down
        (down.add if notices.FARMS[code] == "down" else down.discard)(farm)
        return was_down

    def farms_are_up(self, kind: str) -> bool:
        """Return True if no farm for this kind of data ("market" or "history") is down."""
        return not self._down[kind]
