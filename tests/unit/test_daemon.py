"""The daemon's middle with its sockets taken away: what TWS says goes in, what is published comes out."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import random
import socket
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.clock import SystemClock
from ibbridge.codec import Connection, Dialect, Greeting, HandshakeState, Message
from ibbridge.codec.messages import INBOUND, REQUESTS
from ibbridge.config.maintenance_windows import window
from ibbridge.config.model import Config
from ibbridge.daemon import Daemon, settle
from ibbridge.ib.notices import BAD_MESSAGE
from ibbridge.inbound.dispatcher import TOGETHER
from ibbridge.inbound.publication_plan import PASSED_ON
from ibbridge.security.identity import LocalPeerage
from ibbridge.streams import snapshot
from ibbridge.tws.connector import TwsConnector
from ibbridge.tws.decode_errors import Readability
from ibbridge.tws.outbound import OutboundMessage
from ibbridge.tws.send_port import SendPort
from ibbridge.tws.send_queue import SendQueue
from ibbridge.tws.session import Session, Stage
from ibbridge.tws.supervisor import Supervisor
from ibbridge.tws.transport import TcpTransports
from ibbridge.wiring import Outside, directory, event_store, order_store
from tests.support.bus_peers import bus_config
from tests.support.daemon_core import AAPL, LIMIT, UNLIMITED, Heard, Middle, _blank
from tests.support.declared import same
from tests.support.outside import ListBus, ManualClock, outside
from tests.support.strategies import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibbridge.streams.publisher import Publisher

PATIENCE = 20


class Wire:
    """Stands where the socket to TWS is. What the host said is read in the way the socket's callback does it."""

    def __init__(self, daemon: Daemon, version: int = 200) -> None:
        self.connection = Connection(1, Greeting(version), packed=PASSED_ON)
        self.open = True
        self.written: list[bytes] = []
        self._connection = Connection(1, Greeting(version), packed=PASSED_ON)
        self._readability = Readability()
        self._daemon = daemon
        self._host = Dialect.server(version)
        daemon.parts.connector._link = self  # type: ignore[assignment]
        daemon.parts.tws.port.attach(self)
        self.flush()
        self.read(b"\0\0\0\x08%d\0now\0" % version)

    @property
    def dialect(self) -> Dialect | None:
        return self._connection.dialect

    @property
    def ready(self) -> bool:
        return self._connection.state is HandshakeState.READY

    def note(self, *, read: bool) -> bool:
        return self._readability.note(read=read)

    def flush(self) -> None:
        if data := self._connection.data_to_send():
            self.write(data)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def unsent(self) -> int:
        return 0

    def closing(self) -> bool:
        return False

    def read(self, data: bytes) -> None:
        messages, more = self._connection.receive_data(data), len(data) == self._daemon.config.tws.read_chunk
        self._daemon.parts.connector.received(self, messages, 1, more=more)  # type: ignore[arg-type]

    def say(self, *messages: tuple[str, dict[str, Any]]) -> None:
        """Have TWS send messages that arrive in one read."""
        self.read(b"".join(self._host.put(name, data) for name, data in messages))


_IDS = itertools.count(1)


class Published:
    """A daemon whose bus is a list; `turned` is called when the bus has its turn."""

    def __init__(self, store: str = "", **tws: Any) -> None:
        default = Config()
        kept = dataclasses.replace(default.store, path=store, commit_timeout=60)
        at_once = dataclasses.replace(default.pacing, rate=1_000_000)
        config = Config(tws=dataclasses.replace(default.tws, **tws), store=kept, pacing=at_once, risk=UNLIMITED)
        self.heard: list[Heard] = []
        self.turned: Callable[[], Any] = lambda: None
        self.clock = ManualClock()
        bus = ListBus(self._keep, self._turn)
        self.daemon = Daemon(
            config,
            outside=outside(
                self.clock, bus, store=event_store(config), order_store=order_store(config) if store else None
            ),
        )
        self.daemon.parts.tws.session.stage = Stage.HANDSHAKING

    def _keep(self, topic: bytes, body: bytes) -> None:
        self.heard.append(Heard(topic.decode("ascii"), msgpack.unpackb(body)))

    def _turn(self) -> None:
        self.turned()

    def of(self, kind: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.body["type"] == kind]

    def ask(self, cmd: str, **more: Any) -> dict[str, Any]:
        command = {"id": f"c{next(_IDS)}", "cmd": cmd, "client": "a", **more}
        reply: dict[str, Any] = msgpack.unpackb(self.daemon.parts.commands.answer(msgpack.packb(command)))
        return reply


