"""Benchmark of the risk gate: what it costs of an order's way, with all limits in all three scopes.

The way is from the arguments of the command to the note for the journal: positions looked at, order read, judged and
noted. Each order is timed alone, behind other work on the book, as in the daemon. The parts alone are measured in
loops, which is the better case. The fastest of several rounds counts, so that other load shows little. The cost of a
plain loop in the same run shows how fast the machine is. Nothing is judged: the aim is printed beside the results.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import TYPE_CHECKING, Any, cast

from harness import positive

from ibbridge.orders.book_keeper import BookKeeper
from ibbridge.orders.book_records import BookRecords
from ibbridge.orders.known_contracts import KnownContracts
from ibbridge.orders.order import Order
from ibbridge.orders.proposals import Proposals
from ibbridge.orders.risk_control import RiskControl
from ibbridge.orders.risk_reports import RiskReports
from ibbridge.risk.book import TradeFill, TradingBook
from ibbridge.risk.evaluation import RiskGate
from ibbridge.risk.facts import MarketQuote
from ibbridge.risk.limits import Limits, RiskPolicy, parse
from ibbridge.risk.order import ProposedOrder, proposed
from ibbridge.security.audit import NO_AUDIT, CommandAudit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AIM = 50.0
"""µs that the gate may cost of an order's way."""

NOW = 1_780_416_000_000_000
LIMITS = {
    "max_order_quantity": 1_000,
    "max_order_notional": 1e6,
    "price_collar_percent": 5,
    "price_collar_ticks": 100,
    "max_quote_age": 60,
    "market_orders": "rth",
    "duplicate_window": 5,
    "max_orders_per_second": 50,
    "max_orders_per_minute": 2_000,
    "max_symbol_orders_per_second": 50,
    "max_symbol_orders_per_minute": 2_000,
    "max_repeated_fills": 1_000,
    "max_open_orders": 20,
    "max_position": 1e6,
    "max_gross_exposure": 1e9,
    "max_net_exposure": 1e9,
    "max_daily_notional": 1e9,
    "max_daily_loss": 1e6,
    "reject_breaker": 10,
    "symbols": ["A*", "S?"],
    "deny_symbols": ["BAD*"],
    "security_types": ["STK"],
    "deny_security_types": ["CRYPTO"],
    "exchanges": ["SMART"],
    "deny_exchanges": ["IBKRATS"],
    "currencies": ["USD", "EUR"],
    "deny_currencies": ["RUB"],
    "trading_window": ["Mon-Fri 04:00-20:00 America/New_York", "contract"],
    "allow_live": False,
}


class Market:
    """Market that stands still."""

    def quote(self, instrument: str, con_id: int) -> MarketQuote | None:  # noqa: D102 -- as MarketFacts says
        return MarketQuote(199.9, 200.1, 200.0, NOW, tick=0.01)

    def rate(self, currency: str) -> float | None:  # noqa: D102 -- as MarketFacts says
        return 1.0

    def is_open(self, instrument: str, con_id: int, now: int) -> bool | None:  # noqa: D102 -- as above
        return True


def order(number: int, con_id: int = 265598) -> dict[str, object]:
    """Return the arguments of a `placeOrder`."""
    contract = {"symbol": f"A{con_id}", "secType": "STK", "exchange": "SMART", "currency": "USD", "conId": con_id}
    limit = {"action": "BUY", "totalQuantity": 10, "orderType": "LMT", "lmtPrice": 199.0 - number / 100}
    return {"contract": contract, "order": {**limit, "account": "DU1234567"}}


def gate(limits: Limits, working: int, holdings: int) -> RiskGate:
    """Return a gate with orders that work in one instrument, and positions in others."""
    market = Market()
    policy = RiskPolicy(limits, {"*": limits}, {"*": limits})
    made = RiskGate(policy, TradingBook(market), market)
    for number in range(working):
        made.accepted(proposed("bench", f"w{number}", order(number)), NOW + number * 100_000)
    for con_id in range(1, holdings + 1):
        each = proposed("bench", f"h{con_id}", order(0, con_id))
        made.book.filled(
            TradeFill(
                each.name, each.account, each.instrument, con_id, each.symbol, "STK", "USD", 1.0, 1, 10.0, 200.0, NOW
            )
        )
    made.book.revalue(NOW + working * 100_000)
    return made


