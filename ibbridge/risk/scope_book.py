"""The book of one scope: what a client, an account or all together hold, have working, and have done lately.

Pure: the caller gives the times, in µs since 1970 UTC. The module must not know limits, or which orders belong to which
scope.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.risk.holding import Holding
from ibbridge.risk.limits import LONGEST_DUPLICATE, LONGEST_WINDOW
from ibbridge.risk.recent import RecentTimes
from ibbridge.risk.spelling import may_be_same

if TYPE_CHECKING:
    from ibbridge.risk.holding import Claim, Part, Prices
    from ibbridge.risk.order import OrderName, Place

SECOND = 1_000_000
MINUTE = 60 * SECOND
_SPAN = int(LONGEST_WINDOW * SECOND)
_DUPLICATES = int(LONGEST_DUPLICATE * SECOND)

Signature: TypeAlias = "tuple[Any, ...]"
"""Everything that makes two orders the same."""


class ScopeBook:
    """Book of one scope.

    - `gross`, `long`, `short`, `profit`: the sums over all holdings whose worth is known.
    - `unnamed`: the holdings of instruments whose conId is not known.
    - `unvalued`, `unpriced`: the instruments whose exposure, or profit, is not known.
    - `working`: the worth of all that works. `unknown_working`: orders whose worth is not known.
    - `traded`: what was traded today, by currency. `charges`: the commissions of today, by currency.
    - `orders`: the times of orders, of all and by symbol. `rejects`: the times of rejects.
    - `fills`: the times at which orders filled first, by instrument and side.
    - `duplicates`: the orders that are the same, by what makes them so, with the time when each was accepted last.
    - `tripped`: when the breaker closed; None while it is open for orders.
    """

    def __init__(self) -> None:
        self.holdings: dict[Place, Holding] = {}
        self.unnamed: dict[Place, Holding] = {}
        self.gross = self.long = self.short = self.profit = self.working = 0.0
        self.unvalued: set[Place] = set()
        self.unpriced: set[Place] = set()
        self.unknown_working: set[tuple[OrderName, Place]] = set()
        self.traded: dict[str, float] = {}
        self.charges: dict[str, float] = {}
        self.orders = RecentTimes(MINUTE)
        self.by_symbol: dict[str, RecentTimes] = {}
        self.rejects = RecentTimes(_SPAN)
        self.fills: dict[tuple[Place, int], RecentTimes] = {}
        self.duplicates: dict[Signature, dict[OrderName, int]] = {}
        self.open_orders: Counter[tuple[Place, int]] = Counter()
        self.tripped: int | None = None

    # -- orders

    def holding(self, part: Part, prices: Prices) -> Holding:
        """Return the holding of an instrument, a new one at these prices if there is none."""
        held = self.holdings.get(part.place)
        if held is None:
            held = Holding(part, prices)
            self.keep(held)
        elif held.multiplier is None or not held.sec_type:
            held.learn(part)
        return held

    def keep(self, held: Holding) -> None:
        """Keep a holding under its place."""
        self.holdings[held.place] = held
        if isinstance(held.place, str):
            self.unnamed[held.place] = held

    def forget_place(self, place: Place) -> Holding | None:
        """Forget the holding of a place, and return it; None if there is none."""
        self.unnamed.pop(place, None)
        return self.holdings.pop(place, None)

    def alike(self, part: Part) -> list[Holding]:
        """Return the holdings under other names that may be of the same instrument, as far as TWS has named it."""
        others = self.unnamed if isinstance(part.place, int) else self.holdings
        return [held for held in others.values() if may_be_same(part, held)] if others else []

    def claim(self, claim: Claim, prices: Prices) -> Holding:
        """Add a claim on an instrument of these prices. Return the holding, which must be counted anew."""
        held = self.holding(claim.part, prices)
        held.add(claim)
        if not claim.is_over:
            self.open_orders[claim.place, claim.side] += 1
        self._work(claim, 1)
        return held

    def release(self, claim: Claim) -> Holding | None:
        """Remove a claim. Return the holding, which must be counted anew."""
        held = self.holdings.get(claim.place)
        if held is None or not held.drop(claim):
            return None
        if not claim.is_over:
            self._close(claim)
        self._work(claim, -1)
        return held

    def _close(self, claim: Claim) -> None:
        place = claim.place, claim.side
        self.open_orders[place] -= 1
        if self.open_orders[place] <= 0:
            del self.open_orders[place]

    def _work(self, claim: Claim, sign: int) -> None:
        worth = worth_of(claim)
        if worth is None:
            (self.unknown_working.add if sign > 0 else self.unknown_working.discard)((claim.name, claim.place))
        else:
            self.working += sign * worth

    def reworked(self, claim: Claim, before: float | None) -> None:
        """Count the worth of a claim that has changed; `before` is its worth before."""
        after = worth_of(claim)
        if before is not None:
            self.working -= before
        if after is not None:
            self.working += after
            self.unknown_working.discard((claim.name, claim.place))
        else:
            self.unknown_working.add((claim.name, claim.place))

    def settle(self, held: Holding, *, claims: bool = True) -> None:
        """Count a holding anew, after its position, its orders or its prices have changed."""
        if claims:
            held.claimed()
        self._total(held, -1)
        held.count()
        self._total(held, 1)

    def _total(self, held: Holding, sign: int) -> None:
        if held.exposure is None:
            (self.unvalued.add if sign > 0 else self.unvalued.discard)(held.place)
        else:
            gross, long, short = held.exposure
            self.gross += sign * gross
            self.long += sign * long
            self.short += sign * short
        if held.profit is None:
            (self.unpriced.add if sign > 0 else self.unpriced.discard)(held.place)
        else:
            self.profit += sign * held.profit

    def add_up(self) -> None:
        """Compute all sums anew, so that the last digits of their changes do not add up."""
        every = self.holdings.values()
        exposures = [held.exposure for held in every if held.exposure is not None]
        self.gross, self.long, self.short = (math.fsum(each[side] for each in exposures) for side in range(3))
        self.profit = math.fsum(held.profit for held in every if held.profit is not None)
        worths = {(claim.name, held.place): worth_of(claim) for held in every for claim in held.claims.values()}
        self.working = math.fsum(worth for worth in worths.values() if worth is not None)
        self.unknown_working = {name for name, worth in worths.items() if worth is None}

    def remove(self, place: Place) -> Holding | None:
        """Remove a holding from the sums, and return it; None if there is none."""
        held = self.forget_place(place)
        if held is not None:
            self._total(held, -1)
            self.unvalued.discard(place)
            self.unpriced.discard(place)
        return held

    # -- events

    def note_order(self, symbol: str, now: int) -> None:
        """Note the time of an order or of a change."""
        self.orders.add(now)
        self.symbol_times(symbol).add(now)

    def symbol_times(self, symbol: str) -> RecentTimes:
        """Return the times of orders in a symbol."""
        times = self.by_symbol.get(symbol)
        if times is None:
            times = self.by_symbol[symbol] = RecentTimes(MINUTE)
        return times

    def note_same(self, key: Signature, name: OrderName, now: int) -> int | None:
        """Note an order as one that is the same as others. Return when it was noted so before."""
        same = self.duplicates.pop(key, None) or {}
        before = same.pop(name, None)
        same[name] = now
        self.duplicates[key] = same
        return before

    def forget_same(self, key: Signature, name: OrderName, before: int | None = None) -> None:
        """Take back `note_same`, which has returned `before`."""
        same = self.duplicates.get(key, {})
        same.pop(name, None)
        if before is not None:
            self.duplicates[key] = dict(sorted({**same, name: before}.items(), key=lambda each: each[1]))
        elif not same:
            self.duplicates.pop(key, None)

    def last_same(self, key: Signature) -> int | None:
        """Return when the last order that is the same was accepted; None if there is none."""
        same = self.duplicates.get(key)
        return next(reversed(same.values())) if same else None

    def unnote_order(self, symbol: str) -> None:
        """Take the latest order back."""
        self.orders.undo()
        self.by_symbol[symbol].undo()

    def fill_times(self, place: Place, side: int) -> RecentTimes:
        """Return the times at which orders of a side have filled for the first time."""
        times = self.fills.get((place, side))
        if times is None:
            times = self.fills[place, side] = RecentTimes(_SPAN)
        return times

    def trip(self, now: int) -> None:
        """Close the gate of this scope after too many rejects."""
        self.tripped = now

    def resume(self) -> None:
        """Open the gate again, and forget the rejects."""
        self.tripped = None
        self.rejects.clear()

    def add_traded(self, currency: str, amount: float) -> None:
        """Count what was traded today; a negative amount takes back what a correction takes back."""
        self.traded[currency] = self.traded.get(currency, 0.0) + amount

    def add_charge(self, currency: str, amount: float) -> None:
        """Count a commission of today."""
        self.charges[currency] = self.charges.get(currency, 0.0) + amount

    def begin_day(self) -> None:
        """Begin a day: forget what the last one traded and lost."""
        self.traded.clear()
        self.charges.clear()
        for held in self.holdings.values():
            held.begin_day()
            self.settle(held, claims=False)
        self.add_up()

    def forget_old(self, now: int) -> None:
        """Forget the times that no rule can want any more."""
        forget(self.by_symbol, now)
        forget(self.fills, now)
        while self.duplicates:
            key = next(iter(self.duplicates))
            if now - max(self.duplicates[key].values(), default=0) < _DUPLICATES:
                break
            del self.duplicates[key]

    def set_back(self, before: int, now: int) -> None:
        """Make times after `now` those of `now`, because the clock was set back from `before`."""
        self.forget_old(before)
        for times in (self.orders, self.rejects, *self.by_symbol.values(), *self.fills.values()):
            times.set_back(before, now)
        for accepted in self.duplicates.values():
            for name, at in accepted.items():
                accepted[name] = min(at, now)
        for held in self.holdings.values():
            held.moved_at = min(held.moved_at, now)
        if self.tripped is not None:
            self.tripped = min(self.tripped, now)


def forget(times: dict[Any, RecentTimes], now: int) -> None:
    """Remove what has no event within its span."""
    for name in [name for name, each in times.items() if not each.count(now, each.span)]:
        del times[name]


def worth_of(claim: Claim) -> float | None:
    """Return the worth of what remains of a claim; None if it is not known."""
    left = claim.remaining
    if not left:
        return 0.0
    return None if claim.unit is None or not math.isfinite(left) else left * claim.unit
