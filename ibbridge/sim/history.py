"""Historical bars: reqHistoricalData, its live continuation, and the first moment there is data for.

Bars come from the same walks as the ticks, so the two agree. Intraday bars lie on the clock's grid; day bars and larger
are the exchange's days (see `market.py`), named after the date they end on.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim import moments
from ibbridge.sim.catalogue import Refused, invalid
from ibbridge.sim.market import OPENED, QUARTERS, Market, to_tick
from ibbridge.sim.walk import DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ibbridge.sim.instruments import Instrument
    from ibbridge.sim.world import Data, Handler, Session, World

YEARS = 20
"""How far back there is data."""
UPDATES = 5
"""Seconds between updates of a bar that is kept up to date."""
BARS = 20_000
"""The most bars of one answer."""

SIZES = {
    "1 secs": 1, "1 sec": 1, "5 secs": 5, "10 secs": 10, "15 secs": 15, "30 secs": 30, "1 min": 60, "2 mins": 120,
    "3 mins": 180, "5 mins": 300, "10 mins": 600, "15 mins": 900, "20 mins": 1200, "30 mins": 1800, "1 hour": 3600,
    "2 hours": 7200, "3 hours": 10800, "4 hours": 14400, "8 hours": 28800, "1 day": DAY, "1 week": 7 * DAY,
    "1 month": 30 * DAY, "1D": DAY, "1W": 7 * DAY, "1M": 30 * DAY,
}  # fmt: skip
"""Bar sizes in seconds, in every spelling that TWS takes."""
_UNITS = {"S": (1, 86_400), "D": (DAY, 365), "W": (7 * DAY, 52), "M": (30 * DAY, 12), "Y": (365 * DAY, 68)}
"""Seconds of a duration's unit, and how many of them a request may ask for."""
_NO_DATA = "Historical Market Data Service error message:HMDS query returned no data: {}@{} {}"
_TRADE_KINDS = ("TRADES", "ADJUSTED_LAST", "AGGTRADES")
_LIVE_KINDS = ("TRADES", "MIDPOINT", "BID", "ASK")


class Query(NamedTuple):
    """A request for bars, read."""

    instrument: Instrument
    end: int
    duration: int
    size: int
    shows: str
    regular: bool
    form: int


class Feed(NamedTuple):
    """Bars that are kept up to date."""

    session: Session
    request: int
    query: Query


