"""Maintenance windows of TWS: spans of local time in which orders are refused, and an absent TWS raises no alarm.

Pure: the caller gives the time. A window is `HH:MM-HH:MM ZONE`, with its first days in front if it does not begin every
day: `Sun-Fri 23:45-00:45 America/New_York`. Both ends are local clock times, so a window is right in summer time and
over midnight.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = "|".join(DAYS)
_WINDOW = re.compile(
    rf"(?:(?P<days>(?:{_DAY})(?:-(?:{_DAY}))?) +)?(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d) +(?P<zone>\S+)"
)


@dataclass(frozen=True, slots=True)
class Window:
    """Maintenance window. `days` are the days on which it begins (0 is Monday); it may end on the next day."""

    start: dt.time
    end: dt.time
    zone: ZoneInfo
    days: frozenset[int]

    def __str__(self) -> str:
        days = "" if len(self.days) == len(DAYS) else f"{','.join(DAYS[day] for day in sorted(self.days))} "
        return f"{days}{self.start:%H:%M}-{self.end:%H:%M} {self.zone.key}"

    def left(self, now: float) -> float:
        """Return the seconds from `now` (seconds since 1970 UTC) to the window's end; 0 outside the window."""
        today = dt.datetime.fromtimestamp(now, self.zone).date()
        for day in (today, today - dt.timedelta(days=1)):  # the window may have begun yesterday
            if day.weekday() in self.days:
                begins, ends = self._on(day)
                if begins <= now < ends:
                    return ends - now
        return 0.0

    def _on(self, day: dt.date) -> tuple[float, float]:
        last = day if self.end > self.start else day + dt.timedelta(days=1)
        begins = dt.datetime.combine(day, self.start, self.zone)
        ends = dt.datetime.combine(last, self.end, self.zone)
        return begins.timestamp(), ends.timestamp()


def window(text: str) -> Window:
    """Return the window that a text describes. Raise `ValueError` with the fault of the text."""
    found = _WINDOW.fullmatch(text.strip())
    if found is None:
        raise ValueError("expected HH:MM-HH:MM ZONE, or Sun-Fri 23:45-00:45 America/New_York")
    try:
        start, end = dt.time.fromisoformat(found["start"]), dt.time.fromisoformat(found["end"])
    except ValueError:
        raise ValueError(f"{found['start']}-{found['end']} are no times of day") from None
    if start == end:
        raise ValueError("it ends when it begins; give two different times")
    try:
        zone = ZoneInfo(found["zone"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "a name such as America/New_York, Europe/Zurich or UTC; without the system's tzdata only UTC is known"
        raise ValueError(f"{found['zone']} is no time zone that is known here: {hint}") from None
    return Window(start, end, zone, _days(found["days"]))


def _days(text: str | None) -> frozenset[int]:
    if not text:
        return frozenset(range(7))
    first, _, last = text.partition("-")
    begin = DAYS.index(first)
    count = (DAYS.index(last or first) - begin) % 7 + 1
    return frozenset((begin + offset) % 7 for offset in range(count))


def left(windows: tuple[Window, ...], now: float) -> float:
    """Return the seconds until no window holds; 0 if none holds at `now`.

    Windows that overlap count as one, so that a refused order is told to come back when it can be accepted.
    """
    until = now
    while rest := max((window.left(until) for window in windows), default=0.0):
        if until - now > 7 * 86_400:  # the windows cover all of the time
            break
        until += rest
    return until - now
