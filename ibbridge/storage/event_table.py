"""SQL operations on the open store: write, read and remove messages, states, values and order keys.

The module knows SQLite, and the layout by `schema`. It must not know files, threads, or what a topic or a body means.
Each function is one job of the disk thread: the function shares no state with other threads, and returns its result.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.storage import schema
from ibbridge.storage.checksums import checksum
from ibbridge.storage.schema import Damage, is_number

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from ibbridge.storage.schema import About, StreamRow


class Forgotten(NamedTuple):
    """State to be removed; without an `identity`, all states of the topic."""

    topic: bytes
    identity: bytes | None


class Old(NamedTuple):
    """Message that may be removed. `size` is about the bytes that it takes on disk."""

    id: int
    stream: int
    seq: int
    uptime: int
    size: int
    topic: bytes
    identity: bytes | None


class Page:
    """Page of a stream's messages without a hole: at most `room` bytes, but at least one message."""

    def __init__(self, first: int, room: int) -> None:
        self.found: list[tuple[int, bytes, bytes]] = []
        self.following = first
        self.damage: Damage | None = None
        self._room = room

    def take(self, topic: bytes, body: bytes) -> bool:
        """Add the message with the following sequence number. Return False if there is no room."""
        self._room -= len(topic) + len(body)
        if self._room < 0 and self.found:
            return False
        self.found.append((self.following, topic, body))
        self.following += 1
        return True


_OLDEST = (
    "SELECT id, stream, seq, uptime, length(topic) + length(body), topic, identity FROM event WHERE id > ? "
    "ORDER BY id LIMIT ?"
)
_THIS_STATE = "FROM state WHERE topic = ? AND identity = ? AND stream = ? AND seq = ?"
_READ = (
    "SELECT stream, seq, uptime, identity, topic, body, checksum FROM event "
    "WHERE stream = ? AND seq BETWEEN ? AND ? ORDER BY seq"
)


def transact(change: Callable[[sqlite3.Connection], None], db: sqlite3.Connection) -> bool:
    """Make a change in one transaction. Return True; if the change fails, roll it back and raise."""
    db.execute("BEGIN IMMEDIATE")
    try:
        change(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite may have ended the transaction itself
            db.execute("ROLLBACK")
        raise
    return True


def transact_for_sure(change: Callable[[sqlite3.Connection], None], otherwise: str, db: sqlite3.Connection) -> bool:
    """Make a change with `synchronous=full`, so that a loss of power does not undo it; then go back to `otherwise`."""
    db.execute("PRAGMA synchronous=full")
    try:
        return transact(change, db)
    finally:
        db.execute(f"PRAGMA synchronous={otherwise}")


def write_about(about: About, db: sqlite3.Connection) -> None:
    """Write the file's `about` row, changed by a probe: SQLite writes no page that stays the same."""
    probe(db)
    schema.put_about(db, about)


def take_over(about: About, db: sqlite3.Connection) -> None:
    """Begin an epoch, and remove the kept states of pruned messages whose order key has been closed since."""
    write_about(about, db)
    db.execute("DELETE FROM state WHERE body IS NOT NULL AND key NOT IN (SELECT name FROM key WHERE open)")


def probe(db: sqlite3.Connection) -> None:
    """Change a value, to prove that the disk takes writes: SQLite does not write unchanged values."""
    db.execute("UPDATE about SET beat = 1 - beat")


def forget(state: Forgotten, db: sqlite3.Connection) -> None:
    """Remove a state, or all states of a topic."""
    if state.identity is None:
        db.execute("DELETE FROM state WHERE topic = ?", (state.topic,))
    else:
        db.execute("DELETE FROM state WHERE topic = ? AND identity = ?", state)


def oldest(after: int, most: int, db: sqlite3.Connection) -> list[Old]:
    """Return the first `most` messages behind row `after`, in order of arrival. Raise `Damage` if one is unreadable."""
    found = []
    for row in db.execute(_OLDEST, (after, most)).fetchall():
        if not all(map(is_number, row[:5])):
            raise Damage("a message is unreadable")
        found.append(Old(*row))
    return found


def remove(messages: Sequence[Old], streams: Iterable[StreamRow], db: sqlite3.Connection) -> None:
    """Remove messages. The file reuses their space, and does not shrink.

    The states of removed messages are removed as well, except states of an open order key, which are kept with their
    bodies.
    """
    for old in messages:
        if old.identity is not None:
            _leave(old, db)
    db.executemany("DELETE FROM event WHERE id = ?", [(old.id,) for old in messages])
    for stream in streams:
        schema.put_stream(db, stream)


def _leave(old: Old, db: sqlite3.Connection) -> None:
    named = (old.topic, old.identity, old.stream, old.seq)
    found = db.execute(f"SELECT key {_THIS_STATE}", named).fetchone()
    if found is None:
        return
    db.execute(f"DELETE {_THIS_STATE}", named)
    if found[0] is not None and db.execute("SELECT 1 FROM key WHERE name = ? AND open", found).fetchone():
        row = db.execute("SELECT uptime, body, checksum FROM event WHERE id = ?", (old.id,)).fetchone()
        event = (old.stream, old.seq, row[0], old.identity, old.topic, row[1])
        if not schema.is_intact(event, row[2]):
            raise Damage(f"a message is unreadable: number {old.seq} of {old.topic!r}")
        state = (*named, found[0], row[1])
        db.execute(schema.PUT_STATE, (*state, checksum(*state)))


def fetch(first: int, last: int, stream: int, room: int, db: sqlite3.Connection) -> Page:
    """Return the messages `first` to `last` of a stream. At a damaged or missing message the page ends, with `damage`.

    The page also ends when its messages exceed `room` bytes.
    """
    page = Page(first, room)
    with closing(db.execute(_READ, (stream, first, last))) as cursor:
        for *event, check in cursor:
            if event[1] != page.following or not schema.is_intact(tuple(event), check):
                break
            if not page.take(event[4], event[5]):
                return page
    if page.following <= last:
        page.damage = Damage(f"a message is unreadable, or is not there: number {page.following} of stream {stream}")
    return page


def put_value(key: str, value: bytes, db: sqlite3.Connection) -> None:
    """Write a value."""
    db.execute(schema.PUT_VALUE, (key, value, checksum(key, value)))


def value(key: str, db: sqlite3.Connection) -> bytes | None:
    """Return a value; None if there is none. Raise `Damage` if its checksum is wrong."""
    found: tuple[bytes, int] | None = db.execute("SELECT value, checksum FROM value WHERE key = ?", (key,)).fetchone()
    if found is None:
        return None
    if found[1] != checksum(key, found[0]):
        raise Damage(f"the value {key!r} is unreadable")
    return found[0]


def value_of_key(name: bytes, db: sqlite3.Connection) -> bytes:
    """Return the value of an order key. Raise `Damage` if the key is missing, although it is known, or unreadable."""
    found = db.execute("SELECT value, open, checksum FROM key WHERE name = ?", (name,)).fetchone()
    if found is None or found[2] != checksum(name, *found[:2]):
        raise Damage(f"an order's key is unreadable, or is not there: {name!r}")
    value: bytes = found[0]
    return value


def checkpoint(db: sqlite3.Connection) -> bool:
    """Copy the write-ahead log into the file; return True if all of the log is copied now."""
    busy, frames, copied = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and bool(frames == copied)


def used(db: sqlite3.Connection) -> int:
    """Return the bytes of the file in use."""
    pages, free, size = (schema.one(db, f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)
