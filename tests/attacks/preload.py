"""A daemon whose clock jumps and whose disk hangs, by a library that is loaded before all others: see `preload.c`."""

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
        pytest.skip("there is no C compiler here, with which the library is made that hangs the disk")
    made = pathlib.Path(tempfile.mkdtemp(prefix="ibpreload")) / "preload.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE, "-ldl"], check=True)
    return made


class Shaken(Bridge):
    """A daemon of which the test sets the clock and stops the disk."""

    def __init__(self, tws_port: int, **settings: Any) -> None:
        self._about = pathlib.Path(tempfile.mkdtemp(prefix="ibshaken"))
        self._clock, self._hang = self._about / "clock", self._about / "hang"
        self.set_clock(0)
        super().__init__(tws_port, **settings)

    def start(self) -> None:
        given = {"LD_PRELOAD": str(library())}
        given |= {"IBBRIDGE_TEST_CLOCK": str(self._clock), "IBBRIDGE_TEST_HANG": str(self._hang)}
        self.process = subprocess.Popen(self._command, stderr=self.log, text=True, env={**os.environ, **given})

    def __exit__(self, *about: object) -> None:
        self._hang.unlink(missing_ok=True)
        super().__exit__(*about)
        shutil.rmtree(self._about, ignore_errors=True)

    def set_clock(self, ahead: int) -> None:
        """Set the daemon's time of day so many seconds ahead of ours."""
        with self._clock.open("r+b" if self._clock.exists() else "wb") as file:
            file.write(struct.pack("<q", ahead))

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Have the disk not answer while the block lasts."""
        self._hang.touch()
        try:
            yield
        finally:
            self._hang.unlink(missing_ok=True)
