"""Simulator on a TCP port: sockets and a clock around the pure `SimulatedTws`.

Each connection gets the codec's `Acceptor`, so each client may speak any server version from 176 up. Messages to a
client are written at once and never awaited; a client that reads too slowly is disconnected without a message, as by a
TWS. A bug ends the whole simulator instead of one connection, so that a test against the simulator cannot miss the bug.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import TYPE_CHECKING, Self

from ibbridge.codec import Acceptor, FramingError, HandshakeError, Message, Undecodable, frame
from ibbridge.codec.messages import MESSAGES, REQUESTS
from ibbridge.codec.versions import NEWEST
from ibbridge.sim.encoding import Encoder
from ibbridge.sim.engine import SimulatedTws
from ibbridge.sim.faults.byte_pipe import BytePipe
from ibbridge.sim.faults.control_socket import listen
from ibbridge.sim.faults.corrupt_frames import garbled
from ibbridge.sim.faults.injector import FaultInjector
from ibbridge.sim.faults.script import FaultStep
from ibbridge.sim.faults.script import step as faults_of
from ibbridge.sim.latency import LatencyModel
from ibbridge.sim.market import ib_times
from ibbridge.sim.other_clients import read_again
from ibbridge.tcp_server import TcpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from ibbridge.sim.context import ClientSession

log = logging.getLogger(__name__)

CLIENTS = 32
"""Connections that a TWS takes; the next connection is accepted and closed."""
BACKLOG = 16 * 1024 * 1024
"""Bytes that may wait for one client before the client is disconnected."""
TICK = 0.05
"""Seconds between two ticks of the clock."""

BARE_CLOSE = 0.5
"""Seconds until a client whose client id is taken is disconnected without a message."""

_CHUNK = 65_536


class ClientConnection:
    """Connection of one client: its bytes, its dialect, and its session once the client has sent START_API."""

    def __init__(self, writer: asyncio.StreamWriter, acceptor: Acceptor, injector: FaultInjector) -> None:
        self.writer = writer
        self.acceptor = acceptor
        self.session: ClientSession | None = None
        self.client: int | None = None
        self.pipe = BytePipe()
        self.mute = False
        self.closes: float | None = None
        self._injector = injector

    def greet(self, now: float) -> None:
        """Queue the acceptor's response to the greeting, or what a fault makes of the response."""
        out = self.acceptor.data_to_send()
        if out and self._injector.stalled("accepted", None):
            self.mute = True
        if out and (found := self._injector.use("greet", None)):
            args = found.step.args
            fields = (str(self.acceptor.version if args["announce"] is None else args["announce"]), args["time"])
            out = frame(b"".join(field.encode(args["encoding"], "replace") + b"\0" for field in fields))
        if not self.mute:
            self.pipe.put(out, now)

    def flush(self, now: float) -> None:
        """Write the bytes for this client that may go out now."""
        if self.writer.is_closing():
            return
        self._encode(now)
        self._shape()
        for piece in self.pipe.take(now):
            self.writer.write(piece)
        over = self.session is not None and self.session.closed and not self.pipe
        if self.pipe.cut or (over and not self.pipe.held) or (self.closes is not None and now >= self.closes):
            self.writer.close()

    def _encode(self, now: float) -> None:
        dialect = self.acceptor.dialect
        if self.session is None or dialect is None:
            return
        encoder = Encoder(dialect)
        frames = []
        for name, data in self._injector.said(self.session, self.session.take(), now):
            message = MESSAGES.get(name)
            if message is None or not message.exists(dialect.version):
                log.warning("message %s does not exist at server version %d; not sent", name, dialect.version)
                continue
            frames.append(encoder.put(name, data))
        if not self.mute and not (self._welcomed and self._injector.stalled("ready", self.client)):
            self.pipe.put(b"".join(frames), now)
        self._welcomed = True

    _welcomed = False

    def _shape(self) -> None:
        """Set the pipe's limits from the active faults."""
        pipe, find = self.pipe, self._injector.active
        pipe.held = find("half-open", self.client) is not None
        pipe.piece = found.step.args["bytes"] if (found := find("split", self.client)) else 0
        pipe.gather = found.step.args["seconds"] if (found := find("merge", self.client)) else 0.0
        pipe.rate = found.step.args["rate"] if (found := find("slow", self.client)) else 0

    @property
    def waiting(self) -> int:
        """Bytes that the client has not taken."""
        return self.writer.transport.get_write_buffer_size() + len(self.pipe)


