"""The numbers of streams that a heartbeat tells, so that the loss of a stream's last messages is found.

A stream that has changed is told in three heartbeats in a row, as soon as there is room: those that have gone quiet
first, because of the others the next message tells as much. Durable streams are told beside that, in turn. So a
heartbeat costs what one has room for, however many streams there are. Pure; knows nothing of what a stream holds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibbridge.streams.sequencer import Stream

BEATS = 3
"""Heartbeats in a row that tell a stream's number after it has changed."""

ROOM = 40_000
"""Bytes of a heartbeat for the numbers of streams that have changed."""

ROOM_IN_TURN = 12_000
"""Bytes of a heartbeat for the numbers of durable streams that have not."""

_NUMBER = 11
"""Bytes of a number and of the length of a name, at most."""


class HeartbeatNumbers:
    """Chooses the streams whose numbers the next heartbeat tells."""

    def __init__(self) -> None:
        self._changed: OrderedDict[Stream, None] = OrderedDict()  # to be told, those that changed last at the end
        self._telling: dict[Stream, int] = {}  # in so many heartbeats more
        self._room = ROOM
        self._durable: list[Stream] = []
        self._next = 0

    def __contains__(self, stream: Stream) -> bool:
        """Return True if a stream's number is still to be told because it has changed."""
        return stream in self._changed or stream in self._telling

    def add(self, stream: Stream) -> None:
        """Tell the number of a durable stream again and again, in turn with the others."""
        self._durable.append(stream)

    def beat(self, changed: Iterable[Stream]) -> dict[str, int]:
        """Return the numbers for the next heartbeat, by stream, when these have `changed` since the last one."""
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
