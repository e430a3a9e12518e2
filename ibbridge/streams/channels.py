"""Streams and channels: which there are, the state that they hold, and the retirement of those that hold nothing.

A *stream* has the first two components of a topic as its name, and its own sequence numbers. A *channel* is one topic
of a stream, with the constant part of its envelope packed beforehand, and the state of the topic: bodies as bytes. The
module knows topics. It must not know how messages are published, or what a message means.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.codec import compiled
from ibbridge.protocol import topics
from ibbridge.streams import envelope
from ibbridge.streams.heartbeat_numbers import HeartbeatNumbers
from ibbridge.streams.retired_streams import RetiredStreams

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from ibbridge.streams import sequencer
    from ibbridge.streams.history import MessageHistory
    from ibbridge.streams.sequencer import Channel, Stream
else:
    sequencer = compiled.fastest("ibbridge.streams.sequencer")

DURABLE = frozenset(("ord", "exec", "acct", "sys"))
"""Classes of topics whose messages are on disk before they are sent."""

REMEMBERED = frozenset(("ord",))
"""Durable classes whose state survives a restart. The state of the others belongs to a lease, which ends with us."""

LISTED = frozenset(("position", "updatePortfolio"))
"""Types of message of class `acct` whose state survives a restart as well. TWS lists them anew for each request, and a
value that is missing from the list has ended: so the values before the restart must be known."""

MOST_PLACES = 5_000
"""Most topics whose spelling is remembered."""


class ChannelRegistry:
    """Registry of the streams and channels of one epoch. `prefix` is put before all topics."""

    def __init__(self, epoch: int, prefix: str, history: MessageHistory) -> None:
        self.epoch = epoch
        self.gen = 0
        self._history = history
        self._prefix = (prefix,) if prefix else ()
        self._durable = tuple(topics.topic(*self._prefix, name) for name in DURABLE)
        self._lasting = tuple(topics.topic(*self._prefix, name) for name in REMEMBERED)
        self._streams: dict[bytes, Stream] = {}
        self._places: dict[tuple[str, ...], tuple[bytes, bytes]] = {}
        self._spelt: dict[tuple[str, ...], bytes] = {}  # names of streams
        self._names: list[bytes] = []  # sorted
        self._numbers = HeartbeatNumbers()
        self._retired = RetiredStreams()
        self._trimmed = 0
        self._cuts = 0

    def channel(self, *components: str, ref: Mapping[str, Any] | None = None) -> Channel:
        """Return the channel of a topic. The first two components name its stream, the last one its type.

        The same topic and `ref` give the same channel. In classes whose state survives a restart the topic alone does:
        another `ref` there says more about the same order, so it drops the channel with the old `ref` and its state.
        """
        about = envelope.pack(ref) if ref else b""
        name, topic = self._place(components)
        return self._known(self._stream(name, components[0]), topic, components[-1], about)

    def _known(self, stream: Stream, topic: bytes, kind: str, about: bytes) -> Channel:
        key = self._key(stream, topic, about)
        found = stream.channels.get(key)
        if found is not None and found.about != about:
            self.forget(found)
            found = None
        if found is None:
            found = stream.channels[key] = sequencer.Channel(stream, topic, kind, about, self._head(kind, about))
        return found

    def _key(self, stream: Stream, topic: bytes, about: bytes) -> tuple[bytes, bytes]:
        return topic, b"" if stream.name.startswith(self._lasting) else about

    def _place(self, components: tuple[str, ...]) -> tuple[bytes, bytes]:
        """Return the name of the stream and the topic that these components name."""
        found = self._places.get(components)
        if found is None:
            if len(self._places) >= MOST_PLACES:
                self._places.clear()
            found = self._places[components] = self._name(components[:2]), topics.topic(*self._prefix, *components)
        return found

    def _name(self, components: tuple[str, ...]) -> bytes:
        """Return the name of the stream that these two components name."""
        found = self._spelt.get(components)
        if found is None:
            if len(self._spelt) >= MOST_PLACES:
                self._spelt.clear()
            found = self._spelt[components] = topics.topic(*self._prefix, *components)
        return found

    def transient_channel(
        self, *components: str, ref: Mapping[str, Any] | None = None, flags: Sequence[str] = ()
    ) -> Channel:
        """Return a new channel for transient messages, which are no part of the stream's state."""
        about = envelope.pack(ref) if ref else b""
        head = self._head(components[-1], about, flags)
        name, topic = self._place(components)
        return sequencer.Channel(self._stream(name, components[0]), topic, components[-1], about, head)

    def _stream(self, name: bytes, of: str) -> Stream:
        """Return the stream of this name and class of topics."""
        return self._streams.get(name) or self._new(name, durable=of in DURABLE)

    def _new(self, name: bytes, *, durable: bool) -> Stream:
        stream = self._streams[name] = sequencer.Stream(name, durable=durable)
        if durable:
            self._numbers.add(stream)
        known = self._retired.get(name) is not None
        stream.seq = self._retired.pop(name)
        stream.cuts = self._cuts  # differs from the `cuts` in any cursor into the retired stream
        if not known:
            insort(self._names, name)
        return stream

    def _head(self, kind: str, about: bytes, flags: Sequence[str] = ()) -> bytes:
        return envelope.head(kind, self.epoch, self.gen, about, flags)

    def forget(self, channel: Channel) -> None:
        """Drop a channel and its state, because nothing will be published there any more."""
        states = [self._state_name(channel, identity) for identity in (*channel.last, *channel.stale)]
        self._history.forget(channel.topic, [name for name in states if name is not None])
        channel.last.clear()
        channel.stale.clear()
        channel.book = None
        channel.stream.cuts += 1
        channel.stream.channels.pop(self._key(channel.stream, channel.topic, channel.about), None)

    def drop(self, channel: Channel, identity: Hashable) -> None:
        """Drop one value of a channel's state."""
        channel.last.pop(identity, None)
        channel.stale.pop(identity, None)
        channel.stream.cuts += 1
        if (state := self._state_name(channel, identity)) is not None:
            self._history.forget(channel.topic, [state])

    def forget_topic(self, *components: str) -> None:
        """Drop the channel of a topic with its state, if there is one, in a class whose state survives a restart."""
        name, topic = self._place(components)
        stream = self._streams.get(name)
        channel = stream.channels.get((topic, b"")) if stream is not None else None
        if channel is not None:
            self.forget(channel)

    def _state_name(self, channel: Channel, identity: Hashable) -> bytes | None:
        """Return the name of a state in the store; None for state that ends with this process."""
        listed = channel.kind in LISTED and channel.stream.durable
        lasts = listed or channel.stream.name.startswith(self._lasting)
        return envelope.pack((channel.about, identity)) if lasts else None

    def forget_types(self, prefix: tuple[str, ...], kinds: frozenset[str]) -> None:
        """Drop the state of these message types in all streams under a prefix, except channels that a request uses."""
        start = topics.topic(*self._prefix, *prefix)
        for stream in self.under(start, b""):
            for channel in list(stream.channels.values()):
                if channel.kind in kinds and not channel.users:
                    self.forget(channel)

    def restore(self, last: Mapping[bytes, int], state: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        """Go on from an earlier process: take over the last sequence numbers of its durable streams, and their state.

        `state` holds topic, packed identity and body. Streams under another prefix are ignored.
        """
        for name, seq in last.items():
            if self._is_ours(name):
                self._new(name, durable=True).seq = seq
        for topic, packed, body in sorted(state, key=lambda message: envelope.unpack(message[2])["seq"]):
            if self._is_ours(topic):
                about, identity = msgpack.unpackb(packed, use_list=False)
                components = topics.split(topic)[len(self._prefix) :]
                name = self._place(tuple(components))[0]
                channel = self._known(self._stream(name, components[0]), topic, components[-1], about)
                channel.stale[identity] = body

    def _is_ours(self, topic: bytes) -> bool:
        """Return True if a topic has the configured prefix, and one of the durable classes behind the prefix.

        A store that was made without checksums may have names with damaged bytes.
        """
        return topic.isascii() and topic.startswith(self._durable)

    def next_generation(self) -> None:
        """Begin the generation of a new connection to TWS: new envelopes carry it, and all earlier state is stale."""
        self.gen += 1
        for stream in self._streams.values():
            stream.cuts += 1
            for channel in stream.channels.values():
                channel.head = self._head(channel.kind, channel.about)
                outdate(channel)

    # -- queries

    def named(self, *components: str) -> str:
        """Return the topic with these components, or the prefix of topics below them, as clients subscribe to it."""
        return topics.topic(*self._prefix, *components).decode()

    def stream(self, name: bytes) -> Stream | None:
        """Return the stream of a name, if a message was ever published on it and the name is still known.

        A retired stream is returned as an empty one with its last sequence number.
        """
        stream = self._streams.get(name)
        if stream is None and (number := self._retired.get(name)) is not None:
            stream = sequencer.Stream(name, durable=False)
            stream.seq = number
        return stream

    def last(self, *components: str) -> int:
        """Return the last sequence number of the stream that the first two components name; 0 if there is none."""
        stream = self.stream(self._name(components[:2]))
        return stream.seq if stream else 0

    def holding(self, place: tuple[str, ...], kinds: frozenset[str]) -> dict[tuple[str, ...], list[Channel]]:
        """Return the channels of these message types in all streams under a prefix, by the components of the stream."""
        found: dict[tuple[str, ...], list[Channel]] = {}
        for stream in self.under(topics.topic(*self._prefix, *place), b""):
            if held := [channel for channel in stream.channels.values() if channel.kind in kinds]:
                found[self.components(stream)] = held
        return found

    def older(self, channel: Channel, offset: int) -> Iterator[tuple[Hashable, dict[str, Any]]]:
        """Yield identity and data of a channel's values that were published in an earlier epoch, or up to an offset.

        The caller may drop a value that was yielded.
        """
        for identity, body in list(channel.last.items()):
            if envelope.offset_of(body, channel.head) <= offset:
                yield identity, envelope.unpack(body)["data"]
        for identity in [identity for identity in channel.stale if identity not in channel.last]:
            message = envelope.unpack(channel.stale[identity])
            if message["epoch"] != self.epoch or message["offset"] <= offset:
                yield identity, message["data"]

    def components(self, stream: Stream) -> tuple[str, ...]:
        """Return the components of a stream's name, without the configured prefix."""
        return tuple(topics.split(stream.name)[len(self._prefix) :])

    def under(self, prefix: bytes, after: bytes) -> Iterator[Stream]:
        """Yield the streams that may have messages under `prefix`, by name, beginning behind the name `after`.

        A prefix may be longer than a stream's name.
        """
        names = self._names
        place = bisect_left(names, after + b"\0" if after else b"")
        # If the prefix is longer than a stream's name, only the stream whose name begins the prefix can match.
        components = prefix.split(b".", len(self._prefix) + 2)[: len(self._prefix) + 2]
        name = b".".join([*components, b""])
        if name != prefix and prefix.startswith(name) and name > after and (stream := self.stream(name)) is not None:
            yield stream
        place = max(place, bisect_left(names, prefix))
        while place < len(names) and names[place].startswith(prefix):
            if (stream := self.stream(names[place])) is not None:
                yield stream
            place += 1

    # -- retirement

    def tick(self, most: int = 2_000) -> None:
        """Trim the next `most` streams, and retire those that hold nothing. Call it about every second."""
        start = self._trimmed if self._trimmed < len(self._names) else 0
        forgotten: set[bytes] = set()
        for name in self._names[start : start + most]:
            stream = self._streams.get(name)
            if stream is not None:
                self._history.trim(stream)
                if not stream.durable and self._holds_nothing(stream):
                    forgotten |= self._retire(stream)
        self._trimmed = start + most
        if forgotten:
            self._names = [name for name in self._names if name not in forgotten]

    def _holds_nothing(self, stream: Stream) -> bool:
        """Return True if a stream has no state, no message in the ring, and no change to be named in a heartbeat."""
        return not (stream.channels or stream.offsets or stream.changed or stream in self._numbers)

    def _retire(self, stream: Stream) -> set[bytes]:
        """Keep only the last sequence number of a stream; return the names that are no longer known."""
        del self._streams[stream.name]
        self._cuts = max(self._cuts, stream.cuts) + 1
        forgotten = self._retired.put(stream.name, stream.seq)
        return set() if forgotten is None else {forgotten}


def outdate(channel: Channel) -> None:
    """Mark the state of a channel as stale."""
    channel.stale |= channel.last
    channel.last.clear()
    if channel.book:
        channel.book.fresh = False
