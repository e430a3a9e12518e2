"""The bound on what is kept of messages that cannot be read: nothing is dropped in silence, and no disk is filled."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ibbridge.tws.decode_errors import (
    BURST,
    BURST_BYTES,
    BYTES_PER_SECOND,
    KINDS,
    NO_TWS,
    PER_SECOND,
    DecodeErrors,
    MessageType,
    Readability,
)

LARGEST = 2**20
ARRIVALS = st.lists(
    st.tuples(st.floats(0, 5), st.integers(0, 40), st.integers(1, 200), st.integers(0, LARGEST)), max_size=60
)
"""Seconds since the last, the kind, how many, and bytes of each."""


@given(ARRIVALS)
def test_each_is_published_or_counted_and_what_is_published_is_bounded(
    arrivals: list[tuple[float, int, int, int]],
) -> None:
    errors, now, published, size = DecodeErrors(0.0), 0.0, 0, 0
    all_of_them = all_bytes = 0
    for pause, kind, count, each in arrivals:
        now += pause
        for _ in range(count):
            all_of_them += 1
            all_bytes += each
            if errors.admit(MessageType(kind, None), "why", each, now):
                published += 1
                size += each
    assert published <= BURST + now * PER_SECOND + 1
    assert size <= BURST_BYTES + now * BYTES_PER_SECOND + LARGEST
    about: dict[str, Any] = errors.summary() or {"count": 0, "bytes": 0, "kinds": [], "others": 0}
    assert published + about["count"] == all_of_them
    assert size + about["bytes"] == all_bytes
    assert about["others"] + sum(kind["count"] for kind in about["kinds"]) == about["count"]
    assert len(about["kinds"]) <= KINDS
    assert errors.summary() is None, "each is counted once"


def test_a_message_now_and_then_is_published_for_ever() -> None:
    errors = DecodeErrors(0.0)
    assert all(errors.admit(MessageType(1, None), "why", 500, float(second)) for second in range(100_000))


def test_a_host_of_which_nothing_can_be_read_is_no_tws() -> None:
    host = Readability()
    assert all(host.note(read=False) for _ in range(NO_TWS - 1))
    assert not host.note(read=False)


def test_a_host_of_which_more_can_be_read_is_one_however_much_cannot() -> None:
    host = Readability()
    for _ in range(1_000):
        assert host.note(read=True)
        assert host.note(read=True)
        assert host.note(read=False)
