"""The simulator on a TCP port: sockets and a clock around the pure `Host`.

Each connection gets the codec's `Acceptor`, so every server version from 176 up is spoken, each client its own. What is
said to a client is written at once and never awaited; one that reads too slowly is cut off without a word, as a TWS
does. A bug ends the simulator instead of one connection: whoever tests against it should see it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Self

from ibbridge.codec import Acceptor, FramingError, HandshakeError, Message, Undecodable
from ibbridge.codec.messages import MESSAGES, REQUESTS
from ibbridge.codec.versions import NEWEST
from ibbridge.sim import moments
from ibbridge.sim.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ibbridge.sim.world import Session

log = logging.getLogger(__name__)

CLIENTS = 32
"""Connections that a TWS takes; the next one is accepted and closed."""
BACKLOG = 16 * 1024 * 1024
"""Bytes that may wait for one client before it is cut off."""
TICK = 0.05
"""Seconds between looks at the clock."""

_CHUNK = 65_536


class Link:
    """One client's connection: its bytes, its dialect, and its session once it has sent START_API."""

    def __init__(self, writer: asyncio.StreamWriter, acceptor: Acceptor) -> None:
        self.writer = writer
        self.acceptor = acceptor
        self.session: Session | None = None

    def flush(self) -> None:
        """Write what waits for this client."""
        dialect = self.acceptor.dialect
        if self.session is None or dialect is None or self.writer.is_closing():
            return
        frames = []
        for name, data in self.session.take():
            message = MESSAGES.get(name)
            if message is None or not message.exists(dialect.version):
                log.warning("%s does not exist at server version %d and is left out", name, dialect.version)
                continue
            frames.append(dialect.put(name, data))
        if frames:
            self.writer.write(b"".join(frames))
        if self.session.closed:
            self.writer.close()

    @property
    def waiting(self) -> int:
        """Bytes written that the client has not taken."""
        return self.writer.transport.get_write_buffer_size()


class Simulator:
    """A simulated TWS that listens while it is entered (`async with`).

    `port` 0 takes a free one; afterwards `port` says which. `start` is the simulated time at which it begins, in whole
    seconds since 1970 (None: now), `speed` how many simulated seconds pass in one. `newest` caps the server version.
    `tick` is how often the clock is looked at, `clients` how many may connect, `backlog` how many bytes may wait for
    one; `core` is a host of one's own making. To be left by the task that entered it. Raises `OSError` on entering if
    the port cannot be had.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        seed: int = 0,
        newest: int = NEWEST,
        start: int | None = None,
        speed: float = 1.0,
        tick: float = TICK,
        clients: int = CLIENTS,
        backlog: int = BACKLOG,
        core: Host | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.core = core or Host(seed, int(time.time()) if start is None else start)
        self._newest = newest
        self._speed = speed
        self._tick = tick
        self._most = clients
        self._backlog = backlog
        self._links: set[Link] = set()
        self._tasks = asyncio.TaskGroup()
        self._server: asyncio.Server | None = None
        self._clock: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        try:
            self._server = await asyncio.start_server(self._accept, self.host, self.port)
        except OSError:
            await self._tasks.__aexit__(None, None, None)
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        self._clock = self._tasks.create_task(self._run_clock())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        if self._clock is not None:
            self._clock.cancel()
        for link in self._links:
            link.writer.transport.abort()
        # What was raised inside goes on as it is, but for the cancellation by which a failed task ended the block.
        cancelled = isinstance(error, asyncio.CancelledError)
        await self._tasks.__aexit__(kind if cancelled else None, error if cancelled else None, trace)
        if self._server is not None:
            await self._server.wait_closed()

    # -- time --------------------------------------------------------------------------------------------------------

    async def _run_clock(self) -> None:
        loop = asyncio.get_running_loop()
        began, simulated = loop.time(), self.core.now
        while True:
            await asyncio.sleep(self._tick)
            self.core.advance(simulated + (loop.time() - began) * self._speed)
            self._flush()

    def _flush(self) -> None:
        """Give everybody what waits for them, and drop who does not take it."""
        for link in self._links:
            link.flush()
            if link.waiting > self._backlog:
                log.warning("a client left %d bytes unread and is cut off", link.waiting)
                link.writer.transport.abort()

    # -- connections -------------------------------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._links) >= self._most:
            writer.close()
            return
        link = Link(writer, Acceptor(self._newest, connection_time=moments.stamp(self.core.now)))
        self._links.add(link)
        self._tasks.create_task(self._serve(link, reader))

    async def _serve(self, link: Link, reader: asyncio.StreamReader) -> None:
        try:
            while (data := await reader.read(_CHUNK)) and not link.writer.is_closing():
                self._receive(link, data)
                self._flush()
                await asyncio.sleep(0)  # a client that never stops asking must not stop the clock
        except (FramingError, HandshakeError) as error:
            log.warning("a connection is closed: %s", error)
        except ConnectionError:
            pass  # gone without a goodbye, which is how clients go
        finally:
            self._links.discard(link)
            if link.session is not None:
                self.core.disconnect(link.session)
            link.writer.close()

    def _receive(self, link: Link, data: bytes) -> None:
        for message in link.acceptor.receive_data(data):
            link.writer.write(link.acceptor.data_to_send())
            self._take(link, message)
        link.writer.write(link.acceptor.data_to_send())

    def _take(self, link: Link, message: Message | Undecodable) -> None:
        if link.session is None:
            if isinstance(message, Message) and message.name == "startApi":
                ends = MESSAGES["historicalDataEnd"].exists(link.acceptor.version or 0)
                link.session = self.core.connect(message.data["clientId"] or 0, history_end=ends)
        else:
            hand_over(self.core, link.session, link.acceptor.version or 0, message)


def hand_over(core: Host, session: Session, version: int, message: Message | Undecodable) -> None:
    """Give the host what a client sent. What its server version does not have is as unreadable to it as garbage."""
    if isinstance(message, Undecodable):
        known = message.name or message.id
        core.unreadable(session, message.reason if known is None else f"{known}: {message.reason}")
    elif REQUESTS[message.name].exists(version):
        core.request(session, message.name, message.data)
    else:
        core.unreadable(session, f"{REQUESTS[message.name].id}: unknown message id")


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    seed: int = 0,
    newest: int = NEWEST,
    started: Callable[[int], None] | None = None,
) -> None:
    """Run a simulator until cancelled. `started` is told the port. Raises `OSError` if it cannot be had."""
    async with Simulator(host, port, seed=seed, newest=newest) as simulator:
        if started is not None:
            started(simulator.port)
        await asyncio.Event().wait()
