"""Market data lines: reqMktData, its ticks, and its limits.

A line gets a burst at once (type of data, request parameters, last trade, day, quotes, as from a TWS) and then a tick
for each change, on the quarter seconds of the market. Delayed data is the market of a quarter of an hour ago, under the
delayed tick types.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from ibbridge.sim.market.price_path import DAY
from ibbridge.sim.market.prices import QUARTERS
from ibbridge.sim.market_data.generic_ticks import (
    TRADE_REPORTS,
    Look,
    Tick,
    Wanted,
    generic,
    generic_ticks,
    price,
    read_list,
    size,
    string,
    trade_report,
)
from ibbridge.sim.reference_data.lookups import smart_key
from ibbridge.sim.rejections import RequestRejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibbridge.sim.context import ClientSession, SimulationContext
    from ibbridge.sim.market.instruments import Instrument
    from ibbridge.sim.market.price_path import Bar
    from ibbridge.sim.reference_data.news_archive import NewsArchive

LINES = 100
"""Market data lines that all clients together may have."""
DELAY = 15 * 60
FIRST_NEWS = 3
"""Limit of the headlines, of today and yesterday, that a line begins with."""
SNAPSHOT = 1 * QUARTERS
"""Quarters until a snapshot ends (at IB: within 11 seconds)."""

DIVIDENDS = 0.23
"""Dividends of an option's underlying until expiry, as generic tick 456 has them."""

_DELAYED = {
    1: 66, 2: 67, 4: 68, 0: 69, 3: 70, 5: 71, 6: 72, 7: 73, 8: 74, 9: 75, 14: 76, 45: 88, 49: 90,
    10: 80, 11: 81, 12: 82, 13: 83,
}  # fmt: skip
_LIVE, _FROZEN, _DELAYED_TYPE, _DELAYED_FROZEN = range(1, 5)


class QuoteSubscription:
    """Subscription to market data, or a snapshot: the requested ticks, and the state that was sent last."""

    def __init__(self, session: ClientSession, request: int, wanted: Wanted, look: Look) -> None:
        self.session = session
        self.request = request
        self.numbers, self.defaults, self.providers = wanted
        self.delayed = is_delayed(session)
        self.ends: int | None = None
        self.shown = look

    def send(self, ticks: Iterator[Tick]) -> None:
        """Send ticks under this request id, with delayed tick types if the data is delayed."""
        for name, data in ticks:
            if self.delayed:
                data["tickType"] = _DELAYED.get(data["tickType"], data["tickType"])
            self.session.send(name, {"reqId": self.request, **data})


