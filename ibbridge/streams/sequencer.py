"""The sequencer, the hot path of every message: sequence number, offset, envelope, and place in the state.

The module is compiled where that can be done: `_sequencer` is made from this source, with the types in
`_sequencer.pxd`. Where it is in use, classes are to be taken from there (`compiled.fastest`). So the module has only
the work for each message, and the classes for it; everything else about streams is in `publisher`.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.streams import envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from ibbridge.streams.market_depth import DepthBook

INTERFACE = 3  # see compiled.py

Micros: TypeAlias = int
"""Time in µs since 1970 UTC. Cython would take a plain `int` for Python's, and not for 64 bits."""


class Stream:
    """Stream: a numbered sequence of messages. `offsets` are those of its newest messages that the ring may still hold.

    `cuts` counts the times that state was dropped, which moves the remaining state. `changed` is True if a message has
    come since the last heartbeat took the list of changed streams.
    """

    __slots__ = ("add_offset", "changed", "channels", "cuts", "durable", "name", "offsets", "seq")

    def __init__(self, name: bytes, *, durable: bool) -> None:
        self.name = name
        self.durable = durable
        self.seq = 0
        self.offsets: array[int] = array("Q")
        self.add_offset = self.offsets.append  # bound once, not for each message
        self.channels: dict[tuple[bytes, bytes], Channel] = {}
        self.cuts = 0
        self.changed = False


class Channel:
    """Channel: one topic of a stream, with one `ref`.

    `last` holds the newest body of each identity: the channel's state. `keeps` says whether packed messages passed on
    (`publish_all`) become state. `stale` holds state from an earlier connection or process without a newer message.
    `book` is the state of a market depth channel. `users` counts the requests under way whose responses come here.
    """

    __slots__ = ("about", "book", "head", "keeps", "kind", "last", "stale", "stream", "topic", "users")

    def __init__(self, stream: Stream, topic: bytes, kind: str, about: bytes, head: bytes) -> None:
        self.stream = stream
        self.topic = topic
        self.kind = kind
        self.about = about
        self.head = head
        self.keeps = False
        self.last: dict[Hashable, bytes] = {}
        self.stale: dict[Hashable, bytes] = {}
        self.book: DepthBook | None = None
        self.users = 0


class Sequencer:
    """Sequencer: numbers messages and wraps them. `held` has the topics and bodies to be sent, in turn.

    `changed` has the streams with new messages, each stream once as long as its `changed` is set.
    """

    __slots__ = ("changed", "held", "offset")

    def __init__(self) -> None:
        self.offset = 0
        self.changed: list[Stream] = []
        self.held: list[bytes] = []

    def publish(self, channel: Channel, data: bytes, ts: Micros) -> bytes:
        """Wrap packed `data`, read from TWS at `ts`, with the next numbers; hold the message, and return its body."""
        stream = channel.stream
        stream.seq = seq = stream.seq + 1
        self.offset = offset = self.offset + 1
        stream.add_offset(offset)
        if not stream.changed:
            stream.changed = True
            self.changed.append(stream)
        body = envelope.seal(channel.head, seq, offset, ts, data)
        held = self.held
        held.append(channel.topic)
        held.append(body)
        return body

    def publish_all(
        self,
        messages: Iterable[Any],
        ts: Micros,
        channels: Mapping[str, Mapping[Any, Channel]],
        other: Callable[[Any, int], None],
    ) -> None:
        """Publish tuples of name, key, identity and packed data on their channels; pass other messages to `other`."""
        for message in messages:
            if type(message) is tuple:
                name, key, identity, data = message
                by_key = channels[name]
                channel = by_key.get(key)
                if channel is not None:
                    body = self.publish(channel, data, ts)
                    if channel.keeps:  # None is an identity like any other
                        channel.last[identity] = body
                    continue
            other(message, ts)
