"""Envelopes, numbers and state, as bytes."""

from __future__ import annotations

from collections import Counter

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.streams import snapshot
from ibbridge.streams.envelope import PROTO
from ibbridge.streams.publisher import EVENT, Publisher
from tests.support.daemon_core import EPOCH, Heard, each_pair

TICK = ("md", "AAPL-STK-SMART-USD", "tickPrice")
names = st.text(st.sampled_from("ab.%-é"), min_size=1, max_size=3)


class Sink:
    """Keeps what is published."""

    def __init__(self, prefix: str = "", epoch: int = EPOCH) -> None:
        self.frames: list[tuple[bytes, bytes]] = []
        self.streams = Publisher(epoch, each_pair(lambda *frames: self.frames.append(frames)), prefix)

    def say(self, components, data=None, ts=1, identity=EVENT, ref=None):
        channel = self.streams.channel(*components, ref=ref)
        self.streams.publish_map(channel, data or {}, ts, identity)
        return self.heard()[-1]

    def heard(self):
        return [Heard(topic.decode("ascii"), msgpack.unpackb(body)) for topic, body in self.frames]

    def state(self, prefix=b"", most=1000):
        """Read all pages of a snapshot. Return their messages by stream, and the number of messages on each page."""
        found: dict[str, tuple[int, list[list[bytes]]]] = {}
        pages, after = [], ""
        while True:
            page, following = snapshot.page(self.streams, prefix, after, most)
            pages.append(sum(len(each["messages"]) for each in page))
            for place, each in enumerate(page):
                seq, messages = found.setdefault(each["stream"], (each["seq"], []))
                assert seq == each["seq"]
                assert not messages or place == 0, "a stream that is continued is the first of its page"
                messages += each["messages"]
            if following is None:
                return found, pages
            assert page
            assert following > after or " " in after, "paging gets on"
            after = following


# Envelopes


def test_the_body_is_a_map_with_exactly_what_the_protocol_says():
    sink = Sink()
    topic, body = sink.say(TICK, {"price": 1.5}, ts=1_700_000_000_123_456)
    assert topic == "md.AAPL-STK-SMART-USD.tickPrice."
    assert body == {
        "type": "tickPrice",
        "epoch": EPOCH,
        "gen": 0,
        "seq": 1,
        "offset": 1,
        "ts": 1_700_000_000_123_456,
        "data": {"price": 1.5},
    }


def test_a_ref_stands_in_the_body_where_there_is_one():
    body = Sink().say(("ord", "a", "k", "orderStatus"), {"x": 1}, ref={"owner": "a", "key": "k", "orderId": 7}).body
    assert body["ref"] == {"owner": "a", "key": "k", "orderId": 7}
    assert set(body) == {"type", "epoch", "gen", "ref", "seq", "offset", "ts", "data"}


@given(
    kind=st.text(max_size=300),
    ref=st.none() | st.dictionaries(st.text(), st.integers(-(2**63), 2**64 - 1) | st.text(), max_size=20),
    numbers=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 300)),
    data=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False) | st.text() | st.binary(), max_size=5),
)
def test_the_body_decodes_to_what_was_put_in(kind, ref, numbers, data):
    ts, epoch, gens = numbers
    sink = Sink(epoch=epoch)
    for _ in range(gens):
        sink.streams.next_generation()
    body = sink.say(("sys", "tws", kind), data, ts, ref=ref).body
    assert body == {
        "type": kind,
        "epoch": epoch,
        "gen": gens,
        "seq": 1,
        "offset": 1,
        "ts": ts,
        "data": data,
        **({"ref": ref} if ref else {}),
    }


def test_the_numbers_are_64_bits_wide_so_that_no_count_is_too_high():
    sink = Sink()
    channel = sink.streams.channel(*TICK)
    sink.streams._sequencer.offset, channel.stream.seq = 2**63, 2**40
    body = sink.say(TICK).body
    assert (body["seq"], body["offset"]) == (2**40 + 1, 2**63 + 1)


def test_a_configured_prefix_stands_in_front_of_every_topic_and_stream():
    sink = Sink(prefix="paper")
    assert sink.say(TICK, identity=1).topic == "paper.md.AAPL-STK-SMART-USD.tickPrice."
    assert list(sink.state(b"paper.")[0]) == ["paper.md.AAPL-STK-SMART-USD."]
    assert sink.streams.seqs() == {"paper.md.AAPL-STK-SMART-USD.": 1}
    assert sink.state(b"md.")[0] == {}


