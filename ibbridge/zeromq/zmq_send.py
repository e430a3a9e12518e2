"""Sending to a ZeroMQ socket without waiting: the last step for every published message.

The module knows pyzmq, and where pyzmq keeps libzmq. It must not know the contents of a frame. `_zmq_send.pyx` is its
compiled twin, used where it has been built. The twin calls libzmq without pyzmq, which would take two thirds of the
time.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Protocol

import zmq
import zmq.backend

from ibbridge.codec import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.zeromq import _zmq_send
else:
    _zmq_send = compiled.in_use("ibbridge.zeromq._zmq_send")

COMPILED = _zmq_send is not None
"""True if compiled code sends."""

# As plain ints: for the compiled socket an enum costs a conversion per call.
_FIRST = int(zmq.SNDMORE | zmq.NOBLOCK)
_LAST = int(zmq.NOBLOCK)


class Outbox(Protocol):
    """Sender of messages to one socket. It must not be used after its socket is closed."""

    @property
    def unsent(self) -> int:
        """The number of messages that libzmq did not take. With an XPUB that may drop messages this stays 0."""

    @property
    def sent_messages(self) -> int:
        """The number of messages sent."""

    @property
    def sent_bytes(self) -> int:
        """The number of bytes sent."""

    def send(self, frames: list[bytes], /) -> None:
        """Send messages, first and last frame in turn. Raise `zmq.ZMQError` if the socket cannot send at all."""


class Plain:
    """Sender in pure Python, through pyzmq's compiled socket: the Python layer above that doubles the time."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.unsent = 0
        self.sent_messages = 0
        self.sent_bytes = 0
        self._put = zmq.backend.Socket.send.__get__(socket)

    def send(self, frames: list[bytes], /) -> None:
        """Send messages, first and last frame in turn."""
        put, rest = self._put, iter(frames)
        for first, last in zip(rest, rest, strict=True):
            try:
                put(first, _FIRST)
                put(last, _LAST)
            except zmq.Again:  # only for the first frame: libzmq takes a message whole or not at all
                self.unsent += 1
            self.sent_messages += 1
            self.sent_bytes += len(first) + len(last)


def outbox(socket: zmq.Socket[bytes]) -> Outbox:
    """Return the fastest sender for a socket."""
    found = _functions() if COMPILED else None
    return _zmq_send.Outbox(socket.underlying, *found, _raise) if found else Plain(socket)


def _functions() -> tuple[int, int] | None:
    """Return the addresses of `zmq_send` and `zmq_errno` in the libzmq that pyzmq uses; None if they are not found."""
    module = getattr(zmq.backend.Socket, "__module__", "")
    file = getattr(__import__(module, fromlist=["__file__"]), "__file__", None)
    try:
        library = ctypes.CDLL(file)
        return _address(library.zmq_send), _address(library.zmq_errno)
    except (OSError, AttributeError, TypeError):  # another backend of pyzmq's: no library, or without these functions
        return None


def _address(function: Callable[..., object]) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def _raise(number: int) -> None:
    raise zmq.ZMQError(number)
