"""The write-ahead log of the store's file: each commit goes there first, and is copied into the file later.

SQLite would copy whenever the log is long, within a commit. Copying waits for the disk, so the module chooses the time.
It must not know what is committed.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ibbridge.storage import event_table
from ibbridge.storage.disk import nothing

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from ibbridge.storage.commit_times import CommitTimes
    from ibbridge.storage.disk import Disk

TIDY, WAL = 2**19, 2**21
"""Bytes of the write-ahead log above which it is copied into the file: by `tick` (1 to 2 ms, mostly waiting for the
disk), and by a commit (4 to 5 ms) if `tick` does not come in time."""


class WriteAheadLog:
    """Write-ahead log of the file on `disk`. `is_copied`: nothing was committed since the last whole copy.

    `most` is how many bytes the log may grow before a commit copies it.
    """

    def __init__(self, disk: Disk, times: CommitTimes, sync: str, most: int = WAL) -> None:
        self.is_copied = True
        self._disk = disk
        self._times = times
        self._sync = sync
        self._most = most
        self._copied_to = 0

    @property
    def is_long(self) -> bool:
        """True if so much is committed since the last copy that it is time for the next."""
        return self._grown() >= TIDY

    def commit(
        self,
        change: Callable[[sqlite3.Connection], None],
        then: Callable[[Any], None] = nothing,
        *,
        for_sure: bool = False,
    ) -> bool:
        """Make a change in one transaction. Return True on success.

        `then` is called after the success, which may come later than the return. With `for_sure` a loss of power does
        not undo the change.
        """
        if self._disk.faults.spoilt:
            return False
        started = perf_counter()
        work = partial(event_table.transact, change)
        if for_sure:
            work = partial(event_table.transact_for_sure, change, self._sync)

        def committed(result: Any) -> None:
            self.is_copied = False
            then(result)

        if not self._disk.attempt(work, then=committed):
            self._times.attempted(perf_counter() - started)
            return False
        self._times.committed(perf_counter() - started)
        if self._grown() >= self._most:
            self.copy()
        return True

    def copy(self) -> None:
        """Copy commits from the log into the file. If no other process reads the log, the log then restarts."""

        def copied(whole: bool) -> None:  # noqa: FBT001 - the result of a job
            self.is_copied, self._disk.faults.uncopied = whole, ""

        self._disk.attempt(event_table.checkpoint, then=copied, copying=True)
        self._copied_to = self._disk.wal_size

    def _grown(self) -> int:
        """Return the bytes that the log has grown since the last copy."""
        size = self._disk.wal_size
        if size < self._copied_to:  # the log has restarted
            self._copied_to = 0
        return size - self._copied_to
