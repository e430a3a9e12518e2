"""Fast check of published messages against the expected ones, at the price of a few look-ups for each message.

The sequence number and the offset stand at the same place in every body of a topic, and they determine the data
(`expected_messages`). So nothing is unpacked, and a checker keeps up with the daemon on a fraction of a core.
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
"""Bytes from the sequence number of a message to its data: number, name, number, name, time, name."""


class WrongError(Exception):
    """A message that is not the expected one. The text says which message, and why."""


class Topic(NamedTuple):
    """Facts shared by all messages of a topic: stream, place of the numbers, and the fed messages; None if not fed."""

    stream: bytes
    place: int
    messages: list[tuple[bytes, bytes]] | None


class Checker:
    """Reader of sequence numbers and offsets, which also checks the data of messages that were fed."""

    def __init__(self, script: Mapping[bytes, Stream]) -> None:
        self._script = script
        self._topics: dict[bytes, Topic | None] = {}

    def numbers(self, topic: bytes, body: bytes) -> tuple[bytes, int, int] | None:
        """Return stream, sequence number and offset; None for a message without them. Raises `WrongError`."""
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
    """Follower of the sequence numbers of streams, each from the first number seen or a given one."""

    def __init__(self, last: dict[bytes, int] | None = None) -> None:
        self.last: dict[bytes, int] = {} if last is None else last

    def gap(self, stream: bytes, seq: int) -> tuple[int, int] | None:
        """Return the first and last number missing before `seq`, or None. Raises `WrongError` for an old `seq`."""
        due = self.last.get(stream, seq - 1) + 1
        if seq < due:
            raise WrongError(f"{stream.decode()}: number {seq} where {due} was due")
        self.last[stream] = seq
        return None if seq == due else (due, seq - 1)
