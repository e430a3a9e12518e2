"""Text with a terminal's escape sequences, from a client and from TWS: it reaches nobody's terminal as it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.integration.rig import AAPL, PATIENCE, Bridge, Host

pytestmark = pytest.mark.attack

HOSTILE = "\x1b]0;owned\x07\x1b[2J\nERROR forged"


def run(bridge: Bridge, *arguments: str) -> str:
    command = [sys.executable, "-m", "ibbridge", *arguments]
    if arguments[0] in ("status", "call"):
        command += ["--rep", bridge.rep]
    if arguments[0] in ("sub", "call"):
        command += ["--pub", bridge.pub]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    return (done.stdout + done.stderr).decode()


def test_no_terminal_obeys_what_a_client_or_tws_has_said():
    with Host() as host, Bridge(host.port) as bridge, host.accept() as guest:
        guest.start()
        sub = bridge.ready()
        bridge.do("halt", reason=HOSTILE.replace("\n", " "))
        guest.say("error", reqId=-1, errorTime=0, errorCode=999, errorString=HOSTILE)
        sub.until("error", lambda data: data["errorCode"] == 999)
        said = {
            "status": run(bridge, "status"),
            "sub": run(bridge, "sub", "sys.", "--seconds", "1"),
            "call": run(bridge, "call", "placeOrder", f"order.action={HOSTILE}", f"contract.{HOSTILE}=x"),
            "log": bridge.said(),
        }
        refused = bridge.call("placeOrder", key="k", contract=AAPL, order={"action": "BUY"})
        assert not refused["ok"]
    for where, text in said.items():
        assert "owned" in text, where
        assert "\x1b" not in text, where
        assert not [line for line in text.splitlines() if line.startswith("ERROR forged")], where
