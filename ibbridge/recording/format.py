"""File format of recordings: the bytes of connections to TWS, with the time and direction of each read and write.

A file is a magic line with the version, then blocks. A block is its compressed length and its CRC-32 (four bytes each,
big endian), then records compressed with zlib. Each block can be read alone: a killed writer leaves whole blocks and at
most the beginning of one, which a reader leaves out and reports. A record is its kind, its connection, its time and its
length, then that many bytes, exactly as they were read or written: the format knows nothing of frames.

This module is pure: its callers pass bytes, times and open files. `writer` decides where files are and when a new file
begins.
"""

from __future__ import annotations

import json
import struct
import zlib
from enum import IntEnum
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VERSION = 1
MAGIC = b"ibbridge recording "
HEADER = b"%s%d\n" % (MAGIC, VERSION)

LARGEST_BLOCK = 64 * 1024 * 1024
"""Limit of a block in bytes, compressed and unpacked. A larger length in a file means damage."""

_LEVEL = 1  # twice as fast as zlib's default, and a tenth larger
_BLOCK = struct.Struct(">II")
_RECORD = struct.Struct(">BQQI")


class RecordingError(Exception):
    """Recording that cannot be read; the text says why, and what to do."""


class RecordKind(IntEnum):
    """Kind of a record."""

    OPENED = 1  # a map as JSON: host, port, and other facts about the connection
    INBOUND = 2  # bytes that TWS sent
    OUTBOUND = 3  # bytes that were sent to TWS
    CLOSED = 4  # a map as JSON: why


class RecordedEvent(NamedTuple):
    """Record of one read, write, opening or closing. `connection` is its opening time; times are µs since 1970 UTC."""

    kind: RecordKind
    connection: int
    ts: int
    data: bytes

    @property
    def about(self) -> Mapping[str, Any]:
        """Facts about a connection, from the record of its opening or closing."""
        told: Mapping[str, Any] = json.loads(self.data)
        return told


def pack(kind: RecordKind, connection: int, ts: int, data: bytes) -> bytes:
    """Return one record as the bytes in a block."""
    return _RECORD.pack(kind, connection, ts, len(data)) + data


def told(about: Mapping[str, Any]) -> bytes:
    """Return the data of the record of an opening or closing."""
    return json.dumps(about).encode()


def block(records: bytes) -> bytes:
    """Return packed records, at most `LARGEST_BLOCK` bytes, as a block."""
    packed = zlib.compress(records, _LEVEL)
    return _BLOCK.pack(len(packed), zlib.crc32(packed)) + packed


class Reading:
    """Iterator over the records of one file, in order. After the last one, `cut` is True if the last block is cut off.

    `place` is the byte offset of the last record's block. A reading may begin at the offset of any block. Raise
    `RecordingError` in the constructor if the file is no recording, and while iterating if the file is damaged.
    """

    def __init__(self, file: BinaryIO, name: str, place: int = len(HEADER)) -> None:
        self._file = file
        self._name = name
        self.cut = False
        self._checked(file.readline(len(HEADER) + 20))
        self.place = place
        file.seek(place)

    def _checked(self, line: bytes) -> None:
        if line == HEADER:
            return
        version = line.removeprefix(MAGIC).strip()
        if line.startswith(MAGIC) and line.endswith(b"\n") and version.isdigit():
            raise RecordingError(
                f"{self._name} is a recording of version {int(version)}, and this program reads version {VERSION}: "
                "replay it with the ibbridge that made it, or a newer one"
            )
        if HEADER.startswith(line):
            raise RecordingError(f"{self._name} has nothing in it: its recorder was stopped before the first write")
        raise RecordingError(f"{self._name} is not a recording: give a file that ibbridge recorded")

    def __iter__(self) -> Iterator[RecordedEvent]:
        while head := self._file.read(_BLOCK.size):
            place = self.place = self._file.tell() - len(head)
            length, crc = _BLOCK.unpack(head) if len(head) == _BLOCK.size else (0, 0)
            if length > LARGEST_BLOCK:
                raise self._damaged(place)
            packed = self._file.read(length)
            if len(head) < _BLOCK.size or len(packed) < length:
                self.cut = True
                return
            if zlib.crc32(packed) != crc:
                raise self._damaged(place)
            yield from self._records(packed, place)

    def _records(self, packed: bytes, place: int) -> Iterator[RecordedEvent]:
        unpacking = zlib.decompressobj()
        try:
            data = unpacking.decompress(packed, LARGEST_BLOCK)
        except zlib.error:
            raise self._damaged(place) from None
        if not unpacking.eof or unpacking.unused_data:
            raise self._damaged(place)
        start = 0
        while start < len(data):
            try:
                kind, connection, ts, length = _RECORD.unpack_from(data, start)
                start += _RECORD.size + length
                record = RecordedEvent(RecordKind(kind), connection, ts, data[start - length : start])
            except (struct.error, ValueError):
                raise self._damaged(place) from None
            if start > len(data):
                raise self._damaged(place)
            yield record

    def _damaged(self, place: int) -> RecordingError:
        return RecordingError(
            f"{self._name} is damaged at byte {place}: copy the file from its source again, or cut it off there "
            f"(head -c {place}) to use the part before"
        )
