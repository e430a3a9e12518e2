"""The store through real files: what it returns True for is there, whatever happens to process, disk or file.

Disks that are full, killed processes, foreign locks and damaged bytes are real too, made by `tests/store_faults.py`.
"""

from __future__ import annotations

import stat
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.store import Row, Store, StoreError
from tests.store_faults import written_by_others

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400_000_000
NOW = 1_900_000_000_000_000
ME, YOU = b"ord.me.", b"ord.you."
ALL = 2**31


def row(seq: int, stream: bytes = ME, *, ts: int = NOW, body: bytes = b"", identity: bytes | None = None) -> Row:
    return Row(stream, seq, ts, stream + b"orderStatus.", body or b"body %d" % seq, identity)


def rows(first: int, last: int, stream: bytes = ME, **fields: Any) -> list[Row]:
    return [row(seq, stream, **fields) for seq in range(first, last + 1)]


def read(store: Store, stream: bytes = ME, first: int = 0, last: int = ALL) -> list[int]:
    """The numbers of what can be read; that the rest is what was written is seen to here."""
    found = store.read(stream, first, last, ALL, ALL)
    assert all(topic == stream + b"orderStatus." for _, topic, _ in found)
    assert all(body.startswith(b"body %d" % seq) for seq, _, body in found)
    return [seq for seq, _, _ in found]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(directory: Path) -> Iterator[Store]:
    with closing(opened(directory)) as store:
        yield store


def opened(directory: Path, epoch: int = 1, **options: Any) -> Store:
    store = Store(directory, **{"days": 7, **options})
    store.open(epoch)
    return store


def reopened(store: Store) -> Store:
    store.close()
    return opened(store._directory, 2)


def now_and_later(store: Store) -> Iterator[Store]:
    """The store, and what the next process finds."""
    yield store
    with closing(reopened(store)) as again:
        yield again


def connection(store: Store) -> sqlite3.Connection:
    assert store._db is not None
    return store._db


# -- what it is for


def test_what_is_appended_is_read_back_also_by_the_next_process(store: Store) -> None:
    assert store.append([*rows(1, 3), *rows(1, 2, YOU), *rows(4, 5)])
    for each in now_and_later(store):
        assert each.fault == ""
        assert read(each) == [1, 2, 3, 4, 5]
        assert read(each, YOU) == [1, 2]
        assert each.last() == {ME: 5, YOU: 2}
        assert each.first(ME) == each.first(YOU) == 1


def test_of_a_stream_that_never_was_there_is_nothing(store: Store) -> None:
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
def test_a_part_is_read(store: Store, asked: tuple[int, int, int, int], expected: range, waiting: int) -> None:
    """Wherever it is, on the disk or in memory."""
    everything = [row(seq, body=b"body %d " % seq) for seq in range(1, 10)]
    assert {len(each.topic + each.body) for each in everything} == {26}
    assert store.append(everything[: 9 - waiting])
    with written_by_others(store) if waiting else ExitStack():
        assert store.append(everything[9 - waiting :]) is not bool(waiting)
        assert [seq for seq, _, _ in store.read(ME, *asked)] == list(expected)


def test_a_hole_in_the_numbers_hides_what_was_before_it(store: Store) -> None:
    """So whoever reads from `first` on never meets one."""
    assert store.append([*rows(1, 3), *rows(7, 8)])
    for each in now_and_later(store):
        assert each.first(ME) == 7
        assert read(each) == [7, 8]
        assert each.last() == {ME: 8}


def test_a_number_that_is_written_again_is_what_it_was_last(store: Store) -> None:
    assert store.append(rows(1, 3))
    assert store.append([row(2, body=b"body 2 again")])
    assert [body for _, _, body in store.read(ME, 1, 3, 9, 999)] == [b"body 1", b"body 2 again", b"body 3"]
    assert store.last() == {ME: 3}


def test_the_state_is_the_newest_of_each_topic_and_identity(store: Store) -> None:
    assert store.append(
        [row(1, identity=b"a"), row(2, identity=b"b"), row(3), row(4, identity=b"a"), row(1, YOU, identity=b"a")]
    )
    topic = ME + b"orderStatus."
    expected = [(topic, b"a", b"body 4"), (topic, b"b", b"body 2"), (YOU + b"orderStatus.", b"a", b"body 1")]
    assert sorted(store.state()) == expected
    with closing(reopened(store)) as again:
        assert sorted(again.state()) == expected