ACCOUNTS = ("managedAccounts", {"accountsList": "DU1,"})
NEXT = ("nextValidId", {"orderId": 4711})
ORDER = {"key": "k", "args": {"contract": AAPL, "order": LIMIT}}


@pytest.mark.parametrize("order", list(itertools.permutations([ACCOUNTS, NEXT])), ids=["accounts first", "id first"])
@pytest.mark.parametrize("together", [True, False])
def test_whoever_asks_in_the_very_turn_in_which_it_is_ready_gets_an_order_id_that_tws_allows(order, together):
    published, replies = Published(), []
    published.turned = lambda: replies.append(published.ask("placeOrder", **ORDER))
    wire = Wire(published.daemon)
    for messages in [order] if together else [[each] for each in order]:
        wire.say(*messages)
    accepted = [reply["result"]["orderId"] for reply in replies if reply["ok"]]
    assert accepted
    assert set(accepted) == {4711}


def test_stages_are_told_in_order_and_ready_last():
    published = Published()
    first, second = (("error", _error(-1, 2104, f"OK:{farm}")) for farm in ("usfarm", "x"))
    Wire(published.daemon).say(ACCOUNTS, first, NEXT, second)
    assert [heard.data["stage"] for heard in published.of("connection")] == ["starting", "syncing", "ready"]
    assert {heard.body["gen"] for heard in published.of("connection")} == {1}
    kinds = [heard.body["type"] for heard in published.heard]
    assert kinds.index("nextValidId") < kinds.index("connection", kinds.index("nextValidId"))
    assert [heard.data for heard in published.of("farm")] == [
        {"farm": "usfarm", "state": "ok"},
        {"farm": "x", "state": "ok"},
    ]
    assert len(published.of("error")) == 2, "and as they came"


@pytest.mark.scenario("B25")
def test_the_daemons_market_data_type_is_set_before_anything_is_subscribed():
    published = Published(market_data_type=3)
    wire = Wire(published.daemon)
    wire.say(ACCOUNTS, NEXT)
    assert published.ask("reqMktData", args={"contract": AAPL})["ok"]
    host = Dialect.server(200)
    names = [host.read(data[4:]) for data in wire.written[2:]]
    assert [each.name for each in names if isinstance(each, Message)] == [
        "reqMarketDataType", "reqAllOpenOrders", "reqMktData",
    ]  # fmt: skip


def _error(number: int, code: int, text: str) -> dict[str, Any]:
    return {"reqId": number, "errorTime": 0, "errorCode": code, "errorString": text, "advancedOrderRejectJson": ""}


def test_an_order_of_ours_raises_the_ids_and_one_of_another_client_does_not():
    published = Published()
    wire = Wire(published.daemon)
    wire.say(ACCOUNTS, NEXT)
    for client, number in ((9, 2_000_000_000), (1, 5000)):
        order = {"orderId": number, "clientId": client, "permId": number}
        wire.say(("openOrder", {"orderId": number, "contract": AAPL, "order": order, "orderState": {}}))
    assert published.ask("placeOrder", **ORDER)["result"]["orderId"] == 5001


