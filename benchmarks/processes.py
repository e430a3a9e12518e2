"""Child processes of a measurement, and their talk: one JSON object a line, over standard input and output.

The parent ends its child processes in any case: leaving the `with` kills a child that is still there, and the kernel
kills the child if the parent itself is killed. A child that hears nothing for too long ends by itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, TracebackType

PATIENCE = 20.0
"""Seconds that a process waits for another one by default."""

_prctl = ctypes.CDLL(None).prctl
_SET_PARENT_DEATH_SIGNAL = 1


class InvalidError(Exception):
    """A measurement that failed, so that its results mean nothing."""


class Child:
    """A child process, seen from the parent."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call; we have no thread that holds a lock
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tell(self, **about: Any) -> None:
        """Send an object to the child. Raises `InvalidError` if the child has ended."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(about).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise InvalidError(f"{self.name} has ended") from None

    def hear(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Return the next object of the child. Raises `InvalidError` if none comes in `patience` seconds."""
        out = self._process.stdout
        assert out
        ready, _, _ = select.select([out], [], [], patience)
        line = out.readline() if ready else b""
        if not line:
            raise InvalidError(f"{self.name} {'has ended' if ready else 'says nothing'}")
        said: dict[str, Any] = json.loads(line)
        return said

    def said(self) -> bool:
        """Return True if the child has sent an object that was not read yet, or has ended."""
        out = self._process.stdout
        assert out
        return bool(select.select([out], [], [], 0)[0])

    def check(self) -> None:
        """Raise `InvalidError` if the child has ended."""
        if self._process.poll() is not None:
            raise InvalidError(f"{self.name} has ended with {self._process.returncode}")

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def rss(self) -> int:
        """Return the resident memory of the child in bytes."""
        pages = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Return the seconds of CPU that all threads of the child have used, to the nanosecond."""
        return time.clock_gettime((~self._process.pid << 3) | 2)  # the clock id that clock_getcpuclockid(3) makes


def say(**about: Any) -> None:
    """Send an object to the parent."""
    print(json.dumps(about), flush=True)


def hear(patience: float | None = PATIENCE) -> dict[str, Any]:
    """Return the next object of the parent. End this process if the parent is gone, or silent for too long."""
    ready, _, _ = select.select([sys.stdin], [], [], patience)
    line = sys.stdin.readline() if ready else ""
    if not line:
        sys.exit(1)
    said: dict[str, Any] = json.loads(line)
    return said


def end_cleanly() -> None:
    """Make SIGTERM end this process by an exception, so that its child processes are ended too."""

    def leave(_: int, __: FrameType | None) -> NoReturn:
        sys.exit(143)

    signal.signal(signal.SIGTERM, leave)


def _end_with_parent() -> None:
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