def test_what_is_forgotten_is_no_state_until_it_is_said_again(store: Store) -> None:
    topic = ME + b"orderStatus."
    assert store.append([row(1, identity=b"a"), row(2, identity=b"b"), row(3, identity=b"c")])
    assert store.append([row(1, YOU, identity=b"a")])
    store.forget(topic, b"a")
    assert store.append([row(4, identity=b"d")])
    assert {identity for of, identity, _ in store.state() if of == topic} == {b"b", b"c", b"d"}
    store.forget(topic, None)
    store.tend(NOW)
    assert [of for of, _, _ in store.state()] == [YOU + b"orderStatus."]
    store.forget(topic, b"a")
    assert store.append([row(5, identity=b"a")])
    assert (topic, b"a", b"body 5") in store.state()
    store.forget(topic, b"a")
    with closing(reopened(store)) as again:
        assert [of for of, _, _ in again.state()] == [YOU + b"orderStatus."]


def test_what_is_forgotten_while_nothing_can_be_written_is_forgotten_in_its_place(store: Store) -> None:
    topic = ME + b"orderStatus."
    with written_by_others(store):
        assert not store.append([row(1, identity=b"a"), row(2, identity=b"b")])
        store.forget(topic, b"a")
        store.forget(topic, b"b")
        assert not store.append([row(3, identity=b"a")])
    store.tend(NOW)
    assert store.state() == [(topic, b"a", b"body 3")]


def test_many_states_forgotten_at_once_refuse_no_order(store: Store) -> None:
    assert store.append([row(seq, identity=b"%d" % seq) for seq in range(1, 1001)])
    for seq in range(1, 1001):
        store.forget(ME + b"orderStatus.", b"%d" % seq)
    store.tend(NOW)
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


def test_a_value_goes_to_the_disk_itself(store: Store) -> None:
    statements: list[str] = []
    connection(store).set_trace_callback(statements.append)
    assert store.put("halt", b"1")
    assert statements[0] == "PRAGMA synchronous=full"
    assert statements[1].startswith("BEGIN")
    assert statements[-2:] == ["COMMIT", "PRAGMA synchronous=normal"]


def test_others_may_not_read_it(store: Store, directory: Path) -> None:
    assert store.append(rows(1, 1))
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) & 0o027 == 0


def test_its_figures(store: Store, directory: Path) -> None:
    assert store.append(rows(1, 10, body=b"body" * 1000))
    first, second = store.figures(), store.figures()
    assert first["name"] == store.name
    assert (first["fault"], first["kept"], first["dropped"], first["commits"]) == ("", 0, 0, 2)
    assert first["bytes"] == sum(path.stat().st_size for path in directory.iterdir() if path.name[-4:] != "-shm")
    assert first["bytes"] > 40_000
    assert first["longestCommitMs"] >= first["commitMs"] > 0
    assert second["longestCommitMs"] == 0
    with written_by_others(store):
        assert not store.append(rows(11, 12))
        assert store.figures()["kept"] == 2
        assert store.figures()["fault"] == store.fault


# -- who may have it


def test_a_second_one_is_told_who_has_it(store: Store, directory: Path) -> None:
    with pytest.raises(StoreError, match=r"another ibbridge has this store .*events\.db\.lock.*; stop that one"):
        opened(directory)
    assert store.append(rows(1, 1))
    store.close()
    opened(directory).close()


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/store: cannot make .*Not a directory"):
        opened(tmp_path / "file" / "store")


def test_before_it_is_open_and_when_it_is_closed_nothing_is_written_or_found(directory: Path) -> None:
    store = Store(directory, days=7)
    for each in range(2):
        assert not store.append(rows(each * 2 + 1, each * 2 + 2))
        assert not store.put("key", b"value")
        assert store.get("key") is None
        assert read(store) == []
        assert store.state() == []
        assert store.first(ME) == each * 2 + 3
        store.tend(NOW)
        store.forget(b"topic", None)
        if not each:
            store.open(1)
        store.close()
        store.close()
