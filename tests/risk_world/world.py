"""The world: orders, executions, quotes, restarts and clocks, drawn from one seed, for a gate and for its judge."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.config.maintenance_windows import window
from ibbridge.risk.book import TradeFill, TradingBook
from ibbridge.risk.evaluation import RiskGate
from ibbridge.risk.facts import MarketQuote
from ibbridge.risk.limits import CONTRACT_HOURS, Limits, RiskPolicy
from ibbridge.risk.order import OrderLeg, ProposedOrder
from tests.risk_world.judge import Judge, S

if TYPE_CHECKING:
    from collections.abc import Iterator

START = 1_780_000_000 * S  # some day in May 2026
CLIENTS, ACCOUNTS = ("alpha", "beta"), ("DU1", "U2")


@dataclasses.dataclass(frozen=True, slots=True)
class Instrument:
    """Instrument of the world: a contract, a price to begin with, and steps of price and quantity."""

    name: str
    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    currency: str
    multiplier: float
    price: float
    tick: float
    lots: tuple[float, ...]


INSTRUMENTS = (
    Instrument("AAPL-STK-SMART-USD", 265598, "AAPL", "STK", "SMART", "USD", 1.0, 200.0, 0.01, (1, 10, 50, 100, 0.5)),
    Instrument("SAP-STK-IBIS-EUR", 0, "SAP", "STK", "IBIS", "EUR", 1.0, 120.0, 0.02, (1, 10, 100)),
    Instrument("ES-FUT-CME-USD-202612", 495512, "ES", "FUT", "CME", "USD", 50.0, 6000.0, 0.25, (1, 2, 5)),
    Instrument("CL-FUT-NYMEX-USD-202612", 304037, "CL", "FUT", "NYMEX", "USD", 1000.0, 0.5, 0.01, (1, 2, 5)),
    Instrument("AAPL-OPT-SMART-USD-C200", 700001, "AAPL", "OPT", "SMART", "USD", 100.0, 5.0, 0.05, (1, 5, 10)),
    Instrument("AAPL-OPT-SMART-USD-C210", 700002, "AAPL", "OPT", "SMART", "USD", 100.0, 2.0, 0.05, (1, 5, 10)),
    Instrument("EUR-CASH-IDEALPRO-USD", 12087792, "EUR", "CASH", "IDEALPRO", "USD", 1.0, 1.1, 0.00005, (1000, 20000)),
    Instrument("BTC-CRYPTO-PAXOS-USD", 479624278, "BTC", "CRYPTO", "PAXOS", "USD", 1.0, 60000.0, 0.25, (0.001, 0.1, 2)),
)
SPREAD = Instrument("BAG-0123456789abcdef", 0, "AAPL", "BAG", "SMART", "USD", 1.0, 3.0, 0.01, (1, 2, 5))


class Market:
    """Facts of the market, as the world has them."""

    def __init__(self) -> None:
        self.quotes: dict[str, MarketQuote | None] = {}
        self.rates: dict[str, float | None] = {}
        self.hours: dict[str, bool | None] = {}

    def quote(self, instrument: str, con_id: int) -> MarketQuote | None:
        return self.quotes.get(instrument)

    def rate(self, currency: str) -> float | None:
        return self.rates.get(currency)

    def is_open(self, instrument: str, con_id: int, now: int) -> bool | None:
        return self.hours.get(instrument)


class Disagreement(AssertionError):  # noqa: N818 -- it is no error of the program that runs
    """Decision of the gate with which the judge does not agree."""


class RiskWorld:
    """World of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.now = START + self.random.randrange(86_400) * S
        self.market = Market()
        self.policy = self._policy()
        self.judge = Judge(self.policy)
        self.gate = RiskGate(self.policy, TradingBook(self.market), self.market)
        self.serial = 0
        self.con_id = 0
        self.fills: list[TradeFill] = []
        self.late: list[tuple[ProposedOrder, Any, float]] = []
        self.seen = {"asked": 0, "allowed": 0, "refused": 0, "fills": 0, "restarts": 0}
        for currency, rate in (("USD", 1.0), ("EUR", 1.1), ("BTC", None)):
            self._rate(currency, rate)
        for each in (*INSTRUMENTS, SPREAD):
            self._hours(each.name)
            self._quote(each)

    # -- what is drawn

    def _policy(self) -> RiskPolicy:
        r = self.random
        return RiskPolicy(
            all=self._limits(r.choice((0, 0, 0.1, 0.3))),
            accounts={name: self._limits(r.choice((0, 0, 0.1, 0.3))) for name in ACCOUNTS},
            clients={name: self._limits(r.choice((0, 0.1, 0.2, 0.7))) for name in CLIENTS},
        )

    def _limits(self, likely: float) -> Limits:
        r = self.random
        choices: dict[str, tuple[Any, ...]] = {
            "max_order_quantity": (5, 100, 20000, 60000),
            "max_order_notional": (1000, 22000, 300000, 1500000, 5000000),
            "price_collar_percent": (0, 1, 5),
            "price_collar_ticks": (1, 10, 100),
            "max_quote_age": (1, 30, 600),
            "delayed_quotes": ("use", "refuse"),
            "market_orders": ("rth", "always", "never"),
            "duplicate_window": (0.5, 5, 60),
            "max_orders_per_second": (1, 3, 10),
            "max_orders_per_minute": (5, 20, 60),
            "max_symbol_orders_per_second": (1, 2, 5),
            "max_symbol_orders_per_minute": (3, 10, 30),
            "max_repeated_fills": (1, 3),
            "repeated_fills_window": (5, 300),
            "max_open_orders": (1, 3, 20),
            "max_position": (0, 2, 50, 200, 40000, 100000),
            "max_gross_exposure": (30000, 700000, 3000000, 20000000),
            "max_net_exposure": (20000, 500000, 2000000, 10000000),
            "max_daily_notional": (50000, 1000000, 5000000, 50000000),
            "max_daily_loss": (0, 100, 5000, 200000),
            "reject_breaker": (1, 3),
            "reject_window": (5, 600),
            "reject_pause": (10, 1000),
            "symbols": ((("A*", "E?", "CL"),), (("AAPL", "SAP", "BTC", "E*", "CL"), ("*",))),
            "deny_symbols": ((("BTC",),), (("SAP", "C*"),)),
            "security_types": ((("STK", "FUT", "CASH", "OPT", "BAG"),),),
            "deny_security_types": ((("CRYPTO",),),),
            "exchanges": ((("SMART", "CME", "IDEALPRO"),),),
            "deny_exchanges": ((("NYMEX",),),),
            "currencies": ((("USD",),),),
            "deny_currencies": ((("EUR",),),),
            "trading_window": (
                ((CONTRACT_HOURS,),),
                ((window("Mon-Fri 06:00-20:00 America/New_York"), CONTRACT_HOURS),),
            ),
            "allow_live": (False, True),
        }
        lists = ("symbols", "security", "exchanges", "currencies", "deny", "trading_window", "allow_live")
        found = {
            name: r.choice(values)
            for name, values in choices.items()
            if r.random() < likely * (0.15 if name.startswith(lists) else 1)
        }
        return Limits(**found)

    def _rate(self, currency: str, rate: float | None) -> None:
        self.market.rates[currency] = rate
        self.judge.history.append(("rate", currency, rate))

    def _hours(self, instrument: str) -> None:
        self.market.hours[instrument] = self.random.choice((True, True, True, False, None))
        self.judge.history.append(("hours", instrument, self.market.hours[instrument]))

    def _quote(self, each: Instrument) -> None:
        r = self.random
        middle = each.price * r.choice((1, 1, 1.01, 0.99, 1.05)) - (
            each.price * 2 if each.symbol == "CL" and r.random() < 0.3 else 0
        )
        steps = round(middle / each.tick)
        wide = r.choice((1, 2, 10))
        bid, ask, last = ((steps + n) * each.tick for n in (-wide, wide, 0))
        kind = r.random()
        quote: MarketQuote | None
        if kind < 0.06:
            quote = None
        elif kind < 0.12:
            quote = MarketQuote(None, None, round(last, 6), self.now, tick=each.tick)
        elif kind < 0.16:
            quote = MarketQuote(round(bid, 6), None, None, self.now)
        else:
            tick = each.tick if r.random() < 0.9 else None
            quote = MarketQuote(round(bid, 6), round(ask, 6), round(last, 6), self.now, r.random() < 0.1, tick)
        self.market.quotes[each.name] = quote
        self.judge.history.append(("quote", each.name, quote))

    def price(self, each: Instrument) -> float:
        r = self.random
        quote = self.market.quotes.get(each.name)
        middle = (quote and (quote.last if quote.last is not None else quote.bid)) or each.price
        steps = round(middle * r.choice((1, 1, 1, 1.01, 0.99, 1.05, 0.95, 1.2)) / each.tick) + r.choice(
            (0, 0, 1, -1, 5)
        )
        return round(steps * each.tick, 6)

    def order(self) -> ProposedOrder:
        """Return a new order."""
        r = self.random
        self.serial += 1
        each = SPREAD if r.random() < 0.08 else r.choice(INSTRUMENTS)
        kind = r.choice(
            ("LMT",) * 8 + ("MKT", "MKT", "STP", "STP LMT", "TRAIL", "MIT", "REL", "MOC", "LOC", "MTL", "TRAIL LIMIT")
        )
        quantity: float | None = r.choice(each.lots) * r.choice((1, 1, 2, 3))
        cash = None
        if each.sec_type in ("STK", "CASH") and r.random() < 0.06:
            cash, quantity = r.choice((100.0, 5000.0, 25000.0)), r.choice((0.0, 0.0, quantity))
        if r.random() < 0.01:
            quantity = None
        limit = self.price(each) if kind in ("LMT", "STP LMT", "LOC") or (kind == "REL" and r.random() < 0.5) else None
        aux = self.price(each) if kind in ("STP", "STP LMT", "MIT") else None
        if kind in ("REL", "TRAIL"):
            aux = r.choice((None, each.tick, 10 * each.tick))
        legs: tuple[OrderLeg, ...] = ()
        if each is SPREAD:
            legs = tuple(
                OrderLeg(
                    leg.con_id, ratio, side, leg.exchange, leg.name, leg.symbol, leg.sec_type, leg.currency,
                    leg.multiplier,
                )
                for leg, ratio, side in ((INSTRUMENTS[4], 1.0, 1), (INSTRUMENTS[5], r.choice((1.0, 2.0)), -1))
            )  # fmt: skip
        return ProposedOrder(
            r.choice(CLIENTS),
            f"k{self.serial}",
            r.choice(ACCOUNTS),
            each.name,
            self.con_id_of(each),
            each.symbol,
            each.sec_type,
            each.exchange,
            each.currency,
            each.multiplier,
            legs,
            r.choice((1, -1)),
            quantity,
            cash,
            kind,
            limit,
            aux,
            self.price(each) if kind == "TRAIL LIMIT" and r.random() < 0.5 else None,
            r.choice((each.tick, 20 * each.tick)) if kind == "TRAIL LIMIT" else None,
            r.choice((None, 0.01, 0.1)) if kind == "REL" else None,
            r.choice((None, 1.0)) if kind == "TRAIL" else None,
            r.choice(("DAY", "DAY", "OPG")),
            r.random() < 0.2,
            fault="totalQuantity is nan" if r.random() < 0.005 else "",
        )

    def family(self) -> list[ProposedOrder]:
        """Return a bracket, or orders of an OCA group, or some orders that have nothing to do with each other."""
        r = self.random
        first = self.order()
        kind = r.random()
        found = [first]
        for _ in range(r.choice((1, 2, 2, 3))):
            self.serial += 1
            if kind < 0.5:
                found.append(
                    first._replace(
                        key=f"k{self.serial}",
                        side=-first.side if r.random() < 0.9 else first.side,
                        quantity=first.quantity if r.random() < 0.7 else (first.quantity or 1.0) * 2,
                        limit_price=None if first.limit_price is None else first.limit_price + r.choice((1, -1)),
                        parent=first.key,
                        oca_group="" if r.random() < 0.8 else "g",
                        oca_type=r.choice((1, 3)),
                    )
                )
            elif kind < 0.85:
                group, oca_type = f"g{first.key}", r.choice((1, 2, 3))
                found[0] = found[0]._replace(oca_group=group, oca_type=oca_type)
                found.append(
                    first._replace(
                        key=f"k{self.serial}",
                        quantity=(first.quantity or 1.0) * r.choice((1, 2)),
                        oca_group=group,
                        oca_type=oca_type,
                    )
                )
            else:
                found.append(self.order()._replace(client=first.client, account=first.account))
        return found

    # -- what happens

    def note(self, *event: Any) -> None:
        self.judge.history.append(event)

    def step(self) -> None:
        """Let one thing happen."""
        r = self.random
        self.now += r.choice((0, 1000, 50_000, 300_000, S, S, 3 * S, 20 * S))
        kind = r.random()
        if kind < 0.30:
            self.ask_one(self.order())
        elif kind < 0.40:
            self.change()
        elif kind < 0.46:
            self.ask_group(self.family())
        else:
            next(
                act
                for limit, act in (
                    (0.66, self.fill),
                    (0.74, self.end),
                    (0.76, self.reject),
                    (0.79, self.settle),
                    (0.82, self.correct),
                    (0.84, self.charge),
                    (0.88, self.report),
                    (0.95, self.move),
                    (0.96, self.foreign),
                    (0.963, self.resume),
                    (0.97, self.identify),
                    (0.985, self.restart),
                    (1.0, self.jump),
                )
                if kind < limit
            )()

    def ask_one(self, order: ProposedOrder) -> None:
        """Ask the gate and the judge for one order, and let it leave if it may."""
        if self.decide(order, self.gate.evaluate(order, self.now)) and self.random.random() < 0.95:
            self.accept(order)

    def decide(self, order: ProposedOrder, decision: Any) -> bool:
        broken = self.judge.broken(order, self.now)
        found = {each.rule for each in decision.breaches}
        self.seen["asked"] += 1
        self.seen["allowed" if decision.allowed else "refused"] += 1
        for each in found:
            self.seen[each] = self.seen.get(each, 0) + 1
        if found != broken or decision.allowed != (not broken):
            only = f"gate only: {sorted(found - broken)}, judge only: {sorted(broken - found)}"
            raise Disagreement(
                f"seed {self.seed}, {len(self.judge.history)} events: {only}\n{order}\n{decision.breaches}"
            )
        return not broken

    def accept(self, order: ProposedOrder) -> None:
        self.gate.accept((order,), self.now)
        self.note("accepted", order, self.now)

    def ask_group(self, orders: list[ProposedOrder]) -> None:
        """Ask for orders that leave together: all of them or none."""
        decisions = self.gate.evaluate_group(orders, self.now)
        mark = len(self.judge.history)
        allowed = True
        for order, decision in zip(orders, decisions, strict=True):
            allowed &= self.decide(order, decision)
            self.note("accepted", order, self.now)
        del self.judge.history[mark:]
        for order in orders:
            self.note("asked", self.now)
            self.note("mentioned", order)
        if allowed:
            for order in orders:
                self.accept(order)

    def working(self) -> list[Any]:
        return list(self.gate.book.working.values())

    def change(self) -> None:
        """Ask for the change of an order that works."""
        r = self.random
        some = [each for each in self.working() if not each.over_at and each.order.name[0] != "ext"]
        if not some:
            return
        old = r.choice(some).order
        quantity = old.quantity
        if quantity:
            quantity = quantity * r.choice((1, 0.5, 2)) if r.random() < 0.7 else quantity
        limit = old.limit_price
        if limit is not None and r.random() < 0.6:
            limit = round(limit + r.choice((0.5, -0.5, 5)), 6)
        self.ask_one(old._replace(quantity=quantity, limit_price=limit, changes=old.name))

    def fill(self) -> None:
        """Let an order fill in part or whole; sometimes one that is over, or one that nobody knows."""
        r = self.random
        self.seen["fills"] += 1
        if self.late and r.random() < 0.5:
            order, part, quantity = self.late.pop()
            self.execute(order, part, quantity)
            return
        some = self.working()
        if not some or r.random() < 0.1:
            order = self.order()
            if not order.legs:
                self.execute(order, None, r.choice((1.0, 5.0)))
            return
        working = r.choice(some)
        claim = r.choice(working.claims)
        if not claim.remaining or claim.remaining == float("inf"):
            return
        quantity = claim.remaining if r.random() < 0.5 else round(claim.remaining / 2, 8)
        self.execute(working.order, claim.part, quantity)

    def execute(self, order: ProposedOrder, part: Any, quantity: float) -> None:
        if quantity <= 0:
            return
        if part is not None and order.legs:
            each = next(each for each in INSTRUMENTS if each.con_id == part.place)
        else:
            each = next(each for each in INSTRUMENTS if each.name == order.instrument)
        side = part.side if part is not None else order.side
        at = self.now if self.random.random() < 0.95 else self.now - 86_400 * S
        fill = TradeFill(
            order.name, order.account, each.name, self.con_id_of(each), each.symbol, each.sec_type, each.currency,
            each.multiplier, side, quantity, self.price(each), at,
        )  # fmt: skip
        self.fills.append(fill)
        self.gate.book.filled(fill)
        self.note("filled", fill)

    def end(self) -> None:
        """Let an order be over: cancelled, filled with executions to come, or never sent."""
        r = self.random
        some = [each for each in self.working() if not each.over_at]
        if not some:
            return
        working = r.choice(some)
        filled, left = None, True
        if r.random() < 0.3 and len(working.claims) == 1 and working.quantity < 1e9:
            claim = working.claims[0]
            filled = round(claim.executed + claim.remaining * r.choice((1, 0.5)), 8)
            if filled > claim.executed and r.random() < 0.7:
                self.late.append((working.order, claim.part, round(filled - claim.executed, 8)))
        elif r.random() < 0.2 and not any(claim.executed for claim in working.claims):
            left = False
        name = working.order.name
        self.gate.book.ended(name, self.now, filled, left=left)
        self.note("ended", name, self.now, filled, left)

    def reject(self) -> None:
        some = self.working()
        name = self.random.choice(some).order.name if some else ("alpha", "nothing")
        if name[0] == "ext":
            return
        self.gate.rejected(name, self.now)
        self.note("rejected", name, self.now)
        if self.random.random() < 0.8:
            self.gate.book.ended(name, self.now)
            self.note("ended", name, self.now, None, True)

    def settle(self) -> None:
        for working in self.working():
            if working.former is not None:
                name, taken = working.order.name, self.random.random() < 0.7
                self.gate.book.settled(name, taken=taken)
                self.note("settled", name, taken)

    def correct(self) -> None:
        """Correct an execution, or bust it."""
        if not self.fills:
            return
        old = self.fills.pop(self.random.randrange(len(self.fills)))
        new = None
        if self.random.random() < 0.6:
            new = old._replace(quantity=old.quantity * self.random.choice((1, 2)), price=old.price + 0.5)
            self.fills.append(new)
        self.gate.book.corrected(old, new, self.now)
        self.note("corrected", old, new, self.now)

    def charge(self) -> None:
        client, account = self.random.choice(CLIENTS), self.random.choice(ACCOUNTS)
        currency, amount = self.random.choice(("USD", "EUR")), self.random.choice((1.0, 2.5, 60.0, -1.0))
        self.gate.book.begin(self.now)
        self.gate.book.charged(client, account, currency, amount)
        self.note("charged", client, account, currency, amount, self.now)

    def report(self) -> None:
        """Let TWS report a position: mostly the one that the executions add up to."""
        r = self.random
        account, each = r.choice(ACCOUNTS), r.choice(INSTRUMENTS)
        book = self.gate.book
        held = book.scope(("account", account)).holdings.get(book.place(each.name, each.con_id))
        quantity = held.position if held and r.random() < 0.5 else r.choice((0.0, 10.0, -10.0, 100.0))
        contract = {
            "conId": self.con_id_of(each), "symbol": each.symbol, "secType": each.sec_type, "currency": each.currency,
            "multiplier": each.multiplier,
        }  # fmt: skip
        book.reported(account, each.name, contract, quantity, self.now)
        self.note("reported", account, each.name, contract, quantity, self.now)

    def move(self) -> None:
        """Move prices, rates and trading hours, and value the book."""
        r = self.random
        for each in r.sample((*INSTRUMENTS, SPREAD), 4):
            self._quote(each)
        if r.random() < 0.2:
            self._rate("EUR", r.choice((1.1, 1.2, None)))
        self._hours(r.choice(INSTRUMENTS).name)
        self.revalue()

    def revalue(self) -> None:
        self.gate.book.revalue(self.now)
        self.note("revalue", self.now)

    def foreign(self) -> None:
        """Let TWS work an order of another program."""
        order = self.order()._replace(client="ext", fault="")
        self.gate.works(order, self.now)
        self.note("works", order, self.now)

    def identify(self) -> None:
        """Let TWS name the conId of the instrument that is known by its key alone."""
        if not self.con_id:
            self.con_id = 14_204
            self.gate.book.identify(INSTRUMENTS[1].name, self.con_id)
            self.note("identify", INSTRUMENTS[1].name, self.con_id)

    def con_id_of(self, each: Instrument) -> int:
        return each.con_id or (self.con_id if each is INSTRUMENTS[1] and self.random.random() < 0.7 else 0)

    def resume(self) -> None:
        scope: Any = self.random.choice((("all", ""), ("account", "DU1"), ("client", "alpha"), ("client", "beta")))
        self.gate.resume(scope)
        self.note("resume", *scope)

    def restart(self) -> None:
        """Begin a new process with the data of the old one."""
        self.seen["restarts"] += 1
        data = msgpack.unpackb(msgpack.packb(self.gate.book.dump()), strict_map_key=False)
        if self.random.random() < 0.3:
            self.now += 3600 * S
        book = TradingBook(self.market)
        book.load(data, self.now)
        self.note("revalue", self.now)
        self.gate = RiskGate(self.policy, book, self.market)

    def jump(self) -> None:
        """Let a long time pass, or set the clock back."""
        self.now += self.random.choice((60, 600, 3600, 12 * 3600, 86_400, -5, -60, -3600)) * S
        if self.random.random() < 0.5:
            self.revalue()


def lives(first: int, steps: int, length: int) -> Iterator[RiskWorld]:
    """Yield worlds of rising seeds, each after its steps, until so many steps are done."""
    seed = first
    while steps > 0:
        world = RiskWorld(seed)
        for _ in range(min(length, steps)):
            world.step()
        yield world
        seed, steps = seed + 1, steps - length
