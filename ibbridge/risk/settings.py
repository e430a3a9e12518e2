"""The policy of the gate from the section `risk` of the configuration, and from the limits of roles and clients.

Pure. The module must not know files, or what a limit does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.config.model import ConfigError
from ibbridge.risk.limits import IB_OPEN_ORDERS, LimitFaults, Limits, RiskPolicy, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ibbridge.config.model import RiskConfig
    from ibbridge.security.access import AccessRules
    from ibbridge.security.policy_terms import Terms

IN_MONEY = (
    "max_order_notional",
    "max_gross_exposure",
    "max_net_exposure",
    "max_daily_notional",
    "max_daily_loss",
)
"""Limits that are amounts in the base currency."""

EVERY = "*"


@dataclass(frozen=True, slots=True)
class ConfiguredPolicy(RiskPolicy):
    """Policy of a configuration. `live`: the live accounts for which orders are taken, by name or pattern."""

    live: tuple[str, ...] = ()

    def for_account(self, account: str) -> Limits:
        """Return the limits of an account."""
        found = RiskPolicy.for_account(self, account)
        if found.allow_live is None and not any(fnmatchcase(account, pattern) for pattern in self.live):
            return replace(found, allow_live=False)
        return found


class GivenLimits(NamedTuple):
    """Limits of a client that stand outside of the section `risk`, and the place where they stand."""

    client: str
    limits: Mapping[str, Any]
    where: str


def of_rights(rules: AccessRules, roles: Mapping[str, Terms]) -> Iterator[GivenLimits]:
    """Yield the limits of roles and of clients in the section `security`.

    The limits of a role whose peers have no names of their own hold for every client.
    """
    for client in rules.clients:
        yield GivenLimits(client.name, client.policy.limits, f"security.clients.{client.name}.limits")
        yield from _of_role(client.name, client.role, roles)
    for role in (rules.ipc_role, rules.loopback_role):
        yield from _of_role(EVERY, role, roles)


def _of_role(client: str, role: str, roles: Mapping[str, Terms]) -> Iterator[GivenLimits]:
    seen: set[str] = set()
    while role in roles and role not in seen:
        seen.add(role)
        yield GivenLimits(client, roles[role].limits, f"security.roles.{role}.limits")
        role = roles[role].like


def policy(config: RiskConfig, further: Iterable[GivenLimits] = ()) -> ConfiguredPolicy:
    """Return the policy of a configuration. `further` limits of clients hold, too: the strictest do.

    Raise `ConfigError` with the faults of all limits.
    """
    faults: list[str] = []
    whole = _parsed(config.all, "risk.all", faults)
    accounts = {name: _parsed(given, f"risk.accounts.{name}", faults) for name, given in config.accounts.items()}
    clients = {name: _parsed(given, f"risk.clients.{name}", faults) for name, given in config.clients.items()}
    for name, given, where in further:
        more = _parsed(given, where, faults)
        clients[name] = clients[name].merged(more) if name in clients else more
    every = {"": whole, **accounts, **clients}
    if not config.base_currency and any(
        getattr(each, name) is not None for each in every.values() for name in IN_MONEY
    ):
        faults.append(f"risk.base_currency: is missing; limits of amounts need it ({', '.join(IN_MONEY)})")
    if faults:
        raise ConfigError([*dict.fromkeys(faults)])
    of_all = accounts.get(EVERY, Limits())
    if of_all.max_open_orders is None:
        of_all = replace(of_all, max_open_orders=IB_OPEN_ORDERS)
    return ConfiguredPolicy(
        whole, {**accounts, EVERY: of_all}, clients, config.mode == "enforce", config.warn_at, config.allow_live
    )


def _parsed(given: Mapping[str, Any], where: str, faults: list[str]) -> Limits:
    try:
        return parse(given, where)
    except LimitFaults as error:
        faults += error.faults
        return Limits()
