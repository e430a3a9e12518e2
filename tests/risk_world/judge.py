"""The judge: which rules an order breaks, worked out from everything that has happened so far.

It knows the records of orders, limits, quotes and executions, and none of the code that counts them.
"""

from __future__ import annotations

import datetime as dt
import math
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ibbridge.risk.facts import MarketQuote
from ibbridge.risk.limits import Limits

if TYPE_CHECKING:
    from ibbridge.risk.limits import RiskPolicy
    from ibbridge.risk.order import ProposedOrder

S = 1_000_000
INF = float("inf")
NONE = Limits()
NEW_YORK = ZoneInfo("America/New_York")
TRIGGERS = ("STP", "STP LMT", "MIT", "LIT")
MARKET_NOW = ("MKT", "MTL")
MARKET_LATER = ("STP", "MIT", "MOC", "TRAIL")


@cache
def day_of(now: int) -> int:
    return dt.datetime.fromtimestamp(now / S, NEW_YORK).date().toordinal()


def over(value: float | None, limit: float) -> bool:
    """Return True if a value is unknown, or over its limit by more than a billionth part."""
    return value is None or value > limit + abs(limit) * 1e-9


class Life:
    """State of one scope after a history: `mine` says which owners and accounts belong to it."""

    def __init__(self, judge: Judge, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.judge = judge
        self.now = 0
        self.day = 0
        self.quotes: dict[str, MarketQuote | None] = {}
        self.rates: dict[str, float | None] = {}
        self.open: dict[str, bool | None] = {}
        self.price: dict[Any, float] = {}
        self.first_price: dict[Any, float] = {}
        self.known: dict[Any, Any] = {}  # instruments that somebody holds or trades: their contract
        self.orders: dict[tuple[str, str], dict[str, Any]] = {}  # of all scopes
        self.executed_in: dict[
            tuple[str, Any], float
        ] = {}  # account, place: the sum of executions, with what was trusted
        self.reported: dict[tuple[str, Any], float] = {}
        self.moved: dict[tuple[str, Any], int] = {}
        self.position: dict[Any, float] = {}
        self.before: dict[Any, float] = {}
        self.cash: dict[Any, float] = {}
        self.traded: list[tuple[str, float]] = []
        self.charges: list[tuple[str, float]] = []
        self.times: list[list[Any]] = []  # of orders: time, symbol
        self.fills: list[list[Any]] = []  # the first of an order: time, place, side
        self.rejects: list[list[int]] = []
        self.same: list[list[Any]] = []  # time, name, what makes it the same
        self.tripped: int | None = None
        self.named: dict[str, int] = {}
        # every scope, to know what is held by anybody
        self.every: dict[tuple[str, str], dict[Any, list[float]]] = {}
        self.event = 0
        for self.event, (what, *values) in enumerate(judge.history):
            getattr(self, "on_" + what)(*values)
        self.event = -1

    def mine(self, owner: str, account: str) -> bool:
        if self.kind == "all":
            return True
        return (account if self.kind == "account" else owner) == self.name

    # -- time

    def at(self, now: int) -> None:
        if now < self.now:
            self.times = [each for each in self.times if each[0] > self.now - 60 * S]
            self.fills = [each for each in self.fills if each[0] > self.now - 3600 * S]
            self.rejects = [each for each in self.rejects if each[0] > self.now - 3600 * S]
            self.same = [each for each in self.same if each[0] > self.now - 300 * S]
        if now < self.now:  # the clock was set back
            for entry in (*self.times, *self.fills, *self.rejects, *self.same):
                entry[0] = min(entry[0], now)
            self.moved = {key: min(at, now) for key, at in self.moved.items()}
            for order in self.orders.values():
                if order["over"] is not None:
                    order["over"] = min(order["over"], now)
            if self.tripped is not None:
                self.tripped = min(self.tripped, now)
        self.now = now
        if not self.day:
            self.day = day_of(now)
        if day_of(now) > self.day:
            self.day = day_of(now)
            self.traded, self.charges, self.cash = [], [], {}
            self.before = dict(self.position)
            for scope in self.every.values():
                for held in scope.values():
                    held[1] = held[0]
                    held[2] = 0.0
            held_by_anybody = {
                place for scope in self.every.values() for place, held in scope.items() if held[0] or held[1]
            }
            held_by_anybody |= {place for (_, place), quantity in self.reported.items() if quantity}
            held_by_anybody |= {part["place"] for order in self.orders.values() for part in order["parts"]}
            for place in [place for place in self.known if place not in held_by_anybody]:
                del self.known[place]
                self.price.pop(place, None)
                for key in [key for key in self.moved if key[1] == place]:
                    del self.moved[key]
                    self.reported.pop(key, None)
            self.first_price = dict(self.price)

    def priced(self, place: Any, price: float) -> None:
        self.price[place] = price
        self.first_price.setdefault(place, price)

    # -- events

    def on_asked(self, now: int) -> None:
        self.at(now)

    def on_quote(self, instrument: str, quote: MarketQuote | None) -> None:
        self.quotes[instrument] = quote

    def on_rate(self, currency: str, rate: float | None) -> None:
        self.rates[currency] = rate

    def on_hours(self, instrument: str, is_open: bool | None) -> None:
        self.open[instrument] = is_open

    def on_mentioned(self, order: ProposedOrder) -> None:
        for part in self.parts(order):
            self.know(part["place"], part["contract"])

    def on_identify(self, instrument: str, con_id: int) -> None:
        """Call a place by its conId from now on."""
        self.named[instrument] = con_id
        for table in (self.price, self.first_price, self.known, self.position, self.before, self.cash):
            rename(table, instrument, con_id)
        for scope in self.every.values():
            rename(scope, instrument, con_id)
        for by_account in (self.executed_in, self.reported, self.moved):
            for account, place in list(by_account):
                if place == instrument:
                    rename(by_account, (account, place), (account, con_id))
        for account, place in self.moved:
            if place == con_id:
                self.moved[account, place] = self.now
        for fill in self.fills:
            fill[1] = con_id if fill[1] == instrument else fill[1]
        for order in self.orders.values():
            for part in [*order["parts"], *(order["former"][1] if order["former"] else ())]:
                part["place"] = con_id if part["place"] == instrument else part["place"]

    def on_revalue(self, now: int) -> None:
        self.at(now)
        for (account, place), reported in self.reported.items():
            apart = reported - self.executed_in.get((account, place), 0.0)
            if abs(apart) > 1e-9 and now - self.moved.get((account, place), now) >= 10 * S:
                self.shift(account, place, apart)
        for name in [name for name, order in self.orders.items() if order["over"] is not None]:
            if now - self.orders[name]["over"] >= 10 * S:
                del self.orders[name]
        for place, contract in self.known.items():
            quote = self.quotes.get(contract[0])
            if quote is None:
                continue
            if quote.bid is not None and quote.ask is not None:
                self.priced(place, (quote.bid + quote.ask) / 2)
            else:
                for price in (quote.last, quote.bid, quote.ask):
                    if price is not None:
                        self.priced(place, price)
                        break
        for order in self.orders.values():
            for part in order["parts"]:
                if part["unit"] is None and self.left(part) > 0:
                    part["unit"] = self.unit_of_place(part["place"])

    def on_accepted(self, order: ProposedOrder, now: int, *, counted: bool = True) -> None:
        self.at(now)
        account = self.orders[order.name]["account"] if order.name in self.orders else order.account
        old = self.orders.get(order.name)
        parts = self.parts(order)
        for part in parts:
            self.know(part["place"], part["contract"])
            part["executed"] = 0.0
            part["whole"] = part["quantity"]
            if part["unit"] is None and order.name[0] == "ext":
                part["unit"] = 0.0
            for former in old["parts"] if old else ():
                if former["place"] == part["place"]:
                    part["executed"] = former["executed"]
                    if counted:
                        part["quantity"] = max(part["quantity"], former["quantity"])
        made = {"order": order, "account": account, "parts": parts, "over": None, "former": None}
        if old is not None:
            if counted:
                made["former"] = old["former"] or (old["order"], [dict(part) for part in old["parts"]])
            del self.orders[order.name]
        self.orders[order.name] = made
        if counted and self.mine(order.name[0], account):
            self.times.append([now, order.symbol])
            self.same = [each for each in self.same if each[1:] != [order.name, alike(order)]]
            self.same.append([now, order.name, alike(order)])

    def on_works(self, order: ProposedOrder, now: int) -> None:
        self.on_accepted(order, now, counted=False)

    def on_settled(self, name: tuple[str, str], taken: bool) -> None:
        order = self.orders.get(name)
        if order is None or order["former"] is None:
            return
        former, parts = order["former"]
        if not taken:
            executed = {part["place"]: part["executed"] for part in order["parts"]}
            order["order"] = former
            for part in parts:
                part["executed"] = executed.get(part["place"], 0.0)
            order["parts"] = parts
        order["former"] = None
        for part in order["parts"]:
            part["quantity"] = part["whole"]

    def on_ended(self, name: tuple[str, str], now: int, filled: float | None, left: bool) -> None:
        self.at(now)
        order = self.orders.pop(name, None)
        if order is None:
            return
        if not left:
            self.same = [each for each in self.same if each[1:] != [name, alike(order["order"])]]
        if filled and any(filled * part["ratio"] - part["executed"] > 1e-9 for part in order["parts"]):
            for part in order["parts"]:
                part["quantity"] = min(part["quantity"], filled * part["ratio"])
            order["former"] = None
            order["over"] = now if order["over"] is None else order["over"]
            self.orders[name] = order

    def on_rejected(self, name: tuple[str, str], now: int) -> None:
        self.at(now)
        order = self.orders.get(name)
        account = order["account"] if order else ""
        if self.kind == "account" and order is None:
            return
        if self.mine(name[0], account):
            self.rejects.append([now])
            limits = self.judge.limits(self.kind, self.name)
            since = now - (limits.reject_window or 60) * S
            if limits.reject_breaker and sum(at > since for (at,) in self.rejects) >= limits.reject_breaker:
                self.tripped = now

    def on_resume(self, kind: str, name: str) -> None:
        if (kind, name) == (self.kind, self.name):
            self.tripped = None
            self.rejects = []

    def on_filled(self, fill: Any) -> None:
        now = max(fill.at, self.now)
        self.at(now)
        place = self.place(fill.instrument, fill.con_id)
        self.know(place, contract_of(fill))
        self.count(fill, place, fill.side * fill.quantity, fill.price)
        key = fill.account, place
        self.executed_in[key] = self.executed_in.get(key, 0.0) + fill.side * fill.quantity
        self.moved[key] = now
        order = self.orders.get(fill.name)
        if order is not None:
            for part in order["parts"]:
                if part["place"] == place:
                    if not part["executed"] and self.mine(fill.name[0], order["account"]):
                        self.fills.append([now, place, fill.side])
                    part["executed"] += fill.quantity
            if order["over"] is not None and all(self.left(part) <= 1e-9 for part in order["parts"]):
                del self.orders[fill.name]
        self.priced(place, fill.price)

    def on_corrected(self, old: Any, new: Any, now: int) -> None:
        self.at(now)
        place = self.place(old.instrument, old.con_id)
        self.know(place, contract_of(old))
        self.count(old, place, -old.side * old.quantity, old.price)
        key = old.account, place
        self.executed_in[key] = self.executed_in.get(key, 0.0) - old.side * old.quantity
        if new is not None:
            self.count(new, place, new.side * new.quantity, new.price, at=old.at)
            self.executed_in[key] += new.side * new.quantity
        self.moved[key] = now

    def count(self, fill: Any, place: Any, signed: float, price: float, at: int | None = None) -> None:
        """Count an execution in every scope, and its money in this one."""
        today = day_of(fill.at if at is None else at) >= self.day
        owner = fill.name[0]
        for scope in (("all", ""), ("account", fill.account), ("client", owner)):
            if scope == ("client", "ext"):
                continue
            held = self.every.setdefault(scope, {}).setdefault(place, [0.0, 0.0, 0.0])
            held[0] = round(held[0] + signed, 9)
            if not today:
                held[1] = round(held[1] + signed, 9)
        if not self.mine(owner, fill.account):
            return
        self.position[place] = self.position.get(place, 0.0) + signed
        if not today:
            self.before[place] = self.before.get(place, 0.0) + signed
            return
        self.cash[place] = self.cash.get(place, 0.0) - signed * price
        amount = signed * fill.side
        if fill.sec_type == "CASH":
            self.traded.append((fill.symbol, amount))
        else:
            self.traded.append((fill.currency, amount * abs(price) * fill.multiplier))

    def shift(self, account: str, place: Any, signed: float) -> None:
        """Change a position without an execution: at the last price, or as if it had been held before."""
        self.executed_in[account, place] = self.executed_in.get((account, place), 0.0) + signed
        for scope in (("all", ""), ("account", account)):
            held = self.every.setdefault(scope, {}).setdefault(place, [0.0, 0.0, 0.0])
            held[0] = round(held[0] + signed, 9)
            if place not in self.price:
                held[1] = round(held[1] + signed, 9)
        if self.kind == "client" or not self.mine("", account):
            return
        self.position[place] = self.position.get(place, 0.0) + signed
        if place in self.price:
            self.cash[place] = self.cash.get(place, 0.0) - signed * self.price[place]
        else:
            self.before[place] = self.before.get(place, 0.0) + signed

    def on_charged(self, client: str, account: str, currency: str, amount: float, now: int) -> None:
        self.at(now)
        if self.mine(client, account):
            self.charges.append((currency, amount))

    def on_reported(self, account: str, instrument: str, contract: dict[str, Any], quantity: float, now: int) -> None:
        self.at(now)
        place = self.place(instrument, contract["conId"])
        self.know(
            place,
            (instrument, contract["symbol"], contract["secType"], contract["currency"], contract["multiplier"]),
        )
        key = account, place
        if key not in self.moved:
            self.shift(account, place, quantity - self.executed_in.get(key, 0.0))
        self.reported[key] = quantity
        self.moved[key] = now

    # -- questions

    def place(self, instrument: str, con_id: int) -> Any:
        return con_id or self.named.get(instrument, instrument)

    def know(self, place: Any, contract: Any) -> None:
        self.known.setdefault(place, contract)

    def left(self, part: dict[str, Any]) -> float:
        left = float(part["quantity"] - part["executed"])
        return left if left > 1e-9 else 0.0

    def is_open(self, order: ProposedOrder) -> bool | None:
        own = self.open.get(order.instrument)
        if own is None and order.legs:
            legs = [self.open.get(leg.instrument) for leg in order.legs]
            return None if None in legs else all(legs)
        return own

    def usable(self, instrument: str, order: ProposedOrder) -> MarketQuote | None:
        """Return the quote of an instrument, if it counts by the strictest limits of the order's scopes."""
        quote = self.quotes.get(instrument)
        if quote is None:
            return None
        every = self.judge.scopes(order)
        if quote.delayed and (
            all(each.delayed_quotes is None for each in every) or any(each.delayed_quotes == "refuse" for each in every)
        ):
            return None
        ages = [each.max_quote_age for each in every if each.max_quote_age is not None]
        return None if ages and self.now - quote.at > min(ages) * S else quote

    def quote_of(self, order: ProposedOrder) -> MarketQuote | None:
        own = self.usable(order.instrument, order)
        if own is not None or not order.legs:
            return own
        bid = ask = 0.0
        for leg in order.legs:
            quote = self.usable(leg.instrument, order)
            if quote is None or quote.bid is None or quote.ask is None:
                return None
            bid += leg.ratio * (quote.bid if leg.side > 0 else -quote.ask)
            ask += leg.ratio * (quote.ask if leg.side > 0 else -quote.bid)
        return MarketQuote(bid, ask)

    def parts(self, order: ProposedOrder) -> list[dict[str, Any]]:
        """Return what an order trades. For an event it is the same in every life, so it is worked out once."""
        if self.event < 0:
            return self.work_out_parts(order)
        known = self.judge.parts.get(self.event)
        if known is None or known[0] is not order:
            known = self.judge.parts[self.event] = order, self.work_out_parts(order)
        return [dict(part) for part in known[1]]

    def work_out_parts(self, order: ProposedOrder) -> list[dict[str, Any]]:
        """Return what an order trades: place, side, quantity, worth of a unit."""
        quantity = self.quantity(order)
        if order.legs:
            found = []
            for leg in order.legs:
                quote = self.usable(leg.instrument, order)
                market = [each for each in (quote.bid, quote.ask, quote.last) if each is not None] if quote else []
                rate = self.rates.get(leg.currency)
                unit = None
                if market and rate is not None and leg.multiplier is not None:
                    unit = max(abs(each) for each in market) * rate * leg.multiplier
                contract = leg.instrument, leg.symbol, leg.sec_type, leg.currency, leg.multiplier
                found.append(
                    part_of(leg.con_id, order.side * leg.side, quantity * leg.ratio, leg.ratio, unit, contract)
                )
            return found
        unit = None
        price = self.worst_price(order)
        rate = self.rates.get(order.currency)
        if order.sec_type == "CASH" and self.rates.get(order.symbol) is not None:
            unit = self.rates[order.symbol]
        elif price is not None and rate is not None and order.multiplier is not None:
            unit = price * order.multiplier * rate
        if order.cash_quantity is not None and not order.quantity and rate is not None:
            unit = order.cash_quantity * rate / quantity if quantity < INF else None
        contract = order.instrument, order.symbol, order.sec_type, order.currency, order.multiplier
        return [part_of(self.place(order.instrument, order.con_id), order.side, quantity, 1.0, unit, contract)]

    def named_prices(self, order: ProposedOrder) -> list[float]:
        found = [order.limit_price, order.trail_stop_price]
        if order.order_type in TRIGGERS:
            found.append(order.aux_price)
        return [each for each in found if each is not None]

    def worst_price(self, order: ProposedOrder) -> float | None:
        own = [abs(each) for each in self.named_prices(order)]
        quote = self.quote_of(order)
        market = [each for each in (quote.bid, quote.ask, quote.last) if each is not None] if quote else []
        capped = order.side > 0 and order.limit_price is not None
        if not market and not capped and order.client != "ext" and order.order_type != "EXERCISE":
            return None
        if capped:
            market = [each for each in market if each < 0]
        away = [abs(each) for each in market]
        if away and order.order_type in ("TRAIL", "REL", "TRAIL LIMIT"):
            percent = (order.percent_offset or 0.0) + (order.trailing_percent or 0.0) / 100
            away = [max(away) * (1 + percent) + abs(order.aux_price or 0.0)]
        return max(own + away, default=None)

    def quantity(self, order: ProposedOrder) -> float:
        if order.quantity is None:
            return INF
        if order.cash_quantity is None:
            return order.quantity
        quote = self.quote_of(order)
        market = [each for each in (quote.bid, quote.ask, quote.last) if each is not None] if quote else []
        low = [each for each in [*market, *self.named_prices(order)] if each > 0]
        if not market or not low or not order.multiplier:
            return INF
        return max(order.quantity, order.cash_quantity / (min(low) * order.multiplier))

    def notional(self, order: ProposedOrder) -> float | None:
        cash = 0.0
        if order.cash_quantity is not None:
            rate = self.rates.get(order.currency)
            if rate is None:
                return None
            cash = order.cash_quantity * rate
            if not order.quantity:
                return cash
        whole = 0.0
        for part in self.parts(order):
            if part["unit"] is None or part["quantity"] == INF:
                return None
            whole += part["quantity"] * part["unit"]
        return max(cash, whole)

    def unit_of_place(self, place: Any) -> float | None:
        """Return the worth of one unit at the last price; None if that is not known."""
        _, symbol, sec_type, currency, multiplier = self.known[place]
        own = self.rates.get(symbol)
        if sec_type == "CASH" and own is not None:
            return own
        rate = self.rates.get(currency)
        if place not in self.price or rate is None or multiplier is None:
            return None
        return abs(self.price[place]) * float(multiplier) * rate

    def held(self, place: Any) -> tuple[float, float]:
        """Return the lowest and the highest position: executions, and the reports of TWS."""
        low = high = round(self.position.get(place, 0.0), 9)
        if self.kind != "client":
            for (account, where), reported in self.reported.items():
                if where == place and self.mine("", account):
                    apart = round(reported - self.executed_in.get((account, place), 0.0), 9)
                    high += max(apart, 0.0)
                    low += min(apart, 0.0)
        return low, high

    def working(self, instead: ProposedOrder | None = None) -> list[tuple[Any, dict[str, Any], dict[str, Any]]]:
        """Return the parts of all orders of this scope that work: order, its record, part. `instead` replaces one."""
        found = []
        for name, record in self.orders.items():
            if self.mine(name[0], record["account"]) and (instead is None or name != instead.name):
                found += [(record["order"], record, part) for part in record["parts"]]
        if instead is not None:
            old = self.orders.get(instead.name)
            parts = self.parts(instead)
            for part in parts:
                for former in old["parts"] if old else ():
                    if former["place"] == part["place"]:
                        part["executed"] = former["executed"]
            found += [(instead, {"over": None}, part) for part in parts]
        return found

    def may_trade(self, place: Any, instead: ProposedOrder | None = None) -> tuple[float, float]:
        """Return how much may be bought and sold at most by all that works in an instrument."""
        here = [each for each in self.working(instead) if each[2]["place"] == place]
        total = {1: 0.0, -1: 0.0}
        entries = {
            order.name: (part["side"], self.left(part))
            for order, record, part in here
            if not part["executed"] and record["over"] is None and not grouped(order)
        }
        done = set()
        for order, _, part in here:
            parent = (order.name[0], order.parent) if order.parent else None
            under = parent if parent in entries and entries[parent][0] != part["side"] else None
            if under is not None:
                key = under, part["side"]
                if key in done:
                    continue
                done.add(key)
                below = self.largest(
                    [
                        (each, record, other)
                        for each, record, other in here
                        if each.parent and (each.name[0], each.parent) == under and other["side"] == part["side"]
                    ]
                )
                total[part["side"]] += max(0.0, below - entries[under][1]) if entries[under][1] < INF else 0.0
        free = []
        for each in here:
            order, part = each[0], each[2]
            parent = (order.name[0], order.parent) if order.parent else None
            if not (parent in entries and entries[parent][0] != part["side"]):
                free.append(each)
        for side in (1, -1):
            total[side] += self.largest([each for each in free if each[2]["side"] == side])
        return total[1], total[-1]

    def largest(self, orders: list[tuple[Any, Any, dict[str, Any]]]) -> float:
        """Return the sum of orders of one side, of which one of each group counts: the largest."""
        groups: dict[Any, float] = {}
        for order, _, part in orders:
            group = grouped(order) or order.name
            groups[group] = max(groups.get(group, 0.0), self.left(part))
        return sum(groups.values())

    def worst(self, place: Any, instead: ProposedOrder | None = None) -> tuple[float, float]:
        low, high = self.held(place)
        bought, sold = self.may_trade(place, instead)
        return high + bought, sold - low

    def places(self, instead: ProposedOrder | None = None) -> set[Any]:
        found = {each[2]["place"] for each in self.working(instead)} | set(self.position)
        return found | {place for (account, place) in self.reported if self.mine("", account) and self.kind != "client"}

    def exposures(self, instead: ProposedOrder | None = None) -> list[tuple[float, float, float | None]]:
        found = []
        for place in self.places(instead):
            rise, fall = self.worst(place, instead)
            if abs(rise) < 1e-9 and abs(fall) < 1e-9:
                continue
            unit = self.unit_of_place(place) if place in self.known else None
            if unit is None:
                units = [part["unit"] for _, _, part in self.working(instead) if part["place"] == place]
                unit = max(units) if units and None not in units else None
            found.append((rise, fall, None if INF in (rise, fall) else unit))
        return found

    def gross(self, instead: ProposedOrder) -> float | None:
        found = self.exposures(instead)
        if any(unit is None for _, _, unit in found):
            return None
        return round(math.fsum(max(rise, fall) * (unit or 0.0) for rise, fall, unit in found), 6)

    def net(self, instead: ProposedOrder) -> tuple[float | None, float | None]:
        found = self.exposures(instead)
        if any(unit is None for _, _, unit in found):
            return None, None
        long = math.fsum(rise * (unit or 0.0) for rise, _, unit in found)
        short = math.fsum(fall * (unit or 0.0) for _, fall, unit in found)
        return round(long, 6), round(short, 6)

    def reduces(self, order: ProposedOrder) -> bool:
        for part in self.parts(order):
            low, high = self.held(part["place"])
            rise, fall = self.worst(part["place"], order)
            if part["side"] > 0 and not (high < 0 and rise <= 1e-9):
                return False
            if part["side"] < 0 and not (low > 0 and fall <= 1e-9):
                return False
        return True

    def in_base(self, amounts: list[tuple[str, float]]) -> float | None:
        total = 0.0
        for currency, amount in amounts:
            if self.rates.get(currency) is None:
                return None
            total += amount * self.rates[currency]  # type: ignore[operator]
        return total

    def day_notional(self, order: ProposedOrder) -> float | None:
        own = self.notional(order)
        traded = self.in_base(self.traded)
        if own is None or traded is None:
            return None
        old = self.orders.get(order.name)
        for part in self.parts(order):
            for former in old["parts"] if old else ():
                if former["place"] == part["place"]:
                    own -= min(former["executed"], part["quantity"]) * (part["unit"] or 0.0)
        for other, _, part in self.working():
            if other.name == order.name or not self.left(part):
                continue
            if part["unit"] is None or self.left(part) == INF:
                return None
            own += self.left(part) * part["unit"]
        return round(own + traded, 6)

    def loss(self) -> float | None:
        total = self.in_base(self.charges)
        if total is None:
            return None
        for place in set(self.position) | set(self.cash) | set(self.before):
            held, before = round(self.position.get(place, 0.0), 9), round(self.before.get(place, 0.0), 9)
            cash = self.cash.get(place, 0.0)
            if not held and not before and abs(cash) < 1e-6:
                continue
            _, _, _, currency, multiplier = self.known[place]
            rate = self.rates.get(currency)
            if rate is None or (held and place not in self.price) or (before and place not in self.first_price):
                return None
            profit = cash + held * self.price.get(place, 0.0) - before * self.first_price.get(place, 0.0)
            total -= profit * multiplier * rate
        return max(0.0, round(total, 6))


def part_of(place: Any, side: int, quantity: float, ratio: float, unit: float | None, contract: Any) -> dict[str, Any]:
    return {
        "place": place, "side": side, "quantity": quantity, "ratio": ratio, "unit": unit, "contract": contract,
        "executed": 0.0, "whole": quantity,
    }  # fmt: skip


def rename(table: dict[Any, Any], old: Any, new: Any) -> None:
    if old in table:
        table[new] = table.pop(old)


def contract_of(fill: Any) -> Any:
    return fill.instrument, fill.symbol, fill.sec_type, fill.currency, fill.multiplier


def grouped(order: ProposedOrder) -> Any:
    """Return the group of an order of which only one can fill; None if it is in none."""
    if order.oca_group:
        return (order.name[0], order.account, order.oca_group) if order.oca_type in (1, 2) else None
    return ("children", order.name[0], order.parent) if order.parent else None


def alike(order: ProposedOrder) -> Any:
    return (
        order.account, order.instrument, order.side, order.quantity, order.cash_quantity, order.order_type,
        order.limit_price, order.aux_price, order.trail_stop_price,
    )  # fmt: skip


class Judge:
    """Judge with everything that has happened."""

    def __init__(self, policy: RiskPolicy) -> None:
        self.policy = policy
        self.history: list[tuple[Any, ...]] = []
        self.parts: dict[int, tuple[ProposedOrder, list[dict[str, Any]]]] = {}

    def limits(self, kind: str, name: str) -> Limits:
        if kind == "all":
            return self.policy.all
        table = self.policy.accounts if kind == "account" else self.policy.clients
        return table.get(name, NONE)

    def scopes(self, order: ProposedOrder) -> list[Limits]:
        return [
            self.limits("all", ""),
            self.limits("account", order.account),
            self.limits("client", order.client),
        ]

    def broken(self, order: ProposedOrder, now: int) -> set[str]:
        """Return the names of the rules that an order breaks."""
        self.history.append(("asked", now))
        found = {"order_values"} if order.fault else set()
        for kind, name in (("all", ""), ("account", order.account), ("client", order.client)):
            if self.limits(kind, name) != NONE:
                found |= broken_in(Life(self, kind, name), order, self.limits(kind, name))
        return found


def broken_in(life: Life, order: ProposedOrder, limits: Limits) -> set[str]:
    """Return the names of the rules of one scope that an order breaks."""
    found = {name for name in LISTS if breaks_list(name, order, limits)}
    if limits.allow_live is False and not order.account.startswith(("DU", "DF", "DI")):
        found.add("allow_live")
    for windows in limits.trading_window or ():
        if not any(
            life.is_open(order) is True if each == "contract" else each.left(life.now / S) > 0  # type: ignore[union-attr]
            for each in windows
        ):
            found.add("trading_window")
    if limits.market_orders and breaks_market_orders(life, order, limits.market_orders):
        found.add("market_orders")
    pause = INF if limits.reject_pause is None else limits.reject_pause * S
    if limits.reject_breaker and life.tripped is not None and life.now < life.tripped + pause:
        found.add("reject_breaker")
    if limits.duplicate_window and not order.changes:
        same = [at for at, _, what in life.same if what == alike(order)]
        if same and life.now - max(same) < limits.duplicate_window * S:
            found.add("duplicate_window")
    if breaks_collar(life, order, limits):
        found.add("price_collar_percent" if limits.price_collar_percent is not None else "price_collar_ticks")
    return found | {name for name, value in measured(life, order, limits) if over(value, getattr(limits, name))}


def measured(life: Life, order: ProposedOrder, limits: Limits) -> list[tuple[str, float | None]]:
    """Return the measures of the rules that have a limit, and that do not let this order pass in any case."""
    found: list[tuple[str, float | None]] = []
    parts = life.parts(order)
    new = order.changes is None

    def has(name: str) -> bool:
        return getattr(limits, name) is not None

    if has("max_order_quantity"):
        largest = max(part["quantity"] for part in parts)
        found.append(("max_order_quantity", None if largest == INF else largest))
    if has("max_order_notional"):
        found.append(("max_order_notional", life.notional(order)))
    for name, seconds, symbol in (
        ("max_orders_per_second", 1, False),
        ("max_orders_per_minute", 60, False),
        ("max_symbol_orders_per_second", 1, True),
        ("max_symbol_orders_per_minute", 60, True),
    ):
        if has(name):
            count = sum(at > life.now - seconds * S and (not symbol or what == order.symbol) for at, what in life.times)
            found.append((name, count + 1))
    if has("max_repeated_fills"):
        since = life.now - (limits.repeated_fills_window or 60) * S
        most = max(
            sum(at > since and (place, side) == (part["place"], part["side"]) for at, place, side in life.fills)
            for part in parts
        )
        found.append(("max_repeated_fills", most + new))
    if has("max_open_orders"):
        most = 0
        for part in parts:
            others = [
                other.name
                for other, record, each in life.working()
                if (each["place"], each["side"]) == (part["place"], part["side"]) and record["over"] is None
            ]
            most = max(most, len(others) + (order.name not in others))
        found.append(("max_open_orders", most))
    changed = [(life.worst(part["place"]), life.worst(part["place"], order)) for part in parts]
    if has("max_position"):
        limit = limits.max_position or 0.0
        found += [
            ("max_position", after[side])
            for before, after in changed
            for side in (0, 1)
            if over(after[side], limit) and after[side] > before[side] + 1e-9
        ]
    if has("max_gross_exposure") and any(max(after) > max(before) + 1e-9 for before, after in changed):
        found.append(("max_gross_exposure", life.gross(order)))
    if has("max_net_exposure"):
        for side, value in enumerate(life.net(order)):
            if any(after[side] > before[side] + 1e-9 for before, after in changed):
                found.append(("max_net_exposure", value))
    if has("max_daily_notional") and not life.reduces(order):
        found.append(("max_daily_notional", life.day_notional(order)))
    if has("max_daily_loss") and not life.reduces(order):
        found.append(("max_daily_loss", life.loss()))
    return found


LISTS = (
    "symbols", "deny_symbols", "security_types", "deny_security_types", "exchanges", "deny_exchanges", "currencies",
    "deny_currencies",
)  # fmt: skip


def breaks_list(name: str, order: ProposedOrder, limits: Limits) -> bool:
    lists = getattr(limits, name)
    if lists is None:
        return False
    attribute = {
        "symbols": "symbol", "security_types": "sec_type", "exchanges": "exchange", "currencies": "currency",
    }[name.removeprefix("deny_")]  # fmt: skip
    values = [getattr(leg, attribute) for leg in order.legs]
    if attribute != "symbol" or not values:
        values.append(getattr(order, attribute))
    if "" in values:
        return True
    fits = [[any(fnmatchcase(value, pattern) for pattern in patterns) for patterns in lists] for value in values]
    if name.startswith("deny_"):
        return any(any(each) for each in fits)
    return not all(all(each) for each in fits)


def breaks_market_orders(life: Life, order: ProposedOrder, word: str) -> bool:
    now = order.order_type in MARKET_NOW and order.tif != "OPG"
    later = order.order_type in MARKET_LATER or (order.order_type in MARKET_NOW and order.tif == "OPG")
    if word == "never":
        return now or later
    if word == "rth":
        return (now and life.is_open(order) is not True) or (later and order.outside_rth)
    return False


def breaks_collar(life: Life, order: ProposedOrder, limits: Limits) -> bool:
    percent, ticks = limits.price_collar_percent, limits.price_collar_ticks
    if percent is None and ticks is None:
        return False
    quote = life.quote_of(order)
    trigger = order.aux_price if order.order_type in TRIGGERS else order.trail_stop_price
    if order.limit_price is not None and trigger is not None:
        reference: float | None = trigger
    elif quote is None:
        reference = None
    elif order.side > 0:
        reference = quote.ask if quote.ask is not None else quote.last if quote.last is not None else quote.bid
    else:
        reference = quote.bid if quote.bid is not None else quote.last if quote.last is not None else quote.ask
    offset = 0.0
    if order.limit_price is None:
        if order.order_type == "REL":
            offset = abs(order.aux_price or 0.0)
            if order.percent_offset and reference is not None:
                offset = max(offset, abs(reference) * order.percent_offset)
            elif order.percent_offset:
                return True
        elif order.order_type in ("TRAIL", "TRAIL LIMIT"):
            offset = abs(order.limit_offset or 0.0)
        if not offset:
            return False
    if reference is None:
        return True
    beyond = offset if order.limit_price is None else order.side * (order.limit_price - reference)
    if beyond <= 0:
        return False
    widths = [] if percent is None else [abs(reference) * percent / 100]
    if ticks is not None and quote is not None and quote.tick:
        widths.append(ticks * quote.tick)
    return not widths or beyond > max(widths) + 1e-9 * (1 + abs(reference))
