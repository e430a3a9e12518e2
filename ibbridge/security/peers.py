"""The peers (connections) of one ZeroMQ socket: their number, the bytes that each costs, and which one is disconnected.

libzmq bounds a peer's output in messages, and its input in bytes per frame. But memory is bytes, and a message may have
any number of frames. So each connection is measured by the kernel's counts, and a connection that costs too much is
disconnected. The module knows descriptors and libzmq's monitor. It must not know topics or commands.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import zmq

from ibbridge.security import socket_queues
from ibbridge.security.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

DRAINED = 65_536
"""Most bytes in the kernel's send queue of a peer that keeps up with what is published."""

DRAINED_LOCAL = 32_768
"""The same of a local peer: Linux reports a local socket as writable below a quarter of its buffer, some 53 kB.

libzmq waits for that report, so less than DRAINED may stay in the queue of a local peer that reads nothing.
"""

SUBSCRIPTION = 32
"""Bytes that a subscription counts beside its prefix: libzmq keeps a tree node for each character of the prefix."""

UNCOUNTED = 64 * 2**20
"""Bytes by which memory may grow while a client over ipc goes on sending without completing a message."""

_IDLE = 256  # bytes a second that a peer may send without a message: ZeroMQ's own heartbeats
_BUSY = 65_536  # bytes a second that a subscriber which sends subscriptions may send

_EVENT = struct.Struct("=HI")
_READABLE = int(zmq.POLLIN)
_NOWAIT = int(zmq.NOBLOCK)


class Bounds(NamedTuple):
    """Bounds of one socket: the number of connections, and the bytes for each connection."""

    peers: int
    """Connections at once."""
    incoming: int
    """Bytes received from a peer since its last complete message."""
    outgoing: int
    """Bytes that wait for a peer to read them."""
    messages: int
    """Messages that wait for a peer; above this number libzmq drops messages."""
    subscriptions: int = 0
    """Bytes of all subscriptions of a peer; 0 for a socket without subscriptions."""


class Published(NamedTuple):
    """Totals published so far: messages and bytes."""

    messages: int
    bytes: int


class PeerPlace(NamedTuple):
    """Endpoint at which peers come in: its address family, and its port or path."""

    family: int = socket.AF_INET
    name: int | str = 0

    @property
    def local(self) -> bool:
        """True for ipc, where the kernel does not count the bytes that a peer has sent."""
        return self.family == socket.AF_UNIX

    @property
    def drained(self) -> int:
        """Most bytes in the kernel's send queue of a peer that keeps up."""
        return DRAINED_LOCAL if self.local else DRAINED


LOOPBACK = PeerPlace()


@dataclass(slots=True, eq=False)
class Peer:
    """Peer: one connection, identified by libzmq's descriptor. All counts are bytes."""

    descriptor: int
    since: Published
    """The totals published when the peer was last seen to keep up."""
    place: PeerPlace = LOOPBACK
    name: str | None = None
    """The name under which the ZAP handler admitted the peer; None until its first message."""
    subscriptions: int = 0
    outgoing: int = 0
    incoming: int = 0
    spoken: bool = False
    """True if a complete message came since the last measurement."""
    ended: bool = False
    _taken: int = 0
    _forgiven: int = 0

    def measure_incoming(self, grown: int, allowance: int, *, whole: bool) -> None:
        """Measure the bytes received since the last complete message.

        If the kernel does not count them (ipc), a peer that is sending is charged with `grown`, the growth of memory.
        `allowance` bytes are forgiven; with `whole`, all bytes are forgiven if a message came since the last
        measurement.
        """
        taken = socket_queues.received(self.descriptor, self.place.family)
        if taken is None:
            sends = socket_queues.unread(self.descriptor) > 0
            taken = self._taken + grown if sends else 0
        self._taken = taken
        self._forgiven = taken if whole and self.spoken else min(taken, self._forgiven + allowance)
        self.incoming = taken - self._forgiven
        self.spoken = False

    def measure_outgoing(self, published: Published, messages: int) -> None:
        """Measure the bytes that wait for the peer: at most the bytes published since the peer last kept up.

        Above `messages` messages libzmq drops new ones, so the measured bytes stay as they are.
        """
        if socket_queues.unsent(self.descriptor) <= self.place.drained:
            self.since, self.outgoing = published, 0
        elif published.messages - self.since.messages <= messages:
            self.outgoing = max(self.outgoing, published.bytes - self.since.bytes)


