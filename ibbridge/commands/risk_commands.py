"""The command `riskExplain`: all checks of a decision of the gate of risk, as its reply says them.

Pure. A client learns of its own orders only. The module must not know how a limit is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.orders.risk_reports import described
from ibbridge.protocol.errors import CommandRefused, shown
from ibbridge.risk.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.orders.risk_reports import RiskReports
    from ibbridge.risk.order import ProposedOrder

_SENTENCES: Mapping[str, str] = {rule.name: rule.sentence for rule in RULES}

_ORDER = (
    "client", "key", "account", "instrument", "symbol", "currency", "side", "quantity", "order_type", "limit_price",
    "aux_price", "multiplier",
)  # fmt: skip


class RiskCommands:
    """Executor of this command. `does` has it by its name, and takes the arguments and the client."""

    def __init__(self, reports: RiskReports) -> None:
        self._reports = reports
        self.does: Mapping[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {"riskExplain": self._explain}

    def _explain(self, args: dict[str, Any], client: str) -> dict[str, Any]:
        decision, key = args.get("decision"), args.get("key")
        if (decision is None) == (key is None):
            raise CommandRefused("E_ARG", "give decision, the id in a refusal, or key, the name of an order")
        found = self._reports.find(decision, client, key)
        if found is None or found.order.name[0] != client:
            what = f"decision {shown(decision)}" if decision is not None else f"decision on the order {shown(key)}"
            fault = f"no {what} about an order of {client} is remembered; the daemon has the newest of its own run"
            raise CommandRefused("E_ARG", fault)
        return {
            "decision": found.id,
            "ts": found.at,
            "allowed": found.allowed,
            "enforced": found.enforced,
            "order": _order(found.order),
            "checks": [{**described(check), "about": _SENTENCES.get(check.rule, "")} for check in found.checks],
        }


def _order(order: ProposedOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in _ORDER}
