"""What a strategy holds: `ib = connect("my-strategy")`.

Puts feed and commands together: a request subscribes to its answers before it goes out, messages go to the callbacks
registered for their type and to whoever iterates. Nothing happens behind the strategy's back: there is no thread, and
callbacks are called from `run`, `receive` and iteration only.
"""

from __future__ import annotations

import time
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Self

from ibbridge.client import request as requests
from ibbridge.client.dispatch import PUB, REP, Desk, Patience, is_final
from ibbridge.client.errors import BridgeError, NoAnswer
from ibbridge.client.gap_recovery import replayed
from ibbridge.client.sockets import Context
from ibbridge.client.stream_state import Mode
from ibbridge.client.threaded_commands import Caller
from ibbridge.client.threaded_feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from ibbridge.client.commands import Command, Reply
    from ibbridge.client.contracts import Contract
    from ibbridge.client.message import Message
    from ibbridge.client.orders import Order
    from ibbridge.client.request import Request


def _close(feed: Feed, caller: Caller) -> None:
    for each in (feed, caller):
        each.close()
    for each in (feed, caller):
        each.wait_closed()


def _abandon(feed: Feed, caller: Caller) -> None:
    """Close what a client has left open that nobody can reach any more."""
    if feed.ours:
        warnings.warn("a client was not closed: close it, or use it in a with block", ResourceWarning, stacklevel=2)
        _close(feed, caller)


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


