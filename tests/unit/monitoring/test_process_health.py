"""Alarms about the process itself, and where its limits are."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from typing import Any

import pytest

from ibbridge.monitoring.alarms import Alarms
from ibbridge.monitoring.process_health import MEGABYTE, ProcessHealth, ProcessSample, memory_limit
from ibbridge.security import process_limits
from ibbridge.security.spare_sockets import SpareSockets, exhausted


@pytest.mark.parametrize(
    ("sample", "alarm"),
    [
        (ProcessSample(), ""),
        (ProcessSample(log_fault="nobody reads"), "log"),
        (ProcessSample(descriptors=799, descriptor_limit=1_000), ""),
        (ProcessSample(descriptors=800, descriptor_limit=1_000), "descriptors"),
        (ProcessSample(descriptors=5, descriptor_limit=0), ""),
        (ProcessSample(memory=799, memory_limit=1_000), ""),
        (ProcessSample(memory=800, memory_limit=1_000), "memory"),
        (ProcessSample(memory=1_001, memory_limit=1_000), "memory"),
        (ProcessSample(memory=5, memory_limit=0), ""),
    ],
)
def test_each_alarm_begins_at_its_limit_and_ends_below(sample: ProcessSample, alarm: str) -> None:
    told: list[dict[str, Any]] = []
    health = ProcessHealth(Alarms(told.append))
    over = health.check(sample, 1)
    assert [each["alarm"] for each in told if each["raised"]] == [alarm] * bool(alarm)
    assert over == (sample.memory > sample.memory_limit > 0)
    assert not health.check(ProcessSample(), 2)
    assert len(told) == 2 * bool(alarm)


def test_the_limit_of_memory_is_never_below_what_the_ring_may_take() -> None:
    assert memory_limit(1_024, 128 * MEGABYTE) == 1_024 * MEGABYTE
    assert memory_limit(1_024, 2_048 * MEGABYTE) == 2_560 * MEGABYTE


def test_descriptors_and_memory_are_what_the_system_says() -> None:
    before = process_limits.open_descriptors()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
    try:
        assert process_limits.open_descriptors() == before + 10
    finally:
        for each in opened:
            os.close(each)
    process_limits.return_memory()  # or what earlier tests have freed is room enough for the next
    used = process_limits.memory_in_use()
    held = b"x" * 50 * MEGABYTE
    assert process_limits.memory_in_use() > used + 40 * MEGABYTE
    assert held
    process_limits.return_memory()
    assert process_limits.descriptor_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


EXHAUSTED = """
import os, socket
from ibbridge.security.spare_sockets import SpareSockets, exhausted
listening = socket.create_server(("127.0.0.1", 0))
spares = SpareSockets(3)
spares.keep([socket.AF_INET, socket.AF_INET])
assert len(spares) == 3
assert not exhausted()
hoard = []
try:
    while True:
        hoard.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
assert exhausted()
assert spares.take(socket.AF_INET6) is None
refused = spares.take(socket.AF_INET)
refused.setblocking(True)
for port in (1, 1):
    try:
        refused.connect(("127.0.0.1", port))
    except ConnectionRefusedError:
        pass
spares.give_back(refused)
again = [spares.take(socket.AF_INET) for _ in range(3)]
assert refused in again, "who was refused can try again"
for each in again:
    each.setblocking(True)
    each.connect(listening.getsockname())
assert spares.take(socket.AF_INET) is None
os.close(hoard.pop())
os.close(hoard.pop())
spares.restock()
assert len(spares) == 2
"""


def test_a_spare_socket_connects_when_no_descriptor_is_left() -> None:
    command = ["prlimit", "--nofile=64:64", "--", sys.executable, "-c", EXHAUSTED]
    subprocess.run(command, check=True, timeout=30)


def test_the_stock_is_not_overfilled_and_is_closed() -> None:
    spares = SpareSockets(1)
    spares.keep([socket.AF_INET])
    more = socket.socket()
    spares.give_back(more)
    assert more.fileno() == -1
    spares.close()
    assert len(spares) == 0
    assert not exhausted()
