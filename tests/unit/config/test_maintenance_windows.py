"""Restart windows: local time, days, midnight, summer time; and what is no window is told."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.config.maintenance_windows import left, window

NEW_YORK = ZoneInfo("America/New_York")
NIGHT = "Sun-Fri 23:45-00:45 America/New_York"


def at(*when: int, zone: ZoneInfo = NEW_YORK) -> float:
    return dt.datetime(*when, tzinfo=zone).timestamp()  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "now", "seconds"),
    [
        (NIGHT, at(2026, 11, 22, 23, 44, 59), 0),  # a Sunday
        (NIGHT, at(2026, 11, 22, 23, 45), 3600),
        (NIGHT, at(2026, 11, 23, 0, 0), 2700),
        (NIGHT, at(2026, 11, 23, 0, 44, 59), 1),
        (NIGHT, at(2026, 11, 23, 0, 45), 0),
        (NIGHT, at(2026, 11, 27, 23, 50), 3300),  # Friday's
        (NIGHT, at(2026, 11, 28, 0, 30), 900),  # which ends on Saturday
        (NIGHT, at(2026, 11, 28, 23, 50), 0),  # Saturday has none
        (NIGHT, at(2026, 11, 29, 0, 30), 0),
        ("09:00-17:00 UTC", at(2026, 7, 1, 12, 0, zone=ZoneInfo("UTC")), 5 * 3600),
        ("Wed 09:00-17:00 UTC", at(2026, 7, 1, 12, 0, zone=ZoneInfo("UTC")), 5 * 3600),
        ("Thu 09:00-17:00 UTC", at(2026, 7, 1, 12, 0, zone=ZoneInfo("UTC")), 0),
        ("01:00-04:00 Europe/Zurich", at(2026, 3, 29, 1, 0, zone=ZoneInfo("Europe/Zurich")), 2 * 3600),  # spring
        ("01:00-04:00 Europe/Zurich", at(2026, 10, 25, 1, 0, zone=ZoneInfo("Europe/Zurich")), 4 * 3600),  # autumn
    ],
)
def test_a_window_is_local_time_whatever_the_clock_does(text: str, now: float, seconds: float) -> None:
    assert window(text).left(now) == seconds
    assert left((window(text),), now) == seconds


def test_windows_that_meet_are_one() -> None:
    both = (window("10:00-11:00 UTC"), window("10:30-12:00 UTC"))
    assert left(both, at(2026, 7, 1, 10, 15, zone=ZoneInfo("UTC"))) == 105 * 60
    assert left((), 0.0) == 0


def test_windows_without_an_end_are_told_in_finite_time() -> None:
    whole = (window("00:00-12:00 UTC"), window("12:00-00:00 UTC"))
    assert left(whole, at(2026, 7, 1, 10, zone=ZoneInfo("UTC"))) > 7 * 86_400


@given(st.integers(0, 2**31), st.integers(0, 23), st.integers(0, 59), st.integers(1, 1439))
def test_whoever_comes_back_when_it_ends_is_let_in(now: int, hour: int, minute: int, length: int) -> None:
    end = (hour * 60 + minute + length) % 1440
    here = window(f"{hour:02}:{minute:02}-{end // 60:02}:{end % 60:02} America/New_York")
    rest = here.left(now)
    assert 0 <= rest <= length * 60 + 3600
    assert here.left(now + rest) == 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "expected HH:MM-HH:MM ZONE"),
        ("23:45-00:45", "expected HH:MM-HH:MM ZONE"),
        ("Foo 23:45-00:45 UTC", "expected HH:MM-HH:MM ZONE"),
        ("25:00-01:00 UTC", "no times of day"),
        ("01:00-01:00 UTC", "ends when it begins"),
        ("01:00-02:00 America/Gotham", "America/Gotham is no time zone"),
        ("01:00-02:00 ../../etc/passwd", "is no time zone"),
    ],
)
def test_what_is_no_window_is_told_with_what_would_be(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        window(text)
