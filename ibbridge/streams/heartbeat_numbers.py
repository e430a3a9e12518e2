"""Last sequence numbers of streams in a heartbeat, by which a client notices the loss of a stream's last messages.

A stream that has changed is named in three heartbeats in a row, as soon as there is room. Streams that have gone quiet
come first, because with an active stream the next message reveals a loss as well. Beside that, durable streams are
named in turn. So the size of a heartbeat is bounded, however many streams there are. Pure. The module must not know
the contents of a stream.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibbridge.streams.sequencer import Stream

BEATS = 3
"""Heartbeats in a row that name a stream after a change."""

ROOM = 40_000
"""Bytes of a heartbeat for streams that have changed."""

ROOM_IN_TURN = 12_000
"""Bytes of a heartbeat for durable streams that are named in turn."""

_NUMBER = 11
"""Bytes of a sequence number and of the length of a name, at most."""


class HeartbeatNumbers:
    """Selection of the streams whose sequence numbers the next heartbeat carries."""

    def __init__(self) -> None:
        self._changed: OrderedDict[Stream, None] = OrderedDict()  # waiting to be named, the latest change at the end
        self._telling: dict[Stream, int] = {}  # being named, with the number of heartbeats left
        self._room = ROOM
        self._durable: list[Stream] = []
        self._next = 0

    def __contains__(self, stream: Stream) -> bool:
        """Return True if a change of a stream still has to be named in a heartbeat."""
        return stream in self._changed or stream in self._telling

    def add(self, stream: Stream) -> None:
        """Add a durable stream, to be named again and again, in turn with the others."""
        self._durable.append(stream)

    def next_heartbeat(self, changed: Iterable[Stream]) -> dict[str, int]:
        """Return the sequence numbers for the next heartbeat, by stream name. `changed`: since the last heartbeat."""
        for stream in changed:
            self._changed.pop(stream, None)
            self._changed[stream] = None
        self._admit()
        told = {stream.name.decode(): stream.seq for stream in self._telling}
        for stream, left in [*self._telling.items()]:
            self._telling[stream] = left - 1
            if left == 1:
                del self._telling[stream]
                self._room += _size(stream)
        self._add_some_in_turn(told)
        return told

    def _admit(self) -> None:
        while self._changed:
            stream = next(iter(self._changed))
            if stream not in self._telling:
                if _size(stream) > self._room and self._telling:
                    return
                self._room -= _size(stream)
            self._telling[stream] = BEATS
            del self._changed[stream]

    def _add_some_in_turn(self, told: dict[str, int]) -> None:
        room = ROOM_IN_TURN
        for _ in range(len(self._durable)):
            stream = self._durable[self._next % len(self._durable)]
            room -= _size(stream)
            if room < 0:
                return
            told[stream.name.decode()] = stream.seq
            self._next = (self._next + 1) % len(self._durable)


def _size(stream: Stream) -> int:
    return len(stream.name) + _NUMBER
