"""The writer of the audit: appends lines at once, has them on the disk about every second, and says what is wrong.

To append hands the bytes to the kernel, which takes some microseconds and does not wait for the disk. A thread waits
for the disk. While the disk does not answer that thread, nothing is appended, because the kernel might wait as well.
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

SLOW = 0.02
"""Seconds after which an append waits for a synchronisation that has not ended."""

EVERY = 0.9
"""Seconds between two synchronisations: less than a heartbeat's, so that each has one."""

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

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken."""
        return len(self._waiting)

    def add(self, line: bytes) -> None:
        """Add a line to be appended."""
        self._waiting += line

    def append(self) -> bool:
        """Append what waits. Return False, and set the fault, if that failed."""
        if not self._file.is_open or not self._disk_answers():
            return False
        try:
            while self._waiting:
                self._is_dirty = True
                del self._waiting[: self._file.write(self._waiting)]
        except OSError as error:
            self.failed(error)
            return False
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
        if not self._disk_answers(wait=False):
            return False
        if self._file.is_gone():
            self.fault = f"{self._file.path}: it was removed or replaced; another file is begun by itself"
            return False
        if self._is_dirty and self._job is None and self._thread is not None and now >= self._due:
            self._is_dirty, self._due = False, now + EVERY
            self._job = self._thread.submit(partial(self._file.sync, self._file.descriptor))
        return True

    def _disk_answers(self, *, wait: bool = True) -> bool:
        """Take the result of a synchronisation. Return False, with a fault, if it has not ended, or has failed."""
        job, thread = self._job, self._thread
        if job is None or thread is None:
            return True
        if not thread.wait(job, 0):
            late = perf_counter() - job.began
            if late < SLOW or (late < self._patience and not wait):
                return True
            if not thread.wait(job, max(0.0, self._patience - late)):
                self.fault = f"{self._file.path}: its disk has not answered for {self._patience:g} s; {_ADVICE}"
                return False
        self._job = None
        try:
            job.result()
        except OSError as error:
            self._is_dirty = True
            self.failed(error)
            return False
        return True

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
