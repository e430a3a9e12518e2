"""The backup of a store through real files: it is whole or not there, and the store goes on meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ibbridge.storage import backup
from ibbridge.storage.backup import BackupError, back_up
from ibbridge.storage.journal_schema import SKIPPED
from tests.support.stores import a_key, opened, read, row, rows
from tests.unit.storage.test_order_store import CLIENT_ID, ORDER, begun, record, said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibbridge.storage.event_store import EventStore
    from ibbridge.storage.order_store import OrderStore

NOW = 1_767_225_600_000_000  # 2026-01-01


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def events(place: Path) -> Iterator[EventStore]:
    with closing(opened(place)) as events:
        assert events.append(rows(1, 3))
        events.remember(a_key(b"k"))
        assert events.append(rows(4, 5))
        yield events


@pytest.fixture
def orders(events: EventStore, place: Path) -> Iterator[OrderStore]:
    with closing(begun(place)) as orders:
        assert orders.reserve(1000)
        assert orders.commit([record("a"), record("b", opened=False)])
        yield orders


@pytest.fixture
def stopped(place: Path, events: EventStore, orders: OrderStore) -> Path:
    orders.close()
    events.close()
    return place


def fault_of(store: Path, target: Path) -> str:
    """Fail to make a backup, which leaves nothing. Return what is said."""
    before = {*target.parent.iterdir()} if target.parent.is_dir() else set()
    with pytest.raises(BackupError) as raised:
        back_up(store, target, NOW)
    assert {*target.parent.iterdir()} == before if target.parent.is_dir() else not before
    return str(raised.value)


def check(target: Path, names: set[bytes], last: int) -> None:
    """Open a backup as a daemon does. It has everything that the store had, under other names, and is in doubt."""
    with closing(opened(target)) as events, closing(begun(target)) as orders:
        assert events.fault == orders.fault == ""
        assert read(events) == [*range(1, last + 1)]
        assert events.key(b"k") == b"1"
        assert "restored from a copy of 2026-01-01 00:00:00 UTC" in orders.doubt
        assert orders.reserved == 1000 + SKIPPED
        assert {each.name for each in orders.scan(ORDER, b"", b"", 10**6) or ()} == names


def test_a_store_in_use_is_copied_and_goes_on(
    place: Path, target: Path, events: EventStore, orders: OrderStore
) -> None:
    sizes = back_up(place, target, NOW)
    assert sizes == {path.name: path.stat().st_size for path in target.iterdir()}
    assert sizes.keys() == {"events.db", "orders.db"}
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()} == {0o600}
    assert (events.append(rows(6, 6)), orders.commit([record("c")])) == (True, True)
    events.tick(0)
    orders.tick()
    assert (events.fault, orders.fault, orders.doubt) == ("", "", "")
    check(target, {b"a", b"b"}, 5)
    with closing(sqlite3.connect(target / "events.db")) as copy:
        assert copy.execute("SELECT name FROM about").fetchone() != (events.name,)


def test_the_copy_is_of_one_moment_however_much_is_written_meanwhile(
    place: Path, target: Path, events: EventStore, orders: OrderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PAGES", 1)
    parts = 0

    def progress() -> None:
        nonlocal parts
        parts += 1
        assert orders.commit([record(f"c{parts}")])
        assert orders.commit([record("a", b"changed")])
        assert events.append([row(5 + parts, body=b"body %d" % (5 + parts) + bytes(5000))])
        events.tick(0)
        orders.tick()

    back_up(place, target, NOW, progress)
    assert parts > 10
    assert orders.metrics()["records"] == 2 + parts
    check(target, {b"a", b"b"}, 5)
    with closing(begun(target)) as copy:
        assert copy.find(ORDER, b"a") == record("a")


def test_a_store_that_nobody_uses_is_copied_and_can_be_used_afterwards(stopped: Path, target: Path) -> None:
    back_up(stopped, target, NOW)
    check(target, {b"a", b"b"}, 5)
    with closing(opened(stopped)) as events, closing(begun(stopped)) as orders:
        assert (events.fault, orders.fault, orders.doubt) == ("", "", "")
    assert {stat.S_IMODE(path.stat().st_mode) for path in stopped.iterdir()} == {0o600}


def test_what_a_killed_process_has_committed_is_copied(
    place: Path, target: Path, tmp_path: Path, events: EventStore, orders: OrderStore
) -> None:
    assert orders.commit([record("last")])
    killed = tmp_path / "killed"
    shutil.copytree(place, killed, ignore=shutil.ignore_patterns("*-shm"))
    assert (killed / "orders.db-wal").stat().st_size
    back_up(killed, target, NOW)
    check(target, {b"a", b"b", b"last"}, 5)


def test_a_backup_of_a_copy_is_as_old_as_the_copy(stopped: Path, target: Path, tmp_path: Path) -> None:
    back_up(stopped, target, NOW)
    back_up(target, tmp_path / "second", NOW + 86_400_000_000)
    with closing(begun(tmp_path / "second")) as orders:
        assert "2026-01-01 00:00:00" in orders.doubt


def test_nothing_is_overwritten(stopped: Path, target: Path) -> None:
    back_up(stopped, target, NOW)
    before = {path: path.read_bytes() for path in target.iterdir()}
    assert fault_of(stopped, target).startswith(f"{target}: there is something already; name a new directory")
    assert {path: path.read_bytes() for path in target.iterdir()} == before
    file = target.parent / "file"
    file.write_bytes(b"theirs")
    assert "there is something already" in fault_of(stopped, file)


def test_an_empty_directory_is_taken(stopped: Path, target: Path) -> None:
    target.mkdir(mode=0o755)
    back_up(stopped, target, NOW)
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    check(target, {b"a", b"b"}, 5)


def test_a_place_that_is_not_there_is_named(stopped: Path, target: Path) -> None:
    fault = fault_of(stopped, target / "deep")
    assert fault.startswith(f"{target}/deep: the backup cannot be written: No such file or directory; name a new")


@pytest.mark.skipif(not os.getuid(), reason="root may write everywhere")
def test_a_place_that_may_not_be_written_is_named(stopped: Path, target: Path) -> None:
    target.mkdir(mode=0o500)
    assert "Permission denied" in fault_of(stopped, target / "deep")


@pytest.mark.parametrize("name", ["orders.db", "events.db"])
def test_a_file_that_is_missing_is_named(stopped: Path, target: Path, name: str) -> None:
    (stopped / name).unlink()
    assert fault_of(stopped, target).startswith(f"{stopped}/{name}: there is no such file to be backed up; -c and")
    assert not (stopped / name).exists()


DAMAGE: dict[str, tuple[str, str, str]] = {
    "a record": ("orders.db", "UPDATE record SET value = x'00' WHERE name = x'62'", "a record is unreadable: b'b'"),
    "a record less": ("orders.db", "DELETE FROM record WHERE name = x'62'", "of 2 records there are 1"),
    "a key": ("events.db", "UPDATE key SET value = x'00'", "an order's key is unreadable: b'k'"),
    "another program's": ("orders.db", "PRAGMA application_id=7", "it is no file of ibbridge's"),
    "a newer schema": ("events.db", "PRAGMA user_version=9", r"it was made by another ibbridge (schema 9; this one"),
    "no table": ("events.db", "DROP TABLE key", "no such table: key"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_store_is_no_backup(stopped: Path, target: Path, damage: str) -> None:
    name, statement, expected = DAMAGE[damage]
    said(statement)(stopped / name)
    fault = fault_of(stopped, target)
    assert fault.startswith(f"{stopped}/{name}: it cannot be backed up: {expected}")
    assert "; keep the last backup, and see docs/operations.md" in fault


def test_a_file_that_is_no_database_is_no_backup(stopped: Path, target: Path) -> None:
    (stopped / "events.db").write_bytes(b"a shopping list " * 500)
    assert "events.db: it cannot be backed up: file is not a database; keep" in fault_of(stopped, target)


def test_a_file_that_the_daemon_has_for_itself_is_named(
    stopped: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "BUSY", 0.0)
    with closing(sqlite3.connect(stopped / "events.db", isolation_level=None)) as alone:
        alone.execute("PRAGMA locking_mode=EXCLUSIVE")
        alone.execute("BEGIN IMMEDIATE")
        assert "database is locked; the daemon has it for itself" in fault_of(stopped, target)


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_full_disk_leaves_nothing(stopped: Path, target: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    assert f"{target}: the backup cannot be written: No space left on device; name" in fault_of(stopped, target)


@pytest.mark.parametrize("parts", [1, 2, 5, 10])
def test_an_interrupted_backup_leaves_nothing(
    stopped: Path, target: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    monkeypatch.setattr(backup, "PAGES", 1)
    left = parts

    def interrupt() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(stopped, target, NOW, interrupt)
    assert [*target.parent.iterdir()] == [stopped]


def test_the_name_comes_after_everything_is_on_the_disk(
    stopped: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory's names are synchronised last before the new name, and those of its parent after it."""
    real: Callable[[int], None] = os.fsync
    synced: list[tuple[Path, bool]] = []

    def fsync(file: int) -> None:
        synced.append((Path(f"/proc/self/fd/{file}").readlink(), target.exists()))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    back_up(stopped, target, NOW)
    (orders, before), (events, _), (directory, still), (parent, after) = synced
    assert (orders.name, events.name, events.parent, parent) == ("orders.db", "events.db", directory, target.parent)
    assert (before, still, after) == (False, False, True)


def test_the_client_id_is_that_of_the_store(stopped: Path, target: Path) -> None:
    back_up(stopped, target, NOW)
    with closing(begun(target, CLIENT_ID + 1)) as orders:
        assert "it has the orders of client id 7, and tws.client_id is 8" in orders.fault
