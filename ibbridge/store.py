"""Durable messages on disk: one SQLite file, in which whatever was committed is there after the process is killed.

Knows SQLite, files and locks. Must not know what a topic or a body means, msgpack, ZeroMQ, the event loop or the time
of day (it is given `now`; only commits are timed). It is called from an event loop, so every call is bounded.

Two rules keep it simple. SQLite's errors are caught in one place and become `fault`, a sentence for operators: no call
but `open` raises. And what cannot be written waits in memory, in order, for the next call that can: until then it is
read from there.

The schema is the cheapest of those measured, to write and to prune. Rows stand in order of arrival: a commit appends to
one page, whatever streams are in it, and what is oldest is together at the front. Finding a message by its number takes
an index, whose entries are small. With the key (stream, seq) and no index, rows of many streams are written to as many
pages: one commit of 500 rows in 400 streams takes more than twice as long, and checkpoints too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
import zlib
from bisect import bisect_left
from collections import deque
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import islice
from operator import itemgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Collection, Iterator, Sequence

T = TypeVar("T")

SCHEMA = 1
"""Which it is. The file says which it has; another than this is left alone."""

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

RECENT = 1_000
"""Commits of which it is told how long they took."""

_BUSY = 0.002  # seconds; nobody else ought to write, and a reader is in nobody's way
_OURS = 0x69626272  # SQLite's application_id: "ibbr"
_DAY = 86_400_000_000

# Numbers up to `floor` are gone, pruned or never written; those from there to the last are there without a hole.
# `state` refers to the newest message of each topic and identity. `about` is one row; `beat` is there to be written.
_SCHEMA = f"""
CREATE TABLE about (name TEXT NOT NULL, beat INTEGER NOT NULL);
CREATE TABLE stream (number INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, floor INTEGER NOT NULL);
CREATE TABLE event (
    id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL, ts INTEGER NOT NULL,
    checksum INTEGER NOT NULL, identity BLOB, topic BLOB NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX event_by_number ON event (stream, seq);
CREATE TABLE state (
    topic BLOB NOT NULL, identity BLOB NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (topic, identity)
) WITHOUT ROWID;
CREATE TABLE value (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
PRAGMA application_id={_OURS};
PRAGMA user_version={SCHEMA}
"""

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


_Row = tuple[bytes, int, int, bytes, bytes, bytes | None]
"""A message: stream, the number in it, µs since 1970 UTC, topic, body, and the name of the state that it is, if any."""


class _Damage(sqlite3.DatabaseError):
    """Something that SQLite does not notice: it keeps no checksums."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class _Forgotten(NamedTuple):
    """A state that is none any more; without an `identity`, all of the topic."""

    topic: bytes
    identity: bytes | None


class _Stream:
    """What is known of a stream: see the schema. `saved` is its floor on disk, None if it is not there at all."""

    __slots__ = ("floor", "kept", "last", "number", "saved")

    def __init__(self, number: int, floor: int, last: int, saved: int | None) -> None:
        self.number = number
        self.floor = floor
        self.last = last
        self.saved = saved
        self.kept: deque[_Row] = deque()  # its rows that wait to be written


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
        self._waiting: deque[_Row | _Forgotten] = deque()
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

    def open(self, epoch: int) -> None:
        """Lock the directory, and open or create the file. StoreError if the directory is not to be had.

        Whatever else is wrong is said by `fault`. A file that is not a store of this version is left as it is, nothing
        is kept then, and `name` is made of the epoch.
        """
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
            return
        with self._watching():
            self._start()
        self._commit(_probe)

    def close(self) -> None:
        """Write what waits, as far as that is possible, and let others have it. Once closed, does nothing."""
        while self._waiting and self._write_some(CATCH_UP):
            pass
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

    def _start(self) -> None:
        """Take up what is in the file, or begin it; if it is unfit, say so."""
        with ExitStack() as opened:
            db = opened.enter_context(closing(self._connect()))
            if unfit := self._unfit(db):
                self._unwritten = f"{self._path}: {unfit}, then restart ibbridge"
                return
            self._load(db)
            self._db = db
            # First in, last out: the lock goes when the file is closed.
            self._opened.push(opened.pop_all())
        self._file = _inode(self._path)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None)

    def _unfit(self, db: sqlite3.Connection) -> str:
        """Why the file is none of ours, and what to do; empty if it is ours, as it is from here on if it was empty."""
        if not _bytes(self._path) and _bytes(self._wal):
            return "it is empty, and its -wal is not: it was cut off; move both away"
        ours, made = _one(db, "PRAGMA application_id"), _one(db, "PRAGMA user_version")
        empty = ours == made == _one(db, "SELECT count(*) FROM sqlite_schema") == 0
        if not empty and ours != _OURS:
            return "it is no store of ibbridge's; move it away, or choose another directory"
        if not empty and made != SCHEMA:
            age = "an older" if made < SCHEMA else "a newer"
            return f"it was made by {age} ibbridge (schema {made}; this one has {SCHEMA}); move it away, or run it"
        db.execute("PRAGMA journal_mode=WAL")  # it stays so, unless somebody has changed it
        if empty:
            _create(db)
        db.execute("PRAGMA wal_autocheckpoint=0")  # to copy is to wait for the disk: when, is decided here
        db.execute("PRAGMA journal_size_limit=0")  # the log is cut when it begins anew: its size says what is in it
        db.execute("PRAGMA cache_size=-8192")  # kB
        db.execute(f"PRAGMA synchronous={self._sync}")
        return ""

    def _load(self, db: sqlite3.Connection) -> None:
        name = _one(db, "SELECT name FROM about")
        if not isinstance(name, str):
            raise _Damage("its name is gone")
        found = db.execute(_STREAMS).fetchall()
        if not all(isinstance(stream, bytes) and all(map(_is_number, numbers)) for stream, *numbers in found):
            raise _Damage("a stream is unreadable")
        for stream, number, floor, last in found:
            self._add(stream, _Stream(number, floor, max(floor, last), floor))
        self.name = name
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
        if self._failing or self._kept:
            self._keep(rows)
            return self._catch_up(CATCH_UP + len(rows))
        if not self._write([*self._waiting, *rows] if self._waiting else rows):
            self._keep(rows)
            return False
        self._waiting.clear()
        return True

    def forget(self, topic: bytes, identity: bytes | None) -> None:
        """This is no state any more; nothing of the topic is, without an identity. Written with the next append."""
        if self._db is not None:
            self._waiting.append(_Forgotten(topic, identity))

    def put(self, key: str, value: bytes) -> bool:
        """Keep a value by name, on the disk before this returns; False, with a fault, if that was not possible."""
        self._attempt(partial(_set_sync, "full"))
        done = self._commit(partial(_put, key, value))
        self._attempt(partial(_set_sync, self._sync))
        return done

    def tend(self, now: int) -> None:
        """What there is to do beside writing, some of it each time. To be called every second.

        Tries again what could not be written, removes what is too old at `now`, and copies the log when idle.
        """
        self._look()
        if self._db is None or self._spoilt:
            return
        if self._waiting or self._failing:
            self._catch_up(CATCH_UP)
        copy = self._grown() >= TIDY
        if not copy and (self._failing or not self._waiting):  # on a full disk this may be what makes room
            copy = not self._prune(now - self._lifetime) and self._idle and not self._copied
        if copy:
            self._copy()
        self._idle = True

    def _note(self, row: _Row) -> None:
        name, seq, *_ = row
        stream = self._streams.get(name)
        if stream is None:
            stream = self._add(name, _Stream(self._next, seq - 1, seq - 1, None))
            self._next += 1
        if seq > stream.last + 1:
            stream.floor = seq - 1
        stream.last = max(stream.last, seq)

    def _keep(self, rows: Sequence[_Row]) -> None:
        """Have rows wait. What is too much is dropped, the oldest first: all of it if there is no file."""
        for row in rows:
            self._waiting.append(row)
            self._streams[row[0]].kept.append(row)
            self._kept += 1
            self._kept_bytes += _size(row)
        room = 0 if self._db is None else KEPT
        forgotten: list[_Forgotten] = []
        while self._kept_bytes > room:
            oldest = self._waiting.popleft()
            if isinstance(oldest, _Forgotten):
                forgotten.append(oldest)
            else:
                stream = self._release(oldest)
                stream.floor = max(stream.floor, oldest[1])
                self._dropped += 1
        self._waiting.extendleft(reversed(forgotten))

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
            if not isinstance(each, _Forgotten):
                self._release(each)
        return True

    def _write(self, rows: Sequence[_Row | _Forgotten]) -> bool:
        """Commit rows, with the floors of their streams where these have moved; whether that was possible."""
        names = {row[0] for row in rows if not isinstance(row, _Forgotten)}
        moved = {name: stream for name in names if (stream := self._streams[name]).saved != stream.floor}
        if not self._commit(partial(self._insert, rows, moved)):
            return False
        for stream in moved.values():
            stream.saved = stream.floor
        return True

    def _insert(self, rows: Sequence[_Row | _Forgotten], moved: dict[bytes, _Stream], db: sqlite3.Connection) -> None:
        if self._failing:
            _probe(db)
        for name, stream in moved.items():
            db.execute("REPLACE INTO stream VALUES (?, ?, ?)", (stream.number, name, stream.floor))
        events: list[tuple[Any, ...]] = []
        states: list[tuple[Any, ...]] = []
        for row in rows:
            if isinstance(row, _Forgotten):
                db.executemany(_REPLACE, states)  # in order: what is forgotten here may be said again behind it
                states.clear()
                _forget(row, db)
                continue
            name, seq, ts, topic, body, identity = row
            number = self._streams[name].number
            events.append((number, seq, ts, _checksum(seq, topic, body), identity, topic, body))
            if identity is not None:
                states.append((topic, identity, number, seq))
        db.executemany(_REPLACE, states)
        db.executemany(_INSERT, events)

    def _prune(self, before: int) -> bool:
        """Remove the oldest messages, if they are from before that time; whether there were any."""
        oldest = self._attempt(partial(self._oldest, before))
        if not oldest:
            return False
        floors: dict[_Stream, int] = {}
        for each in oldest:
            stream = self._numbered[each.stream]
            floors[stream] = max(each.seq, floors.get(stream, stream.floor))
        if not self._commit(partial(_delete, oldest, {each.number: floor for each, floor in floors.items()})):
            return False
        for stream, floor in floors.items():
            stream.floor = stream.saved = floor
        return True

    def _oldest(self, before: int, db: sqlite3.Connection) -> list[_Old]:
        """Those that came first, up to one that is to be kept."""
        found: list[_Old] = []
        room = PRUNED_BYTES
        for row in db.execute(_OLDEST, (PRUNED,)).fetchall():
            if not all(_is_number(each) for each in row[:5]) or row[1] not in self._numbered:
                raise _Damage("a message is unreadable")
            old = _Old(*row)
            if room < 0 or (old.ts >= before and old.seq > self._numbered[old.stream].floor):
                break
            room -= old.size
            found.append(old)
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
        return self._attempt(_state) or []

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
        for _, seq, _, topic, body, _ in islice(kept, bisect_left(kept, first, key=itemgetter(1)), None):
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
    ts: int
    size: int
    topic: bytes
    identity: bytes | None


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

_INSERT = "REPLACE INTO event (stream, seq, ts, checksum, identity, topic, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
_REPLACE = "REPLACE INTO state VALUES (?, ?, ?, ?)"
_OLDEST = "SELECT id, stream, seq, ts, length(topic) + length(body), topic, identity FROM event ORDER BY id LIMIT ?"
_STREAMS = (
    "SELECT name, number, floor, ifnull((SELECT max(seq) FROM event WHERE event.stream = stream.number), 0) FROM stream"
)
_READ = "SELECT seq, topic, body, checksum FROM event WHERE stream = ? AND seq BETWEEN ? AND ? ORDER BY seq"
_STATE = "SELECT seq, topic, body, checksum, state.identity FROM state JOIN event USING (stream, seq, topic)"


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


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
    db.execute("INSERT INTO about VALUES (?, 0)", (f"s-{_base36(secrets.randbits(60))}",))
    db.execute("COMMIT")


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


def _delete(oldest: list[_Old], floors: dict[int, int], db: sqlite3.Connection) -> None:
    """Remove messages, with the states that they are. Their room in the file is used again, not given back."""
    db.execute("DELETE FROM event WHERE id <= ?", (oldest[-1].id,))
    db.executemany("UPDATE stream SET floor = ?2 WHERE number = ?1", floors.items())
    states = [(each.topic, each.identity, each.stream, each.seq) for each in oldest if each.identity is not None]
    db.executemany("DELETE FROM state WHERE topic = ? AND identity = ? AND stream = ? AND seq = ?", states)


def _fetch(page: _Page, stream: int, last: int, db: sqlite3.Connection) -> None:
    """Fill a page with messages of a stream, up to number `last`."""
    with closing(db.execute(_READ, (stream, page.following, last))) as cursor:
        for seq, topic, body, checksum in cursor:
            if seq != page.following or checksum != _checksum(seq, topic, body):
                break
            if not page.take(topic, body):
                return
    if page.following <= last:
        raise _Damage(f"a message is unreadable, or is not there: number {page.following} of stream {stream}")


def _state(db: sqlite3.Connection) -> list[tuple[bytes, bytes, bytes]]:
    found = []
    for seq, topic, body, checksum, identity in db.execute(_STATE).fetchall():
        if checksum != _checksum(seq, topic, body) or not isinstance(identity, bytes):
            raise _Damage(f"a message is unreadable: number {seq} of {topic!r}")
        found.append((topic, identity, body))
    return found


def _put(key: str, value: bytes, db: sqlite3.Connection) -> None:
    db.execute("REPLACE INTO value VALUES (?, ?)", (key, value))


def _get(key: str, db: sqlite3.Connection) -> bytes | None:
    found: tuple[bytes] | None = db.execute("SELECT value FROM value WHERE key = ?", (key,)).fetchone()
    return found[0] if found else None


def _checkpoint(db: sqlite3.Connection) -> bool:
    """Whether everything is copied now."""
    busy, frames, copied = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and bool(frames == copied)


def _one(db: sqlite3.Connection, query: str) -> Any:
    found = db.execute(query).fetchone()
    return found[0] if found else None


def _is_number(found: object) -> bool:
    """Whether it can be one of ours."""
    return isinstance(found, int) and 0 <= found < 2**53


def _checksum(seq: int, topic: object, body: object) -> int:
    """Of a message; -1, which none has, if it is of another form."""
    if not isinstance(topic, bytes) or not isinstance(body, bytes):
        return -1
    return zlib.crc32(body, zlib.crc32(topic, seq & 0xFFFFFFFF))


def _size(row: _Row) -> int:
    """About what it takes in memory."""
    _, _, _, topic, body, identity = row
    return len(topic) + len(body) + len(identity or b"") + 400


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
