"""The ZeroMQ sockets: an XPUB that is written without waiting, and a ROUTER that gives every request exactly one reply.

Knows endpoints, locks, socket options, frames, subscriptions. Must not know msgpack, commands, TWS, or what a topic or
a message means: what is said here is said by the callbacks it is given, as bytes.

Two rules keep it simple. Nothing here waits: both sockets belong to the event loop's thread and are served by `turn`.
And ZeroMQ's file descriptors are edge-triggered: a send may swallow the signal that something has arrived, so `turn` is
not only for the reader event. Call it after each chunk of input, after sends of one's own outside a chunk, and at each
heartbeat.
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
"""Seconds after which a turn ends: heartbeats, and what TWS has sent, come first. A command may take 50 ms more."""

LONGEST_SUBSCRIPTION = 1_024
"""Bytes of a frame that a subscriber sends, and of its handshake."""

WAITING_REQUESTS = 2
"""Requests of one peer that wait for their turn; libzmq reads no further."""

UNREAD_REPLIES = 16 * 2**20
"""Bytes of replies that a peer may leave unread before it is disconnected."""

SUBSCRIPTIONS = 2**20
"""Bytes of all subscriptions of one peer, of which each counts 32 more than its prefix has."""

KEPT_DESCRIPTORS = 64
"""Descriptors that peers cannot have: TWS, the store, the log and the recorder need some."""

CLIENTS = 8
"""One in so many of the others is for those who send commands."""

_WORTHWHILE = 2**20  # bytes that are kept for a peer before it helps to disconnect it

_STRAYS = 64  # frames that are passed over at a time in search of a subscription

# How a frame that a subscriber sent begins, if it is a subscription; the prefix follows.
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
    """The sockets cannot be opened. str() says which endpoint, why, and what to do about it."""


class Endpoints(NamedTuple):
    """Where the sockets really are: with the port that the system chose, where it was asked to."""

    pub: str
    rep: str


class Bus:
    """Both sockets, from `open` to `close`.

    `send` publishes messages of two frames, topics and bodies in turn. It neither waits nor fails: a subscriber that is
    more than `sndhwm` messages behind loses what comes (its sequence numbers tell it). BusError unless open.
    `welcome(prefix)` gives the body of the message that a new subscriber of `prefix` is sent.
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
        self._handler = zap.Handler()
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
        """Messages that libzmq would not take from us; it never says so of an XPUB that may drop."""
        return self._outbox.unsent if self._outbox else 0

    @property
    def counts(self) -> dict[str, int]:
        """What peers sent that is nothing, and what they were not told, for `status`."""
        if self._endpoints is None:
            return {}
        return {
            "strayRequests": self._replies.strays,
            "undeliveredReplies": self._replies.undelivered,
            "refusedPeers": self._subscribers.refused + self._clients.refused,
            "endedPeers": self._subscribers.ended + self._clients.ended,
        }

    def open(self) -> None:
        """Lock and bind both endpoints; BusError, and nothing left behind, if either is not to be had."""
        config = self._config
        with ExitStack() as opened:
            for key, endpoint in (("bus.pub", config.pub), ("bus.rep", config.rep)):
                if path := _ipc_path(endpoint):
                    opened.callback(os.close, _lock(key, endpoint, path))
            # A context of our own: its term() returns when the last message is out or given up and the listeners are
            # gone. Only then may the locks go, and the next daemon come. (The ipc files stay; a bind replaces them.)
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
        """Have the loop call `turn` when something arrives, and soon: it may have arrived already."""
        self._loop = loop
        for socket in (self._pub, self._rep):
            loop.add_reader(socket.FD, self.turn)
            self._opened.callback(loop.remove_reader, socket.FD)
        self._turn_again()

    def turn(self) -> None:
        """Serve what has arrived on both sockets: all of it, or so much of it as one turn may take.

        What is left comes at once after the loop's other business (if attached), and until then a call does nothing: so
        that a flood of requests never has more than every other turn. Called from within itself, by an answer say, it
        does nothing either: the outer turn goes on. Raises `BusError` if new peers are let in no more.
        """
        if self._turning or self._endpoints is None or self._again is not None:
            return
        if not self._handler.alive:
            raise BusError("the thread that lets peers in has ended: nobody new is heard; the log has its traceback")
        if not self._peer_watch.alive:
            raise BusError("the thread that measures peers has ended: one of them could take all memory; see the log")
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
        """Unbind, and give what is still queued `linger_ms` to get out, waiting for it. Once closed, does nothing."""
        self.send = _closed
        self._endpoints = self._loop = None
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._opened.close()

    def shed(self) -> str:
        """Disconnect the peer for whom most is kept; a line that says which, empty if little is kept for anybody."""
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
        """Serve each socket once; False if nothing has arrived on either.

        A poll gives up the GIL, and the option EVENTS would not: libzmq takes in subscriptions there, for as long as
        somebody floods it with them, and the thread that cuts such a one off must run then.
        """
        ready = zmq.backend.zmq_poll(self._sockets, 0)
        for socket, _ in ready:
            if socket is self._pub:
                self._subscription()
            else:
                self._replies.serve()
        return bool(ready)

    def _subscription(self) -> None:
        """Confirm one subscription, or end one."""
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
        """Return who sent a frame; None for the unsubscriptions that libzmq makes of a connection that is over."""
        try:
            name, descriptor = frame.get("User-Id"), int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            return None
        peer = self._subscribers.known(name) or self._subscribers.met(name, descriptor)
        if peer is not None:
            peer.spoken = True
        return peer

    def _behind_stray(self) -> zmq.Frame | None:
        """The frame queued behind one that was no subscription, if any.

        libzmq 4.3.5 keeps the peers of pending subscriptions in a queue of their own and takes one from it for *every*
        frame read. So a stray frame takes the peer of the subscription behind it, which would then be confirmed to the
        peer after that: one subscriber's garbage would silence another. Outside manual mode no peer is taken, and the
        one that was taken too early is the right one.
        """
        self._pub.set(zmq.XPUB_MANUAL, 0)
        try:
            return self._pub.recv(_NOWAIT, copy=False)
        except zmq.Again:
            return None
        finally:
            self._pub.set(zmq.XPUB_MANUAL, 1)


