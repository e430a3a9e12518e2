"""What is published: numbered streams, their envelopes, the last state of each, and what was said a while ago.

A *stream* is the first two components of a topic; it has a sequence number of its own. A *channel* is one topic of it,
with everything about its envelope that does not change from message to message packed beforehand. Streams of the
durable classes are committed to a store before they are published, and go on from it after a restart; the rest is kept
in a ring. Knows msgpack and topics, nothing of sockets (it is given a `send`), files (it is given a store), time (it is
given `ts`) or what a message means.

On the hot path: two counters and a note of one, one `Struct.pack`, one join. State holds bodies as bytes, not objects.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgpack

from ibbridge.protocol import topics
from ibbridge.streams import sequencer
from ibbridge.streams.heartbeat_numbers import HeartbeatNumbers
from ibbridge.streams.replay_buffer import Ring
from ibbridge.streams.retired_streams import RetiredStreams

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from ibbridge.storage.keys import Key

if TYPE_CHECKING or not sequencer.COMPILED:
    from ibbridge.streams.sequencer import Channel, Press, Stream, sealed
else:
    from ibbridge.streams._sequencer import Channel, Press, Stream, sealed

PROTO = 1
"""The version of what is on the bus, in every heartbeat, welcome and `status`."""

DURABLE = frozenset(("ord", "exec", "acct", "sys"))
"""The classes whose messages are on disk before they are published."""

REMEMBERED = frozenset(("ord",))
"""Those whose state is worth something after a restart. What else is durable comes with a lease, which ends with us."""

EVENT: Hashable = object()
"""In the place of an identity: no state, just something that happened."""

GAP = "gap"
"""The type of message that says that something may have been missed."""

SYNTHETIC = "synthetic"
"""The flag of what TWS has not said."""

_pack: Callable[[Any], bytes] = msgpack.Packer().pack


class Row(NamedTuple):
    """A message for the store.

    `identity` names the state that it is, where that shall survive a restart, and `key` the order key that it is about.
    """

    stream: bytes
    seq: int
    ts: int
    topic: bytes
    body: bytes
    identity: bytes | None
    key: bytes | None = None


class Store(Protocol):
    """Where durable messages are kept: `ibbridge.storage.event_store.Store`, as far as it is needed here."""

    name: str

    def append(self, rows: Sequence[Row]) -> bool:
        """Commit; False if that was not possible, and will be tried again."""

    def first(self, stream: bytes) -> int:
        """The oldest number that can be read."""

    def read(self, stream: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        """Number, topic and body of messages, in order."""

    def forget(self, topic: bytes, identity: bytes | None) -> None:
        """This is no state any more."""

    def remember(self, key: Key) -> None:
        """Keep an order key for ever, committed with the next rows."""


def _no_key(_: bytes) -> tuple[bytes | None, Sequence[Key]]:
    return None, ()


def _seq(body: bytes) -> int:
    """The number of a message."""
    seq: int = msgpack.unpackb(body, raw=True, strict_map_key=False)[b"seq"]
    return seq


class Gone(Exception):  # noqa: N818 - an answer, not a failure
    """The first of the messages that were asked for is kept no more; `first` is the oldest that is."""

    def __init__(self, first: int) -> None:
        super().__init__(first)
        self.first = first


class Streams:
    """All streams of one epoch, which `begin` may set before anything is published.

    `send` is given what is published, topics and bodies in turn. `prefix` is put before all topics, `heartbeat` is what
    welcomes say of it. Without a `store` durable streams are kept in the ring like the rest. `keys` gives the name of
    the order key that a packed `ref` is of, if any, and what is to be remembered of keys from now on.
    """

    def __init__(
        self,
        epoch: int,
        send: Callable[[list[bytes]], None],
        prefix: str = "",
        heartbeat: float = 1.0,
        *,
        ring: Ring | None = None,
        store: Store | None = None,
        keys: Callable[[bytes], tuple[bytes | None, Sequence[Key]]] = _no_key,
    ) -> None:
        self.epoch = epoch
        self.heartbeat = heartbeat
        self.gen = 0
        self._press = Press()
        self.publish_all = self._press.publish_all
        """To be called while holding. What `other` does may be to publish."""
        self.beats = 0
        """How often `seqs` was told: the number of the last heartbeat."""
        self.ring = Ring(10_000, 2**24) if ring is None else ring
        self._send = send
        self._store = store
        self._keys = keys
        self._holding = False
        self._rows: list[Row] = []
        self._committed = 0  # how much of what is held stands before the first durable message
        self._prefix = (prefix,) if prefix else ()
        self._durable = tuple(topics.topic(*self._prefix, each) for each in DURABLE)
        self._lasting = tuple(topics.topic(*self._prefix, each) for each in REMEMBERED)
        self._streams: dict[bytes, Stream] = {}
        self._names: list[bytes] = []  # sorted
        self._numbers = HeartbeatNumbers()
        self._retired = RetiredStreams()
        self._trimmed = 0
        self._cuts = 0

    @property
    def offset(self) -> int:
        """The last number over all."""
        return self._press.offset

    # -- channels

    def channel(self, *components: str, ref: Mapping[str, Any] | None = None) -> Channel:
        """The channel whose topic has these components; the first two name its stream, the last its type.

        Channels are found again by topic and `ref`. What outlives a process is found by topic alone: another `ref` says
        more of the same order, and what was said under the old one is superseded.
        """
        about = _pack(ref) if ref else b""
        return self._known(self._stream(components), self._topic(components), components[-1], about)

    def _known(self, stream: Stream, topic: bytes, kind: str, about: bytes) -> Channel:
        key = self._key(stream, topic, about)
        found = stream.channels.get(key)
        if found is not None and found.about != about:
            self.forget(found)
            found = None
        if found is None:
            found = stream.channels[key] = Channel(stream, topic, kind, about, self._head(kind, about))
        return found

    def _key(self, stream: Stream, topic: bytes, about: bytes) -> tuple[bytes, bytes]:
        return topic, b"" if stream.name.startswith(self._lasting) else about

    def _topic(self, components: Sequence[str]) -> bytes:
        return topics.topic(*self._prefix, *components)

    def passing(self, *components: str, ref: Mapping[str, Any] | None = None, flags: Sequence[str] = ()) -> Channel:
        """The same for what is published in passing: it is not remembered, and so no part of the stream's state."""
        about = _pack(ref) if ref else b""
        head = self._head(components[-1], about, flags)
        return Channel(self._stream(components), self._topic(components), components[-1], about, head)

    def _stream(self, components: Sequence[str]) -> Stream:
        name = topics.topic(*self._prefix, *components[:2])
        return self._streams.get(name) or self._new(name, durable=components[0] in DURABLE)

    def _new(self, name: bytes, *, durable: bool) -> Stream:
        stream = self._streams[name] = Stream(name, durable)
        if durable:
            self._numbers.add(stream)
        known = self._retired.get(name) is not None
        stream.seq = self._retired.pop(name)
        stream.cuts = self._cuts  # which no cursor in the one that was there before has
        if not known:
            insort(self._names, name)
        return stream

    def _head(self, kind: str, about: bytes, flags: Sequence[str] = ()) -> bytes:
        """The envelope up to its numbers. The order of its keys is fixed; that of any other map is not promised."""
        size = bytes([0x87 + bool(about) + bool(flags)])
        ref = b"\xa3ref" + about if about else b""
        ref += b"\xa5flags" + _pack(flags) if flags else b""
        own = b"\xa5epoch" + _pack(self.epoch) + b"\xa3gen" + _pack(self.gen)
        return size + b"\xa4type" + _pack(kind) + own + ref + b"\xa3seq\xcf"

    def forget(self, channel: Channel) -> None:
        """Nothing will be published there any more: drop its state."""
        self._not_remembered(channel, [*channel.last, *channel.stale])
        channel.last.clear()
        channel.stale.clear()
        channel.book = None
        channel.stream.cuts += 1
        channel.stream.channels.pop(self._key(channel.stream, channel.topic, channel.about), None)

    def forget_types(self, prefix: tuple[str, ...], kinds: frozenset[str]) -> None:
        """Drop the state of these types of message in all streams under a prefix, where no request keeps it."""
        start = topics.topic(*self._prefix, *prefix)
        for stream in self.under(start, b""):
            for channel in list(stream.channels.values()):
                if channel.kind in kinds and not channel.users:
                    self.forget(channel)

    def begin(self, epoch: int) -> None:
        """Publish under this epoch, from the first message on."""
        if self.offset or self._streams:
            raise RuntimeError("an epoch begins before anything is published in it")
        self.epoch = epoch

    def restore(self, last: Mapping[bytes, int], state: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        """Go on where an earlier process stopped: the numbers of its durable streams, and what was their state.

        What it published under another prefix is left alone.
        """
        for name, seq in last.items():
            if self._is_ours(name):
                self._new(name, durable=True).seq = seq
        for topic, packed, body in sorted(state, key=lambda each: _seq(each[2])):
            if self._is_ours(topic):
                about, identity = msgpack.unpackb(packed, use_list=False)
                components = topics.split(topic)[len(self._prefix) :]
                channel = self._known(self._stream(components), topic, components[-1], about)
                channel.stale[identity] = body

    def _is_ours(self, topic: bytes) -> bool:
        """Whether it has our prefix, and one of the durable classes behind it."""
        return topic.startswith(self._durable)

    def next_generation(self) -> None:
        """A new connection to TWS: envelopes say so from here on. What is known from the old one is stale."""
        self.gen += 1
        for stream in self._streams.values():
            stream.cuts += 1
            for channel in stream.channels.values():
                channel.head = self._head(channel.kind, channel.about)
                _outdate(channel)

    def gap(self, channels: Iterable[Channel], components: Sequence[str], reason: str, ts: int) -> None:
        """Say that something may have been missed of a stream: what those channels hold is stale from here on.

        Said under `components`, of which the first two name the stream.
        """
        stream = self._stream(components)
        since = self._heard(stream)
        self.say(self.passing(*components, GAP, flags=(SYNTHETIC,)), {"reason": reason, "since": since}, ts)
        stream.cuts += 1
        for channel in channels:
            if channel.stream is stream:
                _outdate(channel)

    def _heard(self, stream: Stream) -> int | None:
        """When the last message of a stream was read; of a gap, what that says. None if that is kept no more."""
        self._trim(stream)
        if not stream.offsets:
            return None
        topic, body = self._message(stream.offsets[-1])
        last = msgpack.unpackb(body, strict_map_key=False)
        gap = topic.endswith(f".{GAP}.".encode()) and SYNTHETIC in last.get("flags", ())
        heard: int | None = last["data"]["since"] if gap else last["ts"]
        return heard

    def _message(self, offset: int) -> tuple[bytes, bytes]:
        """Topic and body of a message that is kept, in the ring or still held."""
        place = 2 * (offset - self.ring.next)
        if place >= 0:
            return self._press.held[place], self._press.held[place + 1]
        return next(self.ring.at((offset,)))

    # -- publishing

    def publish(self, channel: Channel, data: bytes, ts: int) -> bytes:
        """Publish packed `data`, read from TWS at `ts` (µs since 1970 UTC). Returns the body.

        For streams that are not durable; `put` is for all.
        """
        body = self._press.publish(channel, data, ts)
        if not self._holding:
            self.release()
        return body

    def put(self, channel: Channel, data: bytes, ts: int, identity: Hashable = EVENT) -> None:
        """Publish packed data; with an `identity` it is state and replaces the last of the same."""
        holding, self._holding = self._holding, True
        before = len(self._press.held)
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
            self.release()

    def say(self, channel: Channel, data: Mapping[str, Any], ts: int, identity: Hashable = EVENT) -> None:
        """Publish data that is not packed yet, as `put` does."""
        self.put(channel, _pack(data), ts, identity)

    def _key_of(self, channel: Channel) -> bytes | None:
        """Return the name of the order key that a channel is about; see that the store keeps what is new of keys."""
        name, news = self._keys(channel.about)
        for key in news:
            self._store.remember(key)  # type: ignore[union-attr]
        return name

    def _remembered(self, channel: Channel, identity: Hashable) -> bytes | None:
        """The name of a state in the store, for state that shall outlive this process."""
        return _pack((channel.about, identity)) if channel.stream.name.startswith(self._lasting) else None

    def _not_remembered(self, channel: Channel, identities: list[Hashable]) -> None:
        for identity in identities if self._store else ():
            if (named := self._remembered(channel, identity)) is not None:
                self._store.forget(channel.topic, named)  # type: ignore[union-attr]

    def aside(self, kind: str, data: Mapping[str, Any], ts: int, *components: str) -> None:
        """Publish outside all sequences: heartbeats, which are never replayed and have no number to be missed."""
        about = {"type": kind, "epoch": self.epoch, "gen": self.gen, "ts": ts, "data": data}
        self.release()
        self._send([topics.topic(*self._prefix, *components, kind), _pack(about)])

    def hold(self) -> None:
        """Keep what is published until `release`.

        ZeroMQ's own thread writes all it finds to the subscribers at once, and then sleeps. Given one message at a time
        it wakes and writes for each, at five times the cost: so what one read brought goes out together. And all that
        is durable in it takes one commit.
        """
        self._holding = True

    def pause(self) -> bool:
        """Hold no more, and send nothing yet if part of what was held waits for the disk; return True then.

        What is published next sends it all, as `release` does: so one commit does for several reads.
        """
        self._holding = False
        return bool(self._rows)

    def release(self) -> None:
        """Send what was held, in order, and hold no more.

        What stands before the first durable message does not wait for the commit. What cannot be committed is sent all
        the same: a fill must be heard of; the store tries again, and says what is wrong.
        """
        self._holding = False
        held = self._press.held
        if not held:
            return
        self._press.held = []
        self.ring.extend(held)
        if not self._rows:
            self._send(held)
            return
        rows, self._rows = self._rows, []
        self._send(held[: self._committed])
        self._store.append(rows)  # type: ignore[union-attr]
        self._send(held[self._committed :])

    # -- what is asked of it

    def named(self, *components: str) -> str:
        """The topic with these components, or the prefix of those that begin with them, as clients subscribe to it."""
        return topics.topic(*self._prefix, *components).decode()

    def welcome(self, _: bytes) -> bytes:
        """The body that tells a new subscriber that its filter is in place. It has no sequence number.

        What it counts is sent before it.
        """
        self.release()
        about = {"type": "welcome", "proto": PROTO, "epoch": self.epoch, "gen": self.gen, "offset": self.offset}
        about |= {"beat": self.beats, "heartbeat": self.heartbeat, "store": self._store_name}
        packed: bytes = msgpack.packb(about)
        return packed

    @property
    def _store_name(self) -> str:
        return self._store.name if self._store else str(self.epoch)

    def stream(self, name: bytes) -> Stream | None:
        """Return the stream of this name, if anything was ever published on it.

        One that is retired is given as it is now: it holds nothing.
        """
        stream = self._streams.get(name)
        if stream is None and (number := self._retired.get(name)) is not None:
            stream = Stream(name, False)  # noqa: FBT003 - the compiled one takes no keywords
            stream.seq = number
        return stream

    def last(self, *components: str) -> int:
        """Return the number of the last message of the stream whose topics begin with these components."""
        stream = self.stream(topics.topic(*self._prefix, *components[:2]))
        return stream.seq if stream else 0

    def holding(self, place: tuple[str, ...], kinds: frozenset[str]) -> dict[tuple[str, ...], list[Channel]]:
        """The channels of these types of message in all streams under a prefix, by the components of their streams."""
        found: dict[tuple[str, ...], list[Channel]] = {}
        for stream in self.under(topics.topic(*self._prefix, *place), b""):
            if held := [channel for channel in stream.channels.values() if channel.kind in kinds]:
                found[self.components(stream)] = held
        return found

    def components(self, stream: Stream) -> tuple[str, ...]:
        """The components of a stream's name, without the configured prefix."""
        return tuple(topics.split(stream.name)[len(self._prefix) :])

    def replay(self, name: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        """Number, topic and body of the messages `first` to `last` of a stream, as they were published.

        No more than `most`, and no more than have `most_bytes`, but one. Raises `Gone` if the first is kept no more.
        """
        self.release()
        stream = self.stream(name)
        if stream is None:
            raise KeyError(name)
        last = min(last, stream.seq)
        if first > last:
            return []
        self._trim(stream)
        oldest = in_ring = stream.seq - len(stream.offsets) + 1
        if stream.durable and self._store is not None:
            oldest = min(self._store.first(name), in_ring)  # what the store could not keep, the ring may have
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
        """Forget the offsets of messages that the ring has no more."""
        del stream.offsets[: bisect_left(stream.offsets, self.ring.first)]

    def tend(self, most: int = 2_000) -> None:
        """Free what is of no use any more, of some streams at a time. To be called every second or so."""
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
        """Return True if a stream has neither state nor messages in the ring, nor is its number still to be told."""
        return not (stream.channels or stream.offsets or stream.changed or stream in self._numbers)

    def _retire(self, stream: Stream) -> set[bytes]:
        """Keep of a stream nothing but its number; return the names that are not known any more."""
        del self._streams[stream.name]
        self._cuts = max(self._cuts, stream.cuts) + 1
        forgotten = self._retired.put(stream.name, stream.seq)
        return set() if forgotten is None else {forgotten}

    def under(self, prefix: bytes, after: bytes) -> Iterator[Stream]:
        """The streams that have or could have messages under `prefix`, in order, from the one behind `after` on.

        A prefix may be longer than a stream's name.
        """
        names = self._names
        place = bisect_left(names, after + b"\0" if after else b"")
        # Of the names before those that begin with the prefix, only that counts with which the prefix begins.
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
        """Return the last numbers of the streams that the next heartbeat has room for (`heartbeat_numbers`).

        To be asked once for each heartbeat: it counts them.
        """
        self.beats += 1
        changed, self._press.changed = self._press.changed, []
        for stream in changed:
            stream.changed = False
        return self._numbers.beat(changed)


def body_of(channel: Channel, data: Mapping[str, Any], ts: int) -> bytes:
    """A body that is not published: with the stream's number, and no number over all."""
    return sealed(channel.head, channel.stream.seq, 0, ts, _pack(data))


def _outdate(channel: Channel) -> None:
    """What it holds is stale until something newer comes."""
    channel.stale |= channel.last
    channel.last.clear()
    if channel.book:
        channel.book.fresh = False
