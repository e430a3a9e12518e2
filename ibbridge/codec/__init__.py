"""Codec of TWS's wire protocol: messages are declared once, and their readers and writers are derived.

The package turns bytes into values and values into bytes, as text and as protobuf, at every server version. It must not
know sockets, a clock, or anything else of ibbridge.
"""

from __future__ import annotations

from ibbridge.codec.connection import Acceptor, Connection, Greeting, HandshakeError, HandshakeState
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
    "Greeting",
    "HandshakeError",
    "HandshakeState",
    "Message",
    "NotCarried",
    "Packed",
    "Undecodable",
    "frame",
]
