"""Quotes, rates and trading hours in a recording, as far as it has been read.

Pure. The module must not know frames, or what needs the facts.
"""

from __future__ import annotations

from ibbridge.ib.trading_hours import TradingCalendar
from ibbridge.risk.facts import MarketQuote

_PRICES = {1: "bid", 2: "ask", 4: "last", 66: "bid", 67: "ask", 68: "last"}
_DELAYED = 66


class RecordedMarkets:
    """Quotes, rates and trading hours in a recording, up to now."""

    def __init__(self, base: str) -> None:
        self.calendar = TradingCalendar()
        self.ticks: dict[str, float] = {}
        self._base = base
        self._quotes: dict[str, MarketQuote] = {}
        self._rates: dict[str, float] = {}

    def take_price(self, key: str, tick_type: int, price: float, at: int) -> None:
        """Take a tick of an instrument."""
        if (name := _PRICES.get(tick_type)) is None:
            return
        old, delayed = self._quotes.get(key), tick_type >= _DELAYED
        known = {} if old is None or old.delayed != delayed else {each: getattr(old, each) for each in _PRICES.values()}
        known[name] = None if price == -1 else price
        self._quotes[key] = MarketQuote(**known, at=at, delayed=delayed, tick=self.ticks.get(key))

    def take_value(self, key: str, value: str, currency: str) -> None:
        """Take a value of an account."""
        if key == "ExchangeRate":
            try:
                self._rates[currency] = float(value)
            except ValueError:
                return

    def quote(self, instrument: str, _: int) -> MarketQuote | None:
        """Return the last quote of an instrument; None if there is none."""
        return self._quotes.get(instrument)

    def rate(self, currency: str) -> float | None:
        """Return the rate of a currency to the base currency; None if that is not known."""
        if currency == self._base:
            return 1.0
        one, base = self._rates.get(currency), self._rates.get(self._base)
        return one / base if one and base else None

    def is_open(self, instrument: str, _: int, now: int) -> bool | None:
        """Return True in the regular trading hours of an instrument; None if they are not known."""
        return self.calendar.open(instrument, now / 1e6)
