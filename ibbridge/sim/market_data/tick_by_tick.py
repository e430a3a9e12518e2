"""Tick-by-tick data and five-second bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.market.prices import QUARTERS, Market, Quote
from ibbridge.sim.market_data.bars import shown_bar
from ibbridge.sim.market_data.tick_history import TICKS, newest
from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

SUBSCRIPTIONS = 5
"""Tick-by-tick subscriptions that one client may have: a twentieth of its market data lines."""
BAR = 5
"""Seconds of a real-time bar."""

_BAR_KINDS = ("TRADES", "MIDPOINT", "BID", "ASK")


class TickSubscription(NamedTuple):
    """Subscription to tick-by-tick data."""

    session: ClientSession
    request: int
    instrument: Instrument
    kind: str


class BarFeed(NamedTuple):
    """Subscription to five-second bars."""

    session: ClientSession
    request: int
    instrument: Instrument
    shows: str


def _trade(tick_type: int) -> Callable[[Quote, Quote | None, int], Data | None]:
    def tick(quote: Quote, _: Quote | None, time: int) -> Data | None:
        if not quote.last_size:
            return None
        return {
            "tickType": tick_type,
            "time": time,
            "price": quote.last,
            "size": quote.last_size,
            "tickAttribLast": {},
            "exchange": "ARCA",
            "specialConditions": "",
        }

    return tick


def _bid_ask(quote: Quote, old: Quote | None, time: int) -> Data | None:
    if old is not None and quote[:4] == old[:4]:
        return None
    return {
        "time": time,
        "bidPrice": quote.bid,
        "askPrice": quote.ask,
        "bidSize": quote.bid_size,
        "askSize": quote.ask_size,
        "tickAttribBidAsk": {},
    }


def _mid_point(quote: Quote, old: Quote | None, time: int) -> Data | None:
    return None if old is not None and quote.mid == old.mid else {"time": time, "midPoint": round(quote.mid, 8)}


_KINDS: dict[str, tuple[str, Callable[[Quote, Quote | None, int], Data | None]]] = {
    "Last": ("tickByTickAllLast", _trade(1)),
    "AllLast": ("tickByTickAllLast", _trade(2)),
    "BidAsk": ("tickByTickBidAsk", _bid_ask),
    "MidPoint": ("tickByTickMidPoint", _mid_point),
}


_TRADED = ("Last", "AllLast")
_PAST = {"Last": "TRADES", "AllLast": "TRADES", "BidAsk": "BID_ASK", "MidPoint": "MIDPOINT"}
"""Kinds of historical ticks, by the kind of tick-by-tick data."""


class TickByTick:
    """Tick-by-tick and bar subscriptions of every client."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self._ticks: dict[tuple[int, int], TickSubscription] = {}
        self._bars: dict[tuple[int, int], BarFeed] = {}

    def request_ticks(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send every tick of one kind, beginning with the requested number of past ticks and the present one."""
        request, kind = args["reqId"], args.get("tickType", "")
        if kind not in _KINDS:
            raise invalid(f"Invalid tick-by-tick data type: {kind}")
        instrument = self._context.instrument(args.get("contract", {}))
        if instrument.right or instrument.legs:
            raise RequestRejected(
                10189, "Failed to request tick-by-tick data. No market data permissions for this product"
            )
        if (session.client_id, request) in self._ticks:
            raise RequestRejected(322, "Error processing request.-'cj' : cause - Duplicate ticker id")
        if sum(subscription.session is session for subscription in self._ticks.values()) >= SUBSCRIPTIONS:
            raise RequestRejected(10190, "Max number of tick-by-tick requests has been reached.")
        number = args.get("numberOfTicks") or 0
        if not 0 <= number <= TICKS:
            raise invalid(f"Number of ticks must be from 0 to {TICKS}")
        if number:
            self._send_past(session, request, instrument, kind, number)
        subscription = TickSubscription(session, request, instrument, kind)
        self._ticks[session.client_id, request] = subscription
        _send_tick(subscription, self._context.market, self._context.market.quarter(self._context.now), first=True)

    def _send_past(self, session: ClientSession, request: int, instrument: Instrument, kind: str, number: int) -> None:
        """Send past ticks under the same request id, in the messages of historical ticks."""
        if kind in _TRADED and not instrument.profile.trades:
            return
        shows = _PAST[kind]
        message, ticks = newest(self._context.market, instrument, shows, self._context.second, number)
        session.send(message, {"reqId": request, "ticks": ticks, "done": True})

    def cancel_ticks(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a tick-by-tick subscription without a response. Raise `RequestRejected` if there is none."""
        self._end(self._ticks, session, args["reqId"])

    def request_bars(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send a bar every five seconds, on the clock's grid."""
        request, shows = args["reqId"], args.get("whatToShow", "")
        if shows not in _BAR_KINDS:
            raise RequestRejected(420, f"Invalid Real-time Query.Real-time bars of {shows} are not available")
        if (session.client_id, request) in self._bars:
            raise RequestRejected(322, "Error processing request.-'cd' : cause - Duplicate ticker id")
        instrument = self._context.instrument(args.get("contract", {}))
        self._bars[session.client_id, request] = BarFeed(session, request, instrument, shows)

    def cancel_bars(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a subscription to bars without a response. Raise `RequestRejected` if there is none."""
        self._end(self._bars, session, args["reqId"])

    @staticmethod
    def _end(streams: dict[tuple[int, int], Any], session: ClientSession, request: int) -> None:
        if streams.pop((session.client_id, request), None) is None:
            raise RequestRejected(300, f"Can't find EId with tickerId:{request}")

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        self._ticks = {key: each for key, each in self._ticks.items() if each.session is not session}
        self._bars = {key: each for key, each in self._bars.items() if each.session is not session}

    def tick(self, quarter: int) -> None:
        """Send the ticks of this beat, and the bars that end with this beat."""
        market = self._context.market
        for subscription in self._ticks.values():
            _send_tick(subscription, market, quarter)
        end, rest = divmod(quarter, QUARTERS)
        if rest == 0 and (market.start + end) % BAR == 0:
            for feed in self._bars.values():
                _send_bar(feed, market, market.start + end)


def _send_tick(subscription: TickSubscription, market: Market, quarter: int, *, first: bool = False) -> None:
    at = market.moment(quarter)
    old = None if first else market.quote(subscription.instrument, market.moment(quarter - 1))
    message, tick = _KINDS[subscription.kind]
    data = tick(market.quote(subscription.instrument, at), old, int(at))
    if data is not None:
        subscription.session.send(message, {"reqId": subscription.request, **data})


def _send_bar(feed: BarFeed, market: Market, end: int) -> None:
    row = shown_bar(market, feed.instrument, end - BAR, end, feed.shows)
    feed.session.send(
        "realtimeBar",
        {
            "reqId": feed.request,
            "time": end - BAR,
            "open": row["open"],
            "high": row["high"],
            "low": row["low"],
            "close": row["close"],
            "volume": row["volume"],
            "wap": row["wap"],
            "count": row["barCount"],
        },
    )
