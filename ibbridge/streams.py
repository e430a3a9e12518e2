"""What is published: numbered streams, their envelopes, and the last state of each.

A *stream* is the first two components of a topic; it has a sequence number of its own. A *channel* is one topic of it,
with everything about its envelope that does not change from message to message packed beforehand. Knows msgpack and
topics, nothing of sockets (it is given a `send`), time (it is given `ts`) or what a message means.

On the hot path: two counters, one `Struct.pack`, one join. State holds bodies as bytes, not objects.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge import topics

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

PROTO = 1
"""The version of what is on the bus, in every heartbeat, welcome and `status`."""

_NUMBERS = Struct(">Q8sQ4sQ5s").pack
_OFFSET, _TS, _DATA = b"\xa6offset\xcf", b"\xa2ts\xcf", b"\xa4data"
_pack: Callable[[Any], bytes] = msgpack.Packer().pack


class Stream:
    """One sequence of messages."""

    __slots__ = ("channels", "name", "seq")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.seq = 0
        self.channels: dict[tuple[bytes, bytes], Channel] = {}


class Channel:
    """One topic of a stream, under one `ref`. `last` holds the newest body of each identity: the stream's state."""

    __slots__ = ("about", "head", "last", "stream", "topic")

    def __init__(self, stream: Stream, topic: bytes, about: bytes, head: bytes) -> None:
        self.stream = stream
        self.topic = topic
        self.about = about
        self.head = head
        self.last: dict[Hashable, bytes] = {}

    def apart(self) -> Channel:
        """One that publishes the same and is no part of the stream's state."""
        return Channel(self.stream, self.topic, self.about, self.head)


class Streams:
    """All streams of one epoch."""

    def __init__(
        self, epoch: int, send: Callable[[bytes, bytes], None], prefix: str = "", heartbeat: float = 1.0
    ) -> None:
        self.epoch = epoch
        self.heartbeat = heartbeat
        self.gen = 0
        self.offset = 0
        self._send = send
        self._held: list[bytes] | None = None  # topics and bodies in turn: pairs would keep the garbage collector busy
        self._prefix = (prefix,) if prefix else ()
        self._streams: dict[bytes, Stream] = {}

    def channel(self, *components: str, ref: Mapping[str, Any] | None = None) -> Channel:
        """The channel whose topic has these components; the first two name its stream, the last its type.

        Channels are found again by topic and `ref`, for the current generation.
        """
        made = self.passing(*components, ref=ref)
        return made.stream.channels.setdefault((made.topic, made.about), made)

    def passing(self, *components: str, ref: Mapping[str, Any] | None = None) -> Channel:
        """The same for what is published in passing: it is not remembered, and so no part of the stream's state."""
        about = _pack(ref) if ref else b""
        topic = topics.topic(*self._prefix, *components)
        return Channel(self._stream(components), topic, about, self._head(components[-1], about))

    def _stream(self, components: tuple[str, ...]) -> Stream:
        name = topics.topic(*self._prefix, *components[:2])
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream(name)
        return stream

    def forget(self, channel: Channel) -> None:
        """Nothing will be published there any more: drop its state."""
        channel.last.clear()
        channel.stream.channels.pop((channel.topic, channel.about), None)

    def _head(self, kind: str, about: bytes) -> bytes:
        """The envelope up to its numbers. The order of its keys is fixed; that of any other map is not promised."""
        size = bytes([0x87 + bool(about)])
        ref = b"\xa3ref" + about if about else b""
        own = b"\xa5epoch" + _pack(self.epoch) + b"\xa3gen" + _pack(self.gen)
        return size + b"\xa4type" + _pack(kind) + own + ref + b"\xa3seq\xcf"

    def publish(self, channel: Channel, data: bytes, ts: int) -> bytes:
        """Publish packed `data`, read from TWS at `ts` (µs since 1970 UTC). Returns the body."""
        stream = channel.stream
        stream.seq = seq = stream.seq + 1
        self.offset = offset = self.offset + 1
        body = channel.head + _NUMBERS(seq, _OFFSET, offset, _TS, ts, _DATA) + data
        if self._held is None:
            self._send(channel.topic, body)
        else:
            self._held += (channel.topic, body)
        return body

    def hold(self) -> None:
        """Keep what is published until `release`.

        ZeroMQ's own thread writes all it finds to the subscribers at once, and then sleeps. Given one message at a time
        it wakes and writes for each, at five times the cost: so what one read brought goes out together.
        """
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Send what was held, in order, and hold no more."""
        held, self._held = self._held, None
        if held:
            send, each = self._send, iter(held)
            for topic, body in zip(each, each, strict=True):
                send(topic, body)

    def say(self, channel: Channel, data: Mapping[str, Any], ts: int, identity: Hashable | None = None) -> None:
        """Publish data that is not packed yet; with an `identity` it is state and replaces the last of the same."""
        body = self.publish(channel, _pack(data), ts)
        if identity is not None:
            channel.last[identity] = body

    def named(self, *components: str) -> str:
        """The topic with these components, or the prefix of those that begin with them, as clients subscribe to it."""
        return topics.topic(*self._prefix, *components).decode()

    def welcome(self, _: bytes) -> bytes:
        """The body that tells a new subscriber that its filter is in place. It has no sequence number."""
        about = {"type": "welcome", "proto": PROTO, "epoch": self.epoch, "gen": self.gen, "offset": self.offset}
        packed: bytes = msgpack.packb({**about, "heartbeat": self.heartbeat})
        return packed

    def next_generation(self) -> None:
        """A new connection to TWS: envelopes say so from here on. State of the old one is dropped with its channels."""
        self.gen += 1
        for stream in self._streams.values():
            stream.channels.clear()

    def snapshot(self, prefix: bytes, after: bytes, most: int) -> tuple[list[dict[str, Any]], bytes | None]:
        """The state of the streams under `prefix` that come after stream `after`, in order of name.

        As many as have `most` messages together, and the stream to go on after, if there are more.
        """
        page: list[dict[str, Any]] = []
        left = most
        for stream in self._under(prefix, after):
            messages = [
                [channel.topic, body]
                for channel in stream.channels.values()
                if channel.topic.startswith(prefix)
                for body in channel.last.values()
            ]
            if page and len(messages) > left:
                return page, page[-1]["stream"].encode()
            left -= len(messages)
            page.append({"stream": stream.name.decode(), "seq": stream.seq, "messages": messages})
        return page, None

    def _under(self, prefix: bytes, after: bytes) -> Iterator[Stream]:
        """Streams that have or could have messages under `prefix`: a prefix may be longer than a stream's name."""
        for name in sorted(self._streams):
            if name > after and (name.startswith(prefix) or prefix.startswith(name)):
                yield self._streams[name]

    def seqs(self) -> dict[str, int]:
        """The last number of every stream."""
        return {name.decode(): stream.seq for name, stream in self._streams.items()}
