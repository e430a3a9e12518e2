from __future__ import annotations

import os
import socket

import pytest

from ibbridge.monitoring.systemd import notify


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """Listen where systemd would."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@ibbridge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1) if request.param == "abstract" else address)
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listening


def test_readiness_and_status_arrive_as_one_datagram(manager):
    assert notify("READY=1", "STATUS=waiting for TWS at 127.0.0.1:4002")
    assert manager.recv(4096) == b"READY=1\nSTATUS=waiting for TWS at 127.0.0.1:4002"


def test_each_call_is_a_datagram_of_its_own(manager):
    assert notify("READY=1")
    assert notify("STOPPING=1")
    assert [manager.recv(4096), manager.recv(4096)] == [b"READY=1", b"STOPPING=1"]


def test_a_line_break_in_a_status_begins_no_other_assignment(manager):
    notify("STATUS=a\nMAINPID=1\r\nb\u2028c")
    assert manager.recv(4096) == b"STATUS=a MAINPID=1 b c"


def test_a_status_that_is_not_unicode_is_told_as_well_as_it_can_be(manager):
    notify("STATUS=\ud800")
    assert manager.recv(4096) == b"STATUS=?"


@pytest.mark.parametrize("address", [None, ""])
def test_where_nobody_listens_nothing_is_said(monkeypatch, address, caplog):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")
    assert not caplog.records


@pytest.mark.parametrize("name", ["gone", "x" * 200, "vsock:2:1"])
def test_a_manager_that_cannot_be_reached_is_a_warning_and_not_the_end(monkeypatch, tmp_path, caplog, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    assert not notify("READY=1")
    assert "systemd was not told 'READY=1'" in caplog.text


def test_a_manager_that_does_not_read_is_not_waited_for(manager):
    while notify("STATUS=" + "x" * 1000):
        pass
    assert manager.recv(4096).startswith(b"STATUS=")
