"""A ROUTER socket that keeps REP's contract: exactly one reply to each request, to the peer that sent the request.

A request has the form that a REQ socket sends: an envelope of any frames (mostly none), an empty frame, and one body
frame. The envelope goes back in front of the reply. libzmq's own REP socket keeps the envelope of a broken request, and
sends it the next peer's reply. Here a request is read to its end before the reply, and its envelope belongs to this
module. The module must not know the contents of a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import zmq
import zmq.backend

if TYPE_CHECKING:
    from ibbridge.config.model import BusConfig
    from ibbridge.security.peers import Peer, Peers

MOST_FRAMES = 32
"""Most frames in front of the body: a proxy adds one or two. A message with more of them is no request."""

_STEP = 256  # frames read per `serve` of a message with many frames, which cannot be a valid request

# As plain ints: for the compiled socket an enum costs a conversion per call.
_NOWAIT = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


class Answering(Protocol):
    """Handler of requests. Its methods must return the reply's bytes at once, because the event loop waits for them."""

    def answer(self, request: bytes, peer: bytes) -> bytes:
        """Return the reply to a request of any bytes; `peer` names the connection over which it came."""

    def refuse(self, reason: str) -> bytes:
        """Return the reply to a request that the socket rejects; `reason` is a sentence for the client."""


class ReplySocket:
    """Reply socket for the requests of all peers, in turn: libzmq takes one message of each peer after the other."""

    def __init__(self, socket: zmq.Socket[bytes], config: BusConfig, answering: Answering, peers: Peers) -> None:
        self.strays = 0
        """Messages that were no request, and so got no reply."""
        self.undelivered = 0
        """Replies that were not delivered, because the peer had gone or had left too many replies unread."""
        # pyzmq's compiled socket: the Python layer above it would double the time.
        self._receive = zmq.backend.Socket.recv.__get__(socket)
        self._put = zmq.backend.Socket.send.__get__(socket)
        self._config = config
        self._answering = answering
        self._peers = peers
        self._envelope: list[bytes] = []
        self._body: zmq.Frame | None = None
        self._peer: Peer | None = None
        self._name = ""  # of the connection, by the handler that admitted it
        self._frames = 0  # body frames of the request that is being read
        self._reading = False

    def serve(self) -> None:
        """Answer one request, or read a part of a long message. Call it when the socket is readable."""
        if not self._reading and self._begin():
            return
        for _ in range(_STEP):
            if not self._read():
                self._reading = False
                self._finish()
                break

    def _begin(self) -> bool:
        """Read the first frames of a message, and answer the message if it has no more. Return False if it has more."""
        receive = self._receive
        name: bytes = receive(_NOWAIT)
        self._envelope, self._body, self._frames, self._reading = [name], None, 0, True
        if self._take(receive(_NOWAIT, False)) and self._take(receive(_NOWAIT, False)):  # noqa: FBT003 -- as a frame
            return False
        self._reading = False
        self._finish()
        return True

    def _read(self) -> bool:
        """Read one frame of the message. Return False if this is the last frame."""
        return self._take(self._receive(_NOWAIT, False))  # noqa: FBT003 -- as a frame, which knows whether more come

    def _take(self, frame: zmq.Frame) -> bool:
        envelope = self._envelope
        # The first frame is the peer's routing id, and not empty.
        if envelope[-1] == b"" and len(envelope) <= MOST_FRAMES + 1:
            self._body = self._body or frame
            self._frames += 1
        elif len(envelope) <= MOST_FRAMES + 1:  # up to one frame too many, which shows that there are too many
            envelope.append(frame.bytes)
        more: bool = frame.more
        if not more:
            self._peer = self._peer_of(frame)
        return more

    def _peer_of(self, frame: zmq.Frame) -> Peer | None:
        # The routing id in the envelope may be one that the peer claims (see `zap.PATIENCE`). This property is not.
        self._name = name = str(frame.get("User-Id"))
        peer = self._peers.known(name) or self._peers.met(name, int(frame.get(zmq.SRCFD)))
        if peer is not None:
            peer.spoken = True
        return peer

    def _finish(self) -> None:
        """Answer the message that has been read, or count it as a stray if it is no request."""
        if self._body is None or (self._peer is not None and self._peer.ended):
            self.strays += 1
            return
        # An exception in `answer` is a bug, and is not caught here. But the client gets a reply, if an empty one.
        reply = b""
        try:
            reply = self._reply(self._body)
        finally:
            self._body = None
            self._send(reply)

    def _reply(self, request: zmq.Frame) -> bytes:
        if self._frames > 1:
            return self._answering.refuse(f"a request is one frame, and this one has {self._frames}")
        if len(request) > self._config.max_request:
            return self._answering.refuse(
                f"a request may have {self._config.max_request} bytes, and this one has {len(request)}"
            )
        return self._answering.answer(request.bytes, bytes.fromhex(self._name))

    def _send(self, reply: bytes) -> None:
        """Send the envelope and the reply, without waiting for the peer."""
        try:
            self._put(self._envelope[0], _MORE)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            self.undelivered += 1
            if error.errno == zmq.EAGAIN and self._peer is not None:
                self._peers.end(self._peer, "it has left so many replies unread that there is no room for the next")
            return
        for frame in self._envelope[1:]:
            self._put(frame, _MORE)
        self._put(reply, _NOWAIT)
        if self._peer is not None:
            self._peers.owed(self._peer, len(reply))
