"""The daemon's own events on `sys.bridge.`: alarms, halts, faults of the store, and its end.

This module must not know the causes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.clock import Clock
    from ibbridge.streams.publisher import Publisher

_TRADING = {"active": "resumed", "reducing": "restricted to those that reduce positions", "halted": "halted"}
"""Words of the log for the states of a scope."""

log = logging.getLogger(__name__)


class BridgeEvents:
    """Publisher of the daemon's own events, which are logged too."""

    def __init__(self, publisher: Publisher, clock: Clock) -> None:
        self._publisher = publisher
        self._clock = clock

    def alarm(self, about: dict[str, Any]) -> None:
        """Publish an alarm that begins or ends."""
        if about["raised"]:
            log.error("alarm %s: %s", about["alarm"], about["why"])
        else:
            log.warning("alarm %s is over", about["alarm"])
        self._publish("alarm", about, about["alarm"])

    def halt(self, about: dict[str, Any]) -> None:
        """Publish that orders of a scope are halted, may only reduce positions, or are accepted again."""
        why = f": {about['reason']}" if about["reason"] else ""
        whose = f"of {about['scope']} {about['name']} " if about["name"] else ""
        log.warning("orders %s%s by %s%s", whose, _TRADING[about["state"]], about["client"], why)
        self._publish("halt", about, (about["scope"], about["name"]) if about["name"] else ())

    def mass_cancel(self, about: Mapping[str, Any]) -> None:
        """Publish the progress of a mass cancel."""
        counts = ", ".join(f"{number} {name}" for name, number in about["counts"].items())
        whose = f"{about['scope']} {about['name']}".rstrip()
        log.warning("orders of %s are cancelled (%s)%s: %s", whose, about["cause"], ", over" * about["over"], counts)
        self._publish("massCancel", about, (about["cause"], about["scope"], about["name"]))

    def store(self, about: Mapping[str, Any]) -> None:
        """Publish a fault of the event store, or its end."""
        self._publish("store", about, ())

    def reconciled(self, about: Mapping[str, Any]) -> None:
        """Publish the outcome of a comparison of the orders with those of TWS."""
        if about["not_at_tws"] or about["unknown"] or not about["complete"]:
            log.warning("orders were compared with those of TWS: %s", about)
        self._publish("reconciled", about, ())

    def reloaded(self, about: Mapping[str, Any]) -> None:
        """Publish that the configuration was read again, and what has changed, or why nothing has."""
        self._publish("reload", about, ())

    def bye(self) -> None:
        """Publish that the daemon ends."""
        channel = self._publisher.channel("sys", "bridge", "bye")
        self._publisher.publish_map(channel, {"offset": self._publisher.offset}, self._clock.utc_us())

    def _publish(self, kind: str, about: Mapping[str, Any], identity: object) -> None:
        channel = self._publisher.channel("sys", "bridge", kind)
        self._publisher.publish_map(channel, about, self._clock.utc_us(), identity)
