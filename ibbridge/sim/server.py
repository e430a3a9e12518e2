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

from ibbridge.codec import Acceptor, FramingError, HandshakeError, Message, Undecodable
from ibbridge.sim.client_connection import ClientConnection, hand_over
from ibbridge.sim.engine import SimulatedTws
from ibbridge.sim.faults.control_socket import listen
from ibbridge.sim.faults.injector import FaultInjector
from ibbridge.sim.faults.script import FaultError, FaultStep
from ibbridge.sim.faults.script import step as faults_of
from ibbridge.sim.latency import LatencyModel
from ibbridge.sim.market import ib_times
from ibbridge.sim.rejections import RequestRejected
from ibbridge.sim.settings import SimulatorSettings
from ibbridge.tcp_server import TcpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any, Unpack

    from ibbridge.sim.settings import SimulatorOptions

log = logging.getLogger(__name__)

_CHUNK = 65_536


class Simulator(TcpServer):
    """Simulated TWS that listens while the object is entered (`async with`).

    `core` is a host to use instead of a new one. The options are:

    - `seed`: the seed of the market; the same seed gives the same prices (default: 0).
    - `start`: the first simulated time, in whole seconds since 1970 (default: now).
    - `speed`: the simulated seconds that pass in one second (default: 1).
    - `tick`: the seconds between two ticks of the clock (default: 0.05).
    - `newest`: the highest server version that is spoken (default: the newest known).
    - `clients`: the number of connections that are served at the same time (default: 32).
    - `backlog`: the bytes that may wait for one client before it is disconnected (default: 16 MiB).
    - `faults`: a script of faults that begins on entering (default: none).
    - `control`: a ZeroMQ endpoint that takes faults by command (default: none).
    - `pace`: the messages per second that a client may send before error 100 (default: any number).
    - `history`: enforces IB's pacing rules for historical data (default: False).
    - `delays`: lets responses take as long as at a gateway, by the clock and drawn from the seed (default: True).
    - `made_up`: lets names exist that are not listed (default: False).
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        core: SimulatedTws | None = None,
        **options: Unpack[SimulatorOptions],
    ) -> None:
        super().__init__(host, port)
        self._settings = settings = SimulatorSettings(**options)
        start = int(time.time()) if settings.start is None else settings.start
        self.core = core or SimulatedTws(settings.seed, start, made_up=settings.made_up)
        delays = LatencyModel(settings.seed) if settings.delays else None
        self._injector = FaultInjector(self.core, pace=settings.pace, history=settings.history, delays=delays)
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
        self._injector.schedule.plan(self._settings.faults, now)
        self._do_due(now)
        self._clock = self._tasks.create_task(self._run_clock())
        if self._settings.control is not None:
            self._control = self._tasks.create_task(listen(self._settings.control, self.fault))
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
            await asyncio.sleep(self._settings.tick)
            now = loop.time()
            self._do_due(now)
            self._injector.tick(now)
            self.core.advance(simulated + (now - began) * self._settings.speed)
            self._flush()
            if self._kept is not None and not self._refusing():
                await self._reopen()

    def _flush(self) -> None:
        """Send each client its waiting messages, and disconnect clients that do not read theirs."""
        now = asyncio.get_running_loop().time()
        for connection in self._links:
            connection.flush(now)
            if connection.waiting > self._settings.backlog:
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
        """Apply one step, now or at its time. Raise `FaultError`.

        Return the figures for `figures`, and the order's permId for `by-hand`.
        """
        step = given if isinstance(given, FaultStep) else faults_of(given)
        now = asyncio.get_running_loop().time()
        if step.do == "figures":
            return {"figures": self.figures()}
        if (step.at, step.after, step.on) != (None, None, None):
            self._injector.schedule.plan([step], now)
            return {}
        made = self._enter(step) if step.do == "by-hand" else {}
        self._begin(step, now)
        self._flush()
        return made

    def figures(self) -> dict[str, Any]:
        """Return the counters: connections, and by client the highest rate, violations and open subscriptions."""
        return {"connections": dict(self._connections), **self._injector.figures()}

    def _do_due(self, now: float) -> None:
        for step in self._injector.schedule.due(now):
            self._begin(step, now)
            if step.do == "by-hand":
                try:
                    self._enter(step)
                except FaultError as error:
                    log.warning("%s", error)

    def _enter(self, step: FaultStep) -> dict[str, Any]:
        """Make an order by hand, and return its permId. Raise `FaultError` if the host refuses the order."""
        given = step.args
        contract = {name: given[name] for name in ("symbol", "secType", "exchange", "currency")}
        order = {"action": given["action"], "totalQuantity": float(given["quantity"]), "orderType": "MKT"}
        if given["price"] is not None:
            order |= {"orderType": "LMT", "lmtPrice": float(given["price"])}
        try:
            return {"permId": self.core.enter_order(contract, order).perm_id}
        except RequestRejected as refused:
            raise FaultError([f"by-hand: the host refuses the order: {refused.code} {refused.text}"]) from None

    def _begin(self, step: FaultStep, now: float) -> None:
        log.info("fault: %s %s", step.do, {"client": step.client, **step.args})
        self._injector.begin(step, now)
        links = [connection for connection in self._links if step.client in (None, connection.client)]
        if step.do in ("refuse", "restart"):
            self._shut()
        if step.do == "restart":
            self.core.restart(step.args["ids"])
        for connection in links:
            connection.spoil(step, self.core.context.second, now)

    def _refusing(self) -> bool:
        return any(self._injector.schedule.active(do, None) for do in ("refuse", "restart"))

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
        full = len(self._writers) >= self._settings.clients
        if full or self._injector.schedule.use("accept-close", None):
            self._connections["refused"] += 1
            writer.close()
            return
        self._connections["accepted"] += 1
        super()._accept(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ClientConnection(
            writer, Acceptor(self._settings.newest, connection_time=ib_times.stamp(self.core.now)), self._injector
        )
        self._links.add(connection)
        try:
            while True:
                data = await reader.read(_CHUNK)
                while self._holds(connection):  # noqa: ASYNC110 - a fault ends by time, and the clock ticks as often
                    await asyncio.sleep(self._settings.tick)
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
        return self._injector.schedule.active("half-open", connection.client) is not None

    def _receive(self, connection: ClientConnection, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        for message in connection.receive(data, now):
            self._take(connection, message, now)

    def _take(self, connection: ClientConnection, message: Message | Undecodable, now: float) -> None:
        session = connection.session
        if session is None:
            if isinstance(message, Message) and message.name == "startApi":
                connection.start(self.core, message.data["clientId"] or 0, now)
        elif self._injector.schedule.stalled("ready", connection.client):
            pass  # nothing is heard while this fault lasts
        elif isinstance(message, Message) and connection.knows(message):
            for step in self._injector.schedule.triggered(message.name, session.client_id):
                self._begin(step, now)
            self._injector.asked(session, message.name, message.data, now)
        else:
            hand_over(self.core, session, connection.acceptor.version or 0, message)


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    started: Callable[[int], None] | None = None,
    **options: Unpack[SimulatorOptions],
) -> None:
    """Run a simulator with these options until cancelled. Call `started` with the port.

    Raise `OSError` if the port cannot be bound.
    """
    async with Simulator(host, port, **options) as simulator:
        if started is not None:
            started(simulator.port)
        await asyncio.Event().wait()
