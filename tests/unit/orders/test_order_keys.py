"""The key of an order is the same order for ever: over restarts, pruning, upgrades of the store, and damage to it."""

from __future__ import annotations

import gzip
import sqlite3
import tempfile
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.orders.order_keys import adopt
from ibbridge.orders.state_machine import OrderState, Reason
from ibbridge.storage.event_store import EventStore
from tests.support.daemon_core import AAPL, _blank, resume_all
from tests.support.store_faults import scribble
from tests.unit.test_daemon import ACCOUNTS, ORDER, Published, Wire

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from ibbridge.storage.keys import Key

SCHEMA_1 = Path(__file__).parent / "stores" / "schema1.db.gz"
"""A store of the last release that had schema 1, written by that release. Orders of client `a` under client id 1, from
number 4711 on: `working` and `filled` with openOrder and orderStatus, `refused` of which there is only an error,
`executed` with only an execution, and `unheard` of which nothing was published. A foreign order; halted by `desk`."""

DAY = 86_400_000_000


class Lives:
    """Lives of a daemon, one after the other, on one store."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.published = Published(store=str(directory))

    def begin(self, following: int = 4711, **tws: Any) -> Wire:
        """Start, with a TWS whose next order id is `following`."""
        self.published = Published(store=str(self.directory), **tws)
        daemon = self.published.daemon
        daemon.open_store()
        daemon._take_up()
        wire = Wire(daemon)
        wire.say(ACCOUNTS, ("nextValidId", {"orderId": following}))
        return wire

    def end(self) -> None:
        self.published.daemon._close_store()

    def place(self, key: str = "k") -> dict[str, Any]:
        return self.published.ask("placeOrder", **ORDER | {"key": key})

    def pass_days(self, days: int) -> None:
        """Have the store tended until all that is older than its days is pruned."""
        store = self.published.daemon.store
        store._contents.about = store._contents.about._replace(uptime=store._contents.about.uptime + days * DAY)
        while days and store.first(b"sys.tws.") <= store.last()[b"sys.tws."]:
            store.tick(0)
        assert store.fault == ""

    def is_used(self, key: str = "k") -> bool:
        """Return True if no new order can be made under this key."""
        reply = self.place(key)
        assert reply["ok"] or reply["error"]["code"] == "E_KEY_REUSED", reply
        return not reply["ok"] or reply.get("dup", False)


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "store")
    yield lives
    lives.end()


def status(number: int, status: str = "Submitted", perm_id: int = 9) -> tuple[str, dict[str, Any]]:
    return "orderStatus", {
        **_blank("orderStatus"), "orderId": number, "permId": perm_id, "clientId": 1, "status": status
    }  # fmt: skip


def opened(number: int, ref: str, perm_id: int = 9) -> tuple[str, dict[str, Any]]:
    order = {"orderId": number, "clientId": 1, "permId": perm_id, "orderRef": ref}
    return "openOrder", {"orderId": number, "contract": AAPL, "order": order, "orderState": {"status": "Submitted"}}


def executed(number: int) -> tuple[str, dict[str, Any]]:
    execution = {"execId": "E1", "orderId": number, "clientId": 1, "permId": 9, "orderRef": ""}
    return "execDetails", {"reqId": -1, "contract": AAPL, "execution": execution}


def refused(number: int) -> tuple[str, dict[str, Any]]:
    return "error", {
        "reqId": number, "errorTime": 0, "errorCode": 201, "errorString": "rejected", "advancedOrderRejectJson": ""
    }  # fmt: skip


SAID: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "an open order": (opened(4711, "a/k"),),
    "a status": (status(4711),),
    "open, then filled": (opened(4711, "a/k"), status(4711), status(4711, "Filled")),
    "an error alone": (refused(4711),),
    "an execution alone": (executed(4711),),
}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("days", [0, 8, 900])
def test_the_key_of_an_order_of_which_anything_was_said_is_used_for_ever(lives: Lives, said: str, days: int) -> None:
    wire = lives.begin()
    assert not lives.is_used()
    wire.say(*SAID[said])
    for _ in range(2):
        lives.pass_days(days)
        lives.end()
        lives.begin(following=1)
        assert lives.is_used()
        assert not lives.is_used(f"another {days} {lives.published.daemon.parts.streams.publisher.epoch}")


def test_the_key_of_an_order_is_used_for_ever_that_the_daemon_said_was_lost(lives: Lives) -> None:
    lives.begin()
    lives.place()
    lives.published.daemon.parts.dispatcher.connection_lost()
    lives.pass_days(8)
    lives.end()
    lives.begin()
    assert lives.is_used()


@pytest.mark.parametrize("days", [0, 8])
def test_an_order_that_is_still_open_after_the_stores_days_is_found_and_can_be_cancelled(
    lives: Lives, days: int
) -> None:
    wire = lives.begin()
    lives.place()
    wire.say(opened(4711, "a/k"), status(4711))
    lives.pass_days(days)
    lives.end()
    wire = lives.begin(following=1)
    state = lives.published.ask("snapshot", args={"prefix": "ord."})["result"]["streams"]
    assert sorted(topic for each in state for topic, _ in each["messages"]) == [
        b"ord.a.k.openOrder.", b"ord.a.k.orderState.", b"ord.a.k.orderStatus."
    ]  # fmt: skip
    cancelled = lives.published.ask("cancelOrder", key="k")
    assert cancelled["result"] == {"key": "k", "orderId": 4711}
    wire.say(status(4711, "Cancelled"))
    assert lives.published.of("orderStatus")[-1].topic == "ord.a.k.orderStatus."
    lives.pass_days(8)
    lives.end()
    lives.begin(following=1)
    assert lives.published.ask("snapshot", args={"prefix": "ord."})["result"]["streams"][0]["messages"] == []
    assert lives.is_used()


def test_an_order_that_ended_before_the_stores_days_is_known_by_its_key_and_its_permid(lives: Lives) -> None:
    wire = lives.begin()
    lives.place()
    wire.say(status(4711, "Filled", 99))
    lives.pass_days(8)
    lives.end()
    lives.begin()
    order = lives.published.daemon.parts.orders.registry.find("a", "k")
    assert order is not None
    assert (order.order_id, order.perm_id, order.state, order.reason) == (4711, 99, OrderState.DONE, Reason.FILLED)
    assert lives.place()["result"]["orderId"] == 4711


def test_ids_go_on_above_those_of_orders_that_are_long_over(lives: Lives) -> None:
    wire = lives.begin()
    lives.place()
    wire.say(status(4711, "Filled"))
    lives.pass_days(8)
    lives.end()
    lives.begin(following=1)
    assert lives.place("other")["result"]["orderId"] > 4711


def test_with_another_client_id_the_journal_is_refused_and_so_are_orders(lives: Lives) -> None:
    wire = lives.begin()
    lives.place()
    wire.say(status(4711))
    lives.end()
    lives.begin(following=1, client_id=2)
    error = lives.place("other")["error"]
    assert (error["code"], error["outcome"]) == ("E_STORE", "not_sent")
    assert "it has the orders of client id 1, and tws.client_id is 2" in error["message"]
    assert lives.published.ask("cancelOrder", key="k")["error"]["code"] == "E_ARG"
    lives.end()
    lives.begin(following=1)
    assert lives.is_used()
    assert lives.published.ask("cancelOrder", key="k")["ok"]


def test_what_is_said_of_an_order_again_and_again_is_one_record(lives: Lives) -> None:
    wire = lives.begin()
    lives.place()
    written: list[Key] = []
    lives.published.daemon.store.remember = written.append  # type: ignore[method-assign, assignment]
    for _ in range(5):
        wire.say(opened(4711, "a/k"), status(4711))
    wire.say(status(4711, "Filled"), executed(4711), executed(4711))
    records = [(msgpack.unpackb(key.name), key.open) for key in written]
    assert records == [(["a", "k"], True), (["a", "k"], False)]


# -- damage


@settings(max_examples=25)
@given(luck=st.randoms(use_true_random=False), places=st.integers(1, 20), length=st.sampled_from([1, 8, 100, 5000]))
@pytest.mark.parametrize("made", ["by this release", "by schema 1"])
def test_whatever_is_overwritten_the_daemon_starts_and_no_key_is_taken_for_a_new_one(
    luck: random.Random, places: int, length: int, made: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        content, keys = with_orders() if made == "by this release" else (gzip.decompress(SCHEMA_1.read_bytes()), USED)
        path = Path(name) / "events.db"
        path.write_bytes(content)
        scribble(path, luck, places, length)
        lives = Lives(Path(name))
        lives.begin(following=1)
        codes = {lives.place(key).get("error", {}).get("code", "taken") for key in keys}
        assert codes <= {"E_KEY_REUSED", "E_STORE", "E_HALTED"}
        lives.published.daemon.publish_heartbeat()
        lives.end()


USED = ["working", "filled", "refused", "executed"]


@cache
def with_orders() -> tuple[bytes, list[str]]:
    """A file with orders that are open, over, and long over; and their keys."""
    with tempfile.TemporaryDirectory() as name:
        lives = Lives(Path(name))
        wire = lives.begin()
        keys = [f"k{count}" for count in range(60)]
        for count, key in enumerate(keys):
            number = lives.place(key)["result"]["orderId"]
            wire.say(opened(number, f"a/{key}", number), status(number, "Filled" if count % 3 else "Submitted", number))
            if count == 30:
                lives.pass_days(8)
        lives.end()
        return (Path(name) / "events.db").read_bytes(), keys


# -- a store of schema 1


@pytest.fixture
def first(lives: Lives) -> Lives:
    """A life on a store that the release before wrote."""
    lives.directory.mkdir()
    (lives.directory / "events.db").write_bytes(gzip.decompress(SCHEMA_1.read_bytes()))
    return lives


def test_a_store_of_schema_1_is_upgraded_with_all_that_is_in_it(first: Lives) -> None:
    first.begin(following=1)
    daemon = first.published.daemon
    assert daemon.store.fault == ""
    assert daemon.store.name == "s-1qbixzp7f31i"
    assert daemon.store._contents.about.epoch == daemon.parts.streams.publisher.epoch
    assert daemon.parts.streams.halts.state == {
        "since": 1_900_000_000_000_000,
        "client": "desk",
        "reason": "for tonight",
    }
    resume_all(daemon.parts.streams.halts)
    used = {key: first.is_used(key) for key in ("working", "filled", "refused", "executed", "unheard")}
    assert used == {"working": True, "filled": True, "refused": True, "executed": True, "unheard": False}
    assert first.place("other")["result"]["orderId"] > 4715
    replayed = first.published.ask("replay", args={"stream": "ord.a.", "from": 1})["result"]["messages"]
    assert [topic.split(b".")[2] for topic, _ in replayed] == [b"working"] * 2 + [b"filled"] * 3 + [b"refused"]
    state = first.published.ask("snapshot", args={"prefix": "ord.a."})["result"]["streams"][0]["messages"]
    own = [topic for topic, _ in state if topic.endswith(b".orderState.")]
    assert (len(own), len(state)) == (2, 6)


def test_the_messages_of_a_store_of_schema_1_are_kept_for_days_from_the_upgrade_on(first: Lives) -> None:
    first.begin()
    store = first.published.daemon.store
    for _ in range(3):
        store.tick(0)
    assert store.first(b"ord.a.") == 1
    first.pass_days(8)
    assert store.first(b"ord.a.") == 7
    first.end()
    first.begin()
    resume_all(first.published.daemon.parts.streams.halts)
    assert first.is_used("working")
    state = first.published.ask("snapshot", args={"prefix": "ord.a."})["result"]["streams"][0]["messages"]
    assert [topic for topic, _ in state] == [b"ord.a.working.openOrder.", b"ord.a.working.orderStatus."]


def _spoiled(statement: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(statement)

    return spoil


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET body = x'00' WHERE id = 7",
        "UPDATE event SET topic = 'text' WHERE id = 7",
        "UPDATE state SET identity = x'c1'",
        "DELETE FROM about",
        "UPDATE stream SET name = 1 WHERE number = 2",
    ],
)
def test_a_damaged_store_of_schema_1_is_said_and_left_as_it_is(first: Lives, statement: str) -> None:
    path = first.directory / "events.db"
    _spoiled(statement)(path)
    before = path.read_bytes()
    with closing(EventStore(first.directory, days=7, patience=60)) as store:
        store.open(1, partial(adopt, 1))
        assert "; move it away with its -wal and -shm; " in store.fault
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert tables == {"about", "event", "state", "stream", "value"}
    assert len(before) == len(path.read_bytes())


def test_the_epoch_after_an_upgrade_is_higher_than_any_before(first: Lives) -> None:
    """The clock of the release before may have been ahead."""
    with closing(EventStore(first.directory, days=7, patience=60)) as store:
        assert store.open(5, partial(adopt, 1)) == 1_796_030_689_249_535
