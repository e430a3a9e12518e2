"""The risk gate: a decision on each order, by all rules, in the scopes of all, of its account and of its client.

Pure: the caller gives the time, in µs since 1970 UTC. A value within a billionth part of its limit is at the limit, so
that the last digits of sums refuse nothing. The module must not know how an order is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.risk.book import NOTHING
from ibbridge.risk.limits import NO_LIMITS, USE
from ibbridge.risk.rules import BOOK, CONTRACT, DEFAULT_WINDOW, ORDER, RULES, TOLERANCE, Rule, reduces
from ibbridge.risk.scope_book import SECOND
from ibbridge.risk.valuation import OrderCase, QuoteTerms
from ibbridge.risk.working_order import ALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.risk.book import TradingBook
    from ibbridge.risk.facts import MarketFacts
    from ibbridge.risk.limits import Limits, RiskPolicy
    from ibbridge.risk.order import OrderName, ProposedOrder
    from ibbridge.risk.working_order import RiskScope

_Row: TypeAlias = "tuple[str, RiskScope, Any, float | None, bool, str]"
_PlanRow: TypeAlias = "tuple[Rule, RiskScope, Limits, Any]"

ALWAYS_HOLDS = "order_values"
"""Rule that holds without a limit."""

TICKS = "price_collar_ticks"
"""Rule that counts together with that of the percent."""

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
    then every order is allowed. `rows` are the checks as plain tuples, because most of them are never looked at.
    """

    id: str
    order: ProposedOrder
    at: int
    allowed: bool
    enforced: bool
    breaches: tuple[RiskCheck, ...]
    warnings: tuple[RiskCheck, ...]
    rows: list[_Row]

    @property
    def checks(self) -> list[RiskCheck]:
        """Checks in the order of the rules."""
        return [RiskCheck(*row) for row in self.rows]


class _LimitPlan:
    """Limits of an order's scopes, as they are checked: a row for each rule and scope that has a limit.

    `terms`: the quotes that count. `contracts`: the rules of the contract, with what they have said of each so far.
    """

    __slots__ = ("by_contract", "contracts", "rows", "terms")

    def __init__(self, scopes: Sequence[tuple[RiskScope, Limits]], warn_at: float) -> None:
        every: list[_PlanRow] = [
            (rule, scope, limits, getattr(limits, rule.name, None))
            for scope, limits in scopes
            for rule in RULES
            if getattr(limits, rule.name, None) is not None or (rule.name == ALWAYS_HOLDS and scope == ALL)
        ]
        self.contracts = tuple(row for row in every if row[0].of == CONTRACT)
        alone = [row for row in every if row[0].of == ORDER and _decides(row, every)]
        self.rows = tuple(
            (rule.name, rule.measure, rule, scope, limits, limit, *_levels(limit, warn_at))
            for rule, scope, limits, limit in (*alone, *(row for row in every if row[0].of == BOOK))
        )
        self.by_contract: dict[Any, list[_Row]] = {}
        strictest = NO_LIMITS
        for _, limits in scopes:
            strictest = strictest.merged(limits)
        age = None if strictest.max_quote_age is None else int(strictest.max_quote_age * SECOND)
        self.terms = QuoteTerms(age, delayed=strictest.delayed_quotes == USE)

    def of_contract(self, case: OrderCase) -> list[_Row]:
        """Return the checks of the contract, which never change."""
        order = case.order
        key = order.symbol, order.sec_type, order.exchange, order.currency, order.legs
        found = self.by_contract.get(key)
        if found is None:
            if len(self.by_contract) >= MOST_CONTRACTS:
                self.by_contract.clear()
            found = self.by_contract[key] = []
            for rule, scope, limits, limit in self.contracts:
                fault = rule.condition(case, NOTHING, limits) if rule.condition else ""
                found.append((rule.name, scope, limit, None, not fault, fault))
        return found


def _levels(limit: Any, warn_at: float) -> tuple[float, float]:
    """Return the value up to which a limit holds, and that from which on it warns."""
    return (limit * TOLERANCE, limit * warn_at) if isinstance(limit, int | float) else (0.0, 0.0)


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


class RiskGate:
    """Risk gate for orders. `facts` are those of the book."""

    def __init__(self, policy: RiskPolicy, book: TradingBook, facts: MarketFacts) -> None:
        self.policy = policy
        self.book = book
        self._facts = facts
        self._plans: dict[tuple[str, str], _LimitPlan] = {}
        self._last: OrderCase | None = None
        self._near: set[tuple[str, RiskScope]] = set()
        self._count = 0

    def set_policy(self, policy: RiskPolicy) -> None:
        """Change all limits. What the book has counted stays."""
        self.policy = policy
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

    def works(self, order: ProposedOrder, now: int) -> None:
        """Note an order that TWS works, and that this gate has not seen before, or a change of such an order."""
        self.book.accepted(self._case(order, now), counted=False)

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
        order = case.order
        rows = list(plan.of_contract(case))
        breaches = [RiskCheck(*row) for row in rows if not row[4]] if plan.contracts else []
        warnings: list[RiskCheck] = []
        near, scope_of = self._near, self.book.scope
        book, last = NOTHING, None
        for name, measure, rule, scope, limits, limit, most, warn_from in plan.rows:
            if scope is not last:
                book, last = scope_of(scope), scope
            if measure is None:
                fault = rule.condition(case, book, limits)  # type: ignore[misc]
                rows.append((name, scope, limit, None, not fault, fault))
                if fault:
                    breaches.append(RiskCheck(*rows[-1]))
                continue
            value = measure(case, book, limits)
            if value is None:
                passed, fault = False, rule.unknown
            else:
                passed, fault = value <= most, ""
            if not passed and rule.spares is not None:
                passed = rule.spares(case, book, limits)
            rows.append((name, scope, limit, value, passed, fault))
            if not passed:
                breaches.append(RiskCheck(*rows[-1]))
            if value is not None and value >= warn_from:
                self._warn(RiskCheck(*rows[-1]), warnings)
            elif near:
                near.discard((name, scope))
        self._count += 1
        enforced = self.policy.enforce
        return Decision(
            f"{case.now}-{self._count}",
            order,
            case.now,
            not breaches or not enforced,
            enforced,
            tuple(breaches),
            tuple(warnings),
            rows,
        )

    def _warn(self, check: RiskCheck, warnings: list[RiskCheck]) -> None:
        near = check.rule, check.scope
        if near not in self._near:
            self._near.add(near)
            warnings.append(check)
