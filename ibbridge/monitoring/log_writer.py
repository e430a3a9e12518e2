"""The log on standard error, written by a thread of its own, so that logging never waits for the reader of the log.

A stopped terminal (Ctrl-S), a pipe without a reader, or a hanging disk holds up only the thread. Lines wait in a
bounded queue meanwhile. Lines without room in the queue are dropped and counted; the log names their number as soon as
it can be written again, and `fault` does before. The module knows threads and logging. It must not know what is logged,
or why.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING

from ibbridge.monitoring.log_format import LONGEST, LogFormatter, to_journal
from ibbridge.monitoring.log_output import LogOutput
from ibbridge.monitoring.printable import printable
from ibbridge.monitoring.redaction import redacted

if TYPE_CHECKING:
    from typing import Self

MOST_QUEUED = 4 * 2**20
"""Most bytes of waiting lines: some ten thousand lines, or hours of a daemon that logs little."""

STALLED = 1.0
"""Seconds that writing one line may take before it is a fault. An alarm follows within two seconds."""

LAST_LINES = 2.0
"""Seconds to write the queued lines when the process ends."""

_STDERR = 2


def occupy_standard_files() -> None:
    """Open /dev/null in place of closed standard input, output or error.

    Otherwise the next file or socket would get the free descriptor, and printed text would be written into that.
    """
    while (file := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(file)


class LogWriter(logging.Handler):
    """Log writer: the root logger's only handler, and `sys.stderr`, from `start` to `restore`.

    A thread writes the lines to the descriptor `file`. At most `most` bytes of lines wait for the thread; lines without
    room are counted as dropped.
    """

    def __init__(self, file: int, *, most: int = MOST_QUEUED) -> None:
        super().__init__()
        self.dropped = 0
        """The number of lines that were never written."""
        self._formatter = LogFormatter(journal=to_journal(file))
        self.setFormatter(self._formatter)
        self._output = LogOutput(file)
        self._most = most
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._put_bytes = 0  # bytes of lines put into the queue: changed under the handler's lock
        self._taken_bytes = 0  # bytes of lines taken out again: changed by the thread alone
        self._untold = 0  # lines dropped for lack of room since the log last named their number
        self._failed = 0  # lines that could not be written since the last one that could
        self._error = ""  # the error of the last try to write
        self._began: float | None = None  # the time since which the thread writes a line
        self._closed = False
        self._thread = threading.Thread(target=self._write_on, name="log", daemon=True)
        self._before: tuple[object, list[logging.Handler]] | None = None

    # -- from start to restore

    def start(self) -> Self:
        """Take over the root logger and `sys.stderr`, so that tracebacks, warnings and prints go to the queue, too."""
        root = logging.getLogger()
        self._before = sys.stderr, root.handlers[:]
        root.handlers[:] = [self]
        sys.stderr = _StandardStream(self)
        logging.captureWarnings(capture=True)
        self._thread.start()
        return self

    def finish(self, seconds: float = LAST_LINES) -> bool:
        """Write the queued lines, for at most `seconds`. Return False if some are left.

        Later lines are written at once if that is possible without waiting, and are lost otherwise.
        """
        self._lines.put(None)
        self._thread.join(seconds)
        self._closed = True
        return not self._thread.is_alive()

    def restore(self) -> None:
        """Restore the root logger's handlers and `sys.stderr` as they were before `start`."""
        if self._before is not None:
            sys.stderr, logging.getLogger().handlers[:] = self._before
            logging.captureWarnings(capture=False)
            self._before = None

    # -- state

    @property
    def queued(self) -> int:
        """The bytes of lines that wait to be written."""
        return self._put_bytes - self._taken_bytes

    def metrics(self) -> dict[str, int]:
        """Return the bytes that wait to be written, and the number of dropped lines, for `status`."""
        return {"queued": self.queued, "dropped": self.dropped}

    def fault(self, now: float) -> str:
        """Return why the log is not written at `now` (of `time.monotonic`), and what to do; "" if there is no fault."""
        lost = f"; {self.dropped:,} lines were dropped so far" if self.dropped else ""
        began = self._began
        if began is not None and now - began > STALLED:
            return (
                f"standard error has taken nothing for {now - began:.0f} s, and {self.queued:,} bytes wait{lost}: "
                "have its pipe read, or press Ctrl-Q in its terminal"
            )
        if self._error:
            return f"standard error cannot be written: {self._error}{lost}"
        return f"lines come faster than standard error takes them{lost}" if self._untold and self.queued else ""

    # -- input

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, without waiting."""
        try:
            text = self.format(record)
        except (TypeError, ValueError, KeyError):  # arguments that do not fit the format
            self.handleError(record)
            return
        self.put(text, record.levelno)

    def put(self, text: str, level: int) -> None:
        """Queue formatted lines without their secrets, or count them as dropped, without waiting."""
        line = redacted(text).encode("utf-8", "backslashreplace") + b"\n"
        self.acquire()
        try:
            if self._closed:
                self._write_at_end(line)
            elif self.queued + len(line) > self._most:
                self.dropped += 1
                self._untold += 1
            else:
                if self._untold:
                    self._tell_dropped()
                self._put_bytes += len(line)
                self._lines.put(line)
        finally:
            self.release()

    def printed(self, text: str) -> None:
        """Queue a line that was printed to `sys.stderr`."""
        self.put(self._formatter.marked(printable(text, LONGEST), logging.ERROR), logging.ERROR)

    def _tell_dropped(self) -> None:
        line = self._missing(self._untold, "standard error took none, and no more could wait")
        self._untold = 0
        self._put_bytes += len(line)
        self._lines.put(line)

    def _missing(self, count: int, why: str) -> bytes:
        text = f"{count:,} lines are missing here: {why}"
        about = logging.makeLogRecord({"name": __name__, "levelno": logging.ERROR, "levelname": "ERROR", "msg": text})
        return f"{self.format(about)}\n".encode()

    # -- the thread

    def _write_on(self) -> None:
        while (line := self._lines.get()) is not None:
            self._began = time.monotonic()
            self._write(line)
            self._began = None
            self._taken_bytes += len(line)

    def _write(self, line: bytes) -> None:
        """Write one line, however long that takes. A line that cannot be written is counted as dropped."""
        missing = self._missing(self._failed, self._error) if self._failed else b""
        try:
            self._output.write(missing + line)
        except OSError as error:
            self._error = error.strerror or str(error)
            self._failed += 1
            self.dropped += 1
        else:
            self._failed, self._error = 0, ""

    def _write_at_end(self, line: bytes) -> None:
        """Write a line without waiting, after the thread has ended; lose the line if the thread still writes."""
        if not self._thread.is_alive():
            self._output.write_now(line)


class _StandardStream(io.TextIOBase):
    """Replacement of `sys.stderr` that puts whole lines into the queue."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._begun = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _STDERR

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._writer.printed(line)
        return len(text)
