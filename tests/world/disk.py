"""Disk of the daemon's machine: directories in memory, with the part of each write-ahead log that is on the platter.

SQLite writes a commit to the log. With `synchronous` at NORMAL the commit is in the kernel then, and outlives the
process, but not a loss of power; with FULL, and when the log is copied into the file, all of the log is synced. The
module watches the statements of each connection, so it knows both: what has been written, and what has been synced.

After each end of the daemon the files are copied, and the next daemon opens the copies, as SQLite finds them after a
crash. A loss of power also tears the copied log: behind its synced part it is cut somewhere, or some of its sectors
have not reached the platter. A loss of power within a commit, between the writing of the log and its sync, tears what
that commit has written, whatever `synchronous` is. A disk can also fail: every commit to one of the files raises then.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibbridge.storage.disk import StoreOutside
from ibbridge.storage.disk_thread import DiskThread, Job

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

MEMORY = Path("/dev/shm")
HEADER = 32
"""Bytes of the log's header. Another header means that the log has begun again from the front."""

SECTOR = 512
"""Bytes that reach the platter together, or not at all."""

FULL = 2


class SameThread(DiskThread):
    """Disk thread without a thread: a job is done when it is submitted."""

    def __init__(self) -> None:
        """Start no thread."""

    def submit(self, work: Callable[[], Any]) -> Job:
        job = Job(work)
        job.run()
        job.ended = True
        return job

    def wait(self, job: Job, patience: float) -> bool:
        return True

    def end(self, patience: float) -> bool:
        return True


