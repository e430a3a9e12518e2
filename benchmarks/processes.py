"""The processes of a measurement, and how they talk: one JSON object a line, over standard input and output.

Whoever starts a process ends it, whatever happens: leaving the `with` kills what is still there, and the kernel does
if the parent itself is killed. A child that is not told anything for too long ends by itself.
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
"""Seconds that anybody here waits for anybody."""

_prctl = ctypes.CDLL(None).prctl
_SET_PARENT_DEATH_SIGNAL = 1


class InvalidError(Exception):
    """The measurement did not work, so it says nothing."""


class Child:
    """A process, from the parent's side."""

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
        """Say something to it."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(about).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise InvalidError(f"{self.name} has ended") from None

    def hear(self, patience: float = PATIENCE) -> dict[str, Any]:
        """What it says next."""
        out = self._process.stdout
        assert out
        ready, _, _ = select.select([out], [], [], patience)
        line = out.readline() if ready else b""
        if not line:
            raise InvalidError(f"{self.name} {'has ended' if ready else 'says nothing'}")
        said: dict[str, Any] = json.loads(line)
        return said

    def said(self) -> bool:
        """Whether it has said something that was not heard yet, or has ended."""
        out = self._process.stdout
        assert out
        return bool(select.select([out], [], [], 0)[0])

    def check(self) -> None:
        """Raises `InvalidError` if it is no longer there."""
        if self._process.poll() is not None:
            raise InvalidError(f"{self.name} has ended with {self._process.returncode}")

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def rss(self) -> int:
        """Bytes of memory that it takes."""
        pages = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Seconds of CPU that all its threads have used, to the nanosecond."""
        return time.clock_gettime((~self._process.pid << 3) | 2)  # what clock_getcpuclockid(3) makes of a pid


def say(**about: Any) -> None:
    """Tell the parent."""
    print(json.dumps(about), flush=True)


def hear(patience: float | None = PATIENCE) -> dict[str, Any]:
    """What the parent says next; ends the process if the parent is gone, or silent for too long."""
    ready, _, _ = select.select([sys.stdin], [], [], patience)
    line = sys.stdin.readline() if ready else ""
    if not line:
        sys.exit(1)
    said: dict[str, Any] = json.loads(line)
    return said


def end_cleanly() -> None:
    """Let a SIGTERM end this process as an exception does, so that its children are ended too."""

    def leave(_: int, __: FrameType | None) -> NoReturn:
        sys.exit(143)

    signal.signal(signal.SIGTERM, leave)


def _end_with_parent() -> None:
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
