"""The copying of the write-ahead log into the file."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from ibbridge.storage.write_ahead_log import TIDY, WAL
from tests.support.store_faults import read_by_others
from tests.support.stores import DAY, ME, connection, in_file_alone, row, rows, tend_later, wal

if TYPE_CHECKING:
    from pathlib import Path

    from ibbridge.storage.event_store import EventStore


def test_the_log_does_not_grow_without_bound(store: EventStore, directory: Path) -> None:
    """Also while nobody tends the store."""
    sizes = []
    for seq in range(1, 2001):
        assert store.append([row(seq, body=b"body" + bytes(1000))])
        sizes.append(wal(directory))
    assert max(sizes) < WAL + 50_000
    assert in_file_alone(directory) > 1000


def test_the_log_is_copied_between_what_is_written_if_there_is_much_of_it(store: EventStore, directory: Path) -> None:
    seq = 1
    while wal(directory) < TIDY:
        assert store.append([row(seq, body=b"body" + bytes(1000))])
        store.tick(0)
        seq += 1
    assert in_file_alone(directory) == seq - 1
    assert store.append(rows(seq, seq))
    assert wal(directory) < 50_000


def test_the_log_is_copied_when_nothing_else_is_to_be_done(store: EventStore, directory: Path) -> None:
    assert store.append(rows(1, 3))
    store.tick(0)
    assert in_file_alone(directory) == 0
    store.tick(0)
    assert in_file_alone(directory) == 3
    size = wal(directory)
    assert store.append(rows(4, 4))
    assert wal(directory) < size


def test_a_reader_is_in_nobodys_way(store: EventStore, directory: Path) -> None:
    body = b"body" + bytes(1000)
    assert store.append(rows(1, 10))
    with read_by_others(store):
        for seq in range(11, 2011):
            assert store.append([row(seq, body=body)])
        assert store.last() == {ME: 2010}
        tend_later(store, 8 * DAY)
        store.tick(0)
        store.tick(0)
        assert store.fault == ""
        assert wal(directory) > 2 * WAL
    store.tick(0)
    store.tick(0)
    assert store.append(rows(2011, 2011))
    assert wal(directory) < WAL
    assert store.append(rows(2012, 4000, body=body))
    assert store.append(rows(4001, 4001))
    assert wal(directory) < WAL


def test_a_log_that_cannot_be_copied_is_a_fault_until_it_can(store: EventStore) -> None:
    """Or it would grow until the disk is full. What is committed is safe meanwhile."""
    real, broken = connection(store), Uncopied()
    broken.db = real
    assert store.append(rows(1, 3))
    store._disk._db = broken  # type: ignore[assignment]
    store.tick(0)
    store.tick(0)
    assert "events.db: disk I/O error; see what the system log says of its disk, it is tried again" in store.fault
    assert store.append(rows(4, 4))
    assert store.fault
    store._disk._db = real
    store.tick(0)
    store.tick(0)
    assert store.fault == ""


class Uncopied:
    """A connection whose checkpoints fail, as they do with a bad sector under the file."""

    db: sqlite3.Connection

    def execute(self, statement: str, *given: Any) -> sqlite3.Cursor:
        if "wal_checkpoint" in statement:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
            raise error
        return self.db.execute(statement, *given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)
