"""The client for asyncio: the same methods as coroutines, on the same follower, without a thread.

>>> from ibbridge.client import stock
>>> from ibbridge.client.aio import connect
>>> async with connect("my-strategy") as ib:
...     await ib.reqMktData(stock("AAPL"))
...     async for message in ib:
...         print(message)

Knows event loops and waiting. ZeroMQ's file descriptors only say that something may have changed, so whatever wakes the
loop, all there is to do without waiting is done (`turn`), in bounded pieces: the loop is never blocked.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

import zmq

from ibbridge.client import commands, wires
from ibbridge.client import request as requests
from ibbridge.client.desk import PUB, REP, Desk, is_final
from ibbridge.client.errors import BridgeError, NoAnswer
from ibbridge.client.follow import replayed
from ibbridge.client.inbox import Inbox
from ibbridge.client.link import Link
from ibbridge.client.tracks import Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator
    from types import TracebackType

    from ibbridge.client.commands import Command, Reply
    from ibbridge.client.contracts import Contract
    from ibbridge.client.message import Message
    from ibbridge.client.orders import Order
    from ibbridge.client.request import Request

T = TypeVar("T")

MOST = 100_000
"""Messages kept for a strategy that is busy, after which no more are taken from ZeroMQ, which keeps as many again."""

_PIECE = 100
_USER = "user"


class Connecting:
    """What `connect` gives: `async with` it, which closes at the end, or `await` it."""

    def __init__(self, client: Client, *, tws: bool) -> None:
        self._client = client
        self._tws = tws

    def __await__(self) -> Generator[Any, None, Client]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Client:
        try:
            await self._client.start()
            if self._tws:
                await self._client.wait_for_tws()
        except BaseException:
            await self._client.close()
            raise
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()


def connect(
    client: str, pub: str = PUB, rep: str = REP, *, prefix: str = "", timeout: float = 10.0, tws: bool = True
) -> Connecting:
    """Connect to a daemon as `client`; as `ibbridge.client.connect`, but to be awaited. Needs a running event loop."""
    return Connecting(Client(client, pub, rep, prefix=prefix, timeout=timeout), tws=tws)


class Client(Desk):
    """A strategy's connection to the daemon, for the tasks of one event loop; made by `connect`.

    Every request of IB's is a coroutine under its own name: `await ib.reqMktData(contract)`. Each message is given to
    one of the tasks that receive; callbacks may be coroutine functions. It does not survive a fork.
    """

    def __init__(self, client: str, pub: str = PUB, rep: str = REP, *, prefix: str = "", timeout: float = 10.0) -> None:
        super().__init__(client, prefix=prefix, timeout=timeout)
        self._context = zmq.Context()
        try:
            self._feed = _Feed(self._context, pub, rep, prefix=prefix)
            self._caller = _Caller(self._context, rep)
        except BridgeError:
            self._context.destroy(linger=0)
            raise

    async def start(self) -> None:
        """Subscribe to what concerns this client, and ask whether the daemon is there. `connect` does it."""
        self._feed.subscribe(self._own)
        await self._join([(Mode.LIVE, [self._heartbeats])], "")
        reply = await self._exchange(self._command("ping", {}))
        if reply.epoch != self._feed.link.follower.epoch:
            raise BridgeError(f"{self._feed.link.pub} and {self._feed.link.rep} belong to two different daemons")
        await self._join([(Mode.STATE, self._own)], _USER)
        self._instruments = (await self.status()).get("instruments") or {}

    async def close(self) -> None:
        """Disconnect at once. Streams and orders live on in the daemon; cancel what shall end."""
        if self._feed.ours:
            self._feed.close()
            self._caller.close()
            self._context.term()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- messages

    async def receive(self, timeout: float | None = None) -> Message | None:  # noqa: ASYNC109 -- as the other client's
        """The next message, after its callbacks; None if none came for `timeout` seconds (None: wait for ever).

        The daemon's heartbeats are kept from you; register "heartbeat" to be called for them.
        """
        self._feed.check()
        end = None if timeout is None else self._feed.after(timeout)
        while True:
            message = await self._feed.receive(end)
            if message is None:
                return None
            self._release(self._passed(message))
            for callback in self._called(message):
                result = callback(message)
                if inspect.isawaitable(result):
                    await result
            if message.type != "heartbeat":
                return message
            if self._stopped:
                return None

    async def messages(self, seconds: float | None = None) -> AsyncIterator[Message]:
        """Messages as they come, after their callbacks: for that long, or until `stop`."""
        self._stopped = False
        end = None if seconds is None else self._feed.after(seconds)
        while not self._stopped:
            left = None if end is None else end - self._feed.after(0)
            if left is not None and left <= 0:
                return
            if (message := await self.receive(left)) is not None:
                yield message

    def __aiter__(self) -> AsyncIterator[Message]:
        return self.messages()

    async def run(self, seconds: float | None = None) -> None:
        """Call callbacks: for that long, or until one of them calls `stop`."""
        async for _ in self.messages(seconds):
            pass

    # -- requests

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Request]]:
        self._checked(name)

        async def method(*given: Any, **named: Any) -> Request:
            return await self.request(name, requests.bind(name, given, named))

        return requests.described(method, name)

    async def placeOrder(self, contract: Contract | object, order: Order | object, key: str | None = None) -> Request:  # noqa: N802 -- IB's name
        """Place an order under the strategy's own `key`, which makes a retry safe; without one it gets a new one."""
        return await self.request("placeOrder", requests.bind("placeOrder", (contract, order), {}), key=key)

    async def whatIfOrder(self, contract: Contract | object, order: Order | object) -> Request:  # noqa: N802 -- named as IB's requests are
        """Ask what an order would cost, without placing it: `answers` has one openOrder with its orderState."""
        return await self.request("whatIfOrder", requests.bind("whatIfOrder", (contract, order), {}))

    async def call(self, cmd: str, /, **args: Any) -> dict[str, Any]:
        """Send any command with these arguments, and return its result. It subscribes to nothing."""
        return (await self._exchange(self._command(cmd, args))).result

    async def _exchange(self, command: Command) -> Reply:
        self._feed.check()
        return await self._caller.call(command, self.timeout)

    async def request(
        self, name: str, args: dict[str, Any], *, key: str | None = None, id: str | None = None  # noqa: A002 -- the protocol's word
    ) -> Request:
        """What the methods under IB's names do, for arguments that are a map already."""
        self._feed.check()
        asking = self._asking(name, args, key, id)
        holder, expected = asking.command.id, self._expected(asking)
        if expected is not None:
            self._feed.inbox.watch(expected, asyncio.current_task())
        try:
            await self._join(asking.before, holder)
            reply = await self._exchange(asking.command)
        except BaseException:  # cancelled, too: nothing is left behind
            self._feed.inbox.unwatch(holder)
            self._release(holder)
            raise
        made = self._made(asking, reply)
        await self._join([(Mode.STATE, self._missing(asking, made, self._feed.link.prefixes))], holder)
        self._feed.unsubscribe(asking.places.wide, holder)
        self._release(self._ended_by(asking))
        return made

    async def _join(self, wanted: list[tuple[Mode, list[str]]], holder: str) -> None:
        every = [each for mode, prefixes in wanted for each in self._feed.subscribe(prefixes, holder, mode)]
        if not await self._feed.wait(lambda: self._feed.link.begun(every), self._feed.after(self.timeout)):
            raise self._feed.link.silent(every, self.timeout)

    def _release(self, holder: str | None) -> None:
        if holder is not None and self._feed.open:
            self._feed.release(holder)

    async def answers(self, request: Request, timeout: float | None = None) -> AsyncIterator[Message]:  # noqa: ASYNC109 -- as the other client's
        """The answers to a one-shot request, to the last; other messages keep. NoAnswer if the next does not come."""
        if not request.one_shot:
            raise ValueError(f"the answers to {request.cmd} have no end: iterate over the client")
        self._feed.check()
        timeout = self.timeout if timeout is None else timeout
        inbox, me = self._feed.inbox, asyncio.current_task()
        watch = inbox.watch(request, me)
        try:
            while message := await self._feed.wait(lambda: inbox.pick(watch, me), self._feed.after(timeout)):
                self._release(self._passed(message))
                yield message
                if is_final(request, message):
                    return
            raise NoAnswer(f"{request.cmd}: TWS has not answered for {timeout:g} s", "unknown")
        finally:
            inbox.unwatch(request.id)

    # -- the daemon

    async def subscribe(self, prefix: str) -> None:
        """Also receive everything whose topic begins with `prefix`; its state first, flagged `replayed`."""
        await self._join([(Mode.STATE, [prefix])], _USER)

    async def unsubscribe(self, prefix: str) -> None:
        """No longer receive it, unless another subscription covers it."""
        self._feed.unsubscribe([prefix])

    async def snapshot(self, prefix: str) -> list[Message]:
        """The last message of everything under `prefix` that has a state, flagged `replayed`."""
        found: list[Message] = []
        after: dict[str, Any] = {}
        while True:
            page = await self.call("snapshot", prefix=prefix, **after)
            for stream in page["streams"]:
                found += [replayed(topic, body) for topic, body in stream["messages"]]
            if page.get("next") is None:
                return found
            after = {"after": page["next"]}

    async def status(self) -> dict[str, Any]:
        """How the daemon and its connection to TWS are."""
        return await self.call("status")

    async def wait_for_tws(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- as the other client's
        """Wait until the daemon's connection to TWS is ready; NoAnswer, saying what it is stuck at, if it is not."""
        timeout = self.timeout if timeout is None else timeout
        end = self._feed.after(timeout)
        others: list[Message] = []
        try:
            while (about := (await self.status())["tws"])["stage"] != "ready":
                message = await self._feed.receive(end)
                while message is not None and message.type != "heartbeat":
                    others.append(message)
                    message = await self._feed.receive(end) if message.type != "connection" else None
                if self._feed.after(0) >= end:
                    why = f": {about['lastError']}" if about.get("lastError") else ""
                    raise NoAnswer(f"the daemon has no connection to TWS ({about['stage']}{why})", "not_sent")
        finally:
            self._feed.inbox.put_back(others)


class _Waiting:
    """Sockets of ZeroMQ's in an event loop: `news` for whoever waits."""

    def __init__(self) -> None:
        self.open = True
        self._loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[None]] = set()
        self._pid = os.getpid()

    @property
    def ours(self) -> bool:
        """Whether this is the process that made it, and not a forked child."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """BridgeError where it cannot be used."""
        if not self.ours:
            raise BridgeError("this connection belongs to the process that made it: connect after the fork")
        if not self.open:
            raise BridgeError("this connection is closed")

    def after(self, seconds: float) -> float:
        """The loop's time, so many seconds from now."""
        return self._loop.time() + seconds

    def turn(self, *, wanted: bool = False) -> None:
        """Do all that can be done without waiting; `wanted`: somebody is about to wait for what comes of it."""
        raise NotImplementedError

    def news(self) -> None:
        """Have everybody look whether what they wait for is there."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, done: Callable[[], T | None], end: float | None) -> T | None:
        """Wait until there is something, and say what; None past the end."""
        self.check()
        if found := done():
            return found
        self.turn(wanted=True)
        while not (found := done()):
            if end is not None and self._loop.time() >= end:
                return None
            await self._changed(end)
            self.check()
        return found

    async def _changed(self, end: float | None) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=None if end is None else max(0.0, end - self._loop.time()))
        finally:
            self._waiters.discard(waiter)


class _Feed(_Waiting):
    """Messages for tasks."""

    def __init__(self, context: zmq.Context[Any], pub: str, rep: str, *, prefix: str) -> None:
        super().__init__()
        self.link = Link(context, pub, rep, prefix=prefix)
        self.inbox = Inbox(self.link.ready)
        self._timer: asyncio.TimerHandle | None = None
        self._given = 0
        for each in (self.link.sub, self.link.req):
            self._loop.add_reader(each, self._look)
        self._look()

    def close(self) -> None:
        if self.open:
            self.open = False
            for each in (self.link.sub, self.link.req):
                self._loop.remove_reader(each)
            if self._timer is not None:
                self._timer.cancel()
            self.link.close()
            self.news()

    def subscribe(self, prefixes: list[str], holder: str = _USER, mode: Mode = Mode.STATE) -> list[str]:
        self.check()
        given = self.link.join(prefixes, holder, mode)
        self._look()
        return given

    def unsubscribe(self, prefixes: Any, holder: str | None = None) -> None:
        self.check()
        self.link.leave(prefixes, holder)
        self._look()

    def release(self, holder: str) -> None:
        self.check()
        self.link.leave_all(holder)
        self._look()

    async def receive(self, end: float | None) -> Message | None:
        """The next message; None if none came until then. Whoever takes many at once lets others have their turn."""
        self.check()
        self._given += 1
        if not self._given % _PIECE:
            await asyncio.sleep(0)
        me = asyncio.current_task()
        return await self.wait(lambda: self.inbox.next(me) if self.inbox else None, end)

    def _look(self) -> None:
        """Something may have changed. Asking for the events is what makes the descriptors quiet."""
        if not self.open or not self.ours:
            return
        self.link.sub.get(zmq.EVENTS)
        self.link.req.get(zmq.EVENTS)
        self.turn()

    def turn(self, *, wanted: bool = False) -> None:
        if len(self.link.ready) >= MOST and not (wanted or self._waiters):
            return
        now = time.monotonic()
        more = self.link.turn(now)
        if self._timer is not None:
            self._timer.cancel()
        wake = now if more else self.link.wake()
        self._timer = None if wake is None else self._loop.call_later(max(0.0, wake - now), self._look)
        self.news()


class _Caller(_Waiting):
    """The command socket of one client; tasks take turns."""

    def __init__(self, context: zmq.Context[Any], rep: str) -> None:
        super().__init__()
        self.rep = rep
        self._context = context
        self._lock = asyncio.Lock()
        self._open_socket()

    def _open_socket(self) -> None:
        self._socket = wires.requester(self._context, self.rep)
        self._loop.add_reader(self._socket, self.turn)

    def close(self) -> None:
        if self.open:
            self.open = False
            self._close_socket()
            self.news()

    def _close_socket(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def turn(self, *, wanted: bool = False) -> None:
        if self.open and self.ours:
            self._socket.get(zmq.EVENTS)
            self.news()

    async def call(self, command: Command, timeout: float) -> Reply:  # noqa: ASYNC109 -- as the other client's
        """Send a command and wait for its reply."""
        end, packed = self.after(timeout), None
        try:
            async with asyncio.timeout_at(end):
                await self._lock.acquire()
        except TimeoutError:
            raise command.unanswered(self.rep, timeout) from None
        try:
            while packed is None and self._loop.time() < end:
                if not await self.wait(lambda: self._sent(command), end):
                    break
                packed = await self.wait(self._reply, min(end, self.after(commands.RETRY)))
        finally:
            if packed is None and self.open and self.ours:  # a reply that comes later is not to be taken for another's
                self._close_socket()
                self._open_socket()
            self._lock.release()
        if packed is None:
            raise command.unanswered(self.rep, timeout)
        return command.reply(packed[0], self.rep)

    def _sent(self, command: Command) -> bool:
        try:
            self._socket.send(command.packed, zmq.NOBLOCK)
        except zmq.Again:
            return False
        command.sent = True
        return True

    def _reply(self) -> tuple[bytes] | None:
        try:
            return (self._socket.recv(zmq.NOBLOCK),)
        except zmq.Again:
            return None
