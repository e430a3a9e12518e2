"""Recording to files: who owns them, when a new one begins, what is left when disk or process fail, and the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import logging
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.clock import SystemClock
from ibbridge.codec import Acceptor, Message
from ibbridge.codec.messages import REQUESTS
from ibbridge.config import loader, model
from ibbridge.recording import format as recording_format
from ibbridge.recording import writer
from ibbridge.recording.format import Reading, RecordedEvent, RecordKind
from ibbridge.recording.writer import OneFile, Recorder, Rotated
from ibbridge.sim import Simulator
from ibbridge.sim.engine import EPOCH
from ibbridge.tws.connector import TwsConnector
from ibbridge.tws.outbound import OutboundMessage
from ibbridge.tws.send_port import SendPort
from ibbridge.tws.send_queue import SendQueue
from ibbridge.tws.session import Session
from ibbridge.tws.supervisor import Supervisor
from ibbridge.tws.transport import TcpTransports

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable

DAY = 86_400_000_000
NOON = 1_767_614_400_000_000  # 2026-01-05, 12:00 UTC


def read(*paths: pathlib.Path) -> list[RecordedEvent]:
    records: list[RecordedEvent] = []
    for path in paths:
        with path.open("rb") as file:
            reading = Reading(file, path.name)
            records += reading
            assert not reading.cut
    return records


def test_what_is_recorded_can_be_read_and_only_by_its_owner(tmp_path):
    path = tmp_path / "r.ibrec"
    with contextlib.closing(Recorder(OneFile(path))) as made:
        first, second = made.opened(host="h", port=1), made.opened(host="h", port=1)
        first.outbound(b"a")
        second.inbound(b"b", 17)
        first.closed("done")
    opened, other, out, inbound, closed = read(path)
    assert [each.kind for each in (opened, other, out, inbound, closed)] == [
        RecordKind.OPENED, RecordKind.OPENED, RecordKind.OUTBOUND, RecordKind.INBOUND, RecordKind.CLOSED,
    ]  # fmt: skip
    assert opened.connection == out.connection == closed.connection != other.connection == inbound.connection
    assert (out.data, inbound.data, inbound.ts) == (b"a", b"b", 17)
    assert opened.about == {"host": "h", "port": 1}
    assert closed.about == {"why": "done"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    status = made.status()
    assert (status["file"], status["waiting"], status["fault"]) == (str(path), 0, None)


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    path = tmp_path / "r.ibrec"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        OneFile(path)
    assert path.read_text() == "mine"


def files(directory: pathlib.Path) -> list[pathlib.Path]:
    return sorted(directory.iterdir())


def blocks(numbers: Iterable[int], size: int = 1000) -> dict[int, bytes]:
    return {
        n: recording_format.block(recording_format.pack(RecordKind.INBOUND, 1, n, os.urandom(size))) for n in numbers
    }


def test_a_new_file_begins_each_day_and_where_one_would_be_too_large(tmp_path):
    where = tmp_path / "made" / "here"
    rotated = Rotated(where, "tws", largest=2500, keep=10**9)
    assert rotated.current == ""
    times = [NOON, NOON + 1, NOON + 2, NOON + DAY, NOON + DAY + 1]
    for now, data in zip(times, blocks(range(5)).values(), strict=True):
        rotated.write(data, now)
    rotated.close()
    assert [each.name for each in files(where)] == [
        "tws-20260105T120000.000000Z.ibrec",
        "tws-20260105T120000.000002Z.ibrec",
        "tws-20260106T120000.000000Z.ibrec",
    ]
    assert [[each.ts for each in read(path)] for path in files(where)] == [[0, 1], [2], [3, 4]]
    assert stat.S_IMODE(where.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in files(where)} == {0o600}


def test_the_oldest_go_and_no_file_of_another_name(tmp_path):
    for name in ("other-20260101T120000.000000Z.ibrec", "tws-10-20260101T120000.000000Z.ibrec", "tws-notes.ibrec"):
        (tmp_path / name).write_bytes(b"x" * 10_000)
    rotated = Rotated(tmp_path, "tws", largest=1500, keep=5000)
    for number, data in blocks(range(10)).items():
        rotated.write(data, NOON + number)
    rotated.close()
    assert len([each for each in tmp_path.iterdir() if each.stat().st_size == 10_000]) == 3
    kept = [each for each in files(tmp_path) if each.stat().st_size < 10_000]
    assert [each.ts for each in read(*kept)] == [6, 7, 8, 9]
    assert sum(each.stat().st_size for each in kept) <= 5000


class Disk:
    """Files that take so many blocks, and then something else."""

    current = "FILE"

    def __init__(self, takes: int, then: Any) -> None:
        self.blocks: list[bytes] = []
        self._takes = takes
        self._then = then

    def write(self, data: bytes, now: int) -> None:
        if len(self.blocks) == self._takes:
            self._then()
        self.blocks.append(data)

    def close(self) -> None:
        pass


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_ends_the_recording_loudly_and_nothing_else(caplog):
    disk = Disk(1, full)
    made = Recorder(disk)
    tape = made.opened()
    for _ in range(3):
        tape.inbound(bytes(1024 * 1024))
    made.close()
    assert len(disk.blocks) == 1
    assert made.status()["fault"] == "No space left on device: FILE"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "recording has stopped: No space left on device" in caplog.text
    tape.inbound(b"more")
    tape.closed("")
    assert made.status()["waiting"] == 0


def test_a_directory_that_cannot_be_made_ends_the_recording(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    made = Recorder(Rotated(tmp_path / "file" / "here", "tws", largest=1, keep=2))
    made.opened()
    made.close()
    assert str(tmp_path / "file") in made.status()["fault"]
    assert caplog.records


def test_a_disk_that_hangs_holds_up_nobody_and_takes_no_more_than_so_much_memory(monkeypatch, caplog):
    monkeypatch.setattr(writer, "MOST_WAITING", 5000)
    monkeypatch.setattr(writer, "_PATIENCE", 0.0)
    goes_on = threading.Event()
    made = Recorder(Disk(0, goes_on.wait))
    tape = made.opened()
    try:
        for _ in range(100):
            tape.inbound(bytes(100))
        assert made.status()["fault"] == "the disk is too slow: 5000 bytes wait to be written"
        assert len(caplog.records) == 1
    finally:
        goes_on.set()
        made._stop.set()
        made._thread.join()


def test_a_recorder_that_met_no_connection_can_be_closed(tmp_path):
    Recorder(OneFile(tmp_path / "r.ibrec")).close()
    assert read(tmp_path / "r.ibrec") == []


KILLED = """
import pathlib, sys, threading
from ibbridge.recording import writer
made = writer.Recorder(writer.OneFile(pathlib.Path(sys.argv[1])))
tape = made.opened()
for number in range(1000):
    tape.inbound(b"x" * number, number + 1)
