"""The ZeroMQ Authentication Protocol (RFC 27): which peers libzmq lets in, and under which names.

A socket that has a ZAP domain hears nobody whom the handler has not let in, and nobody at all who speaks ZMTP 1.0 or
2.0, which know no authentication. That alone matters today: in ZMTP 1.0 any bytes are frames, so that a web page could
place an order by a form post. Every peer that speaks ZMTP 3 is let in. Must not know topics or commands.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import zmq

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENDPOINT = "inproc://zeromq.zap.01"
"""Where libzmq looks for the handler, in the context of the socket that asks."""

DOMAIN = b"ibbridge"

PATIENCE = 0.01
"""Seconds before a peer is let in. libzmq takes the routing id from whichever it reads last, our reply or the peer's
READY command. A peer sends READY about 50 µs after its greeting; so the routing id is ours, and unique."""

_VERSION = b"1.0"
_ROUTING_ID = 16  # bytes: nobody guesses the routing id of somebody else


class Request(NamedTuple):
    """A connection that wants to be let in, as libzmq describes it.

    `address` is the peer's IP address, or `localhost:UID:GID:PID` over ipc.
    """

    request_id: bytes
    domain: str
    address: str
    mechanism: str


class Reply(NamedTuple):
    """The handler's decision: `status` 200 lets the peer in as `user_id`, 400 turns it away, `text` says why."""

    status: bytes
    text: bytes = b""
    user_id: bytes = b""
    metadata: Mapping[bytes, bytes] = {}


def parse(frames: Sequence[bytes]) -> Request | None:
    """Return the request in these frames, which follow the empty one; None if they are no request of version 1.0."""
    if len(frames) < 6 or frames[0] != _VERSION:
        return None
    _, request_id, domain, address, _, mechanism = frames[:6]
    return Request(request_id, *(frame.decode("utf-8", "replace") for frame in (domain, address, mechanism)))


def decide(request: Request) -> Reply:
    """Let in every peer without credentials, under a routing id of our own choice.

    A peer may claim any routing id (ZMQ_IDENTITY), also one that another peer has, whom libzmq would then leave
    without an answer. The property that the reply sets takes the place of the claim.
    """
    if request.domain != DOMAIN.decode() or request.mechanism != "NULL":
        return Reply(b"400", b"no credentials are known here")
    routing_id = b"\x01" + secrets.token_bytes(_ROUTING_ID - 1)  # libzmq's own begin with a zero
    return Reply(b"200", b"", routing_id.hex().encode(), {b"Identity": routing_id})


def frames_of(request_id: bytes, reply: Reply) -> list[bytes]:
    """Return the frames of a reply, which follow the empty one."""
    metadata = b"".join(
        bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value for name, value in reply.metadata.items()
    )
    return [_VERSION, request_id, reply.status, reply.text, reply.user_id, metadata]


class Handler:
    """A thread that answers libzmq's ZAP requests, from `start` until the context is terminated.

    Without it nobody is let in: the sockets have ZMQ_ZAP_ENFORCE_DOMAIN.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """True while peers are let in."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Bind the handler's endpoint in this context, before any socket of it that has a domain is bound."""
        socket = context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.bind(ENDPOINT)
        self._thread = threading.Thread(target=_serve, args=(socket,), name="zap", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the thread, which follows that of the context."""
        if self._thread is not None:
            self._thread.join()


def _serve(socket: zmq.Socket[bytes]) -> None:
    waiting: deque[tuple[float, list[bytes]]] = deque()
    with socket:
        try:
            while True:
                if socket.poll(_milliseconds(waiting)):
                    waiting.append((time.monotonic() + PATIENCE, socket.recv_multipart()))
                while waiting and waiting[0][0] <= time.monotonic():
                    _answer(socket, waiting.popleft()[1])
        except zmq.ContextTerminated:
            return


def _milliseconds(waiting: deque[tuple[float, list[bytes]]]) -> int | None:
    """Return until when the next reply is due, rounded up; None if none is."""
    return max(0, int((waiting[0][0] - time.monotonic()) * 1000) + 1) if waiting else None


def _answer(socket: zmq.Socket[bytes], message: list[bytes]) -> None:
    session, delimiter, *frames = message
    if request := parse(frames):  # libzmq sends nothing else
        socket.send_multipart([session, delimiter, *frames_of(request.request_id, decide(request))])
