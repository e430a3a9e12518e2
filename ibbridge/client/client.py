"""Blocking client of a strategy: `ib = connect("my-strategy")`.

The client joins the message feed and the command socket. A request subscribes to the topics of its responses before
its command is sent. Messages go to the callbacks registered for their type, and to the code that iterates over the
client. Only `run`, `receive` and iteration call callbacks: the one thread that `connect` starts says that the client is
there, and does nothing else.
"""

from __future__ import annotations

import time
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Self

from ibbridge.client import commands as command_words
from ibbridge.client import request as requests
from ibbridge.client.dispatch import POLL_STATUS, Patience, is_final, no_tws
from ibbridge.client.endpoints import both
from ibbridge.client.errors import BridgeError, CommandError, NoAnswer
from ibbridge.client.gap_recovery import replayed
from ibbridge.client.sockets import Context
from ibbridge.client.stream_state import Mode
from ibbridge.client.threaded_commands import ThreadedCommands
from ibbridge.client.threaded_feed import Feed
from ibbridge.client.threaded_orders import ThreadedOrders

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from ibbridge.client.commands import Command, Reply
    from ibbridge.client.endpoints import Endpoint
    from ibbridge.client.message import Message
    from ibbridge.client.request import Request


def _close(feed: Feed, commands: ThreadedCommands) -> None:
    for part in (feed, commands):
        part.close()
    for part in (feed, commands):
        part.wait_closed()


def _abandon(feed: Feed, commands: ThreadedCommands) -> None:
    """Close the sockets of a client that was garbage-collected without `close`, and warn. A finalizer calls it."""
    if feed.ours:
        warnings.warn("a client was not closed: close it, or use it in a with block", ResourceWarning, stacklevel=2)
        _close(feed, commands)
        commands.end_lifeline(logout=False)


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
) -> Client:
    """Connect to a daemon as `client`, and wait until the daemon replies.

    `client` is the name of the strategy, 1 to 32 printable ASCII characters. The daemon publishes the strategy's orders
    and responses under this name, so no other strategy may use the name, and the strategy must keep it over restarts.
    `pub`, `rep` and `prefix` are bus.pub, bus.rep and bus.prefix of the daemon's configuration. Without endpoints the
    client connects to those of the environment (IBBRIDGE_PUB, IBBRIDGE_REP), to the daemon's ipc endpoints if they are
    there, or else to 127.0.0.1. `tws`: also wait until
    the daemon's connection to TWS is ready for requests. `timeout`, in seconds, is also the default of later commands.
    `key` is the path of this client's secret certificate, and `server_key` the daemon's public key or the path of its
    certificate, for endpoints that demand keys (or IBBRIDGE_KEY and IBBRIDGE_SERVER_KEY in the environment). Raise
    AuthError if the daemon does not admit the client, NoAnswer if it does not reply in `timeout` seconds.

    `cancel_on_disconnect` says when the daemon cancels the open orders of the strategy: `never`, `loss`, `logout` or
    `both`. The strategy is lost if its process dies, or hangs for `ttl` seconds; from then it has `window` seconds to
    come back. `close` logs out; a with block that ends in an exception does not, so that counts as a loss. What is None
    is as the daemon is configured. A thread of the client tells the daemon that the strategy is there.
    """
    made = Client(client, *both(pub, rep, key, server_key), prefix=prefix, timeout=timeout)
    try:
        made.start()
        made.greet(command_words.hello(cancel_on_disconnect, window, ttl))
        if tws:
            made.wait_for_tws(timeout)
    except BaseException:
        made.close()
        raise
    return made


