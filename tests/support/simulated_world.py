"""A daemon and a simulated TWS in virtual time, shell and all; only ZeroMQ's sockets and the disk are left out.

Commands go in as a client's bytes; what is published is looked at and counted, and not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.config.loader import load
from ibbridge.daemon import Daemon
from ibbridge.security.identity import LocalPeerage
from ibbridge.sim import Simulator
from ibbridge.wiring import Outside, event_store
from tests.support.outside import ListBus, MemoryOrderStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


BEGIN = 1_767_623_400
"""When it begins, in seconds since 1970: Monday, 5 January 2026, 09:30 in New York."""


class Tws(Simulator):
    """Its port is one of the loop's, which nobody else can take. `placed` has the ids of the orders as they came."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.placed: list[int] = []
        request = self.core.request

        def observed(session: Any, name: str, args: Any) -> bool:
            if name == "placeOrder":
                self.placed.append(args["orderId"])
            return request(session, name, args)

        self.core.request = observed  # type: ignore[method-assign]

    def _shut(self) -> None:
        if self._server is not None and self._kept is None:
            self._server.close()
            self._kept = socket.socket()  # of no port; it says that ours is closed


class Subscriber:
    """Sees that nothing is missing in what is published: each number once and in order, by stream and over all."""

    def __init__(self) -> None:
        self.offset = 0
        self.seqs: dict[str, int] = {}
        self.types: Counter[str] = Counter()
        self.last: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}  # the last orderState, by the orderRef of the order
        self.beat: dict[str, Any] = {}
        self.beats = 0

    def hear(self, packed_topic: bytes, packed: bytes) -> None:
        topic, body = packed_topic.decode(), msgpack.unpackb(packed, strict_map_key=False)
        kind = body.get("type")
        if kind == "heartbeat":
            self.beat, self.beats = body["data"], self.beats + 1
            return
        if "data" not in body:  # a welcome
            return
        self.offset += 1
        assert body["offset"] == self.offset, (topic, body["offset"], self.offset)
        stream = ".".join(topic.split(".")[:2])
        assert body["seq"] == self.seqs.get(stream, 0) + 1, (topic, body["seq"], self.seqs.get(stream))
        self.seqs[stream] = body["seq"]
        self.types[kind] += 1
        if kind in ("connection", "alarm"):
            self.last[topic] = body["data"]
        elif kind == "orderState":
            self._order(f"{body['ref']['owner']}/{body['ref']['key']}", body["data"])

    def _order(self, ref: str, state: dict[str, Any]) -> None:
        """Note the state of an order. States are numbered too."""
        assert state["changes"] == self.orders.get(ref, {}).get("changes", 0) + 1, (ref, state)
        self.orders[ref] = state


class LoopClock:
    """Clock that shows the time of a virtual loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.time()

    def utc_us(self) -> int:
        return int((BEGIN + self._loop.time()) * 1e6)

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, callback, *args)

    def call_soon(self, callback: Callable[..., object]) -> asyncio.Handle:
        return self._loop.call_soon(callback)


class Here:
    """The daemon on the running loop, its one client, and its subscriber."""

    def __init__(self, port: int, heard: Subscriber | None = None, **settings: Any) -> None:
        given = {"tws.port": port, "bus.heartbeat": 1.0, **{k.replace("__", "."): v for k, v in settings.items()}}
        config = load(None, [f"{key}={value}" for key, value in given.items()])
        self.heard = heard or Subscriber()
        bus, clock = ListBus(self.heard.hear), LoopClock(asyncio.get_running_loop())
        outside = Outside(clock, event_store(config), MemoryOrderStore(), lambda *_: bus, peerage=LocalPeerage())  # type: ignore[arg-type]
        self.daemon = Daemon(config, outside=outside)
        self._ids = itertools.count(1)

    def call(self, cmd: str, client: str = "me", key: str | None = None, **args: Any) -> dict[str, Any]:
        command = {"id": next(self._ids), "cmd": cmd, "client": client, "args": args} | ({"key": key} if key else {})
        reply: dict[str, Any] = msgpack.unpackb(self.daemon.parts.commands.answer(msgpack.packb(command)))
        return reply

    async def serve(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.daemon.parts.connector.run())
            tasks.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            self.daemon.publish_heartbeat()
            await asyncio.sleep(self.daemon.config.bus.heartbeat)

    async def until_ready(self, patience: float = 3600.0) -> None:
        """Wait until requests are taken."""
        async with asyncio.timeout(patience):
            while not self.daemon.parts.tws.session.ready:  # noqa: ASYNC110 - time costs nothing here
                await asyncio.sleep(0.1)


@contextlib.contextmanager
def serving(here: Here) -> Iterator[asyncio.Task[None]]:
    """While the block lasts. What ends it early is raised."""
    task = asyncio.get_running_loop().create_task(here.serve())
    try:
        yield task
    finally:
        if task.done():
            task.result()
        task.cancel()
