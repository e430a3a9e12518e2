"""The sequencer, through which every message goes: the compiled one and the pure one do the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.streams import envelope, sequencer

if TYPE_CHECKING:
    from types import ModuleType

compiled: Any = pytest.importorskip("ibbridge.streams._sequencer", reason="the compiled part is not built")

HEAD = b"\x87\xa4type\xa1x\xa5epoch\x01\xa3gen\x00\xa3seq\xcf"
KEYS = st.integers(0, 3) | st.none()
DATA = st.binary(max_size=300).map(msgpack.packb)
PACKED = st.tuples(st.sampled_from("ab"), KEYS, st.none() | st.integers(0, 2), DATA)
MESSAGES = st.lists(PACKED | st.text(max_size=2) | st.integers(), max_size=40)


class World:
    """A press with some channels: of two names, by key, of which one is not known yet."""

    def __init__(self, made: ModuleType) -> None:
        self.press = made.Sequencer()
        self.streams = [made.Stream(b"md.%d." % number, durable=False) for number in range(2)]
        self.channels: dict[str, dict[Any, Any]] = {"a": {}, "b": {}}
        for name, key in (("a", 0), ("a", 1), ("a", None), ("b", 0), ("b", 3)):
            stream = self.streams[(key or 0) % 2]
            channel = made.Channel(stream, b"md.%s.%d." % (name.encode(), key or 0), name, b"", HEAD)
            channel.keeps = name == "a"
            self.channels[name][key] = channel
        self.others: list[tuple[Any, int]] = []

    def publish(self, messages: list[Any], ts: int) -> None:
        self.press.publish_all(iter(messages), ts, self.channels, lambda message, ts: self.others.append((message, ts)))

    def told(self) -> Any:
        lasts = [channel.last for channels in self.channels.values() for channel in channels.values()]
        streams = [(stream.seq, list(stream.offsets)) for stream in self.streams]
        return self.press.offset, self.press.held, self.others, lasts, streams


@given(MESSAGES, MESSAGES, st.integers(0, 2**64 - 1), st.integers(0, 2**63))
def test_the_compiled_part_does_what_the_pure_one_does(first, second, ts, offset):
    worlds = World(sequencer), World(compiled)
    for world in worlds:
        world.press.offset = world.streams[0].seq = offset
        world.publish(first, ts)
        world.press.held = world.press.held[:2]
        world.publish(second, ts)
    assert worlds[0].told() == worlds[1].told()


@pytest.mark.parametrize("made", [sequencer, compiled], ids=["pure", "compiled"])
def test_what_is_published_is_numbered_and_held_and_what_is_not_known_is_for_others(made):
    world = World(made)
    data = msgpack.packb({"price": 1.5})
    world.publish([("a", 0, 7, data), ("b", 1, None, data), "farm", ("b", 0, 7, data)], 99)
    assert world.others == [(("b", 1, None, data), 99), ("farm", 99)]
    topics, bodies = world.press.held[::2], [msgpack.unpackb(each) for each in world.press.held[1::2]]
    assert topics == [b"md.a.0.", b"md.b.0."]
    assert [(body["seq"], body["offset"], body["ts"], body["data"]) for body in bodies] == [
        (1, 1, 99, {"price": 1.5}), (2, 2, 99, {"price": 1.5})
    ]  # fmt: skip
    assert world.channels["a"][0].last == {7: world.press.held[1]}
    assert world.channels["b"][0].last == {}


@given(st.binary(max_size=300), st.binary(max_size=300), *[st.integers(1, 2**64 - 1)] * 3)
def test_a_body_is_sealed_alike(head, data, seq, offset, ts):
    stream = compiled.Stream(b"md.x.", durable=False)
    made, stream.seq = compiled.Sequencer(), seq - 1
    made.offset = offset - 1
    body = made.publish(compiled.Channel(stream, b"md.x.", "x", b"", head), data, ts)
    assert body == envelope.seal(head, seq, offset, ts, data)


@pytest.mark.parametrize("made", [sequencer, compiled], ids=["pure", "compiled"])
def test_an_error_in_the_midst_leaves_what_was_before_it(made):
    world = World(made)

    def broken():
        yield ("a", 0, 1, b"\x01")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.press.publish_all(broken(), 1, world.channels, print)
    assert len(world.press.held) == 2
