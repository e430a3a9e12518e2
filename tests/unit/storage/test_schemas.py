"""A file that an earlier version wrote is taken over with all that is in it, byte for byte as that version wrote it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ibbridge.storage.event_store import EventStore
from ibbridge.storage.keys import Key
from ibbridge.storage.schema import SCHEMA

STORES = Path(__file__).parent / "stores"
"""Files of the schema in use, written by the first version that had it: an open order key with two states, a message
that is no state, and a value."""

KEY = Key(b"\x92\xa2me\xa1k", b"\x93\x01\xcd\x01\xf4\x07", open=True)


@pytest.fixture
def taken_over(tmp_path: Path) -> EventStore:
    content = gzip.decompress((STORES / f"schema{SCHEMA}.db.gz").read_bytes())
    (tmp_path / "events.db").write_bytes(content)
    store = EventStore(tmp_path, days=7)
    store.open(1_767_700_000_000_000)
    return store


def test_a_file_of_this_schema_is_taken_over_without_a_word(taken_over: EventStore) -> None:
    assert taken_over.last() == {b"ord.me.": 2, b"acct.DU1.": 1}
    assert sorted(taken_over.state()) == [
        (b"ord.me.k.openOrder.", b"id", b"body 1"),
        (b"ord.me.k.orderStatus.", b"id", b"body 2"),
    ]
    assert taken_over.open_keys() == [KEY]
    assert (taken_over.key(KEY.name), taken_over.get("halt")) == (KEY.value, b"value")
    assert taken_over.read(b"ord.me.", 1, 2, 10, 1000) == [
        (1, b"ord.me.k.openOrder.", b"body 1"),
        (2, b"ord.me.k.orderStatus.", b"body 2"),
    ]
    assert taken_over.fault == ""
    taken_over.close()


def test_it_is_written_on_and_read_again(taken_over: EventStore) -> None:
    row = (b"ord.me.", 3, 1, b"ord.me.k.orderStatus.", b"body 4", b"id", KEY.name)
    assert taken_over.append([row])
    taken_over.close()
    again = EventStore(taken_over._directory.path.parent, days=7)
    again.open(1_767_700_000_000_001)
    assert {topic: body for topic, _, body in again.state()}[b"ord.me.k.orderStatus."] == b"body 4"
    assert again.fault == ""
    again.close()
