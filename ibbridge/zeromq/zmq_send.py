"""Writes messages to a ZeroMQ socket without waiting: the last that is done for every message that is published.

Knows pyzmq, and where it keeps libzmq. Must not know what a frame says. `_zmq_send.pyx` does the same, compiled, and
without pyzmq in between, which takes two thirds of the time; it is used where it has been built.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Protocol

import zmq
import zmq.backend

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    from ibbridge.zeromq import _zmq_send
except ImportError:  # not built: there was no compiler
    COMPILED = False
else:
    COMPILED = _zmq_send.OUTBOX == 2 and os.environ.get("IBBRIDGE_PURE") != "1"

# As plain ints: for the compiled socket an enum costs a conversion per call.
_FIRST = int(zmq.SNDMORE | zmq.NOBLOCK)
_LAST = int(zmq.NOBLOCK)


class Outbox(Protocol):
    """Where messages go. Of no use any more when its socket is closed."""

    @property
    def unsent(self) -> int:
        """Messages that libzmq would not take; it never says so of an XPUB that may drop."""

    @property
    def sent_messages(self) -> int:
        """How many messages have been sent."""

    @property
    def sent_bytes(self) -> int:
        """How many bytes those had."""

    def send(self, frames: list[bytes], /) -> None:
        """Send messages, first and last frame in turn. Raises `zmq.ZMQError` if the socket cannot send at all."""


class Plain:
    """Through pyzmq's compiled socket: the Python layer above it doubles the price of a message."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.unsent = 0
        self.sent_messages = 0
        self.sent_bytes = 0
        self._put = zmq.backend.Socket.send.__get__(socket)

    def send(self, frames: list[bytes], /) -> None:
        """Send messages, first and last frame in turn."""
        put, each = self._put, iter(frames)
        for first, last in zip(each, each, strict=True):
            try:
                put(first, _FIRST)
                put(last, _LAST)
            except zmq.Again:  # only ever for the first frame: a message is taken whole or not at all
                self.unsent += 1
            self.sent_messages += 1
            self.sent_bytes += len(first) + len(last)


def outbox(socket: zmq.Socket[bytes]) -> Outbox:
    """The fastest there is for this socket."""
    found = _functions() if COMPILED else None
    return _zmq_send.Outbox(socket.underlying, *found, _raise) if found else Plain(socket)


def _functions() -> tuple[int, int] | None:
    """Where `zmq_send` and `zmq_errno` are in the libzmq that pyzmq uses; None if it does not say."""
    module = getattr(zmq.backend.Socket, "__module__", "")
    file = getattr(__import__(module, fromlist=["__file__"]), "__file__", None)
    try:
        library = ctypes.CDLL(file)
        return _address(library.zmq_send), _address(library.zmq_errno)
    except (OSError, AttributeError, TypeError):  # another backend of pyzmq's: it is no library, or has no such names
        return None


def _address(function: Callable[..., object]) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def _raise(number: int) -> None:
    raise zmq.ZMQError(number)