class Client(ThreadedOrders):
    """Connection of a strategy to the daemon; `connect` makes it.

    Every IB request is a method under IB's name with IB's parameters: `ib.reqMktData(contract, "", False)`,
    `ib.reqHistoricalData(contract, durationStr="1 D", ...)`. Only reqId and orderId are left out: the daemon assigns
    them. A method returns a `Request` as soon as the daemon has accepted it; responses come as messages.

    Any thread of the process may use a client. Commands are sent one at a time. Each message goes to one of the threads
    that receive, and that thread calls the callbacks; `answers` yields responses in the thread that made the request. A
    client does not survive a fork: connect in the child.
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
        context = Context(2)
        try:
            self._feed = Feed(context.zmq, pub, rep, prefix=prefix, gone=context.leave)
            self._commands = ThreadedCommands(context.zmq, rep, context.leave)
        except BridgeError:
            context.zmq.destroy(linger=0)
            raise
        # The garbage collector would end the context first, and a context waits until its sockets are closed. At exit
        # pyzmq closes the sockets and the context.
        self._abandoned = weakref.finalize(self, _abandon, self._feed, self._commands)
        self._abandoned.atexit = False

    def start(self) -> None:
        """Subscribe to the topics of this client, and ping the daemon. `connect` calls this method.

        Raise AuthError if the daemon does not admit this client, NoAnswer if it is silent, BridgeError if the two
        endpoints belong to different daemons.
        """
        self._feed.subscribe(self._own)
        self._feed.join([self._heartbeats], self.timeout, "", Mode.LIVE)
        reply = self._call("ping", {})
        if reply.epoch != self._feed.epoch:
            raise BridgeError(f"{self._feed.pub} and {self._commands.rep} belong to two different daemons")
        self._feed.join(self._own, self.timeout)
        self._instruments = self.status().get("instruments") or {}

    # -- life

    def greet(self, said: dict[str, Any]) -> None:
        """Say hello, and from now on that the client is there. `connect` calls this method.

        What the client subscribes to ends with it. Raise CommandError if the daemon refuses what the strategy asks for.
        """
        try:
            self.call("hello", **said)
        except CommandError:  # an older daemon, or a policy without the command
            if command_words.is_demanding(said):
                raise
        self._greeted = True
        self._commands.begin_lifeline(self.name, said)

    def close(self, *, logout: bool = True) -> None:
        """Log out, and disconnect at once. Subscriptions end some seconds later, unless they are to be kept (`keep`).

        Orders live on, unless they are to be cancelled at a logout. Without `logout` the client counts as lost.

        Any thread, callback or signal handler may call `close`, any number of times. Iteration over messages then ends,
        a command without its reply raises `NoAnswer`, and other pending calls raise `BridgeError`. In a forked child
        `close` does nothing: the sockets belong to the parent.
        """
        if self._feed.ours:
            self._abandoned.detach()
            _close(self._feed, self._commands)
            self._commands.end_lifeline(logout=logout)

    disconnect = close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(logout=command_words.is_orderly(kind))

    # -- messages

    def receive(self, timeout: float | None = None) -> Message | None:
        """Return the next message after its callbacks were called, or None after `timeout` seconds (None: no limit).

        Heartbeats of the daemon are not returned; register a callback for "heartbeat" to see them.
        """
        return self._received(timeout, self._feed.receive)

    def _received(self, timeout: float | None, receive: Callable[[float | None], Message | None]) -> Message | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            message = receive(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if message is None:
                return None
            if self._passing:
                self._release(self._passed(message))
            if self._callbacks:
                for callback in self._called(message):
                    callback(message)
            if message.type != "heartbeat":
                return message
            if self._stopped:
                return None

    def messages(self, seconds: float | None = None) -> Iterator[Message]:
        """Yield messages after their callbacks were called, for `seconds`, or until `stop` or `close`."""
        if not self._feed.closed:
            self._feed.check()
        self._stopped = False
        deadline = None if seconds is None else time.monotonic() + seconds
        while not (self._stopped or self._feed.closed):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            if (message := self._received(left, self._feed.receive_until_closed)) is not None:
                yield message

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    def run(self, seconds: float | None = None) -> None:
        """Receive messages and call their callbacks, for `seconds`, or until a callback calls `stop` or `close`."""
        for _ in self.messages(seconds):
            pass

    # -- requests

    def __getattr__(self, name: str) -> Callable[..., Request]:
        self._checked(name)

        def method(*given: Any, **named: Any) -> Request:
            return self.request(name, requests.bind(name, given, named))

        return requests.described(method, name)

    def call(self, cmd: str, /, **args: Any) -> dict[str, Any]:
        """Send any command with these arguments, and return its result, without subscribing to a topic."""
        return self._exchange(self._by_name(cmd, args)).result

    def _call(self, cmd: str, args: dict[str, Any]) -> Reply:
        return self._exchange(self._command(cmd, args))

    def _exchange(self, command: Command) -> Reply:
        self._feed.check()
        return self._commands.call(command, self.timeout)

    def request(self, name: str, args: dict[str, Any], *, key: str | None = None, id: str | None = None) -> Request:  # noqa: A002 -- the protocol's word
        """Send the request `name` with a map of arguments; the methods under IB's names call this method.

        `id` is the command's id, which a cancel refers to. Pass your own id to be able to repeat exactly this command.
        """
        self._feed.check()
        prepared = self._asking(name, args, key, id, self._feed.heard())
        holder, expected = prepared.command.id, self._expected(prepared)
        known = self._order_of(prepared.command)
        if expected is not None:
            self._feed.watch(expected)
        try:
            self._join(prepared.before, holder)
            reply = self._exchange(prepared.command)
        except BridgeError:
            if known is not None:
                known.give_up()
            self._feed.unwatch(holder)
            self._release(holder)
            raise
        made = self._made(prepared, reply)
        self._join([(Mode.STATE, self._missing([made], self._feed.prefixes, prepared.places.wide))], holder)
        self._feed.unsubscribe(prepared.places.wide, holder)
        self._release(self._ended_by(prepared))
        return made if known is None else self._made_order(made, known, former=reply.dup)

    def _join(self, wanted: list[tuple[Mode, list[str]]], holder: str) -> None:
        """Subscribe to the wanted prefixes, and wait until their messages and state arrive. Raise NoAnswer if not."""
        every = [prefix for mode, prefixes in wanted for prefix in self._feed.subscribe(prefixes, holder, mode)]
        if not self._feed.begun(every, self.timeout):
            raise self._feed.silent(every, self.timeout)

    def _release(self, holder: str | None) -> None:
        if holder is not None:
            self._feed.release(holder)

    def answers(self, request: Request, timeout: float | None = None) -> Iterator[Message]:
        """Yield the responses to a one-shot request up to the last one, and keep other messages for later.

        An IB error about the request is a response (type "error"), and the last one unless the error is only a warning.
        A response that the daemon could not decode (type "decodeError") is the last one if no more can follow. Raise
        NoAnswer if the next response does not come in `timeout` seconds (default: the client's `timeout`). While an IB
        limit holds the request back in the daemon, that time does not run.
        """
        if not request.one_shot:
            raise ValueError(f"the answers to {request.cmd} have no end: iterate over the client")
        patience = Patience(request, self.timeout if timeout is None else timeout)
        watch = self._feed.watch(request)
        try:
            while (message := self._feed.pick(watch, patience.left())) is not None:
                self._release(self._passed(message))
                if patience.is_news(message):
                    continue
                yield message
                if is_final(request, message):
                    return
            raise patience.error()
        finally:
            self._feed.unwatch(request.id)

    # -- the daemon

    def subscribe(self, prefix: str) -> None:
        """Also receive every message whose topic begins with `prefix`: "md.", "acct.", or "" for all topics.

        The state of these topics comes first, flagged `replayed`: the last message of every topic that has a state.
        """
        self._feed.join([prefix], self.timeout)

    def unsubscribe(self, prefix: str) -> None:
        """Stop receiving messages under `prefix`, unless another subscription covers their topics."""
        self._feed.unsubscribe([prefix])

    def snapshot(self, prefix: str) -> list[Message]:
        """Return the last message of every topic under `prefix` that has a state: prices, positions, account values.

        The messages have the flag "replayed", because they were published before.
        """
        found: list[Message] = []
        after: dict[str, Any] = {}
        while True:
            page = self.call("snapshot", prefix=prefix, **after)
            for stream in page["streams"]:
                found += [replayed(topic, body) for topic, body in stream["messages"]]
            if page.get("next") is None:
                return found
            after = {"after": page["next"]}

    def status(self) -> dict[str, Any]:
        """Return the status of the daemon and of its connection to TWS."""
        return self.call("status")

    def wait_for_tws(self, timeout: float | None = None) -> None:
        """Wait until the daemon's connection to TWS is ready.

        Raise NoAnswer with the stage and the last error of the connection if it is not ready in `timeout` seconds.
        """
        timeout = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        while (about := self.status()["tws"])["stage"] != "ready":
            left = max(0.0, deadline - time.monotonic())
            if not left:
                raise NoAnswer(no_tws(about), "not_sent")
            self._feed.wait_for_news_of_tws(min(left, POLL_STATUS))
