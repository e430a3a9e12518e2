"""The order store through real files: what is committed is there, and a file that is not right is left as it is."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import stat
import tempfile
import threading
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.storage.journal_schema import SKIPPED
from ibbridge.storage.order_store import COPIED, KEPT_LOG, OrderStore
from ibbridge.storage.records import JournalRecord, Mark
from tests.support.store_faults import hung, scribble

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

CLIENT_ID = 7
ORDER, EXECUTION = 1, 2


def record(name: str, value: bytes = b"value", *, kind: int = ORDER, opened: bool = True) -> JournalRecord:
    return JournalRecord(kind, name.encode(), value, opened)


RECORDS = [
    record("a"), record("b", b"second"), record("c", opened=False), record("a", b"execution", kind=EXECUTION),
]  # fmt: skip


def begun(directory: Path, client_id: int = CLIENT_ID, expected: Mark | None = None) -> OrderStore:
    """Open a store that has all the time that a busy disk needs."""
    store = OrderStore(directory, patience=60)
    store.open(client_id, expected)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OrderStore]:
    with closing(begun(tmp_path)) as store:
        yield store


def connection(store: OrderStore) -> sqlite3.Connection:
    assert store._disk._db is not None
    return store._disk._db


def said(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(statement)

    return change


def files(directory: Path) -> dict[str, bytes]:
    """The contents of what is there; an empty log, and its index, are SQLite's to make and to take away."""
    found = {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.endswith("-shm")}
    return {name: content for name, content in found.items() if content or not name.endswith("-wal")}


def assert_refuses(store: OrderStore) -> None:
    """Nothing is written, nothing is raised, and the fault stays."""
    fault = store.fault
    assert fault
    assert not store.commit([record("new")])
    assert not store.reserve(5000)
    assert not store.knows(ORDER, b"new")
    store.tick()
    assert store.fault == fault
    assert store.metrics()["fault"] == fault


# -- what it is for


def test_what_is_committed_is_found_also_by_the_next_process(tmp_path: Path) -> None:
    with closing(begun(tmp_path)) as store:
        assert (store.fault, store.doubt, store.take_open(ORDER)) == ("", "", [])
        assert store.commit(RECORDS)
        assert store.commit([record("b", b"third")])
        mark = store.mark
        assert mark == Mark(store.mark.name, 1)
    with closing(begun(tmp_path, expected=mark)) as store:
        assert (store.fault, store.doubt, store.mark) == ("", "", Mark(mark.name, 2))
        assert store.take_open(ORDER) == [record("a"), record("b", b"third")]
        assert store.take_open(EXECUTION) == [RECORDS[3]]
        assert store.take_open(ORDER) == store._opened == [], "they are not kept in memory"
        assert store.find(ORDER, b"c") == RECORDS[2]
        assert store.find(EXECUTION, b"a") == RECORDS[3]
        assert store.find(EXECUTION, b"c") is None
        assert (store.knows(ORDER, b"c"), store.knows(EXECUTION, b"c")) == (True, False)
        assert store.metrics()["records"] == 4


def test_a_name_is_for_ever_and_each_journal_has_its_own(tmp_path: Path) -> None:
    names = []
    for each in ("a", "b", "a"):
        (tmp_path / each).mkdir(exist_ok=True)
        with closing(begun(tmp_path / each)) as store:
            names.append(store.mark.name)
    assert names[0] == names[2] != names[1]


def test_every_commit_goes_to_the_disk_itself_in_one_transaction(store: OrderStore) -> None:
    assert connection(store).execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection(store).execute("PRAGMA journal_mode").fetchone() == ("wal",)
    statements: list[str] = []
    connection(store).set_trace_callback(statements.append)
    assert store.commit(RECORDS[:2])
    assert [statement.split(" ")[0] for statement in statements] == ["BEGIN", "REPLACE", "REPLACE", "UPDATE", "COMMIT"]
    statements.clear()
    assert store.commit([record("a", b"again")])
    assert [statement.split(" ")[0] for statement in statements] == ["BEGIN", "REPLACE", "COMMIT"], "nothing is counted"


