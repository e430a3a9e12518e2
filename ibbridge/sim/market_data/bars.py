"""Bars of any size and kind, over any stretch of time, and the sessions that they lie in.

Bars come from the same walks as the ticks, so bars and ticks agree. Intraday bars lie on the clock's grid; day bars and
larger are the exchange's days (see `sim/market/prices.py`), named after the date they end on. The module knows no
client and no message.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.sim.market import ib_times
from ibbridge.sim.market.price_path import DAY
from ibbridge.sim.market.prices import OPENED, Market, to_tick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibbridge.sim.context import Data
    from ibbridge.sim.market.instruments import Instrument
    from ibbridge.sim.market.price_path import Bar

YEARS = 20
"""Years of data before the start of the simulator."""
VOLATILITIES = ("HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY")
TRADE_KINDS = ("TRADES", "ADJUSTED_LAST", "AGGTRADES")


class BarQuery(NamedTuple):
    """Request for bars, parsed."""

    instrument: Instrument
    end: int
    duration: int
    size: int
    shows: str
    regular: bool
    form: int


def bars_of(market: Market, query: BarQuery) -> Iterator[Data]:
    """Yield the bars of a query, oldest first."""
    first = market.start - YEARS * 365 * DAY
    begin = max(query.end - query.duration, first)
    spans = _days(market, query, begin) if query.size >= DAY else _grid(query, begin)
    for start, end in spans:
        if start >= end:
            continue
        bar = shown_bar(market, query.instrument, start, end, query.shows)
        bar["date"] = label(start, query)
        yield bar


def _grid(query: BarQuery, begin: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of a query's bars on the clock's grid.

    Regular hours count as days: `1 D` is the last day that had some.
    """
    size, end = query.size, query.end
    if not (query.regular and query.instrument.profile.liquid):
        for start in range(begin - begin % size, end, size):
            yield start, min(start + size, end)
        return
    wanted = max(round(query.duration / DAY), 2 if query.duration < DAY else 1)
    kept: list[list[tuple[int, int]]] = []
    day, last = ib_times.today(end), ib_times.today(begin - 10 * DAY)
    while len(kept) < wanted and day > last:
        opens, closes = regular_hours(query.instrument, day)
        spans = [(start, min(start + size, end, closes)) for start in range(opens, min(closes, end), size)]
        if spans:
            kept.insert(0, spans)
        day -= timedelta(1)
    bars = [span for spans in kept for span in spans]
    # Less than a day counts back through regular hours: at night, `600 S` gives the last ten minutes of the day.
    yield from bars if query.duration >= DAY else bars[-math.ceil(query.duration / size) :]


def regular_hours(instrument: Instrument, day: date) -> tuple[int, int]:
    """Return the regular hours of a day as begin and end; (0, 0) on a weekend, and for types without any."""
    hours = instrument.profile.liquid
    return (0, 0) if hours is None or day.weekday() > 4 else _between(day, hours)


def sessions_of(market: Market, query: BarQuery) -> Iterator[tuple[date, int, int]]:
    """Yield the days of a query with the exchange's opening and closing times, oldest first."""
    first = ib_times.today(market.start - YEARS * 365 * DAY)
    profile = query.instrument.profile
    hours = (profile.liquid if query.regular else profile.hours) or ("0000", "2359")
    last = ib_times.today(query.end)
    for back in range(max(query.duration // DAY, 1) - 1, -1, -1):
        day = last - timedelta(back)
        if day >= first and (day.weekday() < 5 or profile.weekends):
            yield day, *_between(day, hours)


def _between(day: date, hours: tuple[str, str]) -> tuple[int, int]:
    opens, closes = (int(ib_times.read(f"{day:%Y%m%d} {hour[:2]}:{hour[2:]}")[0]) for hour in hours)
    return opens, closes


def _days(market: Market, query: BarQuery, begin: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of the exchange's days, grouped by week or month for bars of that size."""
    first = market.day_begin(begin) - 3 * DAY
    days = [start for start in range(first, query.end, DAY) if _trades(query.instrument, start)]
    if query.duration < 7 * DAY:  # days of trading; anything longer is a stretch of the calendar
        days = days[-max(query.duration // DAY, 1) :]
    else:
        days = [start for start in days if start >= begin]
    keys: dict[int, Callable[[int], tuple[int, ...]]] = {
        DAY: lambda start: (start,),
        7 * DAY: lambda start: date_of(start).isocalendar()[:2],
        30 * DAY: lambda start: (date_of(start).year, date_of(start).month),
    }
    for _, group in groupby(days, keys[query.size]):
        members = list(group)
        yield members[0], min(members[-1] + DAY, query.end)


def _trades(instrument: Instrument, day: int) -> bool:
    return instrument.profile.weekends or date_of(day).weekday() < 5


def date_of(day: int) -> date:
    """Return the date of a day of the exchange: the first day has the date on which the simulator started."""
    return ib_times.today(day + OPENED)


def label(start: int, query: BarQuery) -> str:
    """Return a bar's date: the day for days and larger, else epoch seconds or local time as requested."""
    if query.size >= DAY:
        return f"{date_of(start):%Y%m%d}"
    if query.form == 2:
        return str(start)
    return ib_times.stamp(start)[4:] if query.form == 3 else ib_times.stamp(start)


def shown_bar(market: Market, instrument: Instrument, begin: int, end: int, shows: str) -> Data:
    """Return a row of history without its date. Only bars of trades have volume, average and count."""
    bar = market.bar(instrument, begin, end)
    if shows in TRADE_KINDS and instrument.profile.trades:
        return {
            "open": bar.open,
            "high": bar.high,
            "low": bar.low,
            "close": bar.close,
            "volume": bar.volume,
            "wap": bar.typical,
            "barCount": math.ceil(bar.volume / 150),
        }
    if shows in VOLATILITIES:
        return _volatility_bar(instrument, bar)
    spread = instrument.profile.spread * instrument.tick
    prices = (SHOWN[shows](price, edge, spread) for edge, price in enumerate(bar[:4]))
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


def _volatility_bar(instrument: Instrument, bar: Bar) -> Data:
    """Return a bar of yearly volatility, higher where the price has fallen below its initial level."""
    usual = instrument.volatility * math.sqrt(252)
    opened, high, low, closed = (round(usual * math.sqrt(instrument.base / price), 6) for price in bar[:4])
    values = {"open": opened, "high": max(opened, low, closed), "low": min(opened, high, closed), "close": closed}
    return values | {"volume": -1.0, "wap": -1.0, "barCount": -1}


SHOWN: dict[str, Callable[[float, int, float], float]] = {
    "TRADES": lambda price, _edge, _spread: price,
    "ADJUSTED_LAST": lambda price, _edge, _spread: price,
    "AGGTRADES": lambda price, _edge, _spread: price,
    "BID": lambda price, _edge, _spread: price,
    "ASK": lambda price, _edge, spread: price + spread,
    "MIDPOINT": lambda price, _edge, spread: price + spread / 2,
    **dict.fromkeys(VOLATILITIES, lambda price, _edge, _spread: price),
    # Open is the average bid, high the highest ask, low the lowest bid, close the average ask.
    "BID_ASK": lambda price, edge, spread: price + spread * (edge in (1, 3)),
}
"""Functions from a traded price (and its index among a bar's four prices) to the price of another kind."""
