"""Alarms: raised when something is wrong for too long, told once, and over when it is over. In virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.monitoring.alarms import Alarms
from ibbridge.monitoring.health_checks import REMEMBERED, HealthChecks, HealthSample

FINE = HealthSample(ready=True, stage="ready", last_error="", upstream="ok", slowest_commit=0.01, fault="")
AWAY = FINE._replace(ready=False, stage="connecting", last_error="connection refused")


class Watched:
    """A health that is looked at every second."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.alarms = Alarms(self.told.append)
        self.health = HealthChecks(self.alarms, 60.0, 0.25, 0.0)
        self.now = 0.0

    def see(self, signs: HealthSample, seconds: int, *, expected: bool = False) -> None:
        for _ in range(seconds):
            self.now += 1
            self.health.tick(signs, self.now, int(self.now * 1e6), expected=expected)

    def changes(self) -> list[tuple[str, bool]]:
        return [(each["alarm"], each["raised"]) for each in self.told]


def test_what_is_fine_is_no_alarm() -> None:
    watched = Watched()
    watched.see(FINE, 1000)
    assert watched.told == []
    assert watched.alarms.raised == []


@pytest.mark.parametrize(
    ("signs", "name"), [(AWAY, "notReady"), (FINE._replace(upstream="lost"), "upstream")], ids=["notReady", "upstream"]
)
def test_what_is_away_for_too_long_is_told_once_and_so_is_its_end(signs: HealthSample, name: str) -> None:
    watched = Watched()
    watched.see(FINE, 5)
    watched.see(signs, 60)
    assert watched.told == []
    watched.see(signs, 500)
    assert watched.changes() == [(name, True)]
    (about,) = watched.alarms.raised
    assert about["since"] == 66_000_000
    assert "560 s" in about["why"]
    watched.see(FINE, 10)
    assert watched.changes() == [(name, True), (name, False)]
    assert watched.told[-1]["since"] == 566_000_000
    assert watched.alarms.raised == []


def test_the_reason_says_where_it_is_stuck_and_what_went_wrong() -> None:
    watched = Watched()
    watched.see(AWAY, 61)
    assert "connecting: connection refused" in watched.told[0]["why"]


def test_a_daemon_that_never_gets_ready_is_an_alarm_too() -> None:
    watched = Watched()
    watched.see(AWAY._replace(last_error=""), 61)
    assert watched.changes() == [("notReady", True)]
    assert "no error so far" in watched.told[0]["why"]


def test_who_comes_and_goes_within_its_time_is_no_alarm() -> None:
    watched = Watched()
    for _ in range(20):
        watched.see(AWAY, 59)
        watched.see(FINE, 1)
    assert watched.told == []


def test_in_a_restart_window_nothing_counts_and_after_it_time_begins_anew() -> None:
    watched = Watched()
    watched.see(AWAY, 3600, expected=True)
    watched.see(AWAY, 60)
    assert watched.told == []
    watched.see(AWAY, 1)
    assert watched.changes() == [("notReady", True)]
    watched.see(AWAY, 1, expected=True)
    assert watched.changes()[-1] == ("notReady", False)


def test_without_a_connection_nothing_is_said_of_what_is_behind_it() -> None:
    watched = Watched()
    watched.see(FINE._replace(upstream="lost", ready=False, last_error="refused"), 100)
    assert watched.changes() == [("notReady", True)]


def test_a_slow_commit_is_an_alarm_for_a_while() -> None:
    watched = Watched()
    watched.see(FINE._replace(slowest_commit=2.0), 1)
    assert watched.changes() == [("slowDisk", True)]
    watched.see(FINE._replace(slowest_commit=0.5), 30)
    assert "2.00 s" in watched.alarms.raised[0]["why"]
    watched.see(FINE, int(REMEMBERED) - 1)
    assert watched.changes() == [("slowDisk", True)]
    watched.see(FINE, 1)
    assert watched.changes() == [("slowDisk", True), ("slowDisk", False)]


def test_a_store_that_fails_is_an_alarm_with_its_own_words() -> None:
    watched = Watched()
    watched.see(FINE._replace(fault="the disk is full"), 1)
    assert watched.told[0]["why"] == "the disk is full"
    watched.see(FINE, 1)
    assert watched.changes() == [("store", True), ("store", False)]


def test_what_is_given_out_is_nobody_elses_to_change() -> None:
    watched = Watched()
    watched.see(AWAY, 61)
    watched.alarms.raised[0]["why"] = "nothing"
    watched.told[0]["why"] = "nothing"
    assert "connecting" in watched.alarms.raised[0]["why"]
