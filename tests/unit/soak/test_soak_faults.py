"""Accounts of messages under faults: a missing one is found, and each fault is one that the simulator knows."""

from __future__ import annotations

import importlib
import pathlib
import random
from typing import Any

import pytest

from ibbridge.sim.faults.script import wrong

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "soak")


@pytest.fixture
def client() -> Any:
    return importlib.import_module("faults_client")


@pytest.mark.parametrize(
    ("numbers", "fine"),
    [([(5, 5), (6, 6)], True), ([(1, 1), (2, 9), (10, 10)], True), ([(1, 1), (3, 3)], False), ([(1, 1), (1, 1)], False),
     ([(1, 1), (2, 5), (5, 5)], False), ([(4, 4), (3, 3)], False)],
)  # fmt: skip
def test_each_number_is_had_once_or_told_to_be_lost(client: Any, numbers: list[tuple[int, int]], fine: bool) -> None:
    account, other = client.Account(), client.Account()
    try:
        for first, last in numbers:
            account.take("md.a", first, last, "tickPrice")
            other.take(f"md.{first}", first, last, "tickPrice")
    except client.Wrong:
        assert not fine
    else:
        assert fine


def test_a_hole_over_all_is_seen_though_no_stream_has_one(client: Any) -> None:
    everything = object.__new__(client.Everything)
    everything.account, everything.offset = client.Account(), None
    everything._hear("", {"type": "welcome", "offset": 3})
    everything._hear("md.a.tickPrice.", {"type": "tickPrice", "offset": 4, "seq": 1})
    everything._hear("sys.bridge.heartbeat.", {"type": "heartbeat"})
    with pytest.raises(client.Wrong, match="offset 6 behind 4"):
        everything._hear("md.a.tickPrice.", {"type": "tickPrice", "offset": 6, "seq": 2})


def test_every_fault_is_one_that_the_simulator_knows() -> None:
    luck = random.Random(1)
    soak = importlib.import_module("soak_faults")
    assert [fault for _ in range(50) for step in soak.faults(luck) for fault in wrong(step)] == []
