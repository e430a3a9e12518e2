"""Undecodable messages of TWS: published with their bytes, counted beyond a limit, and told to the clients concerned.

This module must not know how bytes are decoded.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ibbridge.monitoring.health_checks import REMEMBERED
from ibbridge.tws.decode_errors import DecodeErrors, MessageType

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.codec import Undecodable
    from ibbridge.inbound.unreadable import Unreadable
    from ibbridge.monitoring.alarms import Alarms
    from ibbridge.streams.publisher import Publisher

log = logging.getLogger(__name__)


class UndecodableMessages:
    """Publisher of undecodable messages."""

    def __init__(self, publisher: Publisher, unreadable: Unreadable, alarms: Alarms, clock: Clock) -> None:
        self._publisher = publisher
        self._unreadable = unreadable
        self._alarms = alarms
        self._clock = clock
        self._decode_errors = DecodeErrors(clock.monotonic())
        self._unread_at = clock.monotonic()
        self._count = 0

    def publish(self, message: Undecodable, ts: int) -> None:
        """Publish an undecodable message with its bytes, and notify the request that waits for the message."""
        self._count += 1
        kind, size = MessageType(message.id, message.name), len(message.raw)
        admitted = self._decode_errors.admit(kind, message.reason, size, self._clock.monotonic())
        why = f"{message.field}: {message.reason}" if message.field else message.reason
        if message.id is None and message.name is None:
            self._unreadable.unidentified()
        whose = self._unreadable.notify(message.name, message.known, why, ts, admitted=admitted)
        if not admitted:
            return
        log.warning("cannot decode %s (id %s) from TWS: %s; published on sys.tws.decodeError.", *kind[::-1], why)
        about = {**kind._asdict(), "reason": message.reason, "field": message.field, "raw": message.raw}
        about |= {"reqId": whose.number, "ref": whose.ref}
        self._publisher.publish_map(self._publisher.channel("sys", "tws", "decodeError"), about, ts)

    def counts(self) -> dict[str, int]:
        """Return the number of undecodable messages since the start, for `status`; nothing if there were none."""
        return {"decodeErrors": self._count} if self._count else {}

    def tick(self) -> None:
        """Publish the counts of undecodable messages beyond the limit, and raise or end their alarm."""
        now, ts = self._clock.monotonic(), self._clock.utc_us()
        if about := self._decode_errors.summary():
            self._unread_at = now
            self._publisher.publish_map(self._publisher.channel("sys", "tws", "decodeErrors"), about, ts)
            why = (
                f"TWS sends more undecodable messages than are kept: {about['count']:,} in a second are only "
                f"counted, such as {about['kinds'][0]['name']} (id {about['kinds'][0]['id']}): "
                f"{about['kinds'][0]['reason']}"
            )
            self._alarms.update("decodeErrors", why, ts)
        elif now - self._unread_at > REMEMBERED:
            self._alarms.update("decodeErrors", "", ts)
