"""The contents of a store that are kept in memory: its name, epoch and uptime, its streams, the names of order keys.

The module knows the rows of the schema. It must not know files, threads, or what a topic or a body means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.storage import schema
from ibbridge.storage.keys import Key, KnownKeys
from ibbridge.storage.schema import About, StreamRow, is_number, one

if TYPE_CHECKING:
    import sqlite3

STEP = 60_000_000
"""Microseconds of uptime that one call of `age` adds at most, whatever the clock says: it is called every second."""

STAMPED = 600_000_000
"""Microseconds of uptime after which the uptime is written, if no message stamped with it has been written."""

Row = tuple[bytes, int, int, bytes, bytes, bytes | None, bytes | None]
"""Message: stream, sequence number, µs since 1970 UTC, topic, body, the name of its state, if any, and the name of its
order key, if any."""


class StoredStream:
    """Stream of the store in memory: see the schema.

    `keyed`: some of its messages are about order keys. `saved` is its row on disk, None if there is none.
    """

    __slots__ = ("floor", "keyed", "last", "name", "number", "saved")

    def __init__(self, name: bytes, number: int, floor: int, last: int, saved: StreamRow | None = None) -> None:
        self.name = name
        self.number = number
        self.floor = floor
        self.last = last
        self.keyed = saved is not None and saved.keyed
        self.saved = saved and saved._replace(last=0)

    def row(self) -> StreamRow:
        """Return the row that the stream should have on disk."""
        return StreamRow(self.number, self.name, self.floor, self.keyed, 0)

    def is_saved(self) -> bool:
        """Return True if the row on disk is up to date."""
        saved = self.saved
        return saved is not None and saved.floor == self.floor and saved.keyed == self.keyed

    def hide(self, seq: int) -> None:
        """Make the messages up to a sequence number unreadable."""
        self.floor = max(self.floor, seq)


class Contents:
    """Contents of one store.

    `streams` has the streams by name, `numbered` by row number. `known` has the names of all order keys. `open_keys`
    are the keys that were open when the file was opened. `about` is the row to be written.
    """

    def __init__(self) -> None:
        self.about = About("", 0, 0, 0)
        self.streams: dict[bytes, StoredStream] = {}
        self.numbered: dict[int, StoredStream] = {}
        self.known = KnownKeys()
        self.open_keys: list[Key] = []
        self._next = 1  # the row number of the next new stream
        self._stamped = -1  # the uptime that was written last; -1 if the row must be written with the next commit
        self._seen: int | None = None  # the `now` of the last `age`

    def load(self, db: sqlite3.Connection) -> None:
        """Load the contents of a file. Raise `Damage` if a part of them is unreadable.

        The epoch becomes the file's plus 1, unless the epoch in memory is higher.
        """
        about = schema.about(db)
        streams = schema.streams(db)
        self.known, self.open_keys = schema.keys(db, about.keys)
        schema.check_values(db)
        newest = one(db, "SELECT uptime FROM event ORDER BY id DESC LIMIT 1") or 0
        newest = newest if is_number(newest) and newest <= schema.TIMES_OF_DAY else 0
        for row in streams:
            self._add(StoredStream(row.name, row.number, row.floor, max(row.floor, row.last), row))
        self.about = about._replace(
            epoch=max(about.epoch + 1, self.about.epoch), uptime=max(about.uptime, newest, self.about.uptime)
        )
        self._next = max(self.numbered, default=0) + 1

    # -- streams

    def note(self, row: Row) -> None:
        """Note the stream and the sequence number of a new message."""
        name, seq, *_, key = row
        stream = self.streams.get(name)
        if stream is None:
            stream = self._add(StoredStream(name, self._next, seq - 1, seq - 1))
            self._next += 1
        if seq > stream.last + 1:
            stream.floor = seq - 1
        stream.last = max(stream.last, seq)
        stream.keyed = stream.keyed or key is not None

    def number(self, name: bytes) -> int:
        """Return the row number of a stream."""
        return self.streams[name].number

    def _add(self, stream: StoredStream) -> StoredStream:
        self.streams[stream.name] = self.numbered[stream.number] = stream
        return stream

    # -- the row `about`

    @property
    def is_new(self) -> bool:
        """True if the row `about` was not written since the start, so that the next commit must write it."""
        return self._stamped < 0

    @property
    def stamp_due(self) -> bool:
        """True if it is time to write the row `about` although no message is to be written."""
        return self.is_new or self.about.uptime - self._stamped >= STAMPED

    @property
    def is_stamped(self) -> bool:
        """True if the row `about` is written with the uptime of now."""
        return self._stamped == self.about.uptime

    def age(self, now: int) -> None:
        """Add the time since the last call to the uptime, but at most `STEP`. `now` is in µs, of a monotonic clock."""
        passed = 0 if self._seen is None else max(0, now - self._seen)
        self._seen = now
        self.about = self.about._replace(uptime=self.about.uptime + min(passed, STEP))

    def stamped(self, about: About) -> None:
        """Note that a row `about` is written."""
        self._stamped = about.uptime

    def row_with_keys(self, new: int) -> About:
        """Return the row `about` after `new` more order keys."""
        return self.about._replace(keys=len(self.known) + new)

    def keys_written(self, names: list[bytes], about: About | None) -> None:
        """Note written order keys, and the row `about` that was written with them, if it was."""
        for name in names:
            self.known.add(name)
        if about is not None:
            self.about = self.about._replace(keys=about.keys)
            self.stamped(about)

    def last(self) -> dict[bytes, int]:
        """Return the last sequence number of every stream."""
        return {name: stream.last for name, stream in self.streams.items()}
