from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from ibbridge.monitoring import slow_start


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """Listen where systemd would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def opened(work, stopping=None):
    async def run():
        return await slow_start.opened(work, Path("/store"), stopping or asyncio.Event())

    return asyncio.run(run())


def test_a_disk_that_is_slow_is_waited_for_and_systemd_is_asked_to_wait_as_well(manager, monkeypatch):
    monkeypatch.setattr(slow_start, "EXTEND_EVERY", 0.0)
    monkeypatch.setattr(slow_start, "OPENING", 3600.0)
    said: list[bytes] = []
    assert opened(lambda: said.extend(manager.recv(100) for _ in range(3)))
    assert said == [b"EXTEND_TIMEOUT_USEC=30000000"] * 3


def test_people_are_told_of_a_disk_that_takes_long(manager, monkeypatch, caplog):
    monkeypatch.setattr(slow_start, "OPENING", 0.0)
    monkeypatch.setattr(slow_start, "EXTEND_EVERY", 3600.0)
    said: list[bytes] = []
    assert opened(lambda: said.extend(manager.recv(100) for _ in range(2)))
    assert said[1] == b"STATUS=opening the store; its disk is slow, or does not answer"
    assert "opening the one in /store has taken" in caplog.text


def test_a_disk_that_answers_is_nothing_to_speak_of(manager):
    assert opened(lambda: None)
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_what_opening_raises_is_raised():
    def fail():
        raise OSError("no such store")

    with pytest.raises(OSError, match="no such store"):
        opened(fail)


def test_a_signal_to_stop_ends_the_wait(caplog):
    stopping = asyncio.Event()
    stopping.set()
    answers = threading.Event()
    assert not opened(answers.wait, stopping)
    assert "the process ends without it" in caplog.text
    answers.set()
