"""The gateway that plays recordings: what a client gets, when, and under which numbers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.codec import Connection, Dialect, Greeting, Message, frame
from ibbridge.recording.format import HEADER, RecordingError, RecordKind
from ibbridge.recording.player import Playback, Player, Script, server
from ibbridge.recording.player.session import PlayerSession
from tests.support.recordings import BEGAN, CLIENT, SECOND, Taped, blank

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Awaitable, Callable

AAPL = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
MSFT = {**AAPL, "symbol": "MSFT"}
LIMIT = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 150.0}
VERSIONS = (178, 226)
NEVER = 3600.0
"""Seconds of patience that no test has."""


class Client:
    """A client that offers what it is told to, and keeps what it hears."""

    def __init__(self, port: int, client_id: int = CLIENT, newest: int = 226) -> None:
        self.port = port
        self.connection = Connection(client_id, Greeting(newest))
        self.heard: list[Message] = []

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(self.connection.data_to_send())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def _read(self) -> bool:
        data = await self.reader.read(65_536)
        for message in self.connection.receive_data(data):
            assert isinstance(message, Message), message
            self.heard.append(message)
            self.writer.write(self.connection.data_to_send())
        return bool(data)

    async def until(self, name: str, **wanted: Any) -> list[Message]:
        """Return the messages up to the next one like this, and forget them."""
        while True:
            for number, message in enumerate(self.heard):
                if message.name == name and message.data.items() >= wanted.items():
                    taken, self.heard = self.heard[: number + 1], self.heard[number + 1 :]
                    return taken
            assert await self._read(), f"closed before {name}: {self.heard}"

    async def closed(self) -> list[Message]:
        """Return the messages up to the end of the connection."""
        with contextlib.suppress(ConnectionError):  # what was sent and not read makes a reset of it
            while await self._read():
                pass
        return self.heard

    async def ready(self) -> Client:
        await self.until("nextValidId")
        return self

    def ask(self, name: str, **args: Any) -> None:
        assert self.connection.dialect is not None
        self.writer.write(self.connection.dialect.write(name, args))

    async def now(self) -> list[Message]:
        """Return the messages that have come until now. The gateway tells the time itself, at once."""
        self.ask("reqCurrentTime")
        return (await self.until("currentTime"))[:-1]


@pytest.fixture
def play(tmp_path: pathlib.Path) -> Callable[..., Any]:
    def play(taped: Taped, script: Callable[[Player], Awaitable[Any]], **options: Any) -> Any:
        async def run() -> Any:
            async with Player(Script([taped.write(tmp_path / "r.ibrec")]), Playback(**options)) as player:
                return await script(player)

        return asyncio.run(run())

    return play


def as_fast_as_can_be(patience: float = NEVER) -> dict[str, float]:
    return {"speed": float("inf"), "patience": patience}


def prices(messages: list[Message]) -> list[tuple[int, float]]:
    return [(each.data["reqId"], each.data["price"]) for each in messages if each.name == "tickPrice"]


# -- causality


def test_what_was_said_after_a_request_waits_for_that_request(play):
    taped = Taped().open().tick(-1, 1.0).asked("reqMktData", reqId=1, contract=AAPL, genericTickList="").tick(1, 2.0)

    async def script(player: Player) -> None:
        async with Client(player.port) as client:
            await client.ready()
            assert prices(await client.until("tickPrice")) == [(-1, 1.0)]
            assert await client.now() == []
            client.ask("reqMktData", reqId=1, contract=AAPL, genericTickList="233")
            (refused,) = await client.until("error")
            assert refused.data["errorCode"] == 321
            client.ask("reqMktData", reqId=1, contract=AAPL)
            assert prices(await client.until("tickPrice")) == [(1, 2.0)]

    play(taped, script, **as_fast_as_can_be())


def test_a_request_that_comes_early_is_remembered(play):
    taped = (
        Taped().open().asked("reqMktData", reqId=1, contract=AAPL).tick(1, 1.0)
        .asked("reqMktData", reqId=2, contract=MSFT).tick(2, 2.0).tick(1, 1.1)
    )  # fmt: skip

    async def script(player: Player) -> None:
        async with Client(player.port) as client:
            await client.ready()
            client.ask("reqMktData", reqId=7, contract=MSFT)
            assert await client.now() == []
            client.ask("reqMktData", reqId=8, contract=AAPL)
            heard = [message for _ in range(3) for message in await client.until("tickPrice")]
            assert prices(heard) == [(8, 1.0), (7, 2.0), (8, 1.1)]

    play(taped, script, **as_fast_as_can_be())


def test_a_request_that_never_comes_is_passed_over_with_its_answers(play, caplog):
    taped = (
        Taped().open().asked("reqMktData", reqId=1, contract=AAPL).tick(1, 1.0).asked("cancelMktData", reqId=1)
        .asked("reqMktData", reqId=2, contract=MSFT).tick(1, 1.1).tick(2, 2.0)
    )  # fmt: skip

    async def script(player: Player) -> None:
        async with Client(player.port) as client:
            await client.ready()
            client.ask("reqMktData", reqId=1, contract=MSFT)
            assert prices(await client.until("tickPrice")) == [(1, 2.0)]

    play(taped, script, **as_fast_as_can_be(patience=1.0))  # time enough to ask for the other
    passed = [each.getMessage() for each in caplog.records if "did not come within" in each.getMessage()]
    assert len(passed) == 1, "nobody waits for the cancel of what was not asked"
    assert "reqMktData" in passed[0]
    assert "AAPL" in passed[0]


def test_a_stream_that_is_asked_for_late_is_taken_up_and_a_question_is_answered_with_an_error(tmp_path):
    taped = (
        Taped().open().asked("reqMktData", reqId=1, contract=AAPL)
        .asked("reqContractDetails", reqId=2, contract=AAPL)
        .asked("placeOrder", orderId=3, contract=AAPL, order=LIMIT)
        .asked("cancelOrder", orderId=3)
    )  # fmt: skip
    (part,) = Script([taped.write(tmp_path / "r")]).parts
    performance = PlayerSession(part)
    performance.asked(Message("startApi", {"clientId": CLIENT}), 0)
    for index in range(4):
        assert performance.has(index) is (index == 0)
        performance.reached(index)
    assert performance.has(4), "nobody cancels an order that was not placed"
    reads, writes = Dialect.client(226), Dialect.server(226)
    tick = writes.put("tickPrice", {**blank("tickPrice"), "reqId": 1})[4:]
    filled = writes.put("orderStatus", {**blank("orderStatus"), "orderId": 3, "clientId": CLIENT})[4:]
    assert performance.said(tick) is None
    assert performance.said(filled) is None

    def asked(name: str, **args: Any) -> list[tuple[int, int]]:
        request = Dialect.server(226).read(reads.write(name, args)[4:])
        answer = performance.asked(request, BEGAN)
        assert "came late" in answer.remark
        messages = [reads.read(answer.data[4:])] if answer.data else []
        return [(each.data["reqId"], each.data["errorCode"]) for each in messages if isinstance(each, Message)]

    assert asked("reqMktData", reqId=11, contract=AAPL) == []
    assert asked("reqContractDetails", reqId=12, contract=AAPL) == [(12, 321)]
    assert asked("placeOrder", orderId=13, contract=AAPL, order=LIMIT) == [(13, 201)]
    taken_up = performance.said(tick)
    assert taken_up is not None
    message = reads.read(taken_up[4:])
    assert isinstance(message, Message)
    assert message.data["reqId"] == 11
    assert performance.said(filled) is None, "an order that was rejected has no status"


# -- numbers


@pytest.mark.parametrize("version", VERSIONS)
def test_the_numbers_of_now_stand_in_all_that_is_said(play, version):
    ours = {"clientId": CLIENT, "orderId": 5, "permId": 77}
    taped = (
        Taped(version).open(first_id=5)
        .asked("placeOrder", orderId=5, contract=AAPL, order=LIMIT)
        .asked("placeOrder", orderId=6, contract=AAPL, order={**LIMIT, "parentId": 5})
        .said("openOrder", orderId=5, contract=AAPL, order={"clientId": CLIENT, "permId": 77}, orderState={})
        .said("orderStatus", **ours, status="Submitted", parentId=0)
        .said("orderStatus", orderId=6, clientId=CLIENT, parentId=5, status="Submitted")
        .said("orderStatus", orderId=5, clientId=9, status="Submitted")
        .said("error", reqId=6, errorCode=399, errorString="warned")
        .asked("reqExecutions", reqId=7, execFilter={})
        .said("execDetails", reqId=7, contract=AAPL, execution={"orderId": 5, "clientId": CLIENT, "execId": "x"})
        .said("execDetailsEnd", reqId=7)
        .asked("placeOrder", orderId=5, contract=AAPL, order={**LIMIT, "lmtPrice": 151.0})
        .asked("cancelOrder", orderId=6, orderCancel={})
        .said("error", reqId=6, errorCode=202, errorString="cancelled")
    )  # fmt: skip

    async def script(player: Player) -> list[Message]:
        async with Client(player.port, client_id=3) as client:
            await client.ready()
            client.ask("placeOrder", orderId=105, contract=AAPL, order=LIMIT)
            client.ask("placeOrder", orderId=106, contract=AAPL, order={**LIMIT, "parentId": 105})
            client.ask("reqExecutions", reqId=107, execFilter={})
            client.ask("cancelOrder", orderId=105, orderCancel={})
            client.ask("placeOrder", orderId=106, contract=AAPL, order={**LIMIT, "lmtPrice": 151.0})
            client.ask("placeOrder", orderId=105, contract=AAPL, order={**LIMIT, "lmtPrice": 151.0})
            client.ask("cancelOrder", orderId=106, orderCancel={})
            return await client.until("error", errorCode=202)

    heard = play(taped, script, **as_fast_as_can_be())
    by_name: dict[str, list[dict[str, Any]]] = {}
    for each in heard:
        by_name.setdefault(each.name, []).append(each.data)
    (opened,), (executed,) = by_name["openOrder"], by_name["execDetails"]
    assert (opened["orderId"], opened["order"]["clientId"], opened["order"]["permId"]) == (105, 3, 77)
    told = [(each["orderId"], each["clientId"], each["parentId"]) for each in by_name["orderStatus"]]
    assert told == [(105, 3, 0), (106, 3, 105), (5, 9, 0)]
    assert (executed["reqId"], executed["execution"]["orderId"], executed["execution"]["clientId"]) == (107, 105, 3)
    errors = sorted((each["errorCode"], each["reqId"]) for each in by_name["error"])
    assert errors == [(105, 106), (161, 105), (202, 106), (399, 106)], "the two that were not recorded are refused"


def test_with_the_same_numbers_the_bytes_are_those_that_were_recorded(play):
    surplus = b"\x00\x00\x00\x0b" + b"\x00\x00\x00\x03" + b"9\x00odd\x00x"  # text at 226, with more than is known
    taped = (
        Taped().open().asked("reqMktData", reqId=1, contract=AAPL).tick(1, 1.0).inbound(surplus).tick(2, 5.0)
        .inbound(b"\x00\x00\x00\x05\x00\x00\xff\xffx").close()
    )  # fmt: skip
    said = b"".join(data for kind, _, _, data in taped.records if kind is RecordKind.INBOUND)

    async def script(player: Player) -> bytes:
        async with Client(player.port) as client:
            client.writer.write(
                b"".join(data for kind, _, _, data in taped.records if kind is RecordKind.OUTBOUND)[17:]
            )
            return await client.reader.read()

    assert play(taped, script, **as_fast_as_can_be(), stay=False) == said


def test_a_cancel_is_of_what_it_cancels(play):
    taped = (
        Taped().open().asked("reqMktData", reqId=1, contract=AAPL).asked("reqMktData", reqId=2, contract=MSFT)
        .asked("cancelMktData", reqId=1).tick(2, 2.0).asked("cancelMktData", reqId=2).tick(-1, 0.0)
    )  # fmt: skip

    async def script(player: Player) -> None:
        async with Client(player.port) as client:
            await client.ready()
            client.ask("reqMktData", reqId=2, contract=AAPL)
            client.ask("reqMktData", reqId=1, contract=MSFT)
            client.ask("cancelMktData", reqId=1)
            assert await client.now() == []
            client.ask("cancelMktData", reqId=2)
            assert prices(await client.until("tickPrice", price=0.0)) == [(1, 2.0), (-1, 0.0)]

    play(taped, script, **as_fast_as_can_be())


def test_an_order_that_is_changed_after_a_reconnect_is_the_one_of_before(play):
    taped = (
        Taped().open().asked("placeOrder", orderId=5, contract=AAPL, order=LIMIT).close()
        .open().said("orderStatus", orderId=5, clientId=CLIENT, status="Submitted")
        .asked("placeOrder", orderId=5, contract=AAPL, order={**LIMIT, "lmtPrice": 151.0})
        .said("orderStatus", orderId=5, clientId=CLIENT, status="PreSubmitted").asked("cancelOrder", orderId=5)
        .said("orderStatus", orderId=5, clientId=CLIENT, status="Cancelled")
    )  # fmt: skip

    async def script(player: Player) -> None:
        async with Client(player.port) as client:
            await client.ready()
            client.ask("placeOrder", orderId=8, contract=AAPL, order=LIMIT)
            await client.closed()
        async with Client(player.port) as client:
            assert (await client.until("orderStatus"))[-1].data["orderId"] == 8
            client.ask("placeOrder", orderId=8, contract=AAPL, order={**LIMIT, "lmtPrice": 151.0})
            assert (await client.until("orderStatus", status="PreSubmitted"))[-1].data["orderId"] == 8
            client.ask("cancelOrder", orderId=8)
            assert (await client.until("orderStatus"))[-1].data.items() >= {"orderId": 8, "status": "Cancelled"}.items()

    play(taped, script, **as_fast_as_can_be())


# -- what the recording does not have


def test_what_was_not_recorded_is_answered_as_tws_would(play, caplog):
    async def script(player: Player) -> None:
        async with Client(player.port) as client:
            await client.ready()
            client.ask("reqMarketDataType", marketDataType=3)
            client.ask("reqPositions")
            client.ask("placeOrder", orderId=5, contract=AAPL, order=LIMIT)
            client.ask("cancelOrder", orderId=5)
            client.ask("reqContractDetails", reqId=6, contract=AAPL)
            errors = await client.until("error", reqId=6)
            assert [(each.data["reqId"], each.data["errorCode"]) for each in errors] == [
                (-1, 321), (5, 201), (5, 161), (6, 321),
            ]  # fmt: skip
            assert all("is not in the recording" in each.data["errorString"] for each in errors)

    play(Taped().open(), script, **as_fast_as_can_be())
    assert "reqMarketDataType is not in the recording, and changes nothing" in caplog.text


def test_a_stream_that_is_cancelled_earlier_than_it_was_says_nothing_more(play):
    taped = (
        Taped().open().asked("reqMktData", reqId=1, contract=AAPL).tick(1, 1.0)
        .asked("reqMktData", reqId=2, contract=MSFT).tick(1, 1.1).tick(2, 2.0)
    )  # fmt: skip

    async def script(player: Player) -> None:
        async with Client(player.port) as client:
            await client.ready()
            client.ask("reqMktData", reqId=1, contract=AAPL)
            assert prices(await client.until("tickPrice")) == [(1, 1.0)]
            client.ask("cancelMktData", reqId=1)
            client.ask("reqMktData", reqId=2, contract=MSFT)
            assert prices(await client.until("tickPrice")) == [(2, 2.0)]

    play(taped, script, **as_fast_as_can_be())


def test_the_time_is_that_of_the_recording_and_nobody_waits_for_who_asked_it_then(play):
    taped = (
        Taped().open().asked("reqCurrentTime").said("currentTime", time=5).after(60).tick(-1, 1.0)
        .asked("reqMktData", reqId=1, contract=AAPL)
    )  # fmt: skip

    async def script(player: Player) -> None:
        async with Client(player.port) as client:
            await client.ready()
            assert [each.name for each in await client.until("tickPrice")] == ["tickPrice"]
            client.ask("reqCurrentTime")
            (told,) = await client.until("currentTime")
            assert told.data["time"] == BEGAN // SECOND + 60

    play(taped, script, **as_fast_as_can_be())


# -- connections


def test_each_client_gets_the_next_connection_and_then_there_are_none(play, caplog):
    caplog.set_level(logging.INFO)
    taped = Taped().open().tick(-1, 1.0).close().open().tick(-1, 2.0).close()

    async def script(player: Player) -> None:
        async with Client(player.port) as client:
            await client.reader.readexactly(4)  # somebody who only looks whether there is an answer takes nothing away
        async with Client(player.port) as client:
            assert prices(await client.closed()) == [(-1, 1.0)]
        async with Client(player.port) as client:
            assert prices(await client.until("tickPrice")) == [(-1, 2.0)]
            assert await client.now() == []
            assert not player.over.is_set()
        await player.over.wait()
        async with Client(player.port) as client:
            assert await client.closed() == []

    play(taped, script, **as_fast_as_can_be())
    assert "every connection has been played; restart" in caplog.text


def test_the_last_connection_is_closed_too_if_that_is_wanted(play):
    async def script(player: Player) -> None:
        async with Client(player.port) as client:
            assert prices(await client.closed()) == [(-1, 1.0)]
            await player.over.wait()

    play(Taped().open().tick(-1, 1.0), script, **as_fast_as_can_be(), stay=False)


def test_a_client_that_does_not_speak_the_recorded_version_is_sent_away_and_takes_nothing(play, caplog):
    async def script(player: Player) -> None:
        async with Client(player.port, newest=200) as client:
            assert await client.closed() == []
        async with Client(player.port) as client:
            await client.ready()

    play(Taped(212).open(), script, **as_fast_as_can_be())
    assert "the recording has server version 212" in caplog.text
    assert "tws.max_version" in caplog.text


def test_a_stranger_is_sent_away(play, caplog):
    async def script(player: Player) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", player.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    play(Taped().open(), script, **as_fast_as_can_be())
    assert "this is no client of TWS" in caplog.text


# -- time


def times(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[float]:
    """Seconds from the first message to each, by a clock that only waiting moves on."""
    clock = [1000.0]
    heard: list[tuple[float, bytes]] = []

    class Writer:
        def write(self, data: bytes) -> None:
            heard.append((clock[0], data))

        async def drain(self) -> None:
            pass

    async def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(server, "_clock", lambda: clock[0])
    monkeypatch.setattr(server, "_sleep", sleep)
    script = Script([path])
    (part,) = script.parts
    playback = Playback(patience=0.0, **options)
    played = server._PlayedConnection(part, PlayerSession(part), Writer(), playback)  # type: ignore[arg-type]
    played.heard([asked.request for asked in part.requests])
    asyncio.run(played.play(script))
    connection = Connection(CLIENT)
    connection.data_to_send()
    list(connection.receive_data(frame(part.greeting)))
    return [
        moment - 1000.0
        for moment, data in heard
        for message in connection.receive_data(data)
        if isinstance(message, Message) and message.name == "tickPrice"
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"speed": 1.0}, [1.0, 1.0, 3.5, 63.5]),
        ({"speed": 10.0}, [0.1, 0.1, 0.35, 6.35]),
        ({"speed": float("inf")}, [0.0, 0.0, 0.0, 0.0]),
        ({"speed": 1.0, "begin": BEGAN + 3 * SECOND}, [0.0, 0.0, 0.0, 60.0]),
    ],
)
def test_what_was_said_comes_at_its_time_or_so_many_times_as_fast(tmp_path, monkeypatch, options, expected):
    taped = Taped().open().after(1).tick(-1, 1.0).tick(-1, 1.1).after(2.5).tick(-1, 1.2).after(60).tick(-1, 1.3)
    assert times(taped.write(tmp_path / "r"), monkeypatch, **options) == pytest.approx(expected, abs=1e-3)


# -- what a recording comes to


SESSION = (
    Taped().open().asked("reqMktData", reqId=1, contract=AAPL).tick(1, 1.0).tick(1, 1.1).asked("reqPositions")
    .said("positionEnd").close()
)  # fmt: skip


def steps(path: pathlib.Path) -> list[bytes | None]:
    script = Script([path])
    (part,) = script.parts
    return [step.payload for step in script.steps(part)]


@given(data=st.data())
def test_bytes_may_have_come_in_any_pieces(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "pieces.ibrec"
    cut = Taped()
    for kind, connection, ts, content in SESSION.records:
        ends = sorted(data.draw(st.sets(st.integers(0, len(content)), max_size=3))) if kind in (2, 3) else []
        for start, end in zip([0, *ends], [*ends, len(content)], strict=True):
            cut.records.append((kind, connection, ts, content[start:end]))
    assert steps(cut.write(path)) == steps(SESSION.write(path))


def test_files_that_belong_together_are_one_recording_in_whatever_order_they_are_given(tmp_path):
    whole = steps(SESSION.write(tmp_path / "whole"))
    first, second = Taped(), Taped()
    middle = len(SESSION.records) - 3
    first.records, second.records = SESSION.records[:middle], SESSION.records[middle:]
    second.records = [(kind, connection, ts + 1, data) for kind, connection, ts, data in second.records]
    paths = [second.write(tmp_path / "a"), first.write(tmp_path / "b")]
    script = Script(paths)
    (part,) = script.parts
    assert [step.payload for step in script.steps(part)] == whole
    with pytest.raises(RecordingError, match=r"1 connection.*give the earlier files"):
        Script(paths[:1])


def test_connections_at_the_same_time_are_told_apart(tmp_path):
    one, other = Taped().open().tick(-1, 1.0).tick(-1, 1.1).close(), Taped().after(1).open(client=2).tick(-1, 2.0)
    both = Taped()
    both.records = [record for pair in zip(one.records, other.records, strict=False) for record in pair]
    both.records += one.records[len(other.records) :]
    script = Script([both.write(tmp_path / "r")])
    assert [part.client for part in script.parts] == [1, 2]
    assert len(list(script.steps(script.parts[0]))) == len(list(script.steps(script.parts[1]))) + 1


def test_a_recording_that_was_cut_off_is_played_up_to_there_and_says_so(tmp_path):
    path = SESSION.write(tmp_path / "r")
    path.write_bytes(path.read_bytes() + b"\0\0\1")
    script = Script([path])
    assert len(script.parts) == 1
    assert "ends within a block" in script.remarks[0]


def test_a_connection_whose_frames_break_is_played_up_to_there(tmp_path):
    broken = Taped().open().tick(-1, 1.0).inbound(b"\xff\xff\xff\xff").tick(-1, 2.0)
    script = Script([broken.write(tmp_path / "r")])
    assert "broken frame" in script.remarks[0]
    assert len(list(script.steps(script.parts[0]))) == 4


def test_a_recording_without_a_connection_is_refused(tmp_path):
    path = tmp_path / "r"
    path.write_bytes(HEADER)
    with pytest.raises(RecordingError, match="nothing to play: no client and TWS agreed"):
        Script([path])


def test_damage_is_said_before_anybody_connects(tmp_path):
    path = SESSION.write(tmp_path / "r")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RecordingError, match="damaged"):
        Script([path])
