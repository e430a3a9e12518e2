"""Contents of the ring, beside a model that keeps everything."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from ibbridge.streams.replay_buffer import BLOCK, OVERHEAD, ReplayBuffer

BATCHES = st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=12), max_size=40)


@given(BATCHES, st.integers(1, 20), st.integers(OVERHEAD, 1_000))
def test_what_is_there_is_the_newest_of_what_came_and_never_more_than_allowed(batches, most, size):
    ring = ReplayBuffer(most, size)
    everything: list[tuple[bytes, bytes]] = []
    for batch in batches:
        frames: list[bytes] = []
        for length in batch:
            number = len(everything) + 1
            everything.append((b"t%d" % number, bytes(length)))
            frames += everything[-1]
        ring.extend(frames)
        kept = everything[ring.first - 1 :]
        assert list(ring.at(range(ring.first, ring.next))) == kept
        assert ring.next == len(everything) + 1
        assert len(ring) == len(kept) <= most
        assert ring.size == sum(len(topic) + len(body) + OVERHEAD for topic, body in kept)
        assert ring.size <= size or len(kept) <= len(batch), "one batch is always kept, as far as there are slots"


def test_what_there_is_no_room_for_is_freed():
    ring = ReplayBuffer(32, 10**6)
    for number in range(1000):
        ring.extend([b"t", b"%4d" % number])
        there = sum(map(len, ring._blocks)) + sum(map(len, ring._open))
        assert there == 5 * len(ring), "and nothing else is kept"
        assert sum(map(len, ring._lengths)) + len(ring._open) == 2 * len(ring)
    assert len(ring) > 24


def test_of_the_room_there_is_most_is_used():
    for ring in (ReplayBuffer(10_000, 10**9), ReplayBuffer(10**6, 10_000 * (OVERHEAD + 9))):
        for number in range(50_000):
            ring.extend([b"t", b"%8d" % number])
            assert number < 10_000 or 9_000 < len(ring) <= 10_000


def test_the_garbage_collector_has_nothing_to_walk():
    ring = ReplayBuffer(10_000, 10**9)
    for number in range(20_000):
        ring.extend([b"t", b"%d" % number])
    gc.collect()
    assert ring._blocks
    assert not [block for block in ring._blocks if gc.is_tracked(block)]
    assert len(ring._open) <= 2 * BLOCK