class Quotes:
    """Market data lines of every client."""

    def __init__(self, context: SimulationContext, archive: NewsArchive) -> None:
        self._context = context
        self._archive = archive
        self._lines: dict[tuple[int, int], QuoteSubscription] = {}

    def set_type(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Set the type of data for later requests of this connection. There is no response."""
        wanted = args.get("marketDataType", _LIVE)
        if wanted not in range(_LIVE, _DELAYED_FROZEN + 1):
            session.error(-1, 321, "Error validating request.-'bN' : cause - Invalid market data type")
            return
        session.market_data_type = wanted

    def request(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send a burst of ticks and then the changes. A snapshot ends by itself."""
        request = args["reqId"]
        if (session.client_id, request) in self._lines:
            raise RequestRejected(102, "Duplicate ticker id")
        instrument = self._context.instrument(args.get("contract", {}))
        wanted = read_list(args.get("genericTickList", ""), instrument.sec_type)
        if instrument.sec_type == "NEWS":  # a broad tape has headlines and nothing else
            wanted = wanted._replace(defaults=False)
        snapshot = args.get("snapshot", False) or args.get("regulatorySnapshot", False)
        if snapshot and wanted.numbers:
            raise RequestRejected(414, "Snapshot market data subscription is not applicable to generic ticks")
        if len(self._lines) >= LINES:
            raise RequestRejected(101, "Max number of tickers has been reached")
        if instrument.sec_type == "CFD":
            self._context.reroute(session, "rerouteMktDataReq", request, instrument)
            return
        self._check_permission(session, instrument)
        look = self._look(instrument, self._context.now - (DELAY if is_delayed(session) else 0))
        line = self._lines[session.client_id, request] = QuoteSubscription(session, request, wanted, look)
        self._begin(line)
        if snapshot:
            line.ends = self._context.market.quarter(self._context.now) + SNAPSHOT

    def cancel(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a line without a response. Raise `RequestRejected` if there is none."""
        if self._lines.pop((session.client_id, args["reqId"]), None) is None:
            raise RequestRejected(300, f"Can't find EId with tickerId:{args['reqId']}")

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        self._lines = {key: line for key, line in self._lines.items() if line.session is not session}

    def tick(self, quarter: int) -> None:
        """Send the changes since the last beat."""
        market = self._context.market
        for key, line in list(self._lines.items()):
            line.send(self._changes(line, quarter))
            self._send_news(line, market.moment(quarter - 1), market.moment(quarter))
            if line.ends is not None and quarter >= line.ends:
                line.session.send("tickSnapshotEnd", {"reqId": line.request})
                del self._lines[key]

    # -- the first ticks ---------------------------------------------------------------------------------------------

    def _check_permission(self, session: ClientSession, instrument: Instrument) -> None:
        if instrument.symbol in self._context.settings.unsubscribed and not is_delayed(session):
            raise RequestRejected(
                354,
                "Requested market data is not subscribed. Check API status by selecting the Account menu then under "
                "Management choose Market Data Subscription Manager and/or availability of delayed data."
                f"{instrument.symbol} {instrument.primary}/TOP/ALL",
            )

    def _begin(self, line: QuoteSubscription) -> None:
        session, request, look = line.session, line.request, line.shown
        kind = _DELAYED_TYPE if line.delayed else _LIVE
        session.send("marketDataType", {"reqId": request, "marketDataType": kind})
        if line.delayed:
            session.error(request, 10167, "Requested market data is not subscribed. Displaying delayed market data.")
        session.send(
            "tickReqParams",
            {
                "tickerId": request,
                "minTick": look.instrument.tick,
                "bboExchange": smart_key(look.instrument.sec_type),
                "snapshotPermissions": 3,
                "lastPricePrecision": 0.000001,
                "lastSizePrecision": 0.000001,
            },
        )
        if line.defaults:
            line.send(_first_ticks(look, self._context.market.yesterday_close(look.instrument, look.at)))
        line.send(generic_ticks(line.numbers, look))
        now = self._context.now
        self._send_news(line, self._context.market.day_begin(now) - DAY, now, FIRST_NEWS)

    def _send_news(self, line: QuoteSubscription, after: float, until: float, most: int | None = None) -> None:
        """Send the headlines of a stretch of time, the oldest first; no more than the newest `most`."""
        if not line.providers or int(after) == int(until):
            return
        news = list(islice(self._archive.articles(line.shown.instrument, line.providers, after, until), most))
        for article in reversed(news):
            row = {"timeStamp": article.at * 1000, "providerCode": article.provider, "articleId": article.id}
            line.session.send(
                "tickNews", {"tickerId": line.request, **row, "headline": article.headline, "extraData": ""}
            )

    def _look(self, instrument: Instrument, at: float, day: Bar | None = None) -> Look:
        market = self._context.market
        return Look(market, instrument, at, market.quote(instrument, at), day or market.today(instrument, at))

    # -- later ticks -------------------------------------------------------------------------------------------------

    def _changes(self, line: QuoteSubscription, quarter: int) -> Iterator[Tick]:
        shown, at = line.shown, self._context.market.moment(quarter) - (DELAY if line.delayed else 0)
        # The day's figures change on whole seconds only.
        look = line.shown = self._look(shown.instrument, at, None if quarter % QUARTERS == 0 else shown.day)
        if line.defaults:
            yield from _quote_changes(shown, look)
            yield from _trade_changes(shown, look)
            yield from _model_changes(shown, look)
        if look.quote.last_size:
            for number in sorted(line.numbers & TRADE_REPORTS.keys()):
                yield string(TRADE_REPORTS[number], trade_report(look))


def is_delayed(session: ClientSession) -> bool:
    """Return True if new requests of a client get delayed data."""
    return session.market_data_type in (_DELAYED_TYPE, _DELAYED_FROZEN)


def _first_ticks(look: Look, close: float) -> Iterator[Tick]:
    quote, day, profile = look.quote, look.day, look.instrument.profile
    if profile.trades:
        yield string(45, str(int(look.at)))
        yield price(4, quote.last, quote.last_size or float(profile.lot))
    if day.volume:
        yield size(8, day.volume)
    yield price(9, close)
    if profile.trades:
        yield price(14, day.open)
    if profile.quotes:
        yield price(1, quote.bid, quote.bid_size, automatic=True)
        yield price(2, quote.ask, quote.ask_size, automatic=True)
    yield price(6, day.high)
    yield price(7, day.low)
    yield generic(49, 0.0)
    yield from _model(look)


def _quote_changes(was: Look, look: Look) -> Iterator[Tick]:
    if not look.instrument.profile.quotes:
        return
    old, new = was.quote, look.quote
    if old.bid != new.bid:
        yield price(1, new.bid, new.bid_size, automatic=True)
    elif old.bid_size != new.bid_size:
        yield size(0, new.bid_size)
    if old.ask != new.ask:
        yield price(2, new.ask, new.ask_size, automatic=True)
    elif old.ask_size != new.ask_size:
        yield size(3, new.ask_size)


def _trade_changes(was: Look, look: Look) -> Iterator[Tick]:
    old, new, profile = was.quote, look.quote, look.instrument.profile
    index = profile.trades and not profile.quotes
    if new.last_size or (index and new.last != old.last):
        if int(look.at) != int(was.at):
            yield string(45, str(int(look.at)))
        if new.last != old.last:
            yield price(4, new.last, new.last_size)
        if new.last_size and new.last_size != old.last_size:
            yield size(5, new.last_size)
    if look.day.volume != was.day.volume:
        yield size(8, look.day.volume)
    if look.day.high != was.day.high:
        yield price(6, look.day.high)
    if look.day.low != was.day.low:
        yield price(7, look.day.low)


def _model_changes(was: Look, look: Look) -> Iterator[Tick]:
    if look.quote[:4:2] != was.quote[:4:2]:
        yield from _model(look)


def _model(look: Look) -> Iterator[Tick]:
    """Yield an option's computations for bid, ask, last and model."""
    option = look.instrument
    if not option.right or option.underlying is None:
        return
    greeks = look.market.greeks(option, look.at)
    underlying = look.market.quote(option.underlying, look.at).last
    prices = {10: look.quote.bid, 11: look.quote.ask, 12: look.quote.last, 13: greeks.price}
    for tick_type, value in prices.items():
        yield (
            "tickOptionComputation",
            {
                "tickType": tick_type,
                "tickAttrib": 0,
                "impliedVol": greeks.volatility,
                "delta": greeks.delta,
                "optPrice": value,
                "pvDividend": DIVIDENDS,
                "gamma": greeks.gamma,
                "vega": greeks.vega,
                "theta": greeks.theta,
                "undPrice": underlying,
            },
        )
