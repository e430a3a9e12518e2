"""A real daemon and its service manager, which the test plays: when the daemon says that it lives, and when not."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from tests.integration.rig import PATIENCE, Bridge, Host


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """Listen where systemd would, with a watchdog that wants to hear of the daemon each second."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listening


def until(manager: socket.socket, word: bytes) -> list[bytes]:
    """Return what the daemon says up to this word."""
    said: list[bytes] = []
    while word not in said:
        said.append(manager.recv(4096))
    return said


def drained(manager: socket.socket) -> list[bytes]:
    """Return what the daemon has said and nobody has read yet."""
    said: list[bytes] = []
    manager.setblocking(False)
    try:
        while True:
            said.append(manager.recv(4096))
    except BlockingIOError:
        return said
    finally:
        manager.settimeout(PATIENCE)


def test_a_daemon_says_that_it_is_ready_and_from_then_on_that_it_lives(manager):
    with Host() as host, Bridge(host.port) as bridge:
        assert b"WATCHDOG=1" not in until(manager, b"READY=1")
        for _ in range(3):
            until(manager, b"WATCHDOG=1")
        assert bridge.stop(signal.SIGTERM) == 0
        assert b"STOPPING=1" in drained(manager)


def test_a_daemon_that_is_stopped_says_nothing(manager):
    with Host() as host, Bridge(host.port) as bridge:
        until(manager, b"WATCHDOG=1")
        bridge.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, bridge.process.pid, os.WSTOPPED | os.WNOWAIT)
        drained(manager)
        manager.settimeout(2.5)
        with pytest.raises(TimeoutError):
            manager.recv(4096)
        manager.settimeout(PATIENCE)
        bridge.process.send_signal(signal.SIGCONT)
        until(manager, b"WATCHDOG=1")


def test_a_watchdog_for_another_process_is_not_fed(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with Host() as host, Bridge(host.port) as bridge:
        sub = bridge.sub("")
        for _ in range(20):
            sub.until("heartbeat")
        assert b"WATCHDOG=1" not in drained(manager)


def test_a_daemon_that_is_broken_says_where_it_was(manager):
    with Host() as host, Bridge(host.port) as bridge:
        until(manager, b"WATCHDOG=1")
        assert bridge.stop(signal.SIGABRT) == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in bridge.said()
        assert "in run_forever" in bridge.said()
