"""The log on standard error, over real pipes and terminals: whoever logs never waits for whoever reads."""

from __future__ import annotations

import contextlib
import logging
import os
import pty
import re
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from ibbridge.monitoring.log_format import LogFormatter, priority
from ibbridge.monitoring.log_writer import LogWriter

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

PATIENCE = 20.0
log = logging.getLogger("tests.logged")


@contextlib.contextmanager
def writing(file: int, **options: int) -> Iterator[LogWriter]:
    writer = LogWriter(file, **options).start()
    logging.getLogger().setLevel(logging.INFO)
    try:
        yield writer
    finally:
        writer.finish(0.1)
        writer.restore()


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reading, end = os.pipe()
    try:
        yield reading, end
    finally:
        os.close(end)
        with contextlib.suppress(OSError):
            os.close(reading)


def until(reading: int, last: bytes) -> list[str]:
    data = b""
    while last not in data:
        data += os.read(reading, 65_536)
    return data.decode().splitlines()


def all_queued(reading: int, writer: LogWriter) -> list[str]:
    """Lines, until none waits to be written."""
    os.set_blocking(reading, False)
    data = bytearray()

    def emptied() -> bool:
        with contextlib.suppress(BlockingIOError):
            data.extend(os.read(reading, 65_536))
            return False
        return not writer.queued

    come_true(emptied)
    os.set_blocking(reading, True)
    return data.decode().splitlines()


def come_true(wanted: object) -> None:
    limit = time.monotonic() + PATIENCE
    while not wanted():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_lines_are_written_in_order_and_with_their_level() -> None:
    with pipe() as (reading, end), writing(end):
        log.info("one")
        log.error("two %s", 2)
        said = until(reading, b"two 2\n")
    assert [line.split(" ", 2)[2] for line in said] == ["INFO    tests.logged: one", "ERROR   tests.logged: two 2"]


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_what_found_no_room_is_counted_and_told() -> None:
    with pipe() as (reading, end), writing(end, most=100_000) as writer:
        for number in range(20_000):
            log.warning("line %d %s", number, "x" * 40)
        come_true(lambda: writer.fault(time.monotonic()))
        dropped = writer.dropped
        assert 0 < dropped < 20_000
        assert "nobody" not in writer.fault(time.monotonic())
        assert f"{dropped:,} lines were dropped" in writer.fault(time.monotonic())
        before = all_queued(reading, writer)
        assert writer.fault(time.monotonic()) == ""
        log.warning("the end")
        said = [*before, *until(reading, b"the end\n")]
    expected = 0
    for line in said[:-1]:
        if found := re.search(r": line (\d+) x", line):
            assert int(found[1]) == expected, "in order, and what is missing is said where it is"
            expected += 1
        elif found := re.search(r": ([\d,]+) lines are missing here", line):
            expected += int(found[1].replace(",", ""))
    assert expected == 20_000
    assert writer.dropped == dropped


def test_a_terminal_that_is_stopped_holds_up_nobody() -> None:
    ours, theirs = pty.openpty()
    try:
        with writing(theirs, most=50_000) as writer:
            termios.tcflow(theirs, termios.TCOOFF)  # Ctrl-S
            for number in range(5_000):
                log.warning("line %d %s", number, "x" * 40)
            come_true(lambda: "Ctrl-Q" in writer.fault(time.monotonic()))
            termios.tcflow(theirs, termios.TCOON)
            all_queued(ours, writer)
            come_true(lambda: writer.fault(time.monotonic()) == "")
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_reader_that_is_gone_is_a_fault_and_its_lines_are_counted() -> None:
    with pipe() as (reading, end), writing(end) as writer:
        os.close(reading)
        log.warning("for nobody")
        come_true(lambda: writer.dropped == 1)
        assert "Broken pipe" in writer.fault(time.monotonic())


def test_a_disk_without_room_is_a_fault_and_when_there_is_room_again_the_log_says_what_is_missing(monkeypatch) -> None:
    with pipe() as (reading, end), writing(end) as writer:
        full = True
        send = writer._output._send

        def write(data: memoryview) -> int:
            if full:
                raise OSError(28, "No space left on device")
            return send(data)

        monkeypatch.setattr(writer._output, "_send", write)
        log.warning("lost")
        log.warning("lost too")
        come_true(lambda: writer.dropped == 2)
        assert writer.fault(time.monotonic()).startswith("standard error cannot be written: No space left on device")
        full = False
        log.warning("the end")
        said = until(reading, b"the end\n")
        assert "2 lines are missing here: No space left on device" in said[0]
        come_true(lambda: writer.fault(time.monotonic()) == "")


