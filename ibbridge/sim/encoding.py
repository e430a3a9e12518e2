"""Frames as a gateway fills them: which words stand for nothing in text, what protobuf leaves out, what text adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.codec import Dialect


class Encoder:
    """Writes the host's messages in one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def put(self, name: str, data: Mapping[str, Any]) -> bytes:
        """Return the frame of a message, length included."""
        return self._dialect.put(name, data)
