"""What happens to a store's disk and file: made real, for a moment or for good."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ibbridge.store import Store


@contextmanager
def written_by_others(store: Store) -> Iterator[None]:
    """Another program holds the write lock."""
    with closing(sqlite3.connect(store._path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def read_by_others(store: Store) -> Iterator[None]:
    """Another program reads it, in a transaction that it leaves open."""
    with closing(sqlite3.connect(store._path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM event").fetchall()
        yield


@contextmanager
def no_room(store: Store) -> Iterator[None]:
    """The disk is full, as far as SQLite can tell: the file may have no page more."""
    assert store._db is not None
    store._db.execute("PRAGMA max_page_count=1")  # which it takes for as many as there are
    yield
    store._db.execute("PRAGMA max_page_count=1000000")


def cut_off(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def scribble(path: Path, luck: random.Random, places: int, length: int) -> None:
    """Overwrite bytes behind the first 100, which are SQLite's header."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for _ in range(places):
            file.seek(luck.randrange(100, size))
            file.write(luck.randbytes(length))


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, but somebody's shopping list " * 100)


def _somebody_elses(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")


def _version(number: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"PRAGMA user_version={number}")

    return change
