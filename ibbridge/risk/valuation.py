"""The quantity, the worst price and the worth of an order, from its own prices and the last quotes.

Pure. Of all prices that are known the worst counts: the one that makes the order worth most, or the largest. The module
must not know limits or books.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.risk.holding import Part
from ibbridge.risk.order import EXERCISE, FOREIGN, FOREX, OFFSET, TRIGGERED

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from ibbridge.risk.facts import MarketFacts, MarketQuote
    from ibbridge.risk.order import OrderLeg, OrderName, Place, ProposedOrder
    from ibbridge.risk.scope_book import ScopeBook


class QuoteTerms:
    """Quotes that count: not older than `age` µs (None: of any age), and delayed ones only if `delayed`."""

    __slots__ = ("age", "delayed")

    def __init__(self, age: int | None = None, *, delayed: bool = False) -> None:
        self.age = age
        self.delayed = delayed

    def usable(self, quote: MarketQuote | None, now: int) -> MarketQuote | None:
        """Return the quote if it counts, else None."""
        if quote is None or (quote.delayed and not self.delayed):
            return None
        return None if self.age is not None and now - quote.at > self.age else quote


class PricedBook(Protocol):
    """Book that knows the names and the last prices of instruments, and what works."""

    @property
    def working(self) -> Container[OrderName]:
        """Orders that work."""

    def place(self, instrument: str, con_id: int) -> Place:
        """Return the name of an instrument in the book."""

    def unit_worth(self, part: Part) -> float | None:
        """Return the worth of one unit at the last price of the book; None if it is not known."""


class OrderCase:
    """An order with everything that the rules ask of it alone.

    - `book`: the book with the last prices. `parts`: the instruments that the order trades.
    - `name`: that of the order. `works`: the book has an order of this name, such as one that is to be changed.
    - `quote`: the last quote of its instrument, if it counts.
    - `quantity`: the whole quantity, inf if it is not known. `notional`: the worth; None if it is not known.
    - `distance`, `signature`, `worst`, `worst_in`: what one rule has worked out for others.
    """

    __slots__ = (
        "book",
        "distance",
        "facts",
        "name",
        "notional",
        "now",
        "order",
        "parts",
        "quantity",
        "quote",
        "signature",
        "works",
        "worst",
        "worst_in",
    )

    def __init__(self, order: ProposedOrder, book: PricedBook, facts: MarketFacts, terms: QuoteTerms, now: int) -> None:
        self.book = book
        self.order = order
        self.name = order.name
        self.works = self.name in book.working
        self.facts = facts
        self.now = now
        self.distance: tuple[float, float, str] | str | None = None
        self.signature: tuple[Any, ...] | None = None
        self.worst: Any = None
        self.worst_in: ScopeBook | None = None
        if order.legs:
            self.quote = combined(order, facts, terms, now)
            self.parts = tuple(_leg_part(order, leg, facts, terms, now) for leg in order.legs)
        else:
            self.quote = terms.usable(facts.quote(order.instrument, order.con_id), now)
            self.parts = (_plain_part(order, book, self.quote, facts),)
        self.quantity = _quantity(order, self.quote)
        self.notional = self._notional()
        if order.cash_quantity is not None and not order.quantity and self.notional is not None:
            unit = self.notional / self.quantity if math.isfinite(self.quantity) else None
            self.parts = tuple(part._replace(unit=unit) for part in self.parts)

    def _notional(self) -> float | None:
        order, found = self.order, 0.0
        if order.cash_quantity is not None:
            rate = self.facts.rate(order.currency)
            if rate is None:
                return None
            found = order.cash_quantity * rate
            if not order.quantity:
                return found
        worth = 0.0
        for part in self.parts:
            if part.unit is None:
                return None
            worth += part.ratio * part.unit
        whole = self.quantity * worth
        if not whole < math.inf:
            return None
        return max(found, whole)


def combined(order: ProposedOrder, facts: MarketFacts, terms: QuoteTerms, now: int) -> MarketQuote | None:
    """Return the quote of a combination: its own, or else that of its legs; None if a leg has no quote that counts."""
    own = terms.usable(facts.quote(order.instrument, order.con_id), now)
    if own is not None:
        return own
    bid = ask = 0.0
    at = now
    quote = None
    for leg in order.legs:
        quote = terms.usable(facts.quote(leg.instrument, leg.con_id), now)
        if quote is None or quote.bid is None or quote.ask is None:
            return None
        at = min(at, quote.at)
        if leg.side > 0:
            bid, ask = bid + leg.ratio * quote.bid, ask + leg.ratio * quote.ask
        else:
            bid, ask = bid - leg.ratio * quote.ask, ask - leg.ratio * quote.bid
    return None if quote is None else type(quote)(bid, ask, None, at, quote.delayed, None)


def prices(quote: MarketQuote | None) -> list[float]:
    """Return the prices of a quote that are known."""
    if quote is None:
        return []
    return [price for price in (quote.bid, quote.ask, quote.last) if price is not None]


def own_prices(order: ProposedOrder) -> Iterator[float]:
    """Yield the prices that an order names: its limit, and the price that triggers it."""
    if order.limit_price is not None:
        yield order.limit_price
    if order.trail_stop_price is not None:
        yield order.trail_stop_price
    if order.aux_price is not None and order.order_type in TRIGGERED:
        yield order.aux_price


def worst_price(order: ProposedOrder, quote: MarketQuote | None) -> float | None:
    """Return the price, without its sign, at which an order is worth most; None if no price is known.

    The order's own prices and the quote count. A purchase with a limit cannot cost more than the limit, so a quote
    above 0 does not count for it, and none is needed. Any other order may execute at a price worth more than its own.
    An order whose price follows the market's may execute its offset away from it.
    """
    limit = order.limit_price
    if order.order_type == "LMT" and limit is not None and order.side > 0 and _is_above_zero(quote):
        return abs(limit)  # most orders are of this kind
    market = prices(quote)
    if not market and not _bounds_itself(order):
        return None
    known = [abs(price) for price in own_prices(order)]
    if market and order.side > 0 and order.limit_price is not None:
        market = [price for price in market if price < 0]
    if market:
        far = max(map(abs, market))
        if order.order_type.startswith(OFFSET):
            far = far * (1 + _percent(order)) + abs(order.aux_price or 0.0)
        known.append(far)
    return max(known, default=None)


def _bounds_itself(order: ProposedOrder) -> bool:
    """Return True if the order's own prices say what it is worth at most, or nobody here could know it better."""
    if order.order_type == EXERCISE or order.client == FOREIGN:
        return True
    return order.side > 0 and order.limit_price is not None


