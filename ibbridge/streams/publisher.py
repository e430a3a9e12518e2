"""The publisher: numbered streams on the bus, their envelopes, the last state of each, and replay.

A *stream* has the first two components of a topic as its name, and its own sequence numbers. A *channel* is one topic
of a stream, with the constant part of its envelope packed beforehand. Messages of the durable classes are committed to
a store before they are sent, and their streams go on from the store after a restart. Messages of other streams are kept
in a ring in memory. The module knows msgpack and topics. It must not know sockets (the caller gives `send`), files (the
caller gives a store), time (the caller gives `ts`) or what a message means.

The hot path has two counters, a mark on the stream, one `Struct.pack` and one join. State holds bodies as bytes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgpack

from ibbridge.codec import compiled
from ibbridge.protocol import topics
from ibbridge.streams import envelope
from ibbridge.streams.heartbeat_numbers import HeartbeatNumbers
from ibbridge.streams.replay_buffer import ReplayBuffer
from ibbridge.streams.retired_streams import RetiredStreams

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from ibbridge.storage.keys import Key
    from ibbridge.streams import sequencer
    from ibbridge.streams.sequencer import Channel, Stream
else:
    sequencer = compiled.fastest("ibbridge.streams.sequencer")

DURABLE = frozenset(("ord", "exec", "acct", "sys"))
"""Classes of topics whose messages are on disk before they are sent."""

REMEMBERED = frozenset(("ord",))
"""Durable classes whose state survives a restart. The state of the others belongs to a lease, which ends with us."""

EVENT: Hashable = object()
"""Marker in place of an identity, for a message that is an event and no state."""

GAP = "gap"
"""Type of the message that reports a possible loss of messages."""


class Row(NamedTuple):
    """Message for the store.

    `identity` names the message's state, if that state is to survive a restart. `key` is the message's order key.
    """

    stream: bytes
    seq: int
    ts: int
    topic: bytes
    body: bytes
    identity: bytes | None
    key: bytes | None = None


class StreamStore(Protocol):
    """Event store for durable messages: the part of `ibbridge.storage.event_store.EventStore` that publishing needs."""

    @property
    def name(self) -> str:
        """The name that tells this store's sequence numbers from those of other stores."""

    def append(self, rows: Sequence[Row]) -> bool:
        """Commit rows. Return False if the commit failed; the store tries again later."""

    def first(self, stream: bytes) -> int:
        """Return the oldest sequence number of a stream that can be read."""

    def read(self, stream: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        """Return sequence number, topic and body of messages, in order."""

    def forget(self, topic: bytes, identity: bytes | None) -> None:
        """Remove a state."""

    def remember(self, key: Key) -> None:
        """Keep an order key for ever, committed with the next rows."""


def _no_key(_: bytes) -> tuple[bytes | None, Sequence[Key]]:
    return None, ()


class Gone(Exception):  # noqa: N818 - an answer, not a failure
    """Replay failure: the first requested message is no longer kept. `first` is the oldest sequence number kept."""

    def __init__(self, first: int) -> None:
        super().__init__(first)
        self.first = first


class Publisher:
    """Publisher of all streams of one epoch. `begin` may set the epoch before the first message.

    `send` gets the published topics and bodies in turn. `prefix` is put before all topics. `heartbeat` is the interval
    in seconds that welcomes announce. Without a `store` durable streams are kept in the ring like the rest. `keys`
    returns the name of the order key in a packed `ref`, if any, and the keys that the store must keep from now on.
    """

    proto = envelope.PROTO

    def __init__(
        self,
        epoch: int,
        send: Callable[[list[bytes]], None],
        prefix: str = "",
        heartbeat: float = 1.0,
        *,
        ring: ReplayBuffer | None = None,
        store: StreamStore | None = None,
        keys: Callable[[bytes], tuple[bytes | None, Sequence[Key]]] = _no_key,
    ) -> None:
        self.epoch = epoch
        self.heartbeat = heartbeat
        self.gen = 0
        self._sequencer = sequencer.Sequencer()
        self.publish_all = self._sequencer.publish_all
        """Publish many packed messages. Call it only between `begin_batch` and `flush`; `other` may publish, too."""
        self.beats = 0
        """The number of the last heartbeat: the count of calls of `seqs`."""
        self.ring = ReplayBuffer(10_000, 2**24) if ring is None else ring
        self._send = send
        self._store = store
        self._keys = keys
        self._holding = False
        self._rows: list[Row] = []
        self._committed = 0  # how many of the held frames come before the first durable message
        self._prefix = (prefix,) if prefix else ()
        self._durable = tuple(topics.topic(*self._prefix, name) for name in DURABLE)
        self._lasting = tuple(topics.topic(*self._prefix, name) for name in REMEMBERED)
        self._streams: dict[bytes, Stream] = {}
        self._names: list[bytes] = []  # sorted
        self._numbers = HeartbeatNumbers()
        self._retired = RetiredStreams()
        self._trimmed = 0
        self._cuts = 0

    @property
    def offset(self) -> int:
        """The offset of the last message: its number over all streams."""
        return self._sequencer.offset

    # -- channels

    def channel(self, *components: str, ref: Mapping[str, Any] | None = None) -> Channel:
        """Return the channel of a topic. The first two components name its stream, the last one its type.

        The same topic and `ref` give the same channel. In classes whose state survives a restart the topic alone does:
        another `ref` there says more about the same order, so it drops the channel with the old `ref` and its state.
        """
        about = envelope.pack(ref) if ref else b""
        return self._known(self._stream(components), self._topic(components), components[-1], about)

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

    def _topic(self, components: Sequence[str]) -> bytes:
        return topics.topic(*self._prefix, *components)

    def transient_channel(
        self, *components: str, ref: Mapping[str, Any] | None = None, flags: Sequence[str] = ()
    ) -> Channel:
        """Return a new channel for transient messages, which are no part of the stream's state."""
        about = envelope.pack(ref) if ref else b""
        head = self._head(components[-1], about, flags)
        return sequencer.Channel(self._stream(components), self._topic(components), components[-1], about, head)

    def _stream(self, components: Sequence[str]) -> Stream:
        name = topics.topic(*self._prefix, *components[:2])
        return self._streams.get(name) or self._new(name, durable=components[0] in DURABLE)

    def _new(self, name: bytes, *, durable: bool) -> Stream:
        stream = self._streams[name] = sequencer.Stream(name, durable)
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
        self._not_remembered(channel, [*channel.last, *channel.stale])
        channel.last.clear()
        channel.stale.clear()
        channel.book = None
        channel.stream.cuts += 1
        channel.stream.channels.pop(self._key(channel.stream, channel.topic, channel.about), None)

    def forget_types(self, prefix: tuple[str, ...], kinds: frozenset[str]) -> None:
        """Drop the state of these message types in all streams under a prefix, except channels that a request uses."""
        start = topics.topic(*self._prefix, *prefix)
        for stream in self.under(start, b""):
            for channel in list(stream.channels.values()):
                if channel.kind in kinds and not channel.users:
                    self.forget(channel)

    def begin(self, epoch: int) -> None:
        """Set the epoch. Raise `RuntimeError` if a message was published before."""
        if self.offset or self._streams:
            raise RuntimeError("an epoch begins before anything is published in it")
        self.epoch = epoch

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
                channel = self._known(self._stream(components), topic, components[-1], about)
                channel.stale[identity] = body

    def _is_ours(self, topic: bytes) -> bool:
        """Return True if a topic has the configured prefix, and one of the durable classes behind the prefix."""
        return topic.startswith(self._durable)

    def next_generation(self) -> None:
        """Begin the generation of a new connection to TWS: new envelopes carry it, and all earlier state is stale."""
        self.gen += 1
        for stream in self._streams.values():
            stream.cuts += 1
            for channel in stream.channels.values():
                channel.head = self._head(channel.kind, channel.about)
                _outdate(channel)

    def gap(self, channels: Iterable[Channel], components: Sequence[str], reason: str, ts: int) -> None:
        """Publish a `gap` on a stream, because messages may be missing, and mark the state of its `channels` as stale.

        The first two `components` name the stream, and all of them go before `gap` in the topic.
        """
        stream = self._stream(components)
        since = self._heard(stream)
        self.publish_map(
            self.transient_channel(*components, GAP, flags=(envelope.SYNTHETIC,)),
            {"reason": reason, "since": since},
            ts,
        )
        stream.cuts += 1
        for channel in channels:
            if channel.stream is stream:
                _outdate(channel)

    def _heard(self, stream: Stream) -> int | None:
        """Return when the last message of a stream was read (for a gap: the time in it); None if it is kept no more."""
        self._trim(stream)
        if not stream.offsets:
            return None
        last = envelope.unpack(self._body(stream.offsets[-1]))
        gap = last["type"] == GAP and envelope.SYNTHETIC in last.get("flags", ())
        heard: int | None = last["data"]["since"] if gap else last["ts"]
        return heard

    def _body(self, offset: int) -> bytes:
        """Return the body of a message that is in the ring or still held."""
        place = 2 * (offset - self.ring.next)
        if place >= 0:
            return self._sequencer.held[place + 1]
        return next(self.ring.at((offset,)))[1]

    # -- publishing

    def publish(self, channel: Channel, data: bytes, ts: int) -> bytes:
        """Publish packed `data`, read from TWS at `ts` (µs since 1970 UTC), and return the body.

        Only for streams that are not durable; `publish_packed` is for all streams.
        """
        body = self._sequencer.publish(channel, data, ts)
        if not self._holding:
            self.flush()
        return body

    def publish_packed(self, channel: Channel, data: bytes, ts: int, identity: Hashable = EVENT) -> None:
        """Publish packed data. With an `identity` the message is state, and replaces the last one of that identity."""
        holding, self._holding = self._holding, True
        before = len(self._sequencer.held)
        try:
            body = self.publish(channel, data, ts)
        finally:
            self._holding = holding
        if identity is not EVENT:
            channel.last[identity] = body
        stream = channel.stream
        if stream.durable and self._store is not None:
            if not self._rows:
                self._committed = before
            kept = self._remembered(channel, identity) if identity is not EVENT else None
            key = self._key_of(channel) if channel.about else None
            self._rows.append(Row(stream.name, stream.seq, ts, channel.topic, body, kept, key))
        if not holding:
            self.flush()

    def publish_map(self, channel: Channel, data: Mapping[str, Any], ts: int, identity: Hashable = EVENT) -> None:
        """Pack data and publish it like `publish_packed`."""
        self.publish_packed(channel, envelope.pack(data), ts, identity)

    def _key_of(self, channel: Channel) -> bytes | None:
        """Return the name of a channel's order key, and have the store keep new keys."""
        name, news = self._keys(channel.about)
        for key in news:
            self._store.remember(key)  # type: ignore[union-attr]
        return name

    def _remembered(self, channel: Channel, identity: Hashable) -> bytes | None:
        """Return the name of a state in the store; None for state that ends with this process."""
        return envelope.pack((channel.about, identity)) if channel.stream.name.startswith(self._lasting) else None

    def _not_remembered(self, channel: Channel, identities: list[Hashable]) -> None:
        for identity in identities if self._store else ():
            if (named := self._remembered(channel, identity)) is not None:
                self._store.forget(channel.topic, named)  # type: ignore[union-attr]

    def publish_unsequenced(self, kind: str, data: Mapping[str, Any], ts: int, *components: str) -> None:
        """Publish outside all sequences, without a sequence number or replay: for heartbeats."""
        self.flush()
        body = envelope.unsequenced(kind, self.epoch, self.gen, ts, data)
        self._send([topics.topic(*self._prefix, *components, kind), body])

    def begin_batch(self) -> None:
        """Hold published messages back until `flush`.

        ZeroMQ's own thread writes all messages that it finds to the subscribers at once, and then sleeps. Given one
        message at a time the thread wakes and writes for each, at five times the cost. So the messages of one read go
        out together. And all durable messages among them take one commit.
        """
        self._holding = True

    def end_batch(self) -> bool:
        """End holding without sending. Return True if durable messages among those held wait for their commit.

        The next published message sends all of them, as `flush` does: so one commit does for several reads.
        """
        self._holding = False
        return bool(self._rows)

    def flush(self) -> None:
        """Send the held messages in order, and end holding.

        Messages before the first durable one do not wait for the commit. After a failed commit the messages are sent
        all the same, because clients must learn of a fill. The store tries again, and its `fault` says what is wrong.
        """
        self._holding = False
        held = self._sequencer.held
        if not held:
            return
        self._sequencer.held = []
        self.ring.extend(held)
        if not self._rows:
            self._send(held)
            return
        rows, self._rows = self._rows, []
        self._send(held[: self._committed])
        self._store.append(rows)  # type: ignore[union-attr]
        self._send(held[self._committed :])

    # -- queries

    def named(self, *components: str) -> str:
        """Return the topic with these components, or the prefix of topics below them, as clients subscribe to it."""
        return topics.topic(*self._prefix, *components).decode()

    def welcome(self, _: bytes) -> bytes:
        """Return the body of the welcome, which tells a new subscriber that its filter is in place.

        A welcome has no sequence number. All messages up to its `offset` are sent before it.
        """
        self.flush()
        more = {"beat": self.beats, "heartbeat": self.heartbeat, "store": self._store_name}
        return envelope.welcome(self.epoch, self.gen, self.offset, **more)

    @property
    def _store_name(self) -> str:
        return self._store.name if self._store else str(self.epoch)

    def stream(self, name: bytes) -> Stream | None:
        """Return the stream of a name, if a message was ever published on it and the name is still known.

        A retired stream is returned as an empty one with its last sequence number.
        """
        stream = self._streams.get(name)
        if stream is None and (number := self._retired.get(name)) is not None:
            stream = sequencer.Stream(name, False)  # noqa: FBT003 - the compiled one takes no keywords
            stream.seq = number
        return stream

    def last(self, *components: str) -> int:
        """Return the last sequence number of the stream that the first two components name; 0 if there is none."""
        stream = self.stream(topics.topic(*self._prefix, *components[:2]))
        return stream.seq if stream else 0

    def holding(self, place: tuple[str, ...], kinds: frozenset[str]) -> dict[tuple[str, ...], list[Channel]]:
        """Return the channels of these message types in all streams under a prefix, by the components of the stream."""
        found: dict[tuple[str, ...], list[Channel]] = {}
        for stream in self.under(topics.topic(*self._prefix, *place), b""):
            if held := [channel for channel in stream.channels.values() if channel.kind in kinds]:
                found[self.components(stream)] = held
        return found

    def components(self, stream: Stream) -> tuple[str, ...]:
        """Return the components of a stream's name, without the configured prefix."""
        return tuple(topics.split(stream.name)[len(self._prefix) :])

    def replay(self, name: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        """Return sequence number, topic and body of the messages `first` to `last` of a stream, as they were published.

        The result has at most `most` messages and `most_bytes` bytes, but at least one message. Raise `Gone` if the
        first message is no longer kept, and `KeyError` if the stream is unknown.
        """
        stream = self.stream(name)
        if stream is None:
            raise KeyError(name)
        last = min(last, stream.seq)
        if first > last:
            return []
        self._trim(stream)
        oldest = in_ring = stream.seq - len(stream.offsets) + 1
        if stream.durable and self._store is not None:
            oldest = min(self._store.first(name), in_ring)  # the ring may have messages that the store has dropped
        if first < oldest:
            raise Gone(oldest)
        if first < in_ring and self._store is not None:
            return self._store.read(name, first, min(last, in_ring - 1), most, most_bytes)
        offsets = stream.offsets[first - in_ring : min(last + 1, first + most) - in_ring]
        return self._from_ring(offsets, first, most_bytes)

    def _from_ring(self, offsets: array[int], first: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        found: list[tuple[int, bytes, bytes]] = []
        for seq, (topic, body) in enumerate(self.ring.at(offsets), first):
            most_bytes -= len(body)
            if most_bytes < 0 and found:
                break
            found.append((seq, topic, body))
        return found

    def _trim(self, stream: Stream) -> None:
        """Forget the offsets of messages that are no longer in the ring."""
        del stream.offsets[: bisect_left(stream.offsets, self.ring.first)]

    def tick(self, most: int = 2_000) -> None:
        """Trim the next `most` streams, and retire those that hold nothing. Call it about every second."""
        start = self._trimmed if self._trimmed < len(self._names) else 0
        forgotten: set[bytes] = set()
        for name in self._names[start : start + most]:
            stream = self._streams.get(name)
            if stream is not None:
                self._trim(stream)
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

    def seqs(self) -> dict[str, int]:
        """Return the last sequence numbers for the next heartbeat (see `heartbeat_numbers`).

        Call it once for each heartbeat, because the call counts the heartbeat in `beats`.
        """
        self.beats += 1
        changed, self._sequencer.changed = self._sequencer.changed, []
        for stream in changed:
            stream.changed = False
        return self._numbers.next_heartbeat(changed)


def _outdate(channel: Channel) -> None:
    """Mark the state of a channel as stale."""
    channel.stale |= channel.last
    channel.last.clear()
    if channel.book:
        channel.book.fresh = False
