"""The shipped units under a real service manager: start, reload, standstill, state and faults.

The daemon is installed from its wheel in a container that is booted for this, beside a simulated TWS. Everything is
skipped, with the reason, where no container is to be had.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.attacks import preload
from tests.attacks.machine import PYTHON, Machine, NoMachineError
from tests.integration.test_wheel import build, source_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.attack

ROOT = Path(__file__).parents[2]
UNIT = "ibbridge.service"
CONFIG = "/etc/ibbridge/ibbridge.yaml"
SETTINGS = """\
tws: {port: 4002, reconnect_min: 0.1, reconnect_max: 0.5}
bus: {pub: ipc:///run/ibbridge/pub, rep: ipc:///run/ibbridge/rep}
log: {level: info}
"""
BACK = 40.0
"""Seconds in which a daemon that stands still is found (15) and back (5), with time to start."""

CONTRACT = "contract.symbol=AAPL contract.secType=STK contract.exchange=SMART contract.currency=USD"
FAR = f"{CONTRACT} order.action=BUY order.totalQuantity=1 order.orderType=LMT order.lmtPrice=1"
"""An order that no market fills."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot a container with the daemon installed, not started yet, and a simulated TWS."""
    if sys.version_info[:2] != PYTHON:
        pytest.skip(f"the container has Python {PYTHON[0]}.{PYTHON[1]}, for which this one builds no wheel")
    try:
        with Machine(45.0) as booted:
            install(booted, tmp_path_factory)
            yield booted
    except NoMachineError as error:
        pytest.skip(str(error))


def install(machine: Machine, directories: pytest.TempPathFactory) -> None:
    """Install the wheel and the packages that it needs, the units, their user, and a configuration."""
    wheels = machine.root / "wheels"
    wheels.mkdir()
    source = directories.mktemp("source")
    source_tree(source)
    wheel = build("build_wheel", source, wheels)
    needed = ["pyzmq", "msgpack", "pyyaml", "protobuf"]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", str(wheels)]
    done = subprocess.run([*download, *needed], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise NoMachineError(f"the packages cannot be downloaded: {done.stderr[-300:]}")
    machine.run("python3", "-m", "venv", "/opt/ibbridge")
    machine.run(
        "/opt/ibbridge/bin/pip", "install", "--quiet", "--no-index", "--find-links=/wheels", f"/wheels/{wheel.name}"
    )
    machine.run("ln", "--symbolic", "/opt/ibbridge/bin/ibbridge", "/usr/bin/ibbridge")
    for unit in (ROOT / "systemd").glob("*.service"):
        machine.write(f"/etc/systemd/system/{unit.name}", unit.read_text())
    machine.write("/usr/lib/sysusers.d/ibbridge.conf", (ROOT / "systemd/sysusers.d/ibbridge.conf").read_text())
    machine.write(CONFIG, SETTINGS)
    machine.run("systemd-sysusers")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemd-run", "--unit=tws", "/usr/bin/ibbridge", "sim", "--port", "4002", "--seed", "1")


@pytest.fixture
def daemon(machine: Machine) -> Iterator[Machine]:
    """Start the daemon anew, on the usual configuration, for one test."""
    machine.write(CONFIG, SETTINGS)
    machine.run("systemctl", "restart", UNIT)
    yield machine
    machine.run("systemctl", "stop", UNIT)
    machine.run("systemctl", "reset-failed", UNIT, ok=(0, 1))  # 1: there was no failure


def call(machine: Machine, command: str, *, ok: tuple[int, ...] = (0,)) -> str:
    """Send a command as a program of the daemon's own group does."""
    return machine.run("/usr/bin/ibbridge", "call", *command.split(), "-c", CONFIG, ok=ok)


def connected(machine: Machine) -> None:
    """Wait until the daemon has TWS."""
    machine.wait_for(UNIT, 30, StatusText="TWS: ready")


def test_a_start_is_over_when_the_sockets_are_bound_and_the_status_says_how_tws_is(daemon: Machine) -> None:
    found = daemon.properties(UNIT, "ActiveState", "NRestarts", "User", "WatchdogUSec")
    assert found == {"ActiveState": "active", "NRestarts": "0", "User": "ibbridge", "WatchdogUSec": "15s"}
    assert "pong" in call(daemon, "ping")
    connected(daemon)


def test_the_sockets_are_for_the_daemons_user_and_group_alone(daemon: Machine) -> None:
    paths = [f"/run/ibbridge{name}" for name in ("", "/pub", "/rep")]
    modes = daemon.run("stat", "--format=%a %U %G", *paths).splitlines()
    assert modes == ["750 ibbridge ibbridge", "770 ibbridge ibbridge", "770 ibbridge ibbridge"]
    refused = daemon.run(
        "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "ls", "/run/ibbridge", ok=(2,)
    )
    assert "Permission denied" in refused


def test_the_exposure_of_the_running_service_is_one_or_less(daemon: Machine) -> None:
    judged = daemon.run("systemd-analyze", "security", "--no-pager", UNIT)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged)
    assert exposure is not None
    assert float(exposure[1]) <= 1.0
    status = daemon.run("cat", f"/proc/{daemon.properties(UNIT, 'MainPID')['MainPID']}/status")
    assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)


