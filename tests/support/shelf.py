"""Store in memory, which outlives the daemon of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.outside import NoStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.storage.keys import Key
    from ibbridge.streams.history import Row


class Shelf(NoStore):
    """A store in memory. It can be made to refuse what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "s-1"
        self.rows: dict[bytes, list[Row]] = {}
        self.pruned: dict[bytes, int] = {}
        self.commits: list[int] = []
        self.writable = True
        self.states: dict[tuple[bytes, bytes], bytes] = {}

    def append(self, rows: Sequence[Row]) -> bool:
        for row in rows if self.writable else ():
            self.rows.setdefault(row.stream, []).append(row)
            if row.identity is not None:
                self.states[row.topic, row.identity] = row.body
        self.commits.append(len(rows))
        return self.writable

    def first(self, stream: bytes) -> int:
        rows = self.rows.get(stream, [])
        return next((row.seq for row in rows if row.seq > self.pruned.get(stream, 0)), self.last()[stream] + 1)

    def read(self, stream: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        return [(row.seq, row.topic, row.body) for row in self.rows[stream] if first <= row.seq <= last][:most]

    def forget(self, topic: bytes, identity: bytes | None) -> None:
        self.states.pop((topic, identity), None)  # type: ignore[arg-type]

    def remember(self, *keys: Key) -> None:
        raise AssertionError(f"nothing here is an order: {keys}")

    def last(self) -> dict[bytes, int]:
        return {stream: rows[-1].seq for stream, rows in self.rows.items()}

    def state(self) -> list[tuple[bytes, bytes, bytes]]:
        return [(topic, identity, body) for (topic, identity), body in self.states.items()]
