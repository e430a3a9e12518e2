"""The subscribers' side of an XPUB: confirms each subscription by hand, so that its subscriber gets a welcome.

The module knows the frames of subscriptions, and how a subscription is narrowed or refused for one peer alone. It must
not know what a prefix means, who may subscribe to it, or what is in a welcome or a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import zmq

if TYPE_CHECKING:
    from ibbridge.security.peers import Peer, Peers

_STRAYS = 64  # most frames skipped at a time in search of a subscription

# The first byte of a subscriber's frame that subscribes or unsubscribes; the prefix follows.
_SUBSCRIBE, _UNSUBSCRIBE = b"\x01", b"\x00"

# As plain int: for the compiled socket an enum costs a conversion per call.
_NOWAIT = int(zmq.NOBLOCK)

REFUSED = b"\0"
"""End of the topic on which a refusal comes: behind the prefix, where no message has a topic."""

Send = Callable[[list[bytes]], None]


class Admission(NamedTuple):
    """Answer to a subscription: the prefixes that its peer gets, none if it is refused, and the message about that."""

    prefixes: tuple[bytes, ...]
    message: bytes


class Subscribing(Protocol):
    """Decision about subscriptions. `peer` is the id under which the handler admitted the connection."""

    def subscribed(self, peer: bytes, prefix: bytes) -> Admission:
        """Return what a peer gets that subscribes to a prefix."""

    def unsubscribed(self, peer: bytes, prefix: bytes) -> tuple[bytes, ...]:
        """Return the prefixes that a peer has no longer, now that it has unsubscribed from this one."""


class SubscriptionSocket:
    """Subscription socket: the XPUB `socket` in manual mode, as far as its subscribers send something.

    `send` publishes frames. Without `subscribing` every subscription is in effect, and nobody is told.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], peers: Peers, send: Send, subscribing: Subscribing | None = None
    ) -> None:
        self.strays = 0
        """Frames that were no subscription."""
        self._socket = socket
        self._peers = peers
        self._send = send
        self._subscribing = subscribing

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
        # In manual mode options are for the peer whose frame was read last.
        name, peer = self._peer_of(frame)
        if frame.bytes[:1] == _UNSUBSCRIBE:
            over = self._subscribing.unsubscribed(name, prefix) if self._subscribing and name else (prefix,)
            for each in over:
                self._socket.set(zmq.UNSUBSCRIBE, each)
            if peer is not None:
                self._peers.unsubscribed(peer, len(prefix))
        elif peer is None or self._peers.subscribed(peer, len(prefix)):
            self._answer(name, prefix)

    def _answer(self, name: bytes, prefix: bytes) -> None:
        """Have a subscription take effect as far as it is allowed, and tell its peer."""
        if self._subscribing is None:
            self._socket.set(zmq.SUBSCRIBE, prefix)
            return
        prefixes, message = self._subscribing.subscribed(name, prefix)
        if not prefixes:
            self._refuse(prefix, message)
            return
        # The welcome goes to the prefix itself, which the peer need not keep. Nothing is sent between these calls.
        self._socket.set(zmq.SUBSCRIBE, prefix)
        self._send([prefix, message])
        if prefix not in prefixes:
            self._socket.set(zmq.UNSUBSCRIBE, prefix)
            for each in prefixes:
                self._socket.set(zmq.SUBSCRIBE, each)

    def _refuse(self, prefix: bytes, message: bytes) -> None:
        """Send a refusal to the peer alone, on a topic that its own filter takes and no message has.

        In this mode of libzmq a message goes to the peer whose frame was read last, and to no other. Then libzmq
        forgets which peer that was, so the subscription to the topic stays until the peer unsubscribes or disconnects.
        """
        self._socket.set(zmq.SUBSCRIBE, prefix + REFUSED)
        self._socket.set(zmq.XPUB_MANUAL_LAST_VALUE, 1)
        try:
            self._send([prefix + REFUSED, message])
        finally:
            self._socket.set(zmq.XPUB_MANUAL_LAST_VALUE, 0)  # which also ends the manual mode
            self._socket.set(zmq.XPUB_MANUAL, 1)

    def _peer_of(self, frame: zmq.Frame) -> tuple[bytes, Peer | None]:
        """Return the id and the peer that sent a frame.

        The unsubscriptions that libzmq makes when a connection ends have neither.
        """
        try:
            name, descriptor = str(frame.get("User-Id")), int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            return b"", None
        peer = self._peers.known(name) or self._peers.met(name, descriptor)
        if peer is not None:
            peer.spoken = True
        return bytes.fromhex(name), peer

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
