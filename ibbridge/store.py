"""Durable messages on disk: one SQLite file, in which whatever was committed is there after the process is killed.

Knows files and locks; the layout of the file is for `storage.schema`. Must not know what a topic or a body means,
msgpack, ZeroMQ, the event loop or the time of day (it is given `now`, of a clock that only goes forward; only commits
are timed). It is called from an event loop, so every call is bounded.

Two rules keep it simple. SQLite's errors are caught in one place and become `fault`, a sentence for operators: no call
but `open` raises. And what cannot be written waits in memory, in order, for the next call that can: until then it is
read from there.

What is pruned is decided by no clock that can be set. Each message is stamped with the *uptime*, for how long daemons
had been running on this store when it came, and goes when `days` of uptime have passed since: a clock that jumps prunes
nothing, nor does a month in which nothing ran. Order keys are never pruned, nor the state of an order that is open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import islice
from operator import itemgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ibbridge.storage import schema
from ibbridge.storage.checksums import checksum, of_event
from ibbridge.storage.keys import Found, Key, KnownKeys
from ibbridge.storage.schema import SCHEMA, About, Damage, is_number, one

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Sequence

T = TypeVar("T")

KEPT = 64 * 2**20
"""Bytes of what could not be written that are kept in memory."""

CATCH_UP = 400
"""Rows of those kept that one call writes, beside its own: about 2 ms."""

PROBE = 8
"""Rows with which it is tried whether writing is possible again: what fails shall cost little."""

PRUNED, PRUNED_BYTES = 250, 256 * 2**10
"""Rows that one call of `tend` removes at most: about 1 ms. At a call a second that is 21 million a day."""

TIDY, WAL = 2**19, 2**21
"""Bytes of the write-ahead log from which on it is copied into the file: by `tend`, in 1 or 2 ms, most of it spent
waiting for the disk; by what is written itself, in 4 or 5, where `tend` does not come in time."""

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


class StoreError(Exception):
    """The store is not to be had at all. str() says what, where, and what to do about it."""


_Row = tuple[bytes, int, int, bytes, bytes, bytes | None, bytes | None]
"""A message: stream, the number in it, µs since 1970 UTC, topic, body, the name of the state that it is, if any, and
the name of the order key that it belongs to, if any."""


class _Forgotten(NamedTuple):
    """A state that is none any more; without an `identity`, all of the topic."""

    topic: bytes
    identity: bytes | None


class _Waiting(NamedTuple):
    """A message as it waits to be written, with the uptime at which it came."""

    row: _Row
    uptime: int


class _Stream:
    """What is known of a stream: see the schema. `saved` is its floor on disk, None if it is not there at all."""

    __slots__ = ("floor", "kept", "last", "number", "saved")

    def __init__(self, number: int, floor: int, last: int, saved: int | None) -> None:
        self.number = number
        self.floor = floor
        self.last = last
        self.saved = saved
        self.kept: deque[_Row] = deque()  # its rows that wait to be written


_Adopt = Callable[[Iterator[tuple[bytes, bytes]]], Found]


def _no_keys(_: Iterator[tuple[bytes, bytes]]) -> Found:
    return Found([], {}, 0)


class Store:
    """The store in a directory, from `open` to `close`; before and after nothing is written or found.

    `days` is how long messages are kept; `sync` "normal" (what is committed survives the process) or "full" (and a
    loss of power). `name` names the store for ever: where it is another, numbers begin anew.
    """

    def __init__(self, directory: pathlib.Path, *, days: float, sync: str = "normal") -> None:
        self.name = ""
        self._directory = directory
        self._path = directory / "events.db"
        self._wal = directory / "events.db-wal"
        self._lifetime = int(days * _DAY)
        self._sync = sync
        self._opened = ExitStack()
        self._db: sqlite3.Connection | None = None
        self._file = 0
        self._streams: dict[bytes, _Stream] = {}
        self._numbered: dict[int, _Stream] = {}
        self._next = 1  # number of a stream
        self._about = About("", 0, 0, 0)  # as it is to be written
        self._stamped = 0  # uptime, as it was written last
        self._seen: int | None = None  # by the clock of `tend`
        self._known = KnownKeys()
        self._open_keys: list[Key] = []
        self._news: dict[bytes, Key] = {}  # keys that wait to be written
        self._waiting: deque[_Waiting | _Forgotten | Key] = deque()
        self._unwritten = ""
        self._uncopied = ""
        self._spoilt = False
        self._failing = False
        self._kept = self._kept_bytes = self._dropped = 0
        self._commits, self._commit_ms, self._longest_ms = 0, 0.0, 0.0
        self._recent: deque[float] = deque(maxlen=RECENT)  # ms of commits
        self._slowest = 0.0
        self._copied, self._copied_to, self._idle = True, 0, True

    @property
    def fault(self) -> str:
        """What keeps it from being written, where, and what to do about it; empty if nothing does."""
        return self._unwritten or self._uncopied

    # -- opening and closing

    def open(self, clock: int, adopt: _Adopt = _no_keys) -> int:
        """Lock the directory, open or create the file, and return the epoch that begins.

        The epoch is `clock` (µs since 1970 UTC), or the last one and 1, if that is higher: it rises with each start,
        although the clock was set back. `adopt` finds the order keys in the messages of a store of schema 1.

        Raise StoreError if the directory is not to be had. Whatever else is wrong is said by `fault`. A file that is no
        store, or of a later schema, is left as it is; nothing is kept then, and `name` is made of the epoch.
        """
        epoch = min(clock, LATEST)
        self.name = f"e-{_base36(epoch)}"
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self._directory}: cannot make the store's directory: {error.strerror}; make it, or choose another"
            ) from error
        try:
            self._opened.callback(os.close, self._lock())
            self._touch()
        except OSError as error:
            self._unwritten = (
                f"{error.filename or self._path}: {error.strerror}; give the user that runs ibbridge a disk with room, "
                "and the right to write there, then restart ibbridge"
            )
            return epoch
        with self._watching():
            self._start(adopt)
        return self._begin(epoch)

    def _begin(self, epoch: int) -> int:
        """Write the epoch: this one, unless there was a higher one. Return it."""
        if self._db is not None:
            epoch = max(epoch, self._about.epoch + 1)
            self._about = self._about._replace(epoch=epoch)
            done = self._commit(partial(_take_over, self._about))
            self._stamped = self._about.uptime if done else -1  # then it is written with what is written first
        return epoch

    def close(self) -> None:
        """Write what waits, as far as that is possible, and let others have it. Once closed, does nothing."""
        while self._waiting and self._write_some(CATCH_UP):
            pass
        if self._stamped != self._about.uptime:
            self._commit(partial(_write_about, self._about))
        self._db = None
        self._opened.close()

    def _lock(self) -> int:
        path = f"{self._path}.lock"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            if error.errno != errno.EWOULDBLOCK:
                raise
            raise StoreError(
                f"{self._directory}: another ibbridge has this store (its lock is {path}); stop that one, or choose "
                "another directory"
            ) from error
        return file

    def _touch(self) -> None:
        """Have a file that others may not read. SQLite would make one for all to see."""
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _start(self, adopt: _Adopt) -> None:
        """Take up what is in the file, or begin it; if it is unfit, say so."""
        with ExitStack() as opened:
            db = opened.enter_context(closing(self._connect()))
            if unfit := self._unfit(db, adopt):
                self._unwritten = f"{self._path}: {unfit}, then restart ibbridge"
                return
            self._load(db)
            self._db = db
            # First in, last out: the lock goes when the file is closed.
            self._opened.push(opened.pop_all())
        self._file = _inode(self._path)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None)

    def _unfit(self, db: sqlite3.Connection, adopt: _Adopt) -> str:
        """Return why the file is none of ours, and what to do; empty if it is ours, made or upgraded if need be."""
        if not _bytes(self._path) and _bytes(self._wal):
            return "it is empty, and its -wal is not: it was cut off; move both away"
        ours, made = one(db, "PRAGMA application_id"), one(db, "PRAGMA user_version")
        empty = ours == made == one(db, "SELECT count(*) FROM sqlite_schema") == 0
        if not empty and ours != schema.OURS:
            return "it is no store of ibbridge's; move it away, or choose another directory"
        if not empty and not 1 <= made <= SCHEMA:
            age = "a newer" if made > SCHEMA else "an unknown"
            return f"it was made by {age} ibbridge (schema {made}; this one has {SCHEMA}); move it away, or run it"
        db.execute("PRAGMA journal_mode=WAL")  # it stays so, unless somebody has changed it
        if empty:
            schema.create(db, f"s-{_base36(secrets.randbits(60))}")
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
        if is_number(newest) and newest <= schema.TIMES_OF_DAY:
            about = about._replace(uptime=max(about.uptime, newest))
        for number, name, floor, last in streams:
            self._add(name, _Stream(number, floor, max(floor, last), floor))
        self.name = about.name
        self._about = about
        self._next = max(self._numbered, default=0) + 1

    def _add(self, name: bytes, stream: _Stream) -> _Stream:
        self._streams[name] = self._numbered[stream.number] = stream
        return stream

    # -- writing

    def append(self, rows: Sequence[_Row]) -> bool:
        """Commit; False, with a fault, if that was not possible. The rows are then kept, and tried again.

        In each stream numbers rise, by one or there is a hole: what is before that cannot be read any more.
        """
        for row in rows:
            self._note(row)
        self._idle = False
        fresh = [_Waiting(row, self._about.uptime) for row in rows]
        if self._failing or self._kept:
            self._keep(fresh)
            return self._catch_up(CATCH_UP + len(rows))
        if not self._write([*self._waiting, *fresh]):
            self._keep(fresh)
            return False
        self._waiting.clear()
        return True

    def forget(self, topic: bytes, identity: bytes | None) -> None:
        """This is no state any more; nothing of the topic is, without an identity. Written with the next append."""
        if self._db is not None:
            self._waiting.append(_Forgotten(topic, identity))

    def remember(self, key: Key) -> None:
        """Keep an order key for ever. Written with the next append."""
        if self._db is not None:
            self._news[key.name] = key
            self._waiting.append(key)

    def put(self, key: str, value: bytes) -> bool:
        """Keep a value by name, on the disk before this returns; False, with a fault, if that was not possible."""
        self._attempt(partial(_set_sync, "full"))
        done = self._commit(partial(_put, key, value))
        self._attempt(partial(_set_sync, self._sync))
        return done

    def tend(self, now: int) -> None:
        """What there is to do beside writing, some of it each time. To be called every second.

        `now` is in µs, by a clock that only goes forward. Tries again what could not be written, removes what has been
        there for too long, and copies the log when idle.
        """
        self._age(now)
        self._look()
        if self._db is None or self._spoilt:
            return
        if self._waiting or self._failing:
            self._catch_up(CATCH_UP)
        if not self._failing and (self._stamped < 0 or self._about.uptime - self._stamped >= STAMPED):
            self._stamp()
        copy = self._grown() >= TIDY
        if not copy and (self._failing or not self._waiting):  # on a full disk this may be what makes room
            copy = not self._prune(self._about.uptime - self._lifetime) and self._idle and not self._copied
        if copy:
            self._copy()
        self._idle = True

    def _age(self, now: int) -> None:
        """Add what has passed since the last call to the uptime: no more than is believed of any clock."""
        passed = 0 if self._seen is None else max(0, now - self._seen)
        self._seen = now
        self._about = self._about._replace(uptime=self._about.uptime + min(passed, STEP))

    def _stamp(self) -> None:
        about = self._about
        if self._commit(partial(_write_about, about)):
            self._stamped = about.uptime

    def _note(self, row: _Row) -> None:
        name, seq, *_ = row
        stream = self._streams.get(name)
        if stream is None:
            stream = self._add(name, _Stream(self._next, seq - 1, seq - 1, None))
            self._next += 1
        if seq > stream.last + 1:
            stream.floor = seq - 1
        stream.last = max(stream.last, seq)

    def _keep(self, fresh: Sequence[_Waiting]) -> None:
        """Have rows wait. What is too much is dropped, the oldest first: all of it if there is no file."""
        for each in fresh:
            self._waiting.append(each)
            self._streams[each.row[0]].kept.append(each.row)
            self._kept += 1
            self._kept_bytes += _size(each.row)
        room = 0 if self._db is None else KEPT
        others: list[_Forgotten | Key] = []
        while self._kept_bytes > room:
            oldest = self._waiting.popleft()
            if isinstance(oldest, _Waiting):
                stream = self._release(oldest.row)
                stream.floor = max(stream.floor, oldest.row[1])
                self._dropped += 1
            else:
                others.append(oldest)
        self._waiting.extendleft(reversed(others))

    def _release(self, row: _Row) -> _Stream:
        """The oldest of those that are kept is so no more; its stream."""
        stream = self._streams[row[0]]
        stream.kept.popleft()
        self._kept -= 1
        self._kept_bytes -= _size(row)
        return stream

    def _catch_up(self, most: int) -> bool:
        """Write what waits, or so much of it as one call may; whether nothing waits any more."""
        if self._failing and not self._write_some(PROBE):
            return False
        if self._waiting and not self._write_some(most):
            return False
        self._failing = False
        more = f"{self._path}: {self._kept} messages are still to be written, which goes on by itself"
        self._unwritten = more if self._kept else ""
        return not self._kept

    def _write_some(self, most: int) -> bool:
        some = list(islice(self._waiting, most))
        if not self._write(some):
            return False
        for each in some:
            self._waiting.popleft()
            if isinstance(each, _Waiting):
                self._release(each.row)
        return True

    def _write(self, items: Sequence[_Waiting | _Forgotten | Key]) -> bool:
        """Commit items, with the floors of their streams where these have moved; whether that was possible."""
        names = {item.row[0] for item in items if isinstance(item, _Waiting)}
        moved = {name: stream for name in names if (stream := self._streams[name]).saved != stream.floor}
        floors = [(stream.number, name, stream.floor) for name, stream in moved.items()]
        keys = {item.name: item for item in items if isinstance(item, Key)}
        new = [name for name in keys if name not in self._known]
        about = self._about._replace(keys=len(self._known) + len(new)) if new or self._stamped < 0 else None
        batch = _Batch(self._prepared(items), floors, list(keys.values()), about, probe=self._failing)
        if not self._commit(batch.write):
            return False
        for stream in moved.values():
            stream.saved = stream.floor
        for name in new:
            self._known.add(name)
        for key in keys.values():
            if self._news.get(key.name) is key:
                del self._news[key.name]
        if about is not None:
            self._about, self._stamped = about._replace(uptime=self._about.uptime), about.uptime
        return True

    def _prepared(self, items: Sequence[_Waiting | _Forgotten | Key]) -> list[_Event | _Forgotten]:
        numbers = self._streams
        return [
            _Event(numbers[item.row[0]].number, item.uptime, *item.row[1:]) if isinstance(item, _Waiting) else item
            for item in items
            if not isinstance(item, Key)
        ]

    def _prune(self, before: int) -> bool:
        """Remove the oldest messages, if they came at an uptime before that one; whether there were any."""
        oldest = self._old(self._attempt(_oldest) or [], before)
        if not oldest:
            return False
        floors: dict[_Stream, int] = {}
        for each in oldest:
            stream = self._numbered[each.stream]
            floors[stream] = max(each.seq, floors.get(stream, stream.floor))
        names = {stream.number: name for name, stream in self._streams.items() if stream in floors}
        rows = [(stream.number, names[stream.number], floor) for stream, floor in floors.items()]
        if not self._commit(partial(_delete, oldest, rows)):
            return False
        for stream, floor in floors.items():
            stream.floor = stream.saved = floor
        return True

    def _old(self, found: list[_Old], before: int) -> list[_Old]:
        """Return those that came first, up to one that is to be kept."""
        room = PRUNED_BYTES
        for count, old in enumerate(found):
            if old.stream not in self._numbered:
                self._failed(Damage("a message is unreadable"))
                return []
            uptime = 0 if old.uptime > schema.TIMES_OF_DAY else old.uptime
            if room < 0 or (uptime >= before and old.seq > self._numbered[old.stream].floor):
                return found[:count]
            room -= old.size
        return found

    # -- reading

    def last(self) -> dict[bytes, int]:
        """The last number of every stream there ever was."""
        return {name: stream.last for name, stream in self._streams.items()}

    def first(self, stream: bytes) -> int:
        """The oldest number that can be read, with all that follow; the next one to come if there is none."""
        known = self._streams.get(stream)
        return known.floor + 1 if known else 1

    def state(self) -> list[tuple[bytes, bytes, bytes]]:
        """Topic, identity and body of the newest message on disk of each topic and identity."""
        return self._attempt(schema.states) or []

    def open_keys(self) -> list[Key]:
        """Return the keys that were open when the store was opened."""
        return self._open_keys

    def key(self, name: bytes) -> bytes | None:
        """Return what belongs to a key; None if there is no such key, or, with a fault, if it cannot be read."""
        if (waiting := self._news.get(name)) is not None:
            return waiting.value
        return self._attempt(partial(_get_key, name)) if name in self._known else None

    def read(self, stream: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        """Number, topic and body of the messages `first` to `last` of a stream, in order.

        No more than `most`, and no more than have `most_bytes`, but one. It ends early, with a fault, where the file
        cannot be read.
        """
        known = self._streams.get(stream)
        if known is None:
            return []
        first, last = max(first, known.floor + 1), min(last, known.last, first + most - 1)
        page, kept = _Page(first, most_bytes), known.kept
        written = min(last, kept[0][1] - 1) if kept else last
        if first <= written:
            self._attempt(partial(_fetch, page, known.number, written))
        for _, seq, _, topic, body, *_ in islice(kept, bisect_left(kept, first, key=itemgetter(1)), None):
            if seq != page.following or seq > last or not page.take(topic, body):
                break
        return page.found

    def get(self, key: str) -> bytes | None:
        """The value that was kept by this name; None if there is none."""
        return self._attempt(partial(_get, key))

    def figures(self) -> dict[str, Any]:
        """How it does. The longest commit is that since this was asked last, p50 and p99 are of the last 1,000."""
        longest, self._longest_ms = self._longest_ms, 0.0
        return {
            "name": self.name,
            "fault": self.fault,
            "kept": self._kept,
            "dropped": self._dropped,
            "bytes": _bytes(self._path) + _bytes(self._wal),
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

    def _commit(self, change: Callable[[sqlite3.Connection], None]) -> bool:
        """Make a change in one transaction; whether that was possible."""
        if self._spoilt:
            return False
        started = perf_counter()
        if not self._attempt(partial(_transact, change)):
            self._slowest = max(self._slowest, perf_counter() - started)
            return False
        self._commits += 1
        self._commit_ms = (perf_counter() - started) * 1000
        self._longest_ms = max(self._longest_ms, self._commit_ms)
        self._slowest = max(self._slowest, self._commit_ms / 1000)
        self._recent.append(self._commit_ms)
        self._copied = False
        if self._grown() >= WAL:
            self._copy()
        return True

    def _grown(self) -> int:
        """Bytes of the log since it was copied last."""
        size = _bytes(self._wal)
        if size < self._copied_to:  # it has begun anew
            self._copied_to = 0
        return size - self._copied_to

    def _copy(self) -> None:
        """Copy what was committed from the log into the file. If no one reads the log, it then begins anew."""
        copied = self._attempt(_checkpoint, copying=True)
        if copied is not None:
            self._copied, self._uncopied = copied, ""
        self._copied_to = _bytes(self._wal)

    def _look(self) -> None:
        """See that the file is still the one that was opened: what is written to another is lost."""
        if self._db is None or (_inode(self._path) == self._file and self._wal.exists()):
            return
        self._spoilt = self._failing = True
        self._unwritten = f"{self._path}: it, or its -wal, was removed or replaced while in use; restart ibbridge"

    def _attempt(self, work: Callable[[sqlite3.Connection], T], *, copying: bool = False) -> T | None:
        """What `work` gives; None if there is no file or, with a fault, if SQLite failed."""
        if self._db is not None:
            with self._watching(copying=copying):
                return work(self._db)
        return None

    @contextmanager
    def _watching(self, *, copying: bool = False) -> Iterator[None]:
        """Make a fault of what SQLite fails with."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of damaged names and texts
            self._failed(error, copying=copying)

    def _failed(self, error: Exception, *, copying: bool = False) -> None:
        """Make a fault of an error of SQLite's."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        self._spoilt = self._spoilt or code in _DAMAGED
        for_good = self._spoilt or self._db is None
        what_then = "then restart ibbridge" if for_good else "it is tried again by itself"
        fault = f"{self._path}: {error}; {_ADVICE.get(code, 'see what the system log says')}, {what_then}"
        if copying and not self._spoilt:
            self._uncopied = fault
        else:
            self._failing, self._unwritten = True, fault


class _Old(NamedTuple):
    """A message that may be too old."""

    id: int
    stream: int
    seq: int
    uptime: int
    size: int
    topic: bytes
    identity: bytes | None


class _Event(NamedTuple):
    """A message as it is written."""

    stream: int
    uptime: int
    seq: int
    ts: int
    topic: bytes
    body: bytes
    identity: bytes | None
    key: bytes | None


class _Batch(NamedTuple):
    """What one commit writes: messages and forgotten states in order, and what goes with them."""

    items: list[_Event | _Forgotten]
    floors: list[tuple[int, bytes, int]]
    keys: list[Key]
    about: About | None
    probe: bool

    def write(self, db: sqlite3.Connection) -> None:
        """Write it, within a transaction."""
        if self.probe:
            _probe(db)
        for floor in self.floors:
            schema.put_stream(db, *floor)
        if self.keys:
            schema.put_keys(db, self.keys)
        if self.about is not None:
            schema.put_about(db, self.about)
        self._write_items(db)

    def _write_items(self, db: sqlite3.Connection) -> None:
        events: list[tuple[Any, ...]] = []
        states: list[tuple[Any, ...]] = []
        for item in self.items:
            if isinstance(item, _Forgotten):
                db.executemany(schema.PUT_STATE, states)  # in order: what is forgotten may be said again behind it
                states.clear()
                _forget(item, db)
                continue
            stream, uptime, seq, _, topic, body, identity, key = item
            check = of_event((stream, seq, uptime), identity, topic, body)
            events.append((stream, seq, uptime, check, identity, topic, body))
            if identity is not None:
                state = (topic, identity, stream, seq, key, None)
                states.append((*state, checksum(*state)))
        db.executemany(schema.PUT_STATE, states)
        db.executemany(schema.PUT_EVENT, events)


class _Page:
    """Messages from a number on, without a hole, as far as there is room for them: for one there always is."""

    def __init__(self, first: int, room: int) -> None:
        self.found: list[tuple[int, bytes, bytes]] = []
        self.following = first
        self._room = room

    def take(self, topic: bytes, body: bytes) -> bool:
        """Add the following one; False if there is no room."""
        self._room -= len(topic) + len(body)
        if self._room < 0 and self.found:
            return False
        self.found.append((self.following, topic, body))
        self.following += 1
        return True


# -- what is said to SQLite

_OLDEST = "SELECT id, stream, seq, uptime, length(topic) + length(body), topic, identity FROM event ORDER BY id LIMIT ?"
_THIS_STATE = "FROM state WHERE topic = ? AND identity = ? AND stream = ? AND seq = ?"
_READ = (
    "SELECT stream, seq, uptime, identity, topic, body, checksum FROM event "
    "WHERE stream = ? AND seq BETWEEN ? AND ? ORDER BY seq"
)


def _transact(change: Callable[[sqlite3.Connection], None], db: sqlite3.Connection) -> bool:
    db.execute("BEGIN IMMEDIATE")
    try:
        change(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # it may have ended it itself
            db.execute("ROLLBACK")
        raise
    return True


def _write_about(about: About, db: sqlite3.Connection) -> None:
    """Write what the file says of itself, and something else than is there: SQLite does not write what is the same."""
    _probe(db)
    schema.put_about(db, about)


def _take_over(about: About, db: sqlite3.Connection) -> None:
    """Begin an epoch. Pruned states are left of keys that have been closed since: nobody needs those any more."""
    _write_about(about, db)
    db.execute("DELETE FROM state WHERE body IS NOT NULL AND key NOT IN (SELECT name FROM key WHERE open)")


def _probe(db: sqlite3.Connection) -> None:
    """Write something: SQLite does not write what is there already."""
    db.execute("UPDATE about SET beat = 1 - beat")


def _set_sync(sync: str, db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA synchronous={sync}")


def _forget(state: _Forgotten, db: sqlite3.Connection) -> None:
    if state.identity is None:
        db.execute("DELETE FROM state WHERE topic = ?", (state.topic,))
    else:
        db.execute("DELETE FROM state WHERE topic = ? AND identity = ?", state)


def _oldest(db: sqlite3.Connection) -> list[_Old]:
    found = []
    for row in db.execute(_OLDEST, (PRUNED,)).fetchall():
        if not all(map(is_number, row[:5])):
            raise Damage("a message is unreadable")
        found.append(_Old(*row))
    return found


def _delete(oldest: list[_Old], floors: list[tuple[int, bytes, int]], db: sqlite3.Connection) -> None:
    """Remove messages. Their room in the file is used again, not given back.

    The states that they are go with them, or are kept with their bodies, where they belong to a key that is open.
    """
    for old in oldest:
        if old.identity is not None:
            _leave(old, db)
    db.execute("DELETE FROM event WHERE id <= ?", (oldest[-1].id,))
    for floor in floors:
        schema.put_stream(db, *floor)


def _leave(old: _Old, db: sqlite3.Connection) -> None:
    named = (old.topic, old.identity, old.stream, old.seq)
    found = db.execute(f"SELECT key {_THIS_STATE}", named).fetchone()
    if found is None:
        return
    db.execute(f"DELETE {_THIS_STATE}", named)
    if found[0] is not None and db.execute("SELECT 1 FROM key WHERE name = ? AND open", found).fetchone():
        row = db.execute("SELECT uptime, body, checksum FROM event WHERE id = ?", (old.id,)).fetchone()
        event = (old.stream, old.seq, row[0], old.identity, old.topic, row[1])
        if not schema.is_intact(event, row[2]):
            raise Damage(f"a message is unreadable: number {old.seq} of {old.topic!r}")
        state = (*named, found[0], row[1])
        db.execute(schema.PUT_STATE, (*state, checksum(*state)))


def _fetch(page: _Page, stream: int, last: int, db: sqlite3.Connection) -> None:
    """Fill a page with messages of a stream, up to number `last`."""
    with closing(db.execute(_READ, (stream, page.following, last))) as cursor:
        for *event, check in cursor:
            if event[1] != page.following or not schema.is_intact(tuple(event), check):
                break
            if not page.take(event[4], event[5]):
                return
    if page.following <= last:
        raise Damage(f"a message is unreadable, or is not there: number {page.following} of stream {stream}")


def _put(key: str, value: bytes, db: sqlite3.Connection) -> None:
    db.execute(schema.PUT_VALUE, (key, value, checksum(key, value)))


def _get(key: str, db: sqlite3.Connection) -> bytes | None:
    found: tuple[bytes, int] | None = db.execute("SELECT value, checksum FROM value WHERE key = ?", (key,)).fetchone()
    if found is None:
        return None
    if found[1] != checksum(key, found[0]):
        raise Damage(f"the value {key!r} is unreadable")
    return found[0]


def _get_key(name: bytes, db: sqlite3.Connection) -> bytes:
    found = db.execute("SELECT value, open, checksum FROM key WHERE name = ?", (name,)).fetchone()
    if found is None or found[2] != checksum(name, *found[:2]):
        raise Damage(f"an order's key is unreadable, or is not there: {name!r}")
    value: bytes = found[0]
    return value


def _checkpoint(db: sqlite3.Connection) -> bool:
    """Whether everything is copied now."""
    busy, frames, copied = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and bool(frames == copied)


def _size(row: _Row) -> int:
    """About what it takes in memory."""
    return len(row[3]) + len(row[4]) + len(row[5] or b"") + 400


def _share(values: Collection[float], share: float) -> float:
    """The value below which this share of them is; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def _bytes(path: pathlib.Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _inode(path: pathlib.Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text or "0"
