"""The risk gate: a decision on each order, by all rules, in the scopes of all, of its account and of its client.

Pure: the caller gives the time, in µs since 1970 UTC. A value within a billionth part of its limit is at the limit, so
that the last digits of sums refuse nothing. The module must not know how an order is sent.
"""

from __future__ import annotations

import itertools
from operator import lt
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.risk.book import NOTHING
from ibbridge.risk.limits import NO_LIMITS, USE
from ibbridge.risk.rules import BOOK, CONTRACT, DEFAULT_WINDOW, ORDER, RULES, TOLERANCE, Rule, reduces
from ibbridge.risk.scope_book import SECOND
from ibbridge.risk.valuation import OrderCase, QuoteTerms
from ibbridge.risk.working_order import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ibbridge.risk.book import TradingBook
    from ibbridge.risk.facts import MarketFacts
    from ibbridge.risk.limits import Limits, RiskPolicy
    from ibbridge.risk.order import OrderName, ProposedOrder
    from ibbridge.risk.scope_book import ScopeBook
    from ibbridge.risk.working_order import RiskScope, WorkingOrder

_PlanRow: TypeAlias = "tuple[Rule, RiskScope, Limits, Any]"

ALWAYS_HOLDS = "order_values"
"""Rule that holds without a limit."""

TICKS = "price_collar_ticks"
"""Rule that counts together with that of the percent."""

_LEAST_FAULT = "\0"
"""The least text that is not empty."""

MOST_CONTRACTS = 1_000
"""Contracts of a plan whose checks are kept ready."""

MOST_PLANS = 10_000
"""Pairs of client and account whose limits are kept ready."""


class RiskCheck(NamedTuple):
    """A rule applied to an order in one scope. `value` is None if it is not known; `fault` says why it refuses."""

    rule: str
    scope: RiskScope
    limit: Any
    value: float | None
    passed: bool
    fault: str = ""

    @property
    def headroom(self) -> float | None:
        """Distance to the limit; None for a rule that measures nothing, and for a value that is not known."""
        return None if self.value is None else self.limit - self.value


class Decision(NamedTuple):
    """Decision on an order: whether it may leave, the checks that it fails, and all checks.

    `warnings` are the checks whose value has just come near the limit. `enforced` is False if the gate only observes:
    then every order is allowed. `answers` are what the checks are made of, because most of them are never looked at.
    """

    id: str
    order: ProposedOrder
    at: int
    allowed: bool
    enforced: bool
    breaches: tuple[RiskCheck, ...]
    warnings: tuple[RiskCheck, ...]
    answers: RiskAnswers

    @property
    def checks(self) -> list[RiskCheck]:
        """Checks in the order of the rules, those of the contract first."""
        return self.answers.checks()


class RiskAnswers(NamedTuple):
    """Answers of the rules to an order: of the contract, and the values of the planned rows, in their order.

    `odd` are the checks, by their place among the values, of values that are not simply below their limit.
    """

    contract: Sequence[RiskCheck]
    rows: Sequence[_PlanRow]
    values: Sequence[Any]
    odd: Mapping[int, RiskCheck]

    def checks(self) -> list[RiskCheck]:
        """Return all checks."""
        found = list(self.contract)
        for place, ((rule, scope, _, limit), value) in enumerate(zip(self.rows, self.values, strict=True)):
            plain = RiskCheck(rule.name, scope, limit, None if rule.measure is None else value, passed=True)
            found.append(self.odd.get(place, plain))
        return found


class _Planned(NamedTuple):
    """Rows of a plan that one scope has one after the other, with the functions of their rules."""

    scope: RiskScope
    limits: Limits
    functions: Sequence[Callable[[OrderCase, ScopeBook, Limits], Any]]


