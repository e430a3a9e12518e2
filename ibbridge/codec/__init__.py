"""The wire of TWS: every message and request declared once, and from that the bytes, in both directions.

The package reads and writes text and protobuf at every server version, in pure functions on bytes.
It must not know sockets, a clock, or anything else of ibbridge.
"""

from __future__ import annotations

from ibbridge.codec.connection import Acceptor, Connection, HandshakeError, State
from ibbridge.codec.dialect import Dialect, Message, Undecodable
from ibbridge.codec.framing import FrameBuffer, FramingError, frame
from ibbridge.codec.passthrough import Packed
from ibbridge.codec.validation import NotCarried

__all__ = [
    "Acceptor",
    "Connection",
    "Dialect",
    "FrameBuffer",
    "FramingError",
    "HandshakeError",
    "Message",
    "NotCarried",
    "Packed",
    "State",
    "Undecodable",
    "frame",
]
