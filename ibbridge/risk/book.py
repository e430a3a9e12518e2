"""The book of the gate: what every client, every account and all together hold, have working, and have done today.

Pure: the caller gives the times, in µs since 1970 UTC. The book hears what the gate has let pass and what TWS reports,
and says nothing by itself. The module must not know limits, or what a message means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.risk import book_data
from ibbridge.risk.holding import DIGITS, Part, claim_of
from ibbridge.risk.order import FOREIGN, FOREX, signature
from ibbridge.risk.scope_book import ScopeBook, worth_of
from ibbridge.risk.trading_day import TradingDay
from ibbridge.risk.working_order import ALL, WorkingOrder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.risk.facts import MarketFacts
    from ibbridge.risk.holding import Holding
    from ibbridge.risk.order import OrderName, Place, ProposedOrder
    from ibbridge.risk.valuation import OrderCase
    from ibbridge.risk.working_order import RiskScope

SETTLED = 10_000_000
"""µs after which the position that TWS reports holds, if the executions add up to another one."""


SMALLEST = 10**-DIGITS
"""Quantities below this are remainders of sums."""


class TradeFill(NamedTuple):
    """An execution of a plain order, or of a leg. `side` is 1 for a purchase, -1 for a sale."""

    name: OrderName
    account: str
    instrument: str
    con_id: int
    symbol: str
    sec_type: str
    currency: str
    multiplier: float | None
    side: int
    quantity: float
    price: float
    at: int


class TradingBook:
    """Book of all scopes. `facts` gives prices and rates, `day` the day of the daily limits."""

    def __init__(self, facts: MarketFacts, day: TradingDay | None = None) -> None:
        self._facts = facts
        self._day = day or TradingDay()
        self.scopes: dict[RiskScope, ScopeBook] = {ALL: ScopeBook()}
        self.working: dict[OrderName, WorkingOrder] = {}
        self.places: dict[str, int] = {}
        self._rates: dict[str, float] = {}
        self.day_start = self.day_end = 0

    # -- questions

    def scope(self, scope: RiskScope) -> ScopeBook:
        """Return the book of a scope; an empty one if it has none. Nothing must be noted in it."""
        return self.scopes.get(scope) or NOTHING

    def place(self, instrument: str, con_id: int) -> Place:
        """Return the name of an instrument in the book."""
        return con_id or self.places.get(instrument) or instrument

    def positions(self, scope: RiskScope) -> dict[Place, tuple[float, float]]:
        """Return the lowest and the highest position in each instrument of a scope, as far as it is known."""
        held = self.scope(scope).holdings.values()
        return {each.place: (each.position + each.below, each.position + each.above) for each in held}

    def begin(self, now: int) -> None:
        """Begin a day if it is time. A clock that is set back goes on with the later day."""
        if now >= self.day_end:
            first = not self.day_end
            self.day_start, self.day_end = self._day.bounds(now)
            for each in () if first else self.scopes.values():
                each.begin_day()

    def rate(self, currency: str) -> float | None:
        """Return the rate of a currency at the last revaluation; that of now if it was not known then."""
        found = self._rates.get(currency)
        if found is None:
            found = self._facts.rate(currency)
            if found is not None:
                self._rates[currency] = found
        return found

    # -- orders

    def accepted(self, case: OrderCase, *, counted: bool = True) -> WorkingOrder:
        """Note an order, or a change, that may leave now.

        `counted`: it counts for the rates of orders. An order that TWS reports, and that the gate has not seen, does
        not.
        """
        self.begin(case.now)
        order = case.order
        old = self.working.get(order.name)
        scopes = old.scopes if old else _scopes(order)
        made = WorkingOrder(order, case.quantity, scopes)
        made.claims = tuple(claim_of(order, part, case.quantity) for part in case.parts)
        if old is not None:
            self._release(old)
            executed = {claim.place: claim.executed for claim in old.claims}
            for claim in made.claims:
                claim.executed = executed.get(claim.place, 0.0)
            if counted:
                self._keep_larger(made, old)
        self._add(made)
        if counted:
            self._count(made, case.now)
        return made

    def _keep_larger(self, made: WorkingOrder, old: WorkingOrder) -> None:
        """Count the larger quantity of the two until TWS has taken or refused the change."""
        made.former = old.former or (old.order, old.quantity, tuple(claim.part for claim in old.claims))
        before = {claim.place: claim.total for claim in old.claims}
        for claim in made.claims:
            claim.total = max(claim.total, before.get(claim.place, 0.0))

    def settled(self, name: OrderName, *, taken: bool) -> None:
        """Note that TWS has taken or refused the last change of an order."""
        order = self.working.get(name)
        if order is None or order.former is None:
            return
        former_order, former_quantity, former_parts = order.former
        executed = {claim.place: claim.executed for claim in order.claims}
        self._release(order)
        if taken:
            parts = tuple(claim.part for claim in order.claims)
        else:
            order.order, order.quantity, parts = former_order, former_quantity, former_parts
        order.former = None
        order.claims = tuple(claim_of(order.order, part, order.quantity) for part in parts)
        for claim in order.claims:
            claim.executed = executed.get(claim.place, 0.0)
        self._add(order)

    def _add(self, order: WorkingOrder) -> None:
        self.working[order.order.name] = order
        for scope in order.scopes:
            book = self._open(scope)
            for claim in order.claims:
                self._settle(book, book.claim(claim, counted=not claim.is_over))

    def _release(self, order: WorkingOrder) -> None:
        self.working.pop(order.order.name, None)
        for scope in order.scopes:
            book = self._open(scope)
            for claim in order.claims:
                held = book.release(claim)
                if held is not None:
                    self._settle(book, held)

    def _count(self, order: WorkingOrder, now: int) -> None:
        """Note the time of an order or a change, and what makes it the same as another."""
        order.signature = signature(order.order)
        before = []
        for scope in order.scopes:
            book = self._open(scope)
            book.note_order(order.order.symbol, now)
            before.append(book.duplicates.pop(order.signature, None))
            book.duplicates[order.signature] = now
        order.repeated = tuple(before)

    def undo(self, order: WorkingOrder, old: WorkingOrder | None) -> None:
        """Take back the latest `accepted`, which has returned `order`; `old` is the order that worked before."""
        self._release(order)
        for scope, before in zip(order.scopes, order.repeated, strict=True):
            book = self._open(scope)
            book.unnote_order(order.order.symbol)
            del book.duplicates[order.signature]
            if before is not None:
                book.duplicates[order.signature] = before
        if old is not None:
            self._add(old)

    def ended(self, name: OrderName, now: int, filled: float | None = None, *, left: bool = True) -> None:
        """Note that an order is over. `filled`: what TWS says is filled. `left`: False if it never left for TWS.

        Executions may come later. What they are to report goes on counting as working, for some seconds.
        """
        self.begin(now)
        order = self.working.get(name)
        if order is None:
            return
        self._release(order)
        if not left:
            for scope in order.scopes:
                self._open(scope).duplicates.pop(order.signature, None)
        if filled and any(filled * claim.part.ratio - claim.executed > SMALLEST for claim in order.claims):
            order.former, order.over_at = None, order.over_at or now
            for claim in order.claims:
                claim.total = min(claim.total, filled * claim.part.ratio)
                claim.is_over = True
            self._add(order)

    def rejected(self, name: OrderName, now: int) -> tuple[RiskScope, ...]:
        """Note that TWS has refused an order or a change. Return the scopes in which that counts."""
        self.begin(now)
        order = self.working.get(name)
        scopes = order.scopes if order else (ALL, ("client", name[0]))
        for scope in scopes:
            self._open(scope).rejects.add(now)
        return scopes

    # -- executions

    def filled(self, fill: TradeFill) -> None:
        """Count an execution that no earlier call has counted. Those of a combination itself count nothing."""
        self.begin(fill.at)
        place = self.place(fill.instrument, fill.con_id)
        working = self.working.get(fill.name)
        claims = [claim for claim in working.claims if claim.place == place] if working else []
        scopes = working.scopes if working else _fill_scopes(fill)
        for scope in scopes:
            book = self._open(scope)
            held = self._held(book, place, fill)
            held.trade(fill.side * fill.quantity, fill.price)
            held.price(fill.price)
            self._traded(book, fill, fill.quantity)
            for claim in claims:
                if not claim.executed:
                    book.fill_times(place, fill.side).add(fill.at)
        for claim in claims:
            before = worth_of(claim)
            claim.executed = round(claim.executed + fill.quantity, DIGITS)
            for scope in scopes:
                self._open(scope).reworked(claim, before)
        self._compare(place, fill.account, fill.at)
        for scope in scopes:
            book = self._open(scope)
            self._settle(book, book.holdings[place])
        if working and claims and all(claim.is_over and not claim.remaining for claim in working.claims):
            self._release(working)

    def corrected(self, old: TradeFill, new: TradeFill | None, now: int) -> None:
        """Count the correction of an execution in its place; None if it never took place.

        What the order may still fill stays as it was: a correction gives nothing back to the market.
        """
        self.begin(now)
        place = self.place(old.instrument, old.con_id)
        for scope in _fill_scopes(old):
            book = self._open(scope)
            held = self._held(book, place, old)
            held.trade(-old.side * old.quantity, old.price)
            if new is not None:
                held.trade(new.side * new.quantity, new.price)
            if old.at >= self.day_start:
                self._traded(book, old, -old.quantity)
                if new is not None:
                    self._traded(book, new, new.quantity)
        self._compare(place, old.account, now)
        for scope in _fill_scopes(old):
            book = self._open(scope)
            self._settle(book, book.holdings[place])

    def charged(self, client: str, account: str, currency: str, amount: float) -> None:
        """Count a commission of today; a negative amount takes back what was charged before."""
        for scope in _scope_names(client, account):
            self._open(scope).add_charge(currency, amount)

    def _traded(self, book: ScopeBook, fill: TradeFill, quantity: float) -> None:
        if fill.sec_type == FOREX:
            book.add_traded(fill.symbol, quantity)
        else:
            book.add_traded(fill.currency, quantity * abs(fill.price) * (fill.multiplier or 1.0))

    def _held(self, book: ScopeBook, place: Place, fill: TradeFill) -> Holding:
        return book.holding(
            Part(
                place,
                fill.instrument,
                fill.symbol,
                fill.sec_type,
                fill.currency,
                fill.multiplier,
                fill.side,
                1.0,
                fill.price,
                None,
            )
        )

    # -- positions

    def reported(self, account: str, instrument: str, contract: Mapping[str, Any], quantity: float, now: int) -> None:
        """Note the position that TWS reports. While the executions add up to another one, the worse counts.

        `contract` has conId, symbol, secType, currency and multiplier (a number, or None if not known).
        """
        self.begin(now)
        con_id = contract.get("conId") or 0
        place = self.place(instrument, con_id)
        part = Part(
            place,
            instrument,
            contract["symbol"],
            contract["secType"],
            contract["currency"],
            contract["multiplier"],
            1,
            1.0,
            None,
            None,
        )
        held = self._open(("account", account)).holding(part)
        self._open(ALL).holding(part)
        held.reported = quantity
        if not held.moved_at:
            self._shift(account, place, quantity - held.position)
        self._compare(place, account, now)
        self._settle(self._open(("account", account)), held)
        self._settle(self._open(ALL), self._open(ALL).holdings[place])

    def _compare(self, place: Place, account: str, now: int) -> None:
        """Compare the position of an account with the one that TWS reports."""
        held = self._open(("account", account)).holdings[place]
        held.moved_at = now
        self._apart(held, self._open(ALL).holdings[place])

    def _apart(self, held: Holding, total: Holding) -> None:
        more = 0.0 if held.reported is None else round(held.reported - held.position, DIGITS)
        above, below = max(more, 0.0), min(more, 0.0)
        total.above = round(total.above + above - held.above, DIGITS)
        total.below = round(total.below + below - held.below, DIGITS)
        held.above, held.below = above, below

    def _shift(self, account: str, place: Place, quantity: float) -> None:
        for scope in (ALL, ("account", account)):
            self._open(scope).holdings[place].shift(quantity)

    # -- state

    def dump(self) -> dict[str, Any]:
        """Return the book as plain data."""
        return book_data.dumped(self)

    def load(self, data: Any, now: int) -> None:
        """Restore the book of an earlier process. Raise `BookDataError` if the data is no book."""
        book_data.load(self, data)
        self.revalue(now)

    def restore(self, order: WorkingOrder) -> None:
        """Note an order of an earlier process, as it was."""
        self._add(order)

    # -- time

    def revalue(self, now: int) -> None:
        """Value all holdings at the last quotes and rates. Call this about every second."""
        self.begin(now)
        self._rates.clear()
        for scope, book in self.scopes.items():
            if scope[0] == "account":
                self._trust(scope[1], book, now)
        self._drop_missing(now)
        for book in self.scopes.values():
            for held in book.holdings.values():
                self._mark(held)
                self._settle(book, held, claims=False)
        self._value_working()
        for book in self.scopes.values():
            book.add_up()
            book.forget_old(now)

    def _mark(self, held: Holding) -> None:
        quote = self._facts.quote(held.instrument, held.place if isinstance(held.place, int) else 0)
        if quote is None:
            return
        if quote.bid is not None and quote.ask is not None:
            held.price((quote.bid + quote.ask) / 2)
        else:
            held.price(next((price for price in (quote.last, quote.bid, quote.ask) if price is not None), None))

    def _trust(self, account: str, book: ScopeBook, now: int) -> None:
        """Take the reported position where the executions have added up to another one for some seconds."""
        for held in book.holdings.values():
            if not (held.above or held.below):
                continue
            held.moved_at = min(held.moved_at, now)
            if now - held.moved_at >= SETTLED and held.reported is not None:
                self._shift(account, held.place, held.reported - held.position)
                self._apart(held, self._open(ALL).holdings[held.place])

    def _drop_missing(self, now: int) -> None:
        """Give up executions that have not come some seconds after their order was over."""
        for order in [order for order in self.working.values() if order.over_at]:
            order.over_at = min(order.over_at, now)
            if now - order.over_at >= SETTLED:
                self._release(order)

    def _value_working(self) -> None:
        """Value the orders whose worth was not known, and is now."""
        for book in self.scopes.values():
            for name, place in book.unknown_working:
                held = book.holdings[place]
                held.claims[name].unit = held.unit

    def identify(self, instrument: str, con_id: int) -> None:
        """Note the conId of an instrument: what the book has under its key moves there."""
        if self.places.get(instrument) == con_id or not con_id:
            return
        self.places[instrument] = con_id
        for book in self.scopes.values():
            self._move(book, instrument, con_id)

    def _move(self, book: ScopeBook, old: str, new: int) -> None:
        moved = book.remove(old)
        if moved is None:
            return
        held = book.holding(moved.part(new))
        held.take(moved)
        for side in (1, -1):
            if times := book.fills.pop((old, side), None):
                book.fills.setdefault((new, side), times)
            if count := book.open_orders.pop((old, side), 0):
                book.open_orders[new, side] += count
        self._settle(book, held)
        book.add_up()

    def _settle(self, book: ScopeBook, held: Holding, *, claims: bool = True) -> None:
        symbol_rate = self.rate(held.symbol) if held.sec_type == FOREX else None
        held.value(self.rate(held.currency), symbol_rate)
        book.settle(held, claims=claims)

    def _open(self, scope: RiskScope) -> ScopeBook:
        found = self.scopes.get(scope)
        if found is None:
            found = self.scopes[scope] = ScopeBook()
        return found


NOTHING = ScopeBook()
"""Book of a scope in which nothing has been noted."""


def _scope_names(client: str, account: str) -> tuple[RiskScope, ...]:
    """Return the scopes in which something of a client in an account counts."""
    found: list[RiskScope] = [ALL]
    if account:
        found.append(("account", account))
    if client != FOREIGN:
        found.append(("client", client))
    return tuple(found)


def _scopes(order: ProposedOrder) -> tuple[RiskScope, ...]:
    return _scope_names(order.name[0], order.account)


def _fill_scopes(fill: TradeFill) -> tuple[RiskScope, ...]:
    return _scope_names(fill.name[0], fill.account)
