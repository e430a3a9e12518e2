"""Moves between packages while one message or command passes through the daemon.

Every call is traced with `sys.setprofile` through the daemon's own wiring, in pure Python: a call into another package,
and the return from it, are a move each. Few moves mean that a reader follows a message through few places. The socket
of TWS and those of the bus are real; the host, the client and the daemon share one thread and one event loop. Each trip
is made several times and the fewest moves count, because a timer may fall into one. A look at the clock is no move.
`--to PACKAGE` lists the moves into a package by function.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pathlib
import socket
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

os.environ["IBBRIDGE_PURE"] = "1"  # compiled code cannot be traced

import msgpack
import zmq

import ibbridge
from ibbridge.codec import Acceptor, Message
from ibbridge.config.loader import load
from ibbridge.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import CodeType, FrameType

ROOT = f"{pathlib.Path(ibbridge.__file__).parent}{os.sep}"
VERSION = 200
STOCK = {"secType": "STK", "exchange": "SMART", "currency": "USD"}
ORDER = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 150.0}
SETTLED = 0.05
"""Seconds after which everything that a message causes at once has happened."""

ENDS = {
    "reqAllOpenOrders": "openOrderEnd",
    "reqExecutions": "execDetailsEnd",
    "reqCompletedOrders": "completedOrdersEnd",
    "reqPositions": "positionEnd",
}
"""Message that ends each list about orders."""

AIMS = {"tick": 20, "placeOrder": 50, "cancelOrder": 35, "orderStatus + error": 70, "1101, three subscriptions": 400}


class Trace:
    """Moves counted so far: `moves` in all, `into` by package and function. Code outside ibbridge counts no move."""

    def __init__(self) -> None:
        self.moves = 0
        self.into: Counter[tuple[str, str]] = Counter()
        self._packages: dict[CodeType, str] = {}
        self._stack: list[str] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Trace all calls of this thread."""
        sys.setprofile(self._event)
        try:
            yield
        finally:
            sys.setprofile(None)
            self._stack.clear()

    def _event(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            before = self._stack[-1] if self._stack else ""
            package = self._package(frame.f_code) or before
            if before and package != before:
                self.moves += 1
                self.into[package, frame.f_code.co_qualname] += 1
            self._stack.append(package)
        elif event == "return" and self._stack:
            package = self._stack.pop()
            if self._stack and self._stack[-1] != package:
                self.moves += bool(self._stack[-1])

    def _package(self, code: CodeType) -> str:
        """Return the package of a function, or its module at the root; empty for a function outside ibbridge."""
        if code not in self._packages:
            path = code.co_filename
            inside = path.removeprefix(ROOT) if path.startswith(ROOT) else ""
            package = inside.partition(os.sep)[0].removesuffix(".py")
            self._packages[code] = "" if package == "clock" else package
        return self._packages[code]


class World:
    """A daemon between a host and a client, both of which the caller plays."""

    def __init__(self, daemon: Daemon, host: socket.socket, requests: zmq.Socket[bytes]) -> None:
        self.daemon = daemon
        self.heard: Counter[str] = Counter()
        self.ids: dict[str, int] = {}
        self._keys = 0
        self._host = host
        self._requests = requests
        self._acceptor = Acceptor(newest=VERSION)
        self._commands = 0

    async def begin(self) -> None:
        """Have the daemon connected, three subscriptions made, and one order placed."""
        await self.until(lambda: self.heard["startApi"] > 0)
        await self.say(self.frames(("managedAccounts", {"accountsList": "DU1,"}), ("nextValidId", {"orderId": 1})))
        for symbol in SYMBOLS:
            await self.ask("reqMktData", contract={"symbol": symbol, **STOCK})
        await self.until(lambda: self.heard["reqMktData"] == len(SYMBOLS))
        await self.placed()

    def new_key(self) -> str:
        """Return a key that no order has."""
        self._keys += 1
        return f"k{self._keys}"

    async def placed(self) -> tuple[str, int]:
        """Place an order. Return its key and order id."""
        key = self.new_key()
        reply = await self.ask("placeOrder", key=key, contract={"symbol": "AAPL", **STOCK}, order=ORDER)
        return key, reply["orderId"]

    async def read(self) -> None:
        """Take in what the daemon sends to its host."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self._host, 65_536):
            for message in self._acceptor.receive_data(data):
                if isinstance(message, Message):
                    self.heard[message.name] += 1
                    self._end_list(message)
                    self.ids[message.name] = message.data.get("tickerId", message.data.get("reqId", 0))
            if greeting := self._acceptor.data_to_send():
                self._host.send(greeting)

    def _end_list(self, request: Message) -> None:
        """End the lists that the daemon compares its orders with."""
        if (end := ENDS.get(request.name)) is not None:
            number = {"reqId": request.data["reqId"]} if request.name == "reqExecutions" else {}
            self._host.send(self.frames((end, number)))

    def frames(self, *messages: tuple[str, dict[str, Any]]) -> bytes:
        """Return messages as bytes of the host."""
        assert self._acceptor.dialect is not None
        return b"".join(self._acceptor.dialect.put(name, data) for name, data in messages)

    async def say(self, frames: bytes) -> None:
        """Write bytes of the host, and wait until all that they cause has happened."""
        self._host.send(frames)
        await asyncio.sleep(SETTLED)

    async def ask(self, cmd: str, *, key: str = "", **args: Any) -> dict[str, Any]:
        """Send a command and return the result. Raises RuntimeError if the command is refused."""
        self._commands += 1
        request = {"id": f"c{self._commands}", "client": "moves", "cmd": cmd, "args": args}
        self._requests.send(msgpack.packb(request | ({"key": key} if key else {})))
        await self.until(lambda: bool(self._requests.poll(0)))
        await asyncio.sleep(SETTLED)
        reply = msgpack.unpackb(self._requests.recv(), strict_map_key=False)
        if not reply["ok"]:
            raise RuntimeError(f"{cmd}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds` returns True. Raises TimeoutError after 20 s."""
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 - a socket and a counter set no event
                await asyncio.sleep(0.01)


async def tick(world: World) -> Callable[[], Awaitable[Any]]:
    """Return the trip to the bus of one tick of a subscription that has ticked before."""
    frame = world.frames(("tickSize", {"reqId": world.ids["reqMktData"], "tickType": 0, "size": 100}))
    await world.say(frame)  # the first one finds its channel
    return lambda: world.say(frame)


async def place_order(world: World) -> Callable[[], Awaitable[Any]]:
    """Return the trip of an order to TWS, where orders have gone before."""
    key = world.new_key()
    return lambda: world.ask("placeOrder", key=key, contract={"symbol": "AAPL", **STOCK}, order=ORDER)


async def cancel_order(world: World) -> Callable[[], Awaitable[Any]]:
    """Return the trip of a cancel to TWS."""
    key, _ = await world.placed()
    return lambda: world.ask("cancelOrder", key=key)


async def order_status(world: World) -> Callable[[], Awaitable[Any]]:
    """Return the trip of an order's state and of an error about it, in one read, to the bus."""
    _, order_id = await world.placed()
    numbers = {"orderId": order_id, "permId": order_id, "parentId": 0, "clientId": 1}
    status = {"status": "Submitted", "filled": 0.0, "remaining": 100.0, "avgFillPrice": 0.0, "lastFillPrice": 0.0}
    error = {"reqId": order_id, "errorTime": 0, "errorCode": 399, "errorString": "Order Message: held"}
    frames = world.frames(
        ("orderStatus", numbers | status | {"whyHeld": "", "mktCapPrice": 0.0}),
        ("error", error | {"advancedOrderRejectJson": ""}),
    )
    return lambda: world.say(frames)


async def data_lost(world: World) -> Callable[[], Awaitable[Any]]:
    """Return the trip of 1101: three subscriptions are requested again."""
    error = {"reqId": -1, "errorTime": 0, "errorCode": 1101, "errorString": "restored, data lost"}
    frame = world.frames(("error", error | {"advancedOrderRejectJson": ""}))
    wanted = world.heard["reqMktData"] + len(SYMBOLS)

    async def trip() -> None:
        await world.say(frame)
        await world.until(lambda: world.heard["reqMktData"] >= wanted)

    return trip


async def heartbeat(world: World) -> Callable[[], Awaitable[Any]]:
    """Return the trip of one heartbeat, which is not a move of any message."""

    async def trip() -> None:
        world.daemon.publish_heartbeat()

    return trip


SYMBOLS = ("AAPL", "MSFT", "IBM")

TRIPS = {
    "tick": tick,
    "placeOrder": place_order,
    "cancelOrder": cancel_order,
    "orderStatus + error": order_status,
    "1101, three subscriptions": data_lost,
    "heartbeat": heartbeat,
}


async def fewest(world: World, rounds: int) -> dict[str, Trace]:
    """Make all trips so many times; the trace of each with the fewest moves."""
    found: dict[str, Trace] = {}
    for _ in range(rounds):
        for name, prepare in TRIPS.items():
            trip, trace = await prepare(world), Trace()
            with trace.running():
                await trip()
            if name not in found or trace.moves < found[name].moves:
                found[name] = trace
    return found


async def measured(rounds: int) -> dict[str, Trace]:
    """Return the traces of all trips through a daemon that is connected and has three subscriptions."""
    with tempfile.TemporaryDirectory() as place, socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)  # noqa: FBT003 - the standard library's
        settings = {
            "tws.port": listening.getsockname()[1],
            "tws.client_id": 1,
            "bus.pub": f"ipc://{place}/pub",
            "bus.rep": f"ipc://{place}/rep",
            "bus.heartbeat": 60,
            "store.path": f"{place}/store",
            "log.level": "error",
        }
        daemon = Daemon(load(None, [f"{key}={value}" for key, value in settings.items()]))
        running = asyncio.create_task(daemon.serve())
        try:
            host, _ = await asyncio.get_running_loop().sock_accept(listening)
            with host, zmq.Context() as context, context.socket(zmq.REQ) as requests:
                host.setblocking(False)  # noqa: FBT003 - the standard library's
                requests.connect(f"ipc://{place}/rep")
                world = World(daemon, host, requests)
                reading = asyncio.create_task(world.read())
                await world.begin()
                found = await fewest(world, rounds)
                reading.cancel()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
    return found


def main() -> int:
    """Trace and print; 1 if a trip has more moves than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of which the fewest moves count (default %(default)s)")
    parser.add_argument("--to", help="list the moves into this package")
    options = parser.parse_args()
    found = asyncio.run(measured(options.rounds))
    for name, trace in found.items():
        aim = f" (at most {AIMS[name]})" if name in AIMS else ""
        print(f"{trace.moves:5}  {name}{aim}")
        for (package, function), count in trace.into.most_common():
            if package == options.to:
                print(f"{'':11}{count:4}  {function}")
    return int(any(found[name].moves > most for name, most in AIMS.items()))


if __name__ == "__main__":
    sys.exit(main())
