"""Sample strategy of `ibbridge demo`: watches two markets, buys, cancels an order, and prints each event.

The module is an example to read. It knows the client library and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ibbridge.client import CommandError, Gap, future, limit, market, stock

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.client import Client, Contract, Message, Order, Request

BID, ASK, LAST = 1, 2, 4  # IB's tick types

ENDS = ("Filled", "Cancelled", "ApiCancelled", "Inactive")  # final states of an order

# Time of each step, as a fraction of the total time.
_BUY, _BID_LOW, _CANCEL = 0.15, 0.4, 0.7


class Sample:
    """Sample strategy. `say(what, text)` prints. `now()` returns the seconds since the start, of `seconds` in total."""

    def __init__(self, ib: Client, say: Callable[[str, str], None], now: Callable[[], float], seconds: float) -> None:
        self.ib = ib
        self.say = say
        self.now = now
        self.counts: dict[str, int] = defaultdict(int)
        self._prices: dict[str, dict[int, float]] = defaultdict(dict)
        self._names: dict[str, str] = {}
        self._shown: dict[str, tuple[float, ...]] = {}
        self._working: Request | None = None
        self._open: set[str] = set()
        steps = {_BUY: self._buy, _BID_LOW: self._bid_low, _CANCEL: self._cancel}
        self._steps = [(part * seconds, step) for part, step in steps.items()]

    def start(self) -> None:
        """Register the callbacks, and request the data."""
        for kind, callback in {
            "tickPrice": self.on_price,
            "orderStatus": self.on_status,
            "execDetails": self.on_fill,
            "commissionAndFeesReport": self.on_commission,
            "position": self.on_position,
            "error": self.on_error,
            "lost": self.on_gap,
        }.items():
            self.ib.register(kind, callback)
        self.ib.reqPositions()
        self._watch("AAPL", stock("AAPL"))
        self._watch("ES", self._front_month("ES", "CME"))

    def _watch(self, name: str, contract: Contract) -> None:
        ticks = self.ib.reqMktData(contract)
        self._names[ticks.topic] = name
        self.say("asked", f"reqMktData for {name}: the ticks come as {ticks.topic}*")

    def _front_month(self, symbol: str, exchange: str) -> Contract:
        """Return the future that expires next. It comes from a one-shot request, whose responses come to an end."""
        asked = self.ib.reqContractDetails({"symbol": symbol, "secType": "FUT", "exchange": exchange})
        details = [message for message in self.ib.answers(asked) if message.type == "contractDetails"]
        found = [message.contractDetails.contract for message in details]
        first = min(found, key=lambda contract: str(contract.lastTradeDateOrContractMonth))
        self.say("asked", f"reqContractDetails for {symbol}: {len(found)} futures, the next is {first.localSymbol}")
        return future(symbol, first.lastTradeDateOrContractMonth, exchange)

    @property
    def done(self) -> bool:
        """Return True if every step is done, and every order is in a final state."""
        return not self._steps and not self._open

    def step(self, message: Message | None) -> None:
        """Count the message, if any, and take the steps that are due. Call this after every `receive`."""
        if message is not None:
            self.counts[message.type] += 1
        if message is None or message.type != "tickPrice":  # bid, ask and last come one by one: show them together
            self._show_markets()
        while self._steps and self.now() >= self._steps[0][0]:
            _, take = self._steps.pop(0)
            take()

    # -- orders

    def _buy(self) -> None:
        self._place("first", "buy 100 AAPL at the market", market("BUY", 100))

    def _bid_low(self) -> None:
        price = round(self._prices["AAPL"].get(BID, 100.0) * 0.95, 2)
        text = f"buy 100 AAPL at {price:.2f}, which nobody will sell at"
        self._working = self._place("second", text, limit("BUY", 100, price))

    def _place(self, key: str, text: str, order: Order) -> Request | None:
        try:
            placed = self.ib.placeOrder(stock("AAPL"), order, key=key)
        except CommandError as error:
            self.say("refused", str(error))
            return None
        self.say("order", f"{placed.key}: {text}")
        self._open.add(key)
        return placed

    def _cancel(self) -> None:
        if self._working is not None:
            self.ib.cancelOrder(self._working)
            self.say("cancel", f"{self._working.key}: no longer wanted")

    # -- what comes

    def on_price(self, tick: Message) -> None:
        """Note a changed price."""
        name = next((name for topic, name in self._names.items() if tick.topic.startswith(topic)), "?")
        self._prices[name][tick.tickType] = tick.price

    def _show_markets(self) -> None:
        for name, prices in self._prices.items():
            if not prices.keys() >= {BID, ASK, LAST}:
                continue
            bid, ask, last = shown = prices[BID], prices[ASK], prices[LAST]
            if shown != self._shown.get(name):
                self._shown[name] = shown
                self.say("tick", f"{name:<5} bid {bid:>8.2f}   ask {ask:>8.2f}   last {last:>8.2f}")

    def on_status(self, status: Message) -> None:
        """Print the status of an order, and note its end."""
        key = status.ref.get("key", "?")
        self.say("order", f"{key}: {status.status}, {status.filled:g} filled, {status.remaining:g} to go")
        if status.status in ENDS:
            self._open.discard(key)

    def on_fill(self, fill: Message) -> None:
        """Print an execution."""
        key, done = fill.ref.get("key", "?"), fill.execution
        self.say("FILL", f"{key}: {done.side} {done.shares:g} {fill.contract.symbol} at {done.price:.2f}")

    def on_commission(self, report: Message) -> None:
        """Print the commission of an execution."""
        cost = report.commissionAndFeesReport
        self.say("fill", f"commission {cost.commissionAndFees:.2f} {cost.currency}")

    def on_position(self, position: Message) -> None:
        """Print a position of an account."""
        held = f"{position.position:g} {position.contract.symbol}, average cost {position.avgCost:.2f}"
        self.say("position", f"{position.account}: {held}")

    def on_error(self, error: Message) -> None:
        """Print an IB error about an order; the daemon's log has IB's notices about data farms."""
        if error.topic.startswith("ord."):
            self.say("order", f"{error.ref.get('key', '?')}: IB says {error.errorCode}, {error.errorString}")

    def on_gap(self, gap: Message) -> None:
        """Print a gap, so that a loss of messages is never silent."""
        if isinstance(gap, Gap):
            self.say("GAP", f"messages {gap.first} to {gap.last} of {gap.stream} are lost")
