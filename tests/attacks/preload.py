"""A daemon whose clock jumps, whose disk hangs, or which is killed at a write, by a library: see `preload.c`.

The library is loaded before all others.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.rig import Bridge

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = pathlib.Path(__file__).with_name("preload.c")


@functools.cache
def library() -> pathlib.Path:
    """Return the compiled library; skip the test where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here, with which the library is made that plays the kernel")
    made = pathlib.Path(tempfile.mkdtemp(prefix="ibpreload")) / "preload.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE, "-ldl"], check=True)
    return made


class Shaken(Bridge):
    """A daemon of which the test sets the clock, stops the disk, and chooses the write at which it is killed."""

    def __init__(self, tws_port: int, **settings: Any) -> None:
        self._about = pathlib.Path(tempfile.mkdtemp(prefix="ibshaken"))
        self._clock, self._hang, self._writes = (self._about / name for name in ("clock", "hang", "writes"))
        self.set_clock(0)
        self.kill_at(0)
        super().__init__(tws_port, **settings)

    def start(self) -> None:
        given = {"LD_PRELOAD": str(library())}
        given |= {"IBBRIDGE_TEST_CLOCK": str(self._clock), "IBBRIDGE_TEST_HANG": str(self._hang)}
        given |= {"IBBRIDGE_TEST_WRITES": str(self._writes)}
        self.process = subprocess.Popen(self._command, stderr=self.log, text=True, env={**os.environ, **given})

    def __exit__(self, *about: object) -> None:
        self._hang.unlink(missing_ok=True)
        super().__exit__(*about)
        shutil.rmtree(self._about, ignore_errors=True)

    def set_clock(self, ahead: int) -> None:
        """Set the daemon's time of day so many seconds ahead of ours."""
        _put(self._clock, ahead)

    def kill_at(self, write: int) -> None:
        """Have the daemon killed just before its so many-th write from here on; 0 for never."""
        _put(self._writes, write)

    @property
    def writes_left(self) -> int:
        """The number of writes before the one at which the daemon is killed, and that one."""
        number: int
        (number,) = struct.unpack("<q", self._writes.read_bytes())
        return number

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Have the disk not answer while the block lasts."""
        self._hang.touch()
        try:
            yield
        finally:
            self._hang.unlink(missing_ok=True)


def _put(file: pathlib.Path, number: int) -> None:
    """Write a number into a file, in place: a process may have the file in its memory."""
    with file.open("r+b" if file.exists() else "wb") as opened:
        opened.write(struct.pack("<q", number))
