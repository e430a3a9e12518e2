"""Floods and the audit: what is counted, and that no flood fills the disk or displaces what matters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.security.identity import Identity
from ibbridge.storage import audit_file
from ibbridge.storage.audit_log import AuditLog
from tests.support.outside import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Audited:
    """An audit in a directory, on a clock that is set."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.log = AuditLog(directory, self.clock, patience=60)
        self.log.open()

    def command(self, cmd: str, client: str = "a", code: str = "", **facts: Any) -> None:
        outcome = {"ok": False, "code": code} if code else {"ok": True}
        self.log.record("command", cmd=cmd, client=client, **{"identity": Identity(role="trader"), **outcome, **facts})

    def seconds(self, count: int, each: Callable[[int], object] = lambda _: None) -> None:
        for number in range(count):
            each(number)
            self.clock.pass_time(1.0)
            self.log.tick()

    def written(self, kind: str = "") -> list[dict[str, Any]]:
        self.log.flush_all()
        lines = [line for path in audit_file.files(self.directory) for line in path.read_bytes().splitlines()]
        records = [json.loads(line) for line in lines]
        return [each for each in records if not kind or each["kind"] == kind]

    def size(self) -> int:
        self.log.flush_all()
        return sum(path.stat().st_size for path in audit_file.files(self.directory))


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[Audited]:
    made = Audited(tmp_path)
    yield made
    made.log.close()


@pytest.mark.parametrize("cmd", ["ping", "status", "snapshot", "replay", "alive", "orders"])
def test_questions_are_counted_by_client_and_second(audited: Audited, cmd: str) -> None:
    for _ in range(50):
        audited.command(cmd, "a")
    audited.command(cmd, "b")
    audited.seconds(2)
    assert not audited.written("command")
    counts = {each["client"]: each for each in audited.written("count")}
    assert {name: each["number"] for name, each in counts.items()} == {"a": 50, "b": 1}
    assert counts["a"]["cmd"] == cmd
    assert counts["a"]["codes"] == {"ok": 50}


def test_no_event_is_left_out_of_the_counts(audited: Audited) -> None:
    def ten(_: int) -> None:
        for _ in range(10):
            audited.command("ping")

    audited.seconds(300, ten)
    audited.log.close()
    assert sum(each["number"] for each in audited.written("count")) == 3_000
    assert len(audited.written("count")) < 15


def test_the_first_refusal_is_written_and_identical_ones_are_counted(audited: Audited) -> None:
    for number in range(1_000):
        audited.command("placeOrder", code="E_PERM", key="k", id=number)
    audited.seconds(2)
    assert len(audited.written("command")) == 1
    assert [each["number"] for each in audited.written("count")] == [999]


def test_orders_are_written_whole_however_many(audited: Audited) -> None:
    for number in range(10_000):
        audited.command("placeOrder", id=number, key=f"k{number}")
        audited.log.record("sent", keys=[f"k{number}"])
    assert len(audited.written("command")) == len(audited.written("sent")) == 10_000


def test_acts_of_operators_are_named_as_such(audited: Audited) -> None:
    audited.command("halt", args={"reason": "x"})
    (told,) = audited.written("operator")
    assert (told["act"], told["client"], told["args"]) == ("halt", "a", {"reason": "x"})
    assert "cmd" not in told


def flood_of_one_client(audited: Audited, second: int) -> None:
    for number in range(500):
        audited.command("placeOrder", code="E_ARG", key=f"k{second}-{number}", fault=f"fault {second} {number}")


def flood_of_long_arguments(audited: Audited, second: int) -> None:
    for number in range(100):
        args = {"text": "x" * 60_000, "number": number}
        audited.command("placeOrder", code="E_ARG", key=f"k{second}-{number}", args=args)


def flood_of_names(audited: Audited, second: int) -> None:
    for number in range(500):
        audited.command(f"cmd{number}", f"client{second}-{number}", code="E_PROTO", fault=f"{second} {number}")


def flood_of_questions(audited: Audited, second: int) -> None:
    for number in range(500):
        audited.command("ping", f"client{second}-{number}")


def flood_of_origins(audited: Audited, second: int) -> None:
    for number in range(500):
        identity = Identity(endpoint="tcp://0.0.0.0:1", address=f"10.{second % 250}.{number % 250}.{number}")
        audited.log.record("connection", act="refused", identity=identity, fault=f"{second} {number}")


def flood_of_requests(audited: Audited, second: int) -> None:
    for number in range(100):
        audited.command("reqMktData", id=f"{second}-{number}", args={"contract": {"symbol": f"S{number}"}})


FLOODS = [
    flood_of_one_client,
    flood_of_long_arguments,
    flood_of_names,
    flood_of_questions,
    flood_of_origins,
    flood_of_requests,
]


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_fills_no_disk_and_displaces_no_evidence(
    audited: Audited, flood: Callable[[Audited, int], None]
) -> None:
    audited.seconds(60, lambda second: flood(audited, second))
    first = audited.size()
    audited.seconds(240, lambda second: flood(audited, second))
    assert first < 3_000_000
    assert audited.size() - first < 240 * 3_000, "at most 260 MB a day"
    audited.command("placeOrder", "honest", id=1, key="k")
    audited.log.record("sent", keys=["k"])
    assert [each["client"] for each in audited.written("command") if each.get("key") == "k"] == ["honest"]
    assert audited.written("sent")[-1]["keys"] == ["k"]


@pytest.mark.parametrize("flood", FLOODS)
def test_every_event_of_a_flood_is_in_a_record_or_a_count(
    audited: Audited, flood: Callable[[Audited, int], None]
) -> None:
    audited.seconds(20, lambda second: flood(audited, second))
    audited.log.close()
    whole = len(audited.written("command")) + len(audited.written("connection"))
    counted = sum(each["number"] for each in audited.written("count"))
    assert whole + counted == 20 * (100 if flood in (flood_of_requests, flood_of_long_arguments) else 500)


def test_a_flood_leaves_no_memory_behind(audited: Audited) -> None:
    audited.seconds(30, lambda second: flood_of_names(audited, second))
    audited.seconds(200)
    counts = audited.log._counts
    assert len(counts) == len(counts._origins) == len(counts._seen) == 0
