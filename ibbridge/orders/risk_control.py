"""Control of orders by the limits of risk: asks the gate before an order is accepted, and once more before it leaves.

Pure. Of a group all orders must pass, and a change must pass as the order that it makes. A refusal names the rule, the
limit and the value, and says what to do where something is not known. The module must not know how an order is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.orders.order_accounts import is_allocated
from ibbridge.orders.risk_reports import in_words, plain_limit, scope_name
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.clock import Clock
    from ibbridge.orders.book_keeper import BookKeeper
    from ibbridge.orders.contract_lookup import ContractLookup
    from ibbridge.orders.market_facts import PublishedMarkets
    from ibbridge.orders.order import Order
    from ibbridge.orders.risk_reports import RiskReports
    from ibbridge.risk.evaluation import Decision, RiskCheck
    from ibbridge.risk.gate import TradingGate
    from ibbridge.risk.limits import RiskPolicy
    from ibbridge.risk.order import ProposedOrder

OF_POSITIONS = ("max_position", "max_gross_exposure", "max_net_exposure", "max_daily_loss")
"""Limits that need the positions of an account."""

OF_PRICES = frozenset((
    "price_collar_percent", "price_collar_ticks", "max_order_quantity", "max_order_notional", "max_gross_exposure",
    "max_net_exposure", "max_daily_notional", "max_daily_loss",
))  # fmt: skip
"""Limits that may need a quote, a rate or a multiplier."""

FOR_EVER = frozenset((
    "order_values", "allow_live", "max_order_quantity", "symbols", "deny_symbols", "security_types",
    "deny_security_types", "exchanges", "deny_exchanges", "currencies", "deny_currencies",
))  # fmt: skip
"""Rules that refuse the same order always."""

PASSING: Mapping[str, float] = {
    "max_orders_per_second": 1.0,
    "max_symbol_orders_per_second": 1.0,
    "max_orders_per_minute": 10.0,
    "max_symbol_orders_per_minute": 10.0,
}
"""Seconds after which an order that these rules refuse may pass."""

LATE = frozenset(("max_daily_loss", "reject_breaker", "trading_window", "market_orders", "allow_live"))
"""Rules whose answer may have changed while an order waited, without a word of the order."""


class OrderGates(NamedTuple):
    """The two gates that an order passes: the one for all orders, and the one of the limits."""

    gate: TradingGate
    risk: RiskControl


class RiskControl:
    """Control of orders by the limits of risk."""

    def __init__(
        self,
        keeper: BookKeeper,
        facts: PublishedMarkets,
        lookup: ContractLookup,
        reports: RiskReports,
        clock: Clock,
    ) -> None:
        self.keeper = keeper
        self.reports = reports
        self._gate = keeper.gate
        self._facts = facts
        self._lookup = lookup
        self._clock = clock
        self._counts_ticks = _counts_ticks(keeper.gate.policy)
        self._tripped: set[tuple[str, str]] = set()
        self._passed: list[Decision] = []

    def set_policy(self, policy: RiskPolicy, base: str) -> None:
        """Change all limits, and the currency in which they are. What was counted stays."""
        self._facts.base = base
        self._counts_ticks = _counts_ticks(policy)
        self._gate.set_policy(policy)

    # -- before an order is accepted

    def admit(self, orders: Sequence[Order]) -> tuple[ProposedOrder, ...]:
        """Count orders that leave together. Raise `CommandRefused` if one of them is over a limit.

        What takes time and nobody waits for is done by `settle`, after the bytes of the orders.
        """
        self.keeper.positions()  # they name contracts, too
        proposed = tuple(each for order in orders for each in self.keeper.proposals.of(order))
        decisions = self._decide(proposed, [(order.args.get("contract") or {}) for order in orders])
        for order in orders if self._gate.limited_accounts else ():
            self._check_account(order, order.args)
        self._passed += decisions
        self.keeper.accept(proposed)
        for order, decision in zip(orders, decisions, strict=True):
            order.decision = decision.id
        return proposed

    def admit_change(self, order: Order, args: Mapping[str, Any]) -> tuple[ProposedOrder, ...]:
        """Count the order that an order becomes with other arguments. Raise `CommandRefused` if it is over a limit."""
        self.keeper.positions()
        proposed = tuple(self.keeper.proposals.of(order, args))
        (decision,) = self._decide(proposed, [args.get("contract") or {}])
        if self._gate.limited_accounts:
            self._check_account(order, args)
        self._passed.append(decision)
        self.keeper.accept(proposed)
        self.keeper.changes(order, args)
        order.decision = decision.id
        return proposed

    def settle(self) -> None:
        """Do what no order need wait for: count what was let pass, and report the decisions."""
        self._gate.settle()
        passed, self._passed = self._passed, []
        for decision in passed:
            self.reports.decided(decision)

    def take_back(self, proposed: Sequence[ProposedOrder]) -> None:
        """Take back what was counted last, because the command is refused for another reason."""
        self.keeper.take_back(proposed)

    def _check_account(self, order: Order, args: Mapping[str, Any]) -> None:
        """Refuse an order that TWS allocates to accounts, while an account has limits that count over several orders.

        Nobody here knows for which account such an order would count.
        """
        if not is_allocated(args.get("order") or {}):
            return
        limited = self._gate.limited_accounts
        fault = (
            f"accounts: TWS would allocate the order, so the limits of {limited} cannot be counted: give "
            "each account an order of its own (order.account, without faGroup, faMethod, faPercentage and modelCode), "
            "or have the limits under risk.all or risk.clients instead of risk.accounts"
        )
        enforced = self._gate.policy.enforce
        self.reports.unjudged(order.owner, order.key, "accounts", fault, enforced=enforced)
        if enforced:
            raise CommandRefused("E_RISK", fault, outcome="refused", rule="accounts", scope="accounts")

    def _decide(self, proposed: Sequence[ProposedOrder], contracts: Sequence[Mapping[str, Any]]) -> list[Decision]:
        now = self._clock.utc_us()
        if len(proposed) == 1:
            decisions = [self._gate.evaluate(proposed[0], now)]
        else:
            decisions = self._gate.evaluate_group(proposed, now)
        for decision, contract in zip(decisions, contracts, strict=True):
            unnamed = bool(decision.breaches) and not decision.order.symbol and not decision.order.legs
            if self._counts_ticks or unnamed or any(map(_is_unknown, decision.breaches)):
                self._lookup.ask(contract, decision.order.instrument)
        refused = next((decision for decision in decisions if not decision.allowed), None)
        if refused is not None:
            for decision in decisions:
                self.reports.decided(decision)
            raise self._refusal(refused)
        return decisions

    def _refusal(self, decision: Decision) -> CommandRefused:
        first = decision.breaches[0]
        faults = [in_words(check) for check in decision.breaches]
        faults += self._advice(decision)
        faults.append(f"{_explained_by(decision)} has all checks")
        known = all(check.value is not None or check.rule in FOR_EVER for check in decision.breaches)
        for_ever = known and any(check.rule in FOR_EVER for check in decision.breaches)
        pauses = [PASSING[check.rule] for check in decision.breaches if check.rule in PASSING]
        more = {"retry_after": max(pauses)} if pauses and not for_ever else {}
        return CommandRefused(
            "E_RISK",
            *faults,
            outcome="refused" if for_ever else "not_sent",
            rule=first.rule,
            scope=scope_name(first.scope),
            limit=plain_limit(first.limit),
            value=first.value,
            decision=decision.id,
            **more,
        )

    def _advice(self, decision: Decision) -> list[str]:
        """Return what to do about what is not known."""
        order = decision.order
        rules = {check.rule for check in decision.breaches}
        if "allow_live" in rules:
            line = f"risk: {{allow_live: [{order.account or 'U...'}]}}"
            whose = order.account or "of the login"
            return [f"to trade the live account {whose}, write `{line}` into the configuration, and reload it (SIGHUP)"]
        if not any(map(_lacks_a_fact, decision.breaches)):
            return []
        if order.multiplier is None:
            return ["TWS was asked what one unit of the contract is worth; try again in a second"]
        if order.currency and self._facts.rate(order.currency) is None:
            pair = f"the rate of {order.currency} to {self._facts.base or 'the base currency'}"
            return [f"{pair} is not known: subscribe to reqAccountUpdates, or to the market data of the pair (CASH)"]
        if not order.legs and self._facts.quote(order.instrument, order.con_id) is None:
            return [f"no quote of md.{order.instrument}. has come: subscribe to it with reqMktData"]
        return []

    # -- before an order leaves

    def late_fault(self, orders: Sequence[Order]) -> str:
        """Return why orders, or changes of them, that have waited must not leave any more; empty if they may."""
        now = self._clock.utc_us()
        for order in orders:
            working = self._gate.book.working.get((order.owner, order.key))
            if working is None:
                continue
            decision = self._gate.evaluate(working.order, now)
            late = [check for check in decision.breaches if check.rule in LATE]
            if late and decision.enforced:
                self.reports.decided(decision, late=True)
                return f"{in_words(late[0])} ({_explained_by(decision)} has all checks)"
        return ""

    def tick(self) -> None:
        """Do the periodic work on the book, and publish which breakers have changed. Call it about every second."""
        self.keeper.tick()
        tripped = {scope for scope, book in self._gate.book.scopes.items() if book.tripped is not None}
        for scope in tripped ^ self._tripped:
            self.reports.breaker(scope, tripped=scope in tripped)
        self._tripped = tripped  # type: ignore[assignment]


def _is_unknown(check: RiskCheck) -> bool:
    """Return True if a check may say more once TWS has given the details of the contract."""
    return check.value is None and check.rule not in FOR_EVER


def _counts_ticks(policy: RiskPolicy) -> bool:
    """Return True if a limit is in steps of the price, which the details of a contract say."""
    every = (policy.all, *policy.accounts.values(), *policy.clients.values())
    return any(limits.price_collar_ticks is not None for limits in every)


def _lacks_a_fact(check: RiskCheck) -> bool:
    """Return True if a check may refuse because a quote, a rate or a multiplier is not known."""
    return check.value is None and bool(check.fault) and check.rule in OF_PRICES


def _explained_by(decision: Decision) -> str:
    """Return the command that prints all checks of a decision."""
    return f"`ibbridge risk explain {decision.id} --by {decision.order.name[0]}`"
