"""The way out to TWS: the send queue in front of the connection of the moment.

This module writes queued messages when IB's limits let them leave. It must not know how a connection is made, or the
purpose of a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.codec.schema import Pace
from ibbridge.security.audit import NO_AUDIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.clock import Timer, TimerClock
    from ibbridge.codec import Dialect
    from ibbridge.security.audit import OrderAudit
    from ibbridge.tws.outbound import Held, OutboundMessage
    from ibbridge.tws.send_queue import SendQueue

AUDITED = frozenset((Pace.CANCEL, Pace.ORDER))
"""Paces of orders, changes and cancels, whose bytes the audit has before they leave."""

MOST_UNSENT = 1_048_576
"""Bytes written that TWS has not taken yet, above which requests are refused: with a host that hangs they pile up."""


class TransportWriter(Protocol):
    """A connection to TWS, as far as sending needs it."""

    @property
    def dialect(self) -> Dialect | None:
        """Message layouts of the connection; None before its greeting."""

    def write(self, data: bytes) -> None:
        """Write bytes."""

    def closing(self) -> bool:
        """Return True if the connection takes no bytes any more."""

    def unsent(self) -> int:
        """Return the bytes written that TWS has not taken yet."""


class SendPort:
    """Port that queues messages, and writes them to the connection that is attached.

    `commit` puts on the disk what must be there before messages with `on_refuse` leave; it returns False if it failed.
    `audit` gets the bytes of orders, changes and cancels before they leave.
    """

    def __init__(
        self, send_queue: SendQueue, commit: Callable[[], bool], clock: TimerClock, audit: OrderAudit = NO_AUDIT
    ) -> None:
        self._send_queue = send_queue
        self._commit = commit
        self._clock = clock
        self._audit = audit
        self._writer: TransportWriter | None = None
        self._timer: Timer | None = None

    # -- the connection

    def attach(self, writer: TransportWriter) -> None:
        """Write to this connection from now on."""
        self._writer = writer

    def detach(self) -> None:
        """Stop writing: the connection is closing."""
        self._writer = None

    def drop(self) -> None:
        """Drop all queued messages, because their connection is gone, and call their hooks."""
        for message in self._send_queue.drop():
            message.on_drop(message)

    @property
    def dialect(self) -> Dialect | None:
        """Message layouts of the connection; None without a connection or before its greeting."""
        return self._writer.dialect if self._writer else None

    @property
    def unsent(self) -> int:
        """Bytes written that TWS has not taken yet."""
        return self._writer.unsent() if self._writer else 0

    # -- messages

    def send(self, message: OutboundMessage) -> bool:
        """Queue a message, and write all that may leave now.

        Return False, without queueing the message, if there is no connection or its write buffer is full. Raise
        `CommandRefused` if too many messages wait.
        """
        writer = self._writer
        if writer is None or writer.closing() or writer.unsent() > MOST_UNSENT:
            return False
        self._send_queue.put(message, self._clock.monotonic())
        self._drain()
        return True

    def withdraw(self, message: OutboundMessage) -> bool:
        """Take a message out of the send queue. Return False if the message is not in the queue (any more)."""
        return self._send_queue.withdraw(message)

    def held(self, message: OutboundMessage) -> Held | None:
        """Return the limit of IB that holds a queued message back; None if no limit does."""
        return self._send_queue.held(message, self._clock.monotonic())

    def completed(self, message: OutboundMessage) -> None:
        """Mark the request of a sent message as completed at TWS, so that another request may leave.

        The other request leaves in a later callback, behind the messages that the caller sends now.
        """
        self._send_queue.completed(message)
        self._come_back(self._clock.monotonic())

    def waiting(self, pace: Pace) -> list[OutboundMessage]:
        """Return the queued messages of a pace."""
        return self._send_queue.waiting(pace)

    def has_orders(self) -> bool:
        """Return True if orders or cancels are queued."""
        return any(map(self.waiting, (Pace.CANCEL, Pace.ORDER)))

    def _drain(self) -> None:
        """Write the messages that may leave now, and set a timer for the next ones."""
        writer = self._writer
        if writer is None or writer.closing():
            return
        now = self._clock.monotonic()
        leaving = [message for message in self._send_queue.next_messages(now) if message.on_send(message)]
        leaving = self._committed(leaving)
        for message in leaving:
            writer.write(message.data)
        for message in leaving:
            message.on_written(message)
        self._come_back(now)

    def _committed(self, leaving: list[OutboundMessage]) -> list[OutboundMessage]:
        """Record and commit before messages leave that need it. Return the messages that may leave.

        A cancel leaves although it cannot be recorded.
        """
        audited = [message for message in leaving if message.request.pace in AUDITED]
        for message in audited:
            self._audit.record("sent", **_about(message), bytes=message.data)
        if audited:
            self._audit.hand_over()
        is_noted = all(message.on_refuse is None for message in leaving) or self._commit()
        is_recorded = not audited or self._audit.flush()
        if is_noted and is_recorded:
            return leaving
        for message in leaving:
            if message.on_refuse is not None:
                self._audit.record("withheld", **_about(message))
                message.on_refuse(message)
        return [message for message in leaving if message.on_refuse is None]

    def _come_back(self, now: float) -> None:
        """Set a timer for the time when the next messages may leave."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (wake := self._send_queue.wake()) is not None:
            self._timer = self._clock.call_later(max(0.0, wake - now), self._drain)


def _about(message: OutboundMessage) -> dict[str, Any]:
    """Return the facts that name a message in the audit."""
    return {"request": message.request.name, "client": message.client or "ibbridge", **message.about}
