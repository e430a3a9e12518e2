"""A market depth book: the rows that single changes (`updateMktDepth`, `updateMktDepthL2`) add up to.

Pure. IB numbers rows from the top of each side; an insert moves those below it down, a delete moves them up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RESET = 317
"""IB's error code that says: empty the book, what comes next is the whole of it."""

INSERT, UPDATE, DELETE = 0, 1, 2
DEEPEST = 1_000
"""Rows of a side. IB gives a few dozen; a position beyond this is no row."""


class Book:
    """Both sides of one book. `ts` is when it changed last."""

    __slots__ = ("_sides", "fresh", "ts")

    def __init__(self) -> None:
        self.ts = 0
        self.fresh = True
        """Whether all of it is of the connection there is."""
        self._sides: dict[Any, list[Mapping[str, Any]]] = {}

    def apply(self, row: Mapping[str, Any], ts: int) -> None:
        """One change. One that fits nowhere (a row that is not there) changes nothing: TWS's word is not repaired."""
        if not self.fresh:
            self.clear()
        self.ts = ts
        side = self._sides.setdefault(row["side"], [])
        position, operation = row["position"], row["operation"]
        if position is None or not 0 <= position < DEEPEST:
            return
        if operation == INSERT and position <= len(side):
            side.insert(position, row)
            del side[DEEPEST:]
        elif operation == UPDATE and position < len(side):
            side[position] = row
        elif operation == UPDATE and position == len(side):  # TWS fills an empty book with updates, too
            side.append(row)
        elif operation == DELETE and position < len(side):
            del side[position]

    def clear(self) -> None:
        """Empty it (317), or begin it anew."""
        self._sides.clear()
        self.fresh = True

    def rows(self) -> Iterator[dict[str, Any]]:
        """What would make this book out of an empty one: an insert for each row, from the top."""
        for side in self._sides.values():
            for position, row in enumerate(side):
                yield {**row, "position": position, "operation": INSERT}
