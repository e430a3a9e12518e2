"""A position in one instrument with the orders that work in it: how far it may rise and fall, and what it is worth.

Pure arithmetic. Quantities and prices come as floats, and stay so: a decimal costs ten times as much, and the limits
allow for the last digits (see `evaluation`). The module must not know limits, clients or accounts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.risk.order import BLOCKED, FOREIGN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibbridge.risk.order import OrderName, Place, ProposedOrder

DIGITS = 10
"""Digits after the decimal point of a quantity: beyond, sums of fractions leave remainders."""


SMALLEST = 1e-9
"""Quantities up to this are remainders of sums: nothing is traded in smaller parts."""


PENNY = 1e-6
"""Sums of money below this are remainders."""


Exposure: TypeAlias = tuple[float, float, float]
"""Worth of the larger side, of the long side and of the short side of a worst case."""


class Part(NamedTuple):
    """Instrument that an order trades: a plain order has one part, a combination one for each leg.

    `side` is 1 if the order buys the instrument. `ratio` is the quantity for one unit of the order. `unit` is the
    worth of one unit in the base currency at the worst price; None if it is not known. `price` is that price.
    """

    place: Place
    instrument: str
    symbol: str
    sec_type: str
    currency: str
    multiplier: float | None
    side: int
    ratio: float
    price: float | None
    unit: float | None


class Prices(NamedTuple):
    """Prices of an instrument: the last one, and the first of the day; None if there is none."""

    mark: float | None
    start_mark: float | None


class Claim:
    """Part of a working order in one instrument: the quantity that it may still buy or sell.

    - `total`: the whole quantity; inf if it is not known. `executed`: the part that executions have reported.
    - `group`: the group of which only one order can fill; None if the order is in none.
    - `parent`: the order that must fill first; None if there is none.
    - `unit`: the worth of one unit in the base currency; None if it is not known.
    - `is_over`: TWS has said that the order is over, and its executions are not all known.
    """

    __slots__ = ("executed", "group", "is_over", "name", "parent", "part", "place", "side", "total", "unit")

    def __init__(self, name: OrderName, part: Part, total: float, group: Any, parent: OrderName | None) -> None:
        self.name = name
        self.part = part
        self.place = part.place
        self.side = part.side
        self.total = total
        self.executed = 0.0
        self.group = group
        self.parent = parent
        self.unit = part.unit
        self.is_over = False

    def value(self, unit: float | None) -> None:
        """Note the worth of one unit, which was not known before."""
        self.unit = unit
        self.part = self.part._replace(unit=unit)

    @property
    def remaining(self) -> float:
        """Quantity that may still be bought or sold."""
        left = self.total - self.executed
        return left if left > SMALLEST else 0.0


def claim_of(order: ProposedOrder, part: Part, quantity: float) -> Claim:
    """Return what an order of this quantity claims of one of its instruments."""
    group: Any = None
    parent = (order.name[0], order.parent) if order.parent else None
    if order.oca_group:
        if order.oca_type in BLOCKED:
            group = (order.name[0], order.account, order.oca_group)
    elif parent is not None:
        group = ("children of", *parent)
    if part.unit is None and order.name[0] == FOREIGN:
        part = part._replace(unit=0.0)
    return Claim(order.name, part, quantity * part.ratio, group, parent)


def reach(claims: Iterable[Claim]) -> tuple[float, float]:
    """Return by how much these orders may raise the position at most, and by how much they may lower it.

    - Of a group of which only one can fill, the largest order of each side counts.
    - The children of an order whose parent has filled nothing count, against its side, only by what exceeds the
      parent: a child can fill only after the parent has.
    """
    bought: list[float] = []
    sold: list[float] = []
    linked: list[Claim] | None = None
    every = claims if isinstance(claims, list) else list(claims)
    for each in every:
        if each.group is not None or each.parent is not None:
            linked = linked or []
            linked.append(each)
        else:
            (bought if each.side > 0 else sold).append(each.remaining)
    if linked:
        _add_linked(every, linked, bought, sold)
    return round(math.fsum(bought), DIGITS), round(math.fsum(sold), DIGITS)


def _add_linked(every: list[Claim], linked: list[Claim], bought: list[float], sold: list[float]) -> None:
    entries = {each.name: each for each in every if not each.executed and not each.is_over}
    largest: dict[Any, float] = {}
    for each in linked:
        parent = entries.get(each.parent) if each.parent is not None else None
        if parent is not None and (parent.side == each.side or parent.group is not None):
            parent = None
        key = (parent.name if parent else None, each.side, each.group if each.group is not None else each.name)
        largest[key] = max(largest.get(key, 0.0), each.remaining)
    families: dict[tuple[OrderName, int], float] = {}
    for (parent_name, side, _), quantity in largest.items():
        if parent_name is None:
            (bought if side > 0 else sold).append(quantity)
        else:
            families[parent_name, side] = families.get((parent_name, side), 0.0) + quantity
    for (parent_name, side), quantity in families.items():
        if quantity > (held := entries[parent_name].remaining):
            (bought if side > 0 else sold).append(quantity - held if math.isfinite(held) else 0.0)


_CHILDREN = "children"


def _ties(claim: Claim) -> tuple[tuple[Any, ...], ...]:
    """Return what ties an order to others: its parent, and its group."""
    if claim.parent is None:
        return () if claim.group is None else (("group", claim.group),)
    child = (_CHILDREN, claim.parent)
    return (child,) if claim.group is None else (child, ("group", claim.group))


class Holding:
    """Position in one instrument, with the working orders in it.

    - `position`: the sum of the executions. `above`, `below`: by how much TWS reports more, or less (below is not
      above 0).
    - `reported`: the position as TWS reports it; None if it has not. `moved_at`: when one of the two changed last.
    - `reach`: by how much the orders may raise and lower the position.
    - `mark`: the price of one unit, `worth` that of a price of 1, `unit` that of one unit; None: not known.
    - `cash`: received less paid today. `start_position`, `start_mark`: as the day began.
    - `exposure`, `profit`: the worth of the worst case and of the day, as the scope has counted them.
    """

    __slots__ = (
        "_order_unit", "_tied", "above", "below", "cash", "claims", "currency", "exposure", "instrument", "mark",
        "moved_at", "multiplier", "place", "position", "profit", "reach", "reported", "sec_type", "start_mark",
        "start_position", "symbol", "unit", "worth",
    )  # fmt: skip

    def __init__(self, part: Part, prices: Prices) -> None:
        self.place = part.place
        self.instrument = part.instrument
        self.symbol, self.sec_type = part.symbol, part.sec_type
        self.currency, self.multiplier = part.currency, part.multiplier
        self.position = self.above = self.below = 0.0
        self.reported: float | None = None
        self.moved_at = 0
        self.claims: dict[OrderName, Claim] = {}
        self.reach = (0.0, 0.0)
        self._tied: dict[Any, dict[OrderName, Claim]] = {}  # the children of each order, and the orders of each group
        self._order_unit: float | bool | None = None  # False if it is to be found out
        self.mark, self.start_mark = prices
        self.unit: float | None = None  # of an exposure
        self.worth: float | None = None  # of a price of 1
        self.cash = self.start_position = 0.0
        self.exposure: Exposure | None = (0.0, 0.0, 0.0)
        self.profit: float | None = 0.0

    @property
    def linked(self) -> bool:
        """True if some orders are of a group, or children."""
        return bool(self._tied)

    @property
    def order_unit(self) -> float | None:
        """Worth of one unit in the working orders, which counts where `unit` is not known."""
        if self._order_unit is False:
            self._order_unit = unit_of(self.claims.values())
        return self._order_unit

    def add(self, claim: Claim) -> None:
        """Add what an order claims."""
        first = not self.claims
        if claim.name in self.claims:
            self.claims[claim.name] = claim
            self.claimed()
            return
        self.claims[claim.name] = claim
        for tie in _ties(claim):
            self._tied.setdefault(tie, {})[claim.name] = claim
        family = self._family(claim)
        self._move(reach([each for each in family if each is not claim]), reach(family))
        if first:
            self._order_unit = claim.unit
        elif self._order_unit is not False and self._order_unit is not None:
            self._order_unit = None if claim.unit is None else max(self._order_unit, claim.unit)

    def drop(self, claim: Claim) -> bool:
        """Remove what an order claims. Return False if it claims nothing."""
        here = self.claims.get(claim.name)
        if here is None:
            return False
        family = self._family(here)
        del self.claims[claim.name]
        for tie in _ties(here):
            tied = self._tied[tie]
            del tied[claim.name]
            if not tied:
                del self._tied[tie]
        self._move(reach(family), reach([each for each in family if each is not here]))
        self._order_unit = False
        return True

    def family_reach(self, claim: Claim) -> tuple[float, float]:
        """Return what an order, and all that depend on it or exclude it, may do to the position."""
        return reach(self._family(claim))

    def changed(self, claim: Claim, before: tuple[float, float]) -> None:
        """Count a claim that has changed; `before` is its `family_reach` before that."""
        self._move(before, self.family_reach(claim))

    def reach_with(self, claim: Claim) -> tuple[float, float]:
        """Return what `reach` would be with a claim, in place of the one of the same order."""
        family = self._family(claim)
        old = self.claims.get(claim.name)
        if old is not None:
            family = list({each.name: each for each in (*family, *self._family(old))}.values())
        others = [each for each in family if each.name != claim.name]
        before, after = reach([*others, old] if old is not None else others), reach([*others, claim])
        return self._moved(before, after) or reach([*self._others(claim), claim])

    def unit_with(self, claim: Claim) -> float | None:
        """Return what `order_unit` would be with a claim, in place of the one of the same order."""
        if claim.name in self.claims:
            return unit_of([*self._others(claim), claim])
        if not self.claims or claim.unit is None or self.order_unit is None:
            return None if self.claims else claim.unit
        return max(self.order_unit, claim.unit)

    def _others(self, claim: Claim) -> list[Claim]:
        return [each for each in self.claims.values() if each.name != claim.name]

    def _family(self, claim: Claim) -> list[Claim]:
        """Return an order with all that depend on it, or exclude it, and so on. Other orders fill independently."""
        if not self._tied and claim.parent is None:
            return [claim]
        found = {claim.name: claim}
        left = [claim]
        while left:
            each = left.pop()
            near = [tied for tie in (*_ties(each), (_CHILDREN, each.name)) for tied in self._tied.get(tie, {}).values()]
            if each.parent is not None and (parent := self.claims.get(each.parent)) is not None:
                near.append(parent)
            for other in near:
                if other.name not in found:
                    found[other.name] = other
                    left.append(other)
        return list(found.values())

    def _move(self, before: tuple[float, float], after: tuple[float, float]) -> None:
        """Count a family that may do `after` to the position, and could do `before`."""
        self.reach = self._moved(before, after) or reach(self.claims.values())

    def _moved(self, before: tuple[float, float], after: tuple[float, float]) -> tuple[float, float] | None:
        """Return `reach` after a change of a family; None if that takes all orders, because one has no bound."""
        rise, fall = self.reach[0] - before[0] + after[0], self.reach[1] - before[1] + after[1]
        if not (math.isfinite(rise) and math.isfinite(fall)):
            return None
        return round(rise, DIGITS), round(fall, DIGITS)

    def claimed(self) -> None:
        """Compute what the orders may do to the position anew."""
        self._tied = {}
        for claim in self.claims.values():
            for tie in _ties(claim):
                self._tied.setdefault(tie, {})[claim.name] = claim
        self.reach = reach(self.claims.values())
        self._order_unit = False

    def valued(self) -> None:
        """Note that the worth of an order has become known."""
        self._order_unit = False

    def learn(self, part: Part) -> None:
        """Note the attributes of the contract, where they were not known."""
        self.symbol, self.sec_type = self.symbol or part.symbol, self.sec_type or part.sec_type
        self.currency = self.currency or part.currency
        self.multiplier = part.multiplier if self.multiplier is None else self.multiplier

    def price(self, prices: Prices) -> None:
        """Note the prices of one unit."""
        self.mark, self.start_mark = prices

    def value(self, rate: float | None, symbol_rate: float | None) -> None:
        """Note the worth of the currency, and of the symbol if that is a currency."""
        self.worth = None if rate is None or self.multiplier is None else self.multiplier * rate
        self.unit = worth_of_unit(self.mark, self.worth, symbol_rate)

    def count(self) -> None:
        """Compute the worst case and the profit of the day anew."""
        rise, fall = self.position + self.above + self.reach[0], self.reach[1] - self.position - self.below
        unit = self.order_unit if self.unit is None else self.unit
        self.exposure = exposure(rise, fall, unit)
        self.profit = self._profit()

    def _profit(self) -> float | None:
        if not self.position and not self.start_position and abs(self.cash) < PENNY:
            return 0.0
        mark, start = self.mark, self.start_mark
        if self.worth is None or (self.position and mark is None) or (self.start_position and start is None):
            return None
        return (self.cash + self.position * (mark or 0.0) - self.start_position * (start or 0.0)) * self.worth

    def trade(self, quantity: float, price: float) -> None:
        """Count an execution; the quantity is negative for a sale."""
        self.position = round(self.position + quantity, DIGITS)
        self.cash -= quantity * price

    def shift(self, quantity: float) -> None:
        """Change the position without an execution, at the last price. Without a price it counts as held before."""
        if self.mark is None:
            self.held_before(quantity)
        else:
            self.trade(quantity, self.mark)

    def held_before(self, quantity: float) -> None:
        """Change the position as if it had been so when the day began."""
        self.position = round(self.position + quantity, DIGITS)
        self.start_position = round(self.start_position + quantity, DIGITS)

    def begin_day(self) -> None:
        """Begin a day: the profit is counted from here."""
        self.cash, self.start_position, self.start_mark = 0.0, self.position, self.mark

    def take(self, other: Holding) -> None:
        """Take over what another holding has: the two are of one instrument."""
        for name in ("position", "above", "below", "cash", "start_position"):
            setattr(self, name, round(getattr(self, name) + getattr(other, name), DIGITS))
        if other.reported is not None:
            self.reported = (self.reported or 0.0) + other.reported
        self.moved_at = max(self.moved_at, other.moved_at)
        for order, claim in other.claims.items():
            claim.place = self.place
            claim.part = claim.part._replace(place=self.place)
            self.claims[order] = claim

    def part(self, place: Place) -> Part:
        """Return the instrument as a part, under a name of its own."""
        return Part(
            place, self.instrument, self.symbol, self.sec_type, self.currency, self.multiplier, 1, 1.0, None, None
        )

    @property
    def is_empty(self) -> bool:
        """True if nothing is held, works or has changed today."""
        return not (self.position or self.claims or self.cash or self.start_position or self.reported)


def worth_of_unit(mark: float | None, worth: float | None, symbol_rate: float | None) -> float | None:
    """Return the worth of one unit: that of its symbol if that is a currency, else that of its price."""
    if symbol_rate is not None:
        return symbol_rate
    return None if worth is None or mark is None else abs(mark) * worth


def unit_of(claims: Iterable[Claim]) -> float | None:
    """Return the highest worth of one unit in these orders; None if there is none, or if one is not known."""
    highest = None
    for claim in claims:
        if claim.unit is None:
            return None
        highest = claim.unit if highest is None or claim.unit > highest else highest
    return highest


def exposure(rise: float, fall: float, unit: float | None) -> Exposure | None:
    """Return the worth of a worst case; None if it is not known.

    `rise` is the largest position, `fall` the largest short position, as positive numbers if they are such.
    """
    if not rise and not fall:
        return 0.0, 0.0, 0.0
    if unit is None or not (-math.inf < rise < math.inf and -math.inf < fall < math.inf):
        return None
    largest = max(fall, rise)
    return (largest if largest > 0 else 0.0) * unit, rise * unit, fall * unit
