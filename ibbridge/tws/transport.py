"""TCP connections to TWS: looks up its host, connects, reads and writes.

The module knows the event loop, and one codec connection for each TCP connection. Messages read from a socket go to
`TransportEvents` in the callback that read them. The module must not know topics, commands or the meaning of a message,
and it decides nothing: `connector` does.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Protocol, cast

from ibbridge.codec import Connection, FramingError, Greeting, HandshakeError, HandshakeState
from ibbridge.security.spare_sockets import EXHAUSTED, SpareSockets, exhausted
from ibbridge.tws.decode_errors import Readability

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterator

    from ibbridge.clock import Clock
    from ibbridge.codec import Dialect, Message, Packed, Undecodable
    from ibbridge.config.model import TwsConfig
    from ibbridge.recording.writer import ConnectionTape, Recorder

FIRST, LEAST = 8_192, 1_024
"""Most bytes of the first read of a connection, and of any read."""

SHORT, LONG = 0.005, 0.008
"""Seconds that a read should take, and above which the next one takes fewer bytes."""

LEAVING = 1.0
"""Seconds that bytes already written get to leave when a connection is closed, as IB advises after orders."""


class TransportEvents(Protocol):
    """Events of look-ups and connections, as `connector` receives them."""

    def resolved(self, addresses: list[tuple[Any, ...]]) -> None:
        """Take the addresses of the host."""

    def refused(self, link: TcpTransport | None, error: Exception) -> None:
        """Note that the look-up failed (`link` is None), or that the connection could not be made."""

    def made(self, link: TcpTransport) -> bool:
        """Begin the handshake on a new TCP connection. Return False if the connection is not wanted any more."""

    def received(
        self, link: TcpTransport, messages: Iterator[Message | Packed | Undecodable], ts: int, *, more: bool
    ) -> None:
        """Take the messages of one read at `ts` (µs since 1970 UTC). Iterating over them decodes them.

        `more`: the read filled its buffer, so the next read probably follows at once.
        """

    def blocked(self, link: TcpTransport, *, blocked: bool) -> None:
        """Note that TWS has stopped taking written bytes, or has taken all of them."""

    def ended(self, link: TcpTransport, error: Exception) -> None:
        """Note that a connection ended: TCP closed it, or its bytes cannot be decoded."""

    def gone(self, link: TcpTransport) -> None:
        """Forget a connection whose socket is closed."""


def next_read(size: int, most: int, seconds: float, *, filled: bool) -> int:
    """Return how many bytes the next read may take, after one of at most `size` bytes has taken so many seconds.

    Heartbeats, commands and subscribers wait for a read, and messages about orders cost ten times as much as ticks. A
    read that has not `filled` its room does not show how long a full one would take.
    """
    if seconds > LONG:
        return max(LEAST, round(size * SHORT / seconds))
    return min(most, 2 * size) if filled and seconds < SHORT / 2 else size


class TcpTransports:
    """Maker of TCP connections to TWS, one at a time. `packed` are the messages that are wanted as msgpack."""

    def __init__(self, config: TwsConfig, recorder: Recorder | None, packed: Collection[str], clock: Clock) -> None:
        self._config = config
        self._recorder = recorder
        self._packed = packed
        self._clock = clock
        self._spares = SpareSockets()
        self._found: list[Any] = []  # the addresses of the last successful look-up
        self._families: dict[tuple[Any, ...], int] = {}
        self._trying: asyncio.Task[None] | None = None
        self._port = 0

    def resolve(self, host: str, port: int, events: TransportEvents) -> None:
        """Look up the host. The events say how that went."""
        self._port = port
        self._try(self._resolve(host, port, events))

    def open(self, address: tuple[Any, ...], events: TransportEvents) -> TcpTransport:
        """Begin to connect to an address, and return the connection. The events say how that went."""
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
        link = TcpTransport(connection, config.read_chunk, events, self._tape, self._clock)
        self._try(self._open(link, address, events))
        return link

    def stop_trying(self) -> None:
        """Cancel the look-up or connect under way."""
        trying, self._trying = self._trying, None
        if trying is not None:
            trying.cancel()

    def restock(self) -> None:
        """Open spare sockets for the next connections, as far as there are file descriptors for them."""
        self._spares.restock()

    def close(self) -> None:
        """Close the spare sockets."""
        self._spares.close()

    def _try(self, what: Coroutine[Any, Any, None]) -> None:
        self._trying = asyncio.get_running_loop().create_task(what)
        self._trying.add_done_callback(lambda done: done.cancelled() or done.result())  # a bug goes to the loop

    async def _resolve(self, host: str, port: int, events: TransportEvents) -> None:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # UnicodeError: an invalid host name, such as one with a label of 64 characters.
        except (OSError, UnicodeError) as error:
            if not (self._found and exhausted()):
                self._trying = None  # this task, which goes on
                events.refused(None, error)
                return
            # A look-up opens files; without a descriptor for them, use the addresses of the last look-up.
            found = [(*each[:4], (each[4][0], port, *each[4][2:])) for each in self._found]
        self._found = found
        self._trying = None
        self._families = {address[4][:2]: address[0] for address in found}
        self._spares.keep(self._families.values())
        events.resolved([address[4][:2] for address in found])

    async def _open(self, link: TcpTransport, address: tuple[Any, ...], events: TransportEvents) -> None:
        try:
            await self._connect(link, address)
        except OSError as error:
            self._trying = None  # this task, which goes on
            events.refused(link, error)

    async def _connect(self, link: TcpTransport, address: tuple[Any, ...]) -> None:
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

    def _tape(self) -> ConnectionTape | None:
        """Return a new recording for a connection that has just been made; None if nothing is recorded."""
        if self._recorder is None:
            return None
        return self._recorder.opened(host=self._config.host, port=self._port, clientId=self._config.client_id)


class TcpTransport(asyncio.BufferedProtocol):
    """TCP connection to TWS. Its own read buffer limits each read to one chunk."""

    def __init__(
        self,
        connection: Connection,
        chunk: int,
        events: TransportEvents,
        tape: Callable[[], ConnectionTape | None],
        clock: Clock,
    ) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._readability = Readability()
        self._events = events
        self._clock = clock
        self._buffer = memoryview(bytearray(chunk))
        self._room = min(FIRST, chunk)  # bytes that the next read may take
        self._transport: asyncio.Transport | None = None
        self._new_tape = tape
        self._tape: ConnectionTape | None = None
        self._written = 0
        self._over = False  # closed by us: bytes that still come are only recorded

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, as asyncio has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # so pause_writing comes with the first byte that waits
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A host that vanished sends no FIN; without keepalive an idle connection to it looks healthy for hours.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._tape = self._new_tape()
        if not self._events.made(self):  # our hello leaves here, before anything is read
            self.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read."""
        return self._buffer[: self._room]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on the messages of a read, and see to it that the next one takes the loop for a short time."""
        began, room = self._clock.monotonic(), self._room
        self._pass_on(bytes(self._buffer[:nbytes]), more=nbytes == room)
        self._room = next_read(room, len(self._buffer), self._clock.monotonic() - began, filled=nbytes == room)

    def _pass_on(self, data: bytes, *, more: bool) -> None:
        ts = self._clock.utc_us()
        if self._tape is not None:
            self._tape.inbound(data, ts)
        if self._over:
            return
        try:
            messages = self._connection.receive_data(data)
            self._events.received(self, messages, ts, more=more)
        except (FramingError, HandshakeError) as error:
            self._events.ended(self, error)

    def pause_writing(self) -> None:
        """Pass on that TWS has stopped taking bytes."""
        self._events.blocked(self, blocked=True)

    def resume_writing(self) -> None:
        """Pass on that TWS has taken all bytes."""
        self._events.blocked(self, blocked=False)

    def eof_received(self) -> bool:
        """Return False, so that asyncio closes the connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the connection is closed."""
        if self._tape is not None:
            self._tape.closed(str(exc or "closed"))
        error = exc if isinstance(exc, OSError) else ConnectionResetError("TWS closed the connection")
        self._events.ended(self, error)
        self._events.gone(self)
        if not self.gone.done():
            self.gone.set_result(None)

    # -- ours

    @property
    def open(self) -> bool:
        """Return True if TCP has ever connected."""
        return self._transport is not None

    @property
    def dialect(self) -> Dialect | None:
        """Message layouts of the connection; None before its greeting."""
        return self._connection.dialect

    @property
    def ready(self) -> bool:
        """Return True if TWS has said all that a new connection begins with: the ids and the accounts."""
        return self._connection.state is HandshakeState.READY

    def note(self, *, read: bool) -> bool:
        """Count a message of a connection that is not ready. Return False if the counts show that this is no TWS."""
        return self._readability.note(read=read)

    def flush(self) -> None:
        """Write the codec connection's own messages: greeting and start."""
        if data := self._connection.data_to_send():
            self.write(data)

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if self._transport is not None:
            if self._tape is not None:
                self._tape.outbound(data)
            self._written += len(data)
            self._transport.write(data)

    def closing(self) -> bool:
        """Return True if the connection takes no bytes any more."""
        return self._transport is None or self._transport.is_closing()

    def unsent(self) -> int:
        """Return the bytes written that TWS has not taken yet."""
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
