"""The recorded line between a client and TWS: it changes nothing, passes on every kind of end, waits for the slow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.recording import proxy as tap_module
from ibbridge.recording.format import Reading, RecordedEvent, RecordKind
from ibbridge.recording.proxy import RecordingProxy
from ibbridge.recording.writer import OneFile, Recorder

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Awaitable, Callable

RESET = struct.pack("ii", 1, 0)


class Line:
    """A tap, and plain sockets on both ends of it."""

    def __init__(self, tap: RecordingProxy, tws: socket.socket) -> None:
        self._tap = tap
        self._tws = tws

    async def connect(self) -> tuple[socket.socket, socket.socket]:
        """A client's socket and that of TWS."""
        loop = asyncio.get_running_loop()
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", self._tap.port))
        tws, _ = await loop.sock_accept(self._tws)
        return client, tws


@pytest.fixture
def through(tmp_path: pathlib.Path) -> Callable[[Callable[[Line], Awaitable[Any]]], list[RecordedEvent]]:
    """Carries out what a test does with a line; what was recorded of it."""

    async def run(script: Callable[[Line], Awaitable[Any]], recorder: Recorder) -> None:
        with socket.create_server(("127.0.0.1", 0)) as tws:
            tws.setblocking(False)
            async with RecordingProxy(recorder, "127.0.0.1", tws.getsockname()[1]) as tap:
                await script(Line(tap, tws))

    def through(script: Callable[[Line], Awaitable[Any]]) -> list[RecordedEvent]:
        with contextlib.closing(Recorder(OneFile(tmp_path / "r.ibrec"))) as recorder:
            asyncio.run(run(script, recorder))
        with (tmp_path / "r.ibrec").open("rb") as file:
            return list(Reading(file, "FILE"))

    return through


async def received(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := await asyncio.get_running_loop().sock_recv(peer, 65_536)):
        data += more
    return data


def passed(records: list[RecordedEvent], kind: RecordKind) -> bytes:
    return b"".join(record.data for record in records if record.kind is kind)


def test_bytes_pass_both_ways_unchanged_and_are_recorded(through):
    question, answer = bytes(range(256)) * 1000, bytes(reversed(range(256))) * 3000

    async def script(line: Line) -> None:
        loop = asyncio.get_running_loop()
        client, tws = await line.connect()
        with client, tws:
            sending = asyncio.ensure_future(loop.sock_sendall(client, question))
            assert await received(tws, len(question)) == question
            await sending
            sending = asyncio.ensure_future(loop.sock_sendall(tws, answer))
            assert await received(client, len(answer)) == answer
            await sending

    records = through(script)
    assert passed(records, RecordKind.OUTBOUND) == question
    assert passed(records, RecordKind.INBOUND) == answer
    assert records[0].kind is RecordKind.OPENED
    assert records[0].about["host"] == "127.0.0.1"


@pytest.mark.parametrize("first", ["client", "tws"])
def test_one_side_may_end_while_the_other_goes_on(through, first):
    async def script(line: Line) -> None:
        loop = asyncio.get_running_loop()
        ends = dict(zip(("client", "tws"), await line.connect(), strict=True))
        one, other = ends.pop(first), next(iter(ends.values()))
        with one, other:
            one.shutdown(socket.SHUT_WR)
            assert await received(other, 1) == b""
            await loop.sock_sendall(other, b"still here")
            assert await received(one, 10) == b"still here"
            other.shutdown(socket.SHUT_WR)
            assert await received(one, 1) == b""

    assert through(script)[-1].kind is RecordKind.CLOSED


@pytest.mark.parametrize("first", ["client", "tws"])
def test_a_reset_is_one_on_the_other_side(through, first):
    async def script(line: Line) -> None:
        ends = dict(zip(("client", "tws"), await line.connect(), strict=True))
        one, other = ends.pop(first), next(iter(ends.values()))
        with other:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            one.close()
            with pytest.raises(ConnectionResetError):
                await received(other, 1)

    closed = through(script)[-1]
    assert closed.kind is RecordKind.CLOSED
    assert "reset" in closed.about["why"].lower()


def test_nothing_more_is_read_while_the_other_side_takes_nothing():
    class Slow:
        """Takes what it is given, and is done with it when it is told to."""

        def __init__(self) -> None:
            self.taken: list[bytes] = []
            self.given = asyncio.Event()
            self.done = asyncio.Event()

        def write(self, data: bytes) -> None:
            self.taken.append(data)
            self.given.set()

        async def drain(self) -> None:
            await self.done.wait()

        def write_eof(self) -> None:
            self.taken.append(b"end")

    async def run() -> None:
        reader, writer, noted = asyncio.StreamReader(), Slow(), list[bytes]()
        reader.feed_data(b"first")
        passing = asyncio.create_task(tap_module._pass_on(reader, writer, noted.append))  # type: ignore[arg-type]
        await writer.given.wait()
        reader.feed_data(b"second")
        for _ in range(10):
            await asyncio.sleep(0)
        assert writer.taken == noted == [b"first"]
        reader.feed_eof()
        writer.done.set()
        await passing
        assert writer.taken == [b"first", b"second", b"end"]

    asyncio.run(run())


def test_several_clients_at_once_and_one_after_the_other_have_connections_of_their_own(through):
    async def script(line: Line) -> None:
        loop = asyncio.get_running_loop()
        for number in (0, 2):
            pairs = [await line.connect() for _ in range(2)]
            for name, (client, tws) in enumerate(pairs, number):
                await loop.sock_sendall(client, b"%d" % name)
                assert await received(tws, 1) == b"%d" % name
            for client, tws in pairs:
                client.close()
                assert await received(tws, 1) == b""
                tws.close()

    records = through(script)
    assert [record.data for record in records if record.kind is RecordKind.OUTBOUND] == [b"0", b"1", b"2", b"3"]
    assert len({record.connection for record in records}) == 4


def test_without_a_tws_clients_are_sent_away_and_nothing_is_recorded(tmp_path, caplog):
    async def run(recorder: Recorder) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            async with RecordingProxy(recorder, "127.0.0.1", nobody.getsockname()[1]) as tap:
                reader, writer = await asyncio.open_connection("127.0.0.1", tap.port)
                with pytest.raises(ConnectionResetError):
                    await reader.read(1)
                writer.close()

    with contextlib.closing(Recorder(OneFile(tmp_path / "r"))) as recorder:
        asyncio.run(run(recorder))
    assert recorder.status()["recorded"] == 0
    assert "client rejected" in caplog.text
