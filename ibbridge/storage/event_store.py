"""Durable messages on disk: one SQLite file, in which whatever was committed is there after the process is killed.

Knows files and locks; the layout of the file is for `storage.schema`, what is done in it for `storage.event_table`.
Must not know what a topic or a body means, msgpack, ZeroMQ, the event loop or the time of day (it is given `now`, of a
clock that only goes forward). It is called from an event loop, so every call is bounded: one thread uses the file, for
which nobody waits longer than `patience`, and not at all once it is known that the disk does not answer.

Two rules keep it simple. Errors of the disk, its silence among them, are caught in one place and become `fault`, a
sentence for operators: no call but `open` raises. And what cannot be written waits in memory, in order, for the next
call that can: until then it is read from there.

What is pruned is decided by no clock that can be set. Each message is stamped with the *uptime*, for how long daemons
had been running on this store when it came, and goes when `days` of uptime have passed since: a clock that jumps prunes
nothing, nor does a month in which nothing ran. Where there are too many bytes the oldest messages go before their time,
those of streams that are about orders last. Order keys never go, nor the state of an order that is open.
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
from ibbridge.storage.backlog import Backlog, Item, Waiting
from ibbridge.storage.batch import Batch, rows_of
from ibbridge.storage.disk_thread import DiskThread, Job
from ibbridge.storage.event_table import Forgotten, Old, Page
from ibbridge.storage.keys import Found, Key, KnownKeys
from ibbridge.storage.schema import SCHEMA, About, Damage, StreamRow, is_number, one

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Sequence

KEPT = 64 * 2**20
"""Bytes of what could not be written that are kept in memory."""

CATCH_UP = 400
"""Rows of those kept that one call writes, beside its own: about 2 ms."""

PROBE = 8
"""Rows with which it is tried whether writing is possible again: what fails shall cost little."""

IMPATIENCE = 0.005
"""Seconds for which the disk is waited for after it has not answered in time, until it is as it should be."""

STARTING = 60.0
"""Seconds that it has to say what it holds when the daemon starts: who goes on without that would forget a halt."""

CLOSING = 5.0
"""Seconds that it has to take what waits when the store is closed."""

PRUNED, PRUNED_BYTES = 250, 256 * 2**10
"""Rows that one call of `tend` removes at most: about 1 ms. At a call a second that is 21 million a day."""

TIDY, WAL = 2**19, 2**21
"""Bytes of the write-ahead log from which on it is copied into the file: by `tend`, in 1 or 2 ms, most of it spent
waiting for the disk; by what is written itself, in 4 or 5, where `tend` does not come in time."""

FULL, HIGH, LOW = 1.0, 0.8, 0.75
"""Shares of the bytes that the store may have: at which messages go before their time, at which there is an alarm, and
below which there is none any more."""

MEASURED = 2**20
"""Bytes that are written until it is looked again how large the file is."""

LOOKED_AT = 40
"""How many times `PRUNED` rows are looked at to find some that may go, at a time."""

MAKING_ROOM = 0.1
"""Seconds after which no more is removed at a time: on a slow disk it goes on with what is written next, in batches
that are `LARGER` times as large, because there it is the commit that takes long."""

LARGER = 4

STEP = 60_000_000
"""Microseconds of uptime that one call of `tend` adds at most, whatever its clock says: it is called every second."""

STAMPED = 600_000_000
"""Microseconds of uptime after which they are written, where no message has come that is stamped with them."""

LATEST = 2**52
"""The highest epoch that a clock can give (the year 2112): those that come after it have room below 2^53."""

RECENT = 1_000
"""Commits of which it is told how long they took."""

_BUSY = 0.002  # seconds; nobody else ought to write, and a reader is in nobody's way
_DAY = 86_400_000_000

_ADVICE = {
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_IOERR: "see what the system log says of its disk",
    sqlite3.SQLITE_CORRUPT: "move it away with its -wal and -shm; sqlite3's .recover may save what is in it",
    sqlite3.SQLITE_NOTADB: "move it away with its -wal and -shm",
    sqlite3.SQLITE_ERROR: "move it away with its -wal and -shm: it has another form than it was given",
    sqlite3.SQLITE_READONLY: "give the user that runs ibbridge the right to write it and its directory",
    sqlite3.SQLITE_CANTOPEN: "give the user that runs ibbridge the right to write it and its directory",
    sqlite3.SQLITE_BUSY: "end the other program that writes to it",
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
_MAY_PASS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS}


class StoreError(Exception):
    """The store is not to be had at all. str() says what, where, and what to do about it."""


_Row = tuple[bytes, int, int, bytes, bytes, bytes | None, bytes | None]
"""A message: stream, the number in it, µs since 1970 UTC, topic, body, the name of the state that it is, if any, and
the name of the order key that it belongs to, if any."""


class _Stream:
    """What is known of a stream: see the schema.

    `keyed`: some of its messages are about order keys. `saved` is what is on disk, None if nothing is.
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
        """Return what is to be on disk of it."""
        return StreamRow(self.number, self.name, self.floor, self.keyed, 0)

    def is_saved(self) -> bool:
        """Return True if that is on disk."""
        saved = self.saved
        return saved is not None and saved.floor == self.floor and saved.keyed == self.keyed


