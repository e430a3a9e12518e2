"""The store through real files: what it returns True for is there, whatever happens to process, disk or file.

Disks that are full, killed processes, foreign locks and damaged bytes are real too, made by
`tests/support/store_faults.py`.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from functools import cache, partial
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ibbridge.storage import event_store as module
from ibbridge.storage.backlog import OVERHEAD
from ibbridge.storage.event_store import (
    CATCH_UP,
    LATEST,
    MEASURED,
    PROBE,
    PRUNED,
    PRUNED_BYTES,
    TIDY,
    WAL,
    EventStore,
    StoreError,
)
from ibbridge.storage.keys import Found, Key
from ibbridge.streams.publisher import Row
from tests.support.store_faults import UNFIT, hanging, no_room, read_by_others, scribble, slow, written_by_others

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400_000_000
HOUR = 3_600_000_000
NOW = 1_900_000_000_000_000
ME, YOU = b"ord.me.", b"ord.you."
ALL = 2**31


def row(
    seq: int,
    stream: bytes = ME,
    *,
    ts: int = NOW,
    body: bytes = b"",
    identity: bytes | None = None,
    key: bytes | None = None,
) -> Row:
    return Row(stream, seq, ts, stream + b"orderStatus.", body or b"body %d" % seq, identity, key)


def rows(first: int, last: int, stream: bytes = ME, **fields: Any) -> list[Row]:
    return [row(seq, stream, **fields) for seq in range(first, last + 1)]


def read(store: EventStore, stream: bytes = ME, first: int = 0, last: int = ALL) -> list[int]:
    """The numbers of what can be read; that the rest is what was written is seen to here."""
    found = store.read(stream, first, last, ALL, ALL)
    assert all(topic == stream + b"orderStatus." for _, topic, _ in found)
    assert all(body.startswith(b"body %d" % seq) for seq, _, body in found)
    return [seq for seq, _, _ in found]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(directory: Path) -> Iterator[EventStore]:
    with closing(opened(directory)) as store:
        yield store


def opened(directory: Path, epoch: int = 1, **options: Any) -> EventStore:
    store = EventStore(directory, **{"days": 7, "patience": 60, **options})
    store.open(epoch)
    return store


def reopened(store: EventStore) -> EventStore:
    store.close()
    return opened(store._directory, 2)


def now_and_later(store: EventStore) -> Iterator[EventStore]:
    """The store, and what the next process finds."""
    yield store
    with closing(reopened(store)) as again:
        yield again


def tend_later(store: EventStore, passed: int) -> None:
    """Tend a store, after so many µs in which it was tended every second."""
    store._about = store._about._replace(uptime=store._about.uptime + passed)
    store.tick(0)


def size_of(row: Row) -> int:
    """Return what a message counts while it waits."""
    return len(row.topic + row.body + (row.identity or b"")) + OVERHEAD


def connection(store: EventStore) -> sqlite3.Connection:
    assert store._db is not None
    return store._db


# -- what it is for


def test_what_is_appended_is_read_back_also_by_the_next_process(store: EventStore) -> None:
    assert store.append([*rows(1, 3), *rows(1, 2, YOU), *rows(4, 5)])
    for each in now_and_later(store):
        assert each.fault == ""
        assert read(each) == [1, 2, 3, 4, 5]
        assert read(each, YOU) == [1, 2]
        assert each.last() == {ME: 5, YOU: 2}
        assert each.first(ME) == each.first(YOU) == 1


def test_of_a_stream_that_never_was_there_is_nothing(store: EventStore) -> None:
    assert store.read(ME, 1, 10, 10, 1000) == []
    assert store.first(ME) == 1
    assert store.last() == {}


def test_a_name_is_for_ever_and_each_store_has_its_own(tmp_path: Path) -> None:
    names = []
    for each in ("a", "b", "a"):
        with closing(opened(tmp_path / each)) as store:
            names.append(store.name)
    assert names[0] == names[2] != names[1]
    assert all(name.startswith("s-") and name[2:].isalnum() for name in names)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((1, 9, 100, 10**6), range(1, 10)),
        ((0, 2**53, 100, 10**6), range(1, 10)),
        ((-5, 2, 100, 10**6), range(1, 3)),
        ((3, 5, 100, 10**6), range(3, 6)),
        ((9, 9, 100, 10**6), range(9, 10)),
        ((10, 20, 100, 10**6), range(0)),
        ((5, 4, 100, 10**6), range(0)),
        ((2, 9, 3, 10**6), range(2, 5)),
        ((2, 9, 0, 10**6), range(0)),
        ((2, 9, 100, 3 * 26), range(2, 5)),
        ((2, 9, 100, 3 * 26 - 1), range(2, 4)),
        ((2, 9, 100, 0), range(2, 3)),
    ],
)
@pytest.mark.parametrize("waiting", [0, 4, 9])
def test_a_part_is_read(store: EventStore, asked: tuple[int, int, int, int], expected: range, waiting: int) -> None:
    """Wherever it is, on the disk or in memory."""
    everything = [row(seq, body=b"body %d " % seq) for seq in range(1, 10)]
    assert {len(each.topic + each.body) for each in everything} == {26}
    assert store.append(everything[: 9 - waiting])
    with written_by_others(store) if waiting else nullcontext():
        assert store.append(everything[9 - waiting :]) is not bool(waiting)
        assert [seq for seq, _, _ in store.read(ME, *asked)] == list(expected)


def test_a_hole_in_the_numbers_hides_what_was_before_it(store: EventStore) -> None:
    """So whoever reads from `first` on never meets one."""
    assert store.append([*rows(1, 3), *rows(7, 8)])
    for each in now_and_later(store):
        assert each.first(ME) == 7
        assert read(each) == [7, 8]
        assert each.last() == {ME: 8}


def test_a_number_that_is_written_again_is_what_it_was_last(store: EventStore) -> None:
    assert store.append(rows(1, 3))
    assert store.append([row(2, body=b"body 2 again")])
    assert [body for _, _, body in store.read(ME, 1, 3, 9, 999)] == [b"body 1", b"body 2 again", b"body 3"]
    assert store.last() == {ME: 3}


def test_the_state_is_the_newest_of_each_topic_and_identity(store: EventStore) -> None:
    assert store.append(
        [row(1, identity=b"a"), row(2, identity=b"b"), row(3), row(4, identity=b"a"), row(1, YOU, identity=b"a")]
    )
    topic = ME + b"orderStatus."
    expected = [(topic, b"a", b"body 4"), (topic, b"b", b"body 2"), (YOU + b"orderStatus.", b"a", b"body 1")]
    assert sorted(store.state()) == expected
    with closing(reopened(store)) as again:
        assert sorted(again.state()) == expected


def test_what_is_forgotten_is_no_state_until_it_is_said_again(store: EventStore) -> None:
    topic = ME + b"orderStatus."
    assert store.append([row(1, identity=b"a"), row(2, identity=b"b"), row(3, identity=b"c")])
    assert store.append([row(1, YOU, identity=b"a")])
    store.forget(topic, b"a")
    assert store.append([row(4, identity=b"d")])
    assert {identity for of, identity, _ in store.state() if of == topic} == {b"b", b"c", b"d"}
    store.forget(topic, None)
    store.tick(0)
    assert [of for of, _, _ in store.state()] == [YOU + b"orderStatus."]
    store.forget(topic, b"a")
    assert store.append([row(5, identity=b"a")])
    assert (topic, b"a", b"body 5") in store.state()
    store.forget(topic, b"a")
    with closing(reopened(store)) as again:
        assert [of for of, _, _ in again.state()] == [YOU + b"orderStatus."]


def test_what_is_forgotten_while_nothing_can_be_written_is_forgotten_in_its_place(store: EventStore) -> None:
    topic = ME + b"orderStatus."
    with written_by_others(store):
        assert not store.append([row(1, identity=b"a"), row(2, identity=b"b")])
        store.forget(topic, b"a")
        store.forget(topic, b"b")
        assert not store.append([row(3, identity=b"a")])
    store.tick(0)
    assert store.state() == [(topic, b"a", b"body 3")]


def test_many_states_forgotten_at_once_refuse_no_order(store: EventStore) -> None:
    assert store.append([row(seq, identity=b"%d" % seq) for seq in range(1, 1001)])
    for seq in range(1, 1001):
        store.forget(ME + b"orderStatus.", b"%d" % seq)
    store.tick(0)
    assert store.fault == ""
    assert store.append(rows(1001, 1001))
    assert store.state() == []


@pytest.mark.parametrize("sync", ["normal", "full"])
def test_values_are_kept_by_name(directory: Path, sync: str) -> None:
    with closing(opened(directory, sync=sync)) as store:
        assert store.get("halt") is None
        assert store.put("halt", b"1")
        assert store.put("halt", b"2")
        assert store.put("other", b"")
        level = connection(store).execute("PRAGMA synchronous").fetchone()
        assert level == ({"normal": 1, "full": 2}[sync],)
        with closing(reopened(store)) as again:
            assert again.get("halt") == b"2"
            assert again.get("other") == b""


def test_a_value_goes_to_the_disk_itself(store: EventStore) -> None:
    statements: list[str] = []
    connection(store).set_trace_callback(statements.append)
    assert store.put("halt", b"1")
    assert statements[0] == "PRAGMA synchronous=full"
    assert statements[1].startswith("BEGIN")
    assert statements[-2:] == ["COMMIT", "PRAGMA synchronous=normal"]


def test_an_append_says_no_more_than_it_must(store: EventStore) -> None:
    assert store.append(rows(1, 1))
    statements: list[str] = []
    connection(store).set_trace_callback(statements.append)
    assert store.append(rows(2, 3))
    assert [statement.partition(" (")[0] for statement in statements] == [
        "BEGIN IMMEDIATE",
        "REPLACE INTO event",
        "REPLACE INTO event",
        "COMMIT",
    ]


def test_others_may_not_read_it(store: EventStore, directory: Path) -> None:
    assert store.append(rows(1, 1))
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) & 0o027 == 0


def test_its_figures(store: EventStore, directory: Path) -> None:
    assert store.append(rows(1, 10, body=b"body" * 1000))
    first, second = store.metrics(), store.metrics()
    assert first["name"] == store.name
    assert (first["fault"], first["kept"], first["dropped"], first["commits"]) == ("", 0, 0, 2)
    assert first["bytes"] == bytes_on_disk(directory)
    assert first["bytes"] > 40_000
    assert first["longestCommitMs"] >= first["commitMs"] > 0
    assert second["longestCommitMs"] == 0
    with written_by_others(store):
        assert not store.append(rows(11, 12))
        assert store.metrics()["kept"] == 2
        assert store.metrics()["fault"] == store.fault


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


def assert_useless(store: EventStore, *, said: str) -> None:
    """Nothing is kept, also not in memory; and nothing is raised."""
    assert re.search(said, store.fault)
    assert not store.append(rows(1, 3, identity=b"x"))
    assert store.last() == {ME: 3}
    assert store.first(ME) == 4
    assert store.read(ME, 1, 3, 9, 999) == []
    assert store.state() == []
    assert not store.put("key", b"value")
    assert store.get("key") is None
    store.forget(ME, None)
    store.tick(0)
    assert (store.metrics()["kept"], store.metrics()["dropped"]) == (0, 3)
    assert re.search(said, store.fault)


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


# -- what cannot be written


Fault = Callable[[EventStore], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (no_room, "database or disk is full; free some space on its disk, it is tried again by itself"),
        (written_by_others, "database is locked; end the other program that writes to it, it is tried again by itself"),
    ],
)
@pytest.mark.parametrize("by", ["append", "tend"])
def test_what_cannot_be_written_is_kept_and_written_in_order(
    store: EventStore, directory: Path, fault: Fault, said: str, by: str
) -> None:
    body = bytes(3000)
    assert store.append(rows(1, 5))
    with fault(store):
        before = on_disk(directory)
        assert not store.append([row(6, body=b"body 6" + body, identity=b"x"), *rows(1, 10, YOU, body=b"body" + body)])
        assert store.fault == f"{directory}/events.db: {said}"
        store.tick(0)
        assert not store.append(rows(7, 9))
        assert not store.put("key", body)
        assert read(store) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
        assert store.last() == {ME: 9, YOU: 10}
        assert store.metrics()["kept"] == 14
        assert on_disk(directory) == before
    if by == "append":
        assert store.append(rows(10, 10))
    else:
        store.tick(0)
        assert store.fault == ""
        assert store.append(rows(10, 10))
    assert store.metrics()["kept"] == 0
    everything = [(ME, seq) for seq in range(1, 7)] + [(YOU, seq) for seq in range(1, 11)]
    assert on_disk(directory) == everything + [(ME, seq) for seq in range(7, 11)]
    assert read(store) == list(range(1, 11))
    assert store.state() == [(ME + b"orderStatus.", b"x", b"body 6" + body)]
    assert store.put("key", body)


def bytes_on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir() if path.name in {"events.db", "events.db-wal"})


def on_disk(directory: Path) -> list[tuple[bytes, int]]:
    """Stream and number of each message that another process finds, in the order in which they were written."""
    query = "SELECT stream.name, seq FROM event JOIN stream ON stream.number = event.stream ORDER BY id"
    with closing(sqlite3.connect(directory / "events.db")) as db:
        return db.execute(query).fetchall()


def test_a_fault_without_messages_ends_by_itself(store: EventStore) -> None:
    with written_by_others(store):
        assert not store.put("key", b"value")
        assert store.fault
        store.tick(0)
        assert store.fault
    store.tick(0)
    assert store.fault == ""


def test_catching_up_takes_several_calls_and_is_a_fault_until_it_is_done(store: EventStore) -> None:
    many = CATCH_UP * 3 + PROBE
    with written_by_others(store):
        for seq in range(1, many + 1):
            assert not store.append([row(seq)])
    store.tick(0)
    assert store.metrics()["kept"] == CATCH_UP * 2
    assert store.fault.endswith(f"{CATCH_UP * 2} messages are still to be written, which goes on by itself")
    assert not store.append(rows(many + 1, many + 1))
    assert store.metrics()["kept"] == CATCH_UP
    assert store.append(rows(many + 2, many + 3))
    assert (store.metrics()["kept"], store.fault) == (0, "")
    assert read(store) == list(range(1, many + 4))


def test_what_is_too_much_is_dropped_the_oldest_first(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 5 * size_of(row(11)))
    assert store.append(rows(1, 3))
    assert store.append([row(1, YOU, identity=b"x")])
    with written_by_others(store):
        assert not store.append(rows(4, 4))
        store.forget(YOU + b"orderStatus.", b"x")
        assert not store.append(rows(5, 8))
        assert (store.first(ME), store.metrics()["dropped"]) == (1, 0)
        assert not store.append(rows(9, 11))
        assert (store.first(ME), read(store)) == (7, [7, 8, 9, 10, 11])
        assert (store.metrics()["kept"], store.metrics()["dropped"]) == (5, 3)
    store.tick(0)
    assert store.fault == ""
    for each in now_and_later(store):
        assert (each.first(ME), read(each)) == (7, [7, 8, 9, 10, 11])
        assert each.state() == []


def test_closing_writes_what_waits(store: EventStore) -> None:
    with written_by_others(store):
        assert not store.append(rows(1, CATCH_UP * 2))
    with closing(reopened(store)) as again:
        assert read(again) == list(range(1, CATCH_UP * 2 + 1))


def test_closing_while_nothing_can_be_written_ends(store: EventStore, directory: Path) -> None:
    assert store.append(rows(1, 1))
    with written_by_others(store):
        assert not store.append(rows(2, 2))
        store.close()
    with closing(opened(directory)) as again:
        assert read(again) == [1]


LIMITED = """
import pathlib, resource, sys
from ibbridge.storage.event_store import EventStore
from ibbridge.streams.publisher import Row
store = EventStore(pathlib.Path(sys.argv[1]), days=7)
store.open(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
done = [store.append([Row(b"ord.me.", seq, 1, b"ord.me.x.", bytes(1000), None)]) for seq in range(1, 501)]
assert done[0] and not done[-1] and done == sorted(done, reverse=True), done
print(store.fault)
assert len(store.read(b"ord.me.", 1, 500, 999, 10**9)) == 500
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.tick(0), store.tick(0)
assert not store.fault, store.fault
store.close()
"""


def test_a_file_that_may_not_grow_is_a_fault_until_it_may(directory: Path) -> None:
    """The kernel's limit, so it is the kernel that refuses."""
    limited = subprocess.run([sys.executable, "-c", LIMITED, directory], capture_output=True, text=True, check=False)
    assert (limited.returncode, limited.stderr) == (0, "")
    assert "events.db: " in limited.stdout
    with closing(opened(directory)) as store:
        assert store.last() == {ME: 500}
        assert [seq for seq, _, _ in store.read(ME, 1, 500, ALL, ALL)] == list(range(1, 501))


@pytest.mark.parametrize("name", ["events.db", "events.db-wal"])
@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_is_taken_away_while_in_use_is_a_fault(
    store: EventStore, directory: Path, name: str, *, replaced: bool
) -> None:
    """SQLite would write on, to what nobody will find."""
    assert store.append(rows(1, 3))
    (directory / name).unlink()
    if replaced and name == "events.db":
        shutil.copy(__file__, directory / name)
    store.tick(0)
    assert "was removed or replaced while in use; restart ibbridge" in store.fault
    assert not store.append(rows(4, 5))
    assert not store.put("key", b"value")
    assert read(store)[-2:] == [4, 5]
    store.tick(0)
    assert "was removed or replaced" in store.fault


# -- a disk that hangs


def test_a_disk_that_hangs_is_waited_for_once_and_then_not_at_all(store: EventStore) -> None:
    store._patience = 0.5
    assert store.append(rows(1, 3))
    with hanging(store):
        started = perf_counter()
        assert not store.append(rows(4, 4))
        assert store.fault.endswith(
            "/events.db: the disk has not answered for 0.5 s; see what the system log says of its disk, it is tried "
            "again by itself"
        )
        once = perf_counter() - started
        for seq in range(5, 205):
            assert not store.append(rows(seq, seq))
            store.tick(0)
        assert not store.put("halt", b"1")
        assert store.read(ME, 1, 3, 9, 999) == []
        assert read(store, first=4) == list(range(4, 205)), "what waits is in memory"
        assert store.uncommitted == 201
        assert perf_counter() - started < once + 0.5, "nobody waits a second time"
    recover(store)
    assert read(store) == list(range(1, 205))
    assert on_disk(store._directory) == [(ME, seq) for seq in range(1, 205)]
    assert store.append(rows(205, 205))
    for each in now_and_later(store):
        assert (read(each), each.fault, each.uncommitted) == (list(range(1, 206)), "", 0)


def test_what_a_start_needs_is_waited_for_however_long_the_disk_takes(store: EventStore) -> None:
    assert store.put("halt", b"value")
    store._patience = 0.05
    with hanging(store, "BEGIN"):
        assert not store.append([row(1, identity=b"x")])
        timer = threading.Timer(0.3, partial(_let_go, store))
        timer.start()
        assert store.get("halt") == b"value"
        assert store.state() == [(ME + b"orderStatus.", b"x", b"body 1")]
        timer.join()
    store._patience = 60
    store.tick(0)
    assert store.fault == ""


def _let_go(store: EventStore) -> None:
    store._db.open.set()  # type: ignore[union-attr]


@pytest.mark.parametrize("needed", ["state", "get"])
def test_a_start_that_cannot_read_what_it_needs_takes_no_orders_later(store: EventStore, needed: str) -> None:
    assert store.put("halt", b"value")
    with hanging(store, "SELECT", succeeds=False):
        _let_fail(store)
        assert not (store.state() if needed == "state" else store.get("halt"))
    for _ in range(3):
        store.tick(0)
    assert "disk I/O error; see what the system log says of its disk, then restart ibbridge" in store.fault
    with closing(reopened(store)) as again:
        assert (again.get("halt"), again.fault, again.append(rows(1, 1))) == (b"value", "", True)


def _let_fail(store: EventStore) -> None:
    store._db._seconds = 0  # type: ignore[union-attr]


def recover(store: EventStore) -> None:
    """Tend a store until it is as it should be."""
    until = perf_counter() + 30
    while store.fault or store._late:
        store.tick(0)
        assert perf_counter() < until, store.fault


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_commit_that_ends_late_is_what_it_is_and_nothing_is_there_twice(store: EventStore, *, succeeds: bool) -> None:
    store._patience = 0.5
    store.remember(a_key(b"before"))
    with hanging(store, succeeds=succeeds):
        store.remember(a_key(b"a"))
        assert not store.append([row(1, identity=b"x"), row(2)])
        store.remember(a_key(b"b"))
        store.forget(ME + b"orderStatus.", b"x")
        assert not store.append([row(3, identity=b"y")])
        assert [store.key(name) for name in (b"before", b"a", b"b", b"c")] == [b"1", b"1", b"1", None]
    recover(store)
    for each in now_and_later(store):
        assert on_disk(each._directory) == [(ME, 1), (ME, 2), (ME, 3)]
        assert each.state() == [(ME + b"orderStatus.", b"y", b"body 3")]
        assert [each.key(name) for name in (b"before", b"a", b"b")] == [b"1"] * 3


def test_a_disk_that_is_slow_and_answers_loses_no_message_and_catches_up(store: EventStore) -> None:
    """Each commit takes longer than it is waited for."""
    store._patience = 0.02
    with slow(store, 0.05):
        for seq in range(1, 30):
            store.append(rows(seq, seq))
            sleep(0.01)
    recover(store)
    assert on_disk(store._directory) == [(ME, seq) for seq in range(1, 30)]
    assert store.append(rows(30, 30))


def test_what_is_pruned_while_the_disk_hangs_is_gone_when_it_is_gone(store: EventStore) -> None:
    store._patience = 0.5
    assert store.append(rows(1, 3))
    store._about = store._about._replace(uptime=8 * DAY)
    with hanging(store, "DELETE FROM event"):
        store.tick(0)
        assert "has not answered" in store.fault
        assert not store.append(rows(4, 4))
    recover(store)
    for each in now_and_later(store):
        assert (read(each), each.first(ME), each.fault) == ([4], 4, "")


def test_what_the_daemon_goes_on_from_is_waited_for_and_without_it_no_order_is_taken(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.put("halt", b"1")
    store._patience = 0.02
    with slow(store, 0.1, "SELECT"):
        assert store.get("halt") == b"1"
        assert store.fault == ""
    monkeypatch.setattr(module, "STARTING", 0.1)
    with hanging(store):
        assert store.get("halt") is None
        assert "its disk did not answer for 0.1 s when it was to be read; " in store.fault
    sleep(0.1)
    store.tick(0)
    assert store.fault.endswith(", then restart ibbridge")
    assert not store.append(rows(1, 1))


def test_closing_ends_although_the_disk_hangs(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSING", 0.2)
    store._patience = 0.5
    with hanging(store):
        assert not store.append(rows(1, 2))
        started = perf_counter()
        store.close()
        assert perf_counter() - started < 5
        assert store.stuck
        assert store.uncommitted == 2
        store.close()  # does nothing: the thread is still at work with the file
        assert store.stuck


def test_closing_waits_for_a_disk_that_is_slow(store: EventStore) -> None:
    store._patience = 0.02
    with slow(store, 0.1):
        assert not store.append(rows(1, CATCH_UP * 2))
        assert not store.append(rows(CATCH_UP * 2 + 1, CATCH_UP * 3))
        with closing(reopened(store)) as again:
            assert not store.stuck
            assert read(again) == list(range(1, CATCH_UP * 3 + 1))


def test_a_checkpoint_that_hangs_is_a_fault_too(store: EventStore) -> None:
    store._patience = 0.5
    assert store.append(rows(1, 3))
    store.tick(0)
    with hanging(store, "PRAGMA wal_checkpoint"):
        store.tick(0)
        assert "has not answered" in store.fault
    recover(store)
    assert in_file_alone(store._directory) == 3


# -- how large it may become


def filled(store: EventStore, stream: bytes, first: int, last: int, **fields: Any) -> None:
    for begin in range(first, last + 1, 20):
        numbers = range(begin, min(begin + 20, last + 1))
        assert store.append([row(seq, stream, body=b"body %d" % seq + bytes(4000), **fields) for seq in numbers])


def test_a_store_has_an_alarm_before_it_is_full_and_the_oldest_go_when_it_is(tmp_path: Path) -> None:
    most = 16 * 2**20
    with closing(opened(tmp_path, most_bytes=most)) as store:
        filled(store, YOU, 1, 2000)
        store.tick(0)
        assert store.shortage == ""
        filled(store, YOU, 2001, 3400)
        store.tick(0)
        assert "of 16 MiB (store.max_bytes): beyond that the oldest go; find out what writes so much" in store.shortage
        assert store.first(YOU) == 1
        filled(store, YOU, 3401, 9000)
        store.tick(0)
        assert "messages are removed before store.days are over" in store.shortage
        assert bytes_on_disk(tmp_path) < most + 2 * WAL + 2 * MEASURED
        first = store.first(YOU)
        assert 3000 < first < 6500
        assert read(store, YOU) == list(range(first, 9001))
        for each in now_and_later(store):
            assert (each.first(YOU), each.last()[YOU], each.fault) == (first, 9000, "")
    with closing(opened(tmp_path, most_bytes=4 * most)) as store:
        store.tick(0)
        assert store.shortage == ""


def test_a_flood_does_not_push_out_what_is_about_orders(tmp_path: Path) -> None:
    """Also after a restart, and its keys and open states least of all; but the file does not grow for them either."""
    most = 16 * 2**20
    with closing(opened(tmp_path, most_bytes=most)) as store:
        store.remember(a_key(b"k"))
        filled(store, ME, 1, 500, key=b"k", identity=b"x")
        filled(store, YOU, 1, 5000)
        assert store.first(YOU) > 1
        with closing(reopened(store)) as again:
            again._most_bytes = most
            filled(again, YOU, 5001, 8000)
            assert read(again, ME) == list(range(1, 501))
            filled(again, ME, 501, 9000, key=b"k", identity=b"x")
            assert 1000 < again.first(ME) < 9000 - 2000
            assert read(again, YOU) == []
            assert bytes_on_disk(tmp_path) < most + 2 * WAL + 2 * MEASURED
            assert again.key(b"k") == b"1"
            assert [body[:9] for _, _, body in again.state()] == [b"body 9000"]
            assert again.fault == ""


def test_a_slow_disk_that_has_to_make_room_holds_up_nobody_for_long_and_is_not_outrun(directory: Path) -> None:
    most, took = 8 * 2**20, 0.12
    with closing(opened(directory, most_bytes=2**30)) as store:
        for first in range(1, 60_000, 400):
            assert store.append(rows(first, first + 399, b"sys.bridge.", body=b"body 1" + bytes(200)))
        last = store.last()[b"sys.bridge."]
        store._most_bytes = most
        with slow(store, took):
            before = store._commits
            store.tick(0)
            assert store._commits - before == 1
            used = store._used
            for first in range(last + 1, last + 4001, 400):
                before = store._commits
                assert store.append(rows(first, first + 399, b"sys.bridge.", body=b"body 1" + bytes(200)))
                assert store._commits - before <= 2
            store._too_much()
            assert store._used < used - 10 * 100 * 200, "more goes than comes"


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
from ibbridge.streams.publisher import Row
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
        assert store._about.epoch == 5001


def test_a_store_that_could_not_be_read_at_the_start_is_not_mixed_with_what_came_since(directory: Path) -> None:
    with closing(opened(directory)) as store:
        assert store.append(rows(1, 3))
    with closing(EventStore(directory, days=7, patience=60)) as later:
        later._again = lambda _: Found([], {}, 0)
        later.name = "e-1"
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


# -- damage that is found late


def test_damage_in_the_middle_is_found_when_it_is_read(directory: Path) -> None:
    """What is before it is read, what comes later is kept in memory, and the file is not written any more."""
    body = b"body %d" + bytes(500)
    with closing(opened(directory)) as store:
        assert store.append([row(seq, body=body % seq) for seq in range(1, 1001)])
    content = (directory / "events.db").read_bytes()
    damaged = content.replace(body % 500, body % 501)
    assert damaged != content
    (directory / "events.db").write_bytes(damaged)
    with closing(opened(directory)) as store:
        assert store.append([row(1001)])
        assert read(store, first=490) == list(range(490, 500))
        assert "events.db: a message is unreadable, or is not there: number 500 of" in store.fault
        assert store.fault.endswith(
            "; move it away with its -wal and -shm; sqlite3's .recover may save what is in it, then restart ibbridge"
        )
        written = (directory / "events.db-wal").read_bytes()
        assert not store.append([row(1002)])
        assert not store.put("key", b"value")
        tend_later(store, 8 * DAY)
        assert read(store, first=501) == list(range(501, 1003))
        assert (directory / "events.db-wal").read_bytes() == written
        assert (directory / "events.db").read_bytes() == damaged


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("UPDATE event SET topic = 1", "a message is unreadable, or is not there: number 1 of b'ord.me.orderStatus.'"),
        ("UPDATE event SET body = x'00'", "a message is unreadable, or is not there: number 1 of"),
        ("UPDATE event SET identity = x'00'", "a message is unreadable, or is not there: number 1 of"),
        ("UPDATE event SET stream = 2", "a message is unreadable, or is not there: number 1 of"),
        ("DELETE FROM event", "a message is unreadable, or is not there: number 1 of"),
        ("UPDATE state SET topic = 1", "a state is unreadable: number 1 of 1"),
        ("UPDATE state SET identity = 1", "a state is unreadable: number 1 of b'ord.me.orderStatus.'"),
        ("UPDATE state SET identity = x'00'", "a state is unreadable: number 1 of b'ord.me.orderStatus.'"),
        ("UPDATE state SET key = x'00'", "a state is unreadable: number 1 of b'ord.me.orderStatus.'"),
        ("UPDATE state SET body = x'00'", "a state is unreadable: number 1 of b'ord.me.orderStatus.'"),
    ],
)
def test_a_damaged_state_is_said(store: EventStore, spoil: str, said: str) -> None:
    assert store.append([row(1, identity=b"x")])
    connection(store).executescript(spoil)
    assert store.state() == []
    assert said in store.fault
    assert "; move it away" in store.fault


@pytest.mark.parametrize("spoil", ["seq = 'text'", "uptime = 'text'", "uptime = -1", "stream = 99"])
def test_damage_that_is_found_by_pruning_is_said_and_nothing_removed(store: EventStore, spoil: str) -> None:
    assert store.append(rows(1, 3))
    connection(store).execute(f"UPDATE event SET {spoil} WHERE seq = 2")
    tend_later(store, 8 * DAY)
    assert "a message is unreadable; move it away" in store.fault
    assert connection(store).execute("SELECT count(*) FROM event").fetchone() == (3,)


def test_a_table_that_is_missing_is_damage(store: EventStore) -> None:
    connection(store).execute("DROP TABLE state")
    assert not store.append([row(1, identity=b"x")])
    assert "no such table: state; move it away" in store.fault
    assert store.state() == []
    assert read(store) == [1]


@settings(max_examples=40)
@given(luck=st.randoms(use_true_random=False), places=st.integers(1, 40), length=st.sampled_from([1, 8, 100, 5000]))
def test_whatever_is_overwritten_nothing_is_raised_and_nothing_false_is_read(
    luck: random.Random, places: int, length: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        shutil.copy(somewhat_full(), directory / "events.db")
        scribble(directory / "events.db", luck, places, length)
        with closing(opened(directory)) as store:
            last = store.last()
            for stream in (ME, YOU):
                for first in range(1, 600, 50):
                    for seq, topic, body in store.read(stream, first, first + 49, 50, 10**6):
                        assert (topic, body) == (stream + b"orderStatus.", padded(seq))
            assert {body for _, _, body in store.state()} <= {padded(seq) for seq in range(1, 601)}
            store.get("key")
            for stream in (ME, YOU):
                store.append([row(last.get(stream, 0) + 1, stream, identity=b"x")])
            store.put("key", b"value")
            for _ in range(9):
                tend_later(store, DAY)
            store.metrics()


def padded(seq: int) -> bytes:
    return b"body %d " % seq + bytes(range(256)) * (1 + seq % 3 * 9)


@cache
def somewhat_full() -> Path:
    """A file with two streams, made once."""
    directory = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, directory)
    with closing(opened(directory)) as store:
        for seq in range(1, 601):
            identity = b"%d" % (seq % 7) if seq % 3 else None
            assert store.append([row(seq, each, body=padded(seq), identity=identity) for each in (ME, YOU)])
        assert store.put("key", b"value")
    return directory / "events.db"


# -- what is pruned


def test_what_is_too_old_is_pruned_some_of_it_at_a_time(store: EventStore) -> None:
    many = PRUNED * 3
    assert store.append(rows(1, many, identity=b"x"))
    tend_later(store, DAY)
    assert store.append(rows(1, 2, YOU, identity=b"x"))
    tend_later(store, 6 * DAY)
    assert (store.first(ME), len(read(store))) == (1, many)
    for pruned in (PRUNED, PRUNED * 2, many, many):
        tend_later(store, 1)
        assert (store.first(ME), len(read(store))) == (pruned + 1, many - pruned)
    for each in now_and_later(store):
        assert (each.first(ME), each.last(), read(each), read(each, YOU)) == (many + 1, {ME: many, YOU: 2}, [], [1, 2])
        assert each.state() == [(YOU + b"orderStatus.", b"x", b"body 2")]


def test_numbers_run_on_when_everything_is_pruned(store: EventStore) -> None:
    assert store.append(rows(1, 3))
    tend_later(store, 8 * DAY)
    with closing(reopened(store)) as again:
        assert (again.last(), again.first(ME), read(again)) == ({ME: 3}, 4, [])
        assert again.append(rows(4, 4))
        assert (again.first(ME), read(again)) == (4, [4])


def test_large_messages_are_pruned_fewer_at_a_time(store: EventStore) -> None:
    body = b"body" + bytes(PRUNED_BYTES // 4)
    assert store.append(rows(1, 20, body=body))
    store.tick(0)  # there is much to copy: one thing at a time
    tend_later(store, 8 * DAY)
    assert store.first(ME) == 5


def test_what_a_hole_has_hidden_is_pruned_whatever_its_age(store: EventStore) -> None:
    assert store.append([*rows(1, 3), row(9)])
    store.tick(0)
    assert on_disk(store._directory) == [(ME, 9)]


def test_what_was_pruned_makes_room_on_a_full_disk(store: EventStore) -> None:
    assert store.append(rows(1, 100, body=b"body" + bytes(1000)))
    store._about = store._about._replace(uptime=8 * DAY)
    with no_room(store):
        assert not store.append(rows(101, 120, body=b"body" + bytes(1000)))
        tend_later(store, 1)
        tend_later(store, 1)
        assert store.fault == ""
        assert on_disk(store._directory) == [(ME, seq) for seq in range(101, 121)]


def test_nothing_is_pruned_while_others_write(store: EventStore) -> None:
    assert store.append(rows(1, 3))
    with written_by_others(store):
        tend_later(store, 8 * DAY)
        assert store.fault
        assert read(store) == [1, 2, 3]
    tend_later(store, 8 * DAY)
    assert store.fault == ""
    assert read(store) == []


# -- the clock


@pytest.mark.parametrize("jump", [8 * DAY, -8 * DAY, 20 * 365 * DAY, -20 * 365 * DAY])
def test_a_clock_that_jumps_prunes_nothing(store: EventStore, jump: int) -> None:
    """The clock that `tend` is given goes forward only; but whatever it does, one call counts for a minute at most."""
    assert store.append(rows(1, 3))
    now = NOW
    for second in range(60):
        now = NOW + second * 1_000_000 + (jump if 20 <= second < 30 else 0)
        store.tick(now)
    assert read(store) == [1, 2, 3]
    store.tick(now + jump)
    store.tick(now + jump)
    assert read(store) == [1, 2, 3]


def live(store: EventStore, days: int, *, begin: int = 0) -> None:
    """Tend a store for so many days, once an hour."""
    for hour in range(days * 24 + 1):
        store.tick(begin + hour * HOUR)


def test_time_in_which_nothing_runs_prunes_nothing_and_time_that_passes_counts_over_restarts(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five lives of two days each, a month apart."""
    monkeypatch.setattr(module, "STEP", HOUR)
    for life in range(5):
        with closing(opened(directory)) as store:
            assert store.append(rows(life + 1, life + 1))
            live(store, 2, begin=NOW + life * 30 * DAY)
            assert read(store) == list(range(1 if life < 3 else life - 1, life + 2))


def test_a_life_in_which_no_message_comes_counts_too(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP", HOUR)
    with closing(opened(directory)) as store:
        assert store.append(rows(1, 1))
    for life in range(4):
        with closing(opened(directory)) as store:
            live(store, 2)
            assert read(store) == ([1] if life < 3 else [])


# -- order keys


def a_key(name: bytes, value: bytes = b"1", *, opened: bool = True) -> Key:
    return Key(name, value, open=opened)


def test_a_key_is_known_for_ever(store: EventStore) -> None:
    store.remember(a_key(b"a"))
    store.remember(a_key(b"b", opened=False))
    assert (store.key(b"a"), store.key(b"b"), store.key(b"c")) == (b"1", b"1", None), "before it is written, too"
    assert store.append(rows(1, 1))
    tend_later(store, 900 * DAY)
    assert read(store) == []
    for each in now_and_later(store):
        assert (each.key(b"a"), each.key(b"b"), each.key(b"c"), each.fault) == (b"1", b"1", None, "")
    with closing(reopened(store)) as again:
        assert again.open_keys() == [a_key(b"a")]
        again.remember(a_key(b"a", b"2", opened=False))
        assert again.append(rows(2, 2))
        with closing(reopened(again)) as third:
            assert (third.key(b"a"), third.open_keys()) == (b"2", [])


def test_a_key_is_written_with_the_rows_that_follow_it_or_waits_with_them(store: EventStore, directory: Path) -> None:
    with written_by_others(store):
        store.remember(a_key(b"a"))
        assert not store.append(rows(1, PROBE + 1))
        assert store.key(b"a") == b"1"
    store.tick(0)
    with closing(sqlite3.connect(directory / "events.db")) as db:
        assert db.execute("SELECT name, value FROM key").fetchall() == [(b"a", b"1")]
        assert db.execute("SELECT keys FROM about").fetchall() == [(1,)]


def test_no_key_is_dropped_with_the_messages_for_which_there_is_no_room(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 2 * size_of(row(11)))
    with written_by_others(store):
        for seq in range(1, 10):
            store.remember(a_key(b"%d" % seq))
            assert not store.append([row(seq)])
    store.tick(0)
    assert (store.metrics()["dropped"], store.fault) == (7, "")
    with closing(reopened(store)) as again:
        assert [again.key(b"%d" % seq) for seq in range(1, 10)] == [b"1"] * 9


def test_the_state_of_an_open_key_outlives_its_message_until_the_key_is_closed(store: EventStore) -> None:
    topic = ME + b"orderStatus."
    store.remember(a_key(b"open"))
    store.remember(a_key(b"closed", opened=False))
    keyed = [row(seq, identity=b"%d" % seq)._replace(key=key) for seq, key in ((1, b"open"), (2, b"closed"))]
    assert store.append([*keyed, row(3, identity=b"3")])
    tend_later(store, 8 * DAY)
    assert read(store) == []
    for each in now_and_later(store):
        assert (each.state(), each.fault) == ([(topic, b"1", b"body 1")], "")
    with closing(reopened(store)) as again:
        again.remember(a_key(b"open", opened=False))
        assert again.append(rows(4, 4))
        with closing(reopened(again)) as third:
            assert third.state() == []


@pytest.mark.parametrize("spoil", ["DELETE FROM key", "UPDATE key SET value = x'00'", "UPDATE key SET checksum = 1"])
def test_a_key_that_is_gone_or_damaged_is_a_fault_and_never_a_new_key(store: EventStore, spoil: str) -> None:
    store.remember(a_key(b"a"))
    assert store.append(rows(1, 1))
    connection(store).execute(spoil)
    assert store.key(b"b") is None
    assert store.fault == ""
    assert store.key(b"a") is None
    assert "an order's key is unreadable, or is not there: b'a'; move it away" in store.fault


def test_a_million_keys_take_little(store: EventStore, directory: Path) -> None:
    """A thousand of them here: less than 80 bytes each on disk, and 8 in memory."""
    for seq in range(1000):
        name, value = b"\x92\xa2me\xafentry-2026-%05d" % seq, b"\x93\x01\xcd\x12\x34\xce\x12\x34\x56\x78"
        store.remember(a_key(name, value, opened=False))
    before = bytes_on_disk(directory)
    assert store.append(rows(1, 1))
    assert bytes_on_disk(directory) - before < 80_000
    with closing(reopened(store)) as again:
        assert len(again._known) == 1000
        assert again._known._old.itemsize * len(again._known._old) == 8000


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


# -- the log


def wal(directory: Path) -> int:
    return (directory / "events.db-wal").stat().st_size


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


def in_file_alone(directory: Path) -> int:
    """How many messages are in the file, without the log."""
    with ExitStack() as stack:
        copy = shutil.copy(directory / "events.db", stack.enter_context(tempfile.TemporaryDirectory()))
        db = stack.enter_context(closing(sqlite3.connect(copy)))
        if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return 0
        found: int = db.execute("SELECT count(*) FROM event").fetchone()[0]
        return found


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
    store._db = broken  # type: ignore[assignment]
    store.tick(0)
    store.tick(0)
    assert "events.db: disk I/O error; see what the system log says of its disk, it is tried again" in store.fault
    assert store.append(rows(4, 4))
    assert store.fault
    store._db = real
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


# -- processes that are killed


KILLED = """
import pathlib, random, sys
from ibbridge.storage.event_store import EventStore
from ibbridge.streams.publisher import Row
store, luck = EventStore(pathlib.Path(sys.argv[1]), days=1 / 86400), random.Random(sys.argv[2])
store.open(1)
last = store.last()
now = sum(last.values())
while True:
    some = []
    for _ in range(luck.choice((1, 1, 2, 50))):
        stream = luck.choice((b"ord.me.", b"exec.me.", b"acct.me."))
        last[stream] = last.get(stream, 0) + 1
        now += 1
        identity = luck.choice((None, b"a", b"b"))
        some.append(Row(stream, last[stream], now, stream + b"x.", b"%d" % last[stream], identity))
    assert store.append(some), store.fault
    for row in some:
        sys.stdout.buffer.write(b"%s %d\n" % (row.stream, row.seq))
    sys.stdout.buffer.flush()
    if luck.random() < 0.2:
        store.tick(now)
"""


@pytest.mark.parametrize("seed", range(3))
def test_what_was_committed_survives_kill_9_at_any_moment(directory: Path, seed: int) -> None:
    """Rounds on one store; each is killed behind so many lines of its output, which is anywhere in what comes next."""
    luck = random.Random(seed)
    told: dict[bytes, int] = {}
    for turn in range(6):
        command = [sys.executable, "-c", KILLED, str(directory), f"{seed} {turn}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(luck.randrange(1, 1500)):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            # What was in the pipe was said by it, too.
            for line in (writer.stdout.read()).splitlines(keepends=True):
                if line.endswith(b"\n"):
                    stream, seq = line.split()
                    told[stream] = int(seq)
        with closing(opened(directory, days=36500)) as store:
            assert store.fault == ""
            assert {stream: seq for stream, seq in told.items() if store.last()[stream] < seq} == {}
            for stream, last in store.last().items():
                first = store.first(stream)
                expected = [(seq, stream + b"x.", b"%d" % seq) for seq in range(first, last + 1)]
                assert store.read(stream, 0, last, ALL, ALL) == expected
            told |= store.last()
            assert connection(store).execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# -- everything together


class Model(RuleBasedStateMachine):
    """The store beside lists and dicts, through restarts, foreign locks, and time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.faults = ExitStack()
        self.now = 0  # uptime
        self.messages: list[Row] = []  # as they were appended, without those that are pruned
        self.unwritten = 0  # how many of them, at the end
        self.numbers: dict[bytes, int] = {}
        self.states: dict[tuple[bytes, bytes], Row] = {}
        self.committed = dict(self.states)
        self.store = opened(self.directory)
        self.blocked = False

    def teardown(self) -> None:
        self.faults.close()
        self.store.close()
        shutil.rmtree(self.directory)

    @rule(what=st.lists(st.tuples(st.sampled_from((ME, YOU, b"sys.tws.")), st.sampled_from((None, b"a", b"b")))))
    def append(self, what: list[tuple[bytes, bytes | None]]) -> None:
        some = []
        for stream, identity in what:
            self.numbers[stream] = seq = self.numbers.get(stream, 0) + 1
            some.append(row(seq, stream, ts=self.now, identity=identity))
            if identity is not None:
                self.states[some[-1].topic, identity] = some[-1]
        assert self.store.append(some) is not self.blocked
        self.messages += some
        self.unwritten += len(some)
        self.settle()

    @rule(stream=st.sampled_from((ME, YOU)), identity=st.sampled_from((None, b"a", b"b")))
    def forget(self, stream: bytes, identity: bytes | None) -> None:
        topic = stream + b"orderStatus."
        self.store.forget(topic, identity)
        for each in [(topic, identity)] if identity else [key for key in self.states if key[0] == topic]:
            self.states.pop(each, None)

    @rule(days=st.integers(0, 5))
    def tend(self, days: int) -> None:
        self.now += days * DAY
        tend_later(self.store, days * DAY)
        self.settle()
        if not self.blocked:
            kept = [each for each in self.messages if each.ts >= self.now - 7 * DAY]
            gone, self.messages = self.messages[: len(self.messages) - len(kept)], kept
            self.states = {key: each for key, each in self.states.items() if each not in gone}
            self.committed = dict(self.states)

    def settle(self) -> None:
        if not self.blocked:
            self.unwritten = 0
            self.committed = dict(self.states)

    @precondition(lambda self: not self.blocked)
    @rule()
    def block(self) -> None:
        self.faults.enter_context(written_by_others(self.store))
        self.blocked = True

    @precondition(lambda self: self.blocked)
    @rule()
    def unblock(self) -> None:
        self.faults.close()
        self.blocked = False

    @rule()
    def restart(self) -> None:
        """What could not be written is lost with the process; the numbers run on from what could."""
        self.store.close()
        if self.blocked:
            self.faults.close()
            self.blocked = False
            lost = self.messages[len(self.messages) - self.unwritten :]
            for each in reversed(lost):
                self.numbers[each.stream] = each.seq - 1
            self.messages = self.messages[: len(self.messages) - self.unwritten]
            self.states = self.committed
        self.settle()
        self.store = opened(self.directory)
        self.now = self.store._about.uptime  # as much of it as could be written
        self.numbers = {stream: seq for stream, seq in self.numbers.items() if seq}
        assert {(topic, identity): body for topic, identity, body in self.store.state()} == {
            key: each.body for key, each in self.states.items()
        }

    @invariant()
    def agrees(self) -> None:
        assert self.store.last() == self.numbers
        for stream, last in self.numbers.items():
            there = [(each.seq, each.topic, each.body) for each in self.messages if each.stream == stream]
            assert self.store.read(stream, 0, ALL, ALL, ALL) == there
            assert self.store.first(stream) == last + 1 - len(there)
        assert self.store.metrics()["kept"] == self.unwritten


Model.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestModel = Model.TestCase