def pub_options(config: BusConfig) -> dict[zmq.SocketOption, int | bytes]:
    """What is set on the XPUB before it is bound."""
    return {
        # Subscriptions are read and confirmed here, one by one: each can be welcomed, and one day refused.
        zmq.XPUB_MANUAL: 1,
        # Those that somebody else has already too, whatever the mode.
        zmq.XPUB_VERBOSE: 1,
        # Room for a burst: with libzmq's 1000 a subscriber lost 71 % of one.
        zmq.SNDHWM: config.sndhwm,
        # All that subscribers send is subscriptions; libzmq cuts off who sends more.
        zmq.MAXMSGSIZE: LONGEST_SUBSCRIPTION,
        zmq.RCVBUF: 65_536,
        **_common_options(config),
    }


def rep_options(config: BusConfig) -> dict[zmq.SocketOption, int | bytes]:
    """What is set on the ROUTER before it is bound."""
    return {
        # A reply that cannot be delivered is counted.
        zmq.ROUTER_MANDATORY: 1,
        # Somewhat too large is refused with a reply that says so; from here on libzmq cuts the peer off.
        zmq.MAXMSGSIZE: _longest_request(config),
        # A REQ has one request under way. Who pipelines is read no faster than answered, or requests pile up here.
        zmq.RCVHWM: WAITING_REQUESTS,
        **_common_options(config),
    }


def subscriber_bounds(config: BusConfig) -> Bounds:
    """What is allowed to subscribers."""
    most = min(config.max_peers, _descriptors() * (CLIENTS - 1) // CLIENTS)
    return Bounds(most, SUBSCRIPTIONS + 2**18, config.sndbytes, config.sndhwm, SUBSCRIPTIONS)


def client_bounds(config: BusConfig) -> Bounds:
    """What is allowed to those who send commands: as many requests of the greatest length as libzmq reads, and one."""
    incoming = (WAITING_REQUESTS + 1) * _longest_request(config) + 65_536
    return Bounds(min(config.max_peers, _descriptors() // CLIENTS), incoming, UNREAD_REPLIES, 1_000)


def _longest_request(config: BusConfig) -> int:
    return 2 * config.max_request


def _descriptors() -> int:
    """Return how many descriptors the peers of both sockets may have."""
    return max(CLIENTS * 2, process_limits.descriptor_limit() - KEPT_DESCRIPTORS)


def _common_options(config: BusConfig) -> dict[zmq.SocketOption, int | bytes]:
    # ZMTP's heartbeats are left off, on purpose. A subscriber that does not read for longer than their timeout answers
    # none, is cut off, and loses all that was queued for it; a slow one shall be late instead. A peer that is gone
    # without a word is found by TCP: the kernel of a slow process still answers.
    return {
        # Whoever speaks ZMTP 1.0 or 2.0 is cut off before a frame of theirs is read: HTTP is ZMTP 1.0 to libzmq, so a
        # web page could place orders. And nobody is let in while there is no handler.
        zmq.ZAP_DOMAIN: zap.DOMAIN,
        zmq.ZAP_ENFORCE_DOMAIN: 1,
        zmq.HANDSHAKE_IVL: 10_000,  # milliseconds after which a peer that says nothing is cut off
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: 30,  # seconds of silence before the first probe
        zmq.TCP_KEEPALIVE_INTVL: 10,  # seconds between probes
        zmq.TCP_KEEPALIVE_CNT: 3,  # probes without an answer before the peer is gone
        zmq.LINGER: config.linger_ms,  # the last message, "bye", shall still get out
    }


def _set(socket: zmq.Socket[bytes], options: Mapping[zmq.SocketOption, int | bytes]) -> None:
    """Before the bind, after which libzmq would take no notice; and read back, as far as it lets us."""
    for option, value in options.items():
        socket.set(option, value)
        if option not in _WRITE_ONLY and socket.get(option) != value:
            raise BusError(f"libzmq {zmq.zmq_version()} does not take {option.name}={value!r}; a newer one is needed")


def _ipc_path(endpoint: str) -> pathlib.Path | None:
    transport, _, path = endpoint.partition("://")
    return pathlib.Path(path) if transport == "ipc" else None


def _lock(key: str, endpoint: str, path: pathlib.Path) -> int:
    """The open file whose lock makes the ipc endpoint ours: a second bind would silently take the first one's clients.

    The file stays when the lock goes. Whoever deleted it might delete one that another daemon has just locked.
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
    """Bind; the endpoint as it is now. A file that this makes is for the user and the group alone."""
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
    """What the error number says, and what to do about it."""
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
