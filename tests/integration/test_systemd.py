"""The units, as systemd itself judges them.

systemd-analyze and systemd-sysusers need no running systemd, but systemd installed; where they are missing (a Mac, a
slim container) those tests are skipped and say so. `verify` insists that ExecStart exists, and /usr/bin/ibbridge does
not before a package has put it there: so copies are judged that differ from the units in nothing but that path.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from ibbridge.monitoring.exit_codes import EXIT_CODES
from ibbridge.security.pulse import LONGEST

ROOT = pathlib.Path(__file__).parents[2]
SINGLE = ROOT / "systemd" / "ibbridge.service"
INSTANCE = ROOT / "systemd" / "ibbridge@.service"
SYSUSERS = ROOT / "systemd" / "sysusers.d" / "ibbridge.conf"
UNITS = pytest.mark.parametrize("unit", [SINGLE, INSTANCE], ids=lambda path: path.name)


def run(tool: str, *arguments: str | pathlib.Path) -> str:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed here")
    done = subprocess.run(
        [tool, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def options(unit: pathlib.Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def installed(unit: pathlib.Path, directory: pathlib.Path) -> pathlib.Path:
    """The unit as it would be installed, as an instance if it is made for instances, with a program that is there."""
    copy = directory / unit.name.replace("@.", "@paper.")
    copy.write_text(unit.read_text().replace("/usr/bin/ibbridge", sys.executable))
    return copy


@UNITS
def test_systemd_finds_nothing_wrong_with_the_unit(unit, tmp_path):
    assert options(unit, "ExecStart")[0].startswith("/usr/bin/ibbridge run -c /etc/ibbridge/")
    assert run("systemd-analyze", "verify", "--man=no", installed(unit, tmp_path)) == ""


@UNITS
def test_the_units_exposure_is_one_or_less(unit):
    judged = run("systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged)
    assert exposure is not None
    assert float(exposure[1]) <= 1.0


def test_the_user_that_the_units_name_is_the_one_that_sysusers_makes(tmp_path):
    assert options(SINGLE, "User") == options(INSTANCE, "User") == ["ibbridge"]
    assert run("systemd-sysusers", "--dry-run", f"--root={tmp_path}", SYSUSERS).startswith("Creating group 'ibbridge'")


def test_the_two_units_differ_only_in_which_gateway_they_are_for():
    # The other unit names the one gateway where the instance unit has %i, and must not sweep away its instances.
    def settings(unit: pathlib.Path) -> set[str]:
        return {line for line in unit.read_text().splitlines() if line and not line.startswith("#")}

    assert {line.partition("=")[0] for line in settings(SINGLE) ^ settings(INSTANCE)} == {
        "Description",
        "ExecStart",
        "ExecReload",
        "RuntimeDirectory",
        "RuntimeDirectoryPreserve",
        "StateDirectory",
    }


@UNITS
def test_a_configuration_that_cannot_be_used_is_not_tried_again_and_anything_else_is(unit):
    assert options(unit, "Restart") == ["always"], "who is ended by somebody's signal exits 0, and is wanted back"
    prevented = [each.number for each in EXIT_CODES if not each.restarts]
    assert options(unit, "RestartPreventExitStatus") == [" ".join(map(str, prevented))] == ["2"]
    assert options(unit, "StartLimitIntervalSec") == ["0"]


@UNITS
def test_a_reload_is_a_hangup_and_the_machine_is_safe_from_the_daemon(unit):
    check, reload = options(unit, "ExecReload")
    assert check == options(unit, "ExecStart")[0].replace("run -c", "check"), "a file with a fault fails the reload"
    assert reload == "/bin/sh -c 'kill -HUP $MAINPID'", "a slim system has no program of that name"
    assert options(unit, "MemoryMax") == ["3G"]
    assert options(unit, "LimitNOFILE") == ["65536"]


@UNITS
def test_libzmq_may_do_what_it_aborts_without(unit):
    """Seen with libzmq 4.3.5 under a filter: ip_resolver.cpp:542 without netlink, thread.cpp:315 with any error."""
    assert "AF_NETLINK" in options(unit, "RestrictAddressFamilies")[0].split()
    assert options(unit, "SystemCallFilter")[-1] == "~sched_setscheduler:0"


@UNITS
def test_a_daemon_that_stands_still_for_twenty_seconds_is_found_and_leaves_no_core(unit):
    assert options(unit, "Type") == ["notify"]
    (watchdog,) = options(unit, "WatchdogSec")
    assert LONGEST < int(watchdog) < 20, "a thread that stands still is found before the watchdog would bark for it"
    assert options(unit, "LimitCORE") == ["0"]


@UNITS
def test_the_daemon_reaches_this_machine_alone_unless_the_operator_says_more(unit):
    assert options(unit, "IPAddressDeny") == ["any"]
    assert options(unit, "IPAddressAllow") == ["localhost"]
