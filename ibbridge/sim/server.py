"""The simulator on a TCP port: sockets and a clock around the pure `Host`.

Each connection gets the codec's `Acceptor`, so every server version from 176 up is spoken, each client its own. What is
said to a client is written at once and never awaited; one that reads too slowly is cut off without a word, as a TWS
does. A bug ends the simulator instead of one connection: whoever tests against it should see it.
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
from ibbridge.sim.engine import Host
from ibbridge.sim.faults.byte_pipe import Pipe
from ibbridge.sim.faults.control_socket import listen
from ibbridge.sim.faults.corrupt_frames import garbled
from ibbridge.sim.faults.injector import Trouble
from ibbridge.sim.faults.script import Step
from ibbridge.sim.faults.script import step as faults_of
from ibbridge.sim.latency import Delays
from ibbridge.sim.market import ib_times
from ibbridge.sim.other_clients import read_again
from ibbridge.tcp_server import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from ibbridge.sim.context import Session

log = logging.getLogger(__name__)

CLIENTS = 32
"""Connections that a TWS takes; the next one is accepted and closed."""
BACKLOG = 16 * 1024 * 1024
"""Bytes that may wait for one client before it is cut off."""
TICK = 0.05
"""Seconds between looks at the clock."""

BARE_CLOSE = 0.5
"""Seconds until a client whose id is taken is closed without a word."""

_CHUNK = 65_536


class Link:
    """One client's connection: its bytes, its dialect, and its session once it has sent START_API."""

    def __init__(self, writer: asyncio.StreamWriter, acceptor: Acceptor, trouble: Trouble) -> None:
        self.writer = writer
        self.acceptor = acceptor
        self.session: Session | None = None
        self.client: int | None = None
        self.pipe = Pipe()
        self.mute = False
        self.closes: float | None = None
        self._trouble = trouble

    def greet(self, now: float) -> None:
        """The acceptor's answer to the greeting, or what a fault makes of it."""
        out = self.acceptor.data_to_send()
        if out and self._trouble.stalled("accepted", None):
            self.mute = True
        if out and (found := self._trouble.use("greet", None)):
            args = found.step.args
            fields = (str(self.acceptor.version if args["announce"] is None else args["announce"]), args["time"])
            out = frame(b"".join(each.encode(args["encoding"], "replace") + b"\0" for each in fields))
        if not self.mute:
            self.pipe.put(out, now)

    def flush(self, now: float) -> None:
        """Write what waits for this client and may go out now."""
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
        for name, data in self._trouble.said(self.session, self.session.take(), now):
            message = MESSAGES.get(name)
            if message is None or not message.exists(dialect.version):
                log.warning("%s does not exist at server version %d and is left out", name, dialect.version)
                continue
            frames.append(encoder.put(name, data))
        if not self.mute and not (self._welcomed and self._trouble.stalled("ready", self.client)):
            self.pipe.put(b"".join(frames), now)
        self._welcomed = True

    _welcomed = False

    def _shape(self) -> None:
        """Make the pipe as bad as the faults that are on say."""
        pipe, find = self.pipe, self._trouble.active
        pipe.held = find("half-open", self.client) is not None
        pipe.piece = found.step.args["bytes"] if (found := find("split", self.client)) else 0
        pipe.gather = found.step.args["seconds"] if (found := find("merge", self.client)) else 0.0
        pipe.rate = found.step.args["rate"] if (found := find("slow", self.client)) else 0

    @property
    def waiting(self) -> int:
        """Bytes that the client has not taken."""
        return self.writer.transport.get_write_buffer_size() + len(self.pipe)