# Numbers


@given(st.lists(st.tuples(names, names, st.lists(names, min_size=1, max_size=2), st.booleans()), max_size=60))
def test_every_stream_is_gapless_from_1_and_so_is_the_offset_over_all(messages):
    sink = Sink()
    for first, second, rest, reconnect in messages:
        if reconnect:
            sink.streams.next_generation()
        sink.say((first, second, *rest))
    counts: Counter[str] = Counter()
    for number, heard in enumerate(sink.heard(), 1):
        stream = ".".join(heard.topic.split(".")[:2]) + "."
        counts[stream] += 1
        assert heard.body["seq"] == counts[stream], "numbers run on over reconnections"
        assert heard.body["offset"] == number
    assert sink.streams.seqs() == dict(counts)


def test_a_new_connection_shows_in_gen_and_nowhere_else():
    sink = Sink()
    before = sink.say(TICK).body
    sink.streams.next_generation()
    after = sink.say(TICK).body
    assert (before["gen"], after["gen"]) == (0, 1)
    assert (before["seq"], after["seq"]) == (1, 2)
    assert before["epoch"] == after["epoch"]


def test_the_welcome_has_no_sequence_number_and_uses_up_no_offset():
    sink = Sink()
    sink.say(TICK)
    sink.streams.seqs()
    for prefix in (b"", b"md.", b"\xff\x00"):
        assert msgpack.unpackb(sink.streams.welcome(prefix)) == {
            "type": "welcome",
            "proto": PROTO,
            "epoch": EPOCH,
            "gen": 0,
            "offset": 1,
            "beat": 1,
            "heartbeat": 1.0,
            "store": str(EPOCH),
        }
    assert sink.say(TICK).body["offset"] == 2


# State


def test_the_state_is_the_last_message_of_each_topic_and_identity():
    sink = Sink()
    for price, tick_type in [(1, 1), (2, 2), (3, 1)]:
        sink.say(TICK, {"price": price}, identity=tick_type)
    sink.say(("md", "AAPL-STK-SMART-USD", "tickSize"), {"size": 9}, identity=1)
    sink.say(("md", "AAPL-STK-SMART-USD", "error"), {"code": 200})
    ((seq, messages),) = sink.state(b"md.")[0].values()
    assert seq == 5
    bodies = [msgpack.unpackb(body) for _, body in messages]
    told = sorted((each["type"], each["seq"]) for each in bodies)
    assert told == [("tickPrice", 2), ("tickPrice", 3), ("tickSize", 4)]
    assert all(frame in sink.frames for frame in map(tuple, messages)), "the very bytes that were published"


SAID = st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 3))


@given(st.lists(SAID, max_size=40), st.integers(1, 9))
def test_paging_gives_every_stream_once_with_its_newest_messages_however_short_the_pages(said, most):
    sink = Sink()
    newest = {}
    for key, kind, identity in said:
        heard = sink.say(("md", key, kind), {"n": identity}, identity=identity)
        newest[heard.topic, identity] = heard.body["offset"]
    found, pages = sink.state(b"md.", most)
    offsets = {
        (topic.decode(), (told := msgpack.unpackb(body))["data"]["n"]): told["offset"]
        for _, messages in found.values()
        for topic, body in messages
    }
    assert offsets == newest
    assert list(found) == sorted(found)
    assert all(length <= most for length in pages)


def test_a_stream_that_is_longer_than_a_page_goes_on_in_the_next():
    sink = Sink()
    for number in range(25):
        sink.say(TICK, {"n": number}, identity=number)
    sink.say(("md", "B", "tickPrice"), identity=1)
    found, pages = sink.state(b"", most=10)
    assert pages == [10, 10, 6]
    assert [len(messages) for _, messages in found.values()] == [25, 1]


