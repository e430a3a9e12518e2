"""Reports of the gate of risk: what it has decided lately, and what an operator and the owner of an order must know.

Pure. Refusals that are only observed, warnings near a limit, and a closed breaker are published. The audit has all
refusals and warnings. The module must not know rules, or how an order is sent.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from ibbridge.risk.working_order import ALL

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.risk.evaluation import Decision, RiskCheck
    from ibbridge.security.audit import CommandAudit
    from ibbridge.streams.publisher import Publisher

MOST = 2_000
"""Most decisions that are remembered."""

TYPE = "risk"
"""Type of the messages about limits."""


class RiskReports:
    """Decisions of the gate, the newest `MOST`, and their publication."""

    def __init__(self, publisher: Publisher, clock: Clock, audit: CommandAudit) -> None:
        self.audit = audit
        self._publisher = publisher
        self._clock = clock
        self._by_id: OrderedDict[str, Decision] = OrderedDict()
        self._by_key: dict[tuple[str, str], str] = {}

    def decided(self, decision: Decision, *, late: bool = False) -> None:
        """Remember a decision, and publish and record what others must know of it.

        `late`: it is about an order that has waited, and the command that is executed now may be another client's.
        """
        name = decision.order.name
        self._by_id[decision.id] = decision
        self._by_key[name] = decision.id
        if len(self._by_id) > MOST:
            _, old = self._by_id.popitem(last=False)
            if self._by_key.get(old.order.name) == old.id:
                del self._by_key[old.order.name]
        for check in decision.warnings if decision.allowed else ():
            if check.passed:
                self._record("warning", decision, check, late=late)
                self._publish("warning", decision, check)
        for check in decision.breaches:
            self._record("refused" if decision.enforced else "observed", decision, check, late=late)
            if not decision.enforced:
                self._publish("observed", decision, check)

    def _record(self, what: str, decision: Decision, check: RiskCheck, *, late: bool) -> None:
        """Tell the audit of one check: of an order that passes, the record of the order names the decision."""
        owner, key = decision.order.name
        is_refused = what == "refused"
        whose = {"identity": None} if late else {}
        self.audit.record(
            "decision",
            what=what,
            allowed=not is_refused,
            code="E_RISK" if is_refused else None,
            rule=check.rule,
            scope=scope_name(check.scope),
            limit=plain_limit(check.limit),
            value=check.value,
            fault=in_words(check) if is_refused else None,
            decision=decision.id,
            client=owner,
            key=key,
            account=decision.order.account,
            **whose,
        )

    def unjudged(self, owner: str, key: str, rule: str, fault: str, *, enforced: bool) -> None:
        """Tell the audit of an order that is refused because no limit can be asked about it."""
        what, code = ("refused", "E_RISK") if enforced else ("observed", None)
        about = {"rule": rule, "fault": fault, "client": owner, "key": key}
        self.audit.record("decision", what=what, allowed=not enforced, code=code, **about)

    def breaker(self, scope: tuple[str, str], *, tripped: bool) -> None:
        """Publish that rejects have closed the gate for a scope, or that it is open again."""
        about = {"what": "breaker", "rule": "reject_breaker", "scope": scope_name(scope), "tripped": tripped}
        channel = self._publisher.transient_channel("sys", "bridge", TYPE)
        self._publisher.publish_map(channel, about, self._clock.utc_us())

    def find(self, decision: str | None, owner: str, key: str | None) -> Decision | None:
        """Return a decision by its id, or the last one about an order; None if it is not remembered."""
        found = decision if decision is not None else self._by_key.get((owner, key or ""))
        return self._by_id.get(found or "")

    def _publish(self, what: str, decision: Decision, check: RiskCheck) -> None:
        owner, key = decision.order.name
        about = {
            "what": what,
            "client": owner,
            "key": key,
            "account": decision.order.account,
            **described(check),
            "decision": decision.id,
        }
        now = self._clock.utc_us()
        self._publisher.publish_map(self._publisher.transient_channel("sys", "bridge", TYPE), about, now)
        if what == "warning":
            ref = {"owner": owner, "key": key, "orderId": None}  # the order has no id yet
            self._publisher.publish_map(self._publisher.transient_channel("ord", owner, key, TYPE, ref=ref), about, now)


def in_words(check: RiskCheck) -> str:
    """Return why a check refuses an order, in words."""
    of = "" if check.scope == ALL else f" of {scope_name(check.scope)}"
    if check.fault:
        return f"{check.rule}{of}: {check.fault}"
    return f"{check.rule}{of}: {check.value:.10g} would be over the limit of {check.limit:.10g}"


def scope_name(scope: tuple[str, str]) -> str:
    """Return the name of a scope, such as `client algo`."""
    return f"{scope[0]} {scope[1]}".strip()


def plain_limit(limit: Any) -> Any:
    """Return a limit as plain data."""
    if isinstance(limit, int | float | bool | str | None):
        return limit
    lists = [[str(each) for each in one] for one in limit]  # each of them is to be kept
    return lists[0] if len(lists) == 1 else lists


def described(check: RiskCheck) -> dict[str, Any]:
    """Return a check as plain data."""
    return {
        "rule": check.rule,
        "scope": scope_name(check.scope),
        "limit": plain_limit(check.limit),
        "value": check.value,
        "passed": check.passed,
        "fault": check.fault,
    }
