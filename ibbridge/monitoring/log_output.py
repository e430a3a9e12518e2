"""The output of the log: a descriptor that takes whole lines, and does not block other users of it.

The module knows descriptors. It must not know what a line says, or threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_AGAIN = 1.0  # seconds between two tries to write if poll does not tell when writing is possible

_STDERR = 2


class LogOutput:
    """Log output: writes lines to the descriptor `file`, or to one of its own for the same target."""

    def __init__(self, file: int) -> None:
        self._file = _own(file)
        self._send = _sending(self._file)
        self._torn = False  # a line was written in part

    def write(self, line: bytes) -> None:
        """Write a line, however long that takes. Raise OSError if the line cannot be written, or only in part."""
        whole = (b"\n" if self._torn else b"") + line
        rest = memoryview(whole)
        try:
            while rest:
                try:
                    rest = rest[self._send(rest) :]
                except BlockingIOError:
                    self._wait()
        except OSError:
            self._torn = self._torn or 0 < len(rest) < len(whole)
            raise
        self._torn = False

    def write_now(self, line: bytes) -> None:
        """Write a line, or as much of it as is possible without waiting."""
        with contextlib.suppress(OSError):
            self._send(memoryview(line))

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._file, select.POLLOUT)
        poll.poll(_AGAIN * 1000)


def _own(file: int) -> int:
    """Return a descriptor for the target of `file` that does not block, if other programs are not affected by that.

    O_NONBLOCK belongs to the open file, which the programs of a terminal share. So a pipe or a terminal is opened once
    more, and `file` is made to lead there too: then output of C libraries does not block either.
    """
    mode = os.fstat(file).st_mode
    if stat.S_ISFIFO(mode) or os.isatty(file):
        with contextlib.suppress(OSError):  # another user's terminal, no /proc, a pipe without a reader
            own = os.open(f"/proc/self/fd/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            os.dup2(own, file)
            return own
    return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)


def _sending(file: int) -> Callable[[memoryview], int]:
    """Return the function that writes bytes to `file`. It does not block on a socket, such as the journal's."""
    if not stat.S_ISSOCK(os.fstat(file).st_mode):
        return lambda data: os.write(file, data)
    peer = socket.socket(fileno=file)
    return lambda data: peer.send(data, socket.MSG_DONTWAIT)
