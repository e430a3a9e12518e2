"""What a strategy holds: `ib = connect("my-strategy")`.

Puts feed and commands together: a request subscribes to its answers before it goes out, messages go to the callbacks
registered for their type and to whoever iterates. Nothing happens behind the strategy's back: there is no thread, and
callbacks are called from `run`, `receive` and iteration only.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self

import zmq

from ibbridge import topics
from ibbridge.client import request as requests
from ibbridge.client.caller import Caller
from ibbridge.client.errors import BridgeError, NoAnswer
from ibbridge.client.feed import Feed
from ibbridge.client.message import Message, known_types, parse
from ibbridge.client.request import Request

if TYPE_CHECKING:
    from types import TracebackType

PUB = "tcp://127.0.0.1:5555"
REP = "tcp://127.0.0.1:5556"

Callback = Callable[[Message], object]


def connect(
    client: str, pub: str = PUB, rep: str = REP, *, prefix: str = "", timeout: float = 10.0, tws: bool = True
) -> Client:
    """Connect to a daemon as `client`, and wait until it answers; NoAnswer if it does not in `timeout` seconds.

    `client` names the strategy (1 to 32 printable ASCII characters): its orders and answers are published under it, so
    it must be its own, and the same after a restart. `pub`, `rep` and `prefix` are the bus.pub, bus.rep and bus.prefix
    of the daemon's configuration. `tws`: also wait until the daemon's own connection to TWS is ready for requests.
    `timeout` is the default for every later command, too.
    """
    made = Client(client, pub, rep, prefix=prefix, timeout=timeout)
    try:
        made.start()
        if tws:
            made.wait_for_tws(timeout)
    except BaseException:
        made.close()
        raise
    return made


class Client:
    """A strategy's connection to the daemon; made by `connect`.

    Every request of IB's is a method under its own name with IB's parameters, but for reqId and orderId, which are the
    daemon's: `ib.reqMktData(contract, "", False)`, `ib.reqHistoricalData(contract, durationStr="1 D", ...)`. It returns
    a `Request` once the daemon has accepted it; answers come as messages.

    A client belongs to the thread that made it, and so do its callbacks; another thread makes its own. It does not
    survive a fork: connect in the child.
    """

    def __init__(self, client: str, pub: str = PUB, rep: str = REP, *, prefix: str = "", timeout: float = 10.0) -> None:
        if not (1 <= len(client) <= 32 and client.isascii() and client.isprintable() and "/" not in client):
            raise ValueError(f"client={client!r}: a name has 1 to 32 printable ASCII characters, and no /")
        self.name = client
        self.timeout = timeout
        self._head = f"{prefix}." if prefix else ""
        self._owner = threading.get_ident(), os.getpid()
        self._context = zmq.Context()
        try:
            self._feed = Feed(self._context, pub, prefix=prefix, heartbeats=True)
            self._caller = Caller(self._context, rep, client)
        except BridgeError:
            self._context.destroy(linger=0)
            raise
        self._callbacks: dict[str, list[Callback]] = {}
        self._open: dict[str, Request] = {}
        self._passing: dict[str, tuple[Request, set[str]]] = {}
        self._stopped = False
        self._instruments: dict[str, str] = {}  # the daemon's own names for contracts, by instrument key

    def start(self) -> None:
        """Subscribe to what concerns this client, and ask whether the daemon is there. `connect` does it."""
        own = [_topic(self._head, kind, self.name) for kind in ("req", "ord", "exec")]
        self._feed.join([*own, f"{self._head}sys."], self.timeout)
        reply = self._caller.call("ping", {}, self.timeout)
        if reply.epoch != self._feed.epoch:
            raise BridgeError(f"{self._feed.pub} and {self._caller.rep} belong to two different daemons")
        self._instruments = self.status().get("instruments") or {}

    # -- life

    def close(self) -> None:
        """Disconnect at once. Streams and orders live on in the daemon; cancel what shall end."""
        if os.getpid() == self._owner[1]:  # in a forked child the sockets are not ours to close
            self._feed.close()
            self._caller.close()
            self._context.term()

    disconnect = close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        """Only the thread that made it, in the process that made it, while it is open."""
        if self._owner != (threading.get_ident(), os.getpid()):
            forked = os.getpid() != self._owner[1]
            raise BridgeError(
                "this connection belongs to the process that made it: connect after the fork"
                if forked
                else "this connection belongs to the thread that made it: let each have its own"
            )
        if self._context.closed:
            raise BridgeError("this connection is closed")

    # -- messages

    def register(self, kind: str, callback: Callback) -> None:
        """Have `callback(message)` called for every message of this type, such as "tickPrice"; "*" for all of them.

        ValueError for a type that there is not. Several callbacks are called in the order of their registration.
        """
        if kind != "*" and kind not in known_types():
            near = get_close_matches(kind, known_types(), 1)
            raise ValueError(f"there is no message {kind!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        self._callbacks.setdefault(kind, []).append(callback)

    def unregister(self, kind: str, callback: Callback) -> None:
        """No longer call it. ValueError if it was not registered."""
        callbacks = self._callbacks.get(kind, [])
        if callback not in callbacks:
            raise ValueError(f"{callback!r} is not registered for {kind!r}")
        self._callbacks[kind] = [each for each in callbacks if each is not callback and each != callback]

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, after its callbacks; None if none came for `timeout` seconds (None: wait for ever).

        The daemon's heartbeats are kept from you; register "heartbeat" to be called for them.
        """
        self._check()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            message = self._next(left)
            if message is None:
                return None
            for callback in [*self._callbacks.get(message.type, ()), *self._callbacks.get("*", ())]:
                callback(message)
            if message.type != "heartbeat":
                return message
            if self._stopped:
                return None

    def messages(self, seconds: float | None = None) -> Iterator[Message]:
        """Messages as they come, after their callbacks: for that long, or until `stop`."""
        self._stopped = False
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._stopped:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            if (message := self.receive(left)) is not None:
                yield message

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    def run(self, seconds: float | None = None) -> None:
        """Call callbacks: for that long, or until one of them calls `stop`."""
        for _ in self.messages(seconds):
            pass

    def stop(self) -> None:
        """End `run` or iteration after the message under way. May be called from a callback or a signal handler."""
        self._stopped = True

    # -- requests

    def __getattr__(self, name: str) -> Callable[..., Request]:
        if name.startswith("_") or not requests.known(name):
            near = [] if name.startswith("_") else get_close_matches(name, dir(self), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise AttributeError(f"no request that is known here is named {name}{hint}")

        def method(*given: Any, **named: Any) -> Request:
            return self.request(name, requests.bind(name, given, named))

        method.__name__ = method.__qualname__ = name
        method.__doc__ = f"IB's {name}."
        method.__signature__ = requests.signature(name)  # type: ignore[attr-defined] # functions have none declared
        return method

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *requests.names()})

    def placeOrder(self, contract: Any, order: Any, key: str | None = None) -> Request:  # noqa: N802 -- IB's name
        """Place an order under the strategy's own `key`; `result["orderId"]` is IB's id for it.

        The same key and order again is the same order, never a second one: that makes a retry safe. Without a key the
        order gets one that is never used again; it is the returned request's `key`.
        """
        return self.request("placeOrder", requests.bind("placeOrder", (contract, order), {}), key=key)

    def whatIfOrder(self, contract: Any, order: Any) -> Request:  # noqa: N802 -- named as IB's requests are
        """Ask what an order would cost, without placing it: `answers` has one openOrder with its orderState."""
        return self.request("whatIfOrder", requests.bind("whatIfOrder", (contract, order), {}))

    def call(self, cmd: str, /, **args: Any) -> dict[str, Any]:
        """Send any command with these arguments, and return its result. It subscribes to nothing."""
        self._check()
        plain = {name: requests.plain(value) for name, value in args.items()}
        return self._caller.call(cmd, plain, self.timeout).result

    def request(self, name: str, args: dict[str, Any], *, key: str | None = None, id: str | None = None) -> Request:  # noqa: A002 -- the protocol's word
        """What the methods under IB's names do, for arguments that are a map already.

        `id` is the command's own, by which a cancel names it: give one to be able to repeat exactly this command.
        """
        self._check()
        if requests.is_order(name):
            key = key or args.get("key")
        if name == "placeOrder":
            key = key or self._caller.names.new()
        places = requests.places(name, args, self._head, self._instruments)
        new = self._feed.join([*places.lasting, *places.wide, *places.passing], self.timeout)
        try:
            reply = self._caller.call(name, args, self.timeout, key=key, id=id)
        except BridgeError:
            self._feed.unsubscribe(new)
            raise
        topic: str = reply.result.get("topic", "")
        if topic and not topic.startswith(self._head):
            topic = self._head + topic
        ends = requests.one_shot(name, args)
        made = Request(name, reply.id, self.name, topic, key, one_shot=ends, result=reply.result)
        self._settle(made, args, {*new} & {*places.wide}, {*new} & {*places.passing})
        return made

    def _settle(self, made: Request, args: dict[str, Any], wide: set[str], passing: set[str]) -> None:
        """Be subscribed to what the reply names, and to no more."""
        if made.topic and not any(made.topic.startswith(each) for each in self._feed.prefixes - wide - passing):
            self._feed.join([made.topic], self.timeout)
        self._feed.unsubscribe(wide)
        if passing:
            self._passing[made.id] = made, passing
        if made.topic.startswith(f"{self._head}md."):
            self._open[made.id] = made
            self._catch_up(made.topic)
        ended = self._open.pop(str(args.get("id", "")), None) if made.cmd.startswith("cancel") else None
        if ended and all(each.topic != ended.topic for each in self._open.values()):
            self._feed.unsubscribe([ended.topic])

    def _catch_up(self, topic: str) -> None:
        """Have the stream's state come first: others may have had it for long, and it may not change soon.

        What was published after the subscription and before the snapshot comes as it was published, not from the
        snapshot. A subscription of its own, once confirmed, says that all of it has arrived.
        """
        state = self.snapshot(topic)
        self._feed.unsubscribe(self._feed.join([f"{topic}~{self._caller.names.new()}."], self.timeout))
        earliest = self._feed.earliest(topic)
        self._feed.put_back([each for each in state if earliest is None or each.seq < earliest])

    def answers(self, request: Request, timeout: float | None = None) -> Iterator[Message]:
        """The answers to a one-shot request, to the last; other messages keep until later.

        An error of IB's about the request is one of them (a message of type "error"), and the last unless it is only
        a warning. NoAnswer if the next does not come in `timeout` seconds.
        """
        self._check()
        if not request.one_shot:
            raise ValueError(f"the answers to {request.cmd} have no end: iterate over the client")
        timeout = self.timeout if timeout is None else timeout
        others: list[Message] = []
        try:
            while (message := self._answer(request, timeout, others)) is not None:
                yield message
                if requests.is_last(request.cmd, message.type, message.data) or is_failure(message):
                    return
            raise NoAnswer(f"{request.cmd}: TWS has not answered for {timeout:g} s", "unknown")
        finally:
            self._feed.put_back(others)

    def _answer(self, request: Request, timeout: float, others: list[Message]) -> Message | None:
        deadline = time.monotonic() + timeout
        while (message := self._next(max(0.0, deadline - time.monotonic()))) is not None:
            if message.concerns(request) or requests.answered_by(request.cmd, message.type):
                return message
            others.append(message)
        return None

    def _next(self, timeout: float | None) -> Message | None:
        """The next message of any type. With the last answer goes what was subscribed to for the answers only."""
        message = self._feed.receive(timeout)
        if message is not None and self._passing:
            made, prefixes = self._passing.get(message.ref.get("id", ""), (None, ()))
            if made is not None and message.concerns(made):
                del self._passing[made.id]
                self._feed.unsubscribe(prefixes)
        return message

    # -- the daemon

    def subscribe(self, prefix: str) -> None:
        """Also receive everything whose topic begins with `prefix`: "md.", "acct.", "" for all there is."""
        self._check()
        self._feed.join([prefix], self.timeout)

    def unsubscribe(self, prefix: str) -> None:
        """No longer receive it, unless another subscription covers it."""
        self._check()
        self._feed.unsubscribe([prefix])

    def snapshot(self, prefix: str) -> list[Message]:
        """The last message of everything under `prefix` that has a state: current prices, positions, account values.

        They have the flag "replayed": what they say was said before.
        """
        found: list[Message] = []
        after: dict[str, Any] = {}
        while True:
            page = self.call("snapshot", prefix=prefix, **after)
            for stream in page["streams"]:
                found += [_replayed(topic, body) for topic, body in stream["messages"]]
            if page.get("next") is None:
                return found
            after = {"after": page["next"]}

    def status(self) -> dict[str, Any]:
        """How the daemon and its connection to TWS are."""
        return self.call("status")

    def wait_for_tws(self, timeout: float | None = None) -> None:
        """Wait until the daemon's connection to TWS is ready; NoAnswer, saying what it is stuck at, if it is not."""
        self._check()
        timeout = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        others: list[Message] = []
        try:
            while (about := self.status()["tws"])["stage"] != "ready":
                left = max(0.0, deadline - time.monotonic())
                if not left:
                    why = f": {about['lastError']}" if about.get("lastError") else ""
                    raise NoAnswer(f"the daemon has no connection to TWS ({about['stage']}{why})", "not_sent")
                others += self._until_connection_changes(left)
        finally:
            self._feed.put_back(others)

    def _until_connection_changes(self, seconds: float) -> Iterator[Message]:
        deadline = time.monotonic() + seconds
        while (message := self._feed.receive(max(0.0, deadline - time.monotonic()))) is not None:
            if message.type == "heartbeat":
                return
            yield message
            if message.type == "connection":
                return


def _replayed(topic: bytes, packed: bytes) -> Message:
    message = parse(topic, packed)
    message.flags = (*message.flags, "replayed")
    return message


def _topic(head: str, *components: str) -> str:
    return head + topics.topic(*components).decode("ascii")


def is_failure(message: Message) -> bool:
    """Whether this is an error of IB's that ends its request, and not only a warning."""
    return message.type == "error" and bool(message.data.get("ends"))
