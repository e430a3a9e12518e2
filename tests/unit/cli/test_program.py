"""The command line as its user meets it: help, exit codes, what goes to which stream."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import ibbridge
from ibbridge.cli import main
from ibbridge.cli.program import COMMANDS
from ibbridge.config.example import annotated

if TYPE_CHECKING:
    import pathlib


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ibbridge", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"usage: ibbridge {name}" in text
    assert f"ibbridge {name}" in text.split("examples:")[1]
    assert max(map(len, text.splitlines())) <= 120


def help_of(name: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    if name:
        with pytest.raises(SystemExit):
            main([name, "--help"])
    else:
        main(["--help"])
    return capsys.readouterr().out


def words(text: str) -> list[str]:
    return text.replace("\\\n", "").split()


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_the_terminal_and_breaks_no_word(name, columns, capsys, monkeypatch) -> None:
    text = help_of(name, columns, capsys, monkeypatch)
    assert max(map(len, text.splitlines())) <= columns
    wide = help_of(name, 1_000, capsys, monkeypatch)
    assert sorted(words(text)) == sorted(words(wide))


def test_an_example_that_is_wrapped_can_still_be_copied(capsys, monkeypatch) -> None:
    text = help_of("call", 60, capsys, monkeypatch)
    examples = text.split("examples:\n")[1].replace("\\\n", " ").splitlines()
    (order,) = [line for line in examples if " placeOrder " in line]
    assert order.split()[-1] == "order.lmtPrice=180"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


def test_without_a_command_the_help_is_shown_and_nothing_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: ibbridge COMMAND" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ibbridge {ibbridge.__version__}\n"


@pytest.mark.parametrize(("given", "said"), [("stauts", "did you mean status?"), ("xyzzy", "there are demo, run")])
def test_an_unknown_command_is_refused_with_what_there_is(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([given]) == 2
    assert said in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    with start("--version") as process:
        assert process.communicate()[0] == f"ibbridge {ibbridge.__version__}\n"
    assert process.returncode == 0


# check, run


def test_a_good_configuration_is_said_to_be_good(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ibbridge.yaml"
    file.write_text(annotated())
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out.startswith(f"{file}: ok\n")


def test_a_bad_configuration_is_named_fault_by_fault(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ibbridge.yaml"
    file.write_text("tws:\n  prot: 1\n  client_id: x\n")
    assert main(["check", str(file)]) == 2
    shown = capsys.readouterr().out
    assert f"{file}:2" in shown
    assert "did you mean port?" in shown
    assert f"{file}:3" in shown


@pytest.mark.parametrize("name", ["run", "sub", "status"])
def test_a_bad_setting_is_an_exit_code_of_2_and_said_on_standard_error(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--set", "tws.prot=1", "--set", "bus.pub=3"]) == 2
    error = capsys.readouterr().err
    assert "tws.prot" in error
    assert "bus.pub" in error


# sim


def test_the_simulator_says_where_it_listens_and_ends_when_told() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with start("sim", "--port", "0") as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("a simulated TWS listens on 127.0.0.1:")
            process.send_signal(number)
            assert process.communicate() == ("", "")
        assert process.returncode == 0


def test_a_port_in_use_is_said_and_what_to_do_about_it(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["sim", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--port", "70000"]) == 2
    assert "from 0 to 65535" in capsys.readouterr().err


# nobody there


def test_without_a_daemon_status_and_call_say_what_to_look_at(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ["--rep", f"ipc://{tmp_path}/rep", "--timeout", "0.05"]
    assert main(["status", *nowhere]) == 1
    assert "Is ibbridge running?" in capsys.readouterr().err
    assert main(["call", "ping", *nowhere]) == 1
    assert "Is ibbridge running?" in capsys.readouterr().err


def test_a_pipe_that_closes_ends_it_without_a_word() -> None:
    with start("check", *["setup.cfg"] * 5000) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_options_may_stand_between_arguments() -> None:
    from ibbridge.cli import call
    from ibbridge.cli.program import parser

    given = ["placeOrder", "--key", "k", "order.action=BUY", "--json", "a=1"]
    options = parser("call", call).parse_intermixed_args(given)
    assert isinstance(options, argparse.Namespace)
    assert (options.cmd, options.key, options.args) == ("placeOrder", "k", ["order.action=BUY", "a=1"])


def test_the_demo_ends_with_ctrl_c_and_leaves_nothing_running() -> None:
    with start("demo", "--seconds", "600") as process:
        assert process.stdout is not None
        assert any(" tick " in line for line in process.stdout)
        children = [int(child) for child in _children(process.pid)]
        assert len(children) == 2
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate()
    assert process.returncode == 0
    assert errors == ""
    assert "Interrupted" in rest
    assert not [child for child in children if _alive(child)]


def test_the_demo_shows_ticks_a_fill_a_position_and_a_cancelled_order() -> None:
    with start("demo", "--seconds", "3") as process:
        shown, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    for what in (" tick ", "FILL      first: BOT 100 AAPL", "position  DU", "second: Cancelled", "none lost"):
        assert what in shown, shown


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return file.read().split()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_simulator_is_told_how_kind_it_is_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[bool, bool]] = []

    async def serve(*_: object, delays: bool, made_up: bool, **__: object) -> None:
        told.append((delays, made_up))

    monkeypatch.setattr("ibbridge.cli.sim.serve", serve)
    assert main(["sim"]) == 0
    assert main(["sim", "--made-up", "--no-delays"]) == 0
    assert told == [(True, False), (False, True)]


WHO_MAY = """\
  bus.pub ipc:///run/x/pub
    desk, by the uid 1001: observer
    every other user whom the directory's permissions let in: refused
  bus.rep tcp://127.0.0.1:1
    every program of this machine: admin
"""


def test_check_says_who_may_do_what_at_each_endpoint(tmp_path, capsys):
    file = tmp_path / "c.yaml"
    file.write_text(
        "bus: {pub: 'ipc:///run/x/pub', rep: 'tcp://127.0.0.1:1'}\n"
        "security:\n  trust_loopback: true\n  ipc_role: none\n  clients: [{name: desk, role: observer, uid: 1001}]\n"
    )
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n{WHO_MAY}"


def test_check_says_that_the_daemons_key_is_missing(tmp_path, capsys):
    file = tmp_path / "c.yaml"
    file.write_text(f"security: {{keys: {tmp_path}, clients: [{{name: a, key: '{'0' * 40}'}}]}}\n")
    assert main(["check", str(file)]) == 2
    assert "clients have keys, and the server has none; make it with `ibbridge keygen" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "give the NAME of a client, or --server"),
        (["a", "--server"], "give the NAME of a client, or --server"),
        (["server"], "server is the name of the daemon's own keys"),
        (["a/b"], "expected 1 to 32 characters"),
        (["a", "--role", "x y"], "expected 1 to 32 characters"),
    ],
)
def test_keygen_says_what_it_cannot_make(arguments, fault, tmp_path, capsys):
    assert main(["keygen", *arguments, "--dir", str(tmp_path)]) == 2
    assert fault in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
