"""Clients that nobody here wrote look up, watch, trade, change, cancel and reconcile on the simulator, unchanged."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.foreign.clients import CLIENTS, Client, command
from tests.integration.rig import Market

pytestmark = pytest.mark.foreign

STEPS = ("contract", "data", "history", "bracket", "change", "cancel", "reconcile", "done")
PATIENCE = 180


def _trade(client: Client, port: int, home: str) -> dict[str, dict]:
    """Return what the client said of each step."""
    steps: dict[str, dict] = {}
    environment = {**os.environ, "HOME": home}
    for words in client.commands:
        ran = subprocess.run(
            command(client, words, port), capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment
        )
        said = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"step"')]
        steps |= {each["step"]: each for each in said}
        assert ran.returncode == 0, (client.name, list(steps), ran.stderr[-2000:], ran.stdout[-1000:])
    return steps


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_it_trades_unchanged(client, tmp_path):
    if not client.installed.exists():
        pytest.skip(f"{client.name} is not installed: make foreign installs it where its packages can be had")
    with Market() as market:
        steps = _trade(client, market.port, str(tmp_path))
    assert [step for step in STEPS if step not in steps and step not in client.without] == []
    assert steps["contract"].get("conId", 265598) == 265598
    assert float(steps["contract"]["minTick"]) == 0.01
    assert 0 < float(steps["data"]["bid"]) < float(steps["data"]["ask"])
    assert steps.get("history", {}).get("bars", 1) >= 1
    assert float(steps.get("bracket", {}).get("filled", 100)) == 100
    if "wanted" in steps.get("change", {}):
        assert float(steps["change"]["price"]) == steps["change"]["wanted"]
    assert float(steps["reconcile"]["position"]) == 100
    assert steps["reconcile"].get("open", 1) == 1
    assert steps.get("errors", {}).get("errors", []) == []
