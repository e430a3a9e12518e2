"""The sentences of the store's faults: whether a retry helps, what to do, and which faults spoil the store."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from ibbridge.storage.commit_times import CommitTimes
from ibbridge.storage.faults import Faults, StoreError
from ibbridge.storage.schema import Damage

PATH = Path("/store/events.db")


def error(code: int) -> sqlite3.Error:
    made = sqlite3.OperationalError("so it is")
    made.sqlite_errorcode = code
    return made


@pytest.mark.parametrize(
    ("code", "retried", "said"),
    [
        (sqlite3.SQLITE_FULL, True, "free some space on its disk, it is tried again by itself"),
        (sqlite3.SQLITE_FULL, False, "free some space on its disk, then restart ibbridge"),
        (sqlite3.SQLITE_IOERR_WRITE, True, "see what the system log says of its disk, it is tried again by itself"),
        (sqlite3.SQLITE_NOTADB, True, "move it away with its -wal and -shm, then restart ibbridge"),
        (sqlite3.SQLITE_NOMEM, True, "see what the system log says, it is tried again by itself"),
    ],
)
def test_an_error_says_where_it_is_what_to_do_and_whether_a_restart_is_needed(
    code: int, said: str, *, retried: bool
) -> None:
    faults = Faults(PATH)
    faults.failed(error(code), retried=retried)
    assert faults.failing
    assert faults.unwritten == f"/store/events.db: so it is; {said}"


def test_a_fault_passes_and_damage_does_not() -> None:
    faults = Faults(PATH)
    faults.stalled(0.5)
    faults.recovered()
    assert (faults.unwritten, faults.failing, faults.spoilt) == ("", False, False)
    faults.failed(Damage("a message is unreadable"))
    faults.recovered()
    assert faults.unwritten.endswith("then restart ibbridge")
    assert (faults.failing, faults.spoilt) == (True, True)


def test_a_log_that_cannot_be_copied_prevents_no_writing_unless_the_file_is_damaged() -> None:
    faults = Faults(PATH)
    faults.failed(error(sqlite3.SQLITE_IOERR), copying=True)
    assert (faults.failing, faults.unwritten) == (False, "")
    assert "it is tried again by itself" in faults.uncopied
    faults.failed(error(sqlite3.SQLITE_CORRUPT), copying=True)
    assert faults.failing
    assert faults.spoilt


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "by itself"), (errno.EACCES, "restart ibbridge")])
def test_a_directory_without_access_is_a_fault_that_may_pass(number: int, said: str) -> None:
    faults = Faults(PATH)
    faults.no_access(OSError(number, "no", "/store"))
    assert faults.unwritten.startswith("/store: no; give the user that runs ibbridge a disk with room")
    assert faults.unwritten.endswith(said)
    faults.no_access(OSError(number, "no", "/store"), retried=False)
    assert faults.unwritten.endswith("restart ibbridge")
    faults.refused(StoreError("another has it"))
    assert faults.unwritten == "another has it, then restart ibbridge"


def test_the_times_of_commits_are_told_once_and_their_percentiles_are_of_the_latest() -> None:
    times = CommitTimes()
    assert (times.slowest(), times.metrics()["commitP99Ms"]) == (0.0, 0.0)
    for ms in range(1, 101):
        times.committed(ms / 1000)
    times.attempted(3.0)
    assert (times.slowest(), times.slowest()) == (3.0, 0.0)
    first, second = times.metrics(), times.metrics()
    assert (first["commits"], round(first["commitP50Ms"]), round(first["commitP99Ms"])) == (100, 51, 100)
    assert (round(first["longestCommitMs"]), second["longestCommitMs"]) == (100, 0.0)
