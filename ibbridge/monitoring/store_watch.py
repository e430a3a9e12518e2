"""Watch over the event store: its faults are logged and published, because orders are refused during a fault."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.monitoring.bridge_events import BridgeEvents
    from ibbridge.storage.event_store import EventStore

log = logging.getLogger(__name__)


class StoreWatch:
    """Watch over the event store."""

    def __init__(self, store: EventStore, events: BridgeEvents, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._fault = ""  # the fault that was reported last

    def tick(self) -> None:
        """Let the store do its periodic work, then report its fault."""
        self._store.tick(int(self._clock.monotonic() * 1e6))
        self.report()

    def report(self) -> None:
        """Log and publish a change of the store's fault."""
        before, fault = self._fault, self._store.fault
        if fault == before:
            return
        self._fault = fault
        if fault:
            log.error("event store: %s. Orders are refused; other messages are published, and kept in memory", fault)
        else:
            log.warning("event store writable again; accepting orders")
        if bool(fault) != bool(before):
            self._events.store(self.summary())

    def summary(self) -> dict[str, Any]:
        """Return the state of the store for heartbeats."""
        return {
            "name": self._store.name,
            "fault": self._store.fault or None,
            "uncommitted": self._store.uncommitted,
        }
