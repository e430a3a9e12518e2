"""The ZeroMQ Authentication Protocol (RFC 27): libzmq asks for each peer if it is admitted, and under which name.

A socket with a ZAP domain accepts messages only from peers that the handler has admitted, and never from peers that
speak ZMTP 1.0 or 2.0, which have no authentication: in ZMTP 1.0 any bytes are frames, so a web page could place an
order by a form post. `access` decides. The module must not know topics or commands.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import zmq

from ibbridge.security.access import Credentials, NotAdmittedError
from ibbridge.security.pulse import ROUND, Pulse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.security.access import Access

ENDPOINT = "inproc://zeromq.zap.01"
"""Endpoint at which libzmq connects to the handler, in the context of the socket that a peer connects to."""

PATIENCE = 0.01
"""Seconds before a peer is admitted. libzmq takes the routing id from the later of the handler's reply and the peer's
READY command. A peer sends READY about 50 µs after its greeting, so the handler's routing id wins, which is unique.

A peer that is later keeps the routing id that it claims. So routing ids prove nothing: the property User-Id does, which
comes from the handler alone."""

_VERSION = b"1.0"


class ZapRequest(NamedTuple):
    """Request to admit a connection: libzmq's id of the request, and the credentials of the peer."""

    request_id: bytes
    credentials: Credentials


class ZapReply(NamedTuple):
    """Decision of the handler: `status` 200 admits the peer as `user_id`, 400 rejects it, `text` is the reason."""

    status: bytes
    text: bytes = b""
    user_id: bytes = b""
    metadata: Mapping[bytes, bytes] = {}


def parse(frames: Sequence[bytes]) -> ZapRequest | None:
    """Return the request in the frames behind the empty one; None if they are no request of version 1.0."""
    if len(frames) < 6 or frames[0] != _VERSION:
        return None
    _, request_id, domain, address, _, mechanism = frames[:6]
    key = frames[6] if len(frames) > 6 else b""
    credentials = Credentials(_text(domain), _text(address), _text(mechanism), key)
    return ZapRequest(request_id, credentials)


def _text(frame: bytes) -> str:
    return frame.decode("utf-8", "replace")


def decide(request: ZapRequest, access: Access) -> ZapReply:
    """Admit a peer under the name that `access` gives its connection, or reject it.

    The name is also the routing id. A peer may claim any routing id (ZMQ_IDENTITY), even that of another peer, which
    would then get no replies from libzmq. The property in the handler's reply replaces the claimed routing id.
    """
    try:
        name = access.admit(request.credentials)
    except NotAdmittedError as error:
        return ZapReply(b"400", str(error).encode())
    return ZapReply(b"200", b"", name.hex().encode(), {b"Identity": name})


def frames_of(request_id: bytes, reply: ZapReply) -> list[bytes]:
    """Return the frames of a reply, to be sent behind the empty one."""
    metadata = b"".join(
        bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value for name, value in reply.metadata.items()
    )
    return [_VERSION, request_id, reply.status, reply.text, reply.user_id, metadata]


class ZapHandler:
    """ZAP handler: a thread that answers libzmq's ZAP requests, from `start` until the context is terminated.

    Without the thread no peer is admitted, because the sockets have ZMQ_ZAP_ENFORCE_DOMAIN.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._thread: threading.Thread | None = None
        self.pulse = Pulse("admits peers")

    @property
    def alive(self) -> bool:
        """True while the thread runs, and admits peers."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Bind the handler's endpoint in a context, and start the thread, before sockets with a domain are bound."""
        socket = context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.bind(ENDPOINT)
        self._thread = threading.Thread(target=_serve, args=(socket, self._access, self.pulse), name="zap", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the thread, which follows the end of the context."""
        if self._thread is not None:
            self._thread.join()


def _serve(socket: zmq.Socket[bytes], access: Access, pulse: Pulse) -> None:
    waiting: deque[tuple[float, list[bytes]]] = deque()
    with socket:
        try:
            while True:
                pulse.beat()
                if socket.poll(_milliseconds(waiting)):
                    waiting.append((time.monotonic() + PATIENCE, socket.recv_multipart()))
                while waiting and waiting[0][0] <= time.monotonic():
                    _answer(socket, waiting.popleft()[1], access)
        except zmq.ContextTerminated:
            return


def _milliseconds(waiting: deque[tuple[float, list[bytes]]]) -> int:
    """Return the milliseconds until the next reply is due, rounded up; a round of the pulse if no request waits."""
    return max(0, int((waiting[0][0] - time.monotonic()) * 1000) + 1) if waiting else round(ROUND * 1000)


def _answer(socket: zmq.Socket[bytes], message: list[bytes], access: Access) -> None:
    session, delimiter, *frames = message
    if request := parse(frames):  # libzmq sends nothing else
        socket.send_multipart([session, delimiter, *frames_of(request.request_id, decide(request, access))])
