"""Content of recordings: their connections, the requests on each connection, and the messages of TWS, in order.

Making a `Script` reads the files once from end to end, so that faults in the files are reported before a client
connects. The messages of TWS are not kept in memory. This module knows files and frames. It must not know clocks or
sockets.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec import Dialect, FrameBuffer, FramingError, Message, Undecodable
from ibbridge.codec.connection import SIGN
from ibbridge.recording.format import Reading, RecordedEvent, RecordingError, RecordKind
from ibbridge.recording.player import id_mapping

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Mapping, Sequence

    from ibbridge.recording.player.id_mapping import Key

CLOCKS: Mapping[str, str] = {"reqCurrentTime": "currentTime", "reqCurrentTimeInMillis": "currentTimeInMillis"}
"""Requests that programs send to check a connection, and their responses. The player answers them itself."""


class Asked(NamedTuple):
    """Recorded request, with its key and its own id."""

    request: Message | Undecodable
    key: Key
    number: int | None

    @property
    def clock(self) -> bool:
        """Return True if the request only asks for the time."""
        return isinstance(self.request, Message) and self.request.name in CLOCKS


class Exchange(NamedTuple):
    """Frame of a recorded connection, after the handshake. `outbound`: the client sent it."""

    ts: int
    payload: bytes
    outbound: bool


class ScriptStep(NamedTuple):
    """Next step of a recorded connection: TWS sent `payload`, or (None) the client sent its next request."""

    ts: int
    payload: bytes | None


@dataclass
class Part:
    """Recorded connection. `place` is the index of the file and the offset of the block in which it begins."""

    connection: int
    about: Mapping[str, Any]
    place: tuple[int, int]
    greeting: bytes = b""
    version: int = 0
    client: int | None = None
    requests: list[Asked] = field(default_factory=list)
    last: int = 0


class Script:
    """Connections in a set of files, which may be given in any order."""

    def __init__(self, paths: Sequence[pathlib.Path]) -> None:
        """Read the files. Raise `RecordingError`, or `OSError` for a file that cannot be read."""
        self._paths = sorted(paths, key=_beginning)
        self.parts: list[Part] = []
        self.remarks: list[str] = []
        """Warnings about the files, for the log."""
        self._index()
        self.parts = [part for part in self.parts if part.version]
        if not self.parts:
            why = "; ".join(self.remarks) or "no client and TWS agreed on a version in it"
            raise RecordingError(f"{', '.join(map(str, paths))}: there is nothing to play: {why}")

    def steps(self, part: Part) -> Iterator[ScriptStep]:
        """Yield the steps of a connection after the handshake, read from the files on demand."""
        wires = _Wires()
        for _, record in self._records(part.place):
            if record.connection != part.connection:
                continue
            for outbound, payload in wires.take(record):
                yield ScriptStep(record.ts, None if outbound else payload)
            if record.kind is RecordKind.CLOSED or wires.broken:
                return

    def exchanged(self, part: Part) -> Iterator[Exchange]:
        """Yield the frames of both directions of a connection, read from the files on demand."""
        wires = _Wires()
        for _, record in self._records(part.place):
            if record.connection != part.connection:
                continue
            for outbound, payload in wires.take(record):
                yield Exchange(record.ts, payload, outbound)
            if record.kind is RecordKind.CLOSED or wires.broken:
                return

    def _records(self, begin: tuple[int, int] | None = None) -> Iterator[tuple[tuple[int, int], RecordedEvent]]:
        """Yield the records with their places, from the place `begin` (None: from the first file's start)."""
        first, place = begin or (0, 0)
        with ExitStack() as stack:
            for number, path in enumerate(self._paths[first:], first):
                file = stack.enter_context(path.open("rb"))
                reading = Reading(file, str(path), place) if place else Reading(file, str(path))
                place = 0
                for record in reading:
                    yield (number, reading.place), record
                if reading.cut and begin is None:
                    self.remarks.append(f"{path} ends within a block: its last moments are missing")

    def _index(self) -> None:
        under_way: dict[int, tuple[Part, _Wires, _Asking]] = {}
        orders: dict[int | None, set[int]] = defaultdict(set)  # by client: orders outlive the client's connections
        headless: set[int] = set()
        for place, record in self._records():
            if record.kind is RecordKind.OPENED:
                part = Part(record.connection, record.about, place, last=record.ts)
                self.parts.append(part)
                under_way[record.connection] = part, _Wires(), _Asking(part, orders)
            elif record.connection not in under_way:
                headless.add(record.connection)
            else:
                part, wires, asking = under_way[record.connection]
                part.last = record.ts
                for outbound, payload in wires.take(record):
                    if outbound:
                        asking.take(payload)
                part.greeting, part.version = wires.greeting, wires.version
                if wires.broken:
                    self.remarks.append(f"a connection is played only up to a broken frame: {wires.broken}")
                if wires.broken or record.kind is RecordKind.CLOSED:
                    del under_way[record.connection]
        if headless:
            self.remarks.append(
                f"{len(headless)} connection(s) are left out, because their beginning is missing: give the earlier "
                "files of the recording, too"
            )


def _beginning(path: pathlib.Path) -> int:
    """Return the time of a file's first record; 0 if there is none."""
    with path.open("rb") as file:
        first = next(iter(Reading(file, str(path))), None)
    return first.ts if first else 0


class _Wires:
    """Frame decoder for both directions of a connection: yields the payloads after the handshake."""

    def __init__(self) -> None:
        self.greeting = b""
        self.version = 0
        self.broken = ""
        self._sides = {RecordKind.INBOUND: FrameBuffer(), RecordKind.OUTBOUND: FrameBuffer()}
        self._sign = b""
        self._offered = False

    def take(self, record: RecordedEvent) -> Iterator[tuple[bool, bytes]]:
        """Yield the payloads that a record completes, each with True if the payload went to TWS."""
        if record.kind not in self._sides:
            return
        data, outbound = record.data, record.kind is RecordKind.OUTBOUND
        if outbound and len(self._sign) < len(SIGN):
            missing = len(SIGN) - len(self._sign)
            self._sign, data = self._sign + data[:missing], data[missing:]
        try:
            for payload in self._sides[record.kind].feed(data):
                if self._is_greeting(payload, outbound=outbound):
                    continue
                yield outbound, payload
        except FramingError as error:
            self.broken = str(error)

    def _is_greeting(self, payload: bytes, *, outbound: bool) -> bool:
        """Return True if the payload belongs to the handshake. Keep TWS's part of the handshake."""
        if outbound:
            first, self._offered = not self._offered, True
            if not (first or self.version):
                raise FramingError("a request came before the server version")
            return first
        if self.version:
            return False
        version = payload.partition(b"\0")[0]
        if version.isdigit() and len(version) < 9:
            self.greeting, self.version = payload, int(version)
        return True


class _Asking:
    """Decoder of a client's recorded requests, which knows the client's order ids so far."""

    def __init__(self, part: Part, orders: dict[int | None, set[int]]) -> None:
        self._part = part
        self._orders = orders
        self._dialect: Dialect | None = None

    def take(self, payload: bytes) -> None:
        self._dialect = self._dialect or Dialect.server(self._part.version)
        request = self._dialect.read(payload)
        self._part.requests.append(self._asked(request))

    def _asked(self, request: Message | Undecodable) -> Asked:
        if isinstance(request, Undecodable):
            return Asked(request, ("", request.raw.hex()), None)
        if request.name == "startApi":
            self._part.client = request.data["clientId"]
        number = id_mapping.number_of(request)
        orders = self._orders[self._part.client]
        again = id_mapping.is_order(request) and number in orders
        if id_mapping.is_order(request) and number is not None:
            orders.add(number)
        return Asked(request, id_mapping.key_of(request, self._part.client, lambda _, same: same, again=again), number)