def test_others_may_not_read_it(store: OrderStore, tmp_path: Path) -> None:
    assert store.commit(RECORDS)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_reserved_ids_stay_reserved_and_never_become_fewer(tmp_path: Path) -> None:
    with closing(begun(tmp_path)) as store:
        assert store.reserved == 1
        assert store.reserve(1000)
        assert store.reserve(500)
        assert store.reserved == 1000
        assert store.commit(RECORDS)
    with closing(begun(tmp_path)) as store:
        assert (store.reserved, store.metrics()["records"]) == (1000, 4)


def test_names_are_scanned_page_by_page_below_their_prefix(store: OrderStore) -> None:
    names = [f"me/{number:03}" for number in range(25)]
    assert store.commit([record(name) for name in reversed(names)])
    assert store.commit([record("me"), record("mf/1"), record("me/1", kind=EXECUTION)])
    found: list[str] = []
    after = b"me/"
    while page := store.scan(ORDER, b"me/", after, 10):
        assert len(page) <= 10
        found += [each.name.decode() for each in page]
        after = page[-1].name
    assert found == names
    assert store.scan(ORDER, b"you/", b"you/", 10) == []


def test_nothing_is_written_or_found_before_and_after(tmp_path: Path) -> None:
    store = OrderStore(tmp_path)
    for _ in range(2):
        assert store.fault.endswith("orders.db: it is not open")
        assert not store.commit(RECORDS)
        assert not store.reserve(10)
        assert store.scan(ORDER, b"", b"", 10) is None
        store.tick()
        store.open(CLIENT_ID, None)
        store.close()
        store.close()


def test_the_log_is_copied_by_the_tick_and_then_written_over(store: OrderStore, tmp_path: Path) -> None:
    wal = tmp_path / "orders.db-wal"
    sizes = []
    for number in range(20 * COPIED):
        assert store.commit([record(f"{number}", bytes(500))])
        if number % COPIED == 0:
            store.tick()
            sizes.append(wal.stat().st_size)
    assert max(sizes[3:]) <= 2 * sizes[2]
    assert store.fault == ""


def test_without_a_tick_the_log_is_bounded_by_the_commits(store: OrderStore, tmp_path: Path) -> None:
    record_of = partial(record, value=bytes(500_000))
    for number in range(60):
        assert store.commit([record_of(f"{number}")])
    assert (tmp_path / "orders.db-wal").stat().st_size < KEPT_LOG + 2_000_000


# -- files that are not right


def _written(content: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_bytes(content)

    return change


def _made_anew(path: Path) -> None:
    path.unlink()
    said("VACUUM")(path)


UNFIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "gone": (Path.unlink, "the journal j-.* of orders is gone; put it back, or begin a new one as"),
    "cut off to nothing": (_written(b""), "the journal j-.* of orders is gone; put it back, or"),
    "empty": (_made_anew, "it is empty, and was the journal j-.*; put back what"),
    "no database": (_written(b"a shopping list " * 500), "not a database; move it"),
    "another program's": (said("PRAGMA application_id=1"), "it is no journal of ibbridge's; move it away and put the"),
    "of a newer release": (
        said("PRAGMA user_version=2"),
        r"made by a newer ibbridge \(schema 2; this .* 1\); run",
    ),
    "of no release": (said("PRAGMA user_version=0"), r"made by an unknown ibbridge \(schema 0; this one has 1\); run"),
    "without a row": (said("DELETE FROM about"), "what it says of itself .* is unreadable; move it away with"),
    "with another client id": (said("UPDATE about SET client_id = 8"), "what it says of itself .* is unreadable; mov"),
    "with another next id": (said("UPDATE about SET reserved = 8"), "what it says of itself .* is unreadable; move"),
    "with a name that is no text": (said("UPDATE about SET name = CAST(x'ff' AS TEXT)"), "ould not decode .*; move"),
    "with another value": (said("UPDATE record SET value = x'00' WHERE kind = 2"), "a record is unreadable: b'a'; mo"),
    "with another name": (said("UPDATE record SET name = x'41' WHERE kind = 2"), "a record is unreadable: b'A'; move"),
    "with a closed record": (said("UPDATE record SET open = 0 WHERE name = x'62'"), "a record is unreadable: b'b'; m"),
    "with a record less": (said("DELETE FROM record WHERE kind = 2"), "of 4 records there are 3; move it away with"),
    "without a table": (said("DROP TABLE record"), "no such table: record; move it away"),
}


