"""Tells of a published message, at the price of a few look-ups, whether it is the right one.

The numbers stand at the same place in every body of a topic, and what belongs there follows from them
(`expected_messages`): so nothing is unpacked, and a checker keeps up with the daemon on a fraction of a core.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from expected_messages import Stream

_MARK = b"\xa3seq\xcf"
_NUMBERS = Struct(">Q8xQ").unpack_from
_TO_DATA = 8 + 8 + 8 + 4 + 8 + 5
"""Bytes from a message's number to its data: number, name, number, name, time, name."""


class WrongError(Exception):
    """A message is not the one that is due. str() says which, and why."""


class Topic(NamedTuple):
    """What is the same for all messages of a topic; `messages` is None of a stream that is not fed."""

    stream: bytes
    place: int
    messages: list[tuple[bytes, bytes]] | None


class Checker:
    """Reads the numbers of messages, and checks the data of those that were fed."""

    def __init__(self, script: Mapping[bytes, Stream]) -> None:
        self._script = script
        self._topics: dict[bytes, Topic | None] = {}

    def numbers(self, topic: bytes, body: bytes) -> tuple[bytes, int, int] | None:
        """Stream, number and offset; None for what stands outside all sequences. Raises `WrongError`."""
        about = self._topics[topic] if topic in self._topics else self._meet(topic, body)
        if about is None:
            return None
        stream, place, messages = about
        seq, offset = _NUMBERS(body, place)
        if messages is not None and messages[(seq - 1) % len(messages)] != (topic, body[place + _TO_DATA :]):
            raise WrongError(f"{topic.decode()} number {seq}, offset {offset}: other content than was fed")
        return stream, seq, offset

    def _meet(self, topic: bytes, body: bytes) -> Topic | None:
        stream = b".".join([*topic.split(b".")[:2], b""])
        known = self._script.get(stream)
        place = body.find(_MARK)
        about = Topic(stream, place + len(_MARK), known.messages if known else None) if place > 0 else None
        self._topics[topic] = about
        return about


class Sequence:
    """Follows the numbers of streams, each from the first that it meets."""

    def __init__(self, last: dict[bytes, int] | None = None) -> None:
        self.last: dict[bytes, int] = {} if last is None else last

    def gap(self, stream: bytes, seq: int) -> tuple[int, int] | None:
        """The numbers that are missing before this one. Raises `WrongError` if it goes back."""
        due = self.last.get(stream, seq - 1) + 1
        if seq < due:
            raise WrongError(f"{stream.decode()}: number {seq} where {due} was due")
        self.last[stream] = seq
        return None if seq == due else (due, seq - 1)