class _LimitPlan:
    """Limits of an order's scopes, as they are checked: a row for each rule and scope that has a limit.

    `terms`: the quotes that count. `contracts`: the rules of the contract, with what they have said of each so far.
    `floors`: a value below its floor is within its limit, and not near it.
    """

    __slots__ = ("_warn_at", "by_contract", "contracts", "floors", "groups", "names", "rows", "terms")

    def __init__(self, scopes: Sequence[tuple[RiskScope, Limits]], warn_at: float) -> None:
        every: list[_PlanRow] = [
            (rule, scope, limits, getattr(limits, rule.name, None))
            for scope, limits in scopes
            for rule in RULES
            if getattr(limits, rule.name, None) is not None or (rule.name == ALWAYS_HOLDS and scope == ALL)
        ]
        self.contracts = tuple(row for row in every if row[0].of == CONTRACT)
        alone = [row for row in every if row[0].of == ORDER and _decides(row, every)]
        self.rows = (*alone, *(row for row in every if row[0].of == BOOK))
        self.groups = tuple(
            _Planned(scope, rows[0][2], tuple(_function(row[0]) for row in rows))
            for scope, each in itertools.groupby(self.rows, lambda row: row[1])
            for rows in [list(each)]
        )
        self.names = {(rule.name, scope) for rule, scope, _, _ in self.rows}
        self.floors = tuple(_floor(row, warn_at) for row in self.rows)
        self._warn_at = warn_at
        self.by_contract: dict[Any, tuple[tuple[RiskCheck, ...], tuple[RiskCheck, ...]]] = {}
        strictest = NO_LIMITS
        for _, limits in scopes:
            strictest = strictest.merged(limits)
        age = None if strictest.max_quote_age is None else int(strictest.max_quote_age * SECOND)
        self.terms = QuoteTerms(age, delayed=strictest.delayed_quotes == USE)

    def odd(self, values: Sequence[Any]) -> Sequence[int]:
        """Return the places of values that are not simply below their limit: mostly none."""
        try:
            if all(map(lt, values, self.floors)):
                return ()
        except TypeError:  # a value that is not known
            pass
        floors = enumerate(zip(values, self.floors, strict=True))
        return [place for place, (value, floor) in floors if value is None or not value < floor]

    def is_near(self, place: int, value: float | None) -> bool:
        """Return True if the value of a row is near its limit, or beyond."""
        rule, _, _, limit = self.rows[place]
        return rule.measure is not None and value is not None and value >= limit * self._warn_at

    def of_contract(self, case: OrderCase) -> tuple[tuple[RiskCheck, ...], tuple[RiskCheck, ...]]:
        """Return the checks of the contract, which never change, and those of them that fail."""
        order = case.order
        key = order.symbol, order.sec_type, order.exchange, order.currency, order.legs
        found = self.by_contract.get(key)
        if found is None:
            if len(self.by_contract) >= MOST_CONTRACTS:
                self.by_contract.clear()
            faults = [(row, _function(row[0])(case, NOTHING, row[2])) for row in self.contracts]
            checks = tuple(
                RiskCheck(rule.name, scope, limit, None, not fault, fault) for (rule, scope, _, limit), fault in faults
            )
            found = self.by_contract[key] = checks, tuple(check for check in checks if not check.passed)
        return found


def _function(rule: Rule) -> Callable[[OrderCase, ScopeBook, Limits], Any]:
    found = rule.measure or rule.condition
    if found is None:
        raise ValueError(f"the rule {rule.name} neither measures nor says anything")
    return found


def _floor(row: _PlanRow, warn_at: float) -> float | str:
    """Return the value below which nothing is to be said of a limit."""
    rule, _, _, limit = row
    return _LEAST_FAULT if rule.measure is None else min(limit, limit * warn_at)


def _decides(row: _PlanRow, every: Sequence[_PlanRow]) -> bool:
    """Return False if the check of an order alone says nothing that the same check of another scope does not say."""
    rule, scope, limits, limit = row
    if rule.name == TICKS and limits.price_collar_percent is not None:
        return False  # the other rule looks at both
    others = [each for each in every if each[0] is rule and each is not row]
    if rule.measure is not None:
        return not any(each[3] < limit or (each[3] == limit and each[1] < scope) for each in others)
    return not any(_words(each) == _words(row) and each[1] < scope for each in others)


