"""The kernel's counts of libzmq's connections (bytes received, bytes waiting), and a way to disconnect one.

The module knows descriptors and the system calls on them. libzmq owns each descriptor, and may have closed it already:
every call may raise OSError.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_INT = struct.Struct("i")
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_AT_ONCE = struct.pack("ii", 1, 0)  # closing the socket discards its data under way, and sends the peer a reset
_RECEIVED = struct.Struct("<Q")
_RECEIVED_AT = 128  # tcpi_bytes_received in struct tcp_info
_TCP_INFO = _RECEIVED_AT + _RECEIVED.size


def unread(descriptor: int) -> int:
    """Return how many bytes from the peer libzmq has not read yet."""
    return _queue(descriptor, termios.FIONREAD)


def unsent(descriptor: int) -> int:
    """Return how many bytes for the peer wait in the kernel, because the peer does not read them."""
    return _queue(descriptor, termios.TIOCOUTQ)


def received(descriptor: int, family: int) -> int | None:
    """Return how many bytes libzmq has read from the peer so far; None if the kernel does not count them (ipc)."""
    if family == socket.AF_UNIX:
        return None
    with _borrowed(descriptor, family) as borrowed:
        info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO)
    if len(info) < _TCP_INFO:
        return None
    (count,) = _RECEIVED.unpack_from(info, _RECEIVED_AT)
    return int(count) - unread(descriptor)


def peer_name(descriptor: int, family: int) -> str:
    """Return a text for people that names the peer: its address and port, or its process if that is known."""
    with _borrowed(descriptor, family) as borrowed:
        if family == socket.AF_UNIX:
            if not hasattr(socket, "SO_PEERCRED"):
                return "a local process"
            pid, _, _ = _CREDENTIALS.unpack(
                borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            return f"process {pid}"
        host, port = borrowed.getpeername()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def disconnect(descriptor: int, family: int, place: int | str) -> bool:
    """Shut a connection down, if its descriptor was accepted at `place` (a port or path). libzmq then closes it.

    Return False, and do nothing, for any other descriptor: libzmq may have closed the connection, and another file may
    have the descriptor now.
    """
    with _borrowed(descriptor, family) as borrowed:
        address = borrowed.getsockname()
        if (address[1] if isinstance(address, tuple) else address) != place:
            return False
        borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        borrowed.shutdown(socket.SHUT_RDWR)
    return True


def _queue(descriptor: int, request: int) -> int:
    (count,) = _INT.unpack(fcntl.ioctl(descriptor, request, bytes(_INT.size)))
    return int(count)


@contextmanager
def _borrowed(descriptor: int, family: int) -> Iterator[socket.socket]:
    borrowed = socket.socket(family, socket.SOCK_STREAM, 0, fileno=descriptor)
    try:
        yield borrowed
    finally:
        borrowed.detach()
