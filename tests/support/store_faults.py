"""Real faults of a store's disk and file, for a moment or for good."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ibbridge.storage.event_store import EventStore


@contextmanager
def written_by_others(store: EventStore) -> Iterator[None]:
    """Another program holds the write lock."""
    with closing(sqlite3.connect(store._directory.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def read_by_others(store: EventStore) -> Iterator[None]:
    """Another program reads it, in a transaction that it leaves open."""
    with closing(sqlite3.connect(store._directory.path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM event").fetchall()
        yield


@contextmanager
def no_room(store: EventStore) -> Iterator[None]:
    """The disk is full, as far as SQLite can tell: the file may have no page more."""
    assert store._disk._db is not None
    store._disk._db.execute("PRAGMA max_page_count=1")  # which it takes for as many as there are
    yield
    store._disk._db.execute("PRAGMA max_page_count=1000000")


class _Gate:
    """A connection that does nothing that begins with `statement` until it is let go, and then fails if it is to."""

    def __init__(self, db: sqlite3.Connection, statement: str, seconds: float, *, succeeds: bool) -> None:
        self.open = threading.Event()
        self._db = db
        self._statement = statement
        self._seconds = seconds
        self._succeeds = succeeds

    def _pass(self, statement: str) -> None:
        if self.open.is_set() or not statement.startswith(self._statement):
            return
        self.open.wait(self._seconds)
        if not self._succeeds:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
            raise error

    def execute(self, statement: str, *given: object) -> sqlite3.Cursor:
        self._pass(statement)
        return self._db.execute(statement, *given)  # type: ignore[arg-type]

    def executemany(self, statement: str, *given: object) -> sqlite3.Cursor:
        self._pass(statement)
        return self._db.executemany(statement, *given)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)


@contextmanager
def hanging(store: EventStore, statement: str = "", *, succeeds: bool = True) -> Iterator[None]:
    """The disk does not answer; when it does, what was asked of it first succeeds or fails."""
    real = store._disk._db
    assert real is not None
    gate = _Gate(real, statement, 60, succeeds=succeeds)
    store._disk._db = gate  # type: ignore[assignment]
    try:
        yield
    finally:
        gate.open.set()
        if store._disk._db is not None:
            store._disk._db = real


@contextmanager
def hung(store: EventStore, statement: str = "", *, succeeds: bool = True) -> Iterator[None]:
    """The disk hangs, and is waited for half a second; before and after that a busy disk has as long as it needs."""
    patience = store._disk._patience
    with hanging(store, statement, succeeds=succeeds):
        store._disk._patience = 0.5
        try:
            yield
        finally:
            store._disk._patience = patience


@contextmanager
def slow(store: EventStore, seconds: float, statement: str = "COMMIT") -> Iterator[None]:
    """The disk takes so long for each commit."""
    real = store._disk._db
    assert real is not None
    store._disk._db = _Gate(real, statement, seconds, succeeds=True)  # type: ignore[assignment]
    yield
    if store._disk._db is not None:
        store._disk._db = real


def scribble(path: Path, luck: random.Random, places: int, length: int) -> None:
    """Overwrite bytes behind the first 100, which are SQLite's header."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for _ in range(places):
            file.seek(luck.randrange(100, size))
            file.write(luck.randbytes(length))


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, but somebody's shopping list " * 100)


def _cut_off(size: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(size)

    return change


def _cut_off_with_log(path: Path) -> None:
    path.with_name(path.name + "-wal").write_bytes(path.read_bytes())
    path.write_bytes(b"")


def _said(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(statement)

    return change


def _somebody_elses(path: Path) -> None:
    path.unlink()
    _said("CREATE TABLE theirs (x)")(path)


UNFIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "garbage": (_garbage, "file is not a database; move it away"),
    "cut off in its header": (_cut_off(60), "database disk image is malformed; move it away"),
    "cut off in its schema": (_cut_off(5000), "database disk image is malformed; move it away"),
    "cut off to nothing": (_cut_off_with_log, "it is empty, and its -wal is not: it was cut off; move both away"),
    "somebody else's": (_somebody_elses, "it is no store of ibbridge's; move it away, or choose another directory"),
    "of no release": (_said("PRAGMA user_version=0"), r"an unknown ibbridge \(schema 0; this one has 2\); move"),
    "newer": (_said("PRAGMA user_version=3"), r"a newer ibbridge \(schema 3; this one has 2\); move it away, or run"),
    "nameless": (_said("DELETE FROM about"), "what it says of itself .* is unreadable; move it away"),
    "with another name": (_said("UPDATE about SET name = 's-1'"), "what it says of itself .* is unreadable; move"),
    "with a name that is no text": (_said("UPDATE about SET name = CAST(x'ff' AS TEXT)"), "Could not decode .*; move"),
    "with another epoch": (_said("UPDATE about SET epoch = 7"), "what it says of itself .* is unreadable; move"),
    "with another uptime": (_said("UPDATE about SET uptime = 7"), "what it says of itself .* is unreadable; move"),
    "a stream without a name": (_said("UPDATE stream SET name = 1 WHERE number = 1"), "a stream is unreadable: 1; mov"),
    "a stream of another name": (_said("UPDATE stream SET name = x'41' WHERE number = 1"), "a stream is unreadable: "),
    "a stream of another floor": (_said("UPDATE stream SET floor = 9 WHERE number = 1"), "a stream is unreadable: b'o"),
    "a key of another name": (_said("UPDATE key SET name = x'41' WHERE name = x'61'"), "an order's key is unreadable"),
    "a key of another value": (_said("UPDATE key SET value = x'41'"), "an order's key is unreadable: b'a'"),
    "a key that is not open": (_said("UPDATE key SET open = 0"), "an order's key is unreadable: b'a'"),
    "another value": (_said("UPDATE value SET value = x'41'"), "the value 'halt' is unreadable; move it away"),
    "a value of another name": (_said("UPDATE value SET key = 'hat'"), "the value 'hat' is unreadable; move it away"),
    "a key that is gone": (_said("DELETE FROM key WHERE name = x'61'"), "of 2 orders' keys there are 1; move"),
    "a name that is no text": (_said("UPDATE about SET name = CAST(x'ff41' AS TEXT)"), "decode to UTF-8.*; move it"),
    "a value that is no text": (_said("UPDATE value SET value = CAST(x'ff41' AS TEXT)"), "decode to UTF-8.*; move"),
    "without a table": (_said("DROP TABLE event"), "no such table: event; move it away"),
}
"""Ways to spoil a file that holds a store, and what is said of it."""
