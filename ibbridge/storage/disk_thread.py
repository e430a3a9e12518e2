"""The disk thread: the only thread that waits for the disk, so that the event loop never waits longer than it chooses.

The module knows threads and a monotonic clock. It must not know SQLite, or the work of a job. Handing a job over and
taking its result back costs some tens of microseconds, because the caller gives up the interpreter while it waits.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Job:
    """Job for the disk thread. Once it has `ended`, `seconds` is its duration, and `error` the exception it raised."""

    __slots__ = ("_result", "_work", "began", "ended", "error", "seconds")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.began = perf_counter()
        self.ended = False
        self.seconds = 0.0
        self._work = work
        self._result: Any = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Do the work, in the disk thread. Keep the result or the exception, and the seconds it took."""
        try:
            self._result = self._work()
        except Exception as error:  # noqa: BLE001 - it is raised where the result is wanted
            self.error = error
        self.seconds = perf_counter() - self.began

    def result(self) -> Any:
        """Return the result of the work, or raise the exception that the work raised."""
        if self.error is not None:
            raise self.error
        return self._result


class DiskThread:
    """Disk thread: does one job after the other. The thread never keeps the process alive, even if the disk hangs."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._done: SimpleQueue[Job] = SimpleQueue()
        # A daemon thread: a disk that hangs must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """True until the thread has ended."""
        return self._thread.is_alive()

    def submit(self, work: Callable[[], Any]) -> Job:
        """Queue a job behind the earlier ones, and return it."""
        job = Job(work)
        self._jobs.put(job)
        return job

    def wait(self, job: Job, patience: float) -> bool:
        """Wait for a job for at most `patience` seconds; return True if the job has ended."""
        until = perf_counter() + patience
        while not job.ended:
            left = until - perf_counter()
            try:
                self._done.get(left > 0, max(left, 0)).ended = True
            except Empty:
                return False
        return True

    def end(self, patience: float) -> bool:
        """End the thread after its last job; return True if it ends within `patience` seconds."""
        self._jobs.put(None)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            self._done.put(job)
