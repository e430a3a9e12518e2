"""`ibbridge record` and `ibbridge replay` as their user meets them: what he can do wrong gets one sentence each."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ibbridge.cli import main
from ibbridge.recording.format import HEADER
from tests.support.recordings import Taped

if TYPE_CHECKING:
    import pathlib


@pytest.fixture
def recorded(tmp_path: pathlib.Path) -> str:
    return str(Taped().open().write(tmp_path / "r.ibrec"))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code, and what was said, which is one line."""
    code = main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    return code, line.removeprefix(f"ibbridge {arguments[0]}: ")


def test_what_cannot_be_replayed_is_said(tmp_path, capsys):
    for name, content in (("other", b"PK"), ("newer", b"ibbridge recording 9\n"), ("none", HEADER)):
        (tmp_path / name).write_bytes(content)
    no = f"{tmp_path}/no.ibrec"
    for given, expected in (
        (no, f"{no} cannot be read (No such file or directory): give a file that ibbridge recorded"),
        (str(tmp_path), f"{tmp_path} is a directory: give the files in it, {tmp_path}/*.ibrec"),
        (f"{tmp_path}/other", f"{tmp_path}/other is not a recording: give a file that ibbridge recorded"),
    ):
        assert said(capsys, "replay", given) == (1, expected)
    assert "of version 9, and this program reads version 1" in said(capsys, "replay", f"{tmp_path}/newer")[1]
    assert "there is nothing to play" in said(capsys, "replay", f"{tmp_path}/none")[1]


@pytest.mark.parametrize("command", ["record", "replay"])
def test_a_port_that_is_taken_is_said(command, tmp_path, recorded, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = ["replay", recorded, "--port", port]
        if command == "record":
            given = ["record", str(tmp_path / "new"), "--listen", port]
        code, line = said(capsys, *given)
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in line
    assert "Choose another --" in line
    assert not (tmp_path / "new").exists(), "nothing is left of a recording that did not begin"


def test_a_port_that_is_none_is_said(tmp_path, recorded, capsys):
    assert said(capsys, "replay", recorded, "--port", "70000")[0] == 2
    assert said(capsys, "record", str(tmp_path / "new"), "--listen", "-1")[0] == 2
    assert said(capsys, "record", str(tmp_path / "new"), "--tws", "here")[1] == (
        "--tws here: expected HOST:PORT, such as 127.0.0.1:7497"
    )
    assert not (tmp_path / "new").exists()


def test_where_nothing_can_be_recorded_is_said(tmp_path, recorded, capsys):
    assert said(capsys, "record", recorded) == (1, f"{recorded} exists already; choose another name")
    nowhere = f"{tmp_path}/no/r.ibrec"
    assert said(capsys, "record", nowhere) == (
        1,
        f"{nowhere} cannot be created (No such file or directory): choose a place where you may write",
    )


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--speed", "0", "expected a number above 0, or max, got '0'"),
        ("--speed", "fast", "expected a number above 0, or max, got 'fast'"),
        ("--speed", "inf", "expected a number above 0, or max, got 'inf'"),
        ("--patience", "-1", "expected seconds, got '-1'"),
        ("--from", "noon", "expected a time in UTC, such as 2026-01-05T14:30, got 'noon'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(option, value, expected, recorded, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["replay", recorded, f"{option}={value}"])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_run_until_they_are_told_to_stop(number, tmp_path, recorded):
    for given in (("record", str(tmp_path / "new"), "--listen", "0"), ("replay", recorded, "--port", "0")):
        command = [sys.executable, "-m", "ibbridge", *given]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert "Ctrl-C ends it" in process.stdout.readline()
            process.send_signal(number)
            assert process.communicate()[1] == ""
        assert process.returncode == 0


def test_a_replay_that_is_to_end_does_so_once_everything_has_been_played(recorded):
    command = [sys.executable, "-m", "ibbridge", "replay", recorded, "--port", "0", "--speed", "max", "--exit"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split(":")[1].split(";")[0])
        with socket.create_connection(("127.0.0.1", port)) as client:
            for _, _, _, data in [record for record in Taped().open().records if record[0] == 3]:
                client.sendall(data)
            while client.recv(65_536):
                pass
        process.communicate()
    assert process.returncode == 0
