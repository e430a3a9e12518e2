"""The risk gate: a decision on each order, by all rules, in the scopes of all, of its account and of its client.

Pure: the caller gives the time, in µs since 1970 UTC. A value within a billionth part of its limit is at the limit, so
that the last digits of sums refuse nothing. The module must not know how an order is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.risk.book import ALL
from ibbridge.risk.limits import USE
from ibbridge.risk.rules import DEFAULT_WINDOW, RULES, TOLERANCE, Rule, reduces
from ibbridge.risk.scope_book import SECOND
from ibbridge.risk.valuation import OrderCase, QuoteTerms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.risk.book import RiskScope, TradingBook
    from ibbridge.risk.facts import MarketFacts
    from ibbridge.risk.limits import Limits, RiskPolicy
    from ibbridge.risk.order import OrderName, ProposedOrder

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
    then every order is allowed.
    """

    id: str
    order: ProposedOrder
    at: int
    allowed: bool
    enforced: bool
    breaches: tuple[RiskCheck, ...]
    warnings: tuple[RiskCheck, ...]
    checks: tuple[RiskCheck, ...]


class _LimitPlan(NamedTuple):
    """Limits of an order's scopes, as they are checked: a row for each rule and scope that has a limit."""

    terms: QuoteTerms
    rows: tuple[tuple[Rule, RiskScope, Limits, Any], ...]


class RiskGate:
    """Risk gate for orders. `facts` are those of the book."""

    def __init__(self, policy: RiskPolicy, book: TradingBook, facts: MarketFacts) -> None:
        self.policy = policy
        self.book = book
        self._facts = facts
        self._plans: dict[tuple[str, str], _LimitPlan] = {}
        self._near: set[tuple[str, RiskScope, Any]] = set()
        self._count = 0

    def set_policy(self, policy: RiskPolicy) -> None:
        """Change all limits. What the book has counted stays."""
        self.policy = policy
        self._plans.clear()

    def evaluate(self, order: ProposedOrder, now: int) -> Decision:
        """Decide on an order, or on the order that one becomes by a change. Nothing is noted in the book."""
        return self._decide(self._case(order, now))

    def evaluate_group(self, orders: Sequence[ProposedOrder], now: int) -> list[Decision]:
        """Decide on orders that leave together: an earlier one counts for the later ones. All or none may leave."""
        decisions, noted = [], []
        for order in orders:
            case = self._case(order, now)
            decisions.append(self._decide(case))
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
        self.book.begin(now)
        plan = self._plan(order.client, order.account)
        return OrderCase(order, self.book.place(order.instrument, order.con_id), self._facts, plan.terms, now)

    def _plan(self, client: str, account: str) -> _LimitPlan:
        plan = self._plans.get((client, account))
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[client, account] = self._planned(client, account)
        return plan

    def _planned(self, client: str, account: str) -> _LimitPlan:
        scopes: list[tuple[RiskScope, Limits]] = [
            (ALL, self.policy.all),
            (("account", account), self.policy.for_account(account)),
            (("client", client), self.policy.for_client(client)),
        ]
        rows = []
        for rule in RULES:
            for scope, limits in scopes:
                limit = getattr(limits, rule.name, None)
                if limit is not None or (rule.name == "order_values" and scope == ALL):
                    rows.append((rule, scope, limits, limit))
        strictest = scopes[0][1].merged(scopes[1][1]).merged(scopes[2][1])
        age = None if strictest.max_quote_age is None else int(strictest.max_quote_age * SECOND)
        return _LimitPlan(QuoteTerms(age, delayed=strictest.delayed_quotes == USE), tuple(rows))

    def _decide(self, case: OrderCase) -> Decision:
        order = case.order
        checks: list[RiskCheck] = []
        breaches: list[RiskCheck] = []
        warnings: list[RiskCheck] = []
        warn_at = self.policy.warn_at
        for rule, scope, limits, limit in self._plan(order.client, order.account).rows:
            book = self.book.scope(scope)
            if rule.measure is None:
                fault = rule.condition(case, book, limits)  # type: ignore[misc]
                check = RiskCheck(rule.name, scope, limit, None, not fault, fault)
            else:
                value = rule.measure(case, book, limits)
                passed = value is not None and value <= limit * TOLERANCE
                if not passed and rule.spares is not None and rule.spares(case, book, limits):
                    passed = True
                check = RiskCheck(rule.name, scope, limit, value, passed, rule.unknown if value is None else "")
                if value is not None and value >= warn_at * limit:
                    self._warn(check, warnings)
                elif self._near:
                    self._near.discard((rule.name, scope, None))
            checks.append(check)
            if not check.passed:
                breaches.append(check)
        self._count += 1
        enforced = self.policy.enforce
        allowed = not breaches or not enforced
        found = f"{case.now}-{self._count}"
        return Decision(found, order, case.now, allowed, enforced, tuple(breaches), tuple(warnings), tuple(checks))

    def _warn(self, check: RiskCheck, warnings: list[RiskCheck]) -> None:
        near = check.rule, check.scope, None
        if near not in self._near:
            self._near.add(near)
            warnings.append(check)
