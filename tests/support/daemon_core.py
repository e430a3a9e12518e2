"""Core of the daemon without TWS and bus: a link keeps the requests, and a list keeps the messages."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import pytest

from ibbridge.codec import Dialect, Message
from ibbridge.codec.messages import MESSAGES
from ibbridge.config.model import Config, RiskConfig
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import CommandId
from ibbridge.risk.halt import Halt, Halts, Scope, TradingState
from ibbridge.security.audit import NoAudit
from ibbridge.streams import snapshot
from ibbridge.wiring import assemble
from tests.support.outside import EPOCH, ListBus, ManualClock, MemoryOrderStore, NoStore, outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ibbridge.config.maintenance_windows import Window

__all__ = ["EPOCH"]

AAPL = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
MSFT = {**AAPL, "symbol": "MSFT"}
LIMIT = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 150.0}
DAY = {"durationStr": "1 D", "barSizeSetting": "1 min", "whatToShow": "TRADES"}
CLIENT_ID = 1
FIRST_ID = 500

UNLIMITED = RiskConfig(allow_live=("*",), accounts={"*": {"max_open_orders": 1_000_000}})
"""Limits that no order is over."""

UNANSWERED = "the connection to TWS was lost before the answer was complete"

# The value of each type in a message where a test names none.
_BLANK: dict[str, Any] = {"int": 0, "long": 0, "float": 0.0, "decimal": 0.0, "bool": False, "str": ""}


def each_pair(keep: Callable[[bytes, bytes], Any]) -> Callable[[list[bytes]], None]:
    """Return a sender of frames (topics and bodies in turn) that passes each message to `keep`."""

    def send(frames: list[bytes]) -> None:
        each = iter(frames)
        for topic, body in zip(each, each, strict=True):
            keep(topic, body)

    return send


def payloads(data: bytes) -> list[bytes]:
    """Return the payloads of the frames in what was written at once."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        assert len(data) >= end
        found.append(data[4:end])
        data = data[end:]
    return found


class Sent(NamedTuple):
    """A request as the host reads it."""

    name: str
    data: dict[str, Any]


class Link:
    """A connection that takes everything, and only what a host of its version can read. Time passes when told."""

    def __init__(self, version: int, clock: ManualClock) -> None:
        self.sent: list[Sent] = []
        self.takes = True
        self.begins = False
        """True until the daemon's own reqMarketDataType is written, with which every connection begins."""
        self._clock = clock
        self.speak(version)

    def speak(self, version: int) -> None:
        """Have both sides speak this version from now on."""
        self.dialect: Dialect | None = Dialect.client(version)
        self._host = Dialect.server(version)

    def write(self, data: bytes) -> None:
        for payload in payloads(data):
            self._take(payload)

    def _take(self, payload: bytes) -> None:
        read = self._host.read(payload)
        assert isinstance(read, Message), read
        if self.begins and read.name == "reqMarketDataType":
            self.begins = False
        else:
            self.sent.append(Sent(read.name, read.data))

    def closing(self) -> bool:
        return False

    def unsent(self) -> int:
        return 0 if self.takes else 2**30

    def go_on(self, seconds: float = 0.0) -> None:
        """Let time pass, and write the messages that may leave meanwhile."""
        self._clock.pass_time(seconds)

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

    @property
    def ref(self) -> tuple[str, str | int]:
        """Client and command id of the request; from the topic, if all who hear it share the request."""
        ref = self.body.get("ref")
        if ref is None:
            _, client, identifier, *_ = self.topic.split(".")
            return client, identifier
        return ref["client"], ref["id"]


class HeardAudit(NoAudit):
    """Audit that keeps facts as they were told. `failing` is its fault, if any."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, dict[str, Any]]] = []
        self.failing = ""

    @property
    def fault(self) -> str:  # type: ignore[override]
        return self.failing

    def record(self, kind: str, **facts: Any) -> None:
        later = facts.pop("facts", dict)
        self.facts.append((kind, {**facts, **later()}))

    def flush(self) -> bool:
        return not self.failing

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the facts of one kind."""
        return [facts for of, facts in self.facts if of == kind]


