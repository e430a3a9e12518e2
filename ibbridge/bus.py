"""The ZeroMQ sockets of the bus: an XPUB that never waits, and a ROUTER that gives every request exactly one reply.

The module knows endpoints, locks, socket options, frames and subscriptions. It must not know msgpack, commands, TWS, or
what a topic or a message means: welcomes and replies come from callbacks, as bytes.

Two rules keep the module simple. First, no call waits: both sockets belong to the event loop's thread, and `turn`
serves them. Second, ZeroMQ's file descriptors are edge-triggered, so a send may swallow the signal that a message has
arrived. So the reader event is not enough: call `turn` after each read from TWS, after sends outside a read, and at
each heartbeat.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import zmq
import zmq.backend

from ibbridge.security import process_limits, zap
from ibbridge.security.peer_watch import PeerWatch
from ibbridge.security.peers import Bounds, Peers, Published
from ibbridge.zeromq.reply_socket import ReplySocket
from ibbridge.zeromq.zmq_send import outbox

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping

    from ibbridge.config.model import BusConfig
    from ibbridge.security.peers import Peer
    from ibbridge.zeromq.reply_socket import Answering
    from ibbridge.zeromq.zmq_send import Outbox

TURN = 0.005
"""Seconds after which a turn ends, because heartbeats and input from TWS are urgent. A command may take 50 ms more."""

LONGEST_SUBSCRIPTION = 1_024
"""Most bytes of a frame that a subscriber sends, and of its handshake."""

WAITING_REQUESTS = 2
"""Requests of one peer that wait in the socket; libzmq reads no more of the peer's requests until one is taken."""

UNREAD_REPLIES = 16 * 2**20
"""Bytes of replies that a peer may leave unread before it is disconnected."""

SUBSCRIPTIONS = 2**20
"""Most bytes of all subscriptions of one peer. Each subscription counts 32 bytes more than its prefix."""

KEPT_DESCRIPTORS = 64
"""File descriptors that peers cannot use: TWS, the store, the log and the recorder need some."""

CLIENTS = 8
"""Divisor of the other file descriptors: one in `CLIENTS` is for peers that send commands, the rest for subscribers."""

_WORTHWHILE = 2**20  # least bytes kept for a peer for which disconnecting it helps

_STRAYS = 64  # most frames skipped at a time in search of a subscription

# The first byte of a subscriber's frame that subscribes or unsubscribes; the prefix follows.
_SUBSCRIBE, _UNSUBSCRIBE = b"\x01", b"\x00"

# As plain ints: for the compiled socket an enum costs a conversion per call.
_NOWAIT = int(zmq.NOBLOCK)

_WRITE_ONLY = frozenset((zmq.XPUB_MANUAL, zmq.XPUB_VERBOSE, zmq.ROUTER_MANDATORY))

_ADVICE = {
    errno.EADDRINUSE: "another ibbridge or another program has it; stop that one, or choose another {key}",
    errno.EADDRNOTAVAIL: "this machine has no such address; bind to one it has, such as 127.0.0.1",
    errno.ENODEV: "this machine has no such address; bind to one it has, such as 127.0.0.1",
    errno.EACCES: "this user may not; choose another {key}, or give the user the right to it",
    errno.ENAMETOOLONG: f"a path may have {zmq.IPC_PATH_MAX_LEN} bytes; choose a shorter {{key}}",
}


class BusError(Exception):
    """Failure of the bus's sockets. str() says which endpoint, why, and what to do about it."""


class Endpoints(NamedTuple):
    """Bound endpoints of the sockets, with the port that the system has chosen if the port was 0."""

    pub: str
    rep: str


