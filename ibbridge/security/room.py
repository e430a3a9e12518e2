"""The room for connections at one endpoint: how many there may be, and which goes if another one comes.

A program that leaks connections, or attacks, could keep everybody else out with connections that say nothing. So a full
room gives the place of the oldest connection that has said nothing to the new one. An honest program says something as
soon as it is connected. The module must not know sockets.
"""

from __future__ import annotations

from collections import OrderedDict


class Room:
    """Room for `most` connections, which are known by their descriptors."""

    def __init__(self, most: int) -> None:
        self.is_full = False
        """True from the first connection that had to go until a tenth of the room is free."""
        self._most = most
        self._there: set[int] = set()
        self._silent: OrderedDict[int, None] = OrderedDict()

    def enter(self, descriptor: int) -> int | None:
        """Note a new connection. Return the one that has to go, which may be the new one; None if there is room."""
        self._there.add(descriptor)
        self._silent[descriptor] = None
        if len(self._there) <= self._most:
            self.is_full = self.is_full and len(self._there) >= 0.9 * self._most
            return None
        self.is_full = True
        gone, _ = self._silent.popitem(last=False)
        self._there.discard(gone)
        return gone

    def heard(self, descriptor: int) -> None:
        """Note that a connection has said something."""
        self._silent.pop(descriptor, None)

    def leave(self, descriptor: int) -> None:
        """Note the end of a connection."""
        self._there.discard(descriptor)
        self._silent.pop(descriptor, None)
