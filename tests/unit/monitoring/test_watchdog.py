from __future__ import annotations

from functools import partial

import pytest

from ibbridge.monitoring.watchdog import SHARE, Watchdog, watchdog_seconds


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "15000000"}, 15.0),
        ({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "4711"}, 15.0),
        ({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "4712"}, 0.0),
        ({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": ""}, 15.0),
        ({"WATCHDOG_PID": "4711"}, 0.0),
        ({"WATCHDOG_USEC": ""}, 0.0),
        ({"WATCHDOG_USEC": "-1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "²"}, 0.0),
    ],
)
def test_systemd_says_for_whom_its_watchdog_is_and_how_long_it_waits(environment, seconds):
    assert watchdog_seconds(environment, 4711) == seconds


class Rig:
    """Watchdog of two parts, and what systemd was told."""

    def __init__(self) -> None:
        self.why = {"bus": "", "store": ""}
        self.told: list[str] = []
        signs = {name: partial(self.why.__getitem__, name) for name in self.why}
        self.watchdog = Watchdog(signs, 15.0, self._tell)

    def _tell(self, assignment: str) -> bool:
        self.told.append(assignment)
        return True


def test_systemd_is_told_several_times_in_the_time_it_allows():
    rig = Rig()
    assert rig.watchdog.interval * SHARE == 15.0
    rig.watchdog.tick()
    rig.watchdog.tick()
    assert rig.told == ["WATCHDOG=1", "WATCHDOG=1"]


@pytest.mark.parametrize("part", ["bus", "store"])
def test_while_one_part_stands_still_systemd_is_told_why_and_not_that_the_daemon_lives(part, caplog):
    rig = Rig()
    rig.why[part] = "a thread is gone"
    rig.watchdog.tick()
    rig.watchdog.tick()
    assert rig.told == [f"STATUS=waits for its restart: {part}: a thread is gone"]
    assert [record.getMessage().partition(". ")[0] for record in caplog.records] == [
        f"watchdog: {part}: a thread is gone"
    ]
    rig.why[part] = ""
    rig.watchdog.tick()
    assert rig.told[-1] == "WATCHDOG=1"
    assert "every vital sign is back" in caplog.text