class Log:
    """Write-ahead log beside a file, and how much of it is synced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.synced = 0
        self.before: bytes | None = None
        """Content before the commit that is under way, if power may be lost within it."""
        self._header = b""

    def look(self) -> int:
        """Return the size of the log, and notice that it has begun again."""
        try:
            with self.path.open("rb") as file:
                header = file.read(HEADER)
                size = file.seek(0, 2)
        except FileNotFoundError:
            header, size = b"", 0
        if header != self._header:
            self._header, self.synced = header, 0
        return size

    def content(self) -> bytes:
        """Return all bytes of the log."""
        return self.path.read_bytes() if self.path.exists() else b""


class Watched(sqlite3.Connection):
    """Connection that tells of each commit, before and after."""

    disk: Disk
    log: Log

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql != "COMMIT":
            cursor = super().execute(sql, *args)
            if sql.startswith("PRAGMA wal_checkpoint"):
                self.log.synced = self.log.look()
            return cursor
        self.disk.passing("before")
        self.disk.check(self.log)
        synced = super().execute("PRAGMA synchronous").fetchone()[0] >= FULL
        self.log.before = self.log.content() if self.disk.may_tear else None
        cursor = super().execute(sql, *args)
        self.disk.passing("within")
        self.log.before = None
        size = self.log.look()
        if synced:
            self.log.synced = size
        self.disk.passing("after")
        return cursor


class Disk:
    """Disk of one machine.

    `passing` is told of each commit, "before", "within" and "after", and may end the daemon there. `may_tear`: power
    may be lost within one of the next commits. `can_fail`: commits may fail; not while the daemon starts.
    `has_failed`: a commit of the running daemon has failed.
    """

    def __init__(self, chance: random.Random, passing: Callable[[str], None]) -> None:
        self._chance = chance
        self._root = Path(tempfile.mkdtemp(prefix="world-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self._generation = 0
        self._logs: list[Log] = []
        self._passing = passing
        self._watching = True
        self._failing = ""
        self._unwritten: set[Path] = set()
        self.may_tear = False
        self.can_fail = self.has_failed = False
        self.directory.mkdir()

    @property
    def root(self) -> bytes:
        """Start of every path on this disk, as text that names a path has it."""
        return str(self._root).encode()

    @property
    def directory(self) -> Path:
        """Directory of the running daemon's store."""
        return self._root / f"{self._generation:04}"

    def outside(self) -> StoreOutside:
        """Return the surroundings of a store on this disk."""
        return StoreOutside(SameThread, self._connect, self._chance.getrandbits)

    def _connect(self, path: Path, **settings: Any) -> sqlite3.Connection:
        db = sqlite3.connect(path, factory=Watched, **settings)
        db.disk, db.log = self, Log(Path(f"{path}-wal"))
        self._logs.append(db.log)
        db.log.synced = db.log.look()  # what an earlier daemon has left was read back from the platter
        return db

    def passing(self, side: str) -> None:
        if self._watching:
            self._passing(side)

    def fail(self, name: str) -> None:
        """Have every commit to a file fail from now on; "" ends that."""
        self._failing = name

    def check(self, log: Log) -> None:
        """Raise the error of a full disk if commits to the file of this log fail now."""
        if self.can_fail and log.path.name == f"{self._failing}-wal":
            self.has_failed = True
            self._unwritten.add(log.path)
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
            raise error
        self._unwritten.discard(log.path)

    def end(self, power: float | None) -> int:
        """Keep what is on the disk when the daemon ends. Return the bytes of the log that are lost.

        `power`: power is lost, and of what is not synced this share (0 to 1) has reached the platter. What the daemon
        could not write is lost, too.
        """
        self._watching = self.may_tear = self.can_fail = False
        old, self._generation = self.directory, self._generation + 1
        self.directory.mkdir()
        lost = len(self._unwritten)
        self._unwritten.clear()
        for path in sorted(old.iterdir()):
            if not path.name.endswith("-shm"):
                shutil.copyfile(path, self.directory / path.name)
        if power is not None:
            lost += sum(self._tear(log, power) for log in self._logs)
        return lost

    def _tear(self, log: Log, power: float) -> int:
        """Take from a copied log what has not reached the platter. Return the bytes of earlier commits among it."""
        size, content = log.look(), log.content()
        if log.before is not None:
            old = content[:HEADER] + log.before[HEADER:]  # SQLite syncs a new header before the rest
            self._write(log, self._torn(old, content, power))  # nobody was told that it is done
            return 0
        kept = log.synced + int((size - log.synced) * power)
        if size == kept:
            return 0
        if 0 < power < 1 and self._chance.random() < 0.5:  # the sectors have come in another order
            old = content[: log.synced].ljust(size, b"\0")
            torn = self._torn(old, content, power)
        else:
            torn = content[:kept]
        self._write(log, torn)
        return size - kept

    def _torn(self, old: bytes, new: bytes, power: float) -> bytes:
        """Return a content of which each sector is the new one, with a chance of `power`, or the old one."""
        old = old.ljust(len(new), b"\0")
        places = range(0, len(new), SECTOR)
        return b"".join((new if self._chance.random() < power else old)[at : at + SECTOR] for at in places)

    def _write(self, log: Log, content: bytes) -> None:
        if content or (self.directory / log.path.name).exists():
            (self.directory / log.path.name).write_bytes(content)

    def begin(self) -> None:
        """Forget the directories of earlier daemons, which are closed by now."""
        self._logs.clear()
        self._watching, self.has_failed = True, False
        for path in self._root.iterdir():
            if path != self.directory:
                shutil.rmtree(path)

    def rows(self) -> list[bytes]:
        """Return every row of every table of every file, as text: without checksums, which are also of paths."""
        self._watching = False
        found = []
        for path in sorted(self.directory.glob("*.db")):
            db = sqlite3.connect(path)
            try:
                names = [
                    name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
                ]
                for name in names:
                    rows = db.execute(f'SELECT * FROM "{name}"')
                    kept = [number for number, about in enumerate(rows.description) if about[0] != "checksum"]
                    found += [f"{path.name} {name} {[row[each] for each in kept]!r}".encode() for row in rows]
            finally:
                db.close()
        return found

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._root, ignore_errors=True)
