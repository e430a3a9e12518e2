"""The TWS wire: pure functions on bytes, no I/O, no clock."""

from __future__ import annotations

from ibbridge.codec.connection import Acceptor, Connection, HandshakeError, State
from ibbridge.codec.dialect import Dialect, Message, Undecodable
from ibbridge.codec.framing import FrameBuffer, FramingError, frame
from ibbridge.codec.packed import Packed
from ibbridge.codec.refusals import NotCarried

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
