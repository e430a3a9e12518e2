"""Damage in the file that is found after the opening: nothing false is read, and nothing is raised."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.storage.checksums import WRONG, of_state
from tests.support.store_faults import scribble
from tests.support.stores import DAY, ME, YOU, connection, opened, read, row, rows, tend_later

if TYPE_CHECKING:
    import random

    from ibbridge.storage.event_store import EventStore


def test_damage_in_the_middle_is_found_when_it_is_read(directory: Path) -> None:
    """Earlier messages are read, later ones are kept in memory, and the file is not written any more."""
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


def test_a_state_with_the_checksum_of_some_early_files_is_no_damage(store: EventStore) -> None:
    assert store.append([row(1, identity=b"x")])
    db = connection(store)
    topic, identity, *rest = db.execute("SELECT topic, identity, stream, seq, key, body FROM state").fetchone()
    db.execute("UPDATE state SET checksum = ?", (of_state((topic, identity), (rest[0], rest[1]), *rest[2:]),))
    assert len(store.state()) == 1
    assert store.fault == ""


def test_what_no_file_can_have_has_no_checksum() -> None:
    assert of_state((1, b""), (1, 1), None, None) == WRONG
    assert of_state((b"", b""), ("x", 1), None, None) == WRONG
    assert of_state((b"", b""), (1, 1), 1, None) == WRONG


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
