"""The ids of requests and orders: one rising sequence, of which no id is given twice, also over restarts.

Pure. Ids are reserved in blocks before they are given. A process that begins gives only ids above all that were
reserved before. An order needs a reserved id. A request may take one that is not reserved, because requests end with
the connection.
"""

from __future__ import annotations

from typing import Protocol

LARGEST_SEEN = 2**31 - 2**20
"""Ids above this leave too little room for 32-bit ids, and are ignored when TWS names them."""

AHEAD = 300
"""Reserved ids below which the next block is reserved, before an order needs it."""


class Reservations(Protocol):
    """The reserved ids, kept over restarts."""

    @property
    def reserved(self) -> int:
        """Ids below this number may have been given."""

    def reserve(self, number: int) -> bool:
        """Reserve ids up to a number and some more. Return False if that failed."""


class IdSequence:
    """Sequence of ids."""

    def __init__(self, reservations: Reservations) -> None:
        self.upcoming = 1
        """The next id to be given."""
        self._reservations = reservations
        self._reserved = 0  # ids below this number are reserved for this process

    def begin(self) -> None:
        """Give only ids that were not reserved before."""
        self.upcoming = max(self.upcoming, self._reservations.reserved)
        self._reserved = self._reservations.reserved

    def take(self) -> int:
        """Return a new id."""
        self.upcoming += 1
        return self.upcoming - 1

    def is_reserved(self, count: int = 1) -> bool:
        """Reserve the upcoming ids, if they are not reserved. Return False if that failed."""
        last = self.upcoming + count - 1
        return last < self._reserved or self._reserve(last)

    def _reserve(self, number: int) -> bool:
        done = self._reservations.reserve(number)
        self._reserved = self._reservations.reserved
        return done

    def raise_to(self, number: int | None) -> None:
        """Give only ids above a number from here on. Ignore a number that leaves too little room for 32-bit ids."""
        if number is not None and self.upcoming <= number < LARGEST_SEEN:
            self.upcoming = number + 1

    def tick(self) -> None:
        """Reserve the next block of ids in good time. Call it about every second."""
        if self.upcoming + AHEAD >= self._reserved:
            self._reserve(self.upcoming)