class Client(Desk):
    """A strategy's connection to the daemon; made by `connect`.

    Every request of IB's is a method under its own name with IB's parameters, but for reqId and orderId, which are the
    daemon's: `ib.reqMktData(contract, "", False)`, `ib.reqHistoricalData(contract, durationStr="1 D", ...)`. It returns
    a `Request` once the daemon has accepted it; answers come as messages.

    Any thread of the process may use it: commands go out one at a time, and each message is given to one of the threads
    that receive, whose callbacks it is then. The answers of `answers` are given to whoever asked. It does not survive a
    fork: connect in the child.
    """

    def __init__(self, client: str, pub: str = PUB, rep: str = REP, *, prefix: str = "", timeout: float = 10.0) -> None:
        super().__init__(client, prefix=prefix, timeout=timeout)
        context = Context(2)
        try:
            self._feed = Feed(context.zmq, pub, rep, prefix=prefix, gone=context.leave)
            self._caller = Caller(context.zmq, rep, context.leave)
        except BridgeError:
            context.zmq.destroy(linger=0)
            raise
        # The garbage collector would end the context first, which waits for its sockets. At exit pyzmq sees to both.
        self._abandoned = weakref.finalize(self, _abandon, self._feed, self._caller)
        self._abandoned.atexit = False

    def start(self) -> None:
        """Subscribe to what concerns this client, and ask whether the daemon is there. `connect` does it."""
        self._feed.subscribe(self._own)
        self._feed.join([self._heartbeats], self.timeout, "", Mode.LIVE)
        reply = self._call("ping", {})
        if reply.epoch != self._feed.epoch:
            raise BridgeError(f"{self._feed.pub} and {self._caller.rep} belong to two different daemons")
        self._feed.join(self._own, self.timeout)
        self._instruments = self.status().get("instruments") or {}

    # -- life

    def close(self) -> None:
        """Disconnect at once. Streams and orders live on in the daemon; cancel what shall end.

        Any thread, callback or signal handler may call it, as often as it likes. Loops over messages end then; what
        else is under way raises `BridgeError`, a command on its way `NoAnswer`. In a forked child it does nothing: the
        sockets are the parent's.
        """
        if self._feed.ours:
            self._abandoned.detach()
            _close(self._feed, self._caller)

    disconnect = close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- messages

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, after its callbacks; None if none came for `timeout` seconds (None: wait for ever).

        The daemon's heartbeats are kept from you; register "heartbeat" to be called for them.
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
        """Messages as they come, after their callbacks: for that long, or until `stop` or `close`."""
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
        """Call callbacks: for that long, or until one of them calls `stop` or `close`."""
        for _ in self.messages(seconds):
            pass

    # -- requests

    def __getattr__(self, name: str) -> Callable[..., Request]:
        self._checked(name)

        def method(*given: Any, **named: Any) -> Request:
            return self.request(name, requests.bind(name, given, named))

        return requests.described(method, name)

    def placeOrder(self, contract: Contract | object, order: Order | object, key: str | None = None) -> Request:  # noqa: N802 -- IB's name
        """Place an order under the strategy's own `key`; `result["orderId"]` is IB's id for it.

        The same key and order again is the same order, never a second one: that makes a retry safe. Without a key the
        order gets one that is never used again; it is the returned request's `key`.
        """
        return self.request("placeOrder", requests.bind("placeOrder", (contract, order), {}), key=key)

    def whatIfOrder(self, contract: Contract | object, order: Order | object) -> Request:  # noqa: N802 -- named as IB's requests are
        """Ask what an order would cost, without placing it: `answers` has one openOrder with its orderState."""
        return self.request("whatIfOrder", requests.bind("whatIfOrder", (contract, order), {}))

    def call(self, cmd: str, /, **args: Any) -> dict[str, Any]:
        """Send any command with these arguments, and return its result. It subscribes to nothing."""
        return self._call(cmd, args).result

    def _call(self, cmd: str, args: dict[str, Any]) -> Reply:
        return self._exchange(self._command(cmd, args))

    def _exchange(self, command: Command) -> Reply:
        self._feed.check()
        return self._caller.call(command, self.timeout)

    def request(self, name: str, args: dict[str, Any], *, key: str | None = None, id: str | None = None) -> Request:  # noqa: A002 -- the protocol's word
        """What the methods under IB's names do, for arguments that are a map already.

        `id` is the command's own, by which a cancel names it: give one to be able to repeat exactly this command.
        """
        self._feed.check()
        asking = self._asking(name, args, key, id, self._feed.heard())
        holder, expected = asking.command.id, self._expected(asking)
        if expected is not None:
            self._feed.watch(expected)
        try:
            self._join(asking.before, holder)
            reply = self._exchange(asking.command)
        except BridgeError:
            self._feed.unwatch(holder)
            self._release(holder)
            raise
        made = self._made(asking, reply)
        self._join([(Mode.STATE, self._missing(asking, made, self._feed.prefixes))], holder)
        self._feed.unsubscribe(asking.places.wide, holder)
        self._release(self._ended_by(asking))
        return made

    def _join(self, wanted: list[tuple[Mode, list[str]]], holder: str) -> None:
        """Subscribe, and wait until that has begun."""
        every = [each for mode, prefixes in wanted for each in self._feed.subscribe(prefixes, holder, mode)]
        if not self._feed.begun(every, self.timeout):
            raise self._feed.silent(every, self.timeout)

    def _release(self, holder: str | None) -> None:
        if holder is not None:
            self._feed.release(holder)

    def answers(self, request: Request, timeout: float | None = None) -> Iterator[Message]:
        """The answers to a one-shot request, to the last; other messages keep until later.

        An error of IB's about the request is one of them (a message of type "error"), and the last unless it is only
        a warning; so is an answer that the daemon could not read (type "decodeError"), if no more can follow. NoAnswer
        if the next does not come in `timeout` seconds. While one of IB's limits holds the request back, that time does
        not run.
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
        """Also receive everything whose topic begins with `prefix`: "md.", "acct.", "" for all there is.

        Its state comes first, flagged `replayed`: the last message of everything that has one.
        """
        self._feed.join([prefix], self.timeout)

    def unsubscribe(self, prefix: str) -> None:
        """No longer receive it, unless another subscription covers it."""
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
                found += [replayed(topic, body) for topic, body in stream["messages"]]
            if page.get("next") is None:
                return found
            after = {"after": page["next"]}

    def status(self) -> dict[str, Any]:
        """How the daemon and its connection to TWS are."""
        return self.call("status")

    def wait_for_tws(self, timeout: float | None = None) -> None:
        """Wait until the daemon's connection to TWS is ready; NoAnswer, saying what it is stuck at, if it is not."""
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
            if others:
                self._feed.put_back(others)

    def _until_connection_changes(self, seconds: float) -> Iterator[Message]:
        deadline = time.monotonic() + seconds
        while (message := self._feed.receive(max(0.0, deadline - time.monotonic()))) is not None:
            if message.type == "heartbeat":
                return
            yield message
            if message.type == "connection":
                return
