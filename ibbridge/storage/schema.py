"""The schema of the store's file: creation, upgrade from an earlier release, and checks at opening.

The module knows SQLite and checksums. It must not know files, locks, threads, or what a topic or a body means. A
damaged row raises `Damage`, a subclass of SQLite's error.

The layout is the cheapest of those measured, to write and to prune. Rows are in order of arrival: a commit appends to
one page, whatever its streams, and the oldest rows are together at the front. An index with small entries finds a
message by its sequence number. With the key (stream, seq) and no index, rows of many streams go to as many pages: one
commit of 500 rows in 400 streams takes more than twice as long, and so do checkpoints.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.storage.checksums import checksum, of_event, of_first_schema, of_state
from ibbridge.storage.keys import Found, Key, KnownKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SCHEMA = 2
"""Version of the layout, kept in the file. A file of an older version is upgraded, a newer one left alone."""

OURS = 0x69626272
"""SQLite's application_id of a store: "ibbr"."""

TIMES_OF_DAY = 10**15
"""Larger values in the `uptime` column are times of day (µs since 1970), as in schema 1: no uptime lasts 30 years."""

# Sequence numbers up to `floor` are gone, pruned or never written; the numbers above it, up to the last, have no hole.
# `state` refers to the newest message of each topic and identity. It holds the `body` if that message was pruned while
# its order key was open. `uptime` is the total time in µs for which daemons had been running on this store.
# `about` has one row: `beat` only exists to be changed by a probe, `keys` is the number of rows in `key`.
_TABLES = """
CREATE TABLE about (
    name TEXT NOT NULL, beat INTEGER NOT NULL, epoch INTEGER NOT NULL, uptime INTEGER NOT NULL, keys INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE stream (
    number INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, floor INTEGER NOT NULL, keyed INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE state (
    topic BLOB NOT NULL, identity BLOB NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL, key BLOB, body BLOB,
    checksum INTEGER NOT NULL, PRIMARY KEY (topic, identity)
) WITHOUT ROWID;
CREATE TABLE key (
    name BLOB PRIMARY KEY, value BLOB NOT NULL, open INTEGER NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE value (key TEXT PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID
"""

_EVENTS = """
CREATE TABLE event (
    id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL, uptime INTEGER NOT NULL,
    checksum INTEGER NOT NULL, identity BLOB, topic BLOB NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX event_by_number ON event (stream, seq)
"""


class Damage(sqlite3.DatabaseError):
    """Damage in the file that SQLite does not notice."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class About(NamedTuple):
    """Row of the table `about`: the store's name, epoch, uptime and number of order keys."""

    name: str
    epoch: int
    uptime: int
    keys: int

    @property
    def checksum(self) -> int:
        """The checksum of the row."""
        return checksum(*self)


class StreamRow(NamedTuple):
    """Row of the table `stream`. `keyed`: some messages are about order keys. `last`: the last sequence number."""

    number: int
    name: bytes
    floor: int
    keyed: bool
    last: int


def create(db: sqlite3.Connection, name: str) -> None:
    """Create the tables of a store, with its name, in an empty file."""
    db.execute("BEGIN IMMEDIATE")
    _run(db, _TABLES + ";" + _EVENTS)
    _begin_about(db, About(name, 0, 0, 0))
    _stamp(db)
    db.execute("COMMIT")


