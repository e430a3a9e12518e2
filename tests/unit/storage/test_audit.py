"""The audit: its chain, its files, what a kill or a fault leaves, and what the check says of every change of them."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import stat
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.security.audit import Head
from ibbridge.security.audit_chain import digest, parsed
from ibbridge.storage import audit_file, audit_log
from ibbridge.storage.audit_check import checked
from ibbridge.storage.audit_file import AuditFile
from ibbridge.storage.audit_log import AuditLog
from tests.support.outside import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FEW, MANY = (1_500, 5), (1_500, 100)
"""Files of a few records, of which so many are kept."""


def opened(directory: Path, clock: ManualClock | None = None, sizes: tuple[int, int] = audit_log.SIZES) -> AuditLog:
    log = AuditLog(directory, clock or ManualClock(), sizes=sizes, patience=60)
    log.open()
    return log


def ticked(log: AuditLog) -> None:
    """Have the periodic work done, and that which follows from its end."""
    for _ in range(3):
        log.tick()
        if (job := log._writer._job) is not None and log._writer._thread is not None:
            log._writer._thread.wait(job, 60)
    log.tick()


def written(directory: Path, count: int = 30, sizes: tuple[int, int] = audit_log.SIZES) -> Head:
    """Write some records in two processes, and return the head."""
    head = Head()
    for part in range(2):
        log = opened(directory, sizes=sizes)
        for number in range(count // 2):
            log.record("sent", request="placeOrder", order=part * count + number, bytes=b"x" * 40)
            log.flush()
        log.record("operator", act="stop")
        log.close()
        head = log.head
    return head


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in audit_file.files(directory) for line in path.read_bytes().splitlines()]


def said(directory: Path, wanted: Head | None = None) -> list[str]:
    return [f"{each.place}: {each.what}" for each in checked(directory, wanted).breaks]


# -- as it is written


def test_each_record_names_the_one_before_over_files_and_processes(tmp_path: Path) -> None:
    head = written(tmp_path, sizes=MANY)
    lines = [line for path in audit_file.files(tmp_path) for line in path.read_bytes().splitlines()]
    assert len(audit_file.files(tmp_path)) > 2
    for before, line in itertools.pairwise(lines):
        assert json.loads(line)["prev"] == digest(before)
    assert [json.loads(line)["seq"] for line in lines] == [*range(1, len(lines) + 1)]
    assert head == Head(len(lines), digest(lines[-1]))
    found = checked(tmp_path, head)
    assert not found.breaks
    assert not found.notes
    assert found.end == "stop"


def test_lines_are_maps_with_sorted_keys_for_any_reader(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.record("sent", request="placeOrder", client="me", bytes=b"\x00\xff", nothing=None, price=float("nan"))
    log.close()
    line = audit_file.files(tmp_path)[0].read_bytes().splitlines()[-1]
    found = json.loads(line)
    assert line == json.dumps(found, sort_keys=True, separators=(",", ":")).encode()
    assert {**found, "prev": 0, "ts": 0} == {
        "kind": "sent", "seq": 2, "prev": 0, "ts": 0, "request": "placeOrder", "client": "me", "bytes": "AP8=",
        "price": "nan",
    }  # fmt: skip


def test_only_the_user_can_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    before = os.umask(0)
    try:
        written(directory)
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_the_newest_files_are_kept_and_say_which_is_the_oldest(tmp_path: Path) -> None:
    head = written(tmp_path, 200, sizes=FEW)
    assert len(audit_file.files(tmp_path)) == FEW[1]
    found = checked(tmp_path, head)
    assert not found.breaks
    assert found.first_seq > 1


def test_a_record_waits_for_no_flush_to_reach_the_kernel(tmp_path: Path) -> None:
    clock = ManualClock()
    log = opened(tmp_path, clock)
    log.record("operator", act="halt")
    clock.pass_time(0)
    assert log._writer.append()
    assert records(tmp_path)[-1]["act"] == "halt"
    log.close()


def test_a_clock_that_goes_back_breaks_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    log = opened(tmp_path, clock)
    log.record("operator", act="one")
    log.flush()
    clock.us -= 3_600_000_000
    log.record("operator", act="two")
    log.close()
    found = checked(tmp_path, log.head)
    assert not found.breaks
    assert found.set_back == 1


def test_no_secret_is_written(tmp_path: Path) -> None:
    log = opened(tmp_path)
    args = {"apiData": "hidden", "inner": [{"Password": "hidden", "key_secret": "hidden", "symbol": "AAPL"}]}
    log.record("command", cmd="verifyMessage", args=args, ok=True, token="hidden")
    log.close()
    text = audit_file.files(tmp_path)[0].read_text()
    assert "AAPL" in text
    assert "hidden" not in text.replace('"token":"hidden"', "")
    assert args["apiData"] == "hidden"


def test_a_long_fact_is_cut_and_the_bytes_of_an_order_are_not(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.record("command", cmd="x", args={"long": "a" * 1_000_000}, ok=True)
    log.record("sent", bytes=b"b" * 1_000_000)
    log.close()
    sent, command = records(tmp_path)[-2:]
    assert command["args"]["length"] > 1_000_000
    assert len(command["args"]["cut"]) == 500
    assert len(sent["bytes"]) > 1_300_000


# -- what a kill or a loss of power leaves


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_torn_end_is_noted_and_the_chain_goes_on(tmp_path_factory: Any, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("audit")
    sizes = data.draw(st.sampled_from([audit_log.SIZES, MANY]))
    for _ in range(data.draw(st.integers(1, 3))):
        written(directory, data.draw(st.integers(2, 30)), sizes)
        newest = audit_file.files(directory)[-1]
        whole = newest.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        garbage = data.draw(st.sampled_from([b"", b"\0" * 100, b"\n", b"\n\0\n{}\n", b'{"seq":1}\n', b"\xff" * 7]))
        newest.write_bytes(whole[:cut] + garbage)
    log = opened(directory, sizes=sizes)
    assert not log.fault
    log.record("operator", act="after")
    log.close()
    found = checked(directory, log.head)
    assert [str(each) for each in found.breaks] == []
    assert any(each.get("act") == "after" for each in records_that_parse(directory)[-3:])


def records_that_parse(directory: Path) -> list[dict[str, Any]]:
    lines = [line for path in audit_file.files(directory) for line in path.read_bytes().splitlines()]
    return [record for line in lines if (record := parsed(line)) is not None]


def test_torn_bytes_stay_and_are_described(tmp_path: Path) -> None:
    written(tmp_path)
    path = audit_file.files(tmp_path)[0]
    with path.open("ab") as file:
        file.write(b'{"act":"ha')
    opened(tmp_path).close()
    assert b'{"act":"ha\n{"file"' in path.read_bytes()
    found = checked(tmp_path)
    assert not found.breaks
    assert [each.what for each in found.notes] == [
        "10 bytes before it are torn, as a kill or a loss of power leaves them"
    ]


def test_the_end_of_a_large_file_is_found_without_reading_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = written(tmp_path, 200)
    for window in (100, 300, 1_000, 10_000, 10**6):
        assert audit_file.examined(audit_file.files(tmp_path)[-1], window).head == head


# -- what was changed afterwards


def change_of(draw: Callable[..., Any], lines: list[bytes]) -> list[bytes]:
    """Change lines in a way that a person could, other than at the very end."""
    changed = [*lines]
    at = draw(st.integers(0, len(lines) - 2))
    match draw(st.sampled_from(["flip", "swap", "drop", "double", "insert"])):
        case "flip":
            line = bytearray(changed[at])
            line[draw(st.integers(0, len(line) - 1))] ^= 1 << draw(st.integers(0, 7))
            changed[at] = bytes(line)
        case "swap":
            changed[at], changed[at + 1] = changed[at + 1], changed[at]
        case "drop":
            del changed[at]
        case "double":
            changed.insert(at, changed[at])
        case "insert":
            changed.insert(at, b'{"kind":"sent","prev":"%s","seq":%d,"ts":1}' % (b"0" * 64, at + 1))
    return changed


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_change_of_a_line_is_found(tmp_path_factory: Any, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("audit")
    written(directory, sizes=data.draw(st.sampled_from([audit_log.SIZES, MANY])))
    path = data.draw(st.sampled_from(audit_file.files(directory)))
    lines = path.read_bytes().splitlines()
    changed = change_of(data.draw, lines) if len(lines) > 1 else []
    path.write_bytes(b"".join(line + b"\n" for line in changed))
    assert said(directory)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_cut_end_is_found_by_the_head_that_was_noted(tmp_path_factory: Any, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("audit")
    head = written(directory, sizes=data.draw(st.sampled_from([audit_log.SIZES, MANY])))
    for path in audit_file.files(directory)[data.draw(st.integers(1, 3)) :]:
        path.unlink()
    newest = audit_file.files(directory)[-1]
    whole = newest.read_bytes()
    newest.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert said(directory, head)


def test_a_changed_last_record_is_found_by_the_head(tmp_path: Path) -> None:
    head = written(tmp_path)
    path = audit_file.files(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b'"act":"stop"', b'"act":"STOP"'))
    assert f"record {head.seq} is not the one that was noted" in said(tmp_path, head)[-1]


def test_a_chain_that_was_made_anew_is_found_by_the_head(tmp_path: Path) -> None:
    head = written(tmp_path / "a")
    log = opened(tmp_path / "b")
    for number in range(head.seq + 5):
        log.record("sent", order=number)
    log.close()
    assert not said(tmp_path / "b")
    assert "is not the one that was noted" in said(tmp_path / "b", head)[0]


@pytest.mark.parametrize(
    ("which", "what"), [(0, "missing before it"), (2, "as the next, is missing"), (-1, "as the next, is missing")]
)
def test_a_file_that_was_removed_is_found(tmp_path: Path, which: int, what: str) -> None:
    written(tmp_path, sizes=MANY)
    audit_file.files(tmp_path)[which].unlink()
    assert any(what in each for each in said(tmp_path))


def test_files_that_were_exchanged_are_found(tmp_path: Path) -> None:
    written(tmp_path, sizes=MANY)
    one, other = audit_file.files(tmp_path)[1:3]
    one_bytes, other_bytes = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_bytes)
    other.write_bytes(one_bytes)
    assert said(tmp_path)


def test_an_empty_directory_is_no_audit(tmp_path: Path) -> None:
    assert said(tmp_path) == [": there is no record"]


def test_random_bytes_are_no_audit_and_end_no_start(tmp_path: Path) -> None:
    chance = random.Random(1)
    path = tmp_path / audit_file.file_name(7)
    path.write_bytes(chance.randbytes(3_000_000))
    assert said(tmp_path)
    log = opened(tmp_path)
    assert not log.fault
    log.record("operator", act="start")
    log.close()
    assert records_that_parse(tmp_path)[-1]["act"] == "start"


# -- faults


class FailingFile:
    """Failure of the file system: `error` is raised by the next writes, after some bytes were taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error = 0
        self.room = 0
        write = AuditFile.write

        def tried(file: AuditFile, data: bytes) -> int:
            if not self.error:
                return write(file, data)
            if self.room:
                taken, self.room = self.room, 0
                return write(file, data[:taken])
            raise OSError(self.error, os.strerror(self.error))

        monkeypatch.setattr(AuditFile, "write", tried)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> FailingFile:
    return FailingFile(monkeypatch)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_is_a_fault_until_it_does(tmp_path: Path, failing: FailingFile, code: int) -> None:
    log = opened(tmp_path)
    log.flush()
    failing.error, failing.room = code, 17
    log.record("sent", order=1)
    assert not log.flush()
    assert os.strerror(code) in log.fault
    assert "make room" in log.fault
    log.record("sent", order=2)
    ticked(log)
    assert log.fault
    failing.error = 0
    ticked(log)
    assert not log.fault
    log.close()
    assert [each.get("order") for each in records(tmp_path)] == [None, 1, 2, None]
    over = records(tmp_path)[-1]
    assert (over["kind"], over["missed"]) == ("fault", 0)
    assert os.strerror(code) in over["why"]
    assert not said(tmp_path, log.head)


