"""The one thread that waits for the disk, so that nobody else must wait for longer than they can.

Knows threads and a clock that only goes forward. Must not know SQLite, or what is done in the thread. To hand a job
over and take its result back costs some tens of microseconds: the caller gives up the interpreter while it waits.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Job:
    """A piece of work for the thread. Once it has `ended`, `seconds` says how long it took, `error` what it raised."""

    __slots__ = ("_result", "_work", "began", "ended", "error", "seconds")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.began = perf_counter()
        self.ended = False
        self.seconds = 0.0
        self._work = work
        self._result: Any = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Do the work. For the thread."""
        try:
            self._result = self._work()
        except Exception as error:  # noqa: BLE001 - it is raised where the result is wanted
            self.error = error
        self.seconds = perf_counter() - self.began

    def result(self) -> Any:
        """Return what the work gave, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self._result


class DiskThread:
    """A thread that does one job after the other. It ends with the process at the latest, whatever the disk does."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._done: SimpleQueue[Job] = SimpleQueue()
        # A daemon thread: a disk that hangs must not keep a process that wants to end.
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any]) -> Job:
        """Begin a job, behind those that were begun before."""
        job = Job(work)
        self._jobs.put(job)
        return job

    def wait(self, job: Job, patience: float) -> bool:
        """Wait for a job for so many seconds at most; return True if it has ended."""
        until = perf_counter() + patience
        while not job.ended:
            left = until - perf_counter()
            try:
                self._done.get(left > 0, max(left, 0)).ended = True
            except Empty:
                return False
        return True

    def end(self, patience: float) -> bool:
        """Let the thread end behind its last job; return True if it has ended after so many seconds at most."""
        self._jobs.put(None)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            self._done.put(job)
