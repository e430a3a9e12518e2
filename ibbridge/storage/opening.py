"""The opening of a store's file: creation, takeover from an earlier release, and the reasons not to touch a file.

The module knows SQLite, and the layout by `schema`. It must not know threads, or how a store is written later.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.storage import schema
from ibbridge.storage.faults import is_full
from ibbridge.storage.keys import Found
from ibbridge.storage.schema import SCHEMA, one

if TYPE_CHECKING:
    from ibbridge.storage.contents import Contents
    from ibbridge.storage.directory import StoreDirectory

_BUSY = 0.002  # seconds; no other process should write, and readers do not block a writer

Adopt = Callable[[Iterator[tuple[bytes, bytes]]], Found]
"""Function that finds the order keys in the messages (topic and body) of a store of schema 1."""


class UnfitError(Exception):
    """File that holds no store that can be used. str() says why, and what to do about it."""


class Opening(NamedTuple):
    """Opening of the file in `directory`, locked before, into `contents`.

    `sync` is SQLite's level of synchronisation. `adopt` is for a store of schema 1. `name` is for a new store.
    `open_file` connects to a file, as `sqlite3.connect` does.
    """

    directory: StoreDirectory
    contents: Contents
    sync: str
    adopt: Adopt
    name: str
    open_file: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connect(self) -> sqlite3.Connection:
        """Open the file, or create its tables, and load its contents. The connection may go to another thread.

        Raise `UnfitError` for a file that is left as it is, and an error of SQLite's or UnicodeDecodeError if the file
        cannot be read.
        """
        try:
            return self._connect(alone=False)
        except sqlite3.OperationalError as error:
            if not is_full(error):
                raise
            # A full disk has no room for SQLite's shared memory file, and an exclusive lock works without that file.
            try:
                return self._connect(alone=True)
            except sqlite3.OperationalError:
                raise error from None

    def _connect(self, *, alone: bool) -> sqlite3.Connection:
        with ExitStack() as opened:
            db = self.open_file(self.directory.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            opened.enter_context(closing(db))
            if alone:
                db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._prepare(db)
            self.contents.load(db)
            opened.pop_all()
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Create or upgrade the file if needed. Raise `UnfitError` if it cannot be used."""
        if not self.directory.files().size and self.directory.wal_size():
            raise UnfitError("it is empty, and its -wal is not: it was cut off; move both away")
        ours, made = one(db, "PRAGMA application_id"), one(db, "PRAGMA user_version")
        empty = ours == made == one(db, "SELECT count(*) FROM sqlite_schema") == 0
        if empty:
            self._check_new()
        else:
            self._check_old(ours, made)
        db.execute("PRAGMA journal_mode=WAL")  # kept in the file, unless another program has changed it
        if empty:
            schema.create(db, self.name)
        elif made < SCHEMA:
            schema.upgrade(db, self.adopt)
        db.execute("PRAGMA wal_autocheckpoint=0")  # copying waits for the disk, so the store decides when to copy
        db.execute("PRAGMA journal_size_limit=0")  # truncate the log when it restarts, so that its size is its content
        db.execute("PRAGMA cache_size=-8192")  # kB
        db.execute(f"PRAGMA synchronous={self.sync}")

    def _check_new(self) -> None:
        if was := self.directory.name():
            lost = f"it is empty, and was the store {was}: the keys of orders and all messages are gone"
            raise UnfitError(f"{lost}; put back what was there, or remove it to begin a new one")

    def _check_old(self, ours: int, made: int) -> None:
        if ours != schema.OURS:
            raise UnfitError("it is no store of ibbridge's; move it away, or choose another directory")
        if not 1 <= made <= SCHEMA:
            age = "a newer" if made > SCHEMA else "an unknown"
            what = f"it was made by {age} ibbridge (schema {made}; this one has {SCHEMA})"
            raise UnfitError(f"{what}; move it away, or run it")
        if self.contents.streams:
            raise UnfitError("it can be opened now, and has other numbers than those in use")
