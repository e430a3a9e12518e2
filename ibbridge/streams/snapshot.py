"""The state of streams, a page at a time: what a snapshot answers.

Pure, and without a memory of its own: where a page stopped is in the text that it gives for the next one. A stream is
shown as it was when its first page was made. What has come since is left out of the pages that continue it, because
whoever asks has subscribed before and gets it from there. State that is dropped in between moves the rest of it: then
the stream begins anew.
"""

from __future__ import annotations

import re
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from ibbridge.streams.publisher import body_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibbridge.streams.publisher import Streams
    from ibbridge.streams.sequencer import Channel, Stream

MESSAGES = 800
BYTES = 256 * 1024
STREAMS = 800
"""The most of a page: less than a millisecond and a half to build and pack."""

_STALE, _SYNTHETIC = "stale", "synthetic"


_NUMBER = re.compile(r"[0-9]{1,18}")


class CursorError(ValueError):
    """Text that no page gave."""


class _Cursor(NamedTuple):
    """Behind this stream; or, with a `seq`, within it: at this place of this channel, `cuts` as it was."""

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
    if len(numbers) not in (0, 4) or not all(_NUMBER.fullmatch(each) for each in numbers):
        raise CursorError("after is no text that a snapshot gave as next; begin without it")
    return _Cursor(name.encode("utf-8", "replace"), *map(int, numbers))


class _Page:
    """One page under construction: its streams, and what there is still room for."""

    def __init__(self, messages: int, size: int) -> None:
        self.streams: list[dict[str, Any]] = []
        self.next: str | None = None
        self._messages = messages
        self._size = size

    @property
    def full(self) -> bool:
        return self._messages <= 0 or self._size <= 0 or len(self.streams) >= STREAMS

    def add(self, stream: Stream, prefix: bytes, cursor: _Cursor) -> _Cursor | None:
        """The state of a stream from the cursor on; where to go on if there was no room for all of it."""
        messages: list[list[bytes]] = []
        self.streams.append({"stream": stream.name.decode(), "seq": cursor.seq, "messages": messages})
        if cursor.channel == cursor.place == 0:  # whole, on the first page: the rows have the number of the stream now
            for row in _books(stream, prefix):
                self._take(messages, *row)
        start = cursor.place
        for number, channel in enumerate(islice(stream.channels.values(), cursor.channel, None), cursor.channel):
            if channel.topic.startswith(prefix):
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
    streams: Streams, prefix: bytes, after: str = "", messages: int = MESSAGES, size: int = BYTES
) -> tuple[list[dict[str, Any]], str | None]:
    """The streams under `prefix` from `after` on, and what to give as `after` for the next page; None at the end.

    Raises `CursorError`.
    """
    made, cursor = _Page(messages, size), _cursor(after)
    if cursor.seq >= 0 and (begun := streams.stream(cursor.stream)) is not None:
        if begun.cuts != cursor.cuts:
            cursor = _start(begun)
        if (rest := made.add(begun, prefix, cursor)) is not None:
            return made.streams, rest.text()
    for stream in streams.under(prefix, cursor.stream):
        if made.full:
            return made.streams, made.streams[-1]["stream"]
        if (rest := made.add(stream, prefix, _start(stream))) is not None:
            return made.streams, rest.text()
    return made.streams, None


def _start(stream: Stream) -> _Cursor:
    return _Cursor(stream.name, stream.seq, stream.cuts)


def _entries(channel: Channel, seq: int, start: int) -> Iterator[bytes | None]:
    """A channel's state from one place on, in an order that only dropping state changes.

    None for what has become none since its stream's first page.
    """
    stale, last = channel.stale, channel.last
    old = ((identity, body, True) for identity, body in islice(stale.items(), start, None))
    new = ((identity, body, False) for identity, body in islice(last.items(), max(0, start - len(stale)), None))
    place, current = len(channel.head), channel.stream.seq == seq
    for identity, body, is_stale in chain(old, new):
        if is_stale:
            yield None if identity in last else flagged(body, _STALE)
        elif current or int.from_bytes(body[place : place + 8]) <= seq:
            yield body
        else:
            yield None


def _books(stream: Stream, prefix: bytes) -> Iterator[list[bytes]]:
    """The rows of the market depth of a stream, as messages with its number."""
    for channel in stream.channels.values():
        if channel.book and channel.topic.startswith(prefix):
            flags = [_SYNTHETIC] if channel.book.fresh else [_STALE, _SYNTHETIC]
            for row in channel.book.rows():
                yield [channel.topic, flagged(body_of(channel, row, channel.book.ts), *flags)]


def flagged(body: bytes, *flags: str) -> bytes:
    """A message's body with `flags`, which it had none of."""
    packed: bytes = msgpack.packb(list(flags))
    return bytes([body[0] + 1]) + body[1:] + b"\xa5flags" + packed
