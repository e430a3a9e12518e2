"""The opening of a store: locks, unfit and missing files, full disks at the start, and the epoch."""

from __future__ import annotations

import errno
import fcntl
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ibbridge.storage.event_store import LATEST, EventStore
from ibbridge.storage.faults import StoreError
from ibbridge.storage.keys import Found, Key
from tests.support.store_faults import UNFIT
from tests.support.stores import ME, YOU, a_key, assert_useless, opened, read, reopened, row, rows, wal

if TYPE_CHECKING:
    from pathlib import Path

# -- who may have it


def test_a_second_one_is_told_who_has_it(store: EventStore, directory: Path) -> None:
    with pytest.raises(StoreError, match=r"another ibbridge has this store .*events\.db\.lock.*; stop that one"):
        opened(directory)
    assert store.append(rows(1, 1))
    store.close()
    opened(directory).close()


def test_a_second_one_is_told_so_though_somebody_removed_the_lock(store: EventStore, directory: Path) -> None:
    (directory / "events.db.lock").unlink()
    with pytest.raises(StoreError, match=r"another ibbridge has this store .*; stop that one"):
        opened(directory)
    store.close()
    opened(directory).close()


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/store: cannot make .*Not a directory"):
        opened(tmp_path / "file" / "store")


def test_before_it_is_open_and_when_it_is_closed_nothing_is_written_or_found(directory: Path) -> None:
    store = EventStore(directory, days=7, patience=60)
    for each in range(2):
        assert not store.append(rows(each * 2 + 1, each * 2 + 2))
        assert not store.put("key", b"value")
        assert store.get("key") is None
        assert read(store) == []
        assert store.state() == []
        assert store.first(ME) == each * 2 + 3
        store.tick(0)
        store.forget(b"topic", None)
        if not each:
            store.open(1)
        store.close()
        store.close()


# -- what cannot be opened


@pytest.mark.parametrize("unfit", UNFIT)
def test_an_unfit_file_is_said_and_left_as_it_is(directory: Path, unfit: str) -> None:
    with closing(opened(directory)) as store:
        store.remember(Key(b"a", b"1", open=True))
        store.remember(Key(b"b", b"2", open=True))
        assert store.put("halt", b"value")
        assert store.append([*rows(1, 100, body=b"body" * 30), row(1, YOU, identity=b"x")])
    spoil, said = UNFIT[unfit]
    spoil(directory / "events.db")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with closing(opened(directory, epoch=36**4)) as store:
        assert_useless(store, said=rf"^{directory}/events\.db: .*{said}.*, then restart ibbridge$")
        assert store.name == "e-10000"
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_a_file_that_cannot_be_written_is_said(directory: Path) -> None:
    (directory / "events.db").mkdir(parents=True)
    with closing(opened(directory)) as store:
        assert_useless(store, said=r"events\.db: Is a directory; .*the right to write there, then restart ibbridge$")


