"""Order matching: when an order works, and the price of its fill. Pure functions of a ticket and a quote."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.market import ib_times
from ibbridge.sim.market.prices import Quote, to_tick
from ibbridge.sim.orders.validation import Trigger, leg_prices, order_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.sim.market.instruments import Instrument
    from ibbridge.sim.orders.order import SimulatedOrder


class Offer(NamedTuple):
    """Price and size that the market offers to an order now."""

    price: float
    size: float


def reference(ticket: SimulatedOrder, quote: Quote) -> float:
    """Return the price that triggers are compared with: the last trade, or the quote if trades are not public."""
    if ticket.instrument.profile.trades:
        return quote.last
    return quote.ask if ticket.buys else quote.bid


def trail(ticket: SimulatedOrder, quote: Quote) -> None:
    """Move a trailing stop with the market."""
    price = reference(ticket, quote)
    percent = ticket.order.get("trailingPercent")
    distance = price * percent / 100 if percent else ticket.order.get("auxPrice") or 0.0
    level = to_tick(price + ticket.sign * distance, ticket.instrument.tick)
    if ticket.stop is None:
        ticket.stop = ticket.order.get("trailStopPrice") or level
    ticket.stop = min(ticket.stop, level) if ticket.buys else max(ticket.stop, level)


def is_triggered(ticket: SimulatedOrder, quote: Quote) -> bool:
    """Return True if the market has reached the order's trigger. Trailing stops move in this call."""
    kind = order_type(ticket.order).trigger
    if kind is Trigger.NONE:
        return True
    if kind is Trigger.TRAIL:
        trail(ticket, quote)
    level = ticket.stop if kind is Trigger.TRAIL else ticket.order.get("auxPrice")
    if level is None:
        return False
    rises = ticket.buys if kind is not Trigger.TOUCH else not ticket.buys
    price = reference(ticket, quote)
    return price >= level if rises else price <= level


def offer(ticket: SimulatedOrder, quote: Quote) -> Offer | None:
    """Return the fill that is available now; None if the limit forbids a fill, or the other side is empty."""
    if not ticket.instrument.profile.quotes:
        return Offer(quote.last, math.inf)  # a fund deals at its own price
    price, size = (quote.ask, quote.ask_size) if ticket.buys else (quote.bid, quote.bid_size)
    limit = limit_price(ticket)
    if not size or (limit is not None and (price - limit) * ticket.sign > 1e-9):
        return None
    return Offer(price, size)


def limit_price(ticket: SimulatedOrder) -> float | None:
    """Return the worst price that an order takes; None for any. A trailing limit follows its stop."""
    if not order_type(ticket.order).limit:
        return None
    given = ticket.order.get("lmtPrice")
    if given is None:
        given = leg_prices(ticket.instrument, ticket.order)
    if given is not None or ticket.stop is None:
        return given
    return ticket.stop + ticket.sign * (ticket.order.get("lmtPriceOffset") or 0.0)


# -- conditions ----------------------------------------------------------------------------------------------------


def conditions_met(ticket: SimulatedOrder, now: float, last: Callable[[int], float | None]) -> bool:
    """Return True if the conditions of an order hold.

    `last` returns the price of a conId. Only conditions on price and time can come true here.
    """
    met = True
    joined_by_and = True
    for condition in ticket.order.get("conditions") or ():
        holds = _holds(condition, now, last)
        met = (met and holds) if joined_by_and else (met or holds)
        joined_by_and = condition.get("isConjunctionConnection", True)
    return met


def _holds(condition: Mapping[str, Any], now: float, last: Callable[[int], float | None]) -> bool:
    more = bool(condition.get("isMore"))
    if condition.get("condType") == 1:
        price, level = last(condition.get("conId") or 0), condition.get("price")
        return price is not None and level is not None and (price >= level if more else price <= level)
    if condition.get("condType") == 3:
        try:
            at, _ = ib_times.read(condition.get("time") or "")
        except ValueError:
            return False
        return now >= at if more else now <= at
    return False


def hedge_size(hedge: SimulatedOrder, parent: SimulatedOrder) -> float:
    """Return the size of a hedge without a quantity: the money that its parent has filled, or a ratio of the fills."""
    if hedge.order.get("hedgeType") == "F":
        return round(abs(parent.spent) * parent.instrument.size, 0)
    return max(round(parent.filled * _ratio(hedge.order.get("hedgeParam", ""))), 1.0)


def _ratio(text: str) -> float:
    try:
        return abs(float(text))
    except ValueError:
        return 1.0


# -- commission ----------------------------------------------------------------------------------------------------


def commission(instrument: Instrument, quantity: float, value: float) -> float:
    """Return the commission of a whole order of this size and value. A fill costs the difference that it makes."""
    kind = instrument.sec_type
    if kind == "STK":
        return min(max(0.005 * quantity, 1.0), 0.01 * value) if value else 0.0
    if kind in ("OPT", "BAG"):
        return max(0.65 * quantity, 1.0)
    if kind in ("FUT", "FOP"):
        return 2.25 * quantity
    if kind == "CASH":
        return max(0.00002 * value, 2.0)
    if kind == "CRYPTO":
        return 0.0018 * value
    return max(0.001 * value, 1.0)
