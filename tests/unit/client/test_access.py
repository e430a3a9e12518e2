"""An ipc endpoint that this user may not use: said so, instead of that there is no daemon."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from ibbridge.client.access import forbidden

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65_534
AS_ROOT = os.geteuid() == 0
BARRED = f"""
import os, sys, grp, pwd
from ibbridge.cli import main, status, sub
import zmq.backend.cython
if os.geteuid() == 0:  # who may do anything; and nobody else may read all of Python
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="ib") as name:
        yield pathlib.Path(name)
        pathlib.Path(name).chmod(0o700)


@pytest.mark.parametrize("barred", ["directory", "socket"])
@pytest.mark.parametrize("command", [["status"], ["sub", "--seconds", "0.2"]])
def test_who_may_not_use_the_socket_is_told_so(directory, barred, command):
    path = directory / "end"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        path.chmod(0o600 if AS_ROOT else 0)
        directory.chmod((0o700 if AS_ROOT else 0) if barred == "directory" else 0o755)
        name, *more = command
        timeout = ["--timeout", "0.3"] if name == "status" else []
        places = [f"--{each}=ipc://{path}" for each in (["rep"] if name == "status" else ["pub", "rep"])]
        done = subprocess.run(
            [sys.executable, "-c", BARRED, name, *more, *timeout, *places],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert f"this user may not use {path}" in done.stderr
    assert f"{directory if barred == 'directory' else path} is for the user" in done.stderr
    assert "no daemon" not in done.stderr


def test_where_there_is_no_daemon_that_is_what_is_said(directory):
    assert forbidden(f"ipc://{directory}/nobody") == ""
    assert forbidden("tcp://127.0.0.1:1") == ""
    path = directory / "left"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    assert forbidden(f"ipc://{path}") == ""
