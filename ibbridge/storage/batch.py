"""The batch of one commit: items in order, as rows of the tables.

Pure but for `write`, which is a job of the disk thread. Of several items for one state only the last is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.storage import event_table, schema
from ibbridge.storage.backlog import OVERHEAD, PendingEvent
from ibbridge.storage.checksums import checksum, of_event
from ibbridge.storage.event_table import Forgotten
from ibbridge.storage.keys import Key

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ibbridge.storage.backlog import Item
    from ibbridge.storage.schema import About, StreamRow

_Row = tuple[Any, ...]
_Newest = dict[tuple[bytes, bytes], tuple[int, int, bytes | None]]


class Rows(NamedTuple):
    """Rows of a batch of items, the names of their streams, and the approximate bytes of the messages."""

    messages: list[_Row]
    states: list[_Row | Forgotten]
    keys: dict[bytes, Key]
    streams: set[bytes]
    size: int


def rows_of(items: Iterable[Item], number: Callable[[bytes], int]) -> Rows:
    """Return the rows of some items. `number` returns the row number of a stream by its name."""
    messages: list[_Row] = []
    states: list[_Row | Forgotten] = []
    keys: dict[bytes, Key] = {}
    streams: set[bytes] = set()
    size = 0
    newest: _Newest = {}
    for item in items:
        if isinstance(item, PendingEvent):
            name, seq, uptime, topic, body, identity, key = item
            stream = number(name)
            messages.append(
                (stream, seq, uptime, of_event((stream, seq, uptime), identity, topic, body), identity, topic, body)
            )
            if identity is not None:
                newest[topic, identity] = (stream, seq, key)
            streams.add(name)
            size += len(topic) + len(body) + OVERHEAD
        elif isinstance(item, Key):
            keys[item.name] = item
        else:  # in order: a forgotten state may be set again by a later item
            states += _states(newest)
            states.append(item)
            newest.clear()
    states += _states(newest)
    return Rows(messages, states, keys, streams, size)


def _states(newest: _Newest) -> Iterator[_Row]:
    for (topic, identity), (stream, seq, key) in newest.items():
        row = (topic, identity, stream, seq, key, None)
        yield *row, checksum(*row)


class Batch(NamedTuple):
    """Batch of one commit: rows, the stream rows to update, the `about` row if it changes, and whether to probe."""

    rows: Rows
    streams: Sequence[StreamRow]
    about: About | None
    probe: bool

    def write(self, db: sqlite3.Connection) -> None:
        """Write the batch. Call it within a transaction."""
        if self.probe:
            event_table.probe(db)
        for stream in self.streams:
            schema.put_stream(db, stream)
        if self.rows.keys:
            schema.put_keys(db, self.rows.keys.values())
        if self.about is not None:
            schema.put_about(db, self.about)
        if self.rows.states:
            self._write_states(db)
        db.executemany(schema.PUT_EVENT, self.rows.messages)

    def _write_states(self, db: sqlite3.Connection) -> None:
        known: list[_Row] = []
        for state in self.rows.states:
            if isinstance(state, Forgotten):
                db.executemany(schema.PUT_STATE, known)
                known.clear()
                event_table.forget(state, db)
            else:
                known.append(state)
        db.executemany(schema.PUT_STATE, known)
