"""The event store: durable messages in one SQLite file. Committed messages survive the kill of the process.

The module knows files and locks; `storage.schema` knows the layout of the file, and `storage.event_table` the SQL
operations on it. The module must not know what a topic or a body means, msgpack, ZeroMQ, the event loop or the time of
day (the caller gives `now`, of a monotonic clock). An event loop calls the store, so every call is bounded: only the
disk thread uses the file, and a call waits for the thread at most `patience` seconds, and hardly at all once the disk
is known to hang.

Two rules keep the store simple. First, errors of the disk, and its silence, are caught in one place and become `fault`,
a sentence for operators: no call but `open` raises. Second, messages that cannot be written wait in memory, in order,
until a later call can write them; until then they are read from memory.

Pruning does not depend on a clock that can be set. Each message is stamped with the *uptime*, the total time for which
daemons had been running on this store, and is removed after `days` of further uptime: a clock that jumps prunes
nothing, and neither does a month without a running daemon. If the file exceeds its bytes the oldest messages are
removed earlier, those of streams about orders last. Order keys, and the state of an open order, are never removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.storage import event_table, schema
from ibbridge.storage.backlog import Backlog, Item, PendingEvent
from ibbridge.storage.batch import Batch, rows_of
from ibbridge.storage.disk_thread import DiskThread, Job
from ibbridge.storage.event_table import Forgotten, Old, Page
from ibbridge.storage.keys import Found, Key, KnownKeys
from ibbridge.storage.schema import SCHEMA, About, Damage, StreamRow, is_number, one

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Sequence

KEPT = 64 * 2**20
"""Bytes of unwritten messages that are kept in memory."""

CATCH_UP = 400
"""Rows of the backlog that one call writes, beside its own rows: about 2 ms."""

PROBE = 8
"""Rows of the first write after a failure: a write that fails again must cost little."""

IMPATIENCE = 0.005
"""Seconds to wait for the disk after it has not answered in time, until it answers as fast as this again."""

STARTING = 60.0
"""Seconds to wait for the store's content when the daemon starts: a daemon without it would forget a halt."""

CLOSING = 5.0
"""Seconds to write the backlog when the store is closed."""

PRUNED, PRUNED_BYTES = 250, 256 * 2**10
"""Limits of one removal, in rows and bytes: about 1 ms. With one `tick` a second that is 21 million rows a day."""

TIDY, WAL = 2**19, 2**21
"""Bytes of the write-ahead log above which it is copied into the file: by `tick` (1 to 2 ms, mostly waiting for the
disk), and by a commit (4 to 5 ms) if `tick` does not come in time."""

FULL, HIGH, LOW = 1.0, 0.8, 0.75
"""Shares of `most_bytes`: above the first messages are removed early, the second starts an alarm, the third ends it."""

MEASURED = 2**20
"""Bytes written between two measurements of the file's size."""

LOOKED_AT = 40
"""Batches of `PRUNED` rows that one call examines to find rows that may be removed."""

MAKING_ROOM = 0.1
"""Seconds after which one call stops removing. On a slow disk the next write goes on with the removal, in batches
`LARGER` times as large, because there the commit is the slow part."""

LARGER = 4

STEP = 60_000_000
"""Microseconds of uptime that one `tick` adds at most, whatever its clock says: `tick` is called every second."""

STAMPED = 600_000_000
"""Microseconds of uptime after which the uptime is written, if no message stamped with it has been written."""

LATEST = 2**52
"""Highest epoch that a clock can give (the year 2112): the epochs after it have room below 2^53."""

RECENT = 1_000
"""Commits that the percentiles of the duration are computed from."""

_BUSY = 0.002  # seconds; no other process should write, and readers do not block a writer
_DAY = 86_400_000_000

_ADVICE = {
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_IOERR: "see what the system log says of its disk",
    sqlite3.SQLITE_CORRUPT: "move it away with its -wal and -shm; sqlite3's .recover may save what is in it",
    sqlite3.SQLITE_NOTADB: "move it away with its -wal and -shm",
    sqlite3.SQLITE_ERROR: "move it away with its -wal and -shm: its tables are not those of a store",
    sqlite3.SQLITE_READONLY: "give the user that runs ibbridge the right to write it and its directory",
    sqlite3.SQLITE_CANTOPEN: "give the user that runs ibbridge the right to write it and its directory",
    sqlite3.SQLITE_BUSY: "end the other program that writes to it",
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
_MAY_PASS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS}


class StoreError(Exception):
    """Store that cannot be used at all. str() says what is wrong, where, and what to do about it."""