@pytest.mark.scenario("B39")
def test_an_order_of_which_tws_has_said_nothing_is_told_once_when_the_connection_is_lost():
    published = Published()
    Wire(published.daemon).say(ACCOUNTS, NEXT)
    order = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}
    for key in ("heard", "refused", "unheard"):
        published.ask("placeOrder", id=key, key=key, args={"contract": AAPL, "order": order})
    first = NEXT[1]["orderId"]
    status = {"orderId": first, "clientId": 1, "permId": 7, "status": "Submitted"}
    published.daemon.parts.inbound.router.publish("orderStatus", status, 1)
    refusal = {"reqId": first + 1, "errorTime": 0, "errorCode": 201, "errorString": "", "advancedOrderRejectJson": ""}
    published.daemon.parts.inbound.router.publish("error", refusal, 1)
    published.of("error")
    published.daemon.parts.dispatcher.connection_lost()
    error = published.of("error")[-1]
    assert error.topic == "ord.a.unheard.error."
    assert error.data.items() >= {"errorCode": 504, "class": "connectivity", "ends": None}.items()
    before = len(published.of("error"))
    published.daemon.parts.dispatcher.connection_lost()
    assert len(published.of("error")) == before


@pytest.mark.scenario("B39")
def test_a_cancel_of_which_tws_has_said_nothing_is_told_once_when_the_connection_is_lost():
    published = Published()
    Wire(published.daemon).say(ACCOUNTS, NEXT)
    order = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}
    published.ask("placeOrder", id=1, key="k", args={"contract": AAPL, "order": order})
    status = {"orderId": NEXT[1]["orderId"], "clientId": 1, "permId": 7, "status": "Submitted"}
    published.daemon.parts.inbound.router.publish("orderStatus", status, 1)
    published.ask("cancelOrder", id=2, key="k")
    published.daemon.parts.dispatcher.connection_lost()
    published.daemon.parts.dispatcher.connection_lost()
    (error,) = published.of("error")
    assert (error.topic, error.data["errorCode"], error.data["ends"]) == ("ord.a.k.error.", 504, None)
    assert "the order may or may not be cancelled" in error.data["errorString"]


def test_what_was_lost_is_told_to_who_waits_and_streams_are_asked_for_on_the_next_connection():
    published = Published()
    Wire(published.daemon).say(ACCOUNTS, NEXT)
    published.ask("reqMktData", id=7, args={"contract": AAPL})
    published.ask("whatIfOrder", id=8, args={"contract": AAPL, "order": LIMIT})
    published.daemon.parts.dispatcher.connection_lost()
    (error,) = published.of("error")
    assert error.topic == "req.a.8.error."
    assert error.data.items() >= {"errorCode": 504, "class": "connectivity", "ends": True}.items()
    assert error.body["ref"] == {"client": "a", "id": 8}
    published.daemon.parts.tws.session.stage = Stage.HANDSHAKING
    wire = Wire(published.daemon, 178)
    wire.say(ACCOUNTS, NEXT)
    names = [Dialect.server(178).read(data[4:])[0] for data in wire.written[2:]]
    assert names == ["reqMarketDataType", "reqMktData", "reqAllOpenOrders"]


@pytest.mark.scenario("B9")
def test_a_stream_that_this_tws_cannot_carry_is_told_to_have_ended():
    published = Published()
    Wire(published.daemon, 226).say(ACCOUNTS, NEXT)
    args = {"contract": AAPL, "mktDataOptions": [{"tag": "x", "value": "y"}]}
    assert published.ask("reqMktData", id=7, args=args)["ok"]
    published.daemon.parts.dispatcher.connection_lost()
    assert published.of("error") == [], "it will be asked for again"
    published.daemon.parts.tws.session.stage = Stage.HANDSHAKING
    Wire(published.daemon, 178).say(ACCOUNTS, NEXT)
    (error,) = published.of("error")
    assert error.topic == "md.AAPL-STK-SMART-USD.error."
    assert error.data.items() >= {"errorCode": 504, "class": "connectivity", "ends": True}.items()


@pytest.mark.parametrize("version", [178, 226])
def test_every_error_says_its_class_and_whether_it_ends_what_it_is_about(version):
    published = Published()
    wire = Wire(published.daemon, version)
    wire.say(ACCOUNTS, NEXT)
    published.ask("reqMktData", id=7, args={"contract": AAPL})  # the number 4711, then one each
    published.ask("reqContractDetails", id=8, args={"contract": AAPL})
    published.ask("placeOrder", **ORDER)
    errors = [(4711, 10197), (4712, 200), (4713, 201), (-1, 1100), (2147483647, 321), (99, 12345)]
    wire.say(*(("error", _error(number, code, "Error")) for number, code in errors))
    keys = ("errorCode", "class", "ends")
    assert [(each.topic, *(each.data[key] for key in keys)) for each in published.of("error")] == [
        ("md.AAPL-STK-SMART-USD.error.", 10197, "connectivity", None),
        ("req.a.8.error.", 200, "data", True),
        ("ord.a.k.error.", 201, "order", True),
        ("sys.tws.error.", 1100, "connectivity", False),
        ("sys.tws.error.", 321, "system", True),
        ("sys.tws.error.", 12345, "system", None),
    ]