def _is_above_zero(quote: MarketQuote | None) -> bool:
    """Return True if no known price of a quote is below 0."""
    if quote is None:
        return True
    return (quote.bid or 0.0) >= 0 and (quote.ask or 0.0) >= 0 and (quote.last or 0.0) >= 0


def _percent(order: ProposedOrder) -> float:
    return abs(order.percent_offset or 0.0) + abs(order.trailing_percent or 0.0) / 100


def _plain_part(order: ProposedOrder, book: PricedBook, quote: MarketQuote | None, facts: MarketFacts) -> Part:
    price = worst_price(order, quote)
    unit = None
    if order.sec_type == FOREX:
        unit = facts.rate(order.symbol)  # the quantity is in this currency
    if unit is None and price is not None and order.multiplier is not None:
        rate = facts.rate(order.currency)
        unit = None if rate is None else price * order.multiplier * rate
    place = book.place(order.instrument, order.con_id)
    named = place, order.instrument, order.symbol, order.sec_type, order.currency, order.multiplier
    return tuple.__new__(Part, (*named, order.side, 1.0, price, unit))  # as the constructor does in the end


def _leg_part(order: ProposedOrder, leg: OrderLeg, facts: MarketFacts, terms: QuoteTerms, now: int) -> Part:
    price = max(map(abs, prices(terms.usable(facts.quote(leg.instrument, leg.con_id), now))), default=None)
    rate = facts.rate(leg.currency) if leg.currency else None
    known = price is not None and rate is not None and leg.multiplier is not None
    unit = price * rate * leg.multiplier if known else None  # type: ignore[operator]
    return Part(
        leg.con_id,
        leg.instrument,
        leg.symbol,
        leg.sec_type,
        leg.currency,
        leg.multiplier,
        order.side * leg.side,
        leg.ratio,
        price,
        unit,
    )


def _quantity(order: ProposedOrder, quote: MarketQuote | None) -> float:
    """Return the largest quantity that an order may have: a cash amount buys most at the lowest price.

    The limit of a purchase does not say how low its price may be. So a cash amount needs a quote.
    """
    quantity = math.inf if order.quantity is None else order.quantity
    if order.cash_quantity is None:
        return quantity
    market = prices(quote)
    known = [price for price in (*own_prices(order), *market) if price > 0]
    if not market or not known or not order.multiplier:
        return math.inf
    return max(quantity, order.cash_quantity / (min(known) * order.multiplier))