class Simulator(TcpServer):
    """Simulated TWS that listens while the object is entered (`async with`).

    `start` is the initial simulated time, in whole seconds since 1970 (None: now), `speed` the simulated seconds that
    pass in one second. `newest` caps the server version. `tick` is the interval of the clock in seconds, `clients` the
    number of connections, `backlog` the bytes that may wait for one client. `core` is a host to use instead of a new
    one. `faults` is a script that begins on entering, `pace` the messages per second that a client may send before
    error 100 (None: any number). `history` enforces IB's pacing rules for historical data. `control` is an endpoint
    that takes faults by command. Responses take as long as at a gateway, by the clock and drawn from the seed, unless
    `delays` is False. With `made_up`, names exist that are not listed.
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
        core: SimulatedTws | None = None,
        faults: Sequence[FaultStep] = (),
        pace: int | None = None,
        history: bool = False,
        control: str | None = None,
        delays: bool = True,
        made_up: bool = False,
    ) -> None:
        super().__init__(host, port)
        self.core = core or SimulatedTws(seed, int(time.time()) if start is None else start, made_up=made_up)
        self._newest = newest
        self._speed = speed
        self._tick = tick
        self._most = clients
        self._backlog = backlog
        self._faults = faults
        self._injector = FaultInjector(
            self.core, pace=pace, history=history, delays=LatencyModel(seed) if delays else None
        )
        self._endpoint = control
        self._control: asyncio.Task[None] | None = None
        self._connections = dict.fromkeys(("accepted", "refused", "closed"), 0)
        self._kept: socket.socket | None = None
        self._ending = False
        self._links: set[ClientConnection] = set()
        self._clock: asyncio.Task[None] | None = None
        self._next_answer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        now = asyncio.get_running_loop().time()
        self._injector.plan(self._faults, now)
        self._do_due(now)
        self._clock = self._tasks.create_task(self._run_clock())
        if self._endpoint is not None:
            self._control = self._tasks.create_task(listen(self._endpoint, self.fault))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        if self._kept is not None:
            self._kept.close()
        for task in (self._clock, self._control, self._next_answer):
            if task is not None:
                task.cancel()
        await super().__aexit__(kind, error, trace)

    # -- time --------------------------------------------------------------------------------------------------------

    async def _run_clock(self) -> None:
        loop = asyncio.get_running_loop()
        began, simulated = loop.time(), self.core.now
        while True:
            await asyncio.sleep(self._tick)
            now = loop.time()
            self._do_due(now)
            self._injector.tick(now)
            self.core.advance(simulated + (now - began) * self._speed)
            self._flush()
            if self._kept is not None and not self._refusing():
                await self._reopen()

    def _flush(self) -> None:
        """Send each client its waiting messages, and disconnect clients that do not read theirs."""
        now = asyncio.get_running_loop().time()
        for connection in self._links:
            connection.flush(now)
            if connection.waiting > self._backlog:
                log.warning("client left %d bytes unread; disconnecting it", connection.waiting)
                connection.writer.transport.abort()
        self._await_answer()

    def _await_answer(self) -> None:
        """Set a timer for the next delayed response, which must not wait for the next tick."""
        due, timer = self._injector.next_answer, self._next_answer
        if due is None or self._ending or (timer is not None and not timer.cancelled() and timer.when() <= due):
            return
        if timer is not None:
            timer.cancel()
        self._next_answer = asyncio.get_running_loop().call_at(due, self._flush_answers)

    def _flush_answers(self) -> None:
        self._next_answer = None
        self._flush()

    # -- faults ------------------------------------------------------------------------------------------------------

    def fault(self, given: Mapping[str, Any] | FaultStep) -> dict[str, Any]:
        """Apply one step, now or at its time. Return the figures for `figures`. Raise `FaultError`."""
        step = given if isinstance(given, FaultStep) else faults_of(given)
        now = asyncio.get_running_loop().time()
        if step.do == "figures":
            return {"figures": self.figures()}
        if (step.at, step.after, step.on) != (None, None, None):
            self._injector.plan([step], now)
        else:
            self._begin(step, now)
            self._flush()
        return {}

    def figures(self) -> dict[str, Any]:
        """Return the counters: connections, and by client the highest rate, violations and open subscriptions."""
        return {"connections": dict(self._connections), **self._injector.figures()}

    def _do_due(self, now: float) -> None:
        for step in self._injector.due(now):
            self._begin(step, now)

    def _begin(self, step: FaultStep, now: float) -> None:
        log.info("fault: %s %s", step.do, {"client": step.client, **step.args})
        self._injector.begin(step, now)
        links = [connection for connection in self._links if step.client in (None, connection.client)]
        if step.do in ("refuse", "restart"):
            self._shut()
        if step.do == "restart":
            self.core.restart(step.args["ids"])
        for connection in links:
            self._spoil(connection, step, now)

    def _spoil(self, connection: ClientConnection, step: FaultStep, now: float) -> None:
        """Apply a fault's immediate effect to one connection."""
        match step.do:
            case "drop":
                connection.pipe.left = step.args["bytes"]
            case "close" if step.args["abort"]:
                connection.writer.transport.abort()
            case "close" | "restart":
                connection.writer.close()
            case "garbage" if connection.session is not None and connection.acceptor.dialect is not None:
                whole = connection.acceptor.dialect.put("currentTime", {"time": self.core.context.second})
                connection.pipe.put(garbled(whole, step.args["kind"]), now)

    def _refusing(self) -> bool:
        return any(self._injector.active(do, None) for do in ("refuse", "restart"))

    def _shut(self) -> None:
        """Stop listening, and keep the port bound, so that no other process takes it."""
        if self._server is None or self._kept is not None:
            return
        family = self._server.sockets[0].family
        self._server.close()
        self._kept = socket.socket(family)
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind((self.host, self.port))

    async def _reopen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    # -- connections -------------------------------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        full = len(self._writers) >= self._most
        if full or self._injector.use("accept-close", None):
            self._connections["refused"] += 1
            writer.close()
            return
        self._connections["accepted"] += 1
        super()._accept(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ClientConnection(
            writer, Acceptor(self._newest, connection_time=ib_times.stamp(self.core.now)), self._injector
        )
        self._links.add(connection)
        try:
            while True:
                data = await reader.read(_CHUNK)
                while self._holds(connection):  # noqa: ASYNC110 - a fault ends by time, and the clock ticks as often
                    await asyncio.sleep(self._tick)
                if not data or connection.writer.is_closing():
                    break
                self._receive(connection, data)
                self._flush()
                await asyncio.sleep(0)  # a client that never stops asking must not stop the clock
        except (FramingError, HandshakeError) as error:
            log.warning("closing the connection of a client: %s", error)
        except ConnectionError:
            pass  # clients often disconnect without closing the connection
        finally:
            self._connections["closed"] += 1
            self._links.discard(connection)
            if connection.session is not None:
                self._injector.left(connection.session, asyncio.get_running_loop().time())
                self.core.disconnect(connection.session)
            connection.writer.close()

    def _holds(self, connection: ClientConnection) -> bool:
        """Return True if a fault keeps the server from reading a client's bytes, even their end."""
        if self._ending or connection.writer.is_closing():
            return False
        return self._injector.active("half-open", connection.client) is not None

    def _receive(self, connection: ClientConnection, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        for message in connection.acceptor.receive_data(data):
            connection.greet(now)
            if not connection.mute:
                self._take(connection, message, now)
        connection.greet(now)

    def _take(self, connection: ClientConnection, message: Message | Undecodable, now: float) -> None:
        if connection.session is None:
            if isinstance(message, Message) and message.name == "startApi":
                self._start(connection, message.data["clientId"] or 0, now)
        elif not self._injector.stalled("ready", connection.client):
            version = connection.acceptor.version or 0
            if isinstance(message, Undecodable) and connection.acceptor.dialect is not None:
                message = read_again(connection.acceptor.dialect, message)
            if isinstance(message, Message) and REQUESTS[message.name].exists(version):
                for step in self._injector.triggered(message.name, connection.session.client_id):
                    self._begin(step, now)
                self._injector.asked(connection.session, message.name, message.data, now)
            else:
                hand_over(self.core, connection.session, version, message)

    def _start(self, connection: ClientConnection, client: int, now: float) -> None:
        """Process START_API, by which a client gives its client id."""
        connection.client = client
        if self._injector.stalled("version", None):
            connection.mute = True
            return
        in_use = self._injector.use("id-in-use", client)
        if in_use is not None and in_use.step.args["how"] == "close":
            connection.mute, connection.closes = True, now + BARE_CLOSE
            return
        ends = MESSAGES["historicalDataEnd"].exists(connection.acceptor.version or 0)
        connection.session = self.core.connect(client, history_end=ends, taken=in_use is not None)
        connection.mute = self._injector.stalled("start", client)
        if not connection.session.closed:
            self._injector.joined(connection.session)


def hand_over(core: SimulatedTws, session: ClientSession, version: int, message: Message | Undecodable) -> None:
    """Pass a client's message to the host.

    A request that does not exist at the client's server version counts as unreadable, like garbage.
    """
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
    faults: Sequence[FaultStep] = (),
    pace: int | None = None,
    history: bool = False,
    control: str | None = None,
    delays: bool = True,
    made_up: bool = False,
    started: Callable[[int], None] | None = None,
) -> None:
    """Run a simulator until cancelled. Call `started` with the port. Raise `OSError` if the port cannot be bound."""
    async with Simulator(
        host,
        port,
        seed=seed,
        newest=newest,
        faults=faults,
        pace=pace,
        history=history,
        control=control,
        delays=delays,
        made_up=made_up,
    ) as simulator:
        if started is not None:
            started(simulator.port)
        await asyncio.Event().wait()
