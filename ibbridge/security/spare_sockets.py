"""TCP sockets that are opened before they are needed: clients may use up all descriptors, and TWS is still reached.

libzmq accepts whoever connects until no descriptor is left, and takes each that is closed at once. So it would not help
to keep descriptors and to close them when one is needed: a socket must be there already.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SPARES = 16
"""Connections to TWS that can be made while clients have all other descriptors. Pauses between them grow to 30 s."""

EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE))
"""Errors that say that no descriptor is left, to this process or to all."""


class SpareSockets:
    """A stock of unconnected sockets for each address family that has been used."""

    def __init__(self, count: int = SPARES) -> None:
        self._count = count
        self._spares: dict[int, list[socket.socket]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._spares.values()))

    def keep(self, families: Iterable[int]) -> None:
        """Keep sockets of these families from here on: those of the addresses that TWS has."""
        for family in families:
            self._spares.setdefault(family, [])
        self.restock()

    def take(self, family: int) -> socket.socket | None:
        """Return a spare of this family; None if there is none."""
        spares = self._spares.get(family)
        return spares.pop() if spares else None

    def give_back(self, unused: socket.socket) -> None:
        """Keep a socket that was never connected, if the stock is not full; Linux lets it try again."""
        spares = self._spares.setdefault(unused.family, [])
        if len(spares) < self._count:
            spares.append(unused)
        else:
            unused.close()

    def restock(self) -> None:
        """Fill up each stock, as far as there are descriptors."""
        for family, spares in self._spares.items():
            while len(spares) < self._count:
                try:
                    spares.append(_new(family))
                except OSError:
                    return

    def close(self) -> None:
        """Close all of them, and keep none from here on."""
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
