"""The writer of the audit: appends lines, has them on the disk about every second, and says what is wrong.

A thread does both, one job at a time, because a disk that hangs may hold up an append as well. The caller hands lines
over, does something else meanwhile, and waits for the append where its order must not leave before.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from ibbridge.storage.disk_thread import DiskThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.storage.audit_file import AuditFile
    from ibbridge.storage.disk_thread import Job

EVERY = 0.9
"""Seconds between two synchronisations: less than a heartbeat's, so that each has one."""

IMPATIENCE = 0.005
"""Seconds that an append waits during a fault."""

CLOSING = 5.0
"""Seconds to wait for the disk at the end."""

_ADVICE = "make room on its disk, or repair it, and give the user that runs ibbridge the right to write there"


class AuditWriter:
    """Writer of lines to a file. `patience` is how many seconds an append waits for the disk."""

    def __init__(self, file: AuditFile, patience: float, thread: Callable[[], DiskThread] = DiskThread) -> None:
        self.fault = ""
        """Text that says why nothing can be written, and what to do; empty if there is no fault."""
        self._file = file
        self._patience = patience
        self._new_thread = thread
        self._thread: DiskThread | None = None
        self._job: Job | None = None
        self._is_dirty = False
        self._due = 0.0  # the time of the next synchronisation
        self._waiting = bytearray()
        self._given = b""  # what the thread was given to append

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken, as far as is known."""
        return len(self._waiting) + len(self._given)

    @property
    def is_settled(self) -> bool:
        """True if the kernel has taken everything."""
        return self._job is None and not self._waiting

    def add(self, line: bytes) -> None:
        """Add a line to be appended."""
        self._waiting += line

    def append(self, *, wait: bool = True) -> bool:
        """Have the thread append what waits. Return False, and set the fault, if that failed.

        Without `wait` a failure is seen by the next call.
        """
        if not self._file.is_open or not self._has_ended(wait=wait):
            return False
        if self._job is None and self._waiting and self._thread is not None:
            self._given, self._is_dirty = bytes(self._waiting), True
            self._waiting.clear()
            self._job = self._thread.submit(partial(self._file.append, self._given))
            return self._has_ended(wait=wait)
        return True

    def failed(self, error: OSError) -> None:
        """Set the fault for an error of the file system."""
        self.fault = f"{error.filename or self._file.path}: {error.strerror or error}; {_ADVICE}, it is tried again"

    def begin(self, name: str) -> None:
        """Append to the file of this name from here on. Raises OSError.

        What was written to the file before it is on the disk first, if the disk answers in time: so a loss of power
        tears the end of the newest file alone.
        """
        before = self._file.descriptor
        self._file.begin(name)
        if self._thread is None:
            self._thread = self._new_thread()
        if before >= 0:
            self._thread.wait(self._thread.submit(partial(self._file.give_up, before)), self._patience)
        self._is_dirty = True

    def abandon(self) -> int:
        """Close a file that was removed. Return the number of lines that it did not take, which are lost with it."""
        if self._thread is not None and self._file.is_open:
            self._thread.submit(partial(self._file.give_up, self._file.descriptor))
        self._file.descriptor = -1
        lost = self._waiting.count(b"\n")
        self._waiting.clear()
        return lost

    def check(self, now: float) -> bool:
        """Return False, and set the fault, if the file is gone, or has not reached the disk.

        Begin to synchronise what was written, once in `EVERY` seconds; `now` is in seconds.
        """
        if not self._has_ended(wait=False):
            return False
        if self._job is None and self._file.is_gone():
            self.fault = f"{self._file.path}: it was removed or replaced; another file is begun by itself"
            return False
        if self._is_dirty and self._job is None and self._thread is not None and now >= self._due:
            self._is_dirty, self._due = False, now + EVERY
            self._job = self._thread.submit(partial(self._file.sync, self._file.descriptor))
        return True

    def _has_ended(self, *, wait: bool) -> bool:
        """Take the result of the thread's job. Return False, and set the fault, if it failed, or takes too long.

        Without `wait` a job may go on for as long as an append may wait.
        """
        job, thread = self._job, self._thread
        if job is None or thread is None:
            return True
        left = self._patience - (perf_counter() - job.began)
        if not thread.wait(job, 0 if not wait else IMPATIENCE if self.fault else max(0.0, left)):
            if left > 0 and (self.fault or not wait):
                return not self.fault
            self.fault = f"{self._file.path}: its disk has not answered for {self._patience:g} s; {_ADVICE}"
            return False
        written, error = job.result()
        self._waiting[:0] = self._given[written:]
        self._job, self._given = None, b""
        if error is not None:
            self._is_dirty = True
            self.failed(error)
        return error is None

    def close(self) -> None:
        """Have everything on the disk, if the disk answers in time, and close the file. A second call does nothing."""
        if self._thread is None or not self._file.is_open:
            return
        self.append()
        job = self._thread.submit(partial(self._file.give_up, self._file.descriptor))
        self._file.descriptor = -1
        if self._thread.wait(job, CLOSING):
            with suppress(OSError):
                job.result()
            self._thread.end(CLOSING)
        self._thread = self._job = None
