"""Parts of a running daemon that take over settings at a reload: limits of alarms, and who may do what.

The module knows which part has which setting. It must not know files, or what is told of a reload.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ibbridge.config import credentials
from ibbridge.config.reload import Taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.config.model import Config
    from ibbridge.monitoring.health_checks import HealthChecks
    from ibbridge.risk.gate import TradingGate
    from ibbridge.security.access import Access, AccessRules
    from ibbridge.security.policy import Policy
    from ibbridge.streams.audience import Audience


class Revocable(Protocol):
    """Sockets whose peers can be disconnected."""

    def disconnect_revoked(self) -> int:
        """Disconnect the peers that would not be admitted any more. Return how many."""


class AlarmTaker:
    """Taker of the restart windows, the level of the log, and the limits of alarms."""

    def __init__(self, gate: TradingGate, health_checks: HealthChecks) -> None:
        self._gate = gate
        self._health_checks = health_checks

    def prepare(self, config: Config) -> Callable[[], Taken]:
        """Return the action that takes over new settings."""
        return partial(self._take, config)

    def _take(self, config: Config) -> Taken:
        self._gate.set_windows(config.tws.restart_windows)
        logging.getLogger().setLevel(config.log.level.upper())
        self._health_checks.bear(config.tws.not_ready_alarm, config.store.slow)
        return Taken()


class SecurityTaker:
    """Taker of clients, keys and policies. Peers who may do less from then on are disconnected."""

    def __init__(self, access: Access, policy: Policy, audience: Audience, doors: Revocable) -> None:
        self._access = access
        self._policy = policy
        self._audience = audience
        self._doors = doors

    def prepare(self, config: Config) -> Callable[[], Taken]:
        """Return the action that takes over clients and roles. Raise ConfigError for clients that cannot be read."""
        return partial(self._take, config, credentials.access_rules(config.security))

    def _take(self, config: Config, rules: AccessRules) -> Taken:
        """Take over clients and roles. Name the clients as changed if only their directory has changed."""
        known = self._access.rules
        changed = ("security.clients",) if rules.clients != known.clients else ()
        waiting = tuple(self._access.unapplied(rules))
        self._access.refresh(rules)
        self._policy.replace(config.security.roles, {client.name: client.policy for client in rules.clients})
        if rules != known:
            self._doors.disconnect_revoked()
        self._audience.end_changed("what it may subscribe to has changed")
        return Taken(changed, waiting)
