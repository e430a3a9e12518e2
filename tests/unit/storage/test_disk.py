"""A disk that hangs, or is slow: how long calls wait, and what becomes of jobs that end late."""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial
from time import sleep
from typing import TYPE_CHECKING

import pytest

from ibbridge.storage import disk, event_store
from ibbridge.storage.writer import CATCH_UP
from tests.support.store_faults import hanging, hung, slow
from tests.support.stores import (
    DAY,
    ME,
    a_key,
    in_file_alone,
    now_and_later,
    on_disk,
    read,
    recover,
    reopened,
    row,
    rows,
)

if TYPE_CHECKING:
    from ibbridge.storage.event_store import EventStore


def test_a_disk_that_hangs_is_waited_for_once_and_then_not_at_all(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.append(rows(1, 3))
    with hung(store):
        assert not store.append(rows(4, 4))
        assert store.fault.endswith(
            "/events.db: the disk has not answered for 0.5 s; see what the system log says of its disk, it is tried "
            "again by itself"
        )
        waits: list[float] = []
        assert store._disk._thread is not None
        monkeypatch.setattr(store._disk._thread, "wait", lambda _, seconds: waits.append(seconds))
        for seq in range(5, 205):
            assert not store.append(rows(seq, seq))
            store.tick(0)
        assert not store.put("halt", b"1")
        assert store.read(ME, 1, 3, 9, 999) == []
        assert read(store, first=4) == list(range(4, 205)), "what waits is in memory"
        assert store.uncommitted == 201
        assert set(waits) == {0}, "nobody waits a second time"
        monkeypatch.undo()
    recover(store)
    assert read(store) == list(range(1, 205))
    assert on_disk(store._directory.path.parent) == [(ME, seq) for seq in range(1, 205)]
    assert store.append(rows(205, 205))
    for each in now_and_later(store):
        assert (read(each), each.fault, each.uncommitted) == (list(range(1, 206)), "", 0)


def test_what_a_start_needs_is_waited_for_however_long_the_disk_takes(store: EventStore) -> None:
    assert store.put("halt", b"value")
    store._disk._patience = 0.05
    with hanging(store, "BEGIN"):
        assert not store.append([row(1, identity=b"x")])
        timer = threading.Timer(0.3, partial(_let_go, store))
        timer.start()
        assert store.get("halt") == b"value"
        assert store.state() == [(ME + b"orderStatus.", b"x", b"body 1")]
        timer.join()
    store._disk._patience = 60
    recover(store)


def _let_go(store: EventStore) -> None:
    store._disk._db.open.set()  # type: ignore[union-attr]


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
    store._disk._db._seconds = 0  # type: ignore[union-attr]


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_commit_that_ends_late_is_what_it_is_and_nothing_is_there_twice(store: EventStore, *, succeeds: bool) -> None:
    store.remember(a_key(b"before"))
    with hung(store, succeeds=succeeds):
        store.remember(a_key(b"a"))
        assert not store.append([row(1, identity=b"x"), row(2)])
        store.remember(a_key(b"b"))
        store.forget(ME + b"orderStatus.", b"x")
        assert not store.append([row(3, identity=b"y")])
        assert [store.key(name) for name in (b"before", b"a", b"b", b"c")] == [b"1", b"1", b"1", None]
    recover(store)
    for each in now_and_later(store):
        assert on_disk(each._directory.path.parent) == [(ME, 1), (ME, 2), (ME, 3)]
        assert each.state() == [(ME + b"orderStatus.", b"y", b"body 3")]
        assert [each.key(name) for name in (b"before", b"a", b"b")] == [b"1"] * 3


def test_a_disk_that_is_slow_and_answers_loses_no_message_and_catches_up(store: EventStore) -> None:
    """Each commit takes longer than it is waited for."""
    store._disk._patience = 0.02
    with slow(store, 0.05):
        for seq in range(1, 30):
            store.append(rows(seq, seq))
            sleep(0.01)
    recover(store)
    assert on_disk(store._directory.path.parent) == [(ME, seq) for seq in range(1, 30)]
    store.append(rows(30, 30))  # as long as the disk is known to be slow, it is hardly waited for
    recover(store)
    assert on_disk(store._directory.path.parent)[-1] == (ME, 30)


def test_what_is_pruned_while_the_disk_hangs_is_gone_when_it_is_gone(store: EventStore) -> None:
    assert store.append(rows(1, 3))
    store._contents.about = store._contents.about._replace(uptime=8 * DAY)
    with hung(store, "DELETE FROM event"):
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
    store._disk._patience = 0.02
    with slow(store, 0.1, "SELECT"):
        assert store.get("halt") == b"1"
        assert store.fault == ""
    monkeypatch.setattr(disk, "STARTING", 0.1)
    with hanging(store):
        assert store.get("halt") is None
        assert "its disk did not answer for 0.1 s when it was to be read; " in store.fault
    assert store._disk.wait_for_late(30)
    store.tick(0)
    assert store.fault.endswith(", then restart ibbridge")
    assert not store.append(rows(1, 1))


def test_closing_ends_although_the_disk_hangs(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "CLOSING", 0.2)
    with hung(store):
        assert not store.append(rows(1, 2))
        store.close()  # which would take a minute otherwise, and succeed
        assert store.stuck
        assert store.uncommitted == 2
        store.close()  # does nothing: the thread is still at work with the file
        assert store.stuck


def test_closing_waits_for_a_disk_that_is_slow(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "CLOSING", 60.0)
    store._disk._patience = 0.02
    with slow(store, 0.1):
        assert not store.append(rows(1, CATCH_UP * 2))
        assert not store.append(rows(CATCH_UP * 2 + 1, CATCH_UP * 3))
        with closing(reopened(store)) as again:
            assert not store.stuck
            assert read(again) == list(range(1, CATCH_UP * 3 + 1))


def test_a_checkpoint_that_hangs_is_a_fault_too(store: EventStore) -> None:
    assert store.append(rows(1, 3))
    store.tick(0)
    with hung(store, "PRAGMA wal_checkpoint"):
        store.tick(0)
        assert "has not answered" in store.fault
    recover(store)
    assert in_file_alone(store._directory.path.parent) == 3
