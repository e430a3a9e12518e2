"""The connection to TWS: carries out the actions of `ibbridge.tws.supervisor`, and reports their outcome to it.

The module decides nothing: the supervisor does. It must not know topics, commands or the meaning of a message, and how
bytes travel (`transport`). Messages read from a connection go to `ConnectionEvents` in the callback that read them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.codec import HandshakeError, Message, Undecodable
from ibbridge.codec.messages import REQUESTS
from ibbridge.tws.outbound import OutboundMessage
from ibbridge.tws.session import Stage
from ibbridge.tws.supervisor import MARKET_DATA, Action, Close, Open, Resolve
from ibbridge.tws.transport import LEAVING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ibbridge.clock import Timer, TimerClock
    from ibbridge.codec import Packed
    from ibbridge.tws.send_port import SendPort
    from ibbridge.tws.supervisor import AnyAction, Supervisor
    from ibbridge.tws.transport import TcpTransport, TcpTransports

log = logging.getLogger(__name__)

_PROBE = REQUESTS["reqCurrentTime"]


class ConnectionEvents(Protocol):
    """Events of the connection, as the inbound side of the daemon receives them."""

    def deliver(self, messages: Iterable[Message | Packed | Undecodable], ts: int, *, more: bool) -> None:
        """Take all messages of one read at `ts` (µs since 1970 UTC). Iterating over them decodes them.

        `more`: the read filled its buffer, so the next read probably follows at once.
        """

    def stage_changed(self) -> None:
        """Publish the session's state: its stage changed, or a competing session took or released the market data."""

    def connection_ready(self) -> None:
        """Send the requests that each new connection needs: ids and accounts are known now."""

    def connection_lost(self) -> None:
        """Give up all requests under way: the connection is gone, and the queued messages were dropped."""


