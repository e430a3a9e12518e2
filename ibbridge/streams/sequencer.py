"""The sequencer, the hot path of every message: sequence number, offset, envelope, and place in the state.

`_sequencer.pyx` is its compiled twin, used where it has been built; this module is the fallback. So the module has only
the work for each message, and the classes for it; everything else about streams is in `publisher`.
"""

from __future__ import annotations

import os
from array import array
from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from ibbridge.streams.market_depth import DepthBook

try:
    from ibbridge.streams import _sequencer
except ImportError:  # not built: there was no compiler
    COMPILED = False
else:
    COMPILED = _sequencer.SEQUENCER == 2 and os.environ.get("IBBRIDGE_PURE") != "1"

_NUMBERS = Struct(">Q8sQ4sQ5s").pack
_OFFSET, _TS, _DATA = b"\xa6offset\xcf", b"\xa2ts\xcf", b"\xa4data"


def sealed(head: bytes, seq: int, offset: int, ts: int, data: bytes) -> bytes:
    """Return a body: `head` (the envelope up to the mark of `seq`), the numbers, and the packed data."""
    return head + _NUMBERS(seq, _OFFSET, offset, _TS, ts, _DATA) + data


class Stream:
    """Stream: a numbered sequence of messages. `offsets` are those of its newest messages that the ring may still hold.

    `cuts` counts the times that state was dropped, which moves the remaining state. `changed` is True if a message has
    come since the last heartbeat took the list of changed streams.
    """

    __slots__ = ("changed", "channels", "cuts", "durable", "name", "offsets", "seq")

    def __init__(self, name: bytes, durable: bool) -> None:  # noqa: FBT001 - as the compiled one
        self.name = name
        self.durable = durable
        self.seq = 0
        self.offsets: array[int] = array("Q")
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

    def publish(self, channel: Channel, data: bytes, ts: int) -> bytes:
        """Wrap packed `data`, read from TWS at `ts`, with the next numbers; hold the message, and return its body."""
        stream = channel.stream
        stream.seq = seq = stream.seq + 1
        self.offset = offset = self.offset + 1
        stream.offsets.append(offset)
        if not stream.changed:
            stream.changed = True
            self.changed.append(stream)
        body = channel.head + _NUMBERS(seq, _OFFSET, offset, _TS, ts, _DATA) + data
        held = self.held
        held.append(channel.topic)
        held.append(body)
        return body

    def publish_all(
        self,
        messages: Iterable[Any],
        ts: int,
        channels: Mapping[str, Mapping[Any, Channel]],
        other: Callable[[Any, int], None],
    ) -> None:
        """Publish tuples of name, key, identity and packed data on their channels; pass other messages to `other`."""
        publish = self.publish
        for message in messages:
            if type(message) is tuple:
                name, key, identity, data = message
                channel = channels[name].get(key)
                if channel is not None:
                    body = publish(channel, data, ts)
                    if channel.keeps:  # None is an identity like any other
                        channel.last[identity] = body
                    continue
            other(message, ts)
