"""The book of the gate: what every client, every account and all together hold, have working, and have done today.

Pure: the caller gives the times, in µs since 1970 UTC. The book hears what the gate has let pass and what TWS reports,
and says nothing by itself. The module must not know limits, or what a message means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.risk import book_data
from ibbridge.risk.holding import DIGITS, SMALLEST, Part, Prices, claim_of, worth_of_unit
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
        self.prices: dict[Place, Prices] = {}
        self.now = self.day_start = self.day_end = 0

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
        if now < self.now:
            for each in self.scopes.values():
                each.set_back(self.now, now)
            for order in self.working.values():
                order.over_at = min(order.over_at, now)
        self.now = now
        if now >= self.day_end:
            first = not self.day_end
            self.day_start, self.day_end = self._day.bounds(now)
            if not first:
                self._begin_day()

    def _begin_day(self) -> None:
        """Begin a day. The instruments that nobody holds or trades any more are forgotten."""
        for each in self.scopes.values():
            each.begin_day()
        kept = {place for book in self.scopes.values() for place, held in book.holdings.items() if not held.is_empty}
        for book in self.scopes.values():
            for place in book.holdings.keys() - kept:
                book.forget_place(place)
        self.prices = {place: Prices(each.mark, each.mark) for place, each in self.prices.items() if place in kept}

    def _prices(self, place: Place) -> Prices:
        return self.prices.get(place) or _NO_PRICES

    def _price(self, place: Place, mark: float) -> None:
        """Note the price of an instrument. The first price of a day stands for that at its begin."""
        start = self._prices(place).start_mark
        self.prices[place] = Prices(mark, mark if start is None else start)

    def rate(self, currency: str) -> float | None:
        """Return the rate of a currency at the last revaluation; that of now if it was not known then."""
        found = self._rates.get(currency)
        if found is None:
            found = self._facts.rate(currency)
            if found is not None:
                self._rates[currency] = found
        return found

    def unit_worth(self, part: Part) -> float | None:
        """Return the worth of one unit of an instrument at its last price; None if it is not known."""
        rate = self.rate(part.currency)
        worth = None if rate is None or part.multiplier is None else part.multiplier * rate
        symbol_rate = self.rate(part.symbol) if part.sec_type == FOREX else None
        return worth_of_unit(self._prices(part.place).mark, worth, symbol_rate)

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
        """Count the larger quantity of the two until TWS has taken or refused the change, and no group but the old."""
        made.former = old.former or (old.order, old.quantity, tuple(claim.part for claim in old.claims))
        before = {claim.place: claim for claim in old.claims}
        for claim in made.claims:
            if (former := before.get(claim.place)) is not None:
                claim.total = max(claim.total, former.total)
                claim.group = claim.group if claim.group == former.group else None

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
                self._settle(book, book.claim(claim, self._prices(claim.place)), claims=False)

    def _release(self, order: WorkingOrder) -> None:
        self.working.pop(order.order.name, None)
        for scope in order.scopes:
            book = self._open(scope)
            for claim in order.claims:
                held = book.release(claim)
                if held is not None:
                    self._settle(book, held, claims=False)

    def _count(self, order: WorkingOrder, now: int) -> None:
        """Note the time of an order or a change, and what makes it the same as another."""
        order.signature = signature(order.order)
        before = []
        for scope in order.scopes:
            book = self._open(scope)
            book.note_order(order.order.symbol, now)
            before.append(book.note_same(order.signature, order.order.name, now))
        order.repeated = tuple(before)

    def undo(self, order: WorkingOrder, old: WorkingOrder | None) -> None:
        """Take back the latest `accepted`, which has returned `order`; `old` is the order that worked before."""
        self._release(order)
        for scope, before in zip(order.scopes, order.repeated, strict=True):
            book = self._open(scope)
            book.unnote_order(order.order.symbol)
            book.forget_same(order.signature, order.order.name, before)
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
                self._open(scope).forget_same(order.signature, name)
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

    def executed_before(self, name: OrderName, filled: float) -> None:
        """Note what was filled of an order before the book had it, or what no execution will report."""
        order = self.working.get(name)
        if order is None:
            return
        self._release(order)
        for claim in order.claims:
            claim.executed = max(claim.executed, round(filled * claim.part.ratio, DIGITS))
        self._add(order)

    def filled(self, fill: TradeFill) -> None:
        """Count an execution that no earlier call has counted. Those of a combination itself count nothing.

        An execution of an earlier day changes the position as if it had been there when the day began.
        """
        now = max(fill.at, self.now)
        self.begin(now)
        place = self.place(fill.instrument, fill.con_id)
        quantity = fill.side * fill.quantity
        for scope in _fill_scopes(fill):
            book = self._open(scope)
            held = self._held(book, place, fill)
            if fill.at < self.day_start:
                held.held_before(quantity)
            else:
                held.trade(quantity, fill.price)
                self._traded(book, fill, fill.quantity)
        self._compare(place, fill.account, now)
        self._execute(fill, place, now)
        self._priced(place, fill.price)

    def _execute(self, fill: TradeFill, place: Place, now: int) -> None:
        """Take what is filled from what works. An order may count in other scopes than its executions."""
        working = self.working.get(fill.name)
        claims = [claim for claim in working.claims if claim.place == place] if working else []
        for claim in claims:
            before, first = worth_of(claim), not claim.executed
            books = [self._open(scope) for scope in working.scopes] if working else []
            could = [book.holdings[place].family_reach(claim) for book in books]
            claim.executed = round(claim.executed + fill.quantity, DIGITS)
            for book, reach in zip(books, could, strict=True):
                book.reworked(claim, before)
                if first:
                    book.fill_times(place, fill.side).add(now)
                held = book.holdings[place]
                held.changed(claim, reach)
                self._settle(book, held, claims=False)
        if working and claims and all(claim.is_over and not claim.remaining for claim in working.claims):
            self._release(working)

    def _priced(self, place: Place, price: float) -> None:
        """Note the price of an execution, at which all who hold the instrument value it until the next quote."""
        self._price(place, price)
        for book in self.scopes.values():
            held = book.holdings.get(place)
            if held is not None:
                held.price(self.prices[place])
                self._settle(book, held, claims=False)

    def corrected(self, old: TradeFill, new: TradeFill | None, now: int) -> None:
        """Count the correction of an execution in its place; None if it never took place.

        What the order may still fill stays as it was: a correction gives nothing back to the market.
        """
        self.begin(now)
        place = self.place(old.instrument, old.con_id)
        for scope in _fill_scopes(old):
            book = self._open(scope)
            held = self._held(book, place, old)
            if old.at < self.day_start:
                held.held_before((new.side * new.quantity if new else 0.0) - old.side * old.quantity)
                continue
            held.trade(-old.side * old.quantity, old.price)
            self._traded(book, old, -old.quantity)
            if new is not None:
                held.trade(new.side * new.quantity, new.price)
                self._traded(book, new, new.quantity)
        self._compare(place, old.account, now)
        for scope in _fill_scopes(old):
            book = self._open(scope)
            self._settle(book, book.holdings[place], claims=False)

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
        part = Part(
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
        return book.holding(part, self._prices(place))

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
        prices = self._prices(place)
        held = self._open(("account", account)).holding(part, prices)
        self._open(ALL).holding(part, prices)
        held.reported = quantity
        if not held.moved_at:
            self._shift(account, place, quantity - held.position)
        self._compare(place, account, now)
        self._settle(self._open(("account", account)), held, claims=False)
        self._settle(self._open(ALL), self._open(ALL).holdings[place], claims=False)

    def _compare(self, place: Place, account: str, now: int) -> None:
        """Compare the position of an account with the one that TWS reports."""
        if not account:
            return
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
        for place, held in {
            held.place: held for book in self.scopes.values() for held in book.holdings.values()
        }.items():
            mark = self._mark(held)
            if mark is not None:
                self._price(place, mark)
        for book in self.scopes.values():
            for held in book.holdings.values():
                held.price(self._prices(held.place))
                self._settle(book, held, claims=False)
        self._value_working()
        for book in self.scopes.values():
            book.add_up()
            book.forget_old(now)

    def _mark(self, held: Holding) -> float | None:
        quote = self._facts.quote(held.instrument, held.place if isinstance(held.place, int) else 0)
        if quote is None:
            return None
        if quote.bid is not None and quote.ask is not None:
            return (quote.bid + quote.ask) / 2
        return next((price for price in (quote.last, quote.bid, quote.ask) if price is not None), None)

    def _trust(self, account: str, book: ScopeBook, now: int) -> None:
        """Take the reported position where the executions have added up to another one for some seconds."""
        for held in book.holdings.values():
            if not (held.above or held.below):
                continue
            if now - held.moved_at >= SETTLED and held.reported is not None:
                self._shift(account, held.place, held.reported - held.position)
                self._apart(held, self._open(ALL).holdings[held.place])

    def _drop_missing(self, now: int) -> None:
        """Give up executions that have not come some seconds after their order was over."""
        for order in [order for order in self.working.values() if order.over_at]:
            if now - order.over_at >= SETTLED:
                self._release(order)

    def _value_working(self) -> None:
        """Value the orders whose worth was not known, and is now."""
        for book in self.scopes.values():
            for name, place in book.unknown_working:
                held = book.holdings[place]
                claim = held.claims[name]
                if claim.unit is None and held.unit is not None:
                    claim.value(held.unit)
                held.valued()

    def identify(self, instrument: str, con_id: int) -> None:
        """Note the conId of an instrument: what the book has under its key moves there."""
        if self.places.get(instrument) == con_id or not con_id:
            return
        self.places[instrument] = con_id
        if instrument in self.prices:
            self.prices.setdefault(con_id, self.prices.pop(instrument))
        for book in self.scopes.values():
            self._move(book, instrument, con_id)
        for order in self.working.values():
            if order.former is not None:
                before, quantity, parts = order.former
                moved = (part._replace(place=con_id) if part.place == instrument else part for part in parts)
                order.former = before, quantity, tuple(moved)
        for scope in [scope for scope, book in self.scopes.items() if con_id in book.holdings]:
            if scope[0] == "account" and self.scopes[scope].holdings[con_id].moved_at:
                self._compare(con_id, scope[1], self.now)
        for book in self.scopes.values():
            if con_id in book.holdings:
                self._settle(book, book.holdings[con_id])
                book.add_up()

    def _move(self, book: ScopeBook, old: str, new: int) -> None:
        moved = book.remove(old)
        if moved is None:
            return
        held = book.holding(moved.part(new), self._prices(new))
        held.take(moved)
        for side in (1, -1):
            if times := book.fills.pop((old, side), None):
                book.fill_times(new, side).merge(times)
            if count := book.open_orders.pop((old, side), 0):
                book.open_orders[new, side] += count

    def _settle(self, book: ScopeBook, held: Holding, *, claims: bool = True) -> None:
        symbol_rate = self.rate(held.symbol) if held.sec_type == FOREX else None
        held.value(self.rate(held.currency), symbol_rate)
        book.settle(held, claims=claims)

    def _open(self, scope: RiskScope) -> ScopeBook:
        found = self.scopes.get(scope)
        if found is None:
            found = self.scopes[scope] = ScopeBook()
        return found


_NO_PRICES = Prices(None, None)

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