def test_accounts_that_are_named_anew_are_those_of_status_and_of_orders():
    published = Published()
    wire = Wire(published.daemon)
    wire.say(ACCOUNTS, NEXT)
    wire.say(("managedAccounts", {"accountsList": "DU1,DU2"}))
    assert published.ask("status")["result"]["tws"]["accounts"] == ["DU1", "DU2"]
    assert "order.account is missing" in published.ask("placeOrder", **ORDER)["error"]["message"]


@pytest.mark.parametrize(("in_use", "said"), [(True, "compiled"), (False, "pure")])
def test_status_says_whether_compiled_code_decodes(in_use, said, monkeypatch):
    published = Published()
    monkeypatch.setattr("ibbridge.codec.speedups.IN_USE", in_use)
    assert published.ask("status")["result"]["codec"] == said


def test_status_counts_what_the_bus_could_not_do():
    events = event_store(Config())
    world = Outside(SystemClock(), events, order_store(Config(), events), peerage=LocalPeerage())
    parts = Daemon(Config(), outside=world).parts
    parts.bus._outbox = SimpleNamespace(unsent=2)
    parts.bus._subscriptions = SimpleNamespace(strays=3)  # type: ignore[assignment]
    status = msgpack.unpackb(parts.commands.answer(msgpack.packb({"id": 1, "cmd": "status"})))
    assert status["result"]["counts"].items() >= {"notPublished": 2, "strayFrames": 3}.items()


def test_status_and_heartbeat_say_the_same():
    published = Published()
    Wire(published.daemon).say(ACCOUNTS, NEXT)
    published.daemon.publish_heartbeat()
    (beat,) = published.of("heartbeat")
    status = published.ask("status")["result"]
    assert beat.data["tws"].items() >= {"stage": "ready", "serverVersion": 200, "accounts": ["DU1"]}.items()
    assert status["tws"].items() >= {"stage": "ready", "serverVersion": 200, "accounts": ["DU1"]}.items()
    assert status["published"] == beat.data["offset"]
    numbers = [heard.body["seq"] for heard in published.heard if heard.topic.startswith("sys.tws.")]
    assert beat.data["seqs"]["sys.tws."] == max(numbers)


def test_who_is_not_ready_for_too_long_is_an_alarm_on_the_bus_in_the_heartbeat_in_status_and_in_the_log(caplog):
    published = Published(not_ready_alarm=1e-9)
    published.daemon.parts.tws.session.stage = Stage.CONNECTING
    published.clock.pass_time(1.0)
    published.daemon.publish_heartbeat()
    (alarm,) = published.of("alarm")
    assert alarm.topic == "sys.bridge.alarm."
    assert (alarm.data["alarm"], alarm.data["raised"]) == ("notReady", True)
    (beat,) = published.of("heartbeat")
    assert beat.data["alarms"] == ["notReady"]
    assert published.ask("status")["result"]["alarms"] == [alarm.data]
    assert "alarm notReady: TWS has not been ready" in caplog.text
    published.daemon.parts.tws.session.stage = Stage.HANDSHAKING
    Wire(published.daemon).say(ACCOUNTS, NEXT)
    published.daemon.publish_heartbeat()
    assert [heard.data["raised"] for heard in published.of("alarm")] == [True, False]
    assert published.of("heartbeat")[-1].data["alarms"] == []


