"""Market depth: a book of prices around the quote, sent as inserts and then as changes.

Row 0 is the best price. Deletions come from the back and insertions from the front, so that a client that shifts its
rows as told always has the book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.sim.market.prices import Market, Quote, to_tick
from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibbridge.sim.context import ClientSession, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

BOOKS = 3
"""Contracts of which one client may see the depth at the same time."""
ROWS = 20

_INSERT, _UPDATE, _DELETE = range(3)
_ASK, _BID = range(2)
_MAKERS = ("ARCA", "NASDAQ", "BATS", "IEX", "EDGEA", "NYSE", "DRCTEDGE")

Book: TypeAlias = "tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]"
"""Rows of (price, size), best first, for asks and bids."""


class Change(NamedTuple):
    """Operation that a client must apply to one row of one side."""

    position: int
    operation: int
    price: float
    size: float


class DepthSubscription:
    """Subscription to market depth. With `makers`, rows name a market maker or exchange."""

    def __init__(self, session: ClientSession, request: int, instrument: Instrument, rows: int, *, smart: bool) -> None:
        self.session = session
        self.request = request
        self.instrument = instrument
        self.rows = rows
        self.smart = smart
        self.makers = False
        self.book: Book = ((), ())

    def show(self, book: Book) -> None:
        """Send the changes from the book that was sent last to this one."""
        for side in (_ASK, _BID):
            for change in changes(self.book[side], book[side]):
                self._send(side, change)
        self.book = book

    def _send(self, side: int, change: Change) -> None:
        row: dict[str, Any] = {
            "reqId": self.request,
            "position": change.position,
            "operation": change.operation,
            "side": side,
            "price": change.price,
            "size": change.size,
        }
        if not self.makers:
            self.session.send("updateMktDepth", row)
            return
        maker = _MAKERS[round(change.price / self.instrument.tick) % len(_MAKERS)]
        self.session.send("updateMktDepthL2", row | {"marketMaker": maker, "isSmartDepth": self.smart})


class Depth:
    """Depth subscriptions of every client."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self._watches: dict[tuple[int, int], DepthSubscription] = {}

    def request(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Subscribe to a book: send its rows as inserts, and then its changes."""
        contract, request, rows = args.get("contract", {}), args["reqId"], args.get("numRows") or 0
        key = session.client_id, request
        if key in self._watches:
            raise RequestRejected(322, "Error processing request.-'cc' : cause - Duplicate ticker id")
        exchange, smart = contract.get("exchange", ""), args.get("isSmartDepth", False)
        if not exchange:
            raise invalid("Please enter exchange")
        if not 1 <= rows <= ROWS:
            raise invalid(f"Number of rows must be between 1 and {ROWS}")
        instrument = self._context.instrument(contract)
        if instrument.sec_type == "CFD":
            self._context.reroute(session, "rerouteMktDepthReq", request, instrument)
            return
        if instrument.legs:
            raise invalid("Market depth is not available for combinations")
        if not instrument.profile.quotes:
            raise RequestRejected(
                10092, "Deep market data is not supported for this combination of security type/exchange"
            )
        mine = {each.instrument.con_id for (client, _), each in self._watches.items() if client == session.client_id}
        if len(mine | {instrument.con_id}) > BOOKS:
            raise RequestRejected(309, "Max number (3) of market depth requests has been reached")
        watch = DepthSubscription(session, request, instrument, rows, smart=smart)
        watch.makers = smart or exchange in ("SMART", "ISLAND", "NASDAQ", "ARCA")
        self._watches[key] = watch
        watch.show(book(self._context.market, instrument, rows, self._context.now))

    def cancel(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a subscription without a response. Raise `RequestRejected` if there is none."""
        if self._watches.pop((session.client_id, args["reqId"]), None) is None:
            raise RequestRejected(310, f"Can't find the subscribed market depth with tickerId:{args['reqId']}")

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        self._watches = {key: watch for key, watch in self._watches.items() if watch.session is not session}

    def tick(self, quarter: int) -> None:
        """Send the changes since the last beat."""
        market = self._context.market
        for watch in self._watches.values():
            watch.show(book(market, watch.instrument, watch.rows, market.moment(quarter)))


def book(market: Market, instrument: Instrument, rows: int, at: float) -> Book:
    """Return the book of a moment. Sizes grow with the distance from the quote, and stay while a price stays."""
    quote = market.quote(instrument, at)
    return _side(quote, instrument, rows, _ASK), _side(quote, instrument, rows, _BID)


def _side(quote: Quote, instrument: Instrument, rows: int, side: int) -> tuple[tuple[float, float], ...]:
    best, first, step = (quote.ask, quote.ask_size, 1) if side == _ASK else (quote.bid, quote.bid_size, -1)
    prices = (to_tick(best + step * n * instrument.tick, instrument.tick) for n in range(rows))
    lot = instrument.profile.lot
    return tuple(
        (price, first if n == 0 else float(lot * (1 + n + round(price / instrument.tick) % 7)))
        for n, price in enumerate(prices)
        if price > 0
    )


def changes(old: tuple[tuple[float, float], ...], new: tuple[tuple[float, float], ...]) -> Iterator[Change]:
    """Yield the changes that turn one side into the other, to be applied in this order."""
    kept = {price for price, _ in new}
    rows = list(old)
    for position in reversed(range(len(rows))):
        if rows[position][0] not in kept:
            price, _ = rows.pop(position)
            yield Change(position, _DELETE, price, 0.0)
    there = dict(rows)
    for position, (price, size) in enumerate(new):
        if price not in there:
            yield Change(position, _INSERT, price, size)
        elif there[price] != size:
            yield Change(position, _UPDATE, price, size)
