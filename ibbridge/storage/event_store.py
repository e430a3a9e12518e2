"""The event store: durable messages in one SQLite file. Committed messages survive the kill of the process.

The module is the face of the store, and wires its parts. `opening` opens the file, `writer` writes and `retention`
removes messages; all of them use the file through `disk`. The module must not know what a topic or a body means,
msgpack, ZeroMQ, the event loop or the time of day (the caller gives `now`, of a monotonic clock). An event loop calls
the store, so every call is bounded: only the disk thread uses the file, and a call waits for the thread at most
`patience` seconds, and hardly at all once the disk is known to hang.

Two rules keep the store simple. First, errors of the disk, and its silence, become `fault`, a sentence for operators:
no call but `open` raises. Second, messages that cannot be written wait in memory, in order, until a later call can
write them; until then they are read from memory.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ibbridge.storage import event_table, schema
from ibbridge.storage.commit_times import CommitTimes
from ibbridge.storage.contents import Contents
from ibbridge.storage.directory import Files, StoreDirectory
from ibbridge.storage.disk import CLOSING, Disk, DiskHealth, StoreOutside
from ibbridge.storage.event_table import Forgotten, Page
from ibbridge.storage.faults import Faults, StoreError, is_full, may_pass
from ibbridge.storage.keys import Found, Key
from ibbridge.storage.opening import Opening, UnfitError
from ibbridge.storage.retention import Retention
from ibbridge.storage.schema import About
from ibbridge.storage.write_ahead_log import WriteAheadLog
from ibbridge.storage.writer import Writer

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

    from ibbridge.storage.contents import Row
    from ibbridge.storage.opening import Adopt

__all__ = ["EventStore", "StoreError"]

KEPT = 64 * 2**20
"""Bytes of unwritten messages that are kept in memory."""

LATEST = 2**52
"""Highest epoch that a clock can give (the year 2112): the epochs after it have room below 2^53."""


def _no_keys(_: Iterator[tuple[bytes, bytes]]) -> Found:
    return Found([], {}, 0)


class EventStore:
    """Event store in a directory. Before `open` and after `close` the store writes and finds nothing.

    `days` is how long messages are kept. `sync` is "normal" (commits survive the process) or "full" (commits also
    survive a loss of power). `most_bytes` is the largest size of the file. `patience` is how many seconds a call, and
    with it the daemon, waits for the disk.
    """

    outside = StoreOutside()
    """Surroundings of the store. A store in a test has others."""

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        days: float,
        sync: str = "normal",
        most_bytes: int = 4 * 2**30,
        patience: float = 0.5,
    ) -> None:
        self.stuck = False
        """True if the disk did not answer before the store was closed: the disk thread still waits."""
        self._directory = StoreDirectory(directory)
        self._sync = sync
        self._faults = Faults(self._directory.path)
        self._times = CommitTimes()
        self._contents = Contents()
        self._disk = Disk(self._directory, self._faults, self._times, patience, self.outside.thread)
        self._log = WriteAheadLog(self._disk, self._times, sync)
        self._retention = Retention(self._disk, self._log, self._contents, days, most_bytes)
        self._writer = Writer(self._disk, self._log, self._contents, self._retention)
        self._again: Adopt | None = None  # set if the file could not be opened, but may be later
        self._inode = 0
        self._size = 0
        self._idle = True  # nothing was appended since the last `tick`

    @property
    def disk_health(self) -> DiskHealth:
        """The health of the disk, for other files on it."""
        return self._disk.health

    @property
    def name(self) -> str:
        """The name of the store, for ever: with another name, sequence numbers begin anew."""
        return self._contents.about.name

    @property
    def before(self) -> str:
        """The name of an earlier store in this directory whose file has vanished before this start."""
        return self._directory.before

    @property
    def standstill(self) -> str:
        """A sentence if only a new process could use the file again, which a fault of the disk is not; else ""."""
        return self._disk.standstill

    @property
    def fault(self) -> str:
        """The fault that prevents writing, its place, and what to do about it; empty if there is none."""
        if not self._faults.unwritten and self.uncommitted:
            return (
                f"{self._directory.path}: {self.uncommitted} messages are still to be written, which goes on by itself"
            )
        return self._faults.unwritten or self._faults.uncopied

    @property
    def uncommitted(self) -> int:
        """The number of messages that are not on the disk yet."""
        return self._writer.backlog.messages

    @property
    def shortage(self) -> str:
        """A sentence for operators about a store that is nearly full or full; empty if there is enough room."""
        shortage = self._retention.shortage
        return f"{self._directory.path} {shortage}" if shortage else ""

    # -- opening and closing

    def open(self, clock: int, adopt: Adopt = _no_keys) -> int:
        """Lock the directory, open or create the file, and return the new epoch.

        The epoch is `clock` (µs since 1970 UTC), or the last epoch plus 1 if that is higher: so the epoch rises with
        each start, even if the clock was set back. `adopt` finds the order keys in the messages of a store of schema 1.

        Raise StoreError if the directory cannot be made or locked. `fault` tells of anything else that is wrong. A file
        that is no store, or of a later schema, is left as it is; then nothing is kept, and `name` is made from the
        epoch. On a full disk `tick` tries again, and messages are kept in memory until then.
        """
        epoch = min(clock, LATEST)
        self._contents.about = About(f"e-{_base36(epoch)}", epoch, 0, 0)
        self._open(adopt, f"s-{_base36(self.outside.random_bits(60))}")
        about = self._contents.about
        if self._disk.is_open:
            self._log.commit(partial(event_table.take_over, about), lambda _: self._contents.stamped(about))
        return about.epoch

    def _open(self, adopt: Adopt, name: str) -> None:
        """Open the file, or create a store of this name. If neither is possible, set the fault."""
        self._again = None
        try:
            self._directory.prepare()
            self._load(Opening(self._directory, self._contents, self._sync, adopt, name, self.outside.connect))
        except OSError as error:
            self._again = adopt if may_pass(error) else None
            self._faults.no_access(error)
        except UnfitError as error:
            self._faults.unfit(str(error))
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._again = adopt if is_full(error) else None
            self._faults.failed(error, retried=self._again is not None)

    def _load(self, opening: Opening) -> None:
        with ExitStack() as opened:
            db = opened.enter_context(closing(opening.connect()))
            self._retention.load(db)
            self._disk.open(db)
            opened.pop_all()
        self._faults.recovered()
        files = self._directory.files()
        self._inode, self._size = files.inode, files.size
        self._directory.write_name(self.name)

    def _open_late(self, adopt: Adopt) -> None:
        """Try again to open a file that could not be opened at the start."""
        try:
            self._open(adopt, self.name)
        except StoreError as error:
            self._faults.refused(error)

    def close(self) -> None:
        """Write the backlog as far as possible, close the file, and release the lock. A second call does nothing.

        Closing takes about `CLOSING` seconds at most. If the disk has not answered by then the store is `stuck`: the
        end of the process releases the lock.
        """
        if self._disk.is_open:
            until = perf_counter() + CLOSING
            self._writer.write_rest(until)
            self.stuck = not self._disk.close(until)
        elif not self.stuck:  # a stuck thread may still use the file
            self._directory.release()
        self._again = None

    # -- writing

    def append(self, rows: Sequence[Row]) -> bool:
        """Commit rows. Return False, and set the fault, if the commit failed; then keep the rows and try again later.

        Sequence numbers must rise in each stream. A hole in them makes all earlier messages of the stream unreadable.
        """
        self._idle = False
        return self._writer.append(rows, KEPT if self._keeps else 0)

    def forget(self, topic: bytes, identity: bytes | None) -> None:
        """Remove a state, or without an identity all states of the topic. Written with the next `append`."""
        if self._keeps:
            self._writer.backlog.add(Forgotten(topic, identity))

    def remember(self, *keys: Key) -> None:
        """Keep order keys for ever. Written with the next `append`."""
        for key in keys if self._keeps else ():
            self._writer.backlog.add(key)

    def put(self, key: str, value: bytes) -> bool:
        """Keep a value by name, on the disk before the return. Return False, and set the fault, if that failed."""
        return self._log.commit(partial(event_table.put_value, key, value), for_sure=True)

    @property
    def _keeps(self) -> bool:
        """True if there is a file to write to, or may be one later."""
        return self._disk.is_open or self._again is not None

    # -- maintenance

    def tick(self, now: int) -> None:
        """Do a part of the maintenance. Call it every second.

        `now` is in µs, of a monotonic clock. Retry failed writes, remove messages that are too old or too many, and
        copy the log when idle.
        """
        self._contents.age(now)
        if self._again is not None:
            self._open_late(self._again)
        self._look()
        if not self._disk.is_open or self._faults.spoilt or self._disk.is_late:
            return
        self._writer.catch_up()
        if self._contents.stamp_due and not self._faults.failing:
            self._writer.stamp()
        self._tidy()
        self._idle = True

    def _look(self) -> None:
        """Check that the file is still the one that was opened: messages written to a removed file are lost."""
        files = self._disk.attempt(self._touch_disk)
        if files is None:
            return
        self._size = files.size
        if files.inode != self._inode or not files.wal_inode:
            self._faults.replaced()

    def _touch_disk(self, _: sqlite3.Connection) -> Files:
        """Write to the disk, in the disk thread, so that a hanging disk is noticed before an order is accepted."""
        self._directory.write_name(self.name)
        return self._directory.files()

    def _tidy(self) -> None:
        """Remove messages or copy the log, one of them per call."""
        if self._retention.keep_size():
            return
        copy = self._log.is_long
        if not copy and (self._faults.failing or not self._writer.backlog):  # on a full disk, pruning may make room
            copy = not self._retention.prune() and self._idle and not self._log.is_copied
        if copy:
            self._log.copy()

    # -- reading

    def last(self) -> dict[bytes, int]:
        """Return the last sequence number of every stream that there ever was."""
        return self._contents.last()

    def first(self, stream: bytes) -> int:
        """Return the oldest sequence number of a stream that can be read; its next number if it has no message."""
        known = self._contents.streams.get(stream)
        return known.floor + 1 if known else 1

    def state(self) -> list[tuple[bytes, bytes, bytes]]:
        """Return topic, identity and body of the newest message of each topic and identity. Only for the start."""
        return self._disk.attempt_at_start(schema.states) or []

    def open_keys(self) -> list[Key]:
        """Return the keys that were open when the store was opened."""
        return self._contents.open_keys

    def key(self, name: bytes) -> bytes | None:
        """Return the value of an order key; None if there is no such key, or (with a fault) if it is unreadable."""
        if (waiting := self._writer.backlog.key(name)) is not None:
            return waiting.value
        if name not in self._contents.known:
            return None
        value: bytes | None = self._disk.attempt(partial(event_table.value_of_key, name))
        return value

    def read(self, stream: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        """Return sequence number, topic and body of the messages `first` to `last` of a stream, in order.

        The result has at most `most` messages and `most_bytes` bytes, but at least one message. The result ends early,
        with a fault, where the file cannot be read.
        """
        known = self._contents.streams.get(stream)
        if known is None:
            return []
        first, last = max(first, known.floor + 1), min(last, known.last, first + most - 1)
        page = Page(first, most_bytes)
        backlog = self._writer.backlog
        begins = backlog.begins(stream)
        written = last if begins is None else min(last, begins - 1)
        if first <= written:
            page = self._disk.attempt(partial(event_table.fetch, first, written, known.number, most_bytes)) or page
            if page.damage is not None:
                self._faults.failed(page.damage)
        for message in backlog.messages_of(stream, first):
            if message.seq != page.following or message.seq > last or not page.take(message.topic, message.body):
                break
        return page.found

    def get(self, key: str) -> bytes | None:
        """Return the value kept by a name; None if there is none. Only for the start."""
        value: bytes | None = self._disk.attempt_at_start(partial(event_table.value, key))
        return value

    def metrics(self) -> dict[str, Any]:
        """Return the store's metrics. `longestCommitMs` is since the last call; p50 and p99 are of recent commits."""
        return {
            "name": self.name,
            "fault": self.fault,
            "kept": self._writer.backlog.messages,
            "dropped": self._writer.backlog.dropped,
            "bytes": self._size + self._disk.wal_size,
            "used": self._retention.used,
            "maxBytes": self._retention.most_bytes,
            "orderKeys": len(self._contents.known),
            **self._times.metrics(),
        }

    def slowest(self) -> float:
        """Return the seconds of the slowest commit, or attempt at one, since the last call."""
        return self._times.slowest()


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text or "0"
