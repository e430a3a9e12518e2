"""The ZeroMQ sockets of the bus: an XPUB that never waits, and a ROUTER that gives every request exactly one reply.

The module opens both sockets, and serves them in turns of the event loop. Subscriptions and requests are read by
modules of `zeromq`. It must not know msgpack, commands, TWS, or what a topic or a message means: welcomes and replies
are bytes that others make.

Two rules keep the module simple. First, no call waits: both sockets belong to the event loop's thread, and `turn`
serves them. Second, ZeroMQ's file descriptors are edge-triggered, so a send may swallow the signal that a message has
arrived. So the reader event is not enough: call `turn` after each read from TWS, after sends outside a read, and at
each heartbeat.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import zmq
import zmq.backend

from ibbridge.security import zap
from ibbridge.security.access import Access, AccessError, AccessRules
from ibbridge.security.identity import NO_ROLE
from ibbridge.security.peer_watch import PeerWatch
from ibbridge.security.peers import Peers, Published
from ibbridge.security.pulse import Pulse
from ibbridge.zeromq import socket_options
from ibbridge.zeromq.endpoints import BusError, bind, lock, resolved
from ibbridge.zeromq.reply_socket import ReplySocket
from ibbridge.zeromq.subscription_socket import SubscriptionSocket
from ibbridge.zeromq.zmq_send import outbox

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from ibbridge.config.model import BusConfig
    from ibbridge.zeromq.reply_socket import Answering
    from ibbridge.zeromq.subscription_socket import Subscribing
    from ibbridge.zeromq.zmq_send import Outbox

__all__ = ["Bus", "BusError", "Endpoints"]

TURN = 0.005
"""Seconds after which a turn ends, because heartbeats and input from TWS are urgent. A command may take 50 ms more."""

_WORTHWHILE = 2**20  # least bytes kept for a peer for which disconnecting it helps


class Endpoints(NamedTuple):
    """Bound endpoints of each socket, with the port that the system has chosen if the port was 0."""

    pub: tuple[str, ...]
    rep: tuple[str, ...]


class Bus:
    """Bus: both ZeroMQ sockets, from `open` to `close`.

    `send` publishes messages of two frames, topics and bodies in turn. `send` neither waits nor fails: a subscriber
    that is more than `sndhwm` messages behind loses new messages (as its sequence numbers show). `send` raises BusError
    unless the bus is open. `subscribing` decides about subscriptions, `access` about who is admitted; without it every
    peer of this machine has all rights.
    """

    _pub: zmq.Socket[bytes]
    _rep: zmq.Socket[bytes]
    _replies: ReplySocket
    _subscribers: Peers
    _clients: Peers
    _peer_watch: PeerWatch

    def __init__(
        self,
        config: BusConfig,
        answering: Answering,
        subscribing: Subscribing | None = None,
        access: Access | None = None,
    ) -> None:
        self.send: Callable[[list[bytes]], None] = _closed
        self._config = config
        self._answering = answering
        self._subscribing = subscribing
        self._access = access or Access(AccessRules(loopback_role="admin"))
        self._handler = zap.ZapHandler(self._access)
        self._opened = ExitStack()
        self._outbox: Outbox | None = None
        self._subscriptions: SubscriptionSocket | None = None
        self._endpoints: Endpoints | None = None
        self._sockets: list[tuple[zmq.Socket[bytes], int]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.Handle | None = None
        self._turning = False
        self._pulse = Pulse("serves the sockets")

    @property
    def endpoints(self) -> Endpoints:
        """The bound endpoints; BusError unless open."""
        if self._endpoints is None:
            raise BusError("the bus is not open")
        return self._endpoints

    @property
    def unsent(self) -> int:
        """The number of messages that libzmq did not take. With an XPUB that may drop messages this stays 0."""
        return self._outbox.unsent if self._outbox else 0

    @property
    def strays(self) -> int:
        """The number of frames from subscribers that were no subscription."""
        return self._subscriptions.strays if self._subscriptions else 0

    @property
    def counts(self) -> dict[str, int]:
        """Counts for `status`: stray requests, undelivered replies, peers refused, disconnected, and not admitted."""
        if self._endpoints is None:
            return {}
        return {
            "strayRequests": self._replies.strays,
            "undeliveredReplies": self._replies.undelivered,
            "refusedPeers": self._subscribers.refused + self._clients.refused,
            "endedPeers": self._subscribers.ended + self._clients.ended,
            "refusedCredentials": self._access.refused,
        }

    def open(self) -> None:
        """Lock and bind all endpoints. Raise BusError, and leave nothing open, if one of them cannot be bound."""
        config = self._config
        with ExitStack() as opened:
            wanted = Endpoints(tuple(map(resolved, config.pub)), tuple(map(resolved, config.rep)))
            for key, endpoints in (("bus.pub", wanted.pub), ("bus.rep", wanted.rep)):
                for endpoint in endpoints:
                    if (file := lock(key, endpoint)) is not None:
                        opened.callback(os.close, file)
            # A context of our own: its term() returns when the last message is sent or given up and the listeners are
            # gone. Only then may the locks be released for the next daemon. (The ipc files stay; a bind replaces them.)
            context = zmq.Context()
            opened.callback(self._handler.join)
            opened.callback(context.term)
            self._handler.start(context)
            self._pub = opened.enter_context(context.socket(zmq.XPUB))
            self._rep = opened.enter_context(context.socket(zmq.ROUTER))
            socket_options.apply(self._pub, socket_options.pub_options(config))
            socket_options.apply(self._rep, socket_options.rep_options(config))
            self._subscribers = Peers("bus.pub", socket_options.subscriber_bounds(config))
            self._clients = Peers("bus.rep", socket_options.client_bounds(config))
            opened.enter_context(self._subscribers.watch(context, self._pub))
            opened.enter_context(self._clients.watch(context, self._rep))
            pub = self._bind(self._pub, "bus.pub", wanted.pub, self._subscribers)
            rep = self._bind(self._rep, "bus.rep", wanted.rep, self._clients)
            self._outbox = outbox(self._pub)
            self._peer_watch = PeerWatch((self._subscribers, self._clients), self._published)
            self._peer_watch.start()
            opened.callback(self._peer_watch.stop)
            self._opened = opened.pop_all()
        self._endpoints = Endpoints(pub, rep)
        self._sockets = [(self._pub, int(zmq.POLLIN)), (self._rep, int(zmq.POLLIN))]
        self._subscriptions = SubscriptionSocket(self._pub, self._subscribers, self._outbox.send, self._subscribing)
        self._replies = ReplySocket(self._rep, config, self._answering, self._clients)
        self.send = self._outbox.send

    def _bind(self, socket: zmq.Socket[bytes], key: str, endpoints: tuple[str, ...], peers: Peers) -> tuple[str, ...]:
        bound = []
        for endpoint in endpoints:
            try:
                entrance = self._access.enter(key, endpoint)
            except AccessError as error:
                raise BusError(str(error)) from None
            socket_options.apply(socket, socket_options.entrance_options(entrance, self._access.secret))
            bound.append(bind(socket, key, endpoint))
            peers.bound(bound[-1])
        return tuple(bound)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop call `turn` when messages arrive, and once soon, because messages may have arrived already."""
        self._loop = loop
        for socket in (self._pub, self._rep):
            loop.add_reader(socket.FD, self.turn)
            self._opened.callback(loop.remove_reader, socket.FD)
        self._turn_again()

    def check(self) -> None:
        """Raise BusError if a thread that bounds the peers has ended. Call this about every second."""
        if self._endpoints is None:
            return
        if not self._handler.alive:
            raise BusError("the thread that admits peers has ended: no new peer can connect; see the log")
        if not self._peer_watch.alive:
            raise BusError("the thread that measures peers has ended: a peer could use up the memory; see the log")

    def standstill(self) -> str:
        """Return a sentence if a thread of the bus has stood still for too long; "" if all of them come round.

        Call this after `turn`. The bus sends itself no message: what it bounds for others, such as connections, could
        stop the message, and a flood of peers would look like a bus that stands still.
        """
        if self._endpoints is None:
            return ""
        return self._pulse.standstill() or self._handler.pulse.standstill() or self._peer_watch.pulse.standstill()

    def turn(self) -> None:
        """Serve the messages that have arrived on both sockets, for at most `TURN` seconds.

        If messages are left, the next turn follows after the loop's other callbacks (if attached), and until then
        further calls do nothing: so a flood of requests never gets more than every other turn of the loop. A call
        within a turn, by an answer for example, does nothing either.
        """
        if self._turning or self._endpoints is None or self._again is not None:
            return
        emptied = False
        self._turning = True
        try:
            until = time.monotonic() + TURN
            while not (emptied := not self._serve()) and time.monotonic() < until:
                pass
            self._pulse.beat()
        finally:
            self._turning = False
            if not emptied:
                self._turn_again()

    def connected(self, peer: bytes) -> bool:
        """Return True if a connection that has sent commands is open."""
        return self._endpoints is not None and self._clients.known(peer.hex()) is not None

    def close(self) -> None:
        """Unbind, and wait at most `linger_ms` until the queued messages are sent. A second call does nothing."""
        self.send = _closed
        self._endpoints = self._loop = None
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._opened.close()

    def disconnect_revoked(self) -> int:
        """Disconnect the peers that would not be admitted any more. Return how many.

        A peer that has sent nothing yet cannot be told from others. Such peers are disconnected too, and those that may
        come back do so by themselves.
        """
        if self._endpoints is None:
            return 0
        both = (self._subscribers, self._clients)
        return sum(peers.end_all_but(self._admitted, "its key or its user has been revoked") for peers in both)

    def _admitted(self, name: str) -> bool:
        return self._access.identity(bytes.fromhex(name)).role != NO_ROLE

    def has_subscriber(self, peer: bytes) -> bool:
        """Return True while a connection that has subscribed to something is there."""
        return self._endpoints is not None and self._subscribers.known(peer.hex()) is not None

    def end_subscribers(self, peers: Iterable[bytes], why: str) -> int:
        """Disconnect subscribers. Return how many there were. Their programs connect, and subscribe, anew."""
        if self._endpoints is None:
            return 0
        found = [peer for each in peers if (peer := self._subscribers.known(each.hex())) is not None]
        for peer in found:
            self._subscribers.end(peer, why)
        return len(found)

    def shed(self) -> str:
        """Disconnect the peer for which most bytes are kept. Return a line that names the peer; "" if all have few."""
        if self._endpoints is None:
            return ""
        candidates = [(*worst, peers) for peers in (self._subscribers, self._clients) if (worst := peers.worst())]
        cost, peer, peers = max(candidates, key=lambda candidate: candidate[0], default=(0, None, None))
        if peer is None or peers is None or cost < _WORTHWHILE:
            return ""
        return peers.end(peer, f"memory is short, and about {cost} bytes are kept for it")

    def _published(self) -> Published:
        return Published(self._outbox.sent_messages, self._outbox.sent_bytes) if self._outbox else Published(0, 0)

    def _turn_again(self) -> None:
        if self._loop is not None and self._again is None:
            self._again = self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._again = None
        self.turn()

    def _serve(self) -> bool:
        """Serve each socket once. Return False if no message has arrived on either.

        A poll releases the GIL, and reading the option EVENTS would not. During either call libzmq processes incoming
        subscriptions for as long as a peer floods it with them, and the thread that disconnects such a peer must run.
        """
        ready = zmq.backend.zmq_poll(self._sockets, 0)
        for socket, _ in ready:
            if socket is self._rep:
                self._replies.serve()
            elif self._subscriptions is not None:
                self._subscriptions.serve()
        return bool(ready)


def _closed(_frames: list[bytes]) -> None:
    raise BusError("the bus is not open")