def upgrade(db: sqlite3.Connection, adopt: Callable[[Iterator[tuple[bytes, bytes]]], Found]) -> None:
    """Upgrade a file of schema 1 in one transaction. Raise `Damage` if the file is damaged.

    Schema 1 kept no order keys: `adopt` finds the keys in the messages.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        for table in ("about", "stream", "state", "value"):
            db.execute(f"ALTER TABLE {table} RENAME TO {table}_1")
        db.execute("ALTER TABLE event RENAME COLUMN ts TO uptime")
        # Messages from a machine with a wrong clock (about 1970) would look like messages with an uptime.
        db.execute("UPDATE event SET uptime = ? WHERE uptime <= ?", (TIMES_OF_DAY + 1, TIMES_OF_DAY))
        _run(db, _TABLES)
        found = adopt(_first_events(db))
        put_keys(db, found.keys)
        _copy_first(db, found)
        for table in ("about", "stream", "state", "value"):
            db.execute(f"DROP TABLE {table}_1")
        _stamp(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _first_events(db: sqlite3.Connection) -> Iterator[tuple[bytes, bytes]]:
    for seq, topic, body, found in db.execute("SELECT seq, topic, body, checksum FROM event ORDER BY id"):
        if found != of_first_schema(seq, topic, body):
            raise Damage(f"a message is unreadable: number {seq} of {topic!r}")
        yield topic, body


def _copy_first(db: sqlite3.Connection, found: Found) -> None:
    name = one(db, "SELECT name FROM about_1")
    if not isinstance(name, str):
        raise Damage("its name is gone")
    _begin_about(db, About(name, found.epoch, 0, one(db, "SELECT count(*) FROM key")))
    topics = db.execute("SELECT DISTINCT stream, topic FROM event").fetchall()
    keyed = {number for number, topic in topics if topic in found.names}
    for number, stream, floor in db.execute("SELECT number, name, floor FROM stream_1").fetchall():
        if type(stream) is not bytes or not is_number(floor):
            raise Damage(f"a stream is unreadable: {stream!r}")
        put_stream(db, StreamRow(number, stream, floor, number in keyed, 0))
    query = (
        "SELECT s.topic, s.identity, s.stream, s.seq, e.identity FROM state_1 s LEFT JOIN event e USING (stream, seq)"
    )
    for topic, identity, stream, seq, same in db.execute(query).fetchall():
        if identity != same:
            raise Damage(f"a state is unreadable: number {seq} of {topic!r}")
        row = (topic, identity, stream, seq, found.names.get(topic), None)
        db.execute(PUT_STATE, (*row, checksum(*row)))
    for row in db.execute("SELECT key, value FROM value_1").fetchall():
        db.execute(PUT_VALUE, (*row, checksum(*row)))


def _run(db: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        db.execute(statement)


def _begin_about(db: sqlite3.Connection, about: About) -> None:
    name, epoch, uptime, keys = about
    db.execute("INSERT INTO about VALUES (?, 0, ?, ?, ?, ?)", (name, epoch, uptime, keys, about.checksum))


def _stamp(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA application_id={OURS}")
    db.execute(f"PRAGMA user_version={SCHEMA}")


# -- writing

PUT_EVENT = "REPLACE INTO event (stream, seq, uptime, checksum, identity, topic, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
PUT_STATE = "REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?, ?)"
PUT_VALUE = "REPLACE INTO value VALUES (?, ?, ?)"


def put_stream(db: sqlite3.Connection, stream: StreamRow) -> None:
    """Write a stream."""
    row = (stream.number, stream.name, stream.floor, int(stream.keyed))
    db.execute("REPLACE INTO stream VALUES (?, ?, ?, ?, ?)", (*row, checksum(*row)))


def put_keys(db: sqlite3.Connection, keys: Iterable[Key]) -> None:
    """Write order keys."""
    rows = [(name, value, int(is_open)) for name, value, is_open in keys]
    db.executemany("REPLACE INTO key VALUES (?, ?, ?, ?)", [(*row, checksum(*row)) for row in rows])


def put_about(db: sqlite3.Connection, about: About) -> None:
    """Write the row of `about`, except for the name."""
    values = (about.epoch, about.uptime, about.keys, about.checksum)
    db.execute("UPDATE about SET epoch = ?, uptime = ?, keys = ?, checksum = ?", values)


def rename(about: About, name: str, db: sqlite3.Connection) -> None:
    """Give a copy of a store a name of its own."""
    db.execute("UPDATE about SET name = ?, checksum = ?", (name, about._replace(name=name).checksum))


# -- reading when a file is opened


def about(db: sqlite3.Connection) -> About:
    """Return the row of `about`. Raise `Damage` if it is unreadable."""
    rows = db.execute("SELECT name, epoch, uptime, keys, checksum FROM about").fetchall()
    if len(rows) != 1 or rows[0][-1] != checksum(*rows[0][:-1]):
        raise Damage("what it says of itself (its name, epoch, uptime) is unreadable")
    return About(*rows[0][:-1])


def streams(db: sqlite3.Connection) -> list[StreamRow]:
    """Return all streams. Raise `Damage` if one is unreadable."""
    found = db.execute(
        "SELECT number, name, floor, keyed, checksum, "
        "ifnull((SELECT max(seq) FROM event WHERE event.stream = stream.number), 0) FROM stream"
    ).fetchall()
    for *row, check, last in found:
        if check != checksum(*row) or not is_number(last):
            raise Damage(f"a stream is unreadable: {row[1]!r}")
    return [StreamRow(number, name, floor, bool(keyed), last) for number, name, floor, keyed, _, last in found]


def keys(db: sqlite3.Connection, expected: int) -> tuple[KnownKeys, list[Key]]:
    """Return the names of all keys, and the keys that are open. Raise `Damage` unless all `expected` are readable."""
    names: list[bytes] = []
    opened: list[Key] = []
    previous = b""
    for name, value, is_open, check in db.execute("SELECT name, value, open, checksum FROM key ORDER BY name"):
        if check != checksum(name, value, is_open) or name <= previous:
            raise Damage(f"an order's key is unreadable: {name!r}")
        previous = name
        names.append(name)
        if is_open:
            opened.append(Key(name, value, open=True))
    if len(names) != expected:
        raise Damage(f"of {expected} orders' keys there are {len(names)}")
    return KnownKeys(names), opened


def check_values(db: sqlite3.Connection) -> None:
    """Raise `Damage` unless all values are readable. A look-up by name would not find a value with a damaged name."""
    for key, value, check in db.execute("SELECT key, value, checksum FROM value").fetchall():
        if check != checksum(key, value):
            raise Damage(f"the value {key!r} is unreadable")


def states(db: sqlite3.Connection) -> list[tuple[bytes, bytes, bytes]]:
    """Return topic, identity and body of the newest message of each topic and identity.

    Raise `Damage` if a state or its message is unreadable.
    """
    query = (
        "SELECT s.topic, s.identity, s.stream, s.seq, s.key, s.body, s.checksum, "
        "e.uptime, e.identity, e.topic, e.body, e.checksum FROM state s LEFT JOIN event e USING (stream, seq)"
    )
    found = []
    for *row, check, uptime, identity, topic, body, check_of_event in db.execute(query).fetchall():
        intact = check in (checksum(*row), of_state((row[0], row[1]), (row[2], row[3]), row[4], row[5]))
        if not intact or type(row[1]) is not bytes:
            raise Damage(f"a state is unreadable: number {row[3]} of {row[0]!r}")
        if row[5] is None:
            event = (row[2], row[3], uptime, identity, topic, body)
            if topic != row[0] or not is_intact(event, check_of_event):
                raise Damage(f"a message is unreadable, or is not there: number {row[3]} of {row[0]!r}")
        found.append((row[0], row[1], body if row[5] is None else row[5]))
    return found


def is_intact(event: tuple[Any, ...], check: object) -> bool:
    """Return True if a message (stream, seq, uptime, identity, topic, body) has the checksum `check`."""
    stream, seq, uptime, identity, topic, body = event
    if check == of_event((stream, seq, uptime), identity, topic, body):
        return True
    return type(uptime) is int and uptime > TIMES_OF_DAY and check == of_first_schema(seq, topic, body)


def is_number(found: object) -> bool:
    """Return True if a value is an integer that the store can have written."""
    return type(found) is int and 0 <= found < 2**53


def one(db: sqlite3.Connection, query: str) -> Any:
    """Return the first value of a query's first row; None without a row."""
    found = db.execute(query).fetchone()
    return found[0] if found else None
