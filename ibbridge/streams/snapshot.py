"""Pages of a snapshot: the state of streams, a page at a time.

Pure and stateless: the cursor text that a page returns says where the next page begins. A stream is shown as it was
when its first page was made. Newer messages are left out of its later pages, because the client has subscribed before
and gets them from the bus. If state is dropped in between, the remaining state moves, and the stream begins anew.
"""

from __future__ import annotations

import re
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ibbridge.streams import envelope
from ibbridge.streams.envelope import STALE, SYNTHETIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibbridge.streams.publisher import Publisher
    from ibbridge.streams.sequencer import Channel, Stream

MESSAGES = 800
BYTES = 256 * 1024
STREAMS = 800
"""Limits of a page, in messages, bytes and streams. Building and packing a page takes less than 1.5 ms."""

_NUMBER = re.compile(r"[0-9]{1,18}")


class CursorError(ValueError):
    """Invalid cursor: a text that no page has returned."""


class Sight(Protocol):
    """Topics that a client may see."""

    def sees(self, topic: bytes) -> bool:
        """Return True if messages of a topic may be seen."""

    def sees_some(self, stream: bytes) -> bool:
        """Return True if some messages of a stream may be seen."""


class _All:
    """Sight of all topics."""

    def sees(self, topic: bytes) -> bool:
        """Return True."""
        return True

    sees_some = sees


ALL: Sight = _All()
"""Sight of all topics, for the daemon itself."""


class _Cursor(NamedTuple):
    """Position of the next page: behind a stream or, with a `seq`, within the stream at a place of a channel.

    `cuts` is the stream's count of dropped state when its first page was made.
    """

    stream: bytes
    seq: int = -1
    cuts: int = 0
    channel: int = 0
    place: int = 0

    def text(self) -> str:
        name = self.stream.decode()
        return name if self.seq < 0 else " ".join([name, *map(str, self[1:])])


def _cursor(text: str) -> _Cursor:
    name, *numbers = text.split(" ")
    if len(numbers) not in (0, 4) or not all(_NUMBER.fullmatch(number) for number in numbers):
        raise CursorError("after must be the `next` of an earlier page of the snapshot; begin without it")
    return _Cursor(name.encode("utf-8", "replace"), *map(int, numbers))


class _Page:
    """Page under construction: its streams, and the room left in messages and bytes."""

    def __init__(self, messages: int, size: int, sees: Sight) -> None:
        self._sees = sees
        self.streams: list[dict[str, Any]] = []
        self.next: str | None = None
        self._messages = messages
        self._size = size

    @property
    def full(self) -> bool:
        return self._messages <= 0 or self._size <= 0 or len(self.streams) >= STREAMS

    def add(self, stream: Stream, prefix: bytes, cursor: _Cursor) -> _Cursor | None:
        """Add the state of a stream from the cursor on. Return the cursor for the rest if the page is full."""
        messages: list[list[bytes]] = []
        self.streams.append({"stream": stream.name.decode(), "seq": cursor.seq, "messages": messages})
        # The rows of books have the stream's current number, so all of them go on the first page.
        if cursor.channel == cursor.place == 0:
            for row in _books(stream, prefix, self._sees):
                self._take(messages, *row)
        start = cursor.place
        for number, channel in enumerate(islice(stream.channels.values(), cursor.channel, None), cursor.channel):
            if channel.topic.startswith(prefix) and self._sees.sees(channel.topic):
                for following, body in enumerate(_entries(channel, cursor.seq, start), start + 1):
                    if body is not None:
                        self._take(messages, channel.topic, body)
                        if self.full:
                            return cursor._replace(channel=number, place=following)
            start = 0
        return None

    def _take(self, messages: list[list[bytes]], topic: bytes, body: bytes) -> None:
        messages.append([topic, body])
        self._messages -= 1
        self._size -= len(body)


def page(
    publisher: Publisher,
    prefix: bytes,
    after: str = "",
    messages: int = MESSAGES,
    *,
    size: int = BYTES,
    sees: Sight = ALL,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the streams under `prefix` from `after` on, and the `after` of the next page (None at the end).

    `sees` says which of them the client may see. Raise `CursorError` if `after` is no cursor.
    """
    made, cursor = _Page(messages, size, sees), _cursor(after)
    if cursor.seq >= 0 and (begun := publisher.stream(cursor.stream)) is not None and sees.sees_some(begun.name):
        if begun.cuts != cursor.cuts:
            cursor = _start(begun)
        if (rest := made.add(begun, prefix, cursor)) is not None:
            return made.streams, rest.text()
    for stream in publisher.under(prefix, cursor.stream):
        if not sees.sees_some(stream.name):
            continue
        if made.full:
            return made.streams, made.streams[-1]["stream"]
        if (rest := made.add(stream, prefix, _start(stream))) is not None:
            return made.streams, rest.text()
    return made.streams, None


def _start(stream: Stream) -> _Cursor:
    return _Cursor(stream.name, stream.seq, stream.cuts)


def _entries(channel: Channel, seq: int, start: int) -> Iterator[bytes | None]:
    """Yield a channel's state from one place on, in an order that only dropping state changes.

    Yield None for state that was superseded, or is newer than the stream's first page.
    """
    stale, last = channel.stale, channel.last
    old = ((identity, body, True) for identity, body in islice(stale.items(), start, None))
    new = ((identity, body, False) for identity, body in islice(last.items(), max(0, start - len(stale)), None))
    current = channel.stream.seq == seq
    for identity, body, is_stale in chain(old, new):
        if is_stale:
            yield None if identity in last else envelope.with_flags(body, STALE)
        elif current or envelope.sequence_of(body, channel.head) <= seq:
            yield body
        else:
            yield None


def _books(stream: Stream, prefix: bytes, sees: Sight) -> Iterator[list[bytes]]:
    """Yield the rows of a stream's market depth books as messages with the stream's last sequence number."""
    for channel in stream.channels.values():
        if channel.book and channel.topic.startswith(prefix) and sees.sees(channel.topic):
            flags = [SYNTHETIC] if channel.book.fresh else [STALE, SYNTHETIC]
            for row in channel.book.rows():
                body = envelope.seal(channel.head, stream.seq, 0, channel.book.ts, envelope.pack(row))
                yield [channel.topic, envelope.with_flags(body, *flags)]
