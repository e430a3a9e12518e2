"""Where a frame begins and ends: four bytes of length, then that many bytes of payload.

Knows nothing of what is in a payload. A length that no message has means that framing is lost; what follows it cannot
be trusted, so that is the end of the connection (`FramingError`), at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

try:
    from ibbridge.codec import _speedups
except ImportError:  # not built: there was no compiler
    COMPILED = False
else:
    COMPILED = _speedups.PLANS == 2 and os.environ.get("IBBRIDGE_PURE") != "1"

MAX_LENGTH = 0xFFFFFF
"""The largest payload: what IB's own client accepts."""

PROTOBUF_IDS = 200
"""Added to the id of a message whose body is protobuf."""

_PREFIX = 4


class FramingError(Exception):
    """The stream is broken and the connection must be closed."""


class TooLargeError(ValueError):
    """A message that no reader would accept."""


def frame(payload: bytes) -> bytes:
    """`payload` behind its length. Raises `TooLargeError` above `MAX_LENGTH`."""
    if len(payload) > MAX_LENGTH:
        raise TooLargeError(f"a message of {len(payload)} bytes; {MAX_LENGTH} at most")
    return len(payload).to_bytes(4, "big") + payload


def split(data: bytes, most: int) -> tuple[list[bytes], int, int]:
    """The payloads that are whole, where what is left begins, and how long the next one is said to be, if it is.

    None is longer than `most`: what is behind such a length is left.
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
    """Takes bytes in any pieces, gives payloads whole."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = _PREFIX
        self._split: Callable[[bytes, int], tuple[list[bytes], int, int]] = _speedups.split if COMPILED else split

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads that `data` completes. Bytes of an unfinished one are kept, and never more than one message."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:  # a long message in many pieces is copied once, when it is complete
                return
            data = bytes(self._rest)
            self._rest.clear()
        payloads, start, length = self._split(data, MAX_LENGTH)
        self._rest += data[start:]
        self._need = _PREFIX + (length if length <= MAX_LENGTH else 0)
        each = iter(payloads)
        try:
            yield from each
        except GeneratorExit:  # who stops early gets the others next
            self._rest[:0] = b"".join(map(frame, each))
            self._need = _PREFIX
            raise
        if length > MAX_LENGTH:
            raise FramingError(f"a message of {length} bytes announced; {MAX_LENGTH} at most")

    def __len__(self) -> int:
        """Bytes kept of a message that is not complete."""
        return len(self._rest)
