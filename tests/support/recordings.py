"""Recordings made by hand: what a client asked and what TWS said, as the test tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec import Dialect, frame
from ibbridge.codec.messages import MESSAGES
from ibbridge.recording import format as recording_format
from ibbridge.recording.format import HEADER, RecordKind

if TYPE_CHECKING:
    import pathlib

BEGAN = 1_767_623_400_000_000
"""µs: 5 January 2026, 14:30 UTC."""
SECOND = 1_000_000
CLIENT = 1

_BLANK: dict[str, Any] = {"int": 0, "long": 0, "float": 0.0, "decimal": 0.0, "bool": False, "str": ""}


def blank(name: str) -> dict[str, Any]:
    """A message of TWS's in which nothing is said."""
    return {each.name: _BLANK.get(getattr(each.type, "name", ""), {}) for each in MESSAGES[name].shape.shape}


class Taped:
    """A recording that grows record by record. Time passes when it is told to."""

    def __init__(self, version: int = 226) -> None:
        self.version = version
        self.ts = BEGAN
        self.records: list[tuple[RecordKind, int, int, bytes]] = []
        self._asks, self._says = Dialect.client(version), Dialect.server(version)
        self._connection = 0

    def open(self, client: int = CLIENT, first_id: int = 1) -> Taped:
        """A connection, up to ready."""
        self._connection = self.ts = self.ts + 1
        self._add(RecordKind.OPENED, recording_format.told({"host": "127.0.0.1", "port": 4002}))
        self.outbound(b"API\0" + frame(b"v176..226"))
        self.inbound(frame(b"%d\x0020260105 09:30:00 EST\0" % self.version))
        self.asked("startApi", clientId=client, optionalCapabilities="")
        self.said("managedAccounts", accountsList="DU1")
        return self.said("nextValidId", orderId=first_id)

    def after(self, seconds: float) -> Taped:
        self.ts += int(seconds * SECOND)
        return self

    def asked(self, name: str, **args: Any) -> Taped:
        return self.outbound(self._asks.write(name, args))

    def said(self, name: str, **data: Any) -> Taped:
        return self.inbound(self._says.put(name, {**blank(name), **data}))

    def tick(self, number: int, price: float) -> Taped:
        return self.said("tickPrice", reqId=number, tickType=1, price=price)

    def inbound(self, data: bytes) -> Taped:
        return self._add(RecordKind.INBOUND, data)

    def outbound(self, data: bytes) -> Taped:
        return self._add(RecordKind.OUTBOUND, data)

    def close(self) -> Taped:
        return self._add(RecordKind.CLOSED, recording_format.told({"why": "closed"}))

    def _add(self, kind: RecordKind, data: bytes) -> Taped:
        self.records.append((kind, self._connection, self.ts, data))
        return self

    def write(self, path: pathlib.Path) -> pathlib.Path:
        packed = [recording_format.pack(*record) for record in self.records]
        path.write_bytes(HEADER + recording_format.block(b"".join(packed)))
        return path
