"""The TCP socket to TWS: carries out the actions of `ibbridge.tws.supervisor`, and reports their outcome to it.

The module knows the event loop and one codec connection. It must not know topics, commands or the meaning of a message,
and it decides nothing. Messages read from the socket go to `deliver` in the callback that read them. A message given to
`send` joins the send queue, or is rejected at once if TWS takes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

from ibbridge.codec import Connection, FramingError, Greeting, HandshakeError, HandshakeState, Message, Undecodable
from ibbridge.codec.messages import REQUESTS
from ibbridge.security.spare_sockets import EXHAUSTED, SpareSockets, exhausted
from ibbridge.tws.decode_errors import Readability
from ibbridge.tws.outbound import Held, OutboundMessage
from ibbridge.tws.send_queue import SendQueue
from ibbridge.tws.session import Stage
from ibbridge.tws.supervisor import MARKET_DATA, Action, Close, Open, Resolve, Supervisor

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Iterator

    from ibbridge.codec import Dialect, Packed
    from ibbridge.codec.schema import Pace
    from ibbridge.config.model import TwsConfig
    from ibbridge.recording.writer import ConnectionTape, Recorder
    from ibbridge.tws.session import Session
    from ibbridge.tws.supervisor import AnyAction

log = logging.getLogger(__name__)

# Bytes written that TWS has not taken yet. With a host that hangs they pile up; above this limit requests are refused.
MOST_UNSENT = 1_048_576

_PROBE = REQUESTS["reqCurrentTime"]

LEAVING = 1.0
"""Seconds that bytes already written get to leave when a connection is closed, as IB advises after orders."""


class ConnectionListener(Protocol):
    """Callbacks for events on the socket."""

    def deliver(self, messages: Iterable[Message | Packed | Undecodable], ts: int, *, more: bool) -> None:
        """Take all messages of one read at `ts` (µs since 1970 UTC). Iterating over them decodes them.

        `more`: the read filled its buffer, so the next read probably follows at once.
        """

    def stage_changed(self) -> None:
        """Publish the session's state: its stage changed, or a competing session took or released the market data."""

    def started(self, dialect: Dialect) -> None:
        """Send the requests that each new connection needs: ids and accounts are known now."""

    def on_send(self, message: OutboundMessage) -> bool:
        """Return True if a queued message, which is about to be written, may still be sent."""

    def lost(self) -> None:
        """Give up all requests under way and all queued messages: the connection is gone."""