def test_records_beyond_the_memory_are_missed_and_counted(
    tmp_path: Path, failing: FailingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "KEPT", 1_000)
    log = opened(tmp_path)
    log.flush()
    failing.error = errno.ENOSPC
    for number in range(100):
        log.record("sent", order=number)
        log.flush()
    failing.error = 0
    log.close()
    over = records(tmp_path)[-1]
    assert over["missed"] == over["kinds"]["sent"] > 80
    assert not said(tmp_path, log.head)


def test_facts_beyond_the_memory_are_missed_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "MOST_EVENTS", 10)
    log = AuditLog(tmp_path / "file" / "audit", ManualClock())
    (tmp_path / "file").write_text("in the way")
    log.open()
    assert "Not a directory" in log.fault
    assert not log.flush()
    for number in range(25):
        log.record("sent", order=number)
    (tmp_path / "file").unlink()
    ticked(log)
    assert not log.fault
    log.close()
    found = records(tmp_path / "file" / "audit")
    assert [each["order"] for each in found if each["kind"] == "sent"] == [*range(10)]
    assert found[-1]["kinds"] == {"sent": 15}


def test_a_file_that_was_removed_is_a_fault_and_another_is_begun(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.record("sent", order=1)
    ticked(log)
    path = audit_file.files(tmp_path)[0]
    path.unlink()
    log.tick()
    assert "was removed or replaced" in log.fault
    ticked(log)
    assert not log.fault
    log.record("sent", order=2)
    log.close()
    assert any("records 1 to 2 are missing" in each for each in said(tmp_path)), said(tmp_path)
    assert [each["kind"] for each in records(tmp_path)] == ["file", "fault", "sent"]


def test_a_directory_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    log = opened(tmp_path / "audit")
    log.record("sent", order=1)
    ticked(log)
    (tmp_path / "audit").rename(tmp_path / "elsewhere")
    log.tick()
    assert log.fault
    ticked(log)
    assert not log.fault
    log.close()
    assert said(tmp_path / "audit")
    assert not said(tmp_path / "elsewhere")


def test_a_full_disk_while_a_file_is_full_loses_nothing(tmp_path: Path, failing: FailingFile) -> None:
    log = opened(tmp_path, sizes=MANY)
    for number in range(200):
        failing.error, failing.room = (errno.ENOSPC, number % 5) if number % 3 else (0, 0)
        log.record("sent", order=number, text="x" * 100)
        log.flush()
    failing.error = 0
    log.close()
    assert [each["order"] for each in records(tmp_path) if each["kind"] == "sent"] == [*range(200)]
    assert not said(tmp_path, log.head)


# -- the size of what is read


def test_the_check_of_a_large_audit_keeps_little_in_memory(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for number in range(600):
        log.record("sent", order=number, bytes=bytes(125_000))
        log.flush()
    log.close()
    assert audit_file.files(tmp_path)[0].stat().st_size > 95_000_000
    tracemalloc.start()
    try:
        assert not checked(tmp_path, log.head).breaks
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
