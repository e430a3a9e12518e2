"""The backup of a store: a copy of its two files, made while a daemon writes them, or while none does.

Both files are copied as they were at one moment, by SQLite's online backup. A copy is checked, on the disk, and private
to its user before it gets its name; so a directory of that name is a whole backup. The copies are marked as such: the
journal is in doubt when it is opened (see `order_store`), and the event store is another store, because its sequence
numbers go on differently. The module opens the files beside the daemon, and writes nothing to them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import tempfile
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ibbridge.storage import event_table, journal_schema, schema
from ibbridge.storage.schema import Damage

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS, ORDERS = "events.db", "orders.db"

PAGES = 256
"""Pages that are copied at a time, a megabyte. Each part goes to the disk before the next is read, so that no commit of
the daemon waits behind all of the copy."""

BUSY = 5.0
"""Seconds to wait for a file that another process has for itself."""


class BackupError(Exception):
    """Backup that was not made. str() says what is wrong, where, and what to do about it."""


def back_up(store: Path, target: Path, now: int, progress: Callable[[], None] = lambda: None) -> dict[str, int]:
    """Copy the files of the store in a directory to `target`, a new directory, or an empty one.

    `now` is in µs since 1970 UTC. `progress` is called after each part. Return the bytes of each file by its name.
    Raise BackupError if there is no backup then.
    """
    store, target = store.absolute(), target.absolute()
    _check_target(target)
    try:
        with ExitStack() as stack:
            unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.unfinished-", dir=target.parent))
            stack.callback(shutil.rmtree, unfinished, ignore_errors=True)
            sizes = _copied(store, unfinished, now, progress)
            _sync(unfinished)
            unfinished.rename(target)
            _sync(target.parent)
    except OSError as error:
        raise BackupError(_not_written(error, target)) from error
    return sizes


def _check_target(target: Path) -> None:
    """Raise BackupError if there is anything under the name: a backup is never overwritten."""
    try:
        taken = any(target.iterdir())
    except FileNotFoundError:
        return
    except NotADirectoryError:
        taken = True
    except OSError as error:
        raise BackupError(_not_written(error, target)) from error
    if taken:
        raise BackupError(f"{target}: there is something already; name a new directory, with the date for example")


def _copied(store: Path, unfinished: Path, now: int, progress: Callable[[], None]) -> dict[str, int]:
    """Copy both files, check the copies and mark them. Return the bytes of each by its name."""
    with ExitStack() as stack:
        # The journal is read last, so that it is never older than the messages about its orders.
        events, orders = (_snapshot(stack, store / name) for name in (EVENTS, ORDERS))
        for name, db, change in ((ORDERS, orders, partial(_mark_journal, now)), (EVENTS, events, _rename_store)):
            try:
                _copy(db, unfinished / name, progress)
                _change(unfinished / name, change)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise BackupError(_not_read(error, store / name)) from error
    return {path.name: path.stat().st_size for path in unfinished.iterdir()}


def _snapshot(stack: ExitStack, path: Path) -> sqlite3.Connection:
    """Open a file for reading, as it is now. The daemon goes on writing beside this snapshot."""
    try:
        if not path.exists():
            advice = "-c and --set store.path say where the store is, and the first start of a daemon makes it"
            raise BackupError(f"{path}: there is no such file to be backed up; {advice}")
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY, isolation_level=None)
        stack.callback(db.close)
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except (sqlite3.Error, OSError) as error:
        raise BackupError(_not_read(error, path)) from error
    return db


def _copy(source: sqlite3.Connection, target: Path, progress: Callable[[], None]) -> None:
    """Copy a snapshot, and end it. The copy is on the disk at the return. Raises SQLite's errors, too."""
    file = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous=OFF")  # each part is synchronised here

            def part(*_: int) -> None:
                os.fdatasync(file)
                progress()

            source.backup(db, pages=PAGES, progress=part)
        os.fsync(file)
        source.execute("ROLLBACK")
    finally:
        os.close(file)


def _change(copy: Path, change: Callable[[sqlite3.Connection], None]) -> None:
    """Check and change a copy, on the disk at the return. Raises SQLite's errors, if it is damaged as its original."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=DELETE")  # one file, without a log; a store that is opened has one again
        db.execute("PRAGMA synchronous=FULL")
        change(db)


def _mark_journal(now: int, db: sqlite3.Connection) -> None:
    _check_schema(db, journal_schema.OURS, journal_schema.SCHEMA)
    about = journal_schema.about(db)
    journal_schema.records(db, about.records)
    event_table.transact(partial(journal_schema.put_about, about.as_copy(now)), db)


def _rename_store(db: sqlite3.Connection) -> None:
    _check_schema(db, schema.OURS, schema.SCHEMA)
    about = schema.about(db)
    schema.streams(db)
    schema.keys(db, about.keys)
    schema.check_values(db)
    schema.states(db)
    event_table.transact(partial(schema.rename, about, f"s-{secrets.token_hex(8)}"), db)


def _check_schema(db: sqlite3.Connection, ours: int, wanted: int) -> None:
    named, made, _ = journal_schema.made_by(db)
    if named != ours:
        raise Damage("it is no file of ibbridge's")
    if made != wanted:
        raise Damage(f"it was made by another ibbridge (schema {made}; this one has {wanted})")


def _not_written(error: OSError, target: Path) -> str:
    advice = "name a new directory in one that exists, on a disk with room, and that you may write"
    return f"{target}: the backup cannot be written: {error.strerror}; {advice}"


def _not_read(error: Exception, path: Path) -> str:
    usual = sqlite3.SQLITE_CANTOPEN if isinstance(error, OSError) else sqlite3.SQLITE_CORRUPT
    match getattr(error, "sqlite_errorcode", usual) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return f"{path}: it cannot be backed up: {error}; make room on the disk of the backup"
        case sqlite3.SQLITE_BUSY:
            advice = "the daemon has it for itself, since its disk was full at its start; make room, and restart it"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_IOERR:
            advice = "run this as the user that runs ibbridge, and see what the system log says of the disk"
        case _:
            advice = "keep the last backup, and see docs/operations.md about a journal that is damaged"
    return f"{path}: it cannot be backed up: {error}; {advice}"


def _sync(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
