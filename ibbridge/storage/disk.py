"""The disk behind the store: jobs on the open file, each waited for so long and no longer, and their faults.

Only the disk thread uses the file. A job that takes too long is late: the disk takes no other job until the late job
has ended, so that an event loop that calls the store never waits twice for a disk that hangs. The module must not know
what a job does.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ibbridge.storage.disk_thread import DiskThread, Job

if TYPE_CHECKING:
    from ibbridge.storage.commit_times import CommitTimes
    from ibbridge.storage.faults import Faults

IMPATIENCE = 0.005
"""Seconds to wait for the disk after it has not answered in time, until it answers as fast as this again."""

STARTING = 60.0
"""Seconds to wait for the store's content when the daemon starts: a daemon without it would forget a halt."""

CLOSING = 5.0
"""Seconds to write the backlog when the store is closed."""

Work = Callable[[sqlite3.Connection], Any]


class Place(Protocol):
    """Place of a file on the disk."""

    def wal_size(self) -> int:
        """Return the bytes of the write-ahead log; 0 if it is missing."""

    def release(self) -> None:
        """Release what was locked for the file, after it is closed."""


class StoreOutside(NamedTuple):
    """Surroundings of a store, which tests replace: its thread, the opening of a file, and chance."""

    thread: Callable[[], DiskThread] = DiskThread
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    random_bits: Callable[[int], int] = secrets.randbits


class _Late(NamedTuple):
    """Late job: no call waits for it any more. `then` is called when the job has succeeded."""

    job: Job
    then: Callable[[Any], None]


def nothing(_: object) -> None:
    """Ignore a result."""


class DiskHealth:
    """Health of a disk that several files share. `is_hung`: it has not answered in time, and no job was fast since."""

    def __init__(self) -> None:
        self.is_hung = False


class Disk:
    """Disk: the file, from `open` to `close`. `patience` is how many seconds a call waits for it.

    `wal_size` is the size of the write-ahead log, in bytes, after the last job. `health` is that of the disk, which
    other files may share: no call waits twice for a disk that hangs.
    """

    def __init__(
        self,
        directory: Place,
        faults: Faults,
        times: CommitTimes,
        patience: float,
        thread: Callable[[], DiskThread] = DiskThread,
    ) -> None:
        self.faults = faults
        self.wal_size = 0
        self.health = DiskHealth()
        self._directory = directory
        self._times = times
        self._patience = patience
        self._new_thread = thread
        self._db: sqlite3.Connection | None = None
        self._thread: DiskThread | None = None
        self._late: _Late | None = None

    @property
    def is_open(self) -> bool:
        """True if there is an open file."""
        return self._db is not None

    @property
    def is_late(self) -> bool:
        """True if a job has not ended in time, and not been collected since."""
        return self._late is not None

    @property
    def standstill(self) -> str:
        """A sentence if no job can ever end, because the disk thread is gone; "" for a disk that is merely late."""
        return "" if self._thread is None or self._thread.alive else "the thread that writes to it has ended"

    def open(self, db: sqlite3.Connection) -> None:
        """Begin to do jobs on an open file. From here on only the disk thread uses the connection."""
        self._db = db
        self._thread = self._new_thread()
        self.wal_size = self._directory.wal_size()

    def close(self, until: float) -> bool:
        """Close the file, and release its directory. Return False if the disk has not answered by `until`.

        `until` is a time of `perf_counter`. If the disk hangs, the thread and the lock stay: the end of the process
        ends both.
        """
        if self._db is None or self._thread is None:
            return True
        job = self._thread.submit(partial(self._release, self._db))
        closed = self._thread.wait(job, until - perf_counter()) and self._thread.end(CLOSING)
        self._db = self._thread = None
        return closed

    def _release(self, db: sqlite3.Connection) -> None:
        # The lock is released when the file is closed.
        db.close()
        self._directory.release()

    def attempt(
        self, work: Work, *, then: Callable[[Any], None] = nothing, copying: bool = False, needed: bool = False
    ) -> Any:
        """Run a job in the disk thread, and return its result.

        Return None if there is no file or, with a fault, if the job failed or takes too long. A job that takes too long
        and succeeds later still gets its `then` called. A `needed` job is waited for longer; if it fails the store is
        spoilt, because its None must not pass for an empty result.
        """
        if self._db is None or self._thread is None:
            return None
        self.collect()
        if self._late is not None:
            return None
        job = self._thread.submit(partial(self._done, work, self._db))
        if not self._thread.wait(job, STARTING if needed else IMPATIENCE if self.health.is_hung else self._patience):
            self._late = _Late(job, then)
            self.health.is_hung = True
            self.faults.stalled(self._patience)
            return None
        if job.seconds < IMPATIENCE:
            self.health.is_hung = False
        return self._result(job, then, copying=copying, needed=needed)

    def attempt_at_start(self, work: Work) -> Any:
        """Return a result that the daemon's start depends on. If reading it fails, the store is spoilt for good."""
        self.wait_for_late(0 if self.faults.spoilt else STARTING)
        found = self.attempt(work, needed=True)
        if self._late is not None and not self.faults.spoilt:
            self.faults.unread(STARTING)
        return found

    def wait_for_late(self, seconds: float) -> bool:
        """Wait at most some seconds for a late job, if there is one; return False if it has not ended."""
        return self._late is None or self._thread is None or self._thread.wait(self._late.job, seconds)

    def collect(self) -> None:
        """Complete a late job, if the disk has answered meanwhile."""
        if self._late is None or not self.wait_for_late(0):
            return
        late, self._late = self._late, None
        self._times.attempted(late.job.seconds)
        self.health.is_hung = late.job.seconds >= self._patience
        self._result(late.job, late.then)
        if late.job.error is None:
            self.faults.recovered()

    def _done(self, work: Work, db: sqlite3.Connection) -> tuple[Any, int]:
        """Do the work of a job, in the disk thread. Return its result, and the size of the log after it."""
        return work(db), self._directory.wal_size()

    def _result(self, job: Job, then: Callable[[Any], None], *, copying: bool = False, needed: bool = False) -> Any:
        """Return the result of a job that has ended; None, with a fault, if SQLite has raised an error."""
        try:
            result, self.wal_size = job.result()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter for damaged names and texts
            self.faults.spoilt = self.faults.spoilt or needed
            self.faults.failed(error, copying=copying)
            return None
        then(result)
        return result