def test_in_a_restart_window_it_is_no_alarm_and_orders_are_refused():
    always = (window("00:00-12:00 UTC"), window("12:00-00:00 UTC"))
    published = Published(not_ready_alarm=1e-9, restart_windows=always)
    published.daemon.parts.tws.session.stage = Stage.CONNECTING
    published.clock.pass_time(1.0)
    published.daemon.publish_heartbeat()
    assert published.of("alarm") == []
    published.daemon.parts.tws.session.stage = Stage.HANDSHAKING
    Wire(published.daemon).say(ACCOUNTS, NEXT)
    assert published.ask("placeOrder", **ORDER)["error"]["code"] == "E_RESTART_WINDOW"


def test_surplus_fields_are_logged_once_per_type(caplog):
    published = Published()
    wire = Wire(published.daemon)
    wire.say(ACCOUNTS, NEXT)
    for _ in range(3):
        wire.read(b"\0\0\0\x0b" + b"49\x001\x005\x00x\x00y\x00")
        published.daemon.publish_heartbeat()
    assert caplog.text.count("more fields of currentTime") == 1
    assert published.ask("status")["result"]["surplusFields"] == {"currentTime": 6}


# Whatever TWS says


ODD = (b"", b"x", b"-1", b"2147483647", b"9" * 25, b"-" + b"9" * 25, b"1e999", b"nan", b"\xff", b"\\ud800")


@st.composite
def utterance(draw: Any, version: int) -> bytes:
    """A message of IB's as it is, or with something in it changed."""
    declared = [each for each in INBOUND if each.exists(version)]
    if draw(st.booleans()):  # more often one of those that take the short way
        declared = [each for each in declared if each.name in PASSED_ON]
    declaration = draw(st.sampled_from(declared))
    payload: bytes = Dialect.server(version).put(declaration.name, draw(canonical(declaration, version)))[4:]
    how = draw(st.sampled_from(["whole", "cut", "flip", "field"]))
    place = draw(st.integers(0, max(0, len(payload) - 1)))
    if how == "cut":
        return payload[:place]
    if how == "flip" and payload:
        return b"".join((payload[:place], draw(st.binary(min_size=1, max_size=2)), payload[place + 1 :]))
    if how == "field":
        fields = payload.split(b"\0")
        fields[place % len(fields)] = draw(st.sampled_from(ODD))
        return b"\0".join(fields)
    return payload


COMMANDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("reqMktData", {"id": 1, "args": {"contract": AAPL}}),
    ("reqExecutions", {"id": 2}),
    ("reqOpenOrders", {"id": 3}),
    ("whatIfOrder", {"id": 4, "args": {"contract": AAPL, "order": LIMIT}}),
    ("placeOrder", {"id": 5, **ORDER}),
)


TOLD_ONCE = ("execDetails", "commissionAndFeesReport")
"""Types of which a repetition is not published, or of which a message is held until its execution comes."""