def test_a_reload_takes_effect_and_one_with_a_fault_changes_nothing_and_fails(daemon: Machine) -> None:
    daemon.write(CONFIG, SETTINGS.replace("level: info", "level: warning"))
    daemon.run("systemctl", "reload", UNIT)
    said(daemon, "changed now: log.level")
    daemon.write(CONFIG, SETTINGS.replace("level: info", "level: loud"))
    daemon.run("systemctl", "reload", UNIT, ok=(1,))
    assert "log.level" in daemon.journal(UNIT)
    assert daemon.properties(UNIT, "ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}
    daemon.write(CONFIG, SETTINGS)
    assert "pong" in call(daemon, "ping")


def test_a_daemon_that_is_stopped_is_found_and_comes_back_with_its_orders_and_its_halt(daemon: Machine) -> None:
    connected(daemon)
    call(daemon, f"placeOrder --client me key=kept {FAR}")
    call(daemon, "halt reason=enough")
    pid = daemon.properties(UNIT, "MainPID")["MainPID"]
    daemon.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT)
    daemon.wait_for(UNIT, BACK, NRestarts="1", ActiveState="active")
    assert daemon.properties(UNIT, "MainPID")["MainPID"] != pid
    journal = daemon.journal(UNIT)
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal
    connected(daemon)
    assert "kept" in call(daemon, "orders --client me")
    assert "enough" in daemon.run("/usr/bin/ibbridge", "status", "-c", CONFIG)
    again = call(daemon, f"placeOrder --client me key=kept {FAR}")
    assert "dup" in again
    assert "E_HALTED" in call(daemon, f"placeOrder --client me key=new {FAR}", ok=(1,))
    call(daemon, "resume")


def test_a_daemon_that_is_killed_comes_back(daemon: Machine) -> None:
    daemon.run("systemctl", "kill", "--signal=KILL", UNIT)
    daemon.wait_for(UNIT, BACK, NRestarts="1", ActiveState="active")


def test_a_configuration_with_a_fault_is_not_tried_again(daemon: Machine) -> None:
    daemon.write(CONFIG, SETTINGS.replace("port: 4002", "port: none"))
    daemon.run("systemctl", "restart", UNIT, ok=(1,))
    found = daemon.properties(UNIT, "ActiveState", "SubState", "ExecMainStatus", "NRestarts")
    assert found == {"ActiveState": "failed", "SubState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}
    assert "tws.port" in daemon.journal(UNIT)


def test_an_endpoint_that_another_daemon_has_is_tried_until_it_is_free(daemon: Machine) -> None:
    other = "ibbridge@other.service"
    daemon.write("/etc/ibbridge/other.yaml", SETTINGS.replace("tws: {", "tws: {client_id: 2, "))
    daemon.run("systemctl", "start", other, ok=(1,))
    assert daemon.properties(other, "SubState") == {"SubState": "auto-restart"}
    daemon.run("systemctl", "stop", UNIT)
    daemon.wait_for(other, 30, ActiveState="active")
    daemon.run("systemctl", "stop", other)


def test_a_store_that_opens_slowly_is_waited_for_beyond_the_timeout_of_a_start(daemon: Machine) -> None:
    library = daemon.root / "usr/lib/preload.so"
    library.write_bytes(preload.library().read_bytes())
    drop_in = f"/etc/systemd/system/{UNIT}.d/slow.conf"
    environment = "LD_PRELOAD=/usr/lib/preload.so IBBRIDGE_TEST_HANG=/etc/ibbridge/hang"
    daemon.write(drop_in, f"[Service]\nTimeoutStartSec=2\nEnvironment={environment}\n")
    daemon.write(CONFIG, f"{SETTINGS}store: {{path: /var/lib/ibbridge/store}}\n")
    daemon.write("/etc/ibbridge/hang", "")
    try:
        daemon.run("systemctl", "daemon-reload")
        daemon.run("systemctl", "restart", "--no-block", UNIT)
        said(daemon, "opening the one in /var/lib/ibbridge/store has taken 4 s")
        assert daemon.properties(UNIT, "ActiveState", "NRestarts") == {"ActiveState": "activating", "NRestarts": "0"}
        (daemon.root / "etc/ibbridge/hang").unlink()
        daemon.wait_for(UNIT, 20, ActiveState="active", NRestarts="0")
    finally:
        (daemon.root / drop_in.lstrip("/")).unlink()
        daemon.run("systemctl", "daemon-reload")


def said(machine: Machine, words: str) -> None:
    """Wait until the journal has these words of the daemon."""
    machine.run(
        "timeout", "30", "sh", "-c", f"until journalctl -o cat -u {UNIT} | grep -Fq '{words}'; do sleep 0.2; done"
    )
