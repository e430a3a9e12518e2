"""The order store: the file of the order journal, in which every commit is on the disk before the call returns.

The file `orders.db` lies beside the event store, under the same lock, and is written with synchronous=FULL: a loss of
power takes back no commit. Like the event store it raises nothing: errors of the disk, and its silence, become `fault`.
The module must not know what a record means.
"""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from ibbridge.storage import event_table, journal_schema
from ibbridge.storage.commit_times import CommitTimes
from ibbridge.storage.disk import CLOSING, Disk, DiskHealth, StoreOutside
from ibbridge.storage.faults import Faults
from ibbridge.storage.journal_schema import SCHEMA, UNKNOWN_TIME, AboutJournal
from ibbridge.storage.keys import KnownKeys
from ibbridge.storage.opening import UnfitError
from ibbridge.storage.records import JournalRecord, Mark, known_as
from ibbridge.storage.write_ahead_log import WriteAheadLog

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence
    from typing import Any

COPIED = 32
"""Records after which `tick` copies the write-ahead log into the file: half a megabyte of it."""

KEPT_LOG = 2**23
"""Bytes of the log that are kept when it begins anew. To overwrite the log takes a commit less time than to lengthen
it: the disk has the same pages to write, and the file system has nothing to note."""

_BUSY = 0.002  # seconds; no other process should write


class OrderFile:
    """File of the journal, and its write-ahead log."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.path = directory / "orders.db"
        self._wal = directory / "orders.db-wal"

    def exists(self) -> bool:
        """Return True if there is a file that is not empty, or the log of one."""
        return _size(self.path) > 0 or _size(self._wal) > 0

    def make(self) -> None:
        """Create an empty file, readable for its user only, unless there is one."""
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))

    def wal_size(self) -> int:
        """Return the bytes of the write-ahead log; 0 if it is missing."""
        return _size(self._wal)

    def inode(self) -> int:
        """Return the inode of the file; 0 if it is missing."""
        try:
            return self.path.stat().st_ino
        except OSError:
            return 0

    def release(self) -> None:
        """Do nothing: the lock on the directory is the event store's."""


