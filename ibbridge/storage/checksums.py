"""Checksums of the store's rows: SQLite keeps none, and a wrong byte must be a fault, and must not become a message.

Pure. A value of a type that the store never writes has the checksum `WRONG`, which no row has.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812 - its own name says nothing
from zlib import crc32

WRONG = -1
"""Checksum of a value that the store cannot have written."""

_numbers = Struct(">qqqqq").pack
_state_numbers = Struct(">qqqqqq").pack


def checksum(*values: object) -> int:
    """Return the CRC-32 of a sequence of values: texts, bytes, integers and None."""
    crc = 0
    for value in values:
        if value is None:
            crc = crc32(b"-", crc)
        elif type(value) is int:
            crc = crc32(b"i%d;" % value, crc)
        elif type(value) is bytes:
            crc = crc32(value, crc32(b"b%d;" % len(value), crc))
        elif type(value) is str:
            packed = value.encode()
            crc = crc32(packed, crc32(b"s%d;" % len(packed), crc))
        else:
            return WRONG
    return crc


def of_event(numbers: tuple[object, object, object], identity: object, topic: object, body: object) -> int:
    """Return the CRC-32 of a message, in a third of the time of `checksum`. `numbers` are stream, seq and uptime."""
    if type(topic) is not bytes or type(body) is not bytes or not (identity is None or type(identity) is bytes):
        return WRONG
    try:
        crc = crc32(_numbers(*numbers, -1 if identity is None else len(identity), len(topic)))
    except StructError:
        return WRONG
    return crc32(body, crc32(topic, crc32(identity, crc) if identity else crc))


def of_state(names: tuple[object, object], numbers: tuple[object, object], key: object, body: object) -> int:
    """Return the CRC-32 that some early files of schema 2 have for a state: topic and identity, stream and seq."""
    topic, identity = names
    if type(topic) is not bytes or type(identity) is not bytes:
        return WRONG
    if not (key is None or type(key) is bytes) or not (body is None or type(body) is bytes):
        return WRONG
    key_size, body_size = -1 if key is None else len(key), -1 if body is None else len(body)
    try:
        crc = crc32(_state_numbers(*numbers, len(topic), len(identity), key_size, body_size))
    except StructError:
        return WRONG
    crc = crc32(identity, crc32(topic, crc))
    return crc32(body or b"", crc32(key or b"", crc))


def of_first_schema(seq: object, topic: object, body: object) -> int:
    """Return the CRC-32 that a message has in a file of schema 1."""
    if type(topic) is not bytes or type(body) is not bytes or type(seq) is not int:
        return WRONG
    return crc32(body, crc32(topic, seq & 0xFFFFFFFF))