def _words(row: _PlanRow) -> tuple[Any, ...]:
    """Return all limits at which a check of an order alone looks."""
    _, _, limits, limit = row
    return limit, limits.price_collar_percent, limits.price_collar_ticks


def _limited_accounts(policy: RiskPolicy) -> str:
    """Return the accounts with limits that count over several orders, as they are configured; IB's own is none."""
    names = [rule.name for rule in RULES if rule.of == BOOK and rule.name != "max_open_orders"]
    accounts = policy.accounts.items()
    found = [account for account, limits in accounts if any(getattr(limits, name) is not None for name in names)]
    return ", ".join(found)[:200]


class RiskGate:
    """Risk gate for orders. `facts` are those of the book.

    `limited_accounts`: the accounts whose limits count over several orders, as they are configured.

    What `accept` lets pass is in the book as soon as anybody looks into the book, and not before: so an order leaves
    without waiting for that.
    """

    def __init__(self, policy: RiskPolicy, book: TradingBook, facts: MarketFacts) -> None:
        self.policy = policy
        self.limited_accounts = _limited_accounts(policy)
        self._book = book
        self._due: list[OrderCase] = []
        self._latest: dict[OrderName, tuple[WorkingOrder, WorkingOrder | None]] = {}
        self._facts = facts
        self._plans: dict[tuple[str, str], _LimitPlan] = {}
        self._last: OrderCase | None = None
        self._near: set[tuple[str, RiskScope]] = set()
        self._count = 0

    @property
    def book(self) -> TradingBook:
        """Book with all that was let pass."""
        if self._due:
            self.settle()
        return self._book

    def settle(self) -> None:
        """Note in the book what was let pass."""
        if not self._due:
            return
        due, self._due, self._last = self._due, [], None
        for case in due:
            name = case.name
            old = self._book.working.get(name)
            self._latest[name] = self._book.accepted(case), old

    def dump(self) -> dict[str, Any]:
        """Return the book as plain data."""
        return self.book.dump()

    def set_policy(self, policy: RiskPolicy) -> None:
        """Change all limits. What the book has counted stays."""
        self.policy, self.limited_accounts = policy, _limited_accounts(policy)
        self._plans.clear()

    def evaluate(self, order: ProposedOrder, now: int) -> Decision:
        """Decide on an order, or on the order that one becomes by a change. Nothing is noted in the book."""
        plan = self._plan(order.client, order.account)
        return self._decide(self._case(order, now), plan)

    def evaluate_group(self, orders: Sequence[ProposedOrder], now: int) -> list[Decision]:
        """Decide on orders that leave together: an earlier one counts for the later ones. All or none may leave."""
        decisions, noted = [], []
        for order in orders:
            case = self._case(order, now)
            decisions.append(self._decide(case, self._plan(order.client, order.account)))
            old = self.book.working.get(order.name)
            noted.append((self.book.accepted(case), old))
        for made, former in reversed(noted):
            self.book.undo(made, former)
        return decisions

    def reduces(self, order: ProposedOrder, scope: RiskScope, now: int) -> bool:
        """Return True if an order can only bring the positions of a scope nearer to zero, with all that works there."""
        return reduces(self._case(order, now), self.book.scope(scope))

    def accepted(self, order: ProposedOrder, now: int) -> None:
        """Note an order, or a change, that leaves now."""
        self.book.accepted(self._case(order, now))
        self._last = None

    def accept(self, orders: Sequence[ProposedOrder], now: int, *, more: bool = False) -> None:
        """Note orders that leave together, or a change: soon, see `book`. `take_back` may follow.

        `more`: they belong to those of the last call.
        """
        if not more:
            self.settle()
            self._latest = {}
        for order in orders:
            case = self._case(order, now)  # which settles what came before
            self._due.append(case)

    def take_back(self, name: OrderName) -> None:
        """Take back an order or a change of the last `accept`. Nothing is done if more has become of it."""
        book, found = self.book, self._latest.pop(name, None)
        if found is not None and book.working.get(name) is found[0]:
            book.undo(*found)

    def works(self, order: ProposedOrder, now: int) -> None:
        """Note an order that TWS works, and that this gate has not seen before, or a change of such an order."""
        self.book.accepted(self._case(order, now), counted=False)
        self._last = None

    def rejected(self, name: OrderName, now: int) -> None:
        """Note that TWS has refused an order or a change. Enough of them close the gate (`reject_breaker`)."""
        for scope in self.book.rejected(name, now):
            limits = self._limits(scope)
            book = self.book.scope(scope)
            span = int((limits.reject_window or DEFAULT_WINDOW) * SECOND)
            if limits.reject_breaker is not None and book.rejects.count(now, span) >= limits.reject_breaker:
                book.trip(now)

    def resume(self, scope: RiskScope) -> None:
        """Open the gate again that rejects have closed for a scope."""
        self.book.scope(scope).resume()

    def _limits(self, scope: RiskScope) -> Limits:
        kind, name = scope
        if kind == "all":
            return self.policy.all
        return self.policy.for_account(name) if kind == "account" else self.policy.for_client(name)

    def _case(self, order: ProposedOrder, now: int) -> OrderCase:
        last = self._last
        if last is not None and last.order is order and last.now == now:  # decided on a moment ago
            return last
        self.book.begin(now)
        plan = self._plan(order.client, order.account)
        self._last = case = OrderCase(order, self.book, self._facts, plan.terms, now)
        return case

    def _plan(self, client: str, account: str) -> _LimitPlan:
        plan = self._plans.get((client, account))
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[client, account] = self._planned(client, account)
        return plan

    def _planned(self, client: str, account: str) -> _LimitPlan:
        policy = self.policy
        named: list[tuple[RiskScope, Limits]] = [
            (ALL, policy.all),
            (("account", account), policy.for_account(account)),
            (("client", client), policy.for_client(client)),
        ]
        return _LimitPlan(named, policy.warn_at)

    def _decide(self, case: OrderCase, plan: _LimitPlan) -> Decision:
        contract, faults = plan.of_contract(case)
        values: list[Any] = []
        for scope, limits, functions in plan.groups:
            book = self._book.scope(scope)
            values += [function(case, book, limits) for function in functions]
        odd = plan.odd(values)
        checks = {place: self._check(case, plan.rows[place], values[place]) for place in odd}
        if odd or self._near:
            near = [place for place in odd if plan.is_near(place, values[place])]
            warnings = self._warnings([checks[place] for place in near], plan)
        else:
            warnings = ()
        breaches = (*faults, *(check for check in checks.values() if not check.passed)) if faults or odd else ()
        self._count += 1
        enforced = self.policy.enforce
        return Decision(
            f"{case.now}-{self._count}",
            case.order,
            case.now,
            not breaches or not enforced,
            enforced,
            breaches,
            warnings,
            RiskAnswers(contract, plan.rows, values, checks),
        )

    def _check(self, case: OrderCase, row: _PlanRow, value: Any) -> RiskCheck:
        """Return the check of a value that is not simply below its limit."""
        rule, scope, limits, limit = row
        if rule.measure is None:
            return RiskCheck(rule.name, scope, limit, None, passed=False, fault=value)
        passed = value is not None and value <= limit * TOLERANCE
        if not passed and rule.spares is not None:
            passed = rule.spares(case, self._book.scope(scope), limits)
        return RiskCheck(rule.name, scope, limit, value, passed, rule.unknown if value is None else "")

    def _warnings(self, near: Sequence[RiskCheck], plan: _LimitPlan) -> tuple[RiskCheck, ...]:
        """Return those checks near their limit that were not so before. Those that are so no more may warn again."""
        names = {(check.rule, check.scope) for check in near}
        self._near -= (self._near & plan.names) - names
        warnings = tuple(check for check in near if (check.rule, check.scope) not in self._near)
        self._near |= names
        return warnings
