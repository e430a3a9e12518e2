"""Core of the daemon without TWS and bus: a link keeps the requests, and a list keeps the messages."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import pytest

from ibbridge.codec import Dialect, Message
from ibbridge.codec.messages import MESSAGES
from ibbridge.commands.builtin import BuiltinCommands
from ibbridge.commands.endpoint import CommandEndpoint
from ibbridge.commands.ib_requests import IbRequests
from ibbridge.inbound.routing import routing
from ibbridge.orders.registry import OrderRegistry
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import CommandId
from ibbridge.risk.halt import Halt
from ibbridge.streams import snapshot
from ibbridge.streams.publisher import Publisher
from ibbridge.tws.send_queue import SendQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ibbridge.codec.schema import Pace
    from ibbridge.tws.outbound import Held, OutboundMessage

AAPL = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
MSFT = {**AAPL, "symbol": "MSFT"}
LIMIT = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 150.0}
DAY = {"durationStr": "1 D", "barSizeSetting": "1 min", "whatToShow": "TRADES"}
CLIENT_ID = 1
EPOCH = 1_700_000_000_000_000
FIRST_ID = 500

# The value of each type in a message where a test names none.
_BLANK: dict[str, Any] = {"int": 0, "long": 0, "float": 0.0, "decimal": 0.0, "bool": False, "str": ""}


def each_pair(keep: Callable[[bytes, bytes], Any]) -> Callable[[list[bytes]], None]:
    """Return a sender of frames (topics and bodies in turn) that passes each message to `keep`."""

    def send(frames: list[bytes]) -> None:
        each = iter(frames)
        for topic, body in zip(each, each, strict=True):
            keep(topic, body)

    return send


class Sent(NamedTuple):
    """A request as the host reads it."""

    name: str
    data: dict[str, Any]


class Link:
    """A connection that takes everything, and only what a host of its version can read. Time passes when told."""

    def __init__(self, version: int, rate: int = 1_000_000, share: int = 500) -> None:
        self.dialect: Dialect | None = Dialect.client(version)
        self.sent: list[Sent] = []
        self.takes = True
        self.pacing = SendQueue(rate, share)
        self.now = 0.0
        self.on_send: Callable[[OutboundMessage], bool] = lambda _: True
        self._host = Dialect.server(version)

    def send(self, message: OutboundMessage) -> bool:
        if not self.takes:
            return False
        self.pacing.put(message, self.now)
        self.go_on()
        return True

    def withdraw(self, message: OutboundMessage) -> bool:
        return self.pacing.withdraw(message)

    def held(self, message: OutboundMessage) -> Held | None:
        return self.pacing.held(message, self.now)

    def completed(self, message: OutboundMessage) -> None:
        self.pacing.completed(message)

    def waiting(self, pace: Pace) -> list[OutboundMessage]:
        return self.pacing.waiting(pace)

    def go_on(self, seconds: float = 0.0) -> None:
        """Let time pass, and write the messages that may leave meanwhile."""
        until = self.now + seconds
        while True:
            for message in self.pacing.next_messages(self.now):
                if self.on_send(message):
                    self._write(message.data)
            wake = self.pacing.wake()
            if wake is None or wake > until:
                break
            self.now = max(self.now, wake)
        self.now = until

    def _write(self, data: bytes) -> None:
        assert int.from_bytes(data[:4], "big") == len(data) - 4
        read = self._host.read(data[4:])
        assert isinstance(read, Message), read
        self.sent.append(Sent(read.name, read.data))

    def take(self) -> list[Sent]:
        """Return the messages that were sent since the last call."""
        taken, self.sent = self.sent, []
        return taken


class Heard(NamedTuple):
    """A published message."""

    topic: str
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        return self.body["data"]


class Middle:
    """Streams, orders, router, requests and commands as the daemon wires them; ready, unless told otherwise."""

    def __init__(
        self,
        version: int = 226,
        *,
        allowed: Iterable[str] = (),
        names: Mapping[str, str] | None = None,
        prefix: str = "",
        ready: bool = True,
        rate: int = 1_000_000,
        share: int = 500,
        link: Link | None = None,
        unknown_words: str = "refuse",
    ) -> None:
        self.published: list[Heard] = []
        self.link = link or Link(version, rate, share)
        self.streams = Publisher(EPOCH, each_pair(self._keep), prefix)
        self.orders = OrderRegistry(CLIENT_ID)
        self.routing = routing(self.streams, self.orders)
        self.router = self.routing.router
        self.halt = Halt(None)
        self.fault = ""
        self.window = 0.0
        self.requests = IbRequests(
            self.link,
            self.routing,
            self.orders,
            allowed=allowed,
            names=names or {},
            halt=self.halt,
            fault=lambda: self.fault,
            window=lambda: self.window,
            clock=lambda: self._now,
            unknown_words=unknown_words,
        )
        self.link.on_send = self.requests.on_send
        bridge = BuiltinCommands(self.streams, self.halt, lambda: {"fine": True}, lambda: self._now)
        self.commands = CommandEndpoint(self.streams, self.requests, bridge, lambda: self.clock)
        self._ids = itertools.count(1)
        self._now = EPOCH
        self.clock = 0.0
        if ready:
            self.connect()

    def _keep(self, topic: bytes, body: bytes) -> None:
        self.published.append(Heard(topic.decode("ascii"), msgpack.unpackb(body)))

    # -- the connection

    def connect(self, first_id: int = FIRST_ID) -> list[tuple[Any, str]]:
        """A new connection, up to ready."""
        self.requests.begin()
        self.requests.raise_to(first_id - 1)
        return self.requests.connected()

    def reconnect(self) -> list[Any]:
        """Lose the connection and get another; what was left unanswered."""
        self.requests.on_drop(self.link.pacing.drop())
        unanswered = self.requests.lost()
        self.connect()
        return unanswered

    def pass_time(self, seconds: float = 0.0) -> list[Sent]:
        """Let time pass, run the periodic work, and return the messages that were sent."""
        self.clock += seconds
        self._now += int(seconds * 1e6)
        before = len(self.link.sent)
        self.link.go_on(seconds)
        self.requests.tick(self.clock)
        return self.link.sent[before:]

    # -- clients

    def ask(
        self,
        command: str,
        client: str = "a",
        id: str | int | None = None,  # noqa: A002
        key: str | None = None,
        **args: Any,
    ) -> dict[str, Any]:
        return self.requests.execute(command, args, CommandId(client, next(self._ids) if id is None else id), key)

    def place(self, key: str, client: str = "a", **order: Any) -> int:
        """An order's id."""
        number: int = self.ask("placeOrder", client, key=key, contract=AAPL, order={**LIMIT, **order})["orderId"]
        return number

    def subscribe(self, client: str = "a", id: str | int = 1, **more: Any) -> int:  # noqa: A002
        """Market data of AAPL; under which number TWS was asked."""
        self.ask("reqMktData", client, id, contract=AAPL, **more)
        return self.last_id()

    def cancel(self, command: str, named: Any, client: str = "a") -> dict[str, Any]:
        """Cancel the request with that command id."""
        return self.requests.execute(command, {"id": named}, CommandId(client, next(self._ids)), None)

    def last_id(self) -> int:
        """The id in what was sent last."""
        data = self.link.sent[-1].data
        number: int = next(data[name] for name in ("reqId", "tickerId", "orderId") if name in data)
        return number

    def call(self, command: Any) -> dict[str, Any]:
        """Return the reply to a command, both as bytes on the way."""
        reply: dict[str, Any] = msgpack.unpackb(self.commands.answer(msgpack.packb(command)))
        return reply

    # -- TWS

    def hear(self, name: str, **data: Any) -> Heard | None:
        """A message of TWS's; what was published of it, if anything (the last, if several)."""
        before = len(self.published)
        self._now += 1
        self.router.publish(name, {**_blank(name), **data}, self._now)
        return self.published[-1] if len(self.published) > before else None

    def topic_of(self, name: str, **data: Any) -> str:
        """Return the topic on which a message of TWS is published."""
        heard = self.hear(name, **data)
        assert heard is not None
        return heard.topic

    def tick(self, number: int, price: float = 1.0, tick_type: int = 1) -> Heard:
        heard = self.hear("tickPrice", reqId=number, tickType=tick_type, price=price)
        assert heard is not None
        return heard

    def error(self, number: int | None, code: int = 200, text: str = "no") -> Heard:
        heard = self.hear("error", reqId=number, errorCode=code, errorString=text)
        assert heard is not None
        return heard

    def state(self, prefix: str = "") -> dict[str, list[Heard]]:
        """The snapshot of everything under a prefix, by stream."""
        found: dict[str, list[Heard]] = {}
        after = ""
        while True:
            page, following = snapshot.page(self.streams, prefix.encode(), after)
            for stream in page:
                assert stream["stream"] not in found
                found[stream["stream"]] = [Heard(t.decode(), msgpack.unpackb(b)) for t, b in stream["messages"]]
            if following is None:
                return found
            after = following


def _blank(name: str) -> dict[str, Any]:
    return {each.name: _BLANK.get(getattr(each.type, "name", ""), {}) for each in MESSAGES[name].shape.shape}


def refusal(code: str, ask: Callable[..., Any], *args: Any, **kwargs: Any) -> CommandRefused:
    """Why it was refused."""
    with pytest.raises(CommandRefused) as refused:
        ask(*args, **kwargs)
    assert refused.value.code == code, refused.value
    return refused.value
