"""The TCP socket to TWS: one connection at a time, for ever.

Knows the event loop, deadlines and one codec connection; nothing of topics, commands or what a message means. What it
reads goes to `deliver` in the callback that read it; what `send` is given goes out at once or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

from ibbridge.codec import Connection, FramingError, HandshakeError, Message, State, Undecodable
from ibbridge.pacing import Pacing
from ibbridge.session import Backoff, Session, Step

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ibbridge.codec import Dialect, Packed
    from ibbridge.codec.schema import Pace
    from ibbridge.config import TwsConfig
    from ibbridge.pacing import Waiting
    from ibbridge.recorder import Recorder, Tape

log = logging.getLogger(__name__)

# Bytes that TWS has not taken yet. A host that hangs lets them pile up; more than this and requests are refused.
MOST_UNSENT = 1_048_576


class Owner(Protocol):
    """Who is told what happens on the socket."""

    def deliver(self, messages: Iterable[Message | Packed | Undecodable], ts: int) -> None:
        """The messages of one read at `ts` (µs since 1970 UTC), decoded as they are taken. All must be."""

    def stage_changed(self) -> None:
        """The session has moved on, or back."""

    def started(self, dialect: Dialect) -> None:
        """Ids and accounts are known: now is the time to say what each new connection must be told."""

    def leaving(self, message: Waiting) -> bool:
        """A message that has waited for its turn is about to be written. False if it must not be any more."""

    def lost(self) -> None:
        """The connection is gone, and with it everything that was under way on it or waited for its turn."""


class Gateway:
    """Keeps a connection to TWS, and tells its owner."""

    def __init__(
        self,
        config: TwsConfig,
        session: Session,
        owner: Owner,
        packed: Collection[str] = (),
        recorder: Recorder | None = None,
        *,
        pacing: Pacing | None = None,
    ) -> None:
        self._config = config
        self._pacing = pacing or Pacing()
        self._timer: asyncio.TimerHandle | None = None
        self._session = session
        self._owner = owner
        self._packed = packed  # names of messages that are wanted as msgpack
        self._recorder = recorder
        self._backoff = Backoff(config.reconnect_min, config.reconnect_max)
        self._link: _Link | None = None

    @property
    def dialect(self) -> Dialect | None:
        """How to write to the connection there is."""
        return self._link.connection.dialect if self._link else None

    @property
    def unsent(self) -> int:
        """Bytes that TWS has not taken yet."""
        return self._link.unsent() if self._link else 0

    def send(self, message: Waiting) -> bool:
        """Write to TWS, at once or in its turn. False if there is no connection that would take it: it will not be.

        Raises `Refused` if too much waits.
        """
        link = self._link
        if link is None or link.closing() or link.unsent() > MOST_UNSENT:
            return False
        self._pacing.put(message, time.monotonic())
        self._drain()
        return True

    def withdraw(self, message: Waiting) -> bool:
        """Have a message not leave. False if it has left."""
        return self._pacing.withdraw(message)

    def over(self, message: Waiting) -> None:
        """What a message asked for is no longer open at TWS: another may leave, behind what is sent now."""
        self._pacing.over(message)
        self._come_back(time.monotonic())

    def waiting(self, pace: Pace) -> list[Waiting]:
        """The messages of a pace that wait."""
        return self._pacing.waiting(pace)

    def _drain(self) -> None:
        """Write what may leave now, and come back when more may."""
        link = self._link
        if link is None or link.closing():
            return
        now = time.monotonic()
        for message in self._pacing.take(now):
            if self._owner.leaving(message):
                link.write(message.data)
        self._come_back(now)

    def _come_back(self, now: float) -> None:
        """When more may leave."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (wake := self._pacing.wake()) is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, wake - now), self._drain)

    async def run(self) -> None:
        """Connect, stay connected, connect again. Ends only by being cancelled; then the socket is closed."""
        while True:
            try:
                await self._once()
            # UnicodeError: a host name that is none, such as one with a label of 64 characters.
            except (OSError, UnicodeError, FramingError, HandshakeError) as error:
                self._fail(_reason(error))
            await asyncio.sleep(self._backoff.delay(self._session.failures, random.random()))  # noqa: S311 - no secret

    def _fail(self, why: str) -> None:
        where = f"{self._config.host}:{self._config.port}"
        repeated = why == self._session.last_error
        stage = self._session.stage.value
        self._move(Step.LOST, why)
        log.log(logging.DEBUG if repeated else logging.WARNING, "TWS at %s, while %s: %s", where, stage, why)

    def _move(self, step: Step, why: str = "") -> None:
        if self._session.step(step, time.monotonic(), why):
            self._owner.stage_changed()

    async def _once(self) -> None:
        """One connection, from resolving to its end, which is always an exception."""
        config, loop = self._config, asyncio.get_running_loop()
        self._move(Step.TRY)
        async with _deadline(config.connect_timeout, "no answer to the connect"):
            addresses = await loop.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
            self._move(Step.RESOLVED)
            link = await self._connect_to_one([address[4][:2] for address in addresses])
        try:
            self._move(Step.CONNECTED)
            link.begin()
            async with _deadline(config.handshake_timeout, "TWS accepted and then said nothing: is a dialog open?"):
                await link.until(State.STARTING)
            async with _deadline(config.start_timeout, "no accounts or order id came: is TWS logged in?"):
                await link.until(State.READY)
            await link.over
        finally:
            self._link = None
            await link.close()
            self._owner.lost()

    async def _connect_to_one(self, addresses: Sequence[tuple[Any, ...]]) -> _Link:
        """The first that takes us: `localhost` is two addresses, and TWS may listen on one of them."""
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await self._connect(address)
        return await self._connect(addresses[-1])

    async def _connect(self, address: tuple[Any, ...]) -> _Link:
        connection = Connection(
            self._config.client_id,
            newest=self._config.max_version,
            connect_options=self._config.connect_options,
            optional_capabilities=self._config.optional_capabilities,
            packed=self._packed,
        )
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(
            lambda: _Link(connection, self._config.read_chunk, self), address[0], address[1]
        )
        self._link = link
        return link

    def tape(self) -> Tape | None:
        """Where a connection that has just been made is recorded, if at all. Called by the link."""
        config = self._config
        if self._recorder is None:
            return None
        return self._recorder.opened(host=config.host, port=config.port, clientId=config.client_id)

    def received(self, link: _Link, data: bytes, ts: int) -> None:
        """Bytes of a connection. Called by the link, and nobody else."""
        messages = link.connection.receive_data(data)
        if not self._session.ready:
            messages = self._starting(link, messages)
        self._owner.deliver(messages, ts)

    def _starting(
        self, link: _Link, messages: Iterator[Message | Packed | Undecodable]
    ) -> Iterator[Message | Packed | Undecodable]:
        """Messages, of which the session learns until the connection is ready."""
        for message in messages:
            # First: whoever hears that the connection is ready must find the next order id known.
            yield message
            if not self._session.ready:
                self._learn(link, message)

    def _learn(self, link: _Link, message: Message | Packed | Undecodable) -> None:
        """What the session has to know before the connection is ready."""
        session, connection = self._session, link.connection
        link.flush()
        if not isinstance(message, Message):
            return
        if message.name == "serverVersion":
            session.greeted(message.data)
            self._move(Step.GREETED)
        if connection.state is State.READY and connection.dialect is not None:
            self._move(Step.STARTED)
            self._owner.started(connection.dialect)
            self._move(Step.SYNCED)
        link.moved()