@pytest.fixture
def mark(tmp_path: Path) -> Mark:
    """The mark of a journal that was opened three times, and is closed."""
    marks = []
    for _ in range(3):
        with closing(begun(tmp_path)) as store:
            assert store.commit(RECORDS)
            marks.append(store.mark)
    return marks[-1]


@pytest.mark.parametrize("fault", UNFIT)
def test_an_unfit_file_is_a_fault_and_is_left_as_it_is(tmp_path: Path, mark: Mark, fault: str) -> None:
    spoil, expected = UNFIT[fault]
    spoil(tmp_path / "orders.db")
    before = files(tmp_path)
    with closing(begun(tmp_path, expected=mark)) as store:
        assert store.fault.startswith(f"{tmp_path}/orders.db: ")
        assert store.fault.endswith(", then restart ibbridge")
        _assert_matches(expected, store.fault)
        assert store.find(ORDER, b"a") is None
        assert store.take_open(ORDER) == []
        assert_refuses(store)
    assert files(tmp_path) == before


def _assert_matches(expected: str, fault: str) -> None:
    with pytest.raises(ValueError, match=expected):
        raise ValueError(fault)


def test_the_journal_of_another_client_id_is_not_used(tmp_path: Path, mark: Mark) -> None:
    before = files(tmp_path)
    for expected in (mark, None):
        with closing(begun(tmp_path, 8, expected)) as store:
            _assert_matches("orders of client id 7, and tws.client_id is 8; set the client id back, or", store.fault)
            assert_refuses(store)
        assert files(tmp_path) == before


def test_another_journal_than_the_one_that_is_expected_is_not_used(tmp_path: Path, mark: Mark) -> None:
    before = files(tmp_path)
    with closing(begun(tmp_path, expected=Mark("j-other", 1))) as store:
        _assert_matches(f"it is the journal {mark.name}, and that of the store is j-other; put that", store.fault)
        assert_refuses(store)
    assert files(tmp_path) == before


def test_an_older_journal_is_in_doubt_until_it_is_accepted(tmp_path: Path, mark: Mark) -> None:
    newer = Mark(mark.name, mark.generation + 3)
    for _ in range(5):  # also when it was opened as often as the newer one
        with closing(begun(tmp_path, expected=newer)) as store:
            assert store.fault == ""
            _assert_matches("orders.db: it was restored from an older one .*; look for them in TWS, and", store.doubt)
            assert store.metrics()["doubt"] == store.doubt
            assert (store.mark.name, store.reserved) == (mark.name, 1 + SKIPPED)
            assert store.commit([record("seen")]), "what TWS says meanwhile is recorded"
    with closing(begun(tmp_path, expected=newer)) as store:
        assert store.accept()
        assert (store.doubt, store.fault) == ("", "")
        accepted = store.mark
        assert store.accept(), "there is no doubt"
        assert store.mark == accepted
        assert store.commit([record("new")])
    for expected in (newer, accepted, None):  # the first, if the process ended before the new name was noted
        with closing(begun(tmp_path, expected=expected)) as store:
            assert (store.fault, store.doubt, store.mark.name) == ("", "", accepted.name)
            assert store.reserved == 1 + SKIPPED
            assert store.knows(ORDER, b"seen")
            assert store.knows(ORDER, b"new")


def test_the_first_journal_is_another_one_after_a_copy_was_accepted(tmp_path: Path, mark: Mark) -> None:
    for place in ("first", "copy"):
        shutil.copytree(tmp_path, tmp_path / place, ignore=shutil.ignore_patterns("first"))
    with closing(begun(tmp_path / "copy", expected=Mark(mark.name, 9))) as store:
        assert store.accept()
        accepted = store.mark
    with closing(begun(tmp_path / "first", expected=accepted)) as store:
        _assert_matches(f"it is the journal {mark.name}, and that of the store is {accepted.name}; put", store.fault)
        assert_refuses(store)