class OrderStore:
    """Order store in a directory. Before `open` and after `close` it writes and finds nothing.

    `patience` is how many seconds a call waits for the disk. `health` is that of the disk, if other files are on it.
    """

    outside = StoreOutside()
    """Surroundings of the store. A store in a test has others."""

    def __init__(self, directory: pathlib.Path, *, patience: float = 0.5, health: DiskHealth | None = None) -> None:
        self._file = OrderFile(directory)
        self._faults = Faults(self._file.path)
        self._times = CommitTimes()
        self._disk = Disk(self._file, self._faults, self._times, patience, self.outside.thread)
        if health is not None:
            self._disk.health = health
        self._log = WriteAheadLog(self._disk, self._times, "full", KEPT_LOG)
        self._about = AboutJournal("", 0, 0, 1, 0, 0)
        self._known = KnownKeys()
        self._opened: list[JournalRecord] = []
        self._inode = 0
        self._uncopied = 0  # records that were written since the log was copied

    @property
    def standstill(self) -> str:
        """A sentence if only a new process could use the file again, which a fault of the disk is not; else ""."""
        return self._disk.standstill

    @property
    def fault(self) -> str:
        """The fault that prevents writing, its place, and what to do about it; empty if there is none."""
        return self._faults.unwritten or ("" if self._disk.is_open else f"{self._file.path}: it is not open")

    @property
    def mark(self) -> Mark:
        """The mark of the open journal, to be noted elsewhere."""
        return Mark(self._about.name, self._about.generation)

    @property
    def reserved(self) -> int:
        """Ids below this number may have been given."""
        return self._about.reserved

    @property
    def doubt(self) -> str:
        """The reason why orders may be missing in the journal, and what to do about it; empty if there is none."""
        if not self._about.copied:
            return ""
        return (
            f"{self._file.path}: it was restored from {_age(self._about.copied)}, and does not have the orders that "
            "were placed since; look for them in TWS, and then accept it with `ibbridge call acceptJournal`, as "
            "docs/operations.md describes"
        )

    # -- opening and closing

    def open(self, client_id: int, expected: Mark | None) -> None:
        """Open the journal of a client id, or create one if none is `expected`. `fault` says what is wrong, if it is.

        A file that is no journal, of a later schema, of another client id, or another journal than `expected`, is left
        as it is. A copy of the journal, and a journal that is older than `expected`, is opened with a `doubt`.
        """
        try:
            self._load(client_id, expected)
        except OSError as error:
            self._faults.no_access(error, retried=False)
            self._faults.spoilt = True
        except UnfitError as error:
            self._faults.unfit(str(error))
            self._faults.spoilt = True
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._faults.failed(error, retried=False)
            self._faults.spoilt = True

    def _load(self, client_id: int, expected: Mark | None) -> None:
        with ExitStack() as opened:
            if expected is not None and not self._file.exists():
                what = f"the journal {expected.name} of orders is gone"
                raise UnfitError(f"{what}; put it back, or begin a new one as docs/operations.md describes")
            self._file.make()
            db = self.outside.connect(self._file.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            opened.enter_context(closing(db))
            self._prepare(db, client_id, expected)
            opened.pop_all()
        self._disk.open(db)
        self._inode = self._file.inode()

    def _prepare(self, db: sqlite3.Connection, client_id: int, expected: Mark | None) -> None:
        ours, made, empty = journal_schema.made_by(db)
        if not empty:
            _check_made(ours, made)
        elif expected is not None:
            raise UnfitError(f"it is empty, and was the journal {expected.name}; put back what was there")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.execute(f"PRAGMA journal_size_limit={KEPT_LOG}")
        db.execute("PRAGMA synchronous=FULL")
        if empty:
            journal_schema.create(db, AboutJournal(f"j-{self.outside.random_bits(48):012x}", client_id, 0, 1, 0, 0))
        about = journal_schema.about(db)
        _check_fits(about, client_id, expected)
        self._known, self._opened = journal_schema.records(db, about.records)
        if not about.copied and _is_older(about, expected):
            about = about.as_copy(UNKNOWN_TIME)
        self._about = about._replace(generation=about.generation + 1)
        event_table.transact(partial(journal_schema.put_about, self._about), db)

    def close(self) -> None:
        """Close the file, if the disk answers. A second call does nothing."""
        self._disk.close(perf_counter() + CLOSING)

    # -- records

    def take_open(self, kind: int) -> list[JournalRecord]:
        """Return the records of a kind that were open when the file was opened. They are returned once."""
        taken = [record for record in self._opened if record.kind == kind]
        self._opened = [record for record in self._opened if record.kind != kind]
        return taken

    def find(self, kind: int, name: bytes) -> JournalRecord | None:
        """Return a record; None if there is none, or (with a fault) if it is unreadable."""
        if known_as(kind, name) not in self._known:
            return None
        found: JournalRecord | None = self._disk.attempt(partial(journal_schema.find, kind, name))
        return found

    def scan(self, kind: int, prefix: bytes, after: bytes, most: int) -> list[JournalRecord] | None:
        """Return the first records whose names begin with `prefix` and are above `after`, in order of their names.

        Return None, with a fault, if they cannot be read.
        """
        found: list[JournalRecord] | None = self._disk.attempt(partial(journal_schema.scan, kind, prefix, after, most))
        return found

    def knows(self, kind: int, name: bytes) -> bool:
        """Return True if there is a record of this name. The disk is not asked."""
        return known_as(kind, name) in self._known

    def commit(self, records: Sequence[JournalRecord]) -> bool:
        """Write records; they are on the disk at the return. Return False, and set the fault, if that failed."""
        self._collect()
        new = {each.known_as for each in records if each.known_as not in self._known}
        about = self._about._replace(records=len(self._known) + len(new)) if new else None

        def written(_: object) -> None:
            for name in new:
                self._known.add(name)
            self._about = self._about._replace(records=len(self._known))
            self._uncopied += len(records)

        return self._commit(records, about, written)

    def reserve(self, below: int) -> bool:
        """Reserve all ids below a number, for ever. Return False, and set the fault, if that failed."""
        self._collect()
        about = self._about._replace(reserved=max(below, self._about.reserved), records=len(self._known))

        def written(_: object) -> None:
            self._about = self._about._replace(reserved=max(about.reserved, self._about.reserved))

        return self._commit((), about, written)

    def accept(self) -> bool:
        """End the doubt: the copy is the journal from here on. Return False, and set the fault, if that failed."""
        self._collect()
        if not self._about.copied:
            return not self.fault
        about = self._about._replace(records=len(self._known)).accepted(f"{self.outside.random_bits(16):04x}")

        def written(_: object) -> None:
            self._about = self._about._replace(name=about.name, copied=0)

        return self._commit((), about, written)

    def _collect(self) -> None:
        """Complete a late commit, which changes what is known, before the next one is made."""
        if self._disk.is_open:
            self._disk.collect()

    def _commit(self, records: Sequence[JournalRecord], about: AboutJournal | None, written: Any) -> bool:
        if not self._disk.is_open:
            return False
        done = self._log.commit(partial(journal_schema.put, records, about), written)
        if done:
            self._faults.recovered()
        return done

    # -- maintenance

    def tick(self) -> None:
        """Do the maintenance. Call it every second.

        Try again after a fault that may pass, notice a file that was removed, and copy the write-ahead log.
        """
        if not self._disk.is_open or self._faults.spoilt:
            return
        self._disk.collect()
        if self._file.inode() != self._inode:
            self._faults.replaced()
        elif self._faults.failing:
            self.reserve(self.reserved)
        elif self._uncopied >= COPIED:
            self._log.copy()
            self._uncopied = 0

    def slowest(self) -> float:
        """Return the seconds of the slowest commit, or attempt at one, since the last call."""
        return self._times.slowest()

    def metrics(self) -> dict[str, Any]:
        """Return the metrics of the journal, as `EventStore.metrics` does."""
        return {
            "name": self._about.name,
            "fault": self.fault,
            "doubt": self.doubt,
            "records": len(self._known),
            **self._times.metrics(),
        }


def _check_made(ours: int, made: int) -> None:
    if ours != journal_schema.OURS:
        raise UnfitError("it is no journal of ibbridge's; move it away and put the journal back")
    if made != SCHEMA:
        age = "a newer" if made > SCHEMA else "an unknown"
        raise UnfitError(f"it was made by {age} ibbridge (schema {made}; this one has {SCHEMA}); run that one")


def _check_fits(about: AboutJournal, client_id: int, expected: Mark | None) -> None:
    if about.client_id != client_id:
        raise UnfitError(
            f"it has the orders of client id {about.client_id}, and tws.client_id is {client_id}; "
            "set the client id back, or choose another store.path for the new one"
        )
    if expected is not None and about.name != expected.name and not _is_line_of(about, expected):
        raise UnfitError(f"it is the journal {about.name}, and that of the store is {expected.name}; put that one back")


def _is_line_of(about: AboutJournal, expected: Mark) -> bool:
    """Return True if a journal was once restored from a copy of the expected one, and accepted."""
    return about.name.startswith(f"{expected.name}.")


def _is_older(about: AboutJournal, expected: Mark | None) -> bool:
    return expected is not None and about.name == expected.name and about.generation < expected.generation


def _age(copied: int) -> str:
    if copied == UNKNOWN_TIME:
        return "an older one (a newer one has belonged to this store)"
    made = dt.datetime.fromtimestamp(copied // 10**6, dt.UTC)
    return f"a copy of {made:%Y-%m-%d %H:%M:%S} UTC"


def _size(path: pathlib.Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
