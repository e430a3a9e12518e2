"""Dispatcher of what one read from TWS brought: each message goes to the parts that must know it, and to its topic.

The messages of one read are published together, and then the sockets of the bus are served. This module must not know
what a message means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.codec import Message, Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibbridge.clock import Timer, TimerClock
    from ibbridge.codec import Packed
    from ibbridge.inbound.connection_events import ConnectionTracker
    from ibbridge.inbound.router import Router
    from ibbridge.inbound.undecodable import UndecodableMessages
    from ibbridge.streams.publisher import Publisher

TOGETHER = 3
"""Reads in a burst whose messages may wait, to share one commit with those of the next read: some 8 ms in all."""


class Sockets(Protocol):
    """Sockets of the bus, as far as a turn needs them."""

    @property
    def send(self) -> Callable[[list[bytes]], None]:
        """Function that sends topics and bodies in turn."""

    def turn(self) -> None:
        """Serve both sockets."""


class Turn:
    """Turn of the bus: held messages are sent, then both sockets are served.

    In this order a welcome follows the messages that it counts. `connect` comes before the first turn: the publisher
    sends by the turn, and the bus welcomes by the publisher.
    """

    _publisher: Publisher
    _bus: Sockets

    def __init__(self, clock: TimerClock) -> None:
        self._clock = clock
        self._timer: Timer | None = None
        self._reads = 0  # reads whose messages wait for a commit
        self._taken = False  # the turn is being taken

    def connect(self, publisher: Publisher, bus: Sockets) -> None:
        """Take turns with this publisher and these sockets from now on."""
        self._publisher, self._bus = publisher, bus

    def now(self) -> None:
        """Take the turn."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._reads, self._taken = 0, True
        try:
            self._publisher.flush()
            self._bus.turn()
        finally:
            self._taken = False

    def send(self, frames: list[bytes]) -> None:
        """Send topics and bodies in turn. Outside a turn the sockets are then served soon: they may miss a signal."""
        self._bus.send(frames)
        if not self._taken and self._timer is None:
            self._timer = self._clock.call_later(0, self.now)

    def after_read(self, *, more: bool) -> None:
        """Take the turn after a read, unless there is `more` to read and its messages may share the commit.

        A commit of several reads is a callback of its own: so no callback takes longer than a read, or a commit.
        """
        if (more or self._reads) and self._publisher.end_batch():
            self._reads += 1
            if (more and self._reads <= TOGETHER) or self._timer is None:
                self.soon()
        else:
            self.now()

    def soon(self) -> None:
        """Schedule the turn, in case nothing takes it before. The loop runs timers after waiting reads."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(0, self.now)


class Dispatcher:
    """Dispatcher of messages and events of the connection to TWS."""

    def __init__(
        self,
        publisher: Publisher,
        router: Router,
        connection: ConnectionTracker,
        undecodable: UndecodableMessages,
        turn: Turn,
    ) -> None:
        self._publisher = publisher
        self._router = router
        self._connection = connection
        self._undecodable = undecodable
        self._turn = turn

    def deliver(self, messages: Iterable[Message | Packed | Undecodable], ts: int, *, more: bool = False) -> None:
        """Publish the messages of one read, then serve the sockets of the bus.

        No inbound message is dropped: an undecodable one is published with its bytes. If there is `more` to read,
        durable messages are committed and sent together with those of the next reads: a commit costs as much as 200
        ticks.
        """
        try:
            self._publisher.publish_all(messages, ts, self._router.usual, self._deliver)
        finally:
            self._turn.after_read(more=more)

    def _deliver(self, message: Message | Packed | Undecodable, ts: int) -> None:
        """Publish a message that `Publisher.publish_all` has no channel for."""
        if isinstance(message, Message):
            self._publish(message.name, message.data, ts)
        elif isinstance(message, Undecodable):
            self._undecodable.publish(message, ts)
        else:
            self._router.pass_on(message, ts)

    def _publish(self, name: str, data: dict[str, Any], ts: int) -> None:
        handler = self._connection.handlers.get(name)
        if handler is not None:
            handler(data, ts)
            if name == "serverVersion":
                return
        try:
            self._router.publish(name, data, ts)
        except OverflowError as error:
            fault = f"a number without room in msgpack: {error}"
            self._undecodable.publish(Undecodable(None, name, fault, repr(data).encode()[:65536], known=data), ts)

    # -- events of the connection

    def stage_changed(self) -> None:
        """Publish the stage of the connection to TWS."""
        self._connection.stage_changed()
        self._turn.now()

    def connection_ready(self) -> None:
        """Tell the listeners, in their order."""
        self._connection.ready()

    def connection_lost(self) -> None:
        """Tell the listeners, in their order."""
        self._connection.lost()
