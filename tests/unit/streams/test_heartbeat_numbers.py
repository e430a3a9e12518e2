"""Sequence numbers in heartbeats: enough to find a lost tail, and never more than a heartbeat has room for."""

from __future__ import annotations

import itertools
from collections import Counter

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.streams.heartbeat_numbers import BEATS, ROOM, ROOM_IN_TURN
from ibbridge.streams.publisher import Publisher


class Sink:
    """Streams whose messages go nowhere."""

    def __init__(self) -> None:
        self.streams = Publisher(1, lambda _: None)

    def say(self, components: tuple[str, str, str]) -> None:
        self.streams.publish_map(self.streams.transient_channel(*components), {}, 1)


def named(number: int, kind: str = "req") -> tuple[str, str, str]:
    return kind, f"client-{number:025}", "error"


def test_a_stream_is_told_in_three_heartbeats_after_its_last_change():
    sink = Sink()
    sink.say(named(1))
    assert [len(sink.streams.seqs()) for _ in range(5)] == [1, 1, 1, 0, 0]
    sink.say(named(1))
    sink.streams.seqs()
    sink.say(named(1))
    assert [list(sink.streams.seqs().values()) for _ in range(5)] == [[3], [3], [3], [], []]


def test_durable_streams_are_in_each_heartbeat_as_long_as_there_is_room():
    sink = Sink()
    for number in range(200):
        sink.say(named(number, "ord"))
    for _ in range(10):
        assert len(sink.streams.seqs()) == 200


def test_with_30_000_streams_a_heartbeat_is_small_and_each_durable_one_is_told_again():
    sink = Sink()
    for number in range(30_000):
        sink.say(named(number, "ord" if number % 2 else "exec"))
    told: Counter[str] = Counter()
    for beat in itertools.count(1):
        seqs = sink.streams.seqs()
        assert len(msgpack.packb(seqs)) < ROOM + ROOM_IN_TURN
        told.update(seqs.keys())
        if len(told) == 30_000 and beat > 2 * 30_000 * 50 / ROOM_IN_TURN:
            break
    assert beat < 1000
    assert min(told.values()) >= BEATS


def test_what_has_gone_quiet_is_told_before_what_speaks_all_the_time():
    sink = Sink()
    for _ in range(20):
        for number in range(3000):
            sink.say(named(number))
        sink.streams.seqs()
    sink.say(named(9999))
    name = f"req.{named(9999)[1]}."
    heard = []
    for _ in range(8):
        heard.append(name in sink.streams.seqs())
        for number in range(3000):
            sink.say(named(number))
    first = heard.index(True)
    assert first <= 1 + BEATS
    assert heard[first : first + BEATS] == [True] * BEATS


@given(st.lists(st.lists(st.integers(0, 40), max_size=30), min_size=1, max_size=20), st.integers(60, 400))
def test_whatever_changes_when_each_is_told_three_times_in_a_row_with_its_last_number(beats, room):
    sink = Sink()
    sink.streams._numbers._room = room
    told: list[dict[str, int]] = []
    for changed in [*beats, *[[]] * 200]:
        for number in changed:
            sink.say(named(number))
        told.append(sink.streams.seqs())
        assert len(told[-1]) <= max(1, room // 40)
    last = {stream.name.decode(): stream.seq for stream in sink.streams.under(b"", b"")}
    for name, seq in last.items():
        rounds = [each.get(name) == seq for each in told]
        assert any(all(rounds[start : start + BEATS]) for start in range(len(rounds) - BEATS))
    assert told[-1] == {}