def test_a_newer_journal_than_was_noted_is_in_no_doubt(tmp_path: Path, mark: Mark) -> None:
    for expected in (mark, Mark(mark.name, 1), None):
        with closing(begun(tmp_path, expected=expected)) as store:
            assert (store.fault, store.doubt) == ("", "")


def test_a_journal_that_cannot_be_written_is_not_accepted(tmp_path: Path, mark: Mark) -> None:
    with closing(begun(tmp_path, expected=Mark(mark.name, 9))) as store:
        with hung(store):  # type: ignore[arg-type]
            assert not store.accept()
            assert store.doubt
        recover(store)
        assert store.accept()
        assert not store.doubt


@pytest.mark.parametrize("spoil", ["UPDATE record SET value = x'00' WHERE name = x'62'", "DELETE FROM record"])
def test_damage_that_comes_later_is_a_fault_and_never_a_missing_record(store: OrderStore, spoil: str) -> None:
    assert store.commit(RECORDS)
    connection(store).execute(spoil)
    assert store.find(ORDER, b"z") is None
    assert store.fault == ""
    assert store.find(ORDER, b"b") is None
    _assert_matches("orders.db: a record is unreadable, or is not there: b'b'; move it away", store.fault)
    assert_refuses(store)


def test_a_scan_over_damage_is_no_shorter_list(store: OrderStore) -> None:
    assert store.commit(RECORDS)
    connection(store).execute("UPDATE record SET value = x'00' WHERE name = x'62'")
    assert store.scan(ORDER, b"", b"", 10) is None
    _assert_matches("a record is unreadable: b'b'; move it away", store.fault)