class TwsConnector:
    """Connector to TWS: keeps one connection open, and tells the inbound side what happens on it."""

    def __init__(
        self,
        supervisor: Supervisor,
        send_port: SendPort,
        transports: TcpTransports,
        events: ConnectionEvents,
        clock: TimerClock,
    ) -> None:
        self._supervisor = supervisor
        self._session = supervisor.session
        self._send_port = send_port
        self._transports = transports
        self._events = events
        self._clock = clock
        self._link: TcpTransport | None = None
        self._leaving: set[TcpTransport] = set()
        self._running = False
        self._alarm: Timer | None = None

    async def run(self) -> None:
        """Connect, stay connected, reconnect. The coroutine ends only when it is cancelled, and closes the socket."""
        self.begin()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.end()
            await self._leave()

    def begin(self) -> None:
        """Begin to connect."""
        self._running = True
        self._wake(self._clock.monotonic())

    def end(self) -> None:
        """Close the connection, and do not connect again."""
        self._running = False
        if self._alarm is not None:
            self._alarm.cancel()
        self._drop()
        self._transports.close()

    # -- the supervisor's actions

    def _go(self) -> None:
        """Carry out actions until none are left, for an action may cause others; then set the alarm."""
        while acts := self._supervisor.next_actions():
            for act in acts:
                self._do(act)
        self._arm()

    def _go_soon(self) -> None:
        """Schedule `_go`, because the messages of one read are still being handled."""
        if self._running:
            self._clock.call_soon(self._go)

    def _do(self, act: AnyAction) -> None:
        match act:
            case Action.TELL:
                self._events.stage_changed()
            case Action.BEGIN if self._link is not None:
                self._link.flush()
            case Action.PROBE if self._link is not None and self._link.dialect is not None:
                # In its turn, because TWS counts it.
                self._send_port.send(OutboundMessage(_PROBE, self._link.dialect.put(_PROBE.name, {})))
            case Resolve(host, port):
                for link in self._leaving:  # TWS must not find two connections of one client id
                    link.abort()
                self._transports.resolve(host, port, self)
            case Open(address):
                self._link = self._transports.open(address, self)
                self._send_port.attach(self._link)
            case Close(stage, why, repeated):
                level = logging.DEBUG if repeated else logging.WARNING
                log.log(level, "TWS at %s, while %s: %s", self._supervisor.where, stage.value, why)
                self._drop()

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        at = self._supervisor.next_wakeup()
        if at is not None and self._running:
            self._alarm = self._clock.call_later(max(0.0, at - self._clock.monotonic()), self._wake, at)

    def _wake(self, at: float) -> None:
        """Wake the supervisor, at `at` or later."""
        # The loop's timer may fire a little before `at`; without max() it would fire again and again until then.
        now = max(at, self._clock.monotonic())
        self._supervisor.wake(now, self._link.taken() if self._link else 0)
        self._go()

    def _drop(self) -> None:
        """Cancel the look-up or connect under way, and close the connection."""
        self._transports.stop_trying()
        link, self._link = self._link, None
        self._send_port.detach()
        if link is not None and link.open:
            self._leaving.add(link)
            link.close()
            if self._running:
                self._clock.call_later(LEAVING, link.abort)
            self._send_port.drop()
            self._events.connection_lost()

    async def _leave(self) -> None:
        """Wait up to `LEAVING` seconds until the closed connections are gone, then abort the rest."""
        if leaving := [link.gone for link in self._leaving]:
            await asyncio.wait(leaving, timeout=LEAVING)
        for link in self._leaving:
            link.abort()
        await asyncio.sleep(0)  # asyncio calls their connection_lost in this iteration

    # -- events of look-ups and connections

    def resolved(self, addresses: list[tuple[Any, ...]]) -> None:
        """Tell the supervisor the addresses of the host."""
        self._supervisor.resolved(addresses, self._clock.monotonic())
        self._go()

    def refused(self, link: TcpTransport | None, error: Exception) -> None:
        """Tell the supervisor that a look-up (`link` is None) or a connect failed."""
        if link is not self._link:
            return
        self._link = None
        self._send_port.detach()
        self._supervisor.refused(_reason(error), self._clock.monotonic())
        self._go()

    def made(self, link: TcpTransport) -> bool:
        """Begin the handshake on a new TCP connection. Return False if the connector has given it up meanwhile."""
        if link is not self._link:
            return False
        self._supervisor.opened(self._clock.monotonic())
        self._go()
        return True

    def received(
        self, link: TcpTransport, messages: Iterator[Message | Packed | Undecodable], ts: int, *, more: bool
    ) -> None:
        """Deliver the messages of one read, and carry out what they make the supervisor decide."""
        session = self._session
        session.heard = self._clock.monotonic()
        if session.stage is not Stage.READY or session.competing:
            messages = self._watched(link, messages)
        self._events.deliver(messages, ts, more=more)
        if self._supervisor.has_news:  # a notice of IB's among the messages
            self._go_soon()

    def _watched(
        self, link: TcpTransport, messages: Iterator[Message | Packed | Undecodable]
    ) -> Iterator[Message | Packed | Undecodable]:
        """Yield the messages of one read, and tell the supervisor of those that change the session.

        Before READY these are all messages, later the market data that shows the end of a competing session.
        """
        for message in messages:
            # Before the supervisor: when the connection becomes ready, the next order id must be known already.
            yield message
            if self._session.stage is not Stage.READY:
                self._learn(link, message)
            elif self._session.competing and _name(message) in MARKET_DATA:
                self._supervisor.flows(self._clock.monotonic())

    def _learn(self, link: TcpTransport, message: Message | Packed | Undecodable) -> None:
        """Move the session on by a message that came before the connection is ready.

        Raise `HandshakeError` if the messages show that the host is no TWS.
        """
        supervisor = self._supervisor
        link.flush()
        if not link.note(read=not isinstance(message, Undecodable)):
            raise HandshakeError(
                f"the host at {supervisor.where} sends data, and almost none of it can be decoded: it is "
                "no TWS. Are tws.host and tws.port those of TWS or IB Gateway?"
            )
        if not isinstance(message, Message):
            return
        if message.name == "serverVersion":
            self._session.greeted(message.data)
            supervisor.greeted(self._clock.monotonic())
        else:
            supervisor.spoke()
        self._go()
        if link.ready and link.dialect is not None and supervisor.started(self._clock.monotonic()):
            self._go()
            self._events.connection_ready()
            supervisor.synced(self._clock.monotonic())
            self._go()

    def blocked(self, link: TcpTransport, *, blocked: bool) -> None:
        """Tell the supervisor that TWS has stopped taking written bytes, or has taken all of them."""
        if link is self._link:
            if blocked:
                self._supervisor.blocked(self._clock.monotonic(), link.taken())
            else:
                self._supervisor.drained()
            self._arm()

    def ended(self, link: TcpTransport, error: Exception) -> None:
        """Tell the supervisor that a connection ended: TCP closed it, or its bytes cannot be decoded."""
        if link is self._link:
            unfit = isinstance(error, HandshakeError)
            self._supervisor.closed(_reason(error), self._clock.monotonic(), unfit=unfit)
            self._go()

    def gone(self, link: TcpTransport) -> None:
        """Forget a connection whose socket is closed."""
        self._leaving.discard(link)


def _name(message: Message | Packed | Undecodable) -> str | None:
    return message.name if isinstance(message, Message | Undecodable) else message[0]


def _reason(error: Exception) -> str:
    """Return why a connection ended, for people: `status` shows this text until the next connection is ready."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: is TWS running, is this its API port, and are socket clients enabled?"
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
