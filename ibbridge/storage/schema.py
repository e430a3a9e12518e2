"""The layout of the store's file: made, upgraded from an earlier release's, and checked when it is opened.

Knows SQLite and checksums. Must not know files, locks, threads, or what a topic or a body means. What is damaged raises
`Damage`, which is an error of SQLite's kind.

The layout is the cheapest of those measured, to write and to prune. Rows stand in order of arrival: a commit appends to
one page, whatever streams are in it, and what is oldest is together at the front. Finding a message by its number takes
an index, whose entries are small. With the key (stream, seq) and no index, rows of many streams are written to as many
pages: one commit of 500 rows in 400 streams takes more than twice as long, and checkpoints too.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.storage.checksums import checksum, of_event, of_first_schema, of_state
from ibbridge.storage.keys import Found, Key, KnownKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SCHEMA = 2
"""The version of the layout. The file says which it has; an older one is upgraded, a newer one left alone."""

OURS = 0x69626272
"""SQLite's application_id of a store: "ibbr"."""

TIMES_OF_DAY = 10**15
"""Schema 1 had the time of day (µs since 1970) where there is `uptime` now: so much has no `uptime` in 30 years."""

# Numbers up to `floor` are gone, pruned or never written; those from there to the last are there without a hole.
# `state` refers to the newest message of each topic and identity, and holds its `body` once that message is pruned and
# the key that it belongs to is open. `uptime` is for how many µs daemons had been running on this store, all together.
# `about` is one row: `beat` is there to be written, `keys` how many rows `key` has.
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
    """Something wrong in the file that SQLite does not notice."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class About(NamedTuple):
    """What the file says of itself: see the schema."""

    name: str
    epoch: int
    uptime: int
    keys: int

    @property
    def checksum(self) -> int:
        """The checksum of the row."""
        return checksum(*self)


class StreamRow(NamedTuple):
    """A stream: its number, its name, its floor, whether messages of it are about order keys, its last number there."""

    number: int
    name: bytes
    floor: int
    keyed: bool
    last: int




def create(db: sqlite3.Connection, name: str) -> None:
    """Make a store of this name in an empty file."""
    db.execute("BEGIN IMMEDIATE")
    _run(db, _TABLES + ";" + _EVENTS)
    _begin_about(db, About(name, 0, 0, 0))
    _stamp(db)
    db.execute("COMMIT")


def upgrade(db: sqlite3.Connection, adopt: Callable[[Iterator[tuple[bytes, bytes]]], Found]) -> None:
    """Bring a file of schema 1 into the form of this one, in one transaction. Raise `Damage` if it is damaged.

    Schema 1 kept no order keys: `adopt` finds them in the messages.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        for table in ("about", "stream", "state", "value"):
            db.execute(f"ALTER TABLE {table} RENAME TO {table}_1")
        db.execute("ALTER TABLE event RENAME COLUMN ts TO uptime")
        # A clock that was wrong said that it is 1970.
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
        db.execute(PUT_STATE, (*row, of_state((row[0], row[1]), (row[2], row[3]), row[4], row[5])))
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


# -- what is said to SQLite

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
    """Write what the file says of itself. The name stays."""
    values = (about.epoch, about.uptime, about.keys, about.checksum)
    db.execute("UPDATE about SET epoch = ?, uptime = ?, keys = ?, checksum = ?", values)


# -- what is read when a file is opened


def about(db: sqlite3.Connection) -> About:
    """Return what the file says of itself."""
    rows = db.execute("SELECT name, epoch, uptime, keys, checksum FROM about").fetchall()
    if len(rows) != 1 or rows[0][-1] != checksum(*rows[0][:-1]):
        raise Damage("what it says of itself (its name, epoch, uptime) is unreadable")
    return About(*rows[0][:-1])


def streams(db: sqlite3.Connection) -> list[StreamRow]:
    """Return all streams."""
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
    """Raise `Damage` unless all values are readable: one whose name is not is one that nobody finds."""
    for key, value, check in db.execute("SELECT key, value, checksum FROM value").fetchall():
        if check != checksum(key, value):
            raise Damage(f"the value {key!r} is unreadable")


def states(db: sqlite3.Connection) -> list[tuple[bytes, bytes, bytes]]:
    """Return topic, identity and body of the newest message of each topic and identity. Raise `Damage`."""
    query = (
        "SELECT s.topic, s.identity, s.stream, s.seq, s.key, s.body, s.checksum, "
        "e.uptime, e.identity, e.topic, e.body, e.checksum FROM state s LEFT JOIN event e USING (stream, seq)"
    )
    found = []
    for *row, check, uptime, identity, topic, body, check_of_event in db.execute(query).fetchall():
        if check != of_state((row[0], row[1]), (row[2], row[3]), row[4], row[5]):
            raise Damage(f"a state is unreadable: number {row[3]} of {row[0]!r}")
        if row[5] is None:
            event = (row[2], row[3], uptime, identity, topic, body)
            if topic != row[0] or not is_intact(event, check_of_event):
                raise Damage(f"a message is unreadable, or is not there: number {row[3]} of {row[0]!r}")
        found.append((row[0], row[1], body if row[5] is None else row[5]))
    return found


def is_intact(event: tuple[Any, ...], check: object) -> bool:
    """Return True if a message (stream, seq, uptime, identity, topic, body) has this checksum."""
    stream, seq, uptime, identity, topic, body = event
    if check == of_event((stream, seq, uptime), identity, topic, body):
        return True
    return type(uptime) is int and uptime > TIMES_OF_DAY and check == of_first_schema(seq, topic, body)


def is_number(found: object) -> bool:
    """Return True if it can be a number of the store's."""
    return type(found) is int and 0 <= found < 2**53


def one(db: sqlite3.Connection, query: str) -> Any:
    """Return the one value that a query finds, or None."""
    found = db.execute(query).fetchone()
    return found[0] if found else None