def test_a_prefix_longer_than_a_streams_name_gives_that_stream_with_the_matching_topics_alone():
    sink = Sink()
    sink.say(("ord", "a", "k1", "orderStatus"), identity=())
    sink.say(("ord", "a", "k2", "orderStatus"), identity=())
    sink.say(("ord", "ab", "k1", "orderStatus"), identity=())
    found, _ = sink.state(b"ord.a.k1.")
    assert list(found) == ["ord.a."]
    ((seq, messages),) = found.values()
    assert (seq, [topic for topic, _ in messages]) == (2, [b"ord.a.k1.orderStatus."])


@pytest.mark.parametrize("prefix", [b"md.A", b"md.AAPL", b"\xff", b"md.AAPL-STK-SMART-USD.tickPrice.x", b"mdx"])
def test_a_prefix_of_half_a_name_or_of_none_is_just_a_prefix(prefix):
    sink = Sink()
    sink.say(TICK, identity=())
    found, _ = sink.state(prefix)
    topic = b"md.AAPL-STK-SMART-USD.tickPrice."
    assert [each for _, messages in found.values() for each, _ in messages] == [topic] * topic.startswith(prefix)


def test_streams_that_begin_between_two_pages_are_seen_if_they_come_later_in_order():
    sink = Sink()
    for key in "bd":
        sink.say(("md", key, "x"), identity=())
    page, after = snapshot.page(sink.streams, b"", "", 1)
    for key in "ace":
        sink.say(("md", key, "x"), identity=())
    assert [each["stream"] for each in page] == ["md.b."]
    assert after is not None
    page, after = snapshot.page(sink.streams, b"", after, 10)
    assert [(each["stream"], len(each["messages"])) for each in page] == [
        ("md.b.", 0), ("md.c.", 1), ("md.d.", 1), ("md.e.", 1)
    ]  # fmt: skip
    assert after is None


def test_after_a_new_connection_the_old_state_is_stale_until_it_is_told_again():
    sink = Sink()
    sink.say(TICK, {"price": 1}, identity=1)
    sink.say(TICK, {"price": 2}, identity=2)
    sink.streams.next_generation()
    sink.say(TICK, {"price": 3}, identity=2)
    ((seq, messages),) = sink.state()[0].values()
    bodies = [msgpack.unpackb(body) for _, body in messages]
    assert seq == 3
    assert [(each["data"]["price"], each["gen"], each.get("flags")) for each in bodies] == [
        (1, 0, ["stale"]), (3, 1, None)
    ]  # fmt: skip


def test_what_is_said_in_passing_is_numbered_and_leaves_no_state():
    sink = Sink()
    passing = sink.streams.transient_channel(*TICK)
    sink.streams.publish_map(passing, {}, 1, ())
    assert sink.heard()[0].body["seq"] == 1
    assert sink.state()[0]["md.AAPL-STK-SMART-USD."] == (1, [])


def test_a_forgotten_channel_has_no_state_and_its_stream_goes_on():
    sink = Sink()
    sink.say(TICK, identity=())
    channel = sink.streams.channel(*TICK)
    other = sink.streams.transient_channel(*TICK)
    sink.streams.forget(channel)
    assert sink.state()[0]["md.AAPL-STK-SMART-USD."] == (1, [])
    sink.streams.publish_map(other, {}, 1, ())
    assert sink.heard()[-1].body["seq"] == 2
    assert sink.state()[0]["md.AAPL-STK-SMART-USD."] == (2, [])
    assert sink.streams.channel(*TICK) is not channel


def test_a_value_that_msgpack_has_no_room_for_is_an_overflow_and_the_next_message_is_whole():
    sink = Sink()
    with pytest.raises(OverflowError):
        sink.say(TICK, {"price": 10**30})
    assert sink.frames == []
    assert sink.say(TICK, {"price": 1}).body["seq"] == 1


def test_a_gap_in_the_midst_of_a_read_knows_what_was_heard_in_it():
    sink = Sink()
    sink.streams.begin_batch()
    channel = sink.streams.channel("md", "a", "x")
    for ts in (5, 7):
        sink.streams.publish_map(channel, {}, ts)
    for ts in (8, 9):
        sink.streams.gap([channel], ("md", "a"), "data", ts)
    sink.streams.gap([], ("md", "b"), "data", 9)
    assert sink.frames == []
    sink.streams.flush()
    gaps = [each.body["data"] for each in sink.heard() if each.body["type"] == "gap"]
    assert gaps == [{"reason": "data", "since": 7}] * 2 + [{"reason": "data", "since": None}]