class Middle:
    """The daemon's parts as `wiring` assembles them, without the supervisor; ready, unless told otherwise."""

    def __init__(
        self,
        version: int = 226,
        *,
        allowed: Iterable[str] = (),
        names: Mapping[str, Mapping[str, Any]] | None = None,
        prefix: str = "",
        ready: bool = True,
        rate: int = 1_000_000,
        share: int = 500,
        unknown_words: str = "refuse",
        order_types: tuple[str, ...] = (),
        windows: tuple[Window, ...] = (),
        link: type[Link] | None = None,
        reconciles: bool = False,
        client_id: int = CLIENT_ID,
        bind_manual: bool = False,
        clock: ManualClock | None = None,
        store: NoStore | None = None,
        order_store: MemoryOrderStore | None = None,
        audit: HeardAudit | None = None,
        lines: int = 100,
        quota: int = 0,
        risk: RiskConfig | None = None,
    ) -> None:
        """With `reconciles`, the daemon asks for orders on each connection; most tests are about something else."""
        self.published: list[Heard] = []
        self.clock = clock or ManualClock()
        default = Config()
        config = dataclasses.replace(
            default,
            bus=dataclasses.replace(default.bus, prefix=prefix),
            commands=dataclasses.replace(
                default.commands, allow=tuple(allowed), unknown_words=unknown_words, order_types=order_types
            ),
            pacing=dataclasses.replace(default.pacing, rate=rate, share=share),
            tws=dataclasses.replace(default.tws, client_id=client_id, restart_windows=windows, lines=lines),
            streams=dataclasses.replace(default.streams, lines_per_client=quota),
            orders=dataclasses.replace(default.orders, bind_manual=bind_manual),
            risk=risk or UNLIMITED,
            instruments={name: dict(contract) for name, contract in (names or {}).items()},
        )
        self.store = store or NoStore()
        self.order_store = order_store or MemoryOrderStore()
        self.audit = audit or HeardAudit()
        surroundings = outside(
            self.clock, ListBus(self._keep), store=self.store, order_store=self.order_store, audit=self.audit
        )
        self.parts = assemble(config, surroundings)
        if not reconciles:
            self.parts.orders.reconciliation._begin = lambda: None  # type: ignore[method-assign]
        streams, tws, requests, orders = self.parts.streams, self.parts.tws, self.parts.requests, self.parts.orders
        self.streams, self.halts = streams.publisher, streams.halts
        self.streams.restore(self.store.last(), self.store.state())
        self.session, self.sender, self.pacing = tws.session, tws.sender, tws.send_queue
        self.tracker, self.notifications = requests.tracker, requests.notifications
        self.resubscriber, self.subscriptions = requests.resubscriber, requests.registry
        self.orders, self.order_notifications = orders.registry, orders.notifications
        self.router, self.unreadable = self.parts.inbound.router, self.parts.inbound.unreadable
        self.requests, self.commands = self.parts.ib_requests, self.parts.commands
        self.link = (link or Link)(version, self.clock)
        self._ids = itertools.count(1)
        if ready:
            self.connect()
            if rate < 1000:  # what that has taken of the rate is there again
                self.clock.pass_time(2 / rate)

    def _keep(self, topic: bytes, body: bytes) -> None:
        self.published.append(Heard(topic.decode("ascii"), msgpack.unpackb(body)))

    # -- the connection

    def begin(self) -> None:
        """A new connection, of which the version is known."""
        for listener in self.parts.listeners:
            listener.connection_started()
        self.parts.tws.port.attach(self.link)

    def connect(self, first_id: int = FIRST_ID) -> None:
        """A new connection, up to ready."""
        self.begin()
        self.sender.ids.raise_to(first_id - 1)
        self.ready()

    def ready(self) -> None:
        """The connection takes requests now."""
        self.link.begins = True
        self.parts.dispatcher.connection_ready()

    def lost(self) -> list[CommandId]:
        """Lose the connection. Return the commands that were told that their responses are incomplete."""
        before = len(self.published)
        self.parts.tws.port.detach()
        self.parts.tws.port.drop()
        self.parts.dispatcher.connection_lost()
        told = [heard for heard in self.published[before:] if UNANSWERED in str(heard.data)]
        return [CommandId(*heard.ref) for heard in told]

    def reconnect(self) -> list[CommandId]:
        """Lose the connection and get another. Return the commands whose responses are incomplete."""
        unanswered = self.lost()
        self.connect()
        return unanswered

    def pass_time(self, seconds: float = 0.0) -> list[Sent]:
        """Let time pass, run the periodic work, and return the messages that were sent."""
        before = len(self.link.sent)
        self.clock.pass_time(seconds)
        for listener in self.parts.listeners:
            listener.tick(self.clock.now)
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

    def place(self, key: str, client: str = "a", parent: str | None = None, **order: Any) -> int:
        """An order's id; None if the order waits."""
        more = {} if parent is None else {"parent": parent}
        made = self.ask("placeOrder", client, key=key, contract=AAPL, order={**LIMIT, **order}, **more)
        number: int = made["orderId"]
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
        """Return the reply to a command, both as bytes on the way. The audit hears of it once, with its outcome."""
        before = len(self.audit.of("command"))
        reply: dict[str, Any] = msgpack.unpackb(self.commands.answer(msgpack.packb(command)))
        (told,) = self.audit.of("command")[before:]
        assert told["ok"] is reply["ok"]
        assert told.get("code") == (None if reply["ok"] else reply["error"]["code"])
        if isinstance(command, dict) and told.get("args"):
            assert told["args"] == command["args"]
        return reply

    # -- TWS

    def hear(self, name: str, **data: Any) -> Heard | None:
        """A message of TWS's; what was published of it, if anything (the last, if several)."""
        before = len(self.published)
        self.clock.us += 1
        self.router.publish(name, {**_blank(name), **data}, self.clock.us)
        heard = [each for each in self.published[before:] if each.body["type"] != "orderState"]
        return heard[-1] if heard else None

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


def halt_all(middle: Middle, client: str = "desk", reason: str = "", now: int = 1) -> bool:
    """Halt the orders of all clients."""
    return middle.halts.set(Halt(Scope.ALL, "", TradingState.HALTED, now, client, reason))


def resume_all(halts: Halts, client: str = "desk", now: int = 1) -> bool:
    """End the halt of all clients' orders."""
    return halts.clear(Scope.ALL, "", client, now)


def _blank(name: str) -> dict[str, Any]:
    return {each.name: _BLANK.get(getattr(each.type, "name", ""), {}) for each in MESSAGES[name].shape.shape}


def refusal(code: str, ask: Callable[..., Any], *args: Any, **kwargs: Any) -> CommandRefused:
    """Why it was refused."""
    with pytest.raises(CommandRefused) as refused:
        ask(*args, **kwargs)
    assert refused.value.code == code, refused.value
    return refused.value
