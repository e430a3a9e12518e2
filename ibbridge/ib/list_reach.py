"""Reach of TWS's lists of executions and of completed orders: they begin at the last midnight.

Pure. An order that ended before that midnight is in no list, so its absence does not say that nothing of it was filled.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ibbridge.ib.trading_hours import zone_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOUR = 3_600_000_000
_IB = "America/New_York"


def reaches(seen: int, now: int, connection_time: str) -> bool:
    """Return True if lists of `now` have all that has happened since `seen` (both µs since 1970 UTC).

    Midnight is that of the account, which TWS does not say. A midnight counts if it is one of TWS's zone, which the
    greeting names (`connection_time`: date, time, zone), or of IB's. Without a zone each full hour may be a midnight.
    """
    zone = zone_of(connection_time.partition(" ")[2].partition(" ")[2])
    if zone is None:
        return seen // _HOUR == now // _HOUR
    return _same_day(seen, now, (zone, ZoneInfo(_IB)))


def _same_day(seen: int, now: int, zones: Sequence[ZoneInfo]) -> bool:
    return all(_date(seen, zone) == _date(now, zone) for zone in zones)


def _date(us: int, zone: ZoneInfo) -> dt.date:
    return dt.datetime.fromtimestamp(us / 1e6, zone).date()
