"""Framing: four bytes of length, then that many bytes of payload.

This module must not know what is in a payload. A length above `MAX_LENGTH` means that framing is lost: no byte behind
it can be trusted, so `FramingError` ends the connection at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.codec import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibbridge.codec import _speedups
else:
    _speedups = compiled.in_use("ibbridge.codec._speedups")

COMPILED = _speedups is not None
"""True if compiled code splits."""

MAX_LENGTH = 0xFFFFFF
"""Largest payload in bytes, which is IB's own client's limit."""

PROTOBUF_IDS = 200
"""Offset added to the id of a message whose body is protobuf."""

_PREFIX = 4


class FramingError(Exception):
    """Broken framing: the caller must close the connection."""


class TooLargeError(ValueError):
    """Message that is longer than any reader accepts."""


def frame(payload: bytes) -> bytes:
    """Return `payload` behind its length. Raise `TooLargeError` above `MAX_LENGTH` bytes."""
    if len(payload) > MAX_LENGTH:
        raise TooLargeError(f"a message of {len(payload)} bytes; {MAX_LENGTH} at most")
    return len(payload).to_bytes(4, "big") + payload


def split(data: bytes, most: int) -> tuple[list[bytes], int, int]:
    """Return the complete payloads, the offset of the rest, and the length that the rest announces (0: none yet).

    No payload is longer than `most` bytes: a longer announced length ends the splitting.
    """
    payloads: list[bytes] = []
    start, end, length = 0, len(data), 0
    from_bytes = int.from_bytes
    while end - start >= _PREFIX:
        body = start + _PREFIX
        length = from_bytes(data[start:body], "big")
        stop = body + length
        if stop > end or length > most:
            return payloads, start, length
        payloads.append(data[body:stop])
        start = stop
    return payloads, start, 0


class FrameBuffer:
    """Buffer that takes bytes in pieces of any size and gives whole payloads."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = _PREFIX
        self._split: Callable[[bytes, int], tuple[list[bytes], int, int]] = _speedups.split if COMPILED else split

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the payloads that `data` completes, and keep the bytes of an incomplete one, never of more than one.

        Raise `FramingError` if a length above `MAX_LENGTH` is announced.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:  # a long message in many pieces is copied once, when it is complete
                return
            data = bytes(self._rest)
            self._rest.clear()
        payloads, start, length = self._split(data, MAX_LENGTH)
        self._rest += data[start:]
        self._need = _PREFIX + (length if length <= MAX_LENGTH else 0)
        remaining = iter(payloads)
        try:
            yield from remaining
        except GeneratorExit:  # a caller that stops early gets the other payloads next time
            self._rest[:0] = b"".join(map(frame, remaining))
            self._need = _PREFIX
            raise
        if length > MAX_LENGTH:
            raise FramingError(f"a message of {length} bytes announced; {MAX_LENGTH} at most")

    def __len__(self) -> int:
        """Return the number of bytes kept of an incomplete message."""
        return len(self._rest)