@pytest.mark.parametrize("version", [178, 200, 226])
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_whatever_tws_says_is_published_exactly_once_and_as_it_was_read_and_nothing_ends_the_daemon(version, data):
    published, plain = Published(), Middle(version, ready=False)
    published.daemon.parts.orders.reconciliation._begin = lambda: None  # type: ignore[method-assign] # as in Middle
    wire = Wire(published.daemon, version)
    wire.say(ACCOUNTS, NEXT)
    plain.connect(NEXT[1]["orderId"])
    for cmd, more in COMMANDS:
        assert published.ask(cmd, **more)["ok"]
        assert plain.call({"cmd": cmd, "client": "a", **more})["ok"]
    for payload in data.draw(st.lists(utterance(version), min_size=1, max_size=4)):
        before = len(published.heard)
        wire.read(len(payload).to_bytes(4, "big") + payload)
        new = [heard for heard in published.heard[before:] if heard.body["type"] not in ("farm", "orderState")]
        told = [heard for heard in new if heard.body["type"] == "error" and heard.data["errorCode"] == BAD_MESSAGE]
        new = [heard for heard in new if heard not in told]
        read = Dialect.client(version).read(payload)
        unpacked = all(heard.body["type"] != "decodeError" for heard in new)  # no number is too large for msgpack
        if isinstance(read, Message) and read.name in TOLD_ONCE and unpacked and not told:
            before = len(plain.published)
            plain.router.publish(read.name, read.data, 1)
            others = [each for each in plain.published[before:] if each.body["type"] != "orderState"]
            assert [(each.topic, each.data) for each in new] == [(each.topic, each.data) for each in others]
            continue
        assert len(new) == 1, payload
        if new[0].body["type"] == "decodeError":
            name, known = (read.name, read.data) if isinstance(read, Message) else (read.name, read.known)
            before = len(plain.published)
            plain.unreadable.notify(name, known, "", 1)
            also = [heard.topic for heard in plain.published[before:] if heard.body["type"] != "orderState"]
            assert [heard.topic for heard in told] == also
            assert new[0].data["reason"]
            assert new[0].data["raw"] == payload or "msgpack" in new[0].data["reason"]
        else:
            assert isinstance(read, Message)
            assert not told
            plain.router.publish(read.name, read.data, 1)
            other = next(each for each in reversed(plain.published) if each.body["type"] != "orderState")
            assert (new[0].topic, new[0].body.get("ref")) == (other.topic, other.body.get("ref"))
            assert same(new[0].data, other.data)
    offsets = [heard.body["offset"] for heard in published.heard]
    assert offsets == list(range(1, len(offsets) + 1))
    order = {"contract": AAPL, "order": {**LIMIT, "account": "DU1"}}  # TWS may have named several accounts
    assert published.ask("placeOrder", id=6, key="k2", args=order)["ok"]
    # The state is the same too, whichever way a message went through the daemon.
    for prefix in (b"md.", b"acct.", b"req.", b"ord.", b"exec."):
        assert _state(published.daemon.parts.streams.publisher, prefix) == _state(plain.streams, prefix)


def _state(streams: Publisher, prefix: bytes) -> list[tuple[bytes, bytes]]:
    page, _ = snapshot.page(streams, prefix, "", 10_000, size=2**40)
    found = [(topic, body) for stream in page for topic, body in stream["messages"]]
    return sorted((topic, body[body.index(b"\xa4data") :]) for topic, body in found if b".orderState." not in topic)


# The socket's side


