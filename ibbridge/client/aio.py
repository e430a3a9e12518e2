"""The client for asyncio: the same methods as coroutines, on the same follower, without a thread.

>>> from ibbridge.client import stock
>>> from ibbridge.client.aio import connect
>>> async with connect("my-strategy") as ib:
...     await ib.reqMktData(stock("AAPL"))
...     async for message in ib:
...         print(message)

Knows coroutines. Must not know sockets: those are `asyncio_feed`'s.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
import weakref
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import zmq

from ibbridge.client import request as requests
from ibbridge.client.asyncio_feed import USER, LoopCaller, LoopFeed
from ibbridge.client.dispatch import PUB, REP, Desk, Patience, is_final
from ibbridge.client.errors import BridgeError, NoAnswer
from ibbridge.client.gap_recovery import replayed
from ibbridge.client.guard import CLOSING
from ibbridge.client.stream_state import Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
    from types import TracebackType

    from ibbridge.client.commands import Command, Reply
    from ibbridge.client.contracts import Contract
    from ibbridge.client.message import Message
    from ibbridge.client.orders import Order
    from ibbridge.client.request import Request

def _close(feed: LoopFeed, caller: LoopCaller, context: zmq.Context[Any]) -> None:
    feed.close()
    caller.close()
    context.term()


def _close_there(feed: LoopFeed, caller: LoopCaller, context: zmq.Context[Any], closed: Future[None]) -> None:
    _close(feed, caller, context)
    closed.set_result(None)


def _abandon(feed: LoopFeed, caller: LoopCaller, context: zmq.Context[Any]) -> None:
    """Close what a client has left open that nobody can reach any more."""
    if not feed.ours:
        return
    warnings.warn("a client was not closed: close it, or use it in an async with block", ResourceWarning, stacklevel=2)
    if feed.foreign():
        feed.loop.call_soon_threadsafe(_close, feed, caller, context)
    else:
        _close(feed, caller, context)


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
        context: zmq.Context[Any] = zmq.Context()
        try:
            self._feed = LoopFeed(context, pub, rep, prefix=prefix)
            self._caller = LoopCaller(context, rep)
        except BridgeError:
            context.destroy(linger=0)
            raise
        self._context = context
        self._abandoned = weakref.finalize(self, _abandon, self._feed, self._caller, context)
        self._abandoned.atexit = False

    async def start(self) -> None:
        """Subscribe to what concerns this client, and ask whether the daemon is there. `connect` does it."""
        self._feed.subscribe(self._own)
        await self._join([(Mode.LIVE, [self._heartbeats])], "")
        reply = await self._exchange(self._command("ping", {}))
        if reply.epoch != self._feed.link.follower.epoch:
            raise BridgeError(f"{self._feed.link.pub} and {self._feed.link.rep} belong to two different daemons")
        await self._join([(Mode.STATE, self._own)], USER)
        self._instruments = (await self.status()).get("instruments") or {}

    async def close(self) -> None:
        """Disconnect at once. Streams and orders live on in the daemon; cancel what shall end.

        Any task or callback may call it, as often as it likes, and so may another loop than the client's, in another
        thread. Loops over messages end then; what else is under way raises `BridgeError`, a command on its way
        `NoAnswer`. In a forked child it does nothing.
        """
        if not self._feed.ours:
            return
        self._abandoned.detach()
        if not self._feed.foreign():
            _close(self._feed, self._caller, self._context)
            return
        closed: Future[None] = Future()
        self._feed.loop.call_soon_threadsafe(_close_there, self._feed, self._caller, self._context, closed)
        with suppress(TimeoutError):  # a loop that hangs closes when it goes on
            await asyncio.wait_for(asyncio.wrap_future(closed), CLOSING)

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
        return await self._received(timeout, self._feed.receive)

    async def _received(
        self, timeout: float | None, receive: Callable[[float | None], Awaitable[Message | None]]  # noqa: ASYNC109
    ) -> Message | None:
        end = None if timeout is None else self._feed.after(timeout)
        while True:
            message = await receive(end)
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
        """Messages as they come, after their callbacks: for that long, or until `stop` or `close`."""
        if self._feed.open:
            self._feed.check()
        self._stopped = False
        end = None if seconds is None else self._feed.after(seconds)
        while self._feed.open and not self._stopped:
            left = None if end is None else end - self._feed.after(0)
            if left is not None and left <= 0:
                return
            if (message := await self._received(left, self._feed.receive_until_closed)) is not None:
                yield message

    def __aiter__(self) -> AsyncIterator[Message]:
        return self.messages()

    async def run(self, seconds: float | None = None) -> None:
        """Call callbacks: for that long, or until one of them calls `stop` or `close`."""
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
        self._feed.turn(wanted=True)  # so that a restart that could be known is
        asking = self._asking(name, args, key, id, self._feed.link.follower.epoch)
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
        patience = Patience(request, self.timeout if timeout is None else timeout)
        inbox, me = self._feed.inbox, asyncio.current_task()
        watch = inbox.watch(request, me)
        try:
            while message := await self._feed.wait(lambda: inbox.pick(watch, me), self._feed.after(patience.left())):
                self._release(self._passed(message))
                if patience.is_news(message):
                    continue
                yield message
                if is_final(request, message):
                    return
            raise patience.error()
        finally:
            inbox.unwatch(request.id)

    # -- the daemon

    async def subscribe(self, prefix: str) -> None:
        """Also receive everything whose topic begins with `prefix`; its state first, flagged `replayed`."""
        await self._join([(Mode.STATE, [prefix])], USER)

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