class TwsConnector:
    """Connector to TWS: keeps one TCP connection open, sends and reads messages, and tells its owner."""

    def __init__(
        self,
        config: TwsConfig,
        session: Session,
        owner: ConnectionListener,
        packed: Collection[str] = (),
        recorder: Recorder | None = None,
        *,
        send_queue: SendQueue | None = None,
    ) -> None:
        self._config = config
        self._send_queue = send_queue or SendQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._session = session
        self._owner = owner
        self._packed = packed  # names of messages that are wanted as msgpack
        self._recorder = recorder
        self._supervisor = Supervisor(config, session, random.random)
        self._spares = SpareSockets()
        self._found: list[Any] = []  # the addresses of the last successful look-up
        self._families: dict[tuple[Any, ...], int] = {}
        self._transport: _TwsTransport | None = None
        self._leaving: set[_TwsTransport] = set()
        self._trying: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """The TCP port of TWS to connect to."""
        return self._supervisor.port

    @property
    def dialect(self) -> Dialect | None:
        """The message layouts of the current connection; None without a connection or before its greeting."""
        return self._transport.connection.dialect if self._transport else None

    @property
    def unsent(self) -> int:
        """Bytes written that TWS has not taken yet."""
        return self._transport.unsent() if self._transport else 0

    def send(self, message: OutboundMessage) -> bool:
        """Queue a message, and write all that may leave now.

        Return False, without queueing the message, if there is no connection or its write buffer is full. Raise
        `Refused` if too many messages wait.
        """
        link = self._transport
        if link is None or link.closing() or link.unsent() > MOST_UNSENT:
            return False
        self._send_queue.put(message, time.monotonic())
        self._drain()
        return True

    def withdraw(self, message: OutboundMessage) -> bool:
        """Take a message out of the send queue. Return False if the message is not in the queue (any more)."""
        return self._send_queue.withdraw(message)

    def held(self, message: OutboundMessage) -> Held | None:
        """Return the limit of IB that holds a queued message back; None if no limit does."""
        return self._send_queue.held(message, time.monotonic())

    def completed(self, message: OutboundMessage) -> None:
        """Mark the request of a sent message as completed at TWS, so that another request may leave.

        The other request leaves in a later callback, behind the messages that the caller sends now.
        """
        self._send_queue.completed(message)
        self._come_back(time.monotonic())

    def waiting(self, pace: Pace) -> list[OutboundMessage]:
        """Return the queued messages of a pace."""
        return self._send_queue.waiting(pace)

    def _drain(self) -> None:
        """Write the messages that may leave now, and set a timer for the next ones."""
        link = self._transport
        if link is None or link.closing():
            return
        now = time.monotonic()
        for message in self._send_queue.next_messages(now):
            if self._owner.on_send(message):
                link.write(message.data)
        self._come_back(now)

    def _come_back(self, now: float) -> None:
        """Set a timer for the time when the next messages may leave."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (wake := self._send_queue.wake()) is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, wake - now), self._drain)

    def on_notice(self, code: int, text: str) -> tuple[str, str] | None:
        """Apply a notice of TWS. Return the farm (or "upstream") that changed and its new state; None if none did."""
        changed = self._supervisor.on_notice(code, text, time.monotonic())
        self._go_soon()
        return changed

    async def run(self) -> None:
        """Connect, stay connected, reconnect. The coroutine ends only when it is cancelled, and closes the socket."""
        self._loop = asyncio.get_running_loop()
        self._wake(time.monotonic())
        try:
            await self._loop.create_future()
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            self._loop = None
            self._drop()
            self._spares.close()
            await self._leave()

    # -- the supervisor's actions

    def _go(self) -> None:
        """Carry out actions until none are left, for an action may cause others; then set the alarm."""
        while acts := self._supervisor.next_actions():
            for act in acts:
                self._do(act)
        self._arm()

    def _go_soon(self) -> None:
        """Schedule `_go` for the next loop iteration, because the owner is still handling the messages of one read."""
        if self._loop is not None:
            self._loop.call_soon(self._go)

    def _do(self, act: AnyAction) -> None:
        match act:
            case Action.TELL:
                self._owner.stage_changed()
            case Action.BEGIN if self._transport is not None:
                self._transport.flush()
            case Action.PROBE if self._transport is not None and self.dialect is not None:
                self.send(OutboundMessage(_PROBE, self.dialect.put(_PROBE.name, {})))  # in its turn: TWS counts it
            case Resolve(host, port):
                for link in self._leaving:  # TWS must not find two connections of one client id
                    link.abort()
                self._try(self._resolve(host, port))
            case Open(address):
                self._try(self._open(address))
            case Close(stage, why, repeated):
                level = logging.DEBUG if repeated else logging.WARNING
                where = f"{self._config.host}:{self.port}"
                log.log(level, "TWS at %s, while %s: %s", where, stage.value, why)
                self._drop()

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        at = self._supervisor.next_wakeup()
        if at is not None and self._loop is not None:
            self._alarm = self._loop.call_later(max(0.0, at - time.monotonic()), self._wake, at)

    def _wake(self, at: float) -> None:
        """Wake the supervisor, at `at` or later."""
        # The loop's timer may fire a little before `at`; without max() it would fire again and again until then.
        self._supervisor.wake(max(at, time.monotonic()), self._transport.taken() if self._transport else 0)
        self._go()

    def _try(self, what: Coroutine[Any, Any, None]) -> None:
        self._trying = asyncio.get_running_loop().create_task(what)
        self._trying.add_done_callback(lambda done: done.cancelled() or done.result())  # a bug goes to the loop

    async def _resolve(self, host: str, port: int) -> None:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # UnicodeError: an invalid host name, such as one with a label of 64 characters.
        except (OSError, UnicodeError) as error:
            if not (self._found and exhausted()):
                self._refused(error)
                return
            # A look-up opens files; without a descriptor for them, use the addresses of the last look-up.
            found = [(*each[:4], (each[4][0], port, *each[4][2:])) for each in self._found]
        self._found = found
        self._trying = None
        self._families = {address[4][:2]: address[0] for address in found}
        self._spares.keep(self._families.values())
        self._supervisor.resolved([address[4][:2] for address in found], time.monotonic())
        self._go()

    async def _open(self, address: tuple[Any, ...]) -> None:
        config = self._config
        connection = Connection(
            config.client_id,
            Greeting(
                config.max_version,
                connect_options=config.connect_options,
                optional_capabilities=config.optional_capabilities,
            ),
            packed=self._packed,
            encoding=config.encoding,
        )
        self._transport = link = _TwsTransport(connection, config.read_chunk, self)
        try:
            await self._connect(link, address)
        except OSError as error:
            if self._transport is link:
                self._transport = None
                self._refused(error)

    async def _connect(self, link: _TwsTransport, address: tuple[Any, ...]) -> None:
        """Connect to `address`. If the process has no file descriptor left, use a spare socket."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: link, address[0], address[1])
        except OSError as error:
            if error.errno not in EXHAUSTED or (spare := self._spares.take(self._families[address])) is None:
                raise
        else:
            return
        try:
            await loop.sock_connect(spare, address)
        except ConnectionRefusedError:
            self._spares.give_back(spare)
            raise
        except BaseException:
            spare.close()
            raise
        await loop.create_connection(lambda: link, sock=spare)

    def restock(self) -> None:
        """Open spare sockets for the next connections, as far as there are file descriptors for them."""
        self._spares.restock()

    def _refused(self, error: Exception) -> None:
        self._trying = None  # this task, which goes on
        self._supervisor.refused(_reason(error), time.monotonic())
        self._go()

    def _drop(self) -> None:
        """Cancel the look-up or connect under way, and close the connection."""
        trying, self._trying = self._trying, None
        if trying is not None:
            trying.cancel()
        link, self._transport = self._transport, None
        if link is not None and link.open:
            self._leaving.add(link)
            link.close()
            if self._loop is not None:
                self._loop.call_later(LEAVING, link.abort)
            self._owner.lost()

    async def _leave(self) -> None:
        """Wait up to `LEAVING` seconds until the closed connections are gone, then abort the rest."""
        if leaving := [link.gone for link in self._leaving]:
            await asyncio.wait(leaving, timeout=LEAVING)
        for link in self._leaving:
            link.abort()
        await asyncio.sleep(0)  # asyncio calls their connection_lost in this iteration

    # -- events of a TCP connection

    def made(self, link: _TwsTransport) -> bool:
        """Begin the handshake on a new TCP connection. Return False if the connector has given it up meanwhile."""
        if link is not self._transport:
            return False
        self._supervisor.opened(time.monotonic())
        self._go()
        return True

    def tape(self) -> ConnectionTape | None:
        """Return a new recording for a connection that has just been made; None if nothing is recorded."""
        if self._recorder is None:
            return None
        return self._recorder.opened(host=self._config.host, port=self.port, clientId=self._config.client_id)

    def received(self, link: _TwsTransport, data: bytes, ts: int) -> None:
        """Decode bytes read from a connection, and deliver their messages to the owner."""
        session = self._session
        session.heard = time.monotonic()
        messages = link.connection.receive_data(data)
        if session.stage is not Stage.READY or session.competing:
            messages = self._watched(link, messages)
        self._owner.deliver(messages, ts, more=len(data) == self._config.read_chunk)

    def _watched(
        self, link: _TwsTransport, messages: Iterator[Message | Packed | Undecodable]
    ) -> Iterator[Message | Packed | Undecodable]:
        """Yield the messages of one read, and tell the supervisor of those that change the session.

        Before READY these are all messages, later the market data that shows the end of a competing session.
        """
        for message in messages:
            # Before the supervisor: when the connection becomes ready, the owner must already know the next order id.
            yield message
            if self._session.stage is not Stage.READY:
                self._learn(link, message)
            elif self._session.competing and _name(message) in MARKET_DATA:
                self._supervisor.flows(time.monotonic())
                self._go_soon()

    def _learn(self, link: _TwsTransport, message: Message | Packed | Undecodable) -> None:
        """Move the session on by a message that came before the connection is ready.

        Raise `HandshakeError` if the messages show that the host is no TWS.
        """
        supervisor, connection = self._supervisor, link.connection
        link.flush()
        if not link.readability.note(read=not isinstance(message, Undecodable)):
            raise HandshakeError(
                f"the host at {self._config.host}:{self.port} sends data, and almost none of it can be decoded: it is "
                "no TWS. Are tws.host and tws.port those of TWS or IB Gateway?"
            )
        if not isinstance(message, Message):
            return
        if message.name == "serverVersion":
            self._session.greeted(message.data)
            supervisor.greeted(time.monotonic())
        else:
            supervisor.spoke()
        self._go()
        if (
            connection.state is HandshakeState.READY
            and connection.dialect is not None
            and supervisor.started(time.monotonic())
        ):
            self._go()
            self._owner.started(connection.dialect)
            supervisor.synced(time.monotonic())
            self._go()

    def blocked(self, link: _TwsTransport, *, blocked: bool) -> None:
        """Tell the supervisor that TWS has stopped taking written bytes, or has taken all of them."""
        if link is self._transport:
            if blocked:
                self._supervisor.blocked(time.monotonic(), link.taken())
            else:
                self._supervisor.drained()
            self._arm()

    def ended(self, link: _TwsTransport, error: Exception) -> None:
        """Tell the supervisor that a connection ended: TCP closed it, or its bytes cannot be decoded."""
        if link is self._transport:
            self._supervisor.closed(_reason(error), time.monotonic(), unfit=isinstance(error, HandshakeError))
            self._go()

    def gone(self, link: _TwsTransport) -> None:
        """Forget a connection whose socket is closed."""
        self._leaving.discard(link)