class Simulator(Listener):
    """A simulated TWS that listens while it is entered (`async with`).

    `start` is the simulated time at which it begins, in whole seconds since 1970 (None: now), `speed` how many
    simulated seconds pass in one. `newest` caps the server version. `tick` is how often the clock is looked at,
    `clients` how many may connect, `backlog` how many bytes may wait for one; `core` is a host of one's own making.
    `faults` is a script that begins on entering, `pace` how many messages a client may send in a second before error
    100 (None: any number), `history` whether IB's pacing rules for historical data are enforced, `control` an endpoint
    that takes faults by command. Answers take as long as at a gateway, by the clock and drawn from the seed, unless
    `delays` is False. With `made_up`, names exist that are listed nowhere.
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
        faults: Sequence[Step] = (),
        pace: int | None = None,
        history: bool = False,
        control: str | None = None,
        delays: bool = True,
        made_up: bool = False,
    ) -> None:
        super().__init__(host, port)
        self.core = core or Host(seed, int(time.time()) if start is None else start, made_up=made_up)
        self._newest = newest
        self._speed = speed
        self._tick = tick
        self._most = clients
        self._backlog = backlog
        self._faults = faults
        self._trouble = Trouble(self.core, pace=pace, history=history, delays=Delays(seed) if delays else None)
        self._endpoint = control
        self._control: asyncio.Task[None] | None = None
        self._connections = dict.fromkeys(("accepted", "refused", "closed"), 0)
        self._kept: socket.socket | None = None
        self._ending = False
        self._links: set[Link] = set()
        self._clock: asyncio.Task[None] | None = None
        self._next_answer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        now = asyncio.get_running_loop().time()
        self._trouble.plan(self._faults, now)
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
            self._trouble.tick(now)
            self.core.advance(simulated + (now - began) * self._speed)
            self._flush()
            if self._kept is not None and not self._refusing():
                await self._reopen()

    def _flush(self) -> None:
        """Give everybody what waits for them, and drop who does not take it."""
        now = asyncio.get_running_loop().time()
        for link in self._links:
            link.flush(now)
            if link.waiting > self._backlog:
                log.warning("a client left %d bytes unread and is cut off", link.waiting)
                link.writer.transport.abort()
        self._await_answer()

    def _await_answer(self) -> None:
        """Have the next answer that waits for its time leave at that time, and not at the next look at the clock."""
        due, timer = self._trouble.next_answer, self._next_answer
        if due is None or self._ending or (timer is not None and not timer.cancelled() and timer.when() <= due):
            return
        if timer is not None:
            timer.cancel()
        self._next_answer = asyncio.get_running_loop().call_at(due, self._flush_answers)

    def _flush_answers(self) -> None:
        self._next_answer = None
        self._flush()

    # -- faults ------------------------------------------------------------------------------------------------------

    def fault(self, given: Mapping[str, Any] | Step) -> dict[str, Any]:
        """Take one step, now or when it says. Raises `FaultError`. `figures` gives them."""
        step = given if isinstance(given, Step) else faults_of(given)
        now = asyncio.get_running_loop().time()
        if step.do == "figures":
            return {"figures": self.figures()}
        if (step.at, step.after, step.on) != (None, None, None):
            self._trouble.plan([step], now)
        else:
            self._begin(step, now)
            self._flush()
        return {}

    def figures(self) -> dict[str, Any]:
        """What was counted: connections, and by client the greatest rate, violations and open subscriptions."""
        return {"connections": dict(self._connections), **self._trouble.figures()}

    def _do_due(self, now: float) -> None:
        for step in self._trouble.due(now):
            self._begin(step, now)

    def _begin(self, step: Step, now: float) -> None:
        log.info("fault: %s %s", step.do, {"client": step.client, **step.args})
        self._trouble.begin(step, now)
        links = [link for link in self._links if step.client in (None, link.client)]
        if step.do in ("refuse", "restart"):
            self._shut()
        if step.do == "restart":
            self.core.restart(step.args["ids"])
        for link in links:
            self._spoil(link, step, now)

    def _spoil(self, link: Link, step: Step, now: float) -> None:
        """What a fault does to one connection at once."""
        match step.do:
            case "drop":
                link.pipe.left = step.args["bytes"]
            case "close" if step.args["abort"]:
                link.writer.transport.abort()
            case "close" | "restart":
                link.writer.close()
            case "garbage" if link.session is not None and link.acceptor.dialect is not None:
                whole = link.acceptor.dialect.put("currentTime", {"time": self.core.world.second})
                link.pipe.put(garbled(whole, step.args["kind"]), now)

    def _refusing(self) -> bool:
        return any(self._trouble.active(do, None) for do in ("refuse", "restart"))

    def _shut(self) -> None:
        """Close the port, and keep it from others."""
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
        if full or self._trouble.use("accept-close", None):
            self._connections["refused"] += 1
            writer.close()
            return
        self._connections["accepted"] += 1
        super()._accept(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(writer, Acceptor(self._newest, connection_time=ib_times.stamp(self.core.now)), self._trouble)
        self._links.add(link)
        try:
            while True:
                data = await reader.read(_CHUNK)
                while self._holds(link):  # noqa: ASYNC110 - a fault ends by time, which the clock looks at as often
                    await asyncio.sleep(self._tick)
                if not data or link.writer.is_closing():
                    break
                self._receive(link, data)
                self._flush()
                await asyncio.sleep(0)  # a client that never stops asking must not stop the clock
        except (FramingError, HandshakeError) as error:
            log.warning("a connection is closed: %s", error)
        except ConnectionError:
            pass  # gone without a goodbye, which is how clients go
        finally:
            self._connections["closed"] += 1
            self._links.discard(link)
            if link.session is not None:
                self._trouble.left(link.session, asyncio.get_running_loop().time())
                self.core.disconnect(link.session)
            link.writer.close()

    def _holds(self, link: Link) -> bool:
        """Whether nothing is read from a client, not even its end."""
        if self._ending or link.writer.is_closing():
            return False
        return self._trouble.active("half-open", link.client) is not None

    def _receive(self, link: Link, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        for message in link.acceptor.receive_data(data):
            link.greet(now)
            if not link.mute:
                self._take(link, message, now)
        link.greet(now)

    def _take(self, link: Link, message: Message | Undecodable, now: float) -> None:
        if link.session is None:
            if isinstance(message, Message) and message.name == "startApi":
                self._start(link, message.data["clientId"] or 0, now)
        elif not self._trouble.stalled("ready", link.client):
            version = link.acceptor.version or 0
            if isinstance(message, Undecodable) and link.acceptor.dialect is not None:
                message = read_again(link.acceptor.dialect, message)
            if isinstance(message, Message) and REQUESTS[message.name].exists(version):
                for step in self._trouble.triggered(message.name, link.session.client_id):
                    self._begin(step, now)
                self._trouble.asked(link.session, message.name, message.data, now)
            else:
                hand_over(self.core, link.session, version, message)

    def _start(self, link: Link, client: int, now: float) -> None:
        """START_API: the client says who it is."""
        link.client = client
        if self._trouble.stalled("version", None):
            link.mute = True
            return
        in_use = self._trouble.use("id-in-use", client)
        if in_use is not None and in_use.step.args["how"] == "close":
            link.mute, link.closes = True, now + BARE_CLOSE
            return
        ends = MESSAGES["historicalDataEnd"].exists(link.acceptor.version or 0)
        link.session = self.core.connect(client, history_end=ends, taken=in_use is not None)
        link.mute = self._trouble.stalled("start", client)
        if not link.session.closed:
            self._trouble.joined(link.session)


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
    faults: Sequence[Step] = (),
    pace: int | None = None,
    history: bool = False,
    control: str | None = None,
    delays: bool = True,
    made_up: bool = False,
    started: Callable[[int], None] | None = None,
) -> None:
    """Run a simulator until cancelled. `started` is told the port. Raises `OSError` if it cannot be had."""
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