class History:
    """All requests for historical data."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._feeds: dict[tuple[int, int], Feed] = {}

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here."""
        return {
            "reqHistoricalData": self.request,
            "cancelHistoricalData": self.cancel,
            "reqHeadTimeStamp": self.head,
            "cancelHeadTimeStamp": lambda _session, _args: None,
        }

    def request(self, session: Session, args: Mapping[str, Any]) -> None:
        """All bars in one message. The end is a message of its own or part of the same, as the session has it."""
        key = session.client_id, args["reqId"]
        if key in self._feeds:
            raise Refused(386, f"Duplicate ticker id for API historical data query: {args['reqId']}")
        query = self._query(session, args)
        bars = list(bars_of(self._world.market, query))
        if not bars:
            contract = args.get("contract", {})
            exchange = contract.get("exchange") or query.instrument.profile.exchange
            raise Refused(162, _NO_DATA.format(query.instrument.local_symbol, exchange, query.shows.title()))
        message: Data = {"reqId": args["reqId"], "bars": bars}
        span = {"start": moments.stamp(query.end - query.duration), "end": moments.stamp(query.end)}
        if session.history_end:
            session.send("historicalData", message | dict.fromkeys(span))
            session.send("historicalDataEnd", {"reqId": args["reqId"]} | span)
        else:
            session.send("historicalData", message | span)
        if args.get("keepUpToDate", False):
            self._feeds[key] = Feed(session, args["reqId"], query)

    def cancel(self, session: Session, args: Mapping[str, Any]) -> None:
        """End an update. No answer, unless there is nothing to cancel."""
        if self._feeds.pop((session.client_id, args["reqId"]), None) is None:
            raise Refused(366, f"No historical data query found for ticker id:{args['reqId']}")

    def head(self, session: Session, args: Mapping[str, Any]) -> None:
        """The first moment there is data for."""
        self._world.instrument(args.get("contract", {}))
        first = self._world.start - YEARS * 365 * DAY
        day = first - first % DAY + 52_200
        text = f"{day}" if args.get("formatDate", 1) == 2 else _utc(day)
        session.send("headTimestamp", {"reqId": args["reqId"], "headTimestamp": text})

    def drop(self, session: Session) -> None:
        """Forget a client that has gone."""
        self._feeds = {key: feed for key, feed in self._feeds.items() if feed.session is not session}

    def beat(self, quarter: int) -> None:
        """Send the bar in progress to whoever keeps theirs up to date."""
        seconds, rest = divmod(quarter, QUARTERS)
        if rest or seconds % UPDATES:
            return
        market = self._world.market
        now = market.start + seconds
        for feed in self._feeds.values():
            query = feed.query
            begin = market.day_begin(now - 1) if query.size >= DAY else now - 1 - (now - 1) % query.size
            bar = shown_bar(market, query.instrument, begin, now, query.shows)
            bar["date"] = _label(begin, query)
            feed.session.send("historicalDataUpdate", {"reqId": feed.request, "bar": bar})

    # -- reading a request -------------------------------------------------------------------------------------------

    def _query(self, session: Session, args: Mapping[str, Any]) -> Query:
        instrument = self._world.instrument(args.get("contract", {}))
        size = SIZES.get(args.get("barSizeSetting", ""))
        if size is None:
            raise invalid(
                "Historical data bar size setting is invalid. Legal ones are: "
                "1 secs, 5 secs, 10 secs, 15 secs, 30 secs, 1 min, 2 mins, 3 mins, 5 mins, 10 mins, 15 mins, 20 mins, "
                "30 mins, 1 hour, 2 hours, 3 hours, 4 hours, 8 hours, 1 day, 1W, 1M"
            )
        shows = args.get("whatToShow", "").upper()
        if shows not in _SHOWN:
            raise Refused(10299, f"Expected what to show is TRADES, please use that instead of {shows}.")
        if shows in _TRADE_KINDS and not instrument.profile.trades:
            raise Refused(162, _NO_DATA.format(instrument.local_symbol, instrument.profile.exchange, "Last"))
        if args.get("keepUpToDate", False) and (args.get("endDateTime", "") or shows not in _LIVE_KINDS):
            raise invalid("End time must be empty and data one of TRADES, MIDPOINT, BID, ASK to be kept up to date")
        if instrument.sec_type == "CONTFUT" and args.get("endDateTime", ""):
            raise Refused(10339, "Setting end date/time for continuous future security type is not allowed.")
        query = Query(
            instrument,
            self._end(session, args),
            _duration(args.get("durationStr", "")),
            size,
            shows,
            bool(args.get("useRTH", 0)),
            args.get("formatDate", 1),
        )
        if min(query.duration, YEARS * 365 * DAY) // size > BARS:
            raise invalid("Historical data request for greater than the limit of bars rejected")
        return query

    def _end(self, session: Session, args: Mapping[str, Any]) -> int:
        text = args.get("endDateTime", "")
        if not text:
            return self._world.second
        try:
            at, zoned = moments.read(text)
        except ValueError:
            raise Refused(
                10314,
                "End Date/Time: The date, time, or time-zone entered is invalid. "
                "The correct format is yyyymmdd hh:mm:ss xx/xxxx where yyyymmdd and xx/xxxx are optional.",
            ) from None
        if not zoned:
            session.error(
                args["reqId"],
                2174,
                "Warning: You submitted request with date-time attributes without explicit time zone. "
                "Please switch to use yyyymmdd-hh:mm:ss in UTC or use instrument time zone, like US/Eastern.",
            )
        return min(int(at), self._world.second)


def _duration(text: str) -> int:
    number, _, unit = text.strip().partition(" ")
    seconds, most = _UNITS.get(unit.upper(), (0, 0))
    if not number.isdecimal() or len(number) > 5 or not 1 <= int(number) <= most:
        raise invalid(f"Historical data query duration is invalid: {text}")
    return int(number) * seconds


# -- bars --------------------------------------------------------------------------------------------------------------


def bars_of(market: Market, query: Query) -> Iterator[Data]:
    """The bars of a query, oldest first."""
    first = market.start - YEARS * 365 * DAY
    begin = max(query.end - query.duration, first)
    spans = _days(market, query, begin) if query.size >= DAY else _grid(query, begin)
    for start, end in spans:
        if start >= end:
            continue
        bar = shown_bar(market, query.instrument, start, end, query.shows)
        bar["date"] = _label(start, query)
        yield bar