class Peers:
    """Peers of a socket, from the call of `watch` on. The methods may be called from several threads."""

    def __init__(self, name: str, bounds: Bounds) -> None:
        self.refused = 0
        """The number of connections that had to go because there were too many."""
        self.ended = 0
        """The number of connections disconnected because they cost too much."""
        self._name = name
        self._bounds = bounds
        self._by_descriptor: dict[int, Peer] = {}
        self._by_name: dict[str, Peer] = {}
        self._published = Published(0, 0)
        self._rooms: dict[PeerPlace, Room] = {}
        self._lock = threading.RLock()
        self._told = False  # a disconnected peer was logged since the last measurement
        self._places: dict[str, PeerPlace] = {}
        self.monitor: zmq.Socket[bytes] | None = None

    def __len__(self) -> int:
        return len(self._by_descriptor)

    def watch(self, context: zmq.Context[zmq.Socket[bytes]], watched: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
        """Have libzmq report each connection from now on, before the bind. Return the socket with the reports."""
        endpoint = f"inproc://peers-{self._name}"
        watched.monitor(endpoint, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self.monitor = context.socket(zmq.PAIR)
        self.monitor.rcvhwm = 0  # with a limit libzmq would wait for room, and would serve no peer meanwhile
        self.monitor.linger = 0
        self.monitor.connect(endpoint)
        return self.monitor

    def bound(self, endpoint: str) -> None:
        """Note an endpoint at which the watched socket is bound."""
        where = urlsplit(endpoint)
        if where.scheme == "ipc":
            self._places[endpoint] = PeerPlace(socket.AF_UNIX, where.path)
        else:
            self._places[endpoint] = PeerPlace(socket.AF_INET6 if "[" in endpoint else socket.AF_INET, where.port or 0)

    def update(self) -> None:
        """Note new and closed connections; disconnect new ones above the limit."""
        with self._lock:
            self._update()

    def _update(self) -> None:
        monitor = self.monitor
        while monitor is not None and int(monitor.get(zmq.EVENTS)) & _READABLE:
            event, descriptor = _EVENT.unpack(monitor.recv(_NOWAIT))
            endpoint = monitor.recv(_NOWAIT).decode("utf-8", "replace").rstrip("\0")  # ours
            self._forget(descriptor)
            if event == zmq.EVENT_ACCEPTED:
                self._accepted(descriptor, self._places.get(endpoint, LOOPBACK))

    def _accepted(self, descriptor: int, place: PeerPlace) -> None:
        peer = Peer(descriptor, self._published, place)
        self._by_descriptor[descriptor] = peer
        room = self._rooms.setdefault(place, Room(self._bounds.peers))
        was_full = room.is_full
        if (gone := room.enter(descriptor)) is not None:
            self.refused += 1
            self._disconnect(self._by_descriptor[gone])
            if not was_full:
                log.warning(
                    "%s has %d connections at %s, and no room for more: one that has said nothing goes for each new "
                    "one, or the new one is refused; end the program that leaks them, or raise bus.max_peers",
                    self._name,
                    self._bounds.peers,
                    place.name,
                )

    def _forget(self, descriptor: int) -> None:
        if peer := self._by_descriptor.pop(descriptor, None):
            self._by_name.pop(peer.name or "", None)
            self._rooms[peer.place].leave(descriptor)

    # -- by name

    def known(self, name: str) -> Peer | None:
        """Return the peer that was admitted under a name; None if `met` has not been called with the name yet."""
        return self._by_name.get(name)

    def met(self, name: str, descriptor: int) -> Peer | None:
        """Return the peer of a message from a descriptor, and note the peer's name; None if it has disconnected."""
        with self._lock:
            self._update()
            peer = self._by_descriptor.get(descriptor)
            if peer is not None:
                self._by_name.pop(peer.name or "", None)
                peer.name = name
                self._by_name[name] = peer
                self._rooms[peer.place].heard(descriptor)
            return peer

    # -- the cost of each peer

    def subscribed(self, peer: Peer, size: int) -> bool:
        """Note a subscription to a prefix of `size` bytes. Return False if the peer is, or has been, disconnected."""
        peer.subscriptions += SUBSCRIPTION + size
        if peer.subscriptions > self._bounds.subscriptions and not peer.ended:
            self.end(peer, f"its subscriptions have more than {self._bounds.subscriptions} bytes")
        return not peer.ended

    def unsubscribed(self, peer: Peer, size: int) -> None:
        """Note the end of a subscription to a prefix of `size` bytes."""
        peer.subscriptions = max(0, peer.subscriptions - SUBSCRIPTION - size)

    def owed(self, peer: Peer, size: int) -> None:
        """Note a reply of `size` bytes; disconnect a peer that has left too many bytes of replies unread."""
        peer.outgoing += size
        if peer.outgoing > DRAINED and not peer.ended:
            with contextlib.suppress(OSError):
                if socket_queues.unsent(peer.descriptor) <= peer.place.drained:
                    peer.outgoing = 0
            if peer.outgoing > self._bounds.outgoing:
                self.end(peer, f"more than {self._bounds.outgoing} bytes of replies wait for it to read them")

    def measure(self, published: Published, grown: int, seconds: float) -> None:
        """Measure every connection, and disconnect those that cost too much.

        `grown` is how many bytes the process has grown since the last measurement, `seconds` ago.
        """
        with self._lock:
            self._update()
            self._published = published
            self._told = False
            for peer in [*self._by_descriptor.values()]:
                with contextlib.suppress(OSError):  # libzmq has closed the descriptor; its event is on the way
                    self._measure(peer, published, grown, seconds)

    def _measure(self, peer: Peer, published: Published, grown: int, seconds: float) -> None:
        bounds = self._bounds
        publishes = bool(bounds.subscriptions)
        allowance = int(seconds * (_BUSY if publishes and peer.spoken else _IDLE))
        peer.measure_incoming(grown, allowance, whole=not publishes)
        if publishes:
            peer.measure_outgoing(published, bounds.messages)
        elif peer.outgoing and socket_queues.unsent(peer.descriptor) <= peer.place.drained:
            peer.outgoing = 0
        if peer.ended:
            return
        if peer.incoming > (bounds.incoming if publishes or not peer.place.local else max(bounds.incoming, UNCOUNTED)):
            self.end(peer, f"its unfinished message has more than {bounds.incoming} bytes")
        elif peer.outgoing > bounds.outgoing:
            self.end(peer, f"more than {bounds.outgoing} bytes wait for it to read them (bus.sndbytes)")

    def worst(self) -> tuple[int, Peer] | None:
        """Return the estimated bytes of the peer for which most is kept, and the peer; None if there is no peer."""
        with self._lock:
            costs = [
                (peer.outgoing + 20 * peer.incoming + 100 * peer.subscriptions, peer)
                for peer in self._by_descriptor.values()
                if not peer.ended
            ]
        return max(costs, key=lambda cost: cost[0], default=None)

    def end_all_but(self, admitted: Callable[[str], bool], why: str) -> int:
        """Disconnect the peers whose names are not `admitted`, and those that have no name yet. Return how many."""
        with self._lock:
            self._update()
            revoked = [peer for name, peer in self._by_name.items() if not admitted(name)]
            nameless = [peer for peer in self._by_descriptor.values() if peer.name is None]
            for peer in revoked:
                self.end(peer, why)
            for peer in nameless:
                self.end(peer, "the clients have changed, and it has said nothing yet; it may connect again")
        return len(revoked)

    def end(self, peer: Peer, why: str) -> str:
        """Disconnect a peer. Return a line that names the peer and the reason, and log it, once per measurement."""
        with self._lock:
            who = "a peer"
            if not peer.ended:
                self.ended += 1
                peer.ended = True
                if self._by_descriptor.get(peer.descriptor) is peer:
                    who = self._described(peer)
                    self._rooms[peer.place].leave(peer.descriptor)
                    self._disconnect(peer)
        said = f"{who} at {self._name} is disconnected: {why}"
        if not self._told:
            log.warning("%s", said)
        self._told = True
        return said

    def _described(self, peer: Peer) -> str:
        try:
            return socket_queues.peer_name(peer.descriptor, peer.place.family)
        except OSError:  # the peer has disconnected by itself
            return "a peer"

    def _disconnect(self, peer: Peer) -> None:
        with contextlib.suppress(OSError):  # the peer has disconnected by itself
            socket_queues.disconnect(peer.descriptor, *peer.place)
