"""What every message goes through: its numbers, its envelope, its place in the state. As little as can be.

`_sequencer.pyx` has the same, compiled; it is used where it has been built, and this where it has not. So there is
nothing here but what is done for each message, and what that needs: everything else about streams is in `publisher`.
"""

from __future__ import annotations

import os
from array import array
from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from ibbridge.streams.market_depth import Book

try:
    from ibbridge.streams import _sequencer
except ImportError:  # not built: there was no compiler
    COMPILED = False
else:
    COMPILED = _sequencer.PRESS == 2 and os.environ.get("IBBRIDGE_PURE") != "1"

_NUMBERS = Struct(">Q8sQ4sQ5s").pack
_OFFSET, _TS, _DATA = b"\xa6offset\xcf", b"\xa2ts\xcf", b"\xa4data"


def sealed(head: bytes, seq: int, offset: int, ts: int, data: bytes) -> bytes:
    """A body: the envelope up to its numbers, which end in `seq` and its mark, the numbers, and the packed data."""
    return head + _NUMBERS(seq, _OFFSET, offset, _TS, ts, _DATA) + data


class Stream:
    """One sequence of messages. `offsets` are those of its newest ones, as far as the ring may still have them.

    `cuts` counts how often state has been dropped, which moves the rest of it; it has `changed` if a message has come
    since the press was asked last which have.
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
    """One topic of a stream, under one `ref`.

    `last` holds the newest body of each identity: the stream's state, if it `keeps` any of what is passed on; `stale`
    those that an earlier connection or process left, as far as nothing newer came. `book` is the state of market depth,
    where it is that. `users` counts the requests under way whose answers come here.
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
        self.book: Book | None = None
        self.users = 0


class Press:
    """Numbers messages and wraps them: `held` has the topics and bodies that are to be sent, in turn.

    `changed` has the streams on which something has come, each once as long as it is marked so.
    """

    __slots__ = ("changed", "held", "offset")

    def __init__(self) -> None:
        self.offset = 0
        self.changed: list[Stream] = []
        self.held: list[bytes] = []

    def publish(self, channel: Channel, data: bytes, ts: int) -> bytes:
        """Give the next numbers to packed `data`, read from TWS at `ts`, and hold it; the body."""
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
        """Publish tuples of name, key, identity and packed data where `channels` says; what is else is for `other`."""
        publish = self.publish
        for message in messages:
            if type(message) is tuple:
                name, key, identity, data = message
                channel = channels[name].get(key)
                if channel is not None:
                    body = publish(channel, data, ts)
                    if channel.keeps:  # an identity may be unset, and is one all the same
                        channel.last[identity] = body
                    continue
            other(message, ts)
