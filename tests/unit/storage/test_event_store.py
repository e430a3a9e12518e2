"""The store through real files: what it returns True for is there, whatever happens to the process."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ibbridge.storage import event_store
from ibbridge.storage.writer import PROBE
from tests.support.store_faults import written_by_others
from tests.support.stores import (
    ALL,
    DAY,
    ME,
    YOU,
    a_key,
    bytes_on_disk,
    connection,
    now_and_later,
    opened,
    read,
    reopened,
    row,
    rows,
    size_of,
    tend_later,
)

if TYPE_CHECKING:
    from ibbridge.storage.event_store import EventStore
    from ibbridge.streams.history import Row

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


# -- order keys


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
    monkeypatch.setattr(event_store, "KEPT", 2 * size_of(row(11)))
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
        assert len(again._contents.known) == 1000
        assert again._contents.known._old.itemsize * len(again._contents.known._old) == 8000


# -- processes that are killed


KILLED = """
import pathlib, random, sys
from ibbridge.storage.event_store import EventStore
from ibbridge.streams.history import Row
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
            # The writer had also reported the lines that are still in the pipe.
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
        """Lose the messages that could not be written, as a process does; numbers run on from those that could."""
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
        self.now = self.store._contents.about.uptime  # as much of it as could be written
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
