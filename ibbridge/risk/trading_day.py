"""The day of the daily limits: from a time of day in a time zone to the same time on the next day.

Pure: the caller gives the time, in µs since 1970 UTC. Summer time makes days of 23 and 25 hours.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True)
class TradingDay:
    """Day that begins at `start` in `zone`. IB's account days begin at midnight in New York."""

    zone: ZoneInfo = NEW_YORK
    start: dt.time = dt.time(0, 0)

    def bounds(self, now: int) -> tuple[int, int]:
        """Return when the day of a time began and ends."""
        local = dt.datetime.fromtimestamp(now / 1e6, self.zone)
        for days in (1, 0, -1):
            begins, ends = self._at(local.date(), days), self._at(local.date(), days + 1)
            if begins <= now < ends:
                return begins, ends
        raise ValueError(f"no day has the time {now}")

    def _at(self, date: dt.date, later: int) -> int:
        moment = dt.datetime.combine(date + dt.timedelta(days=later), self.start, self.zone)
        return int(moment.timestamp()) * 1_000_000
