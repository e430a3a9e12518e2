"""Historical bars and hours: reqHistoricalData, its live updates, and the first time that has data."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.market import ib_times
from ibbridge.sim.market.instruments import ZONE
from ibbridge.sim.market.price_path import DAY
from ibbridge.sim.market.prices import QUARTERS
from ibbridge.sim.market_data.bars import (
    SHOWN,
    TRADE_KINDS,
    VOLATILITIES,
    YEARS,
    BarQuery,
    bars_of,
    label,
    sessions_of,
    shown_bar,
)
from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

UPDATES = 5
"""Seconds between updates of a bar that is kept up to date."""
BARS = 20_000
"""Limit of the bars of one response."""

SIZES = {
    "1 secs": 1, "1 sec": 1, "5 secs": 5, "10 secs": 10, "15 secs": 15, "30 secs": 30, "1 min": 60, "2 mins": 120,
    "3 mins": 180, "5 mins": 300, "10 mins": 600, "15 mins": 900, "20 mins": 1200, "30 mins": 1800, "1 hour": 3600,
    "2 hours": 7200, "3 hours": 10800, "4 hours": 14400, "8 hours": 28800, "1 day": DAY, "1 week": 7 * DAY,
    "1 month": 30 * DAY, "1D": DAY, "1W": 7 * DAY, "1M": 30 * DAY,
}  # fmt: skip
"""Bar sizes in seconds, by every spelling that TWS takes."""
_UNITS = {"S": (1, 86_400), "D": (DAY, 365), "W": (7 * DAY, 52), "M": (30 * DAY, 12), "Y": (365 * DAY, 68)}
"""Duration units: the seconds of one, and how many of them a request may ask for."""
_SCHEDULE = "SCHEDULE"
_LIVE_KINDS = ("TRADES", "MIDPOINT", "BID", "ASK")


class LiveBars(NamedTuple):
    """Subscription to bars that are kept up to date."""

    session: ClientSession
    request: int
    query: BarQuery


class History:
    """Requests for historical data, and subscriptions to updates."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self._feeds: dict[tuple[int, int], LiveBars] = {}

    def request(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send all bars in one message.

        The end is a message of its own or part of the same message, as the session's server version has it.
        """
        key = session.client_id, args["reqId"]
        if key in self._feeds:
            raise RequestRejected(386, f"Duplicate ticker id for API historical data query: {args['reqId']}")
        query = self._query(session, args)
        if query.shows == _SCHEDULE:
            self._send_schedule(session, args["reqId"], query)
            return
        bars = list(bars_of(self._context.market, query))
        if not bars:
            raise no_data(query.instrument, query.shows.title(), args.get("contract", {}).get("exchange", ""))
        message: Data = {"reqId": args["reqId"], "bars": bars}
        span = {"start": ib_times.stamp(query.end - query.duration), "end": ib_times.stamp(query.end)}
        if session.history_end:
            session.send("historicalData", message | dict.fromkeys(span))
            session.send("historicalDataEnd", {"reqId": args["reqId"]} | span)
        else:
            session.send("historicalData", message | span)
        if args.get("keepUpToDate", False):
            self._feeds[key] = LiveBars(session, args["reqId"], query)

    def live(self, session: ClientSession) -> list[int]:
        """Return the request ids of a client's bars that are kept up to date."""
        return [feed.request for feed in self._feeds.values() if feed.session is session]

    def cancel(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a subscription to updates without a response. Raise `RequestRejected` if there is none."""
        if self._feeds.pop((session.client_id, args["reqId"]), None) is None:
            raise RequestRejected(366, f"No historical data query found for ticker id:{args['reqId']}")

    def head(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the first time that has data."""
        instrument = self._context.instrument(args.get("contract", {}))
        shows = args.get("whatToShow", "TRADES").upper()
        if shows not in SHOWN:
            raise RequestRejected(10299, f"Expected what to show is TRADES, please use that instead of {shows}.")
        if shows in TRADE_KINDS and not instrument.profile.trades:
            raise no_data(instrument, "Last")
        first = self._context.start - YEARS * 365 * DAY
        day = first - first % DAY + 52_200
        text = f"{day}" if args.get("formatDate", 1) == 2 else _utc(day)
        session.send("headTimestamp", {"reqId": args["reqId"], "headTimestamp": text})

    def _send_schedule(self, session: ClientSession, request: int, query: BarQuery) -> None:
        """Send the times at which the exchange was open, by day, in one message without a separate end."""
        sessions = list(sessions_of(self._context.market, query))
        if not sessions:
            raise no_data(query.instrument, "Schedule")
        form = "%Y%m%d-%H:%M:%S"
        rows = [
            {
                "startDateTime": f"{ib_times.local(opens):{form}}",
                "endDateTime": f"{ib_times.local(closes):{form}}",
                "refDate": f"{day:%Y%m%d}",
            }
            for day, opens, closes in sessions
        ]
        ends = {"startDateTime": rows[0]["startDateTime"], "endDateTime": rows[-1]["endDateTime"]}
        session.send("historicalSchedule", {"reqId": request, **ends, "timeZone": ZONE, "sessions": rows})

    def end_updates(self, session: ClientSession) -> None:
        """End every subscription of a client to updates, each with error 10182."""
        for request in self.live(session):
            session.error(request, 10182, "Failed to request live updates (disconnected).")
        self.drop(session)

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        self._feeds = {key: feed for key, feed in self._feeds.items() if feed.session is not session}

    def tick(self, quarter: int) -> None:
        """Send the bar in progress to every subscriber."""
        seconds, rest = divmod(quarter, QUARTERS)
        if rest or seconds % UPDATES:
            return
        market = self._context.market
        now = market.start + seconds
        for feed in self._feeds.values():
            query = feed.query
            begin = market.day_begin(now - 1) if query.size >= DAY else now - 1 - (now - 1) % query.size
            bar = shown_bar(market, query.instrument, begin, now, query.shows)
            bar["date"] = label(begin, query)
            feed.session.send("historicalDataUpdate", {"reqId": feed.request, "bar": bar})

    # -- reading a request -------------------------------------------------------------------------------------------

    def _query(self, session: ClientSession, args: Mapping[str, Any]) -> BarQuery:
        instrument = self._context.instrument(args.get("contract", {}))
        size = SIZES.get(args.get("barSizeSetting", ""))
        if size is None:
            raise invalid(
                "Historical data bar size setting is invalid. Legal ones are: "
                "1 secs, 5 secs, 10 secs, 15 secs, 30 secs, 1 min, 2 mins, 3 mins, 5 mins, 10 mins, 15 mins, 20 mins, "
                "30 mins, 1 hour, 2 hours, 3 hours, 4 hours, 8 hours, 1 day, 1W, 1M"
            )
        shows = args.get("whatToShow", "").upper()
        if shows == _SCHEDULE and size != DAY:
            raise RequestRejected(10295, "Historical schedule requires a bar size of 1 day.")
        if shows not in SHOWN and shows != _SCHEDULE:
            raise RequestRejected(10299, f"Expected what to show is TRADES, please use that instead of {shows}.")
        if shows in TRADE_KINDS and not instrument.profile.trades:
            raise no_data(instrument, "Last")
        if shows in VOLATILITIES and instrument.sec_type not in ("STK", "IND"):
            raise no_data(instrument, shows.title())
        if args.get("keepUpToDate", False) and (args.get("endDateTime", "") or shows not in _LIVE_KINDS):
            raise invalid("End time must be empty and data one of TRADES, MIDPOINT, BID, ASK to be kept up to date")
        if instrument.sec_type == "CONTFUT" and args.get("endDateTime", ""):
            raise RequestRejected(10339, "Setting end date/time for continuous future security type is not allowed.")
        query = BarQuery(
            instrument,
            int(asked_moment(self._context, session, args["reqId"], args.get("endDateTime", ""))),
            _duration(args.get("durationStr", "")),
            size,
            shows,
            bool(args.get("useRTH", 0)),
            args.get("formatDate", 1),
        )
        if min(query.duration, YEARS * 365 * DAY) // size > BARS:
            raise invalid("Historical data request for greater than the limit of bars rejected")
        return query


def asked_moment(context: SimulationContext, session: ClientSession, request: int, text: str) -> float:
    """Return the time that a request for history names; now if the text is empty or names a later time.

    Send a warning about a text without a zone. Raise `RequestRejected` if the text is no time.
    """
    if not text:
        return context.second
    try:
        at, zoned = ib_times.read(text)
    except ValueError:
        raise RequestRejected(
            10314,
            "End Date/Time: The date, time, or time-zone entered is invalid. "
            "The correct format is yyyymmdd hh:mm:ss xx/xxxx where yyyymmdd and xx/xxxx are optional.",
        ) from None
    if not zoned:
        session.error(
            request,
            2174,
            "Warning: You submitted request with date-time attributes without explicit time zone. "
            "Please switch to use yyyymmdd-hh:mm:ss in UTC or use instrument time zone, like US/Eastern.",
        )
    return min(at, context.second)


def no_data(instrument: Instrument, kind: str, exchange: str = "") -> RequestRejected:
    """Return TWS's error for a query that has no data."""
    where = f"{instrument.local_symbol}@{exchange or instrument.exchange} {kind}"
    return RequestRejected(162, f"Historical Market Data Service error message:HMDS query returned no data: {where}")


def _duration(text: str) -> int:
    number, _, unit = text.strip().partition(" ")
    seconds, most = _UNITS.get(unit.upper(), (0, 0))
    if not number.isdecimal() or len(number) > 5 or not 1 <= int(number) <= most:
        raise invalid(f"Historical data query duration is invalid: {text}")
    return int(number) * seconds


def _utc(at: int) -> str:
    day, rest = divmod(at, DAY)
    return f"{date.fromordinal(day + date(1970, 1, 1).toordinal()):%Y%m%d}-{rest // 3600:02}:{rest // 60 % 60:02}:00"