@given(luck=st.randoms(use_true_random=False), places=st.integers(1, 20), length=st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_whatever_bytes_are_overwritten_nothing_false_is_read(luck: random.Random, places: int, length: int) -> None:
    written = {each.name: each for each in (record(f"{number:03}", b"%d" % number) for number in range(40))}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with closing(begun(directory)) as store:
            assert store.commit([*written.values()])
            mark = store.mark
        scribble(directory / "orders.db", luck, places, length)
        before = (directory / "orders.db").read_bytes()
        with closing(begun(directory, expected=mark)) as store:
            for each in written.values():
                found = store.find(ORDER, each.name)
                assert found == each or (found is None and store.fault)
            assert all(each == written[each.name] for each in store.take_open(ORDER))
            unfit = not store._disk.is_open
            if store.fault:
                assert_refuses(store)
        assert not unfit or (directory / "orders.db").read_bytes() == before


def test_a_file_that_is_removed_while_it_is_open_takes_no_more_orders(store: OrderStore, tmp_path: Path) -> None:
    assert store.commit(RECORDS)
    (tmp_path / "orders.db").unlink()
    store.tick()
    _assert_matches("it, or its -wal, was removed or replaced while in use; restart ibbridge", store.fault)
    assert_refuses(store)
    assert not (tmp_path / "orders.db").exists()


def test_a_disk_that_is_full_at_the_start_asks_for_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is opened once: its numbers and its open orders are needed before the first order."""
    store = OrderStore(tmp_path)

    def full_disk() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store._file, "make", full_disk)
    store.open(CLIENT_ID, None)
    _assert_matches("orders.db: No space left .*, then restart ibbridge$", store.fault)
    store.tick()
    assert_refuses(store)
    with closing(begun(tmp_path)) as again:
        assert again.commit(RECORDS)


def test_a_place_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    store = OrderStore(tmp_path / "missing")
    store.open(CLIENT_ID, None)
    _assert_matches("missing/orders.db: No such file .*; give the user that runs ibbridge a disk with", store.fault)
    assert_refuses(store)
    (tmp_path / "other").write_bytes(b"theirs")
    (tmp_path / "orders.db").symlink_to(tmp_path / "other")
    store = OrderStore(tmp_path)
    store.open(CLIENT_ID, None)
    assert store.fault
    assert_refuses(store)
    assert (tmp_path / "other").read_bytes() == b"theirs"


# -- disks that are not right


@contextmanager
def full(store: OrderStore) -> Iterator[None]:
    connection(store).execute("PRAGMA max_page_count=1")  # SQLite takes it for as many as there are
    yield
    connection(store).execute("PRAGMA max_page_count=1000000")


@contextmanager
def read_only(store: OrderStore) -> Iterator[None]:
    connection(store).execute("PRAGMA query_only=1")
    yield
    connection(store).execute("PRAGMA query_only=0")


def recover(store: OrderStore) -> None:
    """Tend a store until it is as it should be."""
    until = perf_counter() + 30
    while store.fault or store._disk.is_late:
        store.tick()
        assert perf_counter() < until, store.fault


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (full, "orders.db: database or disk is full; free some space on its disk, it is tried again by itself"),
        (read_only, "orders.db: .* readonly .*; give the user that runs ibbridge the right to write it and its dir"),
    ],
)
def test_while_the_disk_takes_nothing_orders_are_refused_and_later_taken(
    store: OrderStore, tmp_path: Path, trouble: Callable[[OrderStore], object], expected: str
) -> None:
    assert store.commit(RECORDS)
    large = record("large", bytes(100_000))
    with trouble(store):  # type: ignore[attr-defined]
        assert not store.commit([large])
        _assert_matches(expected, store.fault)
        assert not store.commit([large, record("d")])
        assert not store.knows(ORDER, b"large")
        assert store.find(ORDER, b"a") == RECORDS[0]
    recover(store)
    assert store.commit([large])
    store.close()
    with closing(begun(tmp_path)) as again:
        assert (again.fault, again.find(ORDER, b"large"), again.find(ORDER, b"d")) == ("", large, None)
        assert again.metrics()["records"] == 5


def test_another_program_that_writes_is_a_fault_that_passes(store: OrderStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "orders.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not store.commit(RECORDS)
        _assert_matches("database is locked; end the other program that writes to it, it is tried", store.fault)
        other.execute("ROLLBACK")
    recover(store)
    assert store.commit(RECORDS)


def test_a_commit_that_succeeds_late_is_refused_at_first_and_known_then(store: OrderStore, tmp_path: Path) -> None:
    assert store.commit(RECORDS)
    with hung(store):  # type: ignore[arg-type]
        assert not store.commit([record("late")])
        _assert_matches("orders.db: the disk has not answered for 0.5 s; see what the system log says", store.fault)
        assert not store.commit([record("next")])
        assert not store.reserve(1000)
        assert (store.knows(ORDER, b"late"), store.reserved) == (False, 1)
    recover(store)
    assert store.knows(ORDER, b"late")
    assert store.commit([record("next")])
    store.close()
    with closing(begun(tmp_path)) as again:
        assert again.fault == ""
        assert [each.name for each in again.take_open(ORDER)] == [b"a", b"b", b"late", b"next"]


def test_a_commit_that_fails_late_leaves_nothing(store: OrderStore) -> None:
    with hung(store, "COMMIT", succeeds=False):  # type: ignore[arg-type]
        assert not store.commit([record("late")])
    recover(store)
    assert (store.knows(ORDER, b"late"), store.metrics()["records"]) == (False, 0)
    assert store.commit([record("late", b"again")])
    assert store.find(ORDER, b"late") == record("late", b"again")


def test_ids_that_are_reserved_late_are_reserved(store: OrderStore) -> None:
    with hung(store):  # type: ignore[arg-type]
        assert not store.reserve(1000)
    recover(store)
    assert store.reserved == 1000


def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibbridge.storage.order_store.CLOSING", 0.05)
    store = begun(tmp_path)
    before = threading.active_count()
    with hung(store):  # type: ignore[arg-type]
        assert not store.commit(RECORDS)
        store.close()
        assert store.fault
        assert not store.commit(RECORDS)
    assert threading.active_count() <= before
