"""asyncio client: the methods of `ibbridge.client` as coroutines, on the same stream follower, without a thread.

>>> from ibbridge.client import stock
>>> from ibbridge.client.aio import connect
>>> async with connect("my-strategy") as ib:
...     await ib.reqMktData(stock("AAPL"))
...     async for message in ib:
...         print(message)

This module knows coroutines. It must not know sockets: `asyncio_feed` owns them.
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

from ibbridge.client import commands as command_words
from ibbridge.client import request as requests
from ibbridge.client.asyncio_feed import USER, AsyncioCommands, AsyncioFeed
from ibbridge.client.asyncio_orders import AsyncioOrders
from ibbridge.client.dispatch import POLL_STATUS, Patience, is_final, no_tws
from ibbridge.client.endpoints import both
from ibbridge.client.errors import BridgeError, CommandError, NoAnswer
from ibbridge.client.gap_recovery import replayed
from ibbridge.client.guard import CLOSING
from ibbridge.client.stream_state import Mode

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
    from types import TracebackType

    from ibbridge.client.commands import Command, Reply
    from ibbridge.client.endpoints import Endpoint
    from ibbridge.client.lifeline import Lifeline
    from ibbridge.client.message import Message
    from ibbridge.client.request import Request


def _close(feed: AsyncioFeed, commands: AsyncioCommands, context: zmq.Context[Any]) -> None:
    feed.close()
    commands.close()
    context.term()


def _close_there(feed: AsyncioFeed, commands: AsyncioCommands, context: zmq.Context[Any], closed: Future[None]) -> None:
    _close(feed, commands, context)
    if closed.set_running_or_notify_cancel():  # False if nobody waits any more
        closed.set_result(None)


def _abandon(
    feed: AsyncioFeed, commands: AsyncioCommands, context: zmq.Context[Any], lifelines: list[Lifeline]
) -> None:
    """Close the sockets of a client that was garbage-collected without `close`, and warn. A finalizer calls it."""
    if not feed.ours:
        return
    warnings.warn("a client was not closed: close it, or use it in an async with block", ResourceWarning, stacklevel=2)
    for each in lifelines:
        each.stop(logout=False)
    if feed.foreign():
        feed.loop.call_soon_threadsafe(_close, feed, commands, context)
    else:
        _close(feed, commands, context)


class Connecting:
    """Awaitable and context manager that `connect` returns: `await` yields a client, `async with` also closes it."""

    def __init__(self, client: Client, said: dict[str, Any], *, tws: bool) -> None:
        self._client = client
        self._said = said
        self._tws = tws

    def __await__(self) -> Generator[Any, None, Client]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Client:
        try:
            await self._client.start()
            await self._client.greet(self._said)
            if self._tws:
                await self._client.wait_for_tws()
        except BaseException:
            await self._client.close()
            raise
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close(logout=command_words.is_orderly(kind))


def connect(
    client: str,
    pub: str = "",
    rep: str = "",
    *,
    prefix: str = "",
    timeout: float = 10.0,
    tws: bool = True,
    key: str | os.PathLike[str] | None = None,
    server_key: str | os.PathLike[str] | None = None,
    cancel_on_disconnect: str | None = None,
    window: float | None = None,
    ttl: float | None = None,
) -> Connecting:
    """Connect to a daemon as `client`, with the arguments of `ibbridge.client.connect`. Await the result.

    The call itself needs a running event loop.
    """
    made = Client(client, *both(pub, rep, key, server_key), prefix=prefix, timeout=timeout)
    return Connecting(made, command_words.hello(cancel_on_disconnect, window, ttl), tws=tws)


class Client(AsyncioOrders):
    """Connection of a strategy to the daemon, for the tasks of one event loop; `connect` makes it.

    Every IB request is a coroutine under IB's name: `await ib.reqMktData(contract)`. Each message goes to one of the
    tasks that receive. Callbacks may be coroutine functions. A client does not survive a fork.
    """

    def __init__(
        self,
        client: str,
        pub: str | Endpoint = "",
        rep: str | Endpoint = "",
        *,
        prefix: str = "",
        timeout: float = 10.0,
    ) -> None:
        super().__init__(client, prefix=prefix, timeout=timeout)
        pub, rep = both(pub, rep)
        context: zmq.Context[Any] = zmq.Context()
        try:
            self._feed = AsyncioFeed(context, pub, rep, prefix=prefix)
            self._commands = AsyncioCommands(context, rep)
        except BridgeError:
            context.destroy(linger=0)
            raise
        self._context = context
        self._lifelines: list[Lifeline] = []  # one, from `greet` on
        self._abandoned = weakref.finalize(self, _abandon, self._feed, self._commands, context, self._lifelines)
        self._abandoned.atexit = False

    async def start(self) -> None:
        """Subscribe to the topics of this client, and ping the daemon. `connect` calls this method.

        Raise AuthError if the daemon does not admit this client, NoAnswer if it is silent, BridgeError if the two
        endpoints belong to different daemons.
        """
        self._feed.subscribe(self._own)
        await self._join([(Mode.LIVE, [self._heartbeats])], "")
        reply = await self._exchange(self._command("ping", {}))
        if reply.epoch != self._feed.connection.follower.epoch:
            raise BridgeError(
                f"{self._feed.connection.pub} and {self._feed.connection.rep} belong to two different daemons"
            )
        await self._join([(Mode.STATE, self._own)], USER)
        self._instruments = (await self.status()).get("instruments") or {}

    async def greet(self, said: dict[str, Any]) -> None:
        """Say hello, and from now on that the client is there. `connect` calls this method.

        A thread says that, because the loop stands still while the strategy computes. What the client subscribes to
        ends with it. Raise CommandError if the daemon refuses what the strategy asks for.
        """
        try:
            await self.call("hello", **said)
        except CommandError:  # an older daemon, or a policy without the command
            if command_words.is_demanding(said):
                raise
        self._greeted = True
        self._lifelines.append(self._commands.lifeline(self.name, said))
        self._lifelines[-1].start()

    async def close(self, *, logout: bool = True) -> None:
        """Log out, and disconnect at once. Subscriptions end some seconds later, unless they are to be kept (`keep`).

        Orders live on, unless they are to be cancelled at a logout. Without `logout` the client counts as lost.

        Any task or callback may call `close`, any number of times; so may a loop of another thread. Iteration over
        messages then ends, a command without its reply raises `NoAnswer`, and other pending calls raise `BridgeError`.
        In a forked child `close` does nothing.
        """
        if not self._feed.ours:
            return
        self._abandoned.detach()
        if not self._feed.foreign():
            _close(self._feed, self._commands, self._context)
            await self._end_lifelines(logout=logout)
            return
        closed: Future[None] = Future()
        self._feed.loop.call_soon_threadsafe(_close_there, self._feed, self._commands, self._context, closed)
        with suppress(TimeoutError):  # a loop that hangs closes the sockets as soon as it runs again
            await asyncio.wait_for(asyncio.wrap_future(closed), CLOSING)
        await self._end_lifelines(logout=logout)

    async def _end_lifelines(self, *, logout: bool) -> None:
        for each in self._lifelines:
            await asyncio.to_thread(each.stop, logout=logout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(logout=command_words.is_orderly(kind))

    # -- messages

    async def receive(self, timeout: float | None = None) -> Message | None:  # noqa: ASYNC109 -- as the other client's
        """Return the next message after its callbacks were called, or None after `timeout` seconds (None: no limit).

        Heartbeats of the daemon are not returned; register a callback for "heartbeat" to see them.
        """
        self._feed.check()
        return await self._received(timeout, self._feed.receive)

    async def _received(
        self,
        timeout: float | None,  # noqa: ASYNC109
        receive: Callable[[float | None], Awaitable[Message | None]],
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
        """Yield messages after their callbacks were called, for `seconds`, or until `stop` or `close`."""
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
        """Receive messages and call their callbacks, for `seconds`, or until a callback calls `stop` or `close`."""
        async for _ in self.messages(seconds):
            pass

    # -- requests

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Request]]:
        self._checked(name)

        async def method(*given: Any, **named: Any) -> Request:
            return await self.request(name, requests.bind(name, given, named))

        return requests.described(method, name)

    async def call(self, cmd: str, /, **args: Any) -> dict[str, Any]:
        """Send any command with these arguments, and return its result, without subscribing to a topic."""
        return (await self._exchange(self._by_name(cmd, args))).result

    async def _exchange(self, command: Command) -> Reply:
        self._feed.check()
        return await self._commands.call(command, self.timeout)

    async def request(
        self,
        name: str,
        args: dict[str, Any],
        *,
        key: str | None = None,
        id: str | None = None,  # noqa: A002 -- the protocol's word
    ) -> Request:
        """Send the request `name` with a map of arguments; the methods under IB's names call this method."""
        prepared = self._asking(name, args, key, id, self._epoch())
        holder, expected = prepared.command.id, self._expected(prepared)
        known = self._order_of(prepared.command)
        if expected is not None:
            self._feed.inbox.watch(expected, asyncio.current_task())
        try:
            await self._join(prepared.before, holder)
            reply = await self._exchange(prepared.command)
        except BaseException:  # a cancelled task, too, must leave no subscription and no watch behind
            if known is not None:
                known.give_up()
            self._feed.inbox.unwatch(holder)
            self._release(holder)
            raise
        made = self._made(prepared, reply)
        missing = self._missing([made], self._feed.connection.prefixes, prepared.places.wide)
        await self._join([(Mode.STATE, missing)], holder)
        self._feed.unsubscribe(prepared.places.wide, holder)
        self._release(self._ended_by(prepared))
        return made if known is None else await self._made_order(made, known, former=reply.dup)

    async def _join(self, wanted: list[tuple[Mode, list[str]]], holder: str) -> None:
        every = [prefix for mode, prefixes in wanted for prefix in self._feed.subscribe(prefixes, holder, mode)]
        if not await self._feed.wait(lambda: self._feed.connection.begun(every), self._feed.after(self.timeout)):
            raise self._feed.connection.silent(every, self.timeout)

    def _release(self, holder: str | None) -> None:
        if holder is not None and self._feed.open:
            self._feed.release(holder)

    async def answers(self, request: Request, timeout: float | None = None) -> AsyncIterator[Message]:  # noqa: ASYNC109 -- as the other client's
        """Yield the responses to a one-shot request up to the last one, and keep other messages for later.

        Raise NoAnswer if the next response does not come in `timeout` seconds (default: the client's `timeout`).
        """
        if not request.one_shot:
            raise ValueError(f"the answers to {request.cmd} have no end: iterate over the client")
        self._feed.check()
        patience = Patience(request, self.timeout if timeout is None else timeout)
        inbox = self._feed.inbox
        watch = inbox.watch(request, asyncio.current_task())
        try:
            while message := await self._feed.wait(lambda: inbox.pick(watch), self._feed.after(patience.left())):
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
        """Also receive every message whose topic begins with `prefix`; its state comes first, flagged `replayed`."""
        await self._join([(Mode.STATE, [prefix])], USER)

    async def unsubscribe(self, prefix: str) -> None:
        """Stop receiving messages under `prefix`, unless another subscription covers their topics."""
        self._feed.unsubscribe([prefix])

    async def snapshot(self, prefix: str) -> list[Message]:
        """Return the last message of every topic under `prefix` that has a state, flagged `replayed`."""
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
        """Return the status of the daemon and of its connection to TWS."""
        return await self.call("status")

    async def wait_for_tws(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- as the other client's
        """Wait until the daemon's connection to TWS is ready.

        Raise NoAnswer with the stage and the last error of the connection if it is not ready in `timeout` seconds.
        """
        timeout = self.timeout if timeout is None else timeout
        end = self._feed.after(timeout)
        while (about := (await self.status())["tws"])["stage"] != "ready":
            if self._feed.after(0) >= end:
                raise NoAnswer(no_tws(about), "not_sent")
            await self._feed.wait(self._feed.inbox.skip_to_news_of_tws, min(end, self._feed.after(POLL_STATUS)))