def _grid(query: Query, begin: int) -> Iterator[tuple[int, int]]:
    """Spans on the clock's grid. Regular hours count as days: `1 D` is the last day that had some."""
    size, end = query.size, query.end
    if not (query.regular and query.instrument.profile.liquid):
        for start in range(begin - begin % size, end, size):
            yield start, min(start + size, end)
        return
    wanted = max(round(query.duration / DAY), 2 if query.duration < DAY else 1)
    kept: list[list[tuple[int, int]]] = []
    day, last = moments.today(end), moments.today(begin - 10 * DAY)
    while len(kept) < wanted and day > last:
        opens, closes = _session(query.instrument, day)
        spans = [(start, min(start + size, end, closes)) for start in range(opens, min(closes, end), size)]
        if spans:
            kept.insert(0, spans)
        day -= timedelta(1)
    bars = [span for spans in kept for span in spans]
    # Less than a day counts back through regular hours: asked for at night, `600 S` are the last ten minutes before.
    yield from bars if query.duration >= DAY else bars[-math.ceil(query.duration / size) :]


def _session(instrument: Instrument, day: date) -> tuple[int, int]:
    """The regular hours of a day; empty on a weekend."""
    hours = instrument.profile.liquid
    if hours is None or day.weekday() > 4:
        return 0, 0
    opens, closes = (int(moments.read(f"{day:%Y%m%d} {hour[:2]}:{hour[2:]}")[0]) for hour in hours)
    return opens, closes


def _days(market: Market, query: Query, begin: int) -> Iterator[tuple[int, int]]:
    """Days of the exchange, put together by week or month where that is asked for."""
    first = market.day_begin(begin) - 3 * DAY
    days = [start for start in range(first, query.end, DAY) if _trades(query.instrument, start)]
    if query.duration < 7 * DAY:  # days of trading; anything longer is a stretch of the calendar
        days = days[-max(query.duration // DAY, 1) :]
    else:
        days = [start for start in days if start >= begin]
    keys: dict[int, Callable[[int], tuple[int, ...]]] = {
        DAY: lambda start: (start,),
        7 * DAY: lambda start: _date(start).isocalendar()[:2],
        30 * DAY: lambda start: (_date(start).year, _date(start).month),
    }
    for _, group in groupby(days, keys[query.size]):
        members = list(group)
        yield members[0], min(members[-1] + DAY, query.end)


def _trades(instrument: Instrument, day: int) -> bool:
    return instrument.profile.weekends or _date(day).weekday() < 5


def _date(day: int) -> date:
    """What a day of the exchange is called: the first is named after the day on which the simulator started."""
    return moments.today(day + OPENED)


def _label(start: int, query: Query) -> str:
    """A bar's date: the day for days and larger, else epoch seconds or local time as asked."""
    if query.size >= DAY:
        return f"{_date(start):%Y%m%d}"
    if query.form == 2:
        return str(start)
    return moments.stamp(start)[4:] if query.form == 3 else moments.stamp(start)


def _utc(at: int) -> str:
    day, rest = divmod(at, DAY)
    return f"{date.fromordinal(day + date(1970, 1, 1).toordinal()):%Y%m%d}-{rest // 3600:02}:{rest // 60 % 60:02}:00"


def shown_bar(market: Market, instrument: Instrument, begin: int, end: int, shows: str) -> Data:
    """A row of history without its date. Bars of anything but trades have no volume, average or count."""
    bar = market.bar(instrument, begin, end)
    if shows in _TRADE_KINDS and instrument.profile.trades:
        return {
            "open": bar.open,
            "high": bar.high,
            "low": bar.low,
            "close": bar.close,
            "volume": bar.volume,
            "wap": bar.typical,
            "barCount": math.ceil(bar.volume / 150),
        }
    spread = instrument.profile.spread * instrument.tick
    prices = (_SHOWN[shows](price, edge, spread) for edge, price in enumerate(bar[:4]))
    opened, high, low, closed = (to_tick(price, instrument.tick / 2) for price in prices)
    return {
        "open": opened,
        "high": max(high, opened, closed),
        "low": min(low, opened, closed),
        "close": closed,
        "volume": -1.0,
        "wap": -1.0,
        "barCount": -1,
    }


_SHOWN: dict[str, Callable[[float, int, float], float]] = {
    "TRADES": lambda price, _edge, _spread: price,
    "ADJUSTED_LAST": lambda price, _edge, _spread: price,
    "AGGTRADES": lambda price, _edge, _spread: price,
    "BID": lambda price, _edge, _spread: price,
    "ASK": lambda price, _edge, spread: price + spread,
    "MIDPOINT": lambda price, _edge, spread: price + spread / 2,
    # Open is the average bid, high the highest ask, low the lowest bid, close the average ask.
    "BID_ASK": lambda price, edge, spread: price + spread * (edge in (1, 3)),
}
"""From a traded price (and which of a bar's four it is) to the price of another kind."""
