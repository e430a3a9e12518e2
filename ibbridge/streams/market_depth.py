"""A market depth book: the rows that result from single changes (`updateMktDepth`, `updateMktDepthL2`).

Pure. IB numbers rows from the top of each side; an insert moves the rows below down, a delete moves them up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RESET = 317
"""IB's error code for a reset: the book is to be emptied, and TWS sends the whole book again."""

INSERT, UPDATE, DELETE = 0, 1, 2
DEEPEST = 1_000
"""Most rows of a side. IB sends a few dozen; a change at a position beyond this is ignored."""


class DepthBook:
    """Market depth book with both sides. `ts` is the time of the last change (µs since 1970 UTC)."""

    __slots__ = ("_sides", "fresh", "ts")

    def __init__(self) -> None:
        self.ts = 0
        self.fresh = True
        """True if all rows came over the current connection."""
        self._sides: dict[Any, list[Mapping[str, Any]]] = {}

    def apply(self, row: Mapping[str, Any], ts: int) -> None:
        """Apply one change, after emptying a book of an earlier connection.

        A change of a row that does not exist is ignored, and not repaired.
        """
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
        elif operation == UPDATE and position == len(side):  # TWS also fills an empty book with updates
            side.append(row)
        elif operation == DELETE and position < len(side):
            del side[position]

    def clear(self) -> None:
        """Empty the book, on a reset (317) or for a new connection."""
        self._sides.clear()
        self.fresh = True

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield an insert for each row, from the top. Applied to an empty book they result in this book."""
        for side in self._sides.values():
            for position, row in enumerate(side):
                yield {**row, "position": position, "operation": INSERT}
