"""What the ring keeps, beside a model that keeps everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ibbridge.ring import OVERHEAD, Ring

BATCHES = st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=12), max_size=40)


@given(BATCHES, st.integers(1, 20), st.integers(OVERHEAD, 1_000))
def test_what_is_there_is_the_newest_of_what_came_and_never_more_than_allowed(batches, most, size):
    ring = Ring(most, size)
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
        assert ring.size == sum(len(body) + OVERHEAD for _, body in kept)
        assert ring.size <= size or len(kept) <= len(batch), "one batch is always kept, as far as there are slots"


def test_what_there_is_no_room_for_is_freed():
    ring = Ring(4, 10_000)
    for number in range(10):
        ring.extend([b"t", b"%d" % number])
    assert sorted(filter(None, ring._slots)) == sorted([b"t"] * 4 + [b"6", b"7", b"8", b"9"])
