"""IB's spellings of time, read and written.

Times inside the simulator are seconds since 1970, UTC. On the wire they are text in the zone of the simulated
exchanges, as from a TWS set to "operator time zone".
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibbridge.sim.market.instruments import ZONE

HOST_ZONE = ZoneInfo("America/New_York")  # every zone database has the zone under this name

_LEGACY = {
    "US/Eastern": "America/New_York",
    "EST": "America/New_York",
    "EST5EDT": "America/New_York",
    "US/Central": "America/Chicago",
    "US/Pacific": "America/Los_Angeles",
    "MET": "Europe/Berlin",
    "GMT": "UTC",
    "JST": "Asia/Tokyo",
}
"""Names that clients use and newer zone databases have dropped."""

_FORM = re.compile(r"(\d{8})(?:(-| {1,2})(\d\d:\d\d(?::\d\d)?)(Z)?(?: (\S+))?)?")


def stamp(at: float) -> str:
    """Return a time as text: `20260105 09:30:00 US/Eastern`."""
    return f"{local(at):%Y%m%d %H:%M:%S} {ZONE}"


def local(at: float) -> datetime:
    """Return the local time at the exchange."""
    return datetime.fromtimestamp(at, HOST_ZONE)


def today(at: float) -> date:
    """Return the date at the exchange."""
    return local(at).date()


def read(text: str) -> tuple[float, bool]:
    """Return the seconds since 1970, and True if the text named its zone (if not, the host's zone counts).

    The forms are `yyyymmdd hh:mm:ss zone`, `yyyymmdd-hh:mm:ss` (UTC), and both without zone, seconds or time. Raise
    `ValueError` for any other text.
    """
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no time")
    day, mark, clock, _, name = found.groups()
    zone: tzinfo = _zone(name) if name else UTC if mark == "-" else HOST_ZONE
    form = "%Y%m%d%H:%M:%S" if clock and clock.count(":") == 2 else "%Y%m%d%H:%M"
    if not 1970 < int(day[:4]) < 9999:  # beyond, a zone offset can leave the range of datetime
        raise ValueError(f"{text!r}: the year must be from 1971 to 9998")
    moment = datetime.strptime(day + (clock or "00:00"), form).replace(tzinfo=zone)
    return moment.timestamp(), bool(name) or mark == "-"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(_LEGACY.get(name, name))
    except (ZoneInfoNotFoundError, OSError) as error:  # OSError: the name is a directory of the zone database
        raise ValueError(f"{name!r} is no time zone") from error
