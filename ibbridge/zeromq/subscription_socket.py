"""The subscribers' side of an XPUB: confirms each subscription by hand, so that its subscriber gets a welcome.

The module knows the frames of subscriptions. It must not know what a prefix means, or what is in a welcome.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import zmq

if TYPE_CHECKING:
    from ibbridge.security.peers import Peer, Peers

_STRAYS = 64  # most frames skipped at a time in search of a subscription

# The first byte of a subscriber's frame that subscribes or unsubscribes; the prefix follows.
_SUBSCRIBE, _UNSUBSCRIBE = b"\x01", b"\x00"

# As plain int: for the compiled socket an enum costs a conversion per call.
_NOWAIT = int(zmq.NOBLOCK)

Send = Callable[[list[bytes]], None]
Welcome = Callable[[bytes], bytes]


class SubscriptionSocket:
    """Subscription socket: the XPUB `socket` in manual mode, as far as its subscribers send something.

    `send` publishes frames, `welcome(prefix)` returns the body of the message for a new subscriber of `prefix`.
    """

    def __init__(self, socket: zmq.Socket[bytes], peers: Peers, send: Send, welcome: Welcome | None) -> None:
        self.strays = 0
        """Frames that were no subscription."""
        self._socket = socket
        self._peers = peers
        self._send = send
        self._welcome = welcome

    def serve(self) -> None:
        """Confirm one subscription, or end one, when the socket is readable; skip some stray frames before it."""
        frame: zmq.Frame | None = self._socket.recv(_NOWAIT, copy=False)
        left = _STRAYS
        while frame is not None and bytes(frame.buffer[:1]) not in (_SUBSCRIBE, _UNSUBSCRIBE):
            self.strays += 1
            left -= 1
            frame = self._behind_stray() if left else None
        if frame is not None:
            self._confirm(frame, frame.bytes[1:])

    def _confirm(self, frame: zmq.Frame, prefix: bytes) -> None:
        # In manual mode both options are for the peer whose frame was read last.
        peer = self._peer_of(frame)
        if frame.bytes[:1] == _UNSUBSCRIBE:
            self._socket.set(zmq.UNSUBSCRIBE, prefix)
            if peer is not None:
                self._peers.unsubscribed(peer, len(prefix))
            return
        if peer is not None and not self._peers.subscribed(peer, len(prefix)):
            return
        self._socket.set(zmq.SUBSCRIBE, prefix)
        if self._welcome is not None:
            self._send([prefix, self._welcome(prefix)])

    def _peer_of(self, frame: zmq.Frame) -> Peer | None:
        """Return the peer that sent a frame; None for the unsubscriptions that libzmq makes when a connection ends."""
        try:
            name, descriptor = str(frame.get("User-Id")), int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            return None
        peer = self._peers.known(name) or self._peers.met(name, descriptor)
        if peer is not None:
            peer.spoken = True
        return peer

    def _behind_stray(self) -> zmq.Frame | None:
        """Return the frame queued behind a stray frame (one that was no subscription); None if there is none.

        libzmq 4.3.5 keeps the peers of pending subscriptions in a queue of their own, and takes a peer from the queue
        for *every* frame read. So a stray frame takes the peer of the subscription behind it, and that subscription
        would be confirmed to the next peer: one subscriber's garbage would silence another. Outside manual mode a read
        takes no peer, and the peer that was taken too early is the right one.
        """
        self._socket.set(zmq.XPUB_MANUAL, 0)
        try:
            return self._socket.recv(_NOWAIT, copy=False)
        except zmq.Again:
            return None
        finally:
            self._socket.set(zmq.XPUB_MANUAL, 1)