def test_whatever_is_printed_to_standard_error_goes_the_same_way() -> None:
    with pipe() as (reading, end), writing(end):
        print("pri", "nted", file=sys.stderr)  # noqa: T201
        try:
            raise ValueError("seen\x1b[2J")
        except ValueError:
            sys.excepthook(*sys.exc_info())
        said = until(reading, b"seen\\x1b[2J\n")
    assert said[0] == "pri nted"
    assert said[1].startswith("Traceback")


@pytest.mark.parametrize(
    ("given", "shown"),
    [("a\x1b[2Jb", "a\\x1b[2Jb"), ("one\nERROR forged", "one\\nERROR forged"), ("\u202egnp.exe", "\\u202egnp.exe")],
)
def test_what_comes_from_outside_is_shown_and_not_obeyed(given: str, shown: str) -> None:
    record = logging.makeLogRecord({"name": "n", "levelno": 10, "msg": "%s", "args": (given,)})
    assert LogFormatter(journal=True).format(record) == f"<7>n: {shown}"


@pytest.mark.parametrize(
    ("level", "number"),
    [("DEBUG", 7), ("INFO", 6), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 2)],
)
def test_the_journal_is_told_each_lines_priority(level: str, number: int) -> None:
    assert priority(getattr(logging, level)) == number


PROGRAM = """
import logging, os, sys, socket
from ibbridge.monitoring.log_writer import LogWriter
writer = LogWriter(2).start()
try:
    logging.error("bad\\nworse")
    try:
        raise KeyError("k")
    except KeyError:
        logging.exception("fell")
finally:
    writer.finish()
"""


def test_with_the_journal_behind_it_each_line_has_a_priority_and_no_time(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "log").open("w+b") as file:
        about = os.fstat(file.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}
        subprocess.run([sys.executable, "-c", PROGRAM], stderr=file, env=environment, check=True, timeout=PATIENCE)
        file.seek(0)
        said = file.read().decode().splitlines()
    assert said[0] == "<3>root: bad\\nworse"
    assert said[1] == "<3>root: fell"
    assert all(line.startswith("<3>") for line in said)


def test_without_the_journal_no_line_has_one(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "log").open("w+b") as file:
        environment = {**os.environ, "JOURNAL_STREAM": "1:1"}  # the journal is where somebody else's output goes
        subprocess.run([sys.executable, "-c", PROGRAM], stderr=file, env=environment, check=True, timeout=PATIENCE)
        file.seek(0)
        assert b"<3>" not in file.read()


UNREAD = """
import logging, sys
from ibbridge.monitoring.log_writer import LogWriter
writer = LogWriter(2).start()
for number in range(5_000):
    logging.error("line %d %s", number, "x" * 40)
try:
    raise SystemExit(7)
finally:
    writer.finish(0.2)
"""


def test_a_process_whose_log_nobody_reads_ends_all_the_same_with_its_own_exit_code() -> None:
    with pipe() as (_, end):
        assert subprocess.run([sys.executable, "-c", UNREAD], stderr=end, check=False, timeout=PATIENCE).returncode == 7


CRASHING = """
from ibbridge.monitoring.log_writer import LogWriter
import sys
writer = LogWriter(2).start()
try:
    raise RuntimeError("a bug")
finally:
    writer.finish()
"""


def test_a_bug_that_ends_the_process_is_still_seen() -> None:
    done = subprocess.run([sys.executable, "-c", CRASHING], stderr=subprocess.PIPE, check=False, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "RuntimeError: a bug"


CLOSED = """
import os
from ibbridge.monitoring.log_writer import LogWriter, occupy_standard_files
occupy_standard_files()
opened = os.open("/dev/null", os.O_RDWR)
writer = LogWriter(2).start()
writer.finish()
os._exit(opened)
"""


def test_where_standard_error_is_closed_no_other_file_takes_its_place() -> None:
    command = f"exec {sys.executable} -c '{CLOSED}' 0<&- 1>&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", command], check=False, timeout=PATIENCE)
    assert done.returncode == 3