while made.status()["waiting"]:
    threading.Event().wait(0.001)
print("written", flush=True)
while True:
    tape.inbound(b"y")
"""


def test_of_a_process_that_is_killed_everything_that_was_written_can_be_read(tmp_path):
    path = tmp_path / "r.ibrec"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    got = list(Reading(io.BytesIO(path.read_bytes()), "FILE"))
    assert [(each.ts, each.data) for each in got[1:1001]] == [(n + 1, b"x" * n) for n in range(1000)]


# -- the gateway


class Owner:
    """Keeps what is read, and when."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.ready = asyncio.Event()
        self.told = asyncio.Event()

    def deliver(self, messages: Iterable[Any], ts: int, *, more: bool) -> None:
        if "currentTime" in [each.name for each in messages if isinstance(each, Message)]:
            self.told.set()
        self.times.append(ts)

    def stage_changed(self) -> None:
        pass

    def connection_ready(self) -> None:
        self.ready.set()

    def connection_lost(self) -> None:
        pass


async def connected(made: Recorder | None) -> Owner:
    """Connect to a simulator, wait until the connection is ready, and close it."""
    owner, clock = Owner(), SystemClock()
    port = SendPort(SendQueue(), lambda: True, clock)
    async with Simulator(start=EPOCH) as simulator:
        tws = loader.load(overrides=[f"tws.port={simulator.port}", "tws.client_id=7"]).tws
        supervisor = Supervisor(tws, Session(0.0), random.random)
        gateway = TwsConnector(supervisor, port, TcpTransports(tws, made, (), clock), owner, clock)
        running = asyncio.create_task(gateway.run())
        await owner.ready.wait()
        assert port.dialect is not None
        assert port.send(OutboundMessage(REQUESTS["reqCurrentTime"], port.dialect.write("reqCurrentTime", {})))
        await owner.told.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    return owner


def test_the_gateway_records_all_bytes_from_the_greeting_to_the_end_with_the_times_of_its_messages(tmp_path):
    with contextlib.closing(Recorder(OneFile(tmp_path / "r.ibrec"))) as made:
        owner = asyncio.run(connected(made))
    opened, *between, closed = read(tmp_path / "r.ibrec")
    assert opened.about.items() >= {"host": "127.0.0.1", "clientId": 7}.items()
    assert closed.kind is RecordKind.CLOSED
    assert {each.connection for each in (opened, *between, closed)} == {opened.connection}
    acceptor = Acceptor()
    asked = list(acceptor.receive_data(b"".join(r.data for r in between if r.kind is RecordKind.OUTBOUND)))
    assert [each.name for each in asked if isinstance(each, Message)] == ["startApi", "reqCurrentTime"]
    assert [record.ts for record in between if record.kind is RecordKind.INBOUND] == owner.times


def test_what_the_configuration_wants_is_recorded_under_a_name_that_says_of_what(tmp_path):
    assert writer.configured(model.Config().record, model.Config().tws) is None
    given = loader.load(overrides=[f"record.directory={tmp_path}", "tws.client_id=7"])
    made = writer.configured(given.record, given.tws)
    assert made is not None
    made.opened()
    made.close()
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("tws-127.0.0.1-4002-7-")
