"""Writes that fail: what waits, what is dropped, and what is written later, in order."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING

import pytest

from ibbridge.storage import event_store
from ibbridge.storage.event_store import EventStore
from ibbridge.storage.writer import CATCH_UP, PROBE
from tests.support.store_faults import no_room, written_by_others
from tests.support.stores import ALL, ME, YOU, now_and_later, on_disk, opened, read, reopened, row, rows, size_of

if TYPE_CHECKING:
    from pathlib import Path

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
    monkeypatch.setattr(event_store, "KEPT", 5 * size_of(row(11)))
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
from ibbridge.streams.history import Row
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
