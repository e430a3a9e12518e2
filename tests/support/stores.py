"""Stores for tests: rows, and what can be read of them, in memory, by the next process and on disk."""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from contextlib import ExitStack, closing
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ibbridge.storage.backlog import OVERHEAD
from ibbridge.storage.event_store import EventStore
from ibbridge.storage.keys import Key
from ibbridge.streams.history import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


def opened(directory: Path, epoch: int = 1, **options: Any) -> EventStore:
    store = EventStore(directory, **{"days": 7, "patience": 60, **options})
    store.open(epoch)
    return store


def reopened(store: EventStore) -> EventStore:
    store.close()
    return opened(store._directory.path.parent, 2)


def now_and_later(store: EventStore) -> Iterator[EventStore]:
    """The store, and what the next process finds."""
    yield store
    with closing(reopened(store)) as again:
        yield again


def tend_later(store: EventStore, passed: int) -> None:
    """Tend a store, after so many µs in which it was tended every second."""
    store._contents.about = store._contents.about._replace(uptime=store._contents.about.uptime + passed)
    store.tick(0)


def size_of(row: Row) -> int:
    """Return what a message counts while it waits."""
    return len(row.topic + row.body + (row.identity or b"")) + OVERHEAD


def connection(store: EventStore) -> sqlite3.Connection:
    assert store._disk._db is not None
    return store._disk._db


def bytes_on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir() if path.name in {"events.db", "events.db-wal"})


def on_disk(directory: Path) -> list[tuple[bytes, int]]:
    """Stream and number of each message that another process finds, in the order in which they were written."""
    query = "SELECT stream.name, seq FROM event JOIN stream ON stream.number = event.stream ORDER BY id"
    with closing(sqlite3.connect(directory / "events.db")) as db:
        return db.execute(query).fetchall()


def wal(directory: Path) -> int:
    return (directory / "events.db-wal").stat().st_size


def in_file_alone(directory: Path) -> int:
    """Return the number of messages in the file, without the log."""
    with ExitStack() as stack:
        copy = shutil.copy(directory / "events.db", stack.enter_context(tempfile.TemporaryDirectory()))
        db = stack.enter_context(closing(sqlite3.connect(copy)))
        if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return 0
        found: int = db.execute("SELECT count(*) FROM event").fetchone()[0]
        return found


def a_key(name: bytes, value: bytes = b"1", *, opened: bool = True) -> Key:
    return Key(name, value, open=opened)


def recover(store: EventStore) -> None:
    """Tend a store until it is as it should be."""
    until = perf_counter() + 30
    while store.fault or store._disk.is_late:
        store.tick(0)
        assert perf_counter() < until, store.fault


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