class Bus:
    """Bus: both ZeroMQ sockets, from `open` to `close`.

    `send` publishes messages of two frames, topics and bodies in turn. `send` neither waits nor fails: a subscriber
    that is more than `sndhwm` messages behind loses new messages (as its sequence numbers show). `send` raises BusError
    unless the bus is open. `welcome(prefix)` returns the body of the message for a new subscriber of `prefix`.
    """

    _pub: zmq.Socket[bytes]
    _rep: zmq.Socket[bytes]
    _replies: ReplySocket
    _subscribers: Peers
    _clients: Peers
    _peer_watch: PeerWatch

    def __init__(
        self, config: BusConfig, answering: Answering, welcome: Callable[[bytes], bytes] | None = None
    ) -> None:
        self.send: Callable[[list[bytes]], None] = _closed
        self.strays = 0  # frames from subscribers that are no subscription
        self._config = config
        self._answering = answering
        self._welcome = welcome
        self._handler = zap.ZapHandler()
        self._opened = ExitStack()
        self._outbox: Outbox | None = None
        self._endpoints: Endpoints | None = None
        self._sockets: list[tuple[zmq.Socket[bytes], int]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.Handle | None = None
        self._turning = False

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
    def counts(self) -> dict[str, int]:
        """Counts for `status`: stray requests, undelivered replies, refused and disconnected peers."""
        if self._endpoints is None:
            return {}
        return {
            "strayRequests": self._replies.strays,
            "undeliveredReplies": self._replies.undelivered,
            "refusedPeers": self._subscribers.refused + self._clients.refused,
            "endedPeers": self._subscribers.ended + self._clients.ended,
        }

    def open(self) -> None:
        """Lock and bind both endpoints. Raise BusError, and leave nothing open, if one of them cannot be bound."""
        config = self._config
        with ExitStack() as opened:
            for key, endpoint in (("bus.pub", config.pub), ("bus.rep", config.rep)):
                if path := _ipc_path(endpoint):
                    opened.callback(os.close, _lock(key, endpoint, path))
            # A context of our own: its term() returns when the last message is sent or given up and the listeners are
            # gone. Only then may the locks be released for the next daemon. (The ipc files stay; a bind replaces them.)
            context = zmq.Context()
            opened.callback(self._handler.join)
            opened.callback(context.term)
            self._handler.start(context)
            self._pub = opened.enter_context(context.socket(zmq.XPUB))
            self._rep = opened.enter_context(context.socket(zmq.ROUTER))
            _set(self._pub, pub_options(config))
            _set(self._rep, rep_options(config))
            self._subscribers = Peers("bus.pub", subscriber_bounds(config))
            self._clients = Peers("bus.rep", client_bounds(config))
            opened.enter_context(self._subscribers.watch(context, self._pub))
            opened.enter_context(self._clients.watch(context, self._rep))
            pub = _bind(self._pub, "bus.pub", config.pub)
            rep = _bind(self._rep, "bus.rep", config.rep)
            self._subscribers.bound(pub)
            self._clients.bound(rep)
            self._outbox = outbox(self._pub)
            self._peer_watch = PeerWatch((self._subscribers, self._clients), self._published)
            self._peer_watch.start()
            opened.callback(self._peer_watch.stop)
            self._opened = opened.pop_all()
        self._endpoints = Endpoints(pub, rep)
        self._sockets = [(self._pub, int(zmq.POLLIN)), (self._rep, int(zmq.POLLIN))]
        self._replies = ReplySocket(self._rep, config, self._answering, self._clients)
        self.send = self._outbox.send

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop call `turn` when messages arrive, and once soon, because messages may have arrived already."""
        self._loop = loop
        for socket in (self._pub, self._rep):
            loop.add_reader(socket.FD, self.turn)
            self._opened.callback(loop.remove_reader, socket.FD)
        self._turn_again()

    def turn(self) -> None:
        """Serve the messages that have arrived on both sockets, for at most `TURN` seconds.

        If messages are left, the next turn follows after the loop's other callbacks (if attached), and until then
        further calls do nothing: so a flood of requests never gets more than every other turn of the loop. A call
        within a turn, by an answer for example, does nothing either. Raise `BusError` if one of the threads that admit
        and measure peers has ended.
        """
        if self._turning or self._endpoints is None or self._again is not None:
            return
        if not self._handler.alive:
            raise BusError("the thread that admits peers has ended: no new peer can connect; see the log")
        if not self._peer_watch.alive:
            raise BusError("the thread that measures peers has ended: a peer could use up the memory; see the log")
        emptied = False
        self._turning = True
        try:
            until = time.monotonic() + TURN
            while not (emptied := not self._serve()) and time.monotonic() < until:
                pass
        finally:
            self._turning = False
            if not emptied:
                self._turn_again()

    def close(self) -> None:
        """Unbind, and wait at most `linger_ms` until the queued messages are sent. A second call does nothing."""
        self.send = _closed
        self._endpoints = self._loop = None
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._opened.close()

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
            if socket is self._pub:
                self._subscription()
            else:
                self._replies.serve()
        return bool(ready)

    def _subscription(self) -> None:
        """Confirm one subscription, or end one; skip some stray frames before it."""
        frame: zmq.Frame | None = self._pub.recv(_NOWAIT, copy=False)
        left = _STRAYS
        while frame is not None and bytes(frame.buffer[:1]) not in (_SUBSCRIBE, _UNSUBSCRIBE):
            self.strays += 1
            left -= 1
            frame = self._behind_stray() if left else None
        if frame is not None:
            self._confirm(frame, frame.bytes[1:])

    def _confirm(self, frame: zmq.Frame, prefix: bytes) -> None:
        # In manual mode both options are for the peer whose frame was read last.
        peer = self._subscriber(frame)
        if frame.bytes[:1] == _UNSUBSCRIBE:
            self._pub.set(zmq.UNSUBSCRIBE, prefix)
            if peer is not None:
                self._subscribers.unsubscribed(peer, len(prefix))
            return
        if peer is not None and not self._subscribers.subscribed(peer, len(prefix)):
            return
        self._pub.set(zmq.SUBSCRIBE, prefix)
        if self._welcome is not None:
            self.send([prefix, self._welcome(prefix)])

    def _subscriber(self, frame: zmq.Frame) -> Peer | None:
        """Return the peer that sent a frame; None for the unsubscriptions that libzmq makes when a connection ends."""
        try:
            name, descriptor = frame.get("User-Id"), int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            return None
        peer = self._subscribers.known(name) or self._subscribers.met(name, descriptor)
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
        self._pub.set(zmq.XPUB_MANUAL, 0)
        try:
            return self._pub.recv(_NOWAIT, copy=False)
        except zmq.Again:
            return None
        finally:
            self._pub.set(zmq.XPUB_MANUAL, 1)


def pub_options(config: BusConfig) -> dict[zmq.SocketOption, int | bytes]:
    """Return the options to set on the XPUB before the bind."""
    return {
        # The bus reads and confirms each subscription, so that it can send a welcome.
        zmq.XPUB_MANUAL: 1,
        # Also report subscriptions to a prefix that another peer has subscribed to.
        zmq.XPUB_VERBOSE: 1,
        # Room for a burst: with libzmq's default of 1000 a subscriber lost 71 % of one.
        zmq.SNDHWM: config.sndhwm,
        # Subscribers send only subscriptions; libzmq disconnects a peer that sends a larger frame.
        zmq.MAXMSGSIZE: LONGEST_SUBSCRIPTION,
        zmq.RCVBUF: 65_536,
        **_common_options(config),
    }


def rep_options(config: BusConfig) -> dict[zmq.SocketOption, int | bytes]:
    """Return the options to set on the ROUTER before the bind."""
    return {
        # Report a reply that cannot be delivered, so that it can be counted.
        zmq.ROUTER_MANDATORY: 1,
        # A request up to this size is refused with a reply if it is too long; for a larger one libzmq disconnects.
        zmq.MAXMSGSIZE: _longest_request(config),
        # A REQ has one request under way. A peer that pipelines more is not read ahead, or its requests pile up here.
        zmq.RCVHWM: WAITING_REQUESTS,
        **_common_options(config),
    }


def subscriber_bounds(config: BusConfig) -> Bounds:
    """Return the bounds for subscribers."""
    most = min(config.max_peers, _descriptors() * (CLIENTS - 1) // CLIENTS)
    return Bounds(most, SUBSCRIPTIONS + 2**18, config.sndbytes, config.sndhwm, SUBSCRIPTIONS)


def client_bounds(config: BusConfig) -> Bounds:
    """Return the bounds for peers that send commands: one longest request more than libzmq reads ahead."""
    incoming = (WAITING_REQUESTS + 1) * _longest_request(config) + 65_536
    return Bounds(min(config.max_peers, _descriptors() // CLIENTS), incoming, UNREAD_REPLIES, 1_000)


def _longest_request(config: BusConfig) -> int:
    return 2 * config.max_request


def _descriptors() -> int:
    """Return how many file descriptors the peers of both sockets may use."""
    return max(CLIENTS * 2, process_limits.descriptor_limit() - KEPT_DESCRIPTORS)


def _common_options(config: BusConfig) -> dict[zmq.SocketOption, int | bytes]:
    # ZMTP's heartbeats are off on purpose. A subscriber that does not read for longer than their timeout would not
    # answer them, and would be disconnected and lose all messages queued for it; a slow subscriber is to be late
    # instead. TCP's keepalive finds a peer that has vanished: the kernel of a slow process still answers.
    return {
        # A peer that speaks ZMTP 1.0 or 2.0 is disconnected before any of its frames is read: HTTP looks like ZMTP 1.0
        # to libzmq, so a web page could place orders. And no peer is admitted while there is no handler.
        zmq.ZAP_DOMAIN: zap.DOMAIN,
        zmq.ZAP_ENFORCE_DOMAIN: 1,
        zmq.HANDSHAKE_IVL: 10_000,  # milliseconds after which a peer without a handshake is disconnected
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: 30,  # seconds of silence before the first probe
        zmq.TCP_KEEPALIVE_INTVL: 10,  # seconds between probes
        zmq.TCP_KEEPALIVE_CNT: 3,  # probes without an answer before the peer is gone
        zmq.LINGER: config.linger_ms,  # time for the last message, "bye", to be sent
    }


def _set(socket: zmq.Socket[bytes], options: Mapping[zmq.SocketOption, int | bytes]) -> None:
    """Set options before the bind, after which libzmq would ignore them. Read them back, as far as libzmq allows."""
    for option, value in options.items():
        socket.set(option, value)
        if option not in _WRITE_ONLY and socket.get(option) != value:
            raise BusError(f"libzmq {zmq.zmq_version()} does not take {option.name}={value!r}; a newer one is needed")


def _ipc_path(endpoint: str) -> pathlib.Path | None:
    transport, _, path = endpoint.partition("://")
    return pathlib.Path(path) if transport == "ipc" else None


def _lock(key: str, endpoint: str, path: pathlib.Path) -> int:
    """Lock an ipc endpoint, and return the open lock file. Without the lock a second bind would take over its clients.

    The lock file is not deleted with the lock: at that moment another daemon may have locked the same file.
    """
    if not path.parent.is_dir():
        raise BusError(
            f"{key}: {endpoint}: there is no directory {path.parent}; create it (mode 0750: who may enter may trade), "
            "or have systemd do it with RuntimeDirectory="
        )
    if path.exists() and not path.is_socket():  # libzmq would delete it
        raise BusError(f"{key}: {endpoint}: {path} exists and is no socket; choose another {key}, or remove it")
    lock = f"{path}.lock"
    try:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BusError(f"{key}: {endpoint}: cannot open its lock {lock}: {_why(error.errno, key)}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise BusError(
            f"{key}: {endpoint}: another ibbridge has it (its lock is {lock}); stop that one, or choose another {key}"
        ) from error
    return file


def _bind(socket: zmq.Socket[bytes], key: str, endpoint: str) -> str:
    """Bind a socket, and return the bound endpoint. A new ipc file is accessible to the user and the group alone."""
    if "[" in endpoint:
        socket.set(zmq.IPV6, 1)
    try:
        with _umask(0o007):
            socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise BusError(f"{key}: {endpoint}: cannot bind: {_why(error.errno, key)}") from error
    bound = socket.get(zmq.LAST_ENDPOINT)
    return bound.decode() if isinstance(bound, bytes) else str(bound)


def _why(number: int | None, key: str) -> str:
    """Return the text of an error number, and what to do about the error."""
    advice = _ADVICE.get(number or 0, "write {key} as tcp://127.0.0.1:PORT or ipc:///PATH")
    return f"{zmq.strerror(number or 0)}; {advice.format(key=key)}"


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    previous = os.umask(mask)
    try:
        yield
    finally:
        os.umask(previous)


def _closed(_frames: list[bytes]) -> None:
    raise BusError("the bus is not open")
