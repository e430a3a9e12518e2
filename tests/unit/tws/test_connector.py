"""The gateway carries out what the line says: over TCP in memory, in a time that jumps."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.codec import Acceptor, Message
from ibbridge.codec.messages import REQUESTS
from ibbridge.config.model import TwsConfig
from ibbridge.tws.connector import TwsConnector
from ibbridge.tws.outbound import OutboundMessage
from ibbridge.tws.send_port import SendPort
from ibbridge.tws.send_queue import SendQueue
from ibbridge.tws.session import Session, Stage
from ibbridge.tws.supervisor import Supervisor
from ibbridge.tws.transport import TcpTransports
from tests.support import virtual_loop
from tests.support.simulated_world import LoopClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

PORT = 4002


class Host(asyncio.Protocol):
    """A TWS that starts each connection at once; what it does not do is in `faults`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.acceptor = Acceptor(newest=200)
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.place.guests.append(self)
        self.place.open += 1
        if "accept and close" in self.place.faults:
            transport.close()

    def data_received(self, data: bytes) -> None:
        if "mute" in self.place.faults:
            return
        for each in self.acceptor.receive_data(data):
            assert isinstance(each, Message)
            self.answer(each)
        self.transport.write(self.acceptor.data_to_send())

    def answer(self, asked: Message) -> None:
        self.place.asked.append((self.place.loop.now, asked.name))
        if asked.name == "startApi":
            if "in use" in self.place.faults:
                self.say("error", reqId=-1, errorTime=0, errorCode=326, errorString="", advancedOrderRejectJson="")
                self.transport.close()
                return
            self.say("managedAccounts", accountsList="DU1")
            self.say("nextValidId", orderId=1)
        elif asked.name == "reqCurrentTime" and "no answers" not in self.place.faults:
            self.say("currentTime", time=1)

    def say(self, name: str, **data: Any) -> None:
        assert self.acceptor.dialect is not None
        self.transport.write(self.acceptor.dialect.put(name, data))

    def notice(self, code: int, text: str = "") -> None:
        self.say("error", reqId=-1, errorTime=0, errorCode=code, errorString=text, advancedOrderRejectJson="")

    def connection_lost(self, exc: Exception | None) -> None:
        self.place.open -= 1


class Place:
    """A gateway, who hears what happens on it, and its host, on a loop whose time jumps."""

    def __init__(self, loop: virtual_loop.Loop, **settings: Any) -> None:
        self.loop = loop
        self.faults: set[str] = set()
        self.guests: list[Host] = []
        self.asked: list[tuple[float, str]] = []
        self.open = 0
        self.told: list[str] = []
        self.session = Session(loop.now)
        config, clock = dataclasses.replace(TwsConfig(), port=PORT, **settings), LoopClock(loop)
        self.supervisor = Supervisor(config, self.session, random.random)
        self.send_port = SendPort(SendQueue(), lambda: True, clock)
        transports = TcpTransports(config, None, (), clock)
        self.gateway = TwsConnector(self.supervisor, self.send_port, transports, self, clock)

    # -- what happens

    def deliver(self, messages: Iterable[Any], ts: int, *, more: bool) -> None:
        for message in messages:
            if isinstance(message, Message) and message.name == "error":
                self.supervisor.on_notice(message.data["errorCode"], message.data["errorString"], self.loop.now)

    def stage_changed(self) -> None:
        self.told.append(self.session.stage.value)

    def connection_ready(self) -> None:
        self.told.append("(ready)")

    def connection_lost(self) -> None:
        self.told.append("(lost)")

    # -- the test

    async def listen(self, port: int = PORT) -> virtual_loop.Server:
        server: virtual_loop.Server = await self.loop.create_server(lambda: Host(self), port=port)
        return server

    def asks(self, name: str) -> list[float]:
        return [at for at, asked in self.asked if asked == name]


@pytest.fixture
def play() -> Callable[..., None]:
    def play_(test: Callable[[Place], Awaitable[None]], **settings: Any) -> None:
        async def main(loop: virtual_loop.Loop) -> None:
            place = Place(loop, **settings)
            running = loop.create_task(place.gateway.run())
            await test(place)
            assert not running.done()
            running.cancel()
            await asyncio.wait([running])
            await asyncio.sleep(1)
            assert place.open == 0, "what was opened is closed"
            assert place.told.count("(lost)") == len(place.guests)

        virtual_loop.run(main)

    return play_


def test_it_connects_and_tells_of_it_in_order(play):
    async def test(place: Place) -> None:
        await place.listen()
        await asyncio.sleep(1)
        stages = ["resolving", "connecting", "handshaking", "starting", "syncing", "(ready)", "ready"]
        assert place.told == stages
        assert place.send_port.dialect is not None

    play(test)