class _Files(NamedTuple):
    """What the disk thread sees of the files: which they are, and how large; 0 for one that is not there."""

    inode: int
    wal_inode: int
    size: int


class _Late(NamedTuple):
    """A job for which nobody waits any more, and what is to be done when it has ended well."""

    job: Job
    then: Callable[[Any], None]


_Adopt = Callable[[Iterator[tuple[bytes, bytes]]], Found]


def _no_keys(_: Iterator[tuple[bytes, bytes]]) -> Found:
    return Found([], {}, 0)


def _nothing(_: object) -> None:
    pass


class Store:
    """The store in a directory, from `open` to `close`; before and after nothing is written or found.

    `days` is how long messages are kept; `sync` "normal" (what is committed survives the process) or "full" (and a
    loss of power); `most_bytes` how large the file may become; `patience` for how many seconds the disk is waited for,
    and all else with it. `name` names the store for ever: where it is another, numbers begin anew.
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
        """The name of the store whose file was there at an earlier start, and was gone at this one."""
        self.stuck = False
        """Whether the disk did not answer until the store was closed: its thread still waits."""
        self._directory = directory
        self._path = directory / "events.db"
        self._wal = directory / "events.db-wal"
        self._lifetime = int(days * _DAY)
        self._sync = sync
        self._most_bytes = most_bytes
        self._patience = patience
        self._opened = ExitStack()
        self._locked = -1  # the lock's file, in which the name is
        self._db: sqlite3.Connection | None = None
        self._thread: DiskThread | None = None
        self._late: _Late | None = None
        self._hung = False  # whether the disk has not answered in time, and not been as it should be since
        self._again: _Adopt | None = None  # it could not be opened, and may be later
        self._inode = 0
        self._files = _Files(0, 0, 0)
        self._wal_size = 0  # as the disk thread saw it behind its last job
        self._streams: dict[bytes, _Stream] = {}
        self._numbered: dict[int, _Stream] = {}
        self._next = 1  # number of a stream
        self._about = About("", 0, 0, 0)  # as it is to be written
        self._stamped = 0  # uptime, as it was written last
        self._seen: int | None = None  # by the clock of `tend`
        self._known = KnownKeys()
        self._open_keys: list[Key] = []
        self._backlog = Backlog()
        self._unwritten = ""
        self._uncopied = ""
        self._spoilt = False
        self._failing = False
        self._used = self._unmeasured = 0  # bytes in the file, and what was written since they were counted
        self._high, self._evicting = False, False
        self._making_room = False  # there was no time for all that had to go
        self._evicted = 0  # the row up to which only streams of orders have messages left
        self._commits, self._commit_ms, self._longest_ms = 0, 0.0, 0.0
        self._recent: deque[float] = deque(maxlen=RECENT)  # ms of commits
        self._slowest = 0.0
        self._copied, self._copied_to, self._idle = True, 0, True

    @property
    def fault(self) -> str:
        """What keeps it from being written, where, and what to do about it; empty if nothing does."""
        return self._unwritten or self._uncopied

    @property
    def uncommitted(self) -> int:
        """How many messages were given to it and are not on the disk."""
        return self._backlog.messages

    @property
    def shortage(self) -> str:
        """What an operator must know of the room that is left; empty if there is enough."""
        if not self._high:
            return ""
        figures = f"{self._path} holds {self._used / 2**20:.0f} of {self._most_bytes / 2**20:.0f} MiB (store.max_bytes)"
        then = "messages are removed before store.days are over" if self._evicting else "beyond it the oldest go"
        return f"{figures}: {then}; find out what writes so much, keep messages for fewer days, or allow more bytes"

    # -- opening and closing

    def open(self, clock: int, adopt: _Adopt = _no_keys) -> int:
        """Lock the directory, open or create the file, and return the epoch that begins.

        The epoch is `clock` (µs since 1970 UTC), or the last one and 1, if that is higher: it rises with each start,
        although the clock was set back. `adopt` finds the order keys in the messages of a store of schema 1.

        Raise StoreError if the directory is not to be had. Whatever else is wrong is said by `fault`. A file that is no
        store, or of a later schema, is left as it is; nothing is kept then, and `name` is made of the epoch. On a disk
        that is full it is tried again by `tend`, and what comes until then is kept in memory.
        """
        epoch = min(clock, LATEST)
        self.name = f"e-{_base36(epoch)}"
        self._about = About(self.name, epoch, 0, 0)
        self._open_files(adopt, f"s-{_base36(secrets.randbits(60))}")
        if self._db is not None:
            done = self._commit(partial(event_table.take_over, self._about))
            self._stamped = self._about.uptime if done else -1  # then it is written with what is written first
        return self._about.epoch

    def _open_files(self, adopt: _Adopt, name: str) -> None:
        """Open what is there, or begin a store of this name; where neither can be done, say why."""
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
        """Try again to open what could not be opened at the start."""
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
        """Write what waits, as far as that is possible, and let others have it. Once closed, does nothing.

        It takes `CLOSING` seconds at most. If the disk has not answered until then the store is `stuck`: the lock goes
        with the process.
        """
        until = perf_counter() + CLOSING
        if self._thread is not None:
            self._write_the_rest(self._thread, until)
            job = self._thread.submit(self._opened.close)
            self.stuck = not (self._thread.wait(job, until - perf_counter()) and self._thread.end(CLOSING))
        elif not self.stuck:  # the thread may still be at work with the file
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
        """Lock a file in the directory, and the directory: who removes that file has not ended who has it locked."""
        path = f"{self._path}.lock"
        with ExitStack() as opened:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            opened.callback(os.close, file)
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, directory)
            self._have(file, path)
            with suppress(OSError):  # a network's file system may lock files only
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
        """Have a file that others may not read. SQLite would make one for all to see."""
        if not self._path.exists():
            self.before = self._named() or self.before
            os.ftruncate(self._locked, 0)  # whoever took the file away has a new store begun
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _named(self) -> str:
        """Return the name of the store that was in this directory: it is in the lock's file. Empty if none ever was."""
        return os.pread(self._locked, 100, 0).decode("ascii", "replace").strip()

    def _start(self, adopt: _Adopt, name: str) -> None:
        """Take up what is in the file, or begin it; if it is unfit, say so."""
        try:
            self._take_up(adopt, name, alone=False)
        except sqlite3.OperationalError as error:
            if _code(error) not in _NO_ROOM:
                raise
            # A full disk has no room for the memory that processes share, and there is only one of us.
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
            # First in, last out: the lock goes when the file is closed.
            self._opened.push(opened.pop_all())
        self._thread = DiskThread()
        self._failing, self._unwritten = False, ""
        self._files = self._look_at_files()
        self._inode, self._wal_size = self._files.inode, _inode_and_size(self._wal)[1]
        self._write_name()

    def _write_name(self) -> None:
        """Write the name where it shows that a store was here. What cannot be written now is with the next start."""
        with suppress(OSError):
            os.pwrite(self._locked, self.name.encode() + b"\n", 0)

    def _connect(self) -> sqlite3.Connection:
        # Used by the disk thread alone once it is open, and closed by that.
        return sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)

    def _unfit(self, db: sqlite3.Connection, adopt: _Adopt, name: str) -> str:
        """Return why the file is none of ours, and what to do; empty if it is ours, made or upgraded if need be."""
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
        db.execute("PRAGMA journal_mode=WAL")  # it stays so, unless somebody has changed it
        if empty:
            schema.create(db, name)
        elif made < SCHEMA:
            schema.upgrade(db, adopt)
        db.execute("PRAGMA wal_autocheckpoint=0")  # to copy is to wait for the disk: when, is decided here
        db.execute("PRAGMA journal_size_limit=0")  # the log is cut when it begins anew: its size says what is in it
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
            self._add(_Stream(row.name, row.number, row.floor, max(row.floor, row.last), row))
        self._used = event_table.used(db)
        self.name = about.name
        self._about = about._replace(
            epoch=max(about.epoch + 1, self._about.epoch), uptime=max(about.uptime, newest, self._about.uptime)
        )
        self._next = max(self._numbered, default=0) + 1

    def _add(self, stream: _Stream) -> _Stream:
        self._streams[stream.name] = self._numbered[stream.number] = stream
        return stream

    # -- writing

    def append(self, rows: Sequence[_Row]) -> bool:
        """Commit; False, with a fault, if that was not possible. The rows are then kept, and tried again.

        In each stream numbers rise, by one or there is a hole: what is before that cannot be read any more.
        """
        for row in rows:
            self._note(row)
        self._idle = False
        uptime = self._about.uptime
        fresh = [
            Waiting(name, seq, uptime, topic, body, identity, key) for name, seq, _, topic, body, identity, key in rows
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
        """This is no state any more; nothing of the topic is, without an identity. Written with the next append."""
        if self._keeps:
            self._backlog.add(Forgotten(topic, identity))

    def remember(self, key: Key) -> None:
        """Keep an order key for ever. Written with the next append."""
        if self._keeps:
            self._backlog.add(key)

    def put(self, key: str, value: bytes) -> bool:
        """Keep a value by name, on the disk before this returns; False, with a fault, if that was not possible."""
        return self._commit(partial(event_table.put_value, key, value), for_sure=True)

    def tend(self, now: int) -> None:
        """What there is to do beside writing, some of it each time. To be called every second.

        `now` is in µs, by a clock that only goes forward. Tries again what could not be written, removes what has been
        there for too long or is too much, and copies the log when idle.
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
        """Remove and copy: one thing at a time."""
        if self._too_much():
            self._make_room()
            return
        copy = self._grown() >= TIDY
        if not copy and (self._failing or not self._backlog):  # on a full disk this may be what makes room
            copy = not self._prune(self._about.uptime - self._lifetime) and self._idle and not self._copied
        if copy:
            self._copy()

    @property
    def _keeps(self) -> bool:
        """Whether there is a file to write to, or may be one later."""
        return self._db is not None or self._again is not None

    def _share_of_backlog(self) -> int:
        """Return how many rows are written at once: more where nobody waits for it."""
        return CATCH_UP * 5 if self._hung else CATCH_UP

    def _age(self, now: int) -> None:
        """Add what has passed since the last call to the uptime: no more than is believed of any clock."""
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
            stream = self._add(_Stream(name, self._next, seq - 1, seq - 1))
            self._next += 1
        if seq > stream.last + 1:
            stream.floor = seq - 1
        stream.last = max(stream.last, seq)
        stream.keyed = stream.keyed or key is not None

    def _number(self, name: bytes) -> int:
        return self._streams[name].number

    def _keep(self, fresh: Sequence[Waiting]) -> None:
        """Have rows wait. What is too much is dropped, the oldest first: all of it if there is no file."""
        for message in fresh:
            self._backlog.add(message)
        for message in self._backlog.drop(KEPT if self._keeps else 0):
            stream = self._streams[message.stream]
            stream.floor = max(stream.floor, message.seq)

    def _catch_up(self, most: int) -> bool:
        """Write what waits, or so much of it as one call may; whether nothing waits any more."""
        if self._failing and not self._write_some(PROBE):
            return False
        if self._backlog and not self._write_some(most):
            return False
        self._recovered()
        return not self._backlog.messages

    def _recovered(self) -> None:
        """The disk takes what it is given."""
        if self._spoilt:
            return
        self._failing = False
        left = self._backlog.messages
        more = f"{self._path}: {left} messages are still to be written, which goes on by itself"
        self._unwritten = more if left else ""

    def _write_some(self, most: int) -> bool:
        return self._write(self._backlog.first(most))

    def _write(self, items: Sequence[Item]) -> bool:
        """Commit items, with the floors of their streams where these have moved; whether that was possible."""
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
        """Remove the oldest messages, if they came at an uptime before that one; whether there were any."""
        return self._remove(self._old(self._oldest(0, PRUNED), before))

    def _oldest(self, after: int, most: int) -> list[Old]:
        found: list[Old] = self._attempt(partial(event_table.oldest, after, most)) or []
        if any(old.stream not in self._numbered for old in found):
            self._failed(Damage("a message is unreadable"))
            return []
        return found

    def _old(self, found: list[Old], before: int) -> list[Old]:
        """Return those that came first, up to one that is to be kept."""
        room = PRUNED_BYTES
        for count, old in enumerate(found):
            uptime = 0 if old.uptime > schema.TIMES_OF_DAY else old.uptime
            if room < 0 or (uptime >= before and old.seq > self._numbered[old.stream].floor):
                return found[:count]
            room -= old.size
        return found

    def _remove(self, messages: list[Old]) -> bool:
        """Remove messages, the oldest of their streams; whether that was possible, and there were any."""
        if not messages:
            return False
        floors: dict[_Stream, int] = {}
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
        """Look how large the file is; return True if messages have to go."""
        used = self._attempt(event_table.used)
        if used is not None:
            self._used, self._unmeasured = used, 0
        self._high = self._used >= self._most_bytes * (LOW if self._high else HIGH)
        self._evicting = self._high and (self._evicting or self._used > self._most_bytes * FULL)
        return self._used > self._most_bytes * FULL

    def _make_room(self) -> None:
        """Remove the oldest messages, twice as many bytes as were written: those of streams about orders last."""
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
        """The last number of every stream there ever was."""
        return {name: stream.last for name, stream in self._streams.items()}

    def first(self, stream: bytes) -> int:
        """The oldest number that can be read, with all that follow; the next one to come if there is none."""
        known = self._streams.get(stream)
        return known.floor + 1 if known else 1

    def state(self) -> list[tuple[bytes, bytes, bytes]]:
        """Topic, identity and body of the newest message on disk of each topic and identity. For the start."""
        return self._at_start(schema.states) or []

    def open_keys(self) -> list[Key]:
        """Return the keys that were open when the store was opened."""
        return self._open_keys

    def key(self, name: bytes) -> bytes | None:
        """Return what belongs to a key; None if there is no such key, or, with a fault, if it cannot be read."""
        if (waiting := self._backlog.key(name)) is not None:
            return waiting.value
        if name not in self._known:
            return None
        value: bytes | None = self._attempt(partial(event_table.value_of_key, name))
        return value

    def read(self, stream: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        """Number, topic and body of the messages `first` to `last` of a stream, in order.

        No more than `most`, and no more than have `most_bytes`, but one. It ends early, with a fault, where the file
        cannot be read.
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
        """The value that was kept by this name; None if there is none. For the start."""
        value: bytes | None = self._at_start(partial(event_table.value, key))
        return value

    def _at_start(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Have the disk thread read what the daemon goes on from. If that is not possible, it is so for good."""
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

    def figures(self) -> dict[str, Any]:
        """How it does. The longest commit is that since this was asked last, p50 and p99 are of the last 1,000."""
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
        """Seconds that the slowest commit took since this was asked last, or the slowest attempt at one."""
        slowest, self._slowest = self._slowest, 0.0
        return slowest

    # -- what may go wrong

    def _commit(
        self,
        change: Callable[[sqlite3.Connection], None],
        then: Callable[[Any], None] = _nothing,
        *,
        for_sure: bool = False,
    ) -> bool:
        """Make a change in one transaction; whether that was possible. `then` is called once it was, maybe later."""
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
        """Bytes of the log since it was copied last."""
        size = self._wal_size
        if size < self._copied_to:  # it has begun anew
            self._copied_to = 0
        return size - self._copied_to

    def _copy(self) -> None:
        """Copy what was committed from the log into the file. If no one reads the log, it then begins anew."""

        def copied(whole: bool) -> None:  # noqa: FBT001 - the result of a job
            self._copied, self._uncopied = whole, ""

        self._attempt(event_table.checkpoint, then=copied, copying=True)
        self._copied_to = self._wal_size

    def _look(self) -> None:
        """See that the file is still the one that was opened: what is written to another is lost."""
        if (files := self._attempt(self._touch_disk)) is None:
            return
        self._files = files
        if self._files.inode == self._inode and self._files.wal_inode:
            return
        self._spoilt = self._failing = True
        self._unwritten = f"{self._path}: it, or its -wal, was removed or replaced while in use; restart ibbridge"

    def _touch_disk(self, _: sqlite3.Connection) -> _Files:
        """Write to the disk, so that one that hangs is found out before an order is taken. For the disk thread."""
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
        """Have the disk thread do something; what that gives.

        None if there is no file or, with a fault, if it failed or takes too long; in the latter case `then` is called
        when it has ended well after all. What is `needed` is waited for longer, and if it fails the store is spoilt: it
        must not be taken for nothing.
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
        """Do something, and see how large the log is then. For the disk thread."""
        return work(db), _inode_and_size(self._wal)[1]

    def _look_at_files(self) -> _Files:
        inode, size = _inode_and_size(self._path)
        return _Files(inode, _inode_and_size(self._wal)[0], size)

    def _stall(self) -> None:
        """The disk does not answer: nobody waits for it until it does, and what comes is kept."""
        self._hung = self._failing = True
        advice = "see what the system log says of its disk, it is tried again by itself"
        self._unwritten = f"{self._path}: the disk has not answered for {self._patience:g} s; {advice}"

    def _collect(self) -> None:
        """See whether the disk has answered after all, and do what was to be done then."""
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
        """Make a fault of what SQLite fails with."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of damaged names and texts
            self._spoilt = self._spoilt or needed
            self._failed(error, copying=copying)

    def _failed(self, error: Exception, *, copying: bool = False) -> None:
        """Make a fault of an error of SQLite's."""
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
    """Return SQLite's code of an error. A text that is none, which Python finds out, has no code: that is damage."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & 0xFF


def _share(values: Collection[float], share: float) -> float:
    """The value below which this share of them is; 0 of none."""
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
