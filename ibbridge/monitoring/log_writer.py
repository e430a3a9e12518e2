"""The log on standard error, written by a thread of its own: whoever logs never waits for whoever reads.

A terminal that is stopped (Ctrl-S), a pipe that nobody reads, a disk that hangs: each holds up the thread, and nothing
else. Lines wait in a bounded queue meanwhile; those that find no room are counted, which the log says as soon as it is
read again, and `fault` before. Knows descriptors, threads and logging. Must not know what is logged, or why.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import queue
import select
import socket
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING

from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

MOST_QUEUED = 4 * 2**20
"""Bytes of lines that wait: some ten thousand of them. A daemon that logs little keeps hours of them."""

LONGEST = 8_192
"""Characters of one message: the text of an error of TWS's is a tenth of that."""

STALLED = 1.0
"""Seconds for which one line may be under way before that is a fault: an alarm follows within two."""

LAST_LINES = 2.0
"""Seconds that what is queued gets to be written when the process ends."""

_AGAIN = 1.0  # seconds between two tries to write where the system does not say when that is possible

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_CRITICAL, _DEBUG = 2, 7
_STDERR = 2


class LogFormatter(logging.Formatter):
    """Lines for people; for the journal each has its priority in front (`<4>`), and no time: that is its own."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as lines: one for the message, further ones for an exception."""
        said = f"{record.name}: {printable(record.getMessage(), LONGEST)}"
        lines = [said if self._journal else f"{self.formatTime(record)} {record.levelname:<7} {said}"]
        if record.exc_info:
            lines += map(printable, self.formatException(record.exc_info).splitlines())
        return "\n".join(self.marked(line, record.levelno) for line in lines)

    def marked(self, line: str, level: int) -> str:
        """Return a line as the journal wants it; as it is where there is no journal."""
        return f"<{priority(level)}>{line}" if self._journal else line


def priority(level: int) -> int:
    """Return syslog's number for a level of logging's: 2 critical, 3 error, 4 warning, 6 info, 7 debug."""
    if level >= logging.CRITICAL:
        return _CRITICAL
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


def to_journal(file: int) -> bool:
    """Return True if `file` leads to systemd's journal: systemd says which device and inode do."""
    try:
        about = os.fstat(file)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{about.st_dev}:{about.st_ino}"


def occupy_standard_files() -> None:
    """Put /dev/null where standard input, output or error is closed.

    The next file or socket would get its number, and whatever is printed would be written into that.
    """
    while (file := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(file)


class LogWriter(logging.Handler):
    """The root logger's only handler, and `sys.stderr`, from `start` to `close`; a thread writes what both are given.

    At most `most` bytes of lines wait for the descriptor `file`; what finds no room is counted as dropped.
    """

    def __init__(self, file: int, *, most: int = MOST_QUEUED) -> None:
        super().__init__()
        self.dropped = 0
        """Lines that were never written."""
        self._formatter = LogFormatter(journal=to_journal(file))
        self.setFormatter(self._formatter)
        self._file = _own(file)
        self._send = _sending(self._file)
        self._most = most
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._put_bytes = 0  # of lines put into the queue: changed under the handler's lock
        self._taken_bytes = 0  # of those taken out again: changed by the thread alone
        self._untold = 0  # lines that found no room since the log last said so
        self._failed = 0  # lines that could not be written since one could
        self._error = ""  # of the last try to write
        self._began: float | None = None  # since when a line is under way
        self._torn = False  # a line was written in part
        self._closed = False
        self._thread = threading.Thread(target=self._write_on, name="log", daemon=True)
        self._before: tuple[object, list[logging.Handler]] | None = None

    # -- from start to close

    def start(self) -> Self:
        """Take over the root logger and `sys.stderr`: tracebacks, warnings and `print` go the same way."""
        root = logging.getLogger()
        self._before = sys.stderr, root.handlers[:]
        root.handlers[:] = [self]
        sys.stderr = _Stream(self)
        logging.captureWarnings(capture=True)
        self._thread.start()
        return self

    def finish(self, seconds: float = LAST_LINES) -> bool:
        """Write what is queued, for so many seconds at most; False if some of it was left.

        What is logged or printed later is written at once where that is possible without waiting, and lost elsewhere.
        """
        self._lines.put(None)
        self._thread.join(seconds)
        self._closed = True
        return not self._thread.is_alive()

    def restore(self) -> None:
        """Give the root logger and `sys.stderr` back to whoever had them before `start`."""
        if self._before is not None:
            sys.stderr, logging.getLogger().handlers[:] = self._before
            logging.captureWarnings(capture=False)
            self._before = None

    # -- how it is

    @property
    def queued(self) -> int:
        """Bytes of lines that wait to be written."""
        return self._put_bytes - self._taken_bytes

    def figures(self) -> dict[str, int]:
        """Return how much waits to be written, in bytes, and how many lines were dropped, for `status`."""
        return {"queued": self.queued, "dropped": self.dropped}

    def fault(self, now: float) -> str:
        """Return why the log is not written at `now` (of `time.monotonic`), and what to do; "" if it is."""
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

    # -- what is given

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record. Never waits."""
        try:
            text = self.format(record)
        except (TypeError, ValueError, KeyError):  # a format that its arguments do not fit
            self.handleError(record)
            return
        self.put(text, record.levelno)

    def put(self, text: str, level: int) -> None:
        """Queue lines that are formatted, or count them as dropped. Never waits."""
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        self.acquire()
        try:
            if self._closed:
                self._write_now(line)
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
        """Write one line, for as long as that takes; a line that cannot be written is counted as dropped."""
        missing = self._missing(self._failed, self._error) if self._failed else b""
        whole = (b"\n" if self._torn else b"") + missing + line
        rest = memoryview(whole)
        try:
            while rest:
                try:
                    rest = rest[self._send(rest) :]
                except BlockingIOError:
                    self._wait()
        except OSError as error:
            self._torn = self._torn or 0 < len(rest) < len(whole)
            self._error = error.strerror or str(error)
            self._failed += 1
            self.dropped += 1
        else:
            self._torn, self._failed, self._error = False, 0, ""

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._file, select.POLLOUT)
        poll.poll(_AGAIN * 1000)

    def _write_now(self, line: bytes) -> None:
        """Write without waiting, at the very end, if nothing is under way."""
        if not self._thread.is_alive():
            with contextlib.suppress(OSError):
                self._send(memoryview(line))


class _Stream(io.TextIOBase):
    """Stands where `sys.stderr` was: whole lines go into the queue."""

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


def _own(file: int) -> int:
    """Return a descriptor for what `file` leads to that does not wait, as far as that concerns nobody else.

    Whether a descriptor waits belongs to the open file, which a terminal's programs share. A pipe and a terminal can be
    opened once more. `file` itself then leads there too: a library's last words in C do not wait either.
    """
    mode = os.fstat(file).st_mode
    if stat.S_ISFIFO(mode) or os.isatty(file):
        with contextlib.suppress(OSError):  # another user's terminal, no /proc, a pipe without a reader
            own = os.open(f"/proc/self/fd/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            os.dup2(own, file)
            return own
    return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)


def _sending(file: int) -> Callable[[memoryview], int]:
    """Return how bytes are written to `file`: to a socket, such as the journal's, without waiting."""
    if not stat.S_ISSOCK(os.fstat(file).st_mode):
        return lambda data: os.write(file, data)
    peer = socket.socket(fileno=file)
    return lambda data: peer.send(data, socket.MSG_DONTWAIT)
