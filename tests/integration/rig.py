"""Rig of the end-to-end tests: a daemon in a process of its own, with peers on both sides.

The clients are plain pyzmq and msgpack. The TWS is a simulator, or the test plays it. No test sleeps: each waits for
messages that must come.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgpack
import zmq

from ibbridge.codec import Acceptor, Message
from ibbridge.sim import Simulator
from ibbridge.sim.engine import EPOCH, SimulatedTws

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
    from typing import Self

    from ibbridge.sim.orders.registry import OrderBook

Found = TypeVar("Found")

PATIENCE = 30.0
"""Seconds after which a test gives up; nothing depends on how soon something is."""

AAPL = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
MSFT = {**AAPL, "symbol": "MSFT"}


class Heard(NamedTuple):
    """A published message."""

    topic: str
    body: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.body["type"])

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.body["data"]
        return data


def _poll(peer: zmq.Socket[bytes], what: str, until: float) -> None:
    if not peer.poll(max(0, int((until - time.monotonic()) * 1000))):
        raise AssertionError(f"{what} did not come")


class Subscriber:
    """A plain SUB socket that keeps all it has received. Made when its filters are in place: it has been welcomed."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, *prefixes: str) -> None:
        self.heard: list[Heard] = []
        self.socket = context.socket(zmq.SUB)
        self.socket.linger, self.socket.rcvhwm = 0, 0
        for prefix in prefixes:
            self.socket.subscribe(prefix)
        self.socket.connect(endpoint)
        welcomed: set[str] = set()
        while not welcomed >= set(prefixes):
            heard = self._receive("a welcome", time.monotonic() + PATIENCE)
            if heard.type == "welcome":
                welcomed.add(heard.topic)
            else:
                self.heard.append(heard)
        self._next = 0

    def _receive(self, what: str, until: float) -> Heard:
        _poll(self.socket, what, until)
        topic, body = self.socket.recv_multipart()
        return Heard(topic.decode("ascii"), msgpack.unpackb(body))

    def __iter__(self) -> Iterator[Heard]:
        """Messages that have not been looked at yet; waits for the next."""
        until = time.monotonic() + PATIENCE
        while True:
            while self._next >= len(self.heard):
                heard = self._receive(f"the next message after {[each.topic for each in self.heard[-5:]]}", until)
                if heard.type != "welcome":
                    self.heard.append(heard)
            self._next += 1
            yield self.heard[self._next - 1]

    def until(self, kind: str, wanted: Callable[[dict[str, Any]], bool] = lambda _: True, topic: str = "") -> Heard:
        """The next message of this type, under this topic, with data as it is wanted."""
        for heard in self:
            if heard.type == kind and heard.topic.startswith(topic) and wanted(heard.data):
                return heard
        raise AssertionError("unreachable")

    def stage(self, stage: str) -> Heard:
        """The next heartbeat that says that the connection to TWS is at this stage."""
        return self.until("heartbeat", lambda data: data["tws"]["stage"] == stage)

    def check_numbers(self) -> None:
        """Check that no stream has a hole from its first message received on."""
        last: dict[str, int] = {}
        for heard in self.heard:
            if heard.body["type"] == "heartbeat":
                continue
            stream = ".".join(heard.topic.split(".")[:2])
            assert heard.body["seq"] == last.get(stream, heard.body["seq"] - 1) + 1, heard
            last[stream] = heard.body["seq"]

    def close(self) -> None:
        self.socket.close()