class Still:
    """Clock that a round sets, journal that keeps the last record, login of one account, positions that stay."""

    accounts = ("DU1234567",)
    now = NOW

    def utc_us(self) -> int:  # noqa: D102 -- as Clock says
        return self.now

    def monotonic(self) -> float:  # noqa: D102 -- as Clock says
        return self.now / 1e6

    def note_record(self, record: object) -> None:  # noqa: D102 -- as OrderJournal says
        self.record = record

    def changed(self) -> Sequence[Any]:  # noqa: D102 -- as PositionRows says
        return ()

    def ask(self, contract: object, instrument: str) -> bool:  # noqa: D102 -- as ContractLookup says
        return True


def way(limits: Limits, working: int, holdings: int, rounds: int, count: int = 10) -> float:
    """Return the µs that the gate costs of the way of an order: of `count` orders, in the fastest round."""
    still = cast("Any", Still())
    made = gate(limits, working, holdings)
    contracts = KnownContracts()
    contracts.learn({**order(0)["contract"], "exchange": "SMART"}, {"minTick": 0.01})  # type: ignore[dict-item]
    keeper = BookKeeper(made, Proposals(contracts, still), still, BookRecords(still, made.dump), still)
    reports = RiskReports(cast("Any", None), still, CommandAudit(NO_AUDIT))
    control = RiskControl(keeper, cast("Any", Market()), still, reports, still)
    best = float("inf")
    for number in range(rounds * 10):
        still.now += 120_000_000
        taken = 0.0
        orders = [Order("bench", f"{number}-{each}", 0, order(50 + each)) for each in range(count)]
        for each in orders:
            still.now += 1_000
            began = time.perf_counter()
            control.admit([each])
            taken += time.perf_counter() - began
            control.settle()
        for each in orders:
            made.book.ended((each.owner, each.key), still.now)
        best = min(best, taken)
    return best / count * 1e6


def fastest(work: Callable[[], object], rounds: int, count: int = 500) -> float:
    """Return the µs of one call, in the fastest round."""
    best = float("inf")
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(count):
            work()
        best = min(best, time.thread_time() - began)
    return best / count * 1e6


def plain_loop() -> int:
    """Add a thousand numbers."""
    return sum(range(1_000))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=positive, default=30)
    rounds = parser.parse_args().rounds
    every, few = parse(LIMITS, "limits"), Limits(max_order_quantity=1_000, max_position=1e6, max_orders_per_second=50)
    print(f"{'the sum of a thousand numbers':58} {fastest(plain_loop, rounds):6.1f} µs")
    print(f"{'reading the arguments of an order':58} {fastest(lambda: proposed('b', 'k', order(0)), rounds):6.1f} µs")
    for name, limits, working, holdings in (
        ("three limits", few, 10, 20),
        ("all limits", every, 0, 0),
        ("all limits, 10 orders work, 20 positions", every, 10, 20),
        ("all limits, 19 orders work, 1,000 positions", every, 19, 1_000),
    ):
        now = NOW + 10_000_000
        made = gate(limits, working, holdings)
        new = proposed("bench", "new", order(99))
        decision = made.evaluate(new, now)
        if decision.breaches:
            raise SystemExit(f"{name}: refused, {decision.breaches}")
        cost = fastest(lambda made=made, new=new, now=now: made.evaluate(new, now), rounds)  # type: ignore[misc]
        print(f"a decision: {name:46} {cost:6.1f} µs  {len(decision.checks):3} checks, aim {AIM:.0f} µs")
    quiet = dataclasses.replace(every, max_open_orders=100, max_quote_age=None, trading_window=None)
    for name, limits, working, holdings in (
        ("three limits", few, 5, 20),
        ("all limits, 5 orders work, 20 positions", quiet, 5, 20),
        ("all limits, 5 orders work, 1,000 positions", quiet, 5, 1_000),
    ):
        cost = way(limits, working, holdings, rounds)
        print(f"an order's way: {name:42} {cost:6.1f} µs              aim {AIM:.0f} µs")
    made = gate(every, 10, 20)
    print(f"{'an order noted, and its end':58} {fastest(lambda: _note(made), rounds):6.1f} µs")


def _note(made: RiskGate) -> None:
    each: ProposedOrder = proposed("bench", "one", order(1))._replace()
    made.accepted(each, NOW + 20_000_000)
    made.book.ended(each.name, NOW + 20_000_000)


if __name__ == "__main__":
    main()
