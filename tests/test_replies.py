"""What is remembered of commands: for ten minutes, bounded, and whatever the order of their keys."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.replies import DEEPEST, MOST, SECONDS, Replies, TooMuchError, content, repeated
from ibbridge.routing import Asking

A, B = Asking("a", "1"), Asking("b", "1")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(-9, 9), inner, max_size=4),
)


def test_a_reply_is_found_for_ten_minutes_by_who_asked_and_under_which_id():
    replies = Replies()
    replies.keep(A, b"content", b"reply", now=100.0)
    assert replies.find(A, b"content", 100.0 + SECONDS - 0.001) == (True, b"reply")
    assert replies.find(A, b"other", 100.0) == (False, b"reply")
    assert replies.find(B, b"content", 100.0) is None
    assert replies.find(A, b"content", 100.0 + SECONDS) is None
    assert (len(replies), replies.forgotten) == (0, 0)


@pytest.mark.parametrize("bound", [{"most": 3}, {"largest": 30}])
def test_the_oldest_goes_first_when_there_are_too_many_and_that_is_counted(bound):
    replies = Replies(**bound)
    for number in range(5):
        replies.keep(Asking("a", str(number)), b"", bytes(10), now=0.0)
    there = [replies.find(Asking("a", str(number)), b"", 0.0) is not None for number in range(5)]
    assert there == [False, False, True, True, True]
    assert replies.forgotten == 2
    assert MOST == 100_000


def test_what_is_too_old_goes_a_few_at_a_time_and_is_not_found_any_more():
    replies = Replies()
    for number in range(1000):
        replies.keep(Asking("a", str(number)), b"", bytes(10), now=0.0)
    assert replies.find(Asking("a", "999"), b"", SECONDS) is None
    assert 0 < len(replies) < 1000
    replies.keep(Asking("a", "999"), b"", bytes(10), SECONDS)
    assert replies.find(Asking("a", "999"), b"", SECONDS) == (True, bytes(10))
    for _ in range(1000):
        replies.find(A, b"", SECONDS)
    assert (len(replies), replies._size) == (1, 10)


@given(VALUES)
def test_the_same_content_is_the_same_in_whatever_order_its_keys_are_given(value):
    def turned(each):
        if isinstance(each, dict):
            return {name: turned(each[name]) for name in reversed(each)}
        return [turned(one) for one in each] if isinstance(each, list) else each

    assert content(value) == content(turned(value))


@given(VALUES, VALUES)
def test_other_content_is_other(one, other):
    assert (content(one) == content(other)) == (msgpack.packb(one) == msgpack.packb(other) or same(one, other))


def same(one, other):
    """The same to whoever reads it, key by key, and of the same types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return {(type(k), k) for k in one} == {(type(k), k) for k in other} and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and repr(one) == repr(other)


def test_what_is_nested_too_deep_is_refused_and_exhausts_no_stack():
    deep: object = 1
    for _ in range(DEEPEST):
        deep = [deep]
    content(deep)
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TooMuchError):
        content(deep)
    while isinstance(deep, list):  # else freeing it would recurse
        (deep,) = deep


def test_a_reply_says_once_that_it_is_a_repetition():
    reply = msgpack.packb({"id": 1, "ok": True, "result": {}, "epoch": 1, "gen": 1})
    again = repeated(reply)
    assert msgpack.unpackb(again) == {**msgpack.unpackb(reply), "dup": True}
    assert repeated(again) == again
