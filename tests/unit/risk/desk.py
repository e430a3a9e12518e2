"""A gate with a market that a test sets, and short words for orders and executions."""

from __future__ import annotations

from typing import Any

import msgpack

from ibbridge.risk.book import TradeFill, TradingBook
from ibbridge.risk.evaluation import Decision, RiskGate
from ibbridge.risk.facts import MarketQuote
from ibbridge.risk.limits import RiskPolicy, parse
from ibbridge.risk.order import ProposedOrder

S = 1_000_000
NOON = 1_780_416_000 * S  # 2 June 2026, 12:00 in New York
CONTRACT = {"conId": 265598, "symbol": "AAPL", "secType": "STK", "currency": "USD", "multiplier": 1.0}


class Desk:
    """Gate with limits for the client `alpha`, in the account DU1."""

    def __init__(self, scope: str = "client", **limits: Any) -> None:
        given = parse(limits, "limits")
        if scope == "all":
            self.policy = RiskPolicy(all=given, accounts={})
        elif scope == "account":
            self.policy = RiskPolicy(accounts={"DU1": given})
        else:
            self.policy = RiskPolicy(accounts={}, clients={"alpha": given})
        self.now = NOON
        self.quotes: dict[str, MarketQuote] = {}
        self.rates: dict[str, float] = {"USD": 1.0, "EUR": 1.1}
        self.hours: bool | None = True
        self.serial = 0
        self.gate = RiskGate(self.policy, TradingBook(self), self)

    def quote(self, instrument: str, con_id: int) -> MarketQuote | None:
        return self.quotes.get(instrument)

    def rate(self, currency: str) -> float | None:
        return self.rates.get(currency)

    def is_open(self, instrument: str, con_id: int, now: int) -> bool | None:
        return self.hours

    def quoted(self, bid: float | None, ask: float | None, last: float | None = None, **more: Any) -> None:
        """Quote the stock."""
        self.quotes["AAPL"] = MarketQuote(bid, ask, last, more.pop("at", self.now), **more)

    def order(self, quantity: float | None = 100.0, side: int = 1, **more: Any) -> ProposedOrder:
        """Return an order for a stock at 50 dollars."""
        self.serial += 1
        given: dict[str, Any] = {
            "client": "alpha", "key": f"k{self.serial}", "account": "DU1", "instrument": "AAPL", "con_id": 265598,
            "symbol": "AAPL", "sec_type": "STK", "exchange": "SMART", "currency": "USD", "limit_price": 50.0,
        }  # fmt: skip
        return ProposedOrder(**{**given, "quantity": quantity, "side": side, **more})

    def ask(self, *args: Any, **more: Any) -> Decision:
        """Ask for an order."""
        return self.gate.evaluate(self.order(*args, **more), self.now)

    def refuses(self, *args: Any, **more: Any) -> set[str]:
        """Return the names of the rules that refuse an order."""
        return {each.rule for each in self.ask(*args, **more).breaches}

    def place(self, *args: Any, **more: Any) -> ProposedOrder:
        """Let an order leave, whatever the gate says."""
        order = self.order(*args, **more)
        self.gate.accepted(order, self.now)
        return order

    def fill(self, order: ProposedOrder, quantity: float, price: float = 50.0, **more: Any) -> TradeFill:
        """Execute a part of an order."""
        fill = TradeFill(
            order.name, order.account, order.instrument, order.con_id, order.symbol, order.sec_type, order.currency,
            order.multiplier, order.side, quantity, price, more.get("at", self.now),
        )  # fmt: skip
        self.gate.book.filled(fill)
        return fill

    def hold(self, quantity: float, price: float = 50.0) -> None:
        """Buy a position, or sell one, and let nothing work."""
        order = self.place(abs(quantity), 1 if quantity > 0 else -1)
        self.fill(order, abs(quantity), price)
        self.gate.book.ended(order.name, self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass, and value the book."""
        self.now += int(seconds * S)
        self.gate.book.revalue(self.now)

    def restart(self) -> None:
        """Begin a new process with the data of the old one."""
        data = msgpack.unpackb(msgpack.packb(self.gate.book.dump()), strict_map_key=False)
        book = TradingBook(self)
        book.load(data, self.now)
        self.gate = RiskGate(self.policy, book, self)