_Row = tuple[bytes, int, int, bytes, bytes, bytes | None, bytes | None]
"""Message: stream, sequence number, µs since 1970 UTC, topic, body, the name of its state, if any, and the name of its
order key, if any."""


class _StoredStream:
    """Stream of the store in memory: see the schema.

    `keyed`: some of its messages are about order keys. `saved` is its row on disk, None if there is none.
    """

    __slots__ = ("floor", "keyed", "last", "name", "number", "saved")

    def __init__(self, name: bytes, number: int, floor: int, last: int, saved: StreamRow | None = None) -> None:
        self.name = name
        self.number = number
        self.floor = floor
        self.last = last
        self.keyed = saved is not None and saved.keyed
        self.saved = saved and saved._replace(last=0)

    def row(self) -> StreamRow:
        """Return the row that the stream should have on disk."""
        return StreamRow(self.number, self.name, self.floor, self.keyed, 0)

    def is_saved(self) -> bool:
        """Return True if the row on disk is up to date."""
        saved = self.saved
        return saved is not None and saved.floor == self.floor and saved.keyed == self.keyed


class _Files(NamedTuple):
    """Inodes of the file and its write-ahead log, and the size of the file; 0 for a missing file."""

    inode: int
    wal_inode: int
    size: int


class _Late(NamedTuple):
    """Late job: no call waits for it any more. `then` is called when the job has succeeded."""

    job: Job
    then: Callable[[Any], None]


_Adopt = Callable[[Iterator[tuple[bytes, bytes]]], Found]


def _no_keys(_: Iterator[tuple[bytes, bytes]]) -> Found:
    return Found([], {}, 0)


def _nothing(_: object) -> None:
    pass


