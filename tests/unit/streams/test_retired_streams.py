"""Streams that hold nothing are remembered by their number, and go on with the next."""

from __future__ import annotations

import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.streams import snapshot
from ibbridge.streams.history import Gone, MessageHistory
from ibbridge.streams.publisher import Publisher
from ibbridge.streams.retired_streams import RetiredStreams


def streams() -> tuple[Publisher, list[bytes]]:
    sent: list[bytes] = []
    made = Publisher(1, sent.extend, history=MessageHistory(8, 2**20))
    made._retired = RetiredStreams(named=4)
    return made, sent


def beat(made: Publisher, times: int = 1) -> None:
    for _ in range(times):
        made.seqs()
        made.tick()


STEPS = st.sampled_from(["say", "state", "forget", "beat", "snapshot"])


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 30), STEPS), max_size=200))
def test_the_numbers_of_every_stream_are_gapless_however_often_it_was_retired(steps):
    made, sent = streams()
    last: dict[str, int] = {}
    for number, what in steps:
        name = f"client-{number}"
        if what == "beat":
            beat(made, 4)
        elif what == "snapshot":
            page, _ = snapshot.page(made, b"")
            assert all(each["seq"] == last.get(each["stream"], 0) for each in page)
        elif what == "forget":
            made.forget(made.channel("req", name, "error"))
        else:
            before = len(sent)
            channel = (
                made.channel("req", name, "error") if what == "state" else made.transient_channel("req", name, "error")
            )
            made.publish_packed(channel, b"\x80", 1, ())
            assert msgpack.unpackb(sent[before + 1])["seq"] == last.get(f"req.{name}.", 0) + 1
            last[f"req.{name}."] = last.get(f"req.{name}.", 0) + 1
    assert made._names == sorted(set(made._names))


def test_a_stream_that_holds_nothing_is_in_snapshots_as_long_as_its_name_is_known():
    made, _ = streams()
    for number in range(20):
        made.publish_map(made.transient_channel("req", f"c{number:02}", "error"), {}, 1)
    for _ in range(10):
        made.publish_map(made.transient_channel("md", "A", "tick"), {}, 1)
    beat(made, 5)
    assert len(made._streams) == 1
    page, _ = snapshot.page(made, b"req.")
    assert [(each["stream"], each["seq"]) for each in page] == [(f"req.c{number}.", 1) for number in range(16, 20)]
    assert made.last("req", "c17") == 1
    with pytest.raises(Gone) as gone:
        made.replay(b"req.c17.", 1, 1, 10, 1000)
    assert gone.value.first == 2
    assert made.stream(b"req.c01.") is None
    made.publish_map(made.transient_channel("req", "c01", "error"), {}, 1)
    assert made.last("req", "c01") == 2


def test_what_has_state_or_is_in_the_ring_or_still_to_be_told_is_not_retired():
    made, _ = streams()
    made.publish_map(made.channel("md", "A", "tick"), {}, 1, ())
    made.publish_map(made.transient_channel("req", "quiet", "error"), {}, 1)
    beat(made, 10)
    assert len(made._streams) == 2, "its message is in the ring"
    for number in range(10):
        made.publish_map(made.transient_channel("md", "B", "tick"), {}, number)
    made.tick()
    made.publish_map(made.transient_channel("ord", "me", "k", "orderStatus"), {}, 1)
    beat(made, 10)
    assert set(made._streams) == {b"md.A.", b"md.B.", b"ord.me."}


def test_a_hundred_thousand_names_take_a_few_megabytes():
    retired = RetiredStreams()
    tracemalloc.start()
    try:
        for number in range(100_000):
            retired.put(b"req.client-%d." % number, number + 1)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 8 * 2**20
    assert all(retired.pop(b"req.client-%d." % number) == number + 1 for number in range(0, 100_000, 97))
    assert retired.pop(b"req.never.") == 0