class Bridge:
    """A daemon in a process of its own, and its clients. Ended, whatever happens, when the block is left."""

    def __init__(
        self,
        tws_port: int,
        *,
        pub: str = "",
        rep: str = "",
        within: Sequence[str] = (),
        config: str = "",
        **settings: Any,
    ) -> None:
        self._directory = tempfile.mkdtemp(prefix="ib")  # short: the path of an ipc endpoint has little room
        self.pub = pub or f"ipc://{self._directory}/pub"
        self.rep = rep or f"ipc://{self._directory}/rep"
        self.context: zmq.Context[Any] = zmq.Context()
        self._ids = itertools.count(1)
        self._stack = contextlib.ExitStack()
        given: dict[str, Any] = {"tws.port": tws_port, "tws.reconnect_min": 0.05, "tws.reconnect_max": 0.2}
        given |= {"bus.pub": self.pub, "bus.rep": self.rep, "bus.heartbeat": 0.1}
        given |= {"security.trust_loopback": "true"}  # who may do what is the matter of tests that say so
        given |= {"pacing.rate": 10_000}  # more than any test asks for: what is about pacing says so
        given |= {"risk.accounts": '{"*": {max_open_orders: 1000000}}'}  # tests of the limits say how many
        given |= {"tws.lines": 100_000}  # the same of lines
        given |= {"store.path": f"{self._directory}/store"}
        given |= {"store.commit_timeout": PATIENCE}  # a busy machine is no disk that hangs: what is about that says so
        given |= {name.replace("__", "."): value for name, value in settings.items()}
        sets = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
        self.store = pathlib.Path(given["store.path"])
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the rest
        file = ["-c", config] if config else []
        self._command = [*within, sys.executable, "-m", "ibbridge", "run", *file, *sets]
        self.start()

    def start(self) -> None:
        """Begin, or begin again after the end: on the same store and endpoints."""
        self.process = subprocess.Popen(self._command, stderr=self.log, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.process.poll() is None:
                self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        finally:
            self._stack.close()
            self.context.destroy(linger=0)
            shutil.rmtree(self._directory, ignore_errors=True)
            self.log.close()

    def said(self) -> str:
        """Return the daemon's log so far."""
        self.log.seek(0)
        return self.log.read()

    def says(self, text: str) -> str:
        while text not in self.said():
            assert self.process.poll() is None
            self.do("ping")
        return self.said()

    def sub(self, *prefixes: str) -> Subscriber:
        sub = Subscriber(self.context, self.pub, *prefixes)
        self._stack.callback(sub.close)
        return sub

    def ready(self) -> Subscriber:
        """A subscriber to everything, once the connection to TWS is ready."""
        sub = self.sub("")
        sub.stage("ready")
        return sub

    def ask(self, request: bytes | list[bytes]) -> bytes:
        """The one reply to these bytes."""
        with self.context.socket(zmq.REQ) as peer:
            peer.linger = 0
            peer.connect(self.rep)
            peer.send_multipart(request if isinstance(request, list) else [request])
            _poll(peer, "a reply", time.monotonic() + PATIENCE)
            reply: bytes
            (reply,) = peer.recv_multipart()
            return reply

    def call(self, cmd: str, client: str = "me", key: str | None = None, **args: Any) -> dict[str, Any]:
        """The whole reply; the id is new each time."""
        command = {"id": next(self._ids), "cmd": cmd, "args": args, "client": client, "key": key}
        reply: dict[str, Any] = msgpack.unpackb(self.ask(msgpack.packb(command)))
        assert reply["id"] == command["id"]
        return reply

    def do(self, cmd: str, client: str = "me", key: str | None = None, **args: Any) -> dict[str, Any]:
        """The result of a command that must be accepted, with its id."""
        reply = self.call(cmd, client, key, **args)
        assert reply["ok"], reply
        return {"id": reply["id"], **reply["result"]}

    def place_all(self, keys: Iterable[str], **args: Any) -> None:
        """Place an order under each key, without waiting for one reply before the next command."""
        self.do_all({"cmd": "placeOrder", "args": args, "client": "me", "key": key} for key in keys)

    def do_all(self, given: Iterable[dict[str, Any]]) -> None:
        """Send commands that must be accepted, without waiting for one reply before the next command."""
        with self.context.socket(zmq.DEALER) as peer:
            peer.linger = 0
            peer.connect(self.rep)
            commands = [{"id": next(self._ids), **each} for each in given]
            for command in commands:
                peer.send_multipart([b"", msgpack.packb(command)])
            for _ in commands:
                _poll(peer, "a reply", time.monotonic() + PATIENCE)
                assert msgpack.unpackb(peer.recv_multipart()[1])["ok"]

    def cancel(self, cmd: str, named: int, client: str = "me") -> None:
        """Cancel the request with that command id."""
        self.do(cmd, client, id=named)

    def stop(self, number: int) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def replay(self, stream: str, first: int, last: int | None = None) -> list[tuple[str, bytes]]:
        """Return all messages of a stream from a sequence number on, as they were published."""
        found: list[tuple[str, bytes]] = []
        following: int | None = first
        while following is not None:
            args: dict[str, Any] = {"from": following, **({"to": last} if last else {})}
            page = self.do("replay", stream=stream, **args)
            found += [(topic.decode(), body) for topic, body in page["messages"]]
            following = page["next"]
        return found


class Place:
    """A port that is kept for a TWS that comes and goes: nobody else gets it meanwhile, and nobody listens."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class Market:
    """The simulator in a thread with a loop of its own, while the block lasts."""

    def __init__(self, port: int = 0, *, master: int | None = None, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        usual = {"seed": 1, "start": EPOCH, "tick": 0.01, "speed": 10, "delays": False}
        core = SimulatedTws(seed=1, start=EPOCH, master=master) if master is not None else None
        self._simulator = Simulator(port=port, core=core, **{**usual, **options})

    def _run(self, what: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE)

    def fault(self, **step: Any) -> dict[str, Any]:
        """Send a step to the simulator (`for` is spelt `lasts`)."""
        if "lasts" in step:
            step["for"] = step.pop("lasts")

        async def do() -> dict[str, Any]:
            return self._simulator.fault(step)

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(PATIENCE)

    def enter(self, contract: dict[str, Any], order: dict[str, Any]) -> int:
        """Make an order by hand. Return its permId."""

        async def do() -> int:
            return self._simulator.core.enter_order(contract, order).perm_id

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(PATIENCE)

    def book(self, look: Callable[[OrderBook], Found]) -> Found:
        """Return what a function finds among the simulator's orders."""

        async def do() -> Found:
            return look(self._simulator.core.orders.book)

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(PATIENCE)

    def lines(self) -> list[str]:
        """Return the symbols whose quotes its clients are subscribed to."""

        async def do() -> list[str]:
            clients = self._simulator._injector._clients.values()
            asked = [args for client in clients for name, args in client.open.values() if name == "reqMktData"]
            return sorted(str(args["contract"]["symbol"]) for args in asked)

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(PATIENCE)

    def __enter__(self) -> Self:
        self._thread.start()
        self._stop = asyncio.Event()
        began = threading.Event()
        self._over = asyncio.run_coroutine_threadsafe(self._live(began), self._loop)
        assert began.wait(PATIENCE)
        self.port = self._simulator.port
        return self

    async def _live(self, began: threading.Event) -> None:
        try:
            async with self._simulator:
                began.set()
                await self._stop.wait()
        finally:
            began.set()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        try:
            self._over.result(PATIENCE)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()


class Host:
    """A TWS that the test plays itself: accepts one connection after the other."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(PATIENCE)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def accept(self, version: int = 200) -> Guest:
        """The next connection, of which nothing has been read."""
        connection, _ = self._listener.accept()
        return Guest(connection, version)


class Guest:
    """The daemon's connection as the host sees it."""

    def __init__(self, connection: socket.socket, version: int) -> None:
        self._socket = connection
        self._socket.settimeout(PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.acceptor = Acceptor(newest=version)
        self._requests: list[Message] = []
        self._passed: list[str] = []
        self.step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def raw(self, data: bytes) -> None:
        for start in range(0, len(data), self.step or len(data) or 1):
            self._socket.sendall(data[start : start + (self.step or len(data))])

    def frame(self, payload: bytes) -> None:
        self.raw(len(payload).to_bytes(4, "big") + payload)

    def say(self, name: str, **data: Any) -> None:
        assert self.acceptor.dialect is not None
        self.raw(self.acceptor.dialect.put(name, data))

    def request(self, name: str) -> dict[str, Any]:
        """The next request of this name; others that came before are passed over."""
        while True:
            while self._requests:
                if (request := self._requests.pop(0)).name == name:
                    return request.data
                self._passed.append(request.name)
            data = self._socket.recv(65_536)
            assert data, f"the daemon closed before {name}"
            for each in self.acceptor.receive_data(data):
                assert isinstance(each, Message), each
                self._requests.append(each)
            self.raw(self.acceptor.data_to_send())

    def passed_over(self, name: str) -> list[str]:
        """The names of the requests that come before the next of this name."""
        self._passed.clear()
        self.request(name)
        return [*self._passed]

    def greet(self) -> None:
        """The handshake, up to START_API."""
        self.request("startApi")

    def start(self, first_id: int = 1, accounts: str = "DU1") -> None:
        """Greet the daemon and bring the connection to ready."""
        self.greet()
        self.say("managedAccounts", accountsList=accounts)
        self.say("nextValidId", orderId=first_id)

    def rest(self) -> list[str]:
        """Wait until the daemon has closed the connection; the names of all requests that came before that."""
        data = bytearray()
        while more := self._socket.recv(65_536):
            data += more
        more_requests = [each for each in self.acceptor.receive_data(bytes(data)) if isinstance(each, Message)]
        return [each.name for each in (*self._requests, *more_requests)]

    def closed(self) -> None:
        """Wait until the daemon has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while self._socket.recv(65_536):
                pass


class Wire:
    """A TCP connection's way to a port on this machine, which can be cut and mended; while the block lasts."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._whole = True
        self._flowing = threading.Event()
        self._flowing.set()
        self.carried = bytearray()
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        for each in (self._listener, *self._ends):
            each.close()

    def cut(self) -> None:
        """End all connections; from here on each new one is ended at once."""
        with self._lock:
            self._whole = False
            for end in self._ends:
                _shut(end)

    def mend(self) -> None:
        with self._lock:
            self._whole = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold back all bytes for the time of the block."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                with self._lock:
                    self._ends.append(near)
                    if not self._whole:
                        _shut(near)
                        continue
                    far = socket.create_connection(("127.0.0.1", self._to))
                    self._ends.append(far)
                for source, sink in ((near, far), (far, near)):
                    carrier = threading.Thread(target=self._carry, args=(source, sink), daemon=True)
                    self._threads.append(carrier)
                    carrier.start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._flowing.wait(PATIENCE)
                sink.sendall(data)
                self.carried += data
        _shut(source)
        _shut(sink)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def trading(version: int, **settings: Any) -> Iterator[tuple[Bridge, Subscriber]]:
    """A daemon that is connected to a simulator of this server version, and a subscriber to everything."""
    with Market(newest=version) as market, Bridge(market.port, **settings) as bridge:
        yield bridge, bridge.ready()


_KEPT: list[Place] = []


def free_port() -> int:
    """A tcp port at which nobody listens, kept for whoever is told of it until the tests end."""
    _KEPT.append(Place())
    return _KEPT[-1].port