@pytest.mark.scenario("B1")
def test_nothing_listens_and_then_something_does(play):
    async def test(place: Place) -> None:
        await asyncio.sleep(600)
        pauses = [later[0] - before[0] for before, later in zip(place.loop.tried, place.loop.tried[1:], strict=False)]
        for number, pause in enumerate(pauses):
            whole = min(30.0, 2.0**number)
            assert whole / 2 <= pause <= whole + 0.01
        await place.listen()
        await asyncio.sleep(31)
        assert place.session.ready

    play(test)


@pytest.mark.scenario("B2")
def test_a_mute_host_is_given_up_and_the_socket_closed(play):
    async def test(place: Place) -> None:
        place.faults = {"mute"}
        await place.listen()
        await asyncio.sleep(10.01)
        assert place.session.stage is Stage.DOWN
        assert place.open == 0
        assert "dialog" in place.session.last_error

    play(test)


@pytest.mark.scenario("B3")
def test_accepted_and_closed_again_and_again_is_backed_off_from(play):
    async def test(place: Place) -> None:
        place.faults = {"accept and close"}
        await place.listen()
        await asyncio.sleep(3600)
        assert 3600 / 30 <= len(place.guests) <= 3600 / 15 + 6
        assert place.session.failures in (len(place.guests), len(place.guests) - 1)

    play(test)


@pytest.mark.scenario("B6")
def test_a_client_id_in_use_is_tried_again_after_its_own_pause(play):
    async def test(place: Place) -> None:
        place.faults = {"in use"}
        await place.listen()
        await asyncio.sleep(9)
        assert len(place.guests) == 1
        assert "client id 1 is in use (326)" in place.session.last_error
        await asyncio.sleep(2)
        assert len(place.guests) == 2
        place.faults = set()
        await asyncio.sleep(21)
        assert place.session.ready

    play(test)


@pytest.mark.scenario("B11")
def test_the_new_port_is_followed(play):
    async def test(place: Place) -> None:
        await place.listen()
        await place.listen(4005)
        await asyncio.sleep(60)
        place.guests[0].notice(1300, "Please reconnect on the new port - 4005")
        place.guests[0].transport.close()
        await asyncio.sleep(2)
        assert place.session.ready
        assert [port for _, port in place.loop.tried] == [4002, 4005]
        assert place.supervisor.port == 4005

    play(test, follow_port=True)


@pytest.mark.scenario("B17")
def test_an_idle_host_that_answers_is_probed_for_hours_and_stays(play):
    async def test(place: Place) -> None:
        await place.listen()
        await asyncio.sleep(1)
        place.guests[0].notice(1100)
        await asyncio.sleep(2 * 3600)
        assert len(place.guests) == 1
        assert (place.session.stage, place.session.upstream) == (Stage.READY, "lost")
        assert 719 <= len(place.asks("reqCurrentTime")) <= 721

    play(test)


@pytest.mark.parametrize("fault", ["no answers", "mute"])
@pytest.mark.scenario("B19", "B21")
def test_who_says_nothing_any_more_is_closed_within_the_silence_that_is_borne(play, fault, caplog):
    async def test(place: Place) -> None:
        await place.listen()
        await asyncio.sleep(100)
        place.faults = {fault}
        assert place.told.count("(lost)") == 0
        await asyncio.sleep(30.1)
        assert place.told.count("(lost)") == 1
        assert place.guests[0].transport.is_closing()
        place.faults = set()
        await asyncio.sleep(12)
        assert place.session.ready

    play(test)
    assert "TWS has sent nothing for 30 s" in caplog.text


@pytest.mark.scenario("B20")
def test_a_host_that_takes_nothing_is_closed_although_it_talks(play, caplog):
    async def test(place: Place) -> None:
        await place.listen()
        await asyncio.sleep(100)
        host = place.guests[0]
        host.transport.pause_reading()
        assert place.send_port.send(
            OutboundMessage(REQUESTS["reqCurrentTime"], b"\0" * 400_000)
        )  # more than the kernel takes
        assert place.send_port.unsent
        for _ in range(29):
            host.notice(2104, "OK:usfarm")
            await asyncio.sleep(1)
        assert place.session.ready
        for _ in range(5):
            host.notice(2104, "OK:usfarm")
            await asyncio.sleep(1)
        assert place.told.count("(lost)") == 1
        assert len(place.guests) == 2
        assert place.session.ready
        place.faults = {"mute"}
        host.transport.resume_reading()
        await asyncio.sleep(1)
        assert place.open == 1

    play(test)
    assert "has taken none of the bytes written to it for 30 s" in caplog.text


def test_a_competing_session_is_over_when_data_flows(play):
    async def test(place: Place) -> None:
        await place.listen()
        await asyncio.sleep(1)
        host = place.guests[0]
        tick = {"reqId": 1, "tickType": 1, "price": 1.5, "size": 100.0, "attrib": {}}
        host.notice(10197)
        host.say("tickPrice", **tick)
        await asyncio.sleep(5)
        assert place.session.summary(0.0)["competing"] is True
        host.say("tickPrice", **tick)
        await asyncio.sleep(1)
        assert place.session.summary(0.0)["competing"] is False
        assert place.told[-2:] == ["ready", "ready"]

    play(test)
