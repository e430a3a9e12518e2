"""Trading hours of instruments, parsed from IB's `liquidHours`.

The form is `20260105:0930-20260105:1600;20260106:CLOSED`, from older servers `20260105:0930-1100,1230-1600`. The time
zone has a field of its own, and IB has many names for a zone. Pure: the caller gives the time, in seconds since 1970
UTC.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

# IB's names of zones that the tz database lacks or understands otherwise (its EST has no summer time).
_ZONES = {
    "EST": "America/New_York",
    "EST5EDT": "America/New_York",
    "CST": "America/Chicago",
    "CST6CDT": "America/Chicago",
    "MST": "America/Denver",
    "PST": "America/Los_Angeles",
    "MET": "Europe/Berlin",
    "CET": "Europe/Berlin",
    "BST": "Europe/London",
    "GB": "Europe/London",
    "GB-Eire": "Europe/London",
    "JST": "Asia/Tokyo",
    "HKT": "Asia/Hong_Kong",
    "IST": "Asia/Kolkata",
    "AEST": "Australia/Sydney",
    "AET": "Australia/Sydney",
    "US/Eastern": "America/New_York",
    "US/Central": "America/Chicago",
    "US/Pacific": "America/Los_Angeles",
}
_DAY = re.compile(r"(\d{8}):(?:(CLOSED)|(.+))")
_SPAN = re.compile(r"(\d{4})-(?:(\d{8}):)?(\d{4})")

UNKNOWN_FOR = 3600.0
"""Seconds after which trading hours that TWS has not given are requested again."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Open spans of a market from `first` to `last`, in seconds since 1970 UTC. Outside, nothing is known."""

    spans: tuple[tuple[float, float], ...]
    first: float
    last: float

    def open(self, at: float) -> bool | None:
        """Return whether the market is open at a time; None if that is not known."""
        if not self.first <= at < self.last:
            return None
        return any(start <= at < end for start, end in self.spans)


def zone_of(name: str) -> ZoneInfo | None:
    """Return the time zone of IB's name, such as `EST (Eastern Standard Time)`; None for an unknown name."""
    short = name.partition("(")[0].strip()
    try:
        return ZoneInfo(_ZONES.get(short, short))
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a directory
        return None


def parse(text: str, zone_name: str) -> Hours | None:
    """Return the trading hours in IB's text; None if the text cannot be read or has no hours."""
    zone = zone_of(zone_name)
    if zone is None:
        return None
    spans: list[tuple[float, float]] = []
    days: list[float] = []
    try:
        for day in filter(None, (each.strip() for each in text.split(";"))):
            found = _DAY.fullmatch(day)
            if found is None:
                return None
            days += [_at(found[1], "0000", zone), _at(found[1], "2400", zone)]
            if found[3]:
                spans += _spans(found[1], found[3], zone)
    except (ValueError, OverflowError):  # no such day, or nothing that is a span
        return None
    ends = [*days, *(end for _, end in spans), *(start for start, _ in spans)]
    return Hours(tuple(spans), min(ends), max(ends)) if ends else None


def _spans(date: str, text: str, zone: ZoneInfo) -> Iterator[tuple[float, float]]:
    for span in text.split(","):
        found = _SPAN.fullmatch(span.strip().removeprefix(f"{date}:"))
        if found is None:
            raise ValueError(span)
        start, end = _at(date, found[1], zone), _at(found[2] or date, found[3], zone)
        # A span over midnight, without a second date.
        yield start, end if end > start else _at(found[2] or date, found[3], zone, later=1)


def _at(date: str, time: str, zone: ZoneInfo, later: int = 0) -> float:
    """Return the seconds since 1970 UTC of a local time, `later` days after `date`: a day may have 23 or 25 hours."""
    if time == "2400":
        time, later = "0000", later + 1
    moment = dt.datetime.strptime(date + time, "%Y%m%d%H%M").replace(tzinfo=zone)
    return (moment + dt.timedelta(days=later)).timestamp()  # adding days keeps the local time of day


class TradingCalendar:
    """Trading hours by instrument, with the time when TWS was asked for each instrument's."""

    def __init__(self) -> None:
        self._hours: dict[str, Hours | None] = {}
        self._asked: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def open(self, instrument: str, at: float) -> bool | None:
        """Return whether the market of an instrument is open; None if that is not known."""
        hours = self._hours.get(instrument)
        return hours.open(at) if hours else None

    def wants(self, instrument: str, at: float) -> bool:
        """Return True if TWS is to be asked: the hours at that time are not known, and TWS was not asked lately."""
        asked = self._asked.get(instrument)
        return self.open(instrument, at) is None and (asked is None or not 0 <= at - asked < UNKNOWN_FOR)

    def asking(self, instrument: str, at: float) -> None:
        """Note that TWS is asked now."""
        self._asked[instrument] = at

    def learn(self, instrument: str, text: str, zone: str) -> None:
        """Keep the trading hours in a response of TWS. An unreadable text changes nothing."""
        if hours := parse(text, zone):
            self._hours[instrument] = hours
