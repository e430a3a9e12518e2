"""Spare TCP sockets, opened in advance, so that TWS can be reached although clients have used up all descriptors.

libzmq accepts connections until no file descriptor is left, and uses every descriptor that is closed at once. So it
would not help to reserve descriptors and close one when needed: the socket must already be open.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SPARES = 16
"""Connections to TWS that can be made while clients use all other descriptors. Pauses between tries grow to 30 s."""

EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE))
"""Error numbers for a process, or a system, without a free descriptor."""


class SpareSockets:
    """Spare sockets: a stock of unconnected sockets for each address family of TWS."""

    def __init__(self, count: int = SPARES) -> None:
        self._count = count
        self._spares: dict[int, list[socket.socket]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._spares.values()))

    def keep(self, families: Iterable[int]) -> None:
        """Keep sockets of these address families from here on."""
        for family in families:
            self._spares.setdefault(family, [])
        self.restock()

    def take(self, family: int) -> socket.socket | None:
        """Return a spare socket of an address family; None if there is none."""
        spares = self._spares.get(family)
        return spares.pop() if spares else None

    def give_back(self, unused: socket.socket) -> None:
        """Keep a socket that was never connected, if the stock is not full. Linux lets such a socket try again."""
        spares = self._spares.setdefault(unused.family, [])
        if len(spares) < self._count:
            spares.append(unused)
        else:
            unused.close()

    def restock(self) -> None:
        """Fill up each stock, as far as there are free descriptors."""
        for family, spares in self._spares.items():
            while len(spares) < self._count:
                try:
                    spares.append(_new(family))
                except OSError:
                    return

    def close(self) -> None:
        """Close all spare sockets, and keep none from here on."""
        self._count = 0
        for spares in self._spares.values():
            while spares:
                spares.pop().close()


def exhausted() -> bool:
    """Return True if no descriptor is left."""
    try:
        socket.socket().close()
    except OSError as error:
        return error.errno in EXHAUSTED
    return False


def _new(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)  # noqa: FBT003
    return made
