"""Ledger of one account: cash, positions, their cost and their profit.

Pure bookkeeping in the account's base currency (US dollars): fills go in, figures come out. Margins and commissions are
plausible, not IB's. The module knows the market; it knows no client and no message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.sim.market.instruments import KNOWN, Instrument

if TYPE_CHECKING:
    from ibbridge.sim.context import SimulationContext

BASE = "USD"
OPENING_CASH = 1_000_000.0

_MARGIN = {"STK": (0.25, 0.2), "FUT": (0.06, 0.05), "CASH": (0.03, 0.025), "CRYPTO": (1.0, 1.0)}
"""Initial and maintenance margin as parts of the value. An option's margin depends on its underlying."""
_USUAL_MARGIN = (0.3, 0.25)
_SHORT_OPTION = (0.2, 0.15)


@dataclass(slots=True)
class Position:
    """Holding of one instrument in an account.

    `average` is the cost of one contract, commission included, in the instrument's currency.
    """

    instrument: Instrument
    quantity: float = 0.0
    average: float = 0.0
    realised: float = 0.0


class Valued(NamedTuple):
    """Position valued at the market price."""

    price: float
    value: float
    unrealised: float


class Figures(NamedTuple):
    """Totals of an account, in its base currency."""

    net_liquidation: float
    cash: float
    stocks: float
    options: float
    gross: float
    unrealised: float
    realised: float
    initial: float
    maintenance: float

    @property
    def available(self) -> float:
        """Amount that may still be bound as initial margin."""
        return self.net_liquidation - self.initial

    @property
    def excess(self) -> float:
        """Amount above the maintenance margin."""
        return self.net_liquidation - self.maintenance


class Ledger:
    """Ledger of one account."""

    def __init__(self, context: SimulationContext, account: str) -> None:
        self._context = context
        self.account = account
        self.cash = {BASE: OPENING_CASH}
        self.positions: dict[int, Position] = {}
        self._day = context.market.day_begin(context.now)
        self._day_opened = OPENING_CASH

    def fill(self, instrument: Instrument, quantity: float, price: float, commission: float) -> float | None:
        """Book a fill (a negative quantity is sold). Return the realised profit; None if the fill only opened."""
        position = self.positions.setdefault(instrument.con_id, Position(instrument))
        before = position.quantity
        closing = min(abs(quantity), abs(before)) if before * quantity < 0 else 0.0
        self._pay(instrument, quantity, price, commission)
        cost = price * instrument.size
        fee = commission / abs(quantity)
        realised = None
        if closing:
            side = 1 if before > 0 else -1
            realised = closing * (side * (cost - position.average) - fee)
            position.realised += realised
            if instrument.sec_type == "FUT":
                self._add(instrument.currency, realised)
        position.quantity = round(before + quantity, 8)
        opened = abs(quantity) - closing
        if opened:
            held = abs(before) if not closing else 0.0
            sign = 1 if quantity > 0 else -1
            position.average = (position.average * held + opened * (cost + sign * fee)) / (held + opened)
        elif not position.quantity:
            position.average = 0.0
        return realised

    def value(self, position: Position) -> Valued:
        """Return the value of a position at the last price, in the instrument's currency."""
        instrument, market = position.instrument, self._context.market
        price = market.quote(instrument, self._context.now).last
        worth = price * instrument.size
        unrealised = position.quantity * (worth - position.average)
        return Valued(price, round(position.quantity * worth, 2), round(unrealised, 2))

    def figures(self) -> Figures:
        """Return the totals of the account at the last prices."""
        cash = sum(amount * self.rate(currency) for currency, amount in self.cash.items())
        stocks = options = gross = unrealised = realised = futures = initial = maintenance = 0.0
        for position in self.positions.values():
            valued, rate = self.value(position), self.rate(position.instrument.currency)
            kind, value = position.instrument.sec_type, valued.value * rate
            unrealised += valued.unrealised * rate
            realised += position.realised * rate
            margin = self.margin(position.instrument, position.quantity)
            initial, maintenance = initial + margin[0], maintenance + margin[1]
            if kind == "FUT":
                futures += valued.unrealised * rate
            elif kind in ("OPT", "FOP"):
                options += value
            elif kind != "CASH":
                stocks += value
            gross += abs(value) if kind != "CASH" else 0.0
        net = cash + stocks + options + futures
        return Figures(net, cash, stocks, options, gross, unrealised, realised, initial, maintenance)

    def margin(self, instrument: Instrument, quantity: float) -> tuple[float, float]:
        """Return initial and maintenance margin of a position of this size, in the base currency."""
        if instrument.legs:
            parts = [self.margin(leg, quantity * ratio) for leg, ratio in instrument.legs]
            return sum(part[0] for part in parts), sum(part[1] for part in parts)
        priced, parts_of = instrument, _MARGIN.get(instrument.sec_type, _USUAL_MARGIN)
        if instrument.right:
            if quantity > 0:
                return 0.0, 0.0
            priced, parts_of = instrument.underlying or instrument, _SHORT_OPTION
        price = self._context.market.quote(priced, self._context.now).last
        value = abs(quantity * price) * instrument.size * self.rate(instrument.currency)
        return round(value * parts_of[0], 2), round(value * parts_of[1], 2)

    def daily(self) -> float:
        """Return the account's gain since the exchange's day began."""
        net, day = self.figures().net_liquidation, self._context.market.day_begin(self._context.now)
        if day != self._day:
            self._day, self._day_opened = day, net
        return net - self._day_opened

    def rate(self, currency: str) -> float:
        """Return the price of one unit of `currency` in the base currency; 1 if no rate is known."""
        if currency == BASE:
            return 1.0
        resolver, market = self._context.resolver, self._context.market
        if ("CASH", currency, BASE) in KNOWN:
            return market.quote(resolver.root("CASH", currency, BASE), self._context.now).mid
        if ("CASH", BASE, currency) in KNOWN:
            return 1 / market.quote(resolver.root("CASH", BASE, currency), self._context.now).mid
        return 1.0

    def _pay(self, instrument: Instrument, quantity: float, price: float, commission: float) -> None:
        if instrument.sec_type == "FUT":
            return  # margined: only the profit that a closing fill realises moves cash, commissions included
        self._add(instrument.currency, -commission)
        self._add(instrument.currency, -quantity * price * instrument.size)
        if instrument.sec_type == "CASH":
            self._add(instrument.symbol, quantity)

    def _add(self, currency: str, amount: float) -> None:
        self.cash[currency] = round(self.cash.get(currency, 0.0) + amount, 4)