class _Link(asyncio.BufferedProtocol):
    """One TCP connection. Reads into a buffer of its own, so that no read is larger than one chunk."""

    def __init__(self, connection: Connection, chunk: int, gateway: Gateway) -> None:
        loop = asyncio.get_running_loop()
        self.connection = connection
        self.over: asyncio.Future[None] = loop.create_future()
        self.over.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody always looks
        self._gateway = gateway
        self._buffer = memoryview(bytearray(chunk))
        self._transport: asyncio.Transport | None = None
        self._tape: Tape | None = None
        self._waiting: list[tuple[State, asyncio.Future[None]]] = []
        self._closed: asyncio.Future[None] = loop.create_future()

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._tape = self._gateway.tape()
        self._transport.pause_reading()  # what a host says before our hello must not overtake it
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A host that vanished sends no FIN; without this an idle connection to it looks well for hours.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data, ts = bytes(self._buffer[:nbytes]), time.time_ns() // 1000
        if self._tape is not None:
            self._tape.inbound(data, ts)
        if self.over.done():
            return
        try:
            self._gateway.received(self, data, ts)
        except (FramingError, HandshakeError) as error:
            self._end(error)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._tape is not None:
            self._tape.closed(str(exc or "closed"))
        self._end(exc if isinstance(exc, OSError) else ConnectionResetError("TWS closed the connection"))
        if not self._closed.done():
            self._closed.set_result(None)

    # -- ours

    def begin(self) -> None:
        """Say hello, and listen from here on."""
        self.flush()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def flush(self) -> None:
        """Send what the codec's connection itself has to say."""
        if data := self.connection.data_to_send():
            self.write(data)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            if self._tape is not None:
                self._tape.outbound(data)
            self._transport.write(data)

    def closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport else 0

    async def until(self, state: State) -> None:
        """Wait until the connection has got as far as `state`; raises what ended it before."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((state, reached))
        self.moved()
        await asyncio.wait((reached, self.over), return_when=asyncio.FIRST_COMPLETED)
        if self.over.done():
            await self.over

    def moved(self) -> None:
        """The connection may have reached a state that somebody waits for."""
        order = list(State)
        for state, reached in self._waiting:
            if order.index(self.connection.state) >= order.index(state) and not reached.done():
                reached.set_result(None)

    async def close(self) -> None:
        """Close in an orderly way: what was written gets a second to leave, as IB advises after orders."""
        if self._transport is None:
            return
        self._transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.shield(self._closed)
        self._transport.abort()

    def _end(self, error: Exception) -> None:
        if not self.over.done():
            self.over.set_exception(error)


def _reason(error: Exception) -> str:
    """What ended a connection, for people: it is what `status` shows all night long."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: is TWS running, is this its API port, and are socket clients enabled?"
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


@contextlib.asynccontextmanager
async def _deadline(seconds: float, otherwise: str) -> Any:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"{otherwise} ({seconds:g} s)") from None
