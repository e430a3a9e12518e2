"""The removal of messages, by age and by size, and the uptime that age is measured with."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.storage import contents
from ibbridge.storage.retention import MEASURED, PRUNED, PRUNED_BYTES
from ibbridge.storage.write_ahead_log import WAL
from tests.support.store_faults import no_room, slow, written_by_others
from tests.support.stores import (
    DAY,
    HOUR,
    ME,
    NOW,
    YOU,
    a_key,
    bytes_on_disk,
    now_and_later,
    on_disk,
    opened,
    read,
    reopened,
    row,
    rows,
    tend_later,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ibbridge.storage.event_store import EventStore

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
            again._retention.most_bytes = most
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
        store._retention.most_bytes = most
        with slow(store, took):
            before = store._times.count
            store.tick(0)
            assert store._times.count - before == 1
            used = store._retention.used
            for first in range(last + 1, last + 4001, 400):
                before = store._times.count
                assert store.append(rows(first, first + 399, b"sys.bridge.", body=b"body 1" + bytes(200)))
                assert store._times.count - before <= 2
            store._retention._too_much()
            assert store._retention.used < used - 10 * 100 * 200, "more goes than comes"


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
    assert on_disk(store._directory.path.parent) == [(ME, 9)]


def test_what_was_pruned_makes_room_on_a_full_disk(store: EventStore) -> None:
    assert store.append(rows(1, 100, body=b"body" + bytes(1000)))
    store._contents.about = store._contents.about._replace(uptime=8 * DAY)
    with no_room(store):
        assert not store.append(rows(101, 120, body=b"body" + bytes(1000)))
        tend_later(store, 1)
        tend_later(store, 1)
        assert store.fault == ""
        assert on_disk(store._directory.path.parent) == [(ME, seq) for seq in range(101, 121)]


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
    monkeypatch.setattr(contents, "STEP", HOUR)
    for life in range(5):
        with closing(opened(directory)) as store:
            assert store.append(rows(life + 1, life + 1))
            live(store, 2, begin=NOW + life * 30 * DAY)
            assert read(store) == list(range(1 if life < 3 else life - 1, life + 2))


def test_a_life_in_which_no_message_comes_counts_too(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "STEP", HOUR)
    with closing(opened(directory)) as store:
        assert store.append(rows(1, 1))
    for life in range(4):
        with closing(opened(directory)) as store:
            live(store, 2)
            assert read(store) == ([1] if life < 3 else [])
