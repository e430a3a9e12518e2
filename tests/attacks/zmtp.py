"""Peers that speak ZMTP byte by byte, in each version, so that they can say what no library would."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
MORE, LONG, COMMAND = 1, 2, 4


def connect(endpoint: str, patience: float = 30.0) -> socket.socket:
    """Open a plain connection to a ZeroMQ endpoint, tcp or ipc."""
    where = urlsplit(endpoint)
    if where.scheme == "ipc":
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(patience)
        peer.connect(where.path)
        return peer
    return socket.create_connection((where.hostname, where.port or 0), patience)


def frame(body: bytes, flags: int = 0) -> bytes:
    """Return a frame of ZMTP 2 and 3."""
    if len(body) > 255:
        return bytes((flags | LONG,)) + len(body).to_bytes(8, "big") + body
    return bytes((flags, len(body))) + body


def old_frame(body: bytes, flags: int = 0) -> bytes:
    """Return a frame of ZMTP 1.0: the length counts the flags."""
    length = len(body) + 1
    head = bytes((length,)) if length < 255 else b"\xff" + length.to_bytes(8, "big")
    return head + bytes((flags,)) + body


def greeting(minor: int = 1) -> bytes:
    """Return the greeting of ZMTP 3.`minor` without authentication."""
    return SIGNATURE + bytes((3, minor)) + b"NULL".ljust(20, b"\0") + bytes(32)


def ready(kind: bytes, **properties: bytes) -> bytes:
    """Return the READY command of a socket of this type."""
    body = b"\x05READY"
    for name, value in {"Socket-Type": kind, **properties}.items():
        body += bytes((len(name),)) + name.encode() + len(value).to_bytes(4, "big") + value
    return frame(body, COMMAND)


def handshake(endpoint: str, kind: bytes, minor: int = 1, **properties: bytes) -> socket.socket:
    """Open a connection as a ZMTP 3 socket of this type, up to and with the READY command of the other side."""
    peer = connect(endpoint)
    peer.sendall(greeting(minor) + ready(kind, **properties))
    exactly(peer, 64)
    flags, size = exactly(peer, 2)
    assert flags == COMMAND, flags
    assert exactly(peer, size).startswith(b"\x05READY")
    return peer


def message(peer: socket.socket) -> list[bytes]:
    """Read one message; commands are passed over."""
    frames = []
    while True:
        (flags,) = exactly(peer, 1)
        size = int.from_bytes(exactly(peer, 8 if flags & LONG else 1), "big")
        body = exactly(peer, size)
        if not flags & COMMAND:
            frames.append(body)
            if not flags & MORE:
                return frames


def exactly(peer: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        if not more:
            raise ConnectionError(f"closed after {data!r}")
        data += more
    return data


def rest(peer: socket.socket) -> bytes:
    """Read until the other side has closed; what came until then."""
    data = b""
    try:
        while more := peer.recv(65_536):
            data += more
    except ConnectionError:
        pass
    return data
