"""Watch over the audit: its fault is an alarm, its records and its head are published for those who may see them.

The messages are a stream like others, so that a subscriber of everything meets no message without a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.monitoring.alarms import Alarms
    from ibbridge.security.audit import DaemonAudit
    from ibbridge.streams.publisher import Publisher


class AuditWatch:
    """Watch over the audit."""

    def __init__(self, audit: DaemonAudit, alarms: Alarms, publisher: Publisher, clock: Clock) -> None:
        self._audit = audit
        self._alarms = alarms
        self._publisher = publisher
        self._clock = clock
        self._published = 0  # the last head's

    def tick(self) -> None:
        """Let the audit do its periodic work, update the alarm, publish new records and their head."""
        audit = self._audit
        audit.tick()
        ts = self._clock.utc_us()
        self._alarms.update("audit", audit.fault, ts)
        for record in audit.take_written():
            channel = self._publisher.channel("sys", "audit", f"audit{record['kind'].capitalize()}")
            self._publisher.publish_map(channel, record, ts)
        head = audit.head
        if head.seq != self._published:
            self._published = head.seq
            channel = self._publisher.channel("sys", "audit", "auditHead")
            self._publisher.publish_map(channel, {"seq": head.seq, "digest": head.digest}, ts, ())