class Owner:
    """Hears what the gateway tells."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()

    def deliver(self, messages: Iterable[Any], ts: int, *, more: bool) -> None:
        for _ in messages:
            pass

    def stage_changed(self) -> None:
        pass

    def connection_ready(self) -> None:
        self.ready.set()

    def connection_lost(self) -> None:
        pass


async def _host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(4)
    writer.write(b"\0\0\0\x08200\0now\0")
    host = Dialect.server(200)
    writer.write(host.put(*ACCOUNTS) + host.put(*NEXT))
    await reader.read()
    writer.close()


def test_every_address_of_a_name_is_tried(monkeypatch):
    async def connect() -> None:
        server = await asyncio.start_server(_host, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*_: Any, **__: Any) -> Any:  # as `localhost`, where TWS listens on the second alone
            return [(socket.AF_INET, 0, 0, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]

        real = loop.getaddrinfo
        owner, clock = Owner(), SystemClock()
        config = dataclasses.replace(Config().tws, host="both", port=port, reconnect_min=60, reconnect_max=60)
        supervisor, send_port = (
            Supervisor(config, Session(0.0), random.random),
            SendPort(SendQueue(), lambda: True, clock),
        )
        gateway = TwsConnector(supervisor, send_port, TcpTransports(config, None, (), clock), owner, clock)

        async def resolve(host: Any, *args: Any, **more: Any) -> Any:
            return await (getaddrinfo() if host == "both" else real(host, *args, **more))

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        running = asyncio.create_task(gateway.run())
        await owner.ready.wait()
        assert send_port.send(OutboundMessage(REQUESTS["reqCurrentTime"], b"\0\0\0\0"))
        running.cancel()
        await asyncio.wait([running])
        assert send_port.dialect is None
        assert not send_port.send(OutboundMessage(REQUESTS["reqCurrentTime"], b""))
        server.close()
        await server.wait_closed()

    asyncio.run(asyncio.wait_for(connect(), PATIENCE))


def test_a_bug_in_the_callback_that_reads_ends_the_daemon_and_is_not_swallowed(monkeypatch, tmp_path):
    async def run() -> None:
        server = await asyncio.start_server(_host, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        config = Config(
            tws=dataclasses.replace(Config().tws, port=port),
            bus=bus_config(f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/r", linger_ms=0),
        )
        daemon = Daemon(config)

        def broken(*_: Any) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(daemon.parts.inbound.router, "publish", broken)
        try:
            with pytest.raises(ExceptionGroup) as raised:
                await daemon.serve()
        finally:
            server.close()
            await server.wait_closed()
        assert raised.value.subgroup(ZeroDivisionError) is not None

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_the_states_of_the_codecs_connection_are_in_the_order_that_waiting_for_them_needs():
    assert list(HandshakeState) == [
        HandshakeState.GREETING,
        HandshakeState.STARTING,
        HandshakeState.NUMBERED,
        HandshakeState.NAMED,
        HandshakeState.READY,
    ]


# Store and halt


def test_a_store_that_cannot_be_written_is_said_on_the_bus_and_no_order_is_taken_until_it_can(caplog):
    published = Published()
    Wire(published.daemon).say(ACCOUNTS, NEXT)
    assert published.ask("placeOrder", **ORDER)["ok"]
    published.daemon.store._faults.unwritten = "/x: the disk is full"
    published.daemon.publish_heartbeat()
    published.daemon.publish_heartbeat()
    (said,) = published.of("store")
    assert (said.topic, said.data["fault"]) == ("sys.bridge.store.", "/x: the disk is full")
    assert published.of("heartbeat")[-1].data["store"] == said.data
    assert published.ask("placeOrder", **{**ORDER, "key": "k2"})["error"]["code"] == "E_STORE"
    assert published.ask("cancelOrder", key="k")["ok"]
    assert published.ask("status")["result"]["store"]["fault"] == "/x: the disk is full"
    assert "Orders are refused" in caplog.text
    published.daemon.store._faults.unwritten = ""
    published.daemon.publish_heartbeat()
    assert published.of("store")[-1].data["fault"] is None
    assert published.ask("placeOrder", **{**ORDER, "key": "k2"})["ok"]


def test_reads_behind_which_there_is_more_share_a_commit_and_the_last_is_not_waited_for(tmp_path):
    news = Dialect.server(200).put("error", _error(-1, 2104, "farm is OK:usfarm"))
    published = Published(str(tmp_path), read_chunk=len(news))
    daemon = published.daemon
    daemon.store.open(1)
    wire = Wire(daemon)
    wire.say(ACCOUNTS, NEXT)
    before, heard = daemon.store.metrics()["commits"], len(published.of("error"))
    for reads in range(1, TOGETHER + 1):
        wire.read(news)
        assert (daemon.store.metrics()["commits"], len(published.of("error"))) == (before, heard), reads
    wire.read(news)
    published.clock.pass_time(0.0)
    assert (daemon.store.metrics()["commits"], len(published.of("error"))) == (before + 1, heard + TOGETHER + 1)
    wire.read(news)
    assert len(published.of("error")) == heard + TOGETHER + 1
    published.clock.pass_time(0.0)
    assert (daemon.store.metrics()["commits"], len(published.of("error"))) == (before + 2, heard + TOGETHER + 2)
    wire.read(news)
    (stream,) = published.ask("snapshot", args={"prefix": "sys.tws."})["result"]["streams"]
    assert daemon.store.metrics()["commits"] == before + 3, "a snapshot shows what is committed"
    assert stream["seq"] == published.heard[-1].body["seq"]
    daemon.store.close()


def test_a_halt_is_said_on_the_bus_and_in_every_heartbeat():
    published = Published()
    Wire(published.daemon).say(ACCOUNTS, NEXT)
    published.ask("halt", args={"reason": "news"})
    (said,) = published.of("halt")
    assert (said.topic, said.data["halted"], said.data["reason"]) == ("sys.bridge.halt.", True, "news")
    published.daemon.publish_heartbeat()
    state = published.of("heartbeat")[-1].data["halt"]
    assert state == {"since": said.data["since"], "client": "a", "reason": "news"}
    assert published.ask("placeOrder", **ORDER)["error"]["code"] == "E_HALTED"
    published.ask("resume")
    published.daemon.publish_heartbeat()
    assert published.of("heartbeat")[-1].data["halt"] is None
    assert published.ask("placeOrder", **ORDER)["ok"]


def test_a_heartbeat_tells_the_numbers_of_durable_streams_always_and_of_others_for_three_beats_after_a_change():
    published = Published()
    wire = Wire(published.daemon)
    wire.say(ACCOUNTS, NEXT)
    published.ask("reqMktData", args={"contract": AAPL})
    tick = {"reqId": 4711, "tickType": 1, "price": 1.5, "size": 1.0, "attrib": {}}
    wire.say(("tickPrice", tick))
    told = []
    for _ in range(4):
        published.daemon.publish_heartbeat()
        told.append(published.of("heartbeat")[-1].data["seqs"])
    stream = "md.AAPL-STK-SMART-USD."
    assert [each.get(stream) for each in told] == [1, 1, 1, None]
    assert all(each["sys.tws."] == told[0]["sys.tws."] for each in told)
    assert not {"seq", "offset"} & published.of("heartbeat")[-1].body.keys()
    assert [beat.data["beat"] for beat in published.of("heartbeat")[-4:]] == [1, 2, 3, 4]


def test_after_a_restart_the_status_of_an_order_finds_its_owner_though_it_names_none(tmp_path):
    told = []
    for epoch in (1, 2):
        published = Published(store=str(tmp_path))
        published.daemon.open_store()
        published.daemon._take_up()
        wire = Wire(published.daemon)
        wire.say(ACCOUNTS, NEXT)
        if epoch == 1:
            published.ask("placeOrder", **ORDER)
        wire.say(("orderStatus", {**_blank("orderStatus"), "orderId": 4711, "permId": 9, "clientId": 1}))
        told += [(heard.topic, heard.body["seq"]) for heard in published.of("orderStatus")]
        published.daemon._close_store()
    assert told == [("ord.a.k.orderStatus.", 2), ("ord.a.k.orderStatus.", 4)]


@pytest.mark.scenario("B41")
def test_after_a_restart_ids_go_on_above_the_orders_of_before_although_tws_has_gone_back(tmp_path):
    given = []
    for epoch, following in ((1, 4711), (2, 1)):
        published = Published(store=str(tmp_path))
        published.daemon.open_store()
        published.daemon._take_up()
        wire = Wire(published.daemon)
        wire.say(ACCOUNTS, ("nextValidId", {"orderId": following}))
        given.append(published.ask("placeOrder", **ORDER | {"key": f"k{epoch}"})["result"]["orderId"])
        about = {"orderId": given[-1], "permId": 9, "clientId": 1}
        wire.say(("orderStatus", {**_blank("orderStatus"), **about}))
        published.daemon._close_store()
    assert given[0] == 4711 < given[1]


@pytest.mark.parametrize(
    ("path", "environment", "expected"),
    [
        ("/var/x", {"STATE_DIRECTORY": "/var/lib/ibbridge"}, "/var/x"),
        ("~/x", {"HOME": "/home/me"}, "/home/me/x"),
        ("", {"STATE_DIRECTORY": "/var/lib/ibbridge:/var/lib/other"}, "/var/lib/ibbridge"),
        ("", {"HOME": "/home/me"}, "/home/me/.local/state/ibbridge/4002-1"),
        ("", {"HOME": "/home/me", "XDG_STATE_HOME": "/state"}, "/state/ibbridge/4002-1"),
    ],
)
def test_the_store_is_where_the_configuration_or_systemd_says_or_in_the_users_home(
    monkeypatch, path, environment, expected
):
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = Config(store=dataclasses.replace(Config().store, path=path))
    assert str(directory(config)) == expected


def test_the_garbage_collector_leaves_alone_what_it_has_looked_at():
    class Leads:
        to: Any = None

    try:
        first, second = Leads(), Leads()
        first.to, second.to = second, first
        gone = weakref.ref(first)
        del first, second
        settle()
        assert gone() is None, "what is garbage by then is freed"
        assert len(gc.get_objects()) < gc.get_freeze_count() / 100
    finally:
        gc.unfreeze()
