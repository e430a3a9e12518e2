"""Historical ticks, and histograms of the volume traded at each price.

Both come from the historical data service, which responds on the next beat; until then a query can be cancelled.
"""

from __future__ import annotations

from datetime import date
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.sim.market import ib_times
from ibbridge.sim.market.price_path import DAY
from ibbridge.sim.market.prices import QUARTERS, Market, Quote, to_tick
from ibbridge.sim.market_data.bars import YEARS, regular_hours
from ibbridge.sim.market_data.history import asked_moment, no_data
from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

TICKS = 1000
"""Limit of the ticks of a request; the second in which the limit is reached is sent to its end."""
PRICES = 100
"""Limit of the prices of a histogram."""

_SEARCHED = 4 * TICKS
"""Seconds that are searched for ticks: every traded instrument has a tick within this time."""
_DAYS = 10
_SPANS = 500
_PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": DAY, "week": 7 * DAY, "month": 30 * DAY, "year": 365 * DAY}

Row: TypeAlias = "Callable[[Quote, Quote], Data | None]"
"""Function from a quote and the one before to a tick; None if the change makes no tick."""


class TickQuery(NamedTuple):
    """Query that is answered on the next beat."""

    session: ClientSession
    request: int
    answer: Callable[[], None]


class TickHistory:
    """Queries for historical ticks and histograms."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self._ticks: dict[tuple[int, int], TickQuery] = {}
        self._histograms: dict[tuple[int, int], TickQuery] = {}

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        for queries in (self._ticks, self._histograms):
            for key in [key for key, query in queries.items() if query.session is session]:
                del queries[key]

    def tick(self, _: int) -> None:
        """Answer the queries since the last beat."""
        for queries in (self._ticks, self._histograms):
            pending = list(queries.values())
            queries.clear()
            for query in pending:
                try:
                    query.answer()
                except RequestRejected as refused:
                    query.session.error(query.request, refused.code, refused.text)

    def cancel_ticks(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Cancel a query for ticks. The cancel of an answered query gets no response."""
        _cancel(self._ticks, "historical ticks", session, args["reqId"])

    def cancel_histogram(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Cancel a query for a histogram. The cancel of an answered query gets no response."""
        _cancel(self._histograms, "histogram data", session, args["tickerId"])

    def _ask(
        self,
        queries: dict[tuple[int, int], TickQuery],
        session: ClientSession,
        request: int,
        answer: Callable[[], None],
    ) -> None:
        if (session.client_id, request) in queries:
            raise RequestRejected(322, "Error processing request.-'cg' : cause - Duplicate ticker id")
        queries[session.client_id, request] = TickQuery(session, request, answer)

    # -- ticks -------------------------------------------------------------------------------------------------------

    def ticks(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Queue a query for the ticks after or before a time: the response is one message, oldest tick first."""
        request, shows, number = args["reqId"], args.get("whatToShow", ""), args.get("numberOfTicks") or 0
        start, end = args.get("startDateTime", ""), args.get("endDateTime", "")
        if shows not in _TICKS:
            raise invalid("Historical data type is invalid. Legal ones are: TRADES, MIDPOINT, BID_ASK")
        if bool(start) is bool(end):
            raise invalid("Exactly one of start time and end time must be given")
        if not 1 <= number <= TICKS:
            raise invalid(f"Number of ticks must be from 1 to {TICKS}")
        instrument = self._context.instrument(args.get("contract", {}))
        if shows == "TRADES" and not instrument.profile.trades:
            raise no_data(instrument, "Last")
        moment = int(asked_moment(self._context, session, request, start or end))
        if moment < self._context.start - YEARS * 365 * DAY:
            raise no_data(instrument, shows.title())
        regular = bool(args.get("useRth")) and instrument.profile.liquid is not None
        search = self._after if start else self._before
        seconds = search(instrument, moment, regular=regular)
        message, row = _TICKS[shows]
        if shows == "BID_ASK" and args.get("ignoreSize", False):
            row = _bid_ask_prices

        def answer() -> None:
            rows = self._rows(instrument, row, seconds, number)
            if not rows:
                raise no_data(instrument, shows.title())
            rows = sorted(rows, key=lambda row: row["time"])  # stable: ticks within a second keep their order
            session.send(message, {"reqId": request, "ticks": rows, "done": True})

        self._ask(self._ticks, session, request, answer)

    def _rows(self, instrument: Instrument, row: Row, seconds: Iterator[int], number: int) -> list[Data]:
        rows: list[Data] = []
        for second, _ in zip(seconds, range(_SEARCHED), strict=False):
            rows += _ticks_of(self._context.market, instrument, row, second)
            if len(rows) >= number:
                break
        return rows

    def _after(self, instrument: Instrument, moment: int, *, regular: bool) -> Iterator[int]:
        now = self._context.second
        if not regular:
            return iter(range(moment, now))
        first = ib_times.today(moment).toordinal()
        days = (regular_hours(instrument, date.fromordinal(first + n)) for n in range(_DAYS))
        return chain.from_iterable(range(max(opens, moment), min(closes, now)) for opens, closes in days)

    def _before(self, instrument: Instrument, moment: int, *, regular: bool) -> Iterator[int]:
        if not regular:
            return iter(range(moment - 1, moment - _SEARCHED, -1))
        last = ib_times.today(moment).toordinal()
        days = (regular_hours(instrument, date.fromordinal(last - n)) for n in range(_DAYS))
        return chain.from_iterable(reversed(range(opens, min(closes, moment))) for opens, closes in days)

    # -- histograms --------------------------------------------------------------------------------------------------

    def histogram(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Queue a query for the volume traded at each price over a period until now."""
        request = args["tickerId"]
        instrument = self._context.instrument(args.get("contract", {}))
        period = _period(args.get("timePeriod", ""))
        regular = bool(args.get("useRTH")) and instrument.profile.liquid is not None
        if not instrument.profile.trades:
            raise no_data(instrument, "Last")

        def answer() -> None:
            items = _histogram(self._context.market, instrument, self._context.second, period, regular=regular)
            if not items:
                raise no_data(instrument, "Last")
            session.send("histogramData", {"reqId": request, "items": items})

        self._ask(self._histograms, session, request, answer)


def _cancel(queries: dict[tuple[int, int], TickQuery], kind: str, session: ClientSession, request: int) -> None:
    if queries.pop((session.client_id, request), None) is not None:
        text = f"API {kind} query cancelled: {request}"
        raise RequestRejected(162, f"Historical Market Data Service error message:{text}")


def newest(market: Market, instrument: Instrument, shows: str, until: int, number: int) -> tuple[str, list[Data]]:
    """Return the message name and the last `number` ticks before a time, oldest first."""
    message, row = _TICKS[shows]
    rows: list[Data] = []
    for second in range(until - 1, until - _SEARCHED, -1):
        rows[:0] = _ticks_of(market, instrument, row, second)
        if len(rows) >= number:
            break
    return message, rows[-number:]


def _ticks_of(market: Market, instrument: Instrument, row: Row, second: int) -> Iterator[Data]:
    """Yield the ticks of one second."""
    quarters = (market.quote(instrument, second + n / QUARTERS) for n in range(-1, QUARTERS))
    for old, new in pairwise(quarters):
        data = row(new, old)
        if data is not None:
            yield {"time": second, **data}


def _trade(quote: Quote, _: Quote) -> Data | None:
    if not quote.last_size:
        return None
    row = {"price": quote.last, "size": quote.last_size, "tickAttribLast": {}}
    return row | {"exchange": "ARCA", "specialConditions": ""}


def _bid_ask(quote: Quote, old: Quote) -> Data | None:
    if quote[:4] == old[:4]:
        return None
    prices = {"priceBid": quote.bid, "priceAsk": quote.ask, "sizeBid": quote.bid_size, "sizeAsk": quote.ask_size}
    return prices | {"tickAttribBidAsk": {}}


def _bid_ask_prices(quote: Quote, old: Quote) -> Data | None:
    """Return a bid-ask tick if a price has changed; a change of sizes alone makes no tick."""
    return None if (quote.bid, quote.ask) == (old.bid, old.ask) else _bid_ask(quote, old)


def _mid_point(quote: Quote, old: Quote) -> Data | None:
    return None if quote.mid == old.mid else {"price": round(quote.mid, 8), "size": 0.0}


_TICKS: dict[str, tuple[str, Row]] = {
    "TRADES": ("historicalTicksLast", _trade),
    "BID_ASK": ("historicalTicksBidAsk", _bid_ask),
    "MIDPOINT": ("historicalTicks", _mid_point),
}


def _period(text: str) -> int:
    """Return the seconds of a period such as `3 days` or `1 week`. Raise `RequestRejected`."""
    number, _, unit = text.strip().lower().partition(" ")
    seconds = _PERIODS.get(unit.removesuffix("s"), 0)
    if not (number.isascii() and number.isdecimal() and len(number) < 4 and int(number) and seconds):
        raise invalid(f"Invalid time period: {text}")
    if int(number) * seconds > 365 * DAY:
        raise invalid(f"Time period is too long: {text}")
    return int(number) * seconds


def _histogram(market: Market, instrument: Instrument, end: int, period: int, *, regular: bool) -> list[Data]:
    """Return the volumes by price. The volume of a span is put at the span's average price."""
    size = max(period // _SPANS, 1)
    bars = [
        market.bar(instrument, begin, begin + size)
        for begin in range(end - period, end - size + 1, size)
        if not regular or _in_hours(instrument, begin)
    ]
    if not bars:
        return []
    reach = max(bar.high for bar in bars) - min(bar.low for bar in bars)
    step = instrument.tick * max(round(reach / instrument.tick / PRICES), 1)
    volumes: dict[float, float] = {}
    for bar in bars:
        price = to_tick(bar.typical, step)
        volumes[price] = volumes.get(price, 0.0) + bar.volume
    return [{"price": price, "size": volume} for price, volume in sorted(volumes.items()) if volume]


def _in_hours(instrument: Instrument, at: int) -> bool:
    opens, closes = regular_hours(instrument, ib_times.today(at))
    return opens <= at < closes
