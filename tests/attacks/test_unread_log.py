"""A daemon whose log nobody reads: a stalled pipe, a terminal that is stopped with Ctrl-S."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest

from tests.attacks.bystanders import Bystanders
from tests.integration.rig import PATIENCE, Bridge, Host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.rig import Guest

pytestmark = pytest.mark.attack


class Unread(Bridge):
    """A daemon whose standard error is this descriptor."""

    def __init__(self, port: int, stderr: int) -> None:
        self._stderr = stderr
        super().__init__(port)

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stderr=self._stderr, text=True)


@contextlib.contextmanager
def stalled(kind: str) -> Iterator[tuple[int, int]]:
    """Both ends of a pipe or a terminal whose reader does not read."""
    ours, theirs = pty.openpty() if kind == "terminal" else os.pipe()
    if kind == "terminal":
        termios.tcflow(theirs, termios.TCOOFF)
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def chatter(guest: Guest, lines: int) -> None:
    """Have the daemon log so many lines: errors of TWS's about nothing that it knows."""
    text = "nobody reads this " * 10
    for number in range(lines):
        guest.say("error", reqId=-1, errorTime=0, errorCode=999, errorString=f"{number} {text}")


@pytest.mark.parametrize("kind", ["pipe", pytest.param("terminal", marks=pytest.mark.long)])
def test_a_log_that_nobody_reads_holds_up_nobody_is_an_alarm_and_does_not_hinder_the_end(kind):
    with stalled(kind) as (_, theirs), Host() as host, Unread(host.port, theirs) as bridge, host.accept() as guest:
        guest.start()
        sub = bridge.ready()
        with Bystanders(bridge):
            chatter(guest, 1_000)
            sub.until("alarm", lambda data: data["alarm"] == "log" and data["raised"])
            assert bridge.do("status")["log"]["queued"]
        assert bridge.stop(15) == 0
        sub.until("bye")


@pytest.mark.long
def test_a_log_that_is_read_again_has_all_that_was_kept_and_says_what_is_missing():
    with stalled("pipe") as (ours, theirs), Host() as host, Unread(host.port, theirs) as bridge, host.accept() as guest:
        guest.start()
        sub = bridge.ready()
        chatter(guest, 30_000)
        dropped = 0
        while not dropped:
            sub.until("heartbeat", lambda data: "log" in data["alarms"])
            dropped = bridge.do("status")["log"]["dropped"]
        said = b""
        while b"lines are missing here" not in said:
            said += os.read(ours, 65_536)
            guest.say("error", reqId=-1, errorTime=0, errorCode=999, errorString="more")
        sub.until("alarm", lambda data: data["alarm"] == "log" and not data["raised"])
        os.set_blocking(ours, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(ours, 65_536):
                pass
        assert bridge.process.poll() is None
        bridge.process.terminate()
        assert bridge.process.wait(PATIENCE) == 0
