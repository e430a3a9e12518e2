"""Where a frame begins and ends: four bytes of length, then that many bytes of payload.

Knows nothing of what is in a payload. A length that no message has means that framing is lost; what follows it cannot
be trusted, so that is the end of the connection (`FramingError`), at once.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_LENGTH = 0xFFFFFF
"""The largest payload: what IB's own client accepts."""

_PREFIX = 4


class FramingError(Exception):
    """The stream is broken and the connection must be closed."""


def frame(payload: bytes) -> bytes:
    """`payload` behind its length. Raises `ValueError` if no reader would accept it."""
    if len(payload) > MAX_LENGTH:
        raise ValueError(f"a message of {len(payload)} bytes; {MAX_LENGTH} at most")
    return len(payload).to_bytes(4, "big") + payload


class FrameBuffer:
    """Takes bytes in any pieces, gives payloads whole."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = _PREFIX

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads that `data` completes. Bytes of an unfinished one are kept, and never more than one message."""
        if self._pieces:
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:  # a long message in many pieces is joined once
                return
            data = b"".join(self._pieces)
        start, end, need = 0, len(data), _PREFIX
        from_bytes = int.from_bytes
        try:
            while end - start >= _PREFIX:
                body = start + _PREFIX
                length = from_bytes(data[start:body], "big")
                if length > MAX_LENGTH:
                    raise FramingError(f"a message of {length} bytes announced; {MAX_LENGTH} at most")
                stop = body + length
                if stop > end:
                    need = _PREFIX + length
                    break
                start = stop
                yield data[body:stop]
        finally:
            rest = data[start:]
            self._pieces, self._have, self._need = ([rest] if rest else []), len(rest), need

    def __len__(self) -> int:
        """Bytes kept of a message that is not complete."""
        return self._have