class _TwsTransport(asyncio.BufferedProtocol):
    """TCP connection to TWS. Its own read buffer limits each read to one chunk."""

    def __init__(self, connection: Connection, chunk: int, connector: TwsConnector) -> None:
        self.connection = connection
        self.readability = Readability()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connector = connector
        self._buffer = memoryview(bytearray(chunk))
        self._transport: asyncio.Transport | None = None
        self._tape: ConnectionTape | None = None
        self._written = 0
        self._over = False  # closed by us: bytes that still come are only recorded

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # so pause_writing comes with the first byte that waits
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A host that vanished sends no FIN; without keepalive an idle connection to it looks healthy for hours.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._tape = self._connector.tape()
        if not self._connector.made(self):  # our hello leaves here, before anything is read
            self.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data, ts = bytes(self._buffer[:nbytes]), time.time_ns() // 1000
        if self._tape is not None:
            self._tape.inbound(data, ts)
        if self._over:
            return
        try:
            self._connector.received(self, data, ts)
        except (FramingError, HandshakeError) as error:
            self._connector.ended(self, error)

    def pause_writing(self) -> None:
        self._connector.blocked(self, blocked=True)

    def resume_writing(self) -> None:
        self._connector.blocked(self, blocked=False)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._tape is not None:
            self._tape.closed(str(exc or "closed"))
        error = exc if isinstance(exc, OSError) else ConnectionResetError("TWS closed the connection")
        self._connector.ended(self, error)
        self._connector.gone(self)
        if not self.gone.done():
            self.gone.set_result(None)

    # -- ours

    @property
    def open(self) -> bool:
        """Return True if TCP has ever connected."""
        return self._transport is not None

    def flush(self) -> None:
        """Write the codec connection's own messages: greeting and start."""
        if data := self.connection.data_to_send():
            self.write(data)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            if self._tape is not None:
                self._tape.outbound(data)
            self._written += len(data)
            self._transport.write(data)

    def closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport else 0

    def taken(self) -> int:
        """Return the number of bytes that have left for TWS."""
        return self._written - self.unsent()

    def close(self) -> None:
        """Close the connection after the written bytes have left."""
        self._over = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once, and discard written bytes that have not left."""
        self._over = True
        if self._transport is not None:
            self._transport.abort()


def _name(message: Message | Packed | Undecodable) -> str | None:
    return message.name if isinstance(message, Message | Undecodable) else message[0]


def _reason(error: Exception) -> str:
    """Return why a connection ended, for people: `status` shows this text until the next connection is ready."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: is TWS running, is this its API port, and are socket clients enabled?"
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
