"""The schema of the order journal's file, and the SQL on it: records by kind and name, and one row about the file.

The module knows SQLite and checksums. It must not know files, locks, threads, or what a record means. A damaged row
raises `Damage`. Each function is one job of the disk thread: it shares no state with other threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ibbridge.storage.checksums import checksum
from ibbridge.storage.keys import KnownKeys
from ibbridge.storage.records import JournalRecord
from ibbridge.storage.schema import Damage, one

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

SCHEMA = 1
"""Version of the layout, kept in the file. A newer file is left alone."""

OURS = 0x6962626F
"""SQLite's application_id of a journal: "ibbo"."""

UNKNOWN_TIME = 1
"""Time at which a copy was made, if nobody knows it."""

SKIPPED = 2**20
"""Ids that a copy leaves out: the journal itself may have given them since. Requests take ids too, so an hour may take
thousands; TWS has room for 2,000 times as many."""

_TABLES = """
CREATE TABLE about (
    name TEXT NOT NULL, client_id INTEGER NOT NULL, generation INTEGER NOT NULL, reserved INTEGER NOT NULL,
    records INTEGER NOT NULL, copied INTEGER NOT NULL, beat INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE record (
    kind INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, open INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE INDEX record_open ON record (kind, name) WHERE open
"""


class AboutJournal(NamedTuple):
    """Row about a journal.

    `client_id`: the client id of TWS that its orders have. `generation`: how often it was opened for writing.
    `reserved`: ids below this number may have been given. `records`: rows in the table of records. `copied`: when this
    copy was made of a journal, in µs since 1970 UTC; 0 for the journal itself, and for a copy that was accepted.
    """

    name: str
    client_id: int
    generation: int
    reserved: int
    records: int
    copied: int

    def as_copy(self, copied: int) -> AboutJournal:
        """Return the row of a copy that was made at a time. The ids that the journal may give later are left out.

        The copy of a copy has the time of the first: no order was placed since.
        """
        return self._replace(copied=self.copied or copied, reserved=self.reserved + SKIPPED)

    def accepted(self, suffix: str) -> AboutJournal:
        """Return the row of a copy that is the journal from here on: a line of its own, which its name says."""
        return self._replace(name=f"{self.name}.{suffix}", copied=0)


def create(db: sqlite3.Connection, about: AboutJournal) -> None:
    """Create the tables of a journal in an empty file."""
    db.execute("BEGIN IMMEDIATE")
    for statement in _TABLES.split(";"):
        db.execute(statement)
    db.execute("INSERT INTO about VALUES (?, ?, ?, ?, ?, ?, 0, ?)", (*about, checksum(*about)))
    db.execute(f"PRAGMA application_id={OURS}")
    db.execute(f"PRAGMA user_version={SCHEMA}")
    db.execute("COMMIT")


# -- writing


def put_about(about: AboutJournal, db: sqlite3.Connection) -> None:
    """Write the row about the journal. It changes in any case, to prove that the disk takes writes."""
    db.execute(
        "UPDATE about SET name = ?, client_id = ?, generation = ?, reserved = ?, records = ?, copied = ?, "
        "beat = 1 - beat, checksum = ?",
        (*about, checksum(*about)),
    )


def put(records: Iterable[JournalRecord], about: AboutJournal | None, db: sqlite3.Connection) -> None:
    """Write records, and the row about the journal if it has changed."""
    rows = [(kind, name, value, int(is_open)) for kind, name, value, is_open in records]
    db.executemany("REPLACE INTO record VALUES (?, ?, ?, ?, ?)", [(*row, checksum(*row)) for row in rows])
    if about is not None:
        put_about(about, db)


# -- reading


def about(db: sqlite3.Connection) -> AboutJournal:
    """Return the row about the journal. Raise `Damage` if it is unreadable."""
    rows = db.execute("SELECT name, client_id, generation, reserved, records, copied, checksum FROM about").fetchall()
    if len(rows) != 1 or rows[0][-1] != checksum(*rows[0][:-1]):
        raise Damage("what it says of itself (its name, client id, next id) is unreadable")
    return AboutJournal(*rows[0][:-1])


def records(db: sqlite3.Connection, expected: int) -> tuple[KnownKeys, list[JournalRecord]]:
    """Return the names of all records, and the open records. Raise `Damage` unless all `expected` are readable."""
    names: list[bytes] = []
    opened: list[JournalRecord] = []
    for record in _all(db):
        names.append(record.known_as)
        if record.open:
            opened.append(record)
    if len(names) != expected:
        raise Damage(f"of {expected} records there are {len(names)}")
    return KnownKeys(names), opened


def _all(db: sqlite3.Connection) -> Iterator[JournalRecord]:
    before: tuple[int, bytes] = (-1, b"")
    for kind, name, value, is_open, check in db.execute("SELECT * FROM record ORDER BY kind, name"):
        if check != checksum(kind, name, value, is_open) or (kind, name) <= before:
            raise Damage(f"a record is unreadable: {name!r}")
        before = kind, name
        yield JournalRecord(kind, name, value, bool(is_open))


def find(kind: int, name: bytes, db: sqlite3.Connection) -> JournalRecord:
    """Return a record. Raise `Damage` if it is missing, although it is known, or unreadable."""
    row = db.execute("SELECT * FROM record WHERE kind = ? AND name = ?", (kind, name)).fetchone()
    if row is None or row[-1] != checksum(*row[:-1]):
        raise Damage(f"a record is unreadable, or is not there: {name!r}")
    return JournalRecord(row[0], row[1], row[2], bool(row[3]))


def scan(kind: int, prefix: bytes, after: bytes, most: int, db: sqlite3.Connection) -> list[JournalRecord]:
    """Return the first `most` records whose names begin with `prefix` and are above `after`, by name.

    Behind the prefix no name goes on with 0xff.
    """
    query = "SELECT * FROM record WHERE kind = ? AND name > ? AND name < ? ORDER BY name LIMIT ?"
    found = []
    for *row, check in db.execute(query, (kind, after, prefix + b"\xff", most)).fetchall():
        if check != checksum(*row):
            raise Damage(f"a record is unreadable: {row[1]!r}")
        found.append(JournalRecord(row[0], row[1], row[2], bool(row[3])))
    return found


def made_by(db: sqlite3.Connection) -> tuple[int, int, bool]:
    """Return the application and the schema that a file names, and whether the file is empty."""
    ours, made = one(db, "PRAGMA application_id"), one(db, "PRAGMA user_version")
    return ours, made, bool(ours == made == one(db, "SELECT count(*) FROM sqlite_schema") == 0)
