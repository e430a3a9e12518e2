"""Remembered replies: for ten minutes, bounded, and independent of the order of a command's keys."""

from __future__ import annotations

from collections import Counter

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ibbridge.commands.fair_memory import OVERHEAD, FairMemory
from ibbridge.commands.reply_cache import MOST, SECONDS, ReplyCache, repeated
from ibbridge.protocol.digest import digest
from ibbridge.requests.request import CommandId

A, B = CommandId("a", "1"), CommandId("b", "1")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def test_a_reply_is_found_for_ten_minutes_by_who_asked_and_under_which_id():
    replies = ReplyCache()
    replies.keep(A, b"content", b"reply", now=100.0)
    assert replies.find(A, b"content", 100.0 + SECONDS - 0.001) == (True, b"reply")
    assert replies.find(A, b"other", 100.0) == (False, b"reply")
    assert replies.find(B, b"content", 100.0) is None
    assert replies.find(A, b"content", 100.0 + SECONDS) is None
    assert (len(replies), replies.forgotten) == (0, 0)


@pytest.mark.parametrize("bound", [{"most": 3}, {"largest": 3 * (OVERHEAD + 10)}])
def test_the_oldest_goes_first_when_there_are_too_many_and_that_is_counted(bound):
    replies = ReplyCache(**bound)
    for number in range(5):
        replies.keep(CommandId("a", str(number)), b"", bytes(10), now=0.0)
    there = [replies.find(CommandId("a", str(number)), b"", 0.0) is not None for number in range(5)]
    assert there == [False, False, True, True, True]
    assert replies.forgotten == 2
    assert MOST == 100_000


def test_what_is_too_old_goes_a_few_at_a_time_and_is_not_found_any_more():
    replies = ReplyCache()
    for number in range(1000):
        replies.keep(CommandId("a", str(number)), b"", bytes(10), now=0.0)
    assert replies.find(CommandId("a", "999"), b"", SECONDS) is None
    assert 0 < len(replies) < 1000
    replies.keep(CommandId("a", "999"), b"", bytes(10), SECONDS)
    assert replies.find(CommandId("a", "999"), b"", SECONDS) == (True, bytes(10))
    for _ in range(1000):
        replies.find(A, b"", SECONDS)
    assert (len(replies), replies.size) == (1, OVERHEAD + 10)


@pytest.mark.parametrize(("names", "peers"), [(1, 1), (1000, 1), (1, 1000), (200, 200), (9000, 1), (1, 9000)])
@pytest.mark.parametrize("before", [True, False])
def test_a_flood_under_whatever_names_pushes_out_nothing_of_an_honest_client(names, peers, before):
    replies = ReplyCache(most=6000)
    honest = [CommandId("honest", str(number)) for number in range(6)]
    for each in honest[:4] if before else ():
        replies.keep(each, b"", bytes(200), 0.0, b"honest")
    for number in range(9000):
        asking = CommandId(f"c{number % names}", str(number))
        replies.keep(asking, b"", bytes(number % 100), 1.0, b"p%d" % (number % peers))
    for each in honest[4:] if before else honest:
        replies.keep(each, b"", bytes(200), 2.0, b"honest")
    assert all(replies.find(each, b"", 500.0) for each in honest)
    assert len(replies) == 6000
    assert replies.forgotten == 3000 + len(honest)


def test_of_one_connection_the_name_that_has_most_loses_its_oldest():
    replies = ReplyCache(most=1000)
    for number in range(40):
        replies.keep(CommandId("honest", str(number)), b"", b"", 0.0, b"proxy")
    for number in range(3000):
        replies.keep(CommandId(f"c{number % 20}", str(number)), b"", b"", 0.0, b"proxy")
    assert all(replies.find(CommandId("honest", str(number)), b"", 0.0) for number in range(40))
    assert replies.find(CommandId("c1", "1"), b"", 0.0) is None
    assert replies.find(CommandId("c1", "2981"), b"", 0.0)


class Shared(RuleBasedStateMachine):
    """A bounded memory beside the plainest one that says who has most."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: FairMemory[int, int] = FairMemory(12, 12 * OVERHEAD + 40)
        self.kept: dict[int, tuple[int, str, bytes]] = {}

    @rule(key=st.integers(0, 30), size=st.integers(0, 20), client=st.sampled_from("abc"), peer=st.sampled_from(b"xyz"))
    def put(self, key, size, client, peer):
        self.kept.pop(key, None)
        self.kept[key] = size + OVERHEAD, client, bytes([peer])
        gone = self.memory.put(key, key, size, client, bytes([peer]))
        before = len(self.kept)
        while len(self.kept) > 12 or sum(each for each, *_ in self.kept.values()) > 12 * OVERHEAD + 40:
            self._one_goes()
        assert gone == before - len(self.kept)

    def _one_goes(self) -> None:
        """Check that the client or connection with most bytes loses its oldest command; among equals, any may."""
        of_client, of_peer, of_both = Counter[str](), Counter[bytes](), Counter[tuple[bytes, str]]()
        for size, client, peer in self.kept.values():
            of_client[client] += size
            of_peer[peer] += size
            of_both[peer, client] += size
        most = max(*of_client.values(), *of_peer.values())
        gone = [key for key in self.kept if self.memory.get(key) is None]
        may = []
        for key in gone:
            _, client, peer = self.kept[key]
            of_this_peer = [each for (other, _), each in of_both.items() if other == peer]
            if of_client[client] == most or (of_peer[peer] == most and of_both[peer, client] == max(of_this_peer)):
                may.append(key)
        assert may, (self.kept, gone)
        del self.kept[may[0]]

    @rule(key=st.integers(0, 30))
    def remove(self, key):
        self.memory.remove(key)
        self.kept.pop(key, None)

    @invariant()
    def it_has_what_was_put_and_no_more(self):
        assert {key for key in range(31) if self.memory.get(key) is not None} == set(self.kept)
        assert len(self.memory) == len(self.kept)
        assert self.memory.size == sum(size for size, *_ in self.kept.values())
        oldest = self.memory.oldest()
        assert (oldest and oldest[0]) == next(iter(self.kept), None)


TestShared = Shared.TestCase
TestShared.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(VALUES)
def test_the_same_content_is_the_same_in_whatever_order_its_keys_are_given(value):
    def turned(each):
        if isinstance(each, dict):
            return {name: turned(each[name]) for name in reversed(each)}
        return [turned(one) for one in each] if isinstance(each, list) else each

    assert digest(value) == digest(turned(value))


@given(VALUES, VALUES)
def test_other_content_is_other(one, other):
    assert (digest(one) == digest(other)) == (msgpack.packb(one) == msgpack.packb(other) or same(one, other))


def same(one, other):
    """The same to whoever reads it, key by key, and of the same types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return {(type(k), k) for k in one} == {(type(k), k) for k in other} and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and repr(one) == repr(other)


def test_a_reply_says_once_that_it_is_a_repetition():
    reply = msgpack.packb({"id": 1, "ok": True, "result": {}, "epoch": 1, "gen": 1})
    again = repeated(reply)
    assert msgpack.unpackb(again) == {**msgpack.unpackb(reply), "dup": True}
    assert repeated(again) == again