class EventStore:
    """Event store in a directory. Before `open` and after `close` the store writes and finds nothing.

    `days` is how long messages are kept. `sync` is "normal" (commits survive the process) or "full" (commits also
    survive a loss of power). `most_bytes` is the largest size of the file. `patience` is how many seconds a call, and
    with it the daemon, waits for the disk. `name` identifies the store for ever: with another name, sequence numbers
    begin anew.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        days: float,
        sync: str = "normal",
        most_bytes: int = 4 * 2**30,
        patience: float = 0.5,
    ) -> None:
        self.name = ""
        self.before = ""
        """The name of an earlier store in this directory whose file has vanished before this start."""
        self.stuck = False
        """True if the disk did not answer before the store was closed: the disk thread still waits."""
        self._directory = directory
        self._path = directory / "events.db"
        self._wal = directory / "events.db-wal"
        self._lifetime = int(days * _DAY)
        self._sync = sync
        self._most_bytes = most_bytes
        self._patience = patience
        self._opened = ExitStack()
        self._locked = -1  # the lock file, which holds the name
        self._db: sqlite3.Connection | None = None
        self._thread: DiskThread | None = None
        self._late: _Late | None = None
        self._hung = False  # the disk has not answered in time, and no job has been fast since
        self._again: _Adopt | None = None  # set if the file could not be opened, but may be later
        self._inode = 0
        self._files = _Files(0, 0, 0)
        self._wal_size = 0  # after the last job of the disk thread
        self._streams: dict[bytes, _StoredStream] = {}
        self._numbered: dict[int, _StoredStream] = {}
        self._next = 1  # the row number of the next new stream
        self._about = About("", 0, 0, 0)  # the row to be written
        self._stamped = 0  # the uptime that was written last; -1 if the row must be written with the next commit
        self._seen: int | None = None  # the `now` of the last `tick`
        self._known = KnownKeys()
        self._open_keys: list[Key] = []
        self._backlog = Backlog()
        self._unwritten = ""
        self._uncopied = ""
        self._spoilt = False
        self._failing = False
        self._used = self._unmeasured = 0  # bytes in the file, and bytes written since they were measured
        self._high, self._evicting = False, False
        self._making_room = False  # the last call had no time to remove enough
        self._evicted = 0  # the row up to which only streams about orders have messages left
        self._commits, self._commit_ms, self._longest_ms = 0, 0.0, 0.0
        self._recent: deque[float] = deque(maxlen=RECENT)  # ms of commits
        self._slowest = 0.0
        self._copied, self._copied_to, self._idle = True, 0, True

    @property
    def fault(self) -> str:
        """The fault that prevents writing, its place, and what to do about it; empty if there is none."""
        return self._unwritten or self._uncopied

    @property
    def uncommitted(self) -> int:
        """The number of messages that are not on the disk yet."""
        return self._backlog.messages

    @property
    def shortage(self) -> str:
        """A sentence for operators about a store that is nearly full or full; empty if there is enough room."""
        if not self._high:
            return ""
        figures = f"{self._path} holds {self._used / 2**20:.0f} of {self._most_bytes / 2**20:.0f} MiB (store.max_bytes)"
        then = "messages are removed before store.days are over" if self._evicting else "beyond that the oldest go"
        return f"{figures}: {then}; find out what writes so much, keep messages for fewer days, or allow more bytes"

    # -- opening and closing

    def open(self, clock: int, adopt: _Adopt = _no_keys) -> int:
        """Lock the directory, open or create the file, and return the new epoch.

        The epoch is `clock` (µs since 1970 UTC), or the last epoch plus 1 if that is higher: so the epoch rises with
        each start, even if the clock was set back. `adopt` finds the order keys in the messages of a store of schema 1.

        Raise StoreError if the directory cannot be made or locked. `fault` tells of anything else that is wrong. A file
        that is no store, or of a later schema, is left as it is; then nothing is kept, and `name` is made from the
        epoch. On a full disk `tick` tries again, and messages are kept in memory until then.
        """
        epoch = min(clock, LATEST)
        self.name = f"e-{_base36(epoch)}"
        self._about = About(self.name, epoch, 0, 0)
        self._open_files(adopt, f"s-{_base36(secrets.randbits(60))}")
        if self._db is not None:
            done = self._commit(partial(event_table.take_over, self._about))
            self._stamped = self._about.uptime if done else -1  # -1: written with the first commit
        return self._about.epoch

    def _open_files(self, adopt: _Adopt, name: str) -> None:
        """Open the file, or create a store of this name. If neither is possible, set the fault."""
        self._again = None
        try:
            self._make_directory()
            if self._locked < 0:
                self._locked = self._lock()
            self._touch()
        except OSError as error:
            passes = error.errno in _MAY_PASS
            self._again = adopt if passes else None
            what_then = "it is tried again by itself" if passes else "then restart ibbridge"
            self._unwritten = (
                f"{error.filename or self._path}: {error.strerror}; give the user that runs ibbridge a disk with room, "
                f"and the right to write there, {what_then}"
            )
            return
        with self._watching():
            self._start(adopt, name)

    def _open_late(self, adopt: _Adopt) -> None:
        """Try again to open a file that could not be opened at the start."""
        self._stamped = -1
        try:
            self._open_files(adopt, self.name)
        except StoreError as error:
            self._unwritten = f"{error}, then restart ibbridge"

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in _MAY_PASS:
                raise
            raise StoreError(
                f"{self._directory}: cannot make the store's directory: {error.strerror}; make it, or choose another"
            ) from error

    def close(self) -> None:
        """Write the backlog as far as possible, close the file, and release the lock. A second call does nothing.

        Closing takes about `CLOSING` seconds at most. If the disk has not answered by then the store is `stuck`: the
        end of the process releases the lock.
        """
        until = perf_counter() + CLOSING
        if self._thread is not None:
            self._write_the_rest(self._thread, until)
            job = self._thread.submit(self._opened.close)
            self.stuck = not (self._thread.wait(job, until - perf_counter()) and self._thread.end(CLOSING))
        elif not self.stuck:  # a stuck thread may still use the file
            self._opened.close()
        self._db = self._thread = self._again = None
        self._locked = -1

    def _write_the_rest(self, thread: DiskThread, until: float) -> None:
        while True:
            if self._late is not None and not thread.wait(self._late.job, until - perf_counter()):
                return
            self._collect()
            if not self._backlog or self._spoilt or not (self._write_some(CATCH_UP) or self._late):
                break
        if self._stamped != self._about.uptime and not self._spoilt:
            self._stamp()

    def _lock(self) -> int:
        """Lock a file in the directory, and the directory itself, because the lock file may be removed by mistake."""
        path = f"{self._path}.lock"
        with ExitStack() as opened:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            opened.callback(os.close, file)
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, directory)
            self._have(file, path)
            with suppress(OSError):  # a network file system may lock files only
                self._have(directory, path)
            self._opened.push(opened.pop_all())
        return file

    def _have(self, file: int, path: str) -> None:
        """Lock an open file or directory. Raise StoreError if another process has it locked."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{self._directory}: another ibbridge has this store (its lock is {path}); stop that one, or choose "
                "another directory"
            ) from error

    def _touch(self) -> None:
        """Create the file without read access for others, if it is missing. SQLite would let others read it."""
        if not self._path.exists():
            self.before = self._named() or self.before
            os.ftruncate(self._locked, 0)  # without the file a new store begins, with a new name
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _named(self) -> str:
        """Return the name of the earlier store in this directory, from the lock file; "" if there never was one."""
        return os.pread(self._locked, 100, 0).decode("ascii", "replace").strip()

    def _start(self, adopt: _Adopt, name: str) -> None:
        """Load the file, or create its tables. If the file is unfit, set the fault."""
        try:
            self._take_up(adopt, name, alone=False)
        except sqlite3.OperationalError as error:
            if _code(error) not in _NO_ROOM:
                raise
            # A full disk has no room for SQLite's shared memory file, and an exclusive lock works without that file.
            try:
                self._take_up(adopt, name, alone=True)
            except sqlite3.OperationalError:
                self._again = adopt
                raise error from None

    def _take_up(self, adopt: _Adopt, name: str, *, alone: bool) -> None:
        with ExitStack() as opened:
            db = opened.enter_context(closing(self._connect()))
            if alone:
                db.execute("PRAGMA locking_mode=EXCLUSIVE")
            if unfit := self._unfit(db, adopt, name):
                self._unwritten = f"{self._path}: {unfit}, then restart ibbridge"
                return
            self._load(db)
            self._db = db
            # First in, last out: the lock is released after the file is closed.
            self._opened.push(opened.pop_all())
        self._thread = DiskThread()
        self._failing, self._unwritten = False, ""
        self._files = self._look_at_files()
        self._inode, self._wal_size = self._files.inode, _inode_and_size(self._wal)[1]
        self._write_name()

    def _write_name(self) -> None:
        """Write the store's name into the lock file. A failed write is repeated by the next `tick` or start."""
        with suppress(OSError):
            os.pwrite(self._locked, self.name.encode() + b"\n", 0)

    def _connect(self) -> sqlite3.Connection:
        # After opening only the disk thread uses the connection, and closes it.
        return sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)

    def _unfit(self, db: sqlite3.Connection, adopt: _Adopt, name: str) -> str:
        """Return why the file cannot be used, and what to do; "" after creating or upgrading the file if needed."""
        if not _inode_and_size(self._path)[1] and _inode_and_size(self._wal)[1]:
            return "it is empty, and its -wal is not: it was cut off; move both away"
        ours, made = one(db, "PRAGMA application_id"), one(db, "PRAGMA user_version")
        empty = ours == made == one(db, "SELECT count(*) FROM sqlite_schema") == 0
        if empty and (was := self._named()):
            lost = f"it is empty, and was the store {was}: the keys of orders and all messages are gone"
            return f"{lost}; put back what was there, or remove it to begin a new one"
        if not empty and ours != schema.OURS:
            return "it is no store of ibbridge's; move it away, or choose another directory"
        if not empty and not 1 <= made <= SCHEMA:
            age = "a newer" if made > SCHEMA else "an unknown"
            return f"it was made by {age} ibbridge (schema {made}; this one has {SCHEMA}); move it away, or run it"
        if not empty and self._streams:
            return "it can be opened now, and has other numbers than those in use"
        db.execute("PRAGMA journal_mode=WAL")  # kept in the file, unless another program has changed it
        if empty:
            schema.create(db, name)
        elif made < SCHEMA:
            schema.upgrade(db, adopt)
        db.execute("PRAGMA wal_autocheckpoint=0")  # copying waits for the disk, so the store decides when to copy
        db.execute("PRAGMA journal_size_limit=0")  # truncate the log when it restarts, so that its size is its content
        db.execute("PRAGMA cache_size=-8192")  # kB
        db.execute(f"PRAGMA synchronous={self._sync}")
        return ""

    def _load(self, db: sqlite3.Connection) -> None:
        about = schema.about(db)
        streams = schema.streams(db)
        self._known, self._open_keys = schema.keys(db, about.keys)
        schema.check_values(db)
        newest = one(db, "SELECT uptime FROM event ORDER BY id DESC LIMIT 1") or 0
        newest = newest if is_number(newest) and newest <= schema.TIMES_OF_DAY else 0
        for row in streams:
            self._add(_StoredStream(row.name, row.number, row.floor, max(row.floor, row.last), row))
        self._used = event_table.used(db)
        self.name = about.name
        self._about = about._replace(
            epoch=max(about.epoch + 1, self._about.epoch), uptime=max(about.uptime, newest, self._about.uptime)
        )
        self._next = max(self._numbered, default=0) + 1

    def _add(self, stream: _StoredStream) -> _StoredStream:
        self._streams[stream.name] = self._numbered[stream.number] = stream
        return stream

    # -- writing

    def append(self, rows: Sequence[_Row]) -> bool:
        """Commit rows. Return False, and set the fault, if the commit failed; then keep the rows and try again later.

        Sequence numbers must rise in each stream. A hole in them makes all earlier messages of the stream unreadable.
        """
        for row in rows:
            self._note(row)
        self._idle = False
        uptime = self._about.uptime
        fresh = [
            PendingEvent(name, seq, uptime, topic, body, identity, key)
            for name, seq, _, topic, body, identity, key in rows
        ]
        self._collect()
        if self._failing or self._backlog.messages:
            self._keep(fresh)
            return self._catch_up(CATCH_UP + len(rows))
        if not self._write([*self._backlog, *fresh] if self._backlog else fresh):
            self._keep(fresh)
            return False
        return True

    def forget(self, topic: bytes, identity: bytes | None) -> None:
        """Remove a state, or without an identity all states of the topic. Written with the next `append`."""
        if self._keeps:
            self._backlog.add(Forgotten(topic, identity))

    def remember(self, key: Key) -> None:
        """Keep an order key for ever. Written with the next `append`."""
        if self._keeps:
            self._backlog.add(key)

    def put(self, key: str, value: bytes) -> bool:
        """Keep a value by name, on the disk before the return. Return False, and set the fault, if that failed."""
        return self._commit(partial(event_table.put_value, key, value), for_sure=True)

    def tick(self, now: int) -> None:
        """Do a part of the maintenance. Call it every second.

        `now` is in µs, of a monotonic clock. Retry failed writes, remove messages that are too old or too many, and
        copy the log when idle.
        """
        self._age(now)
        if self._again is not None:
            self._open_late(self._again)
        self._look()
        if self._db is None or self._spoilt or self._late is not None:
            return
        if self._backlog or self._failing:
            self._catch_up(self._share_of_backlog())
        if not self._failing and (self._stamped < 0 or self._about.uptime - self._stamped >= STAMPED):
            self._stamp()
        self._tidy()
        self._idle = True

    def _tidy(self) -> None:
        """Remove messages or copy the log, one of them per call."""
        if self._too_much():
            self._make_room()
            return
        copy = self._grown() >= TIDY
        if not copy and (self._failing or not self._backlog):  # on a full disk, pruning may make room
            copy = not self._prune(self._about.uptime - self._lifetime) and self._idle and not self._copied
        if copy:
            self._copy()

    @property
    def _keeps(self) -> bool:
        """Return True if there is a file to write to, or may be one later."""
        return self._db is not None or self._again is not None

    def _share_of_backlog(self) -> int:
        """Return the number of backlog rows to write at once: more if the disk hangs, as no call waits long then."""
        return CATCH_UP * 5 if self._hung else CATCH_UP

    def _age(self, now: int) -> None:
        """Add the time since the last call to the uptime, but at most `STEP`."""
        passed = 0 if self._seen is None else max(0, now - self._seen)
        self._seen = now
        self._about = self._about._replace(uptime=self._about.uptime + min(passed, STEP))

    def _stamp(self) -> None:
        about = self._about

        def done(_: object) -> None:
            self._stamped = about.uptime

        self._commit(partial(event_table.write_about, about), done)

    def _note(self, row: _Row) -> None:
        name, seq, *_, key = row
        stream = self._streams.get(name)
        if stream is None:
            stream = self._add(_StoredStream(name, self._next, seq - 1, seq - 1))
            self._next += 1
        if seq > stream.last + 1:
            stream.floor = seq - 1
        stream.last = max(stream.last, seq)
        stream.keyed = stream.keyed or key is not None

    def _number(self, name: bytes) -> int:
        return self._streams[name].number

    def _keep(self, fresh: Sequence[PendingEvent]) -> None:
        """Add rows to the backlog, and drop the oldest ones above the limit; drop all of them if there is no file."""
        for message in fresh:
            self._backlog.add(message)
        for message in self._backlog.drop(KEPT if self._keeps else 0):
            stream = self._streams[message.stream]
            stream.floor = max(stream.floor, message.seq)

    def _catch_up(self, most: int) -> bool:
        """Write up to `most` items of the backlog. Return True if no message waits any more."""
        if self._failing and not self._write_some(PROBE):
            return False
        if self._backlog and not self._write_some(most):
            return False
        self._recovered()
        return not self._backlog.messages

    def _recovered(self) -> None:
        """Clear the fault after a successful write, unless the store is spoilt."""
        if self._spoilt:
            return
        self._failing = False
        left = self._backlog.messages
        more = f"{self._path}: {left} messages are still to be written, which goes on by itself"
        self._unwritten = more if left else ""

    def _write_some(self, most: int) -> bool:
        return self._write(self._backlog.first(most))

    def _write(self, items: Sequence[Item]) -> bool:
        """Commit items, and the rows of their streams that have changed. Return True if the commit succeeded."""
        rows = rows_of(items, self._number)
        moved = {stream: stream.row() for name in rows.streams if not (stream := self._streams[name]).is_saved()}
        new = [name for name in rows.keys if name not in self._known]
        about = self._about._replace(keys=len(self._known) + len(new)) if new or self._stamped < 0 else None
        batch = Batch(rows, [*moved.values()], about, probe=self._failing)

        def written(_: object) -> None:
            self._backlog.written(items)
            for stream, row in moved.items():
                stream.saved = row
            for name in new:
                self._known.add(name)
            if about is not None:
                self._about, self._stamped = self._about._replace(keys=about.keys), about.uptime

        if not self._commit(batch.write, written):
            return False
        self._unmeasured += rows.size
        if (self._making_room or self._unmeasured >= MEASURED) and self._too_much():
            self._make_room()
        return True

    # -- removing

    def _prune(self, before: int) -> bool:
        """Remove the oldest messages that came before an uptime. Return True if any were removed."""
        return self._remove(self._old(self._oldest(0, PRUNED), before))

    def _oldest(self, after: int, most: int) -> list[Old]:
        found: list[Old] = self._attempt(partial(event_table.oldest, after, most)) or []
        if any(old.stream not in self._numbered for old in found):
            self._failed(Damage("a message is unreadable"))
            return []
        return found

    def _old(self, found: list[Old], before: int) -> list[Old]:
        """Return the first messages of `found`, up to one that must be kept, or to the limit of one removal."""
        room = PRUNED_BYTES
        for count, old in enumerate(found):
            uptime = 0 if old.uptime > schema.TIMES_OF_DAY else old.uptime
            if room < 0 or (uptime >= before and old.seq > self._numbered[old.stream].floor):
                return found[:count]
            room -= old.size
        return found

    def _remove(self, messages: list[Old]) -> bool:
        """Remove messages, which are the oldest of their streams. Return True if any were removed."""
        if not messages:
            return False
        floors: dict[_StoredStream, int] = {}
        for old in messages:
            stream = self._numbered[old.stream]
            floors[stream] = max(old.seq, floors.get(stream, stream.floor))
        rows = {stream: stream.row()._replace(floor=floor) for stream, floor in floors.items()}

        def removed(_: object) -> None:
            for stream, row in rows.items():
                stream.saved = row
                stream.floor = max(stream.floor, row.floor)

        return self._commit(partial(event_table.remove, messages, list(rows.values())), removed)

    def _too_much(self) -> bool:
        """Measure the file; return True if messages have to be removed to keep its limit."""
        used = self._attempt(event_table.used)
        if used is not None:
            self._used, self._unmeasured = used, 0
        self._high = self._used >= self._most_bytes * (LOW if self._high else HIGH)
        self._evicting = self._high and (self._evicting or self._used > self._most_bytes * FULL)
        return self._used > self._most_bytes * FULL

    def _make_room(self) -> None:
        """Remove the oldest messages, twice as many bytes as were written. Messages of streams about orders go last."""
        room, until = 2 * MEASURED, perf_counter() + MAKING_ROOM
        most = PRUNED * LARGER if self._making_room else PRUNED
        self._making_room = False
        for _ in range(LOOKED_AT):
            found = self._oldest(self._evicted, most)
            gone = [old for old in found if not self._numbered[old.stream].keyed]
            if not gone and len(found) < most:
                gone = self._oldest(0, most)
            if gone and not self._remove(gone):
                return
            self._evicted = found[-1].id if found else self._evicted
            room -= sum(old.size + 100 for old in gone)
            if room <= 0:
                return
            if perf_counter() > until:
                self._making_room = True
                return

    # -- reading

    def last(self) -> dict[bytes, int]:
        """Return the last sequence number of every stream that there ever was."""
        return {name: stream.last for name, stream in self._streams.items()}

    def first(self, stream: bytes) -> int:
        """Return the oldest sequence number of a stream that can be read; its next number if it has no message."""
        known = self._streams.get(stream)
        return known.floor + 1 if known else 1

    def state(self) -> list[tuple[bytes, bytes, bytes]]:
        """Return topic, identity and body of the newest message of each topic and identity. Only for the start."""
        return self._at_start(schema.states) or []

    def open_keys(self) -> list[Key]:
        """Return the keys that were open when the store was opened."""
        return self._open_keys

    def key(self, name: bytes) -> bytes | None:
        """Return the value of an order key; None if there is no such key, or (with a fault) if it is unreadable."""
        if (waiting := self._backlog.key(name)) is not None:
            return waiting.value
        if name not in self._known:
            return None
        value: bytes | None = self._attempt(partial(event_table.value_of_key, name))
        return value

    def read(self, stream: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        """Return sequence number, topic and body of the messages `first` to `last` of a stream, in order.

        The result has at most `most` messages and `most_bytes` bytes, but at least one message. The result ends early,
        with a fault, where the file cannot be read.
        """
        known = self._streams.get(stream)
        if known is None:
            return []
        first, last = max(first, known.floor + 1), min(last, known.last, first + most - 1)
        page = Page(first, most_bytes)
        begins = self._backlog.begins(stream)
        written = last if begins is None else min(last, begins - 1)
        if first <= written:
            page = self._attempt(partial(event_table.fetch, first, written, known.number, most_bytes)) or page
            if page.damage is not None:
                self._failed(page.damage)
        for message in self._backlog.messages_of(stream, first):
            if message.seq != page.following or message.seq > last or not page.take(message.topic, message.body):
                break
        return page.found

    def get(self, key: str) -> bytes | None:
        """Return the value kept by a name; None if there is none. Only for the start."""
        value: bytes | None = self._at_start(partial(event_table.value, key))
        return value

    def _at_start(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Return a result that the daemon's start depends on. If reading it fails, the store is spoilt for good."""
        if self._late is not None and self._thread is not None:
            self._thread.wait(self._late.job, 0 if self._spoilt else STARTING)
        found = self._attempt(work, needed=True)
        if self._late is not None and not self._spoilt:
            self._spoilt = True
            self._unwritten = (
                f"{self._path}: its disk did not answer for {STARTING:g} s when it was to be read; see what the system "
                "log says of the disk, then restart ibbridge"
            )
        return found

    def metrics(self) -> dict[str, Any]:
        """Return the store's metrics. `longestCommitMs` is since the last call; p50 and p99 are of `RECENT` commits."""
        longest, self._longest_ms = self._longest_ms, 0.0
        return {
            "name": self.name,
            "fault": self.fault,
            "kept": self._backlog.messages,
            "dropped": self._backlog.dropped,
            "bytes": self._files.size + self._wal_size,
            "used": self._used,
            "maxBytes": self._most_bytes,
            "orderKeys": len(self._known),
            "commits": self._commits,
            "commitMs": self._commit_ms,
            "longestCommitMs": longest,
            "commitP50Ms": _share(self._recent, 0.5),
            "commitP99Ms": _share(self._recent, 0.99),
        }

    def slowest(self) -> float:
        """Return the seconds of the slowest commit, or attempt at one, since the last call."""
        slowest, self._slowest = self._slowest, 0.0
        return slowest

    # -- jobs of the disk thread, and their faults

    def _commit(
        self,
        change: Callable[[sqlite3.Connection], None],
        then: Callable[[Any], None] = _nothing,
        *,
        for_sure: bool = False,
    ) -> bool:
        """Make a change in one transaction. Return True on success.

        `then` is called after the success, which may come later than the return. With `for_sure` a loss of power does
        not undo the change.
        """
        if self._spoilt:
            return False
        started = perf_counter()
        work = partial(event_table.transact, change)
        if for_sure:
            work = partial(event_table.transact_for_sure, change, self._sync)

        def committed(result: Any) -> None:
            self._copied = False
            then(result)

        if not self._attempt(work, then=committed):
            self._slowest = max(self._slowest, perf_counter() - started)
            return False
        self._commits += 1
        self._commit_ms = (perf_counter() - started) * 1000
        self._longest_ms = max(self._longest_ms, self._commit_ms)
        self._slowest = max(self._slowest, self._commit_ms / 1000)
        self._recent.append(self._commit_ms)
        if self._grown() >= WAL:
            self._copy()
        return True

    def _grown(self) -> int:
        """Return the bytes that the log has grown since the last copy."""
        size = self._wal_size
        if size < self._copied_to:  # the log has restarted
            self._copied_to = 0
        return size - self._copied_to

    def _copy(self) -> None:
        """Copy commits from the log into the file. If no other process reads the log, the log then restarts."""

        def copied(whole: bool) -> None:  # noqa: FBT001 - the result of a job
            self._copied, self._uncopied = whole, ""

        self._attempt(event_table.checkpoint, then=copied, copying=True)
        self._copied_to = self._wal_size

    def _look(self) -> None:
        """Check that the file is still the one that was opened: messages written to a removed file are lost."""
        if (files := self._attempt(self._touch_disk)) is None:
            return
        self._files = files
        if self._files.inode == self._inode and self._files.wal_inode:
            return
        self._spoilt = self._failing = True
        self._unwritten = f"{self._path}: it, or its -wal, was removed or replaced while in use; restart ibbridge"

    def _touch_disk(self, _: sqlite3.Connection) -> _Files:
        """Write to the disk, in the disk thread, so that a hanging disk is noticed before an order is accepted."""
        self._write_name()
        return self._look_at_files()

    def _attempt(
        self,
        work: Callable[[sqlite3.Connection], Any],
        *,
        then: Callable[[Any], None] = _nothing,
        copying: bool = False,
        needed: bool = False,
    ) -> Any:
        """Run a job in the disk thread, and return its result.

        Return None if there is no file or, with a fault, if the job failed or takes too long. A job that takes too long
        and succeeds later still gets its `then` called. A `needed` job is waited for longer; if it fails the store is
        spoilt, because its None must not pass for an empty result.
        """
        if self._db is None or self._thread is None:
            return None
        self._collect()
        if self._late is not None:
            return None
        job = self._thread.submit(partial(self._done, work, self._db))
        if not self._thread.wait(job, STARTING if needed else IMPATIENCE if self._hung else self._patience):
            self._late = _Late(job, then)
            self._stall()
            return None
        if job.seconds < IMPATIENCE:
            self._hung = False
        if job.error is not None:
            with self._watching(copying=copying, needed=needed):
                job.result()
            return None
        result, self._wal_size = job.result()
        then(result)
        return result

    def _done(self, work: Callable[[sqlite3.Connection], Any], db: sqlite3.Connection) -> tuple[Any, int]:
        """Do the work of a job, in the disk thread. Return its result, and the size of the log after it."""
        return work(db), _inode_and_size(self._wal)[1]

    def _look_at_files(self) -> _Files:
        inode, size = _inode_and_size(self._path)
        return _Files(inode, _inode_and_size(self._wal)[0], size)

    def _stall(self) -> None:
        """Set the fault of a disk that does not answer in time: until it does, messages go to the backlog."""
        self._hung = self._failing = True
        advice = "see what the system log says of its disk, it is tried again by itself"
        self._unwritten = f"{self._path}: the disk has not answered for {self._patience:g} s; {advice}"

    def _collect(self) -> None:
        """Complete a late job, if the disk has answered meanwhile."""
        if self._late is None or self._thread is None or not self._thread.wait(self._late.job, 0):
            return
        late, self._late = self._late, None
        self._slowest = max(self._slowest, late.job.seconds)
        self._hung = late.job.seconds >= self._patience
        with self._watching():
            result, self._wal_size = late.job.result()
            late.then(result)
            self._recovered()

    @contextmanager
    def _watching(self, *, copying: bool = False, needed: bool = False) -> Iterator[None]:
        """Turn SQLite's errors in the block into a fault."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter for damaged names and texts
            self._spoilt = self._spoilt or needed
            self._failed(error, copying=copying)

    def _failed(self, error: Exception, *, copying: bool = False) -> None:
        """Set the fault for an error of SQLite's. Damage spoils the store for good."""
        code = _code(error)
        self._spoilt = self._spoilt or code in _DAMAGED
        for_good = self._spoilt or not self._keeps
        what_then = "then restart ibbridge" if for_good else "it is tried again by itself"
        fault = f"{self._path}: {error}; {_ADVICE.get(code, 'see what the system log says')}, {what_then}"
        if copying and not self._spoilt:
            self._uncopied = fault
        else:
            self._failing, self._unwritten = True, fault


def _code(error: Exception) -> int:
    """Return SQLite's code of an error. A text that Python cannot decode has no code, and counts as damage."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & 0xFF


def _share(values: Collection[float], share: float) -> float:
    """Return the quantile of values at a share from 0 to 1; 0 if there are no values."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def _inode_and_size(path: pathlib.Path) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - twice as fast, behind each commit
    except OSError:
        return 0, 0
    return found.st_ino, found.st_size


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text or "0"