def test_a_lock_that_cannot_be_had_for_another_reason_is_said(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network's file system may have none. Nobody is kept out then, so nothing is touched."""

    def none(_file: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with closing(opened(directory)) as store:
        assert_useless(store, said="No locks available; .*, then restart ibbridge$")
    assert [path.name for path in directory.iterdir()] == ["events.db.lock"]


def test_a_file_that_can_be_read_and_not_written_goes_on_by_itself(store: EventStore, directory: Path) -> None:
    """Its name and its numbers are known, so it is as if it had been found out later."""
    assert store.append(rows(1, 3))
    store.close()
    with closing(EventStore(directory, days=7, patience=60)) as later:
        with closing(sqlite3.connect(directory / "events.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            later.open(2)
            assert "database is locked; end the other program" in later.fault
            assert (later.name, later.last()) == (store.name, {ME: 3})
            assert not later.append(rows(4, 5))
            assert read(later) == [1, 2, 3, 4, 5]
        later.tick(0)
        assert later.fault == ""
        assert read(later) == [1, 2, 3, 4, 5]


def test_a_creation_that_was_interrupted_is_done_again(directory: Path) -> None:
    directory.mkdir()
    with closing(sqlite3.connect(directory / "events.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")
    with closing(opened(directory)) as store:
        assert store.append(rows(1, 3))


def test_a_file_that_somebody_took_out_of_its_mode_is_put_back(store: EventStore, directory: Path) -> None:
    assert store.append(rows(1, 3))
    store.close()
    with closing(sqlite3.connect(directory / "events.db")) as db:
        assert db.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    with closing(opened(directory)) as again:
        assert again.append(rows(4, 4))
        again.tick(0)
        assert (again.fault, read(again)) == ("", [1, 2, 3, 4])
        assert wal(directory) > 0


# -- a file that was there and is empty


def test_a_store_that_was_there_and_is_empty_is_a_fault(store: EventStore, directory: Path) -> None:
    assert store.append(rows(1, 3))
    store.close()
    (directory / "events.db").write_bytes(b"")
    with closing(opened(directory)) as again:
        assert_useless(again, said=f"it is empty, and was the store {store.name}: the keys of orders and all messages")
        assert (directory / "events.db").read_bytes() == b""


@pytest.mark.parametrize("how", ["emptied by SQLite", "of blanks"])
def test_a_store_whose_tables_are_gone_is_a_fault(store: EventStore, directory: Path, how: str) -> None:
    store.close()
    (directory / "events.db").unlink()
    if how == "of blanks":
        (directory / "events.db").write_bytes(bytes(40960))
    else:
        with closing(sqlite3.connect(directory / "events.db")) as db:
            db.execute("VACUUM")
    with closing(opened(directory)) as again:
        assert again.fault


def test_a_store_that_somebody_moved_away_begins_anew_and_says_so(store: EventStore, directory: Path) -> None:
    assert store.append(rows(1, 3))
    store.close()
    (directory / "events.db").rename(directory / "moved.db")
    with closing(opened(directory)) as again:
        assert (again.fault, again.last(), again.before) == ("", {}, store.name)
        assert again.name != store.name
        with closing(reopened(again)) as third:
            assert (third.name, third.before) == (again.name, "")


# -- a disk that is full at the start

FULL_AT_START = """
import pathlib, resource, sys
from ibbridge.storage.keys import Found, Key
from ibbridge.storage.event_store import EventStore
from ibbridge.streams.history import Row
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
store = EventStore(pathlib.Path(sys.argv[1]), days=7, patience=60)
store.open(5000)
name, last = store.name, store.last().get(b"ord.me.", 0)
assert "it is tried again by itself" in store.fault, store.fault
store.remember(Key(b"new", b"1", True))
assert not store.append([Row(b"ord.me.", last + 1, 1, b"ord.me.orderStatus.", b"body %d" % (last + 1), None)])
assert store.read(b"ord.me.", 1, 9, 9, 999)[-1][0] == last + 1
store.tick(0)
assert store.fault and store.uncommitted == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
store.tick(0), store.tick(0)
assert (store.fault, store.uncommitted, store.name) == ("", 0, name), store.fault
store.close()
print(name)
"""


@pytest.mark.parametrize(
    ("there", "room"), [(False, 0), (False, 4096), (False, 20_000), (False, 40_000), (True, 0), (True, 4096)]
)
def test_a_disk_that_is_full_at_the_start_needs_no_restart(directory: Path, room: int, *, there: bool) -> None:
    """The kernel refuses to let any file grow beyond so much, the memory that processes share among them."""
    name, expected = "", [1]
    if there:
        with closing(opened(directory)) as store:
            store.remember(a_key(b"old"))
            assert store.append(rows(1, 3))
            name, expected = store.name, [1, 2, 3, 4]
    run = subprocess.run(
        [sys.executable, "-c", FULL_AT_START, directory, str(room)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    with closing(opened(directory)) as store:
        assert read(store) == expected
        assert store.name == run.stdout.strip() == (name or store.name)
        assert (store.key(b"new"), store.key(b"old")) == (b"1", b"1" if there else None)
        assert store._contents.about.epoch == 5001


def test_a_store_that_could_not_be_read_at_the_start_is_not_mixed_with_what_came_since(directory: Path) -> None:
    with closing(opened(directory)) as store:
        assert store.append(rows(1, 3))
    with closing(EventStore(directory, days=7, patience=60)) as later:
        later._again = lambda _: Found([], {}, 0)
        later._contents.about = later._contents.about._replace(name="e-1")
        assert not later.append(rows(1, 1))
        later.tick(0)
        assert later.fault.endswith("and has other numbers than those in use, then restart ibbridge")
    with closing(opened(directory)) as store:
        assert read(store) == [1, 2, 3]


def test_a_store_that_another_has_taken_meanwhile_is_said(directory: Path) -> None:
    with closing(EventStore(directory, days=7, patience=60)) as later, closing(opened(directory)):
        later._again = lambda _: Found([], {}, 0)
        later.tick(0)
        assert "another ibbridge has this store" in later.fault
        assert later.fault.endswith(", then restart ibbridge")
        later.tick(0)
        assert not later.append(rows(1, 1))


# -- epochs


@pytest.mark.parametrize(
    ("clocks", "epochs"),
    [
        ((1000, 2000, 3000), [1000, 2000, 3000]),
        ((1000, 1000, 1000), [1000, 1001, 1002]),
        ((1000, 5, 1002), [1000, 1001, 1002]),
        ((1000, 0, 5000, 1), [1000, 1001, 5000, 5001]),
        ((2**62, 1000, 2**62), [LATEST, LATEST + 1, LATEST + 2]),
    ],
)
def test_an_epoch_is_the_clock_or_higher_than_the_last(
    directory: Path, clocks: tuple[int, ...], epochs: list[int]
) -> None:
    found = []
    for clock in clocks:
        with closing(EventStore(directory, days=7, patience=60)) as store:
            found.append(store.open(clock))
    assert found == epochs


def test_an_epoch_that_could_not_be_written_is_written_with_the_first_message(
    store: EventStore, directory: Path
) -> None:
    store.close()
    with closing(EventStore(directory, days=7, patience=60)) as later:
        with closing(sqlite3.connect(directory / "events.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert later.open(7000) == 7000
        assert later.append(rows(1, 1))
        with closing(EventStore(directory, days=7, patience=60)) as third:
            later.close()
            assert third.open(1) == 7001


def test_without_a_store_that_can_be_read_the_epoch_is_the_clock(directory: Path) -> None:
    directory.mkdir()
    (directory / "events.db").write_bytes(b"no database " * 100)
    for clock in (7000, 3):
        with closing(EventStore(directory, days=7, patience=60)) as store:
            assert store.open(clock) == clock
