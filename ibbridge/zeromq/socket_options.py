"""The options of the bus's sockets, and the bounds of what one peer may cost: both are set before the bind.

The module knows libzmq's options, with the reason for each value. It must not know sockets that are already in use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from ibbridge.security import process_limits
from ibbridge.security.peers import Bounds
from ibbridge.zeromq.endpoints import BusError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.config.model import BusConfig
    from ibbridge.security.access import Entrance

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

_WRITE_ONLY = frozenset((zmq.XPUB_MANUAL, zmq.XPUB_VERBOSE, zmq.ROUTER_MANDATORY, zmq.CURVE_SECRETKEY))


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
    most = min(config.max_peers, _descriptors() * (CLIENTS - 1) // CLIENTS // len(config.pub))
    return Bounds(most, SUBSCRIPTIONS + 2**18, config.sndbytes, config.sndhwm, SUBSCRIPTIONS)


def client_bounds(config: BusConfig) -> Bounds:
    """Return the bounds for peers that send commands: one longest request more than libzmq reads ahead."""
    incoming = (WAITING_REQUESTS + 1) * _longest_request(config) + 65_536
    most = min(config.max_peers, _descriptors() // CLIENTS // len(config.rep))
    return Bounds(most, incoming, UNREAD_REPLIES, 1_000)


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
        # With a ZAP domain, a peer that speaks ZMTP 1.0 or 2.0 is disconnected before any of its frames is read: HTTP
        # looks like ZMTP 1.0 to libzmq, so a web page could place orders. And no peer is admitted without a handler.
        zmq.ZAP_ENFORCE_DOMAIN: 1,
        zmq.HANDSHAKE_IVL: 10_000,  # milliseconds after which a peer without a handshake is disconnected
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: 30,  # seconds of silence before the first probe
        zmq.TCP_KEEPALIVE_INTVL: 10,  # seconds between probes
        zmq.TCP_KEEPALIVE_CNT: 3,  # probes without an answer before the peer is gone
        zmq.LINGER: config.linger_ms,  # time for the last message, "bye", to be sent
    }


def entrance_options(entrance: Entrance, secret: bytes) -> dict[zmq.SocketOption, int | bytes]:
    """Return the options to set before one endpoint is bound: libzmq copies them at the bind, for its peers alone."""
    options: dict[zmq.SocketOption, int | bytes] = {zmq.ZAP_DOMAIN: entrance.domain.encode()}
    if entrance.curve:
        return {**options, zmq.CURVE_SERVER: 1, zmq.CURVE_SECRETKEY: secret}
    return {**options, zmq.CURVE_SERVER: 0}


def apply(socket: zmq.Socket[bytes], options: Mapping[zmq.SocketOption, int | bytes]) -> None:
    """Set options before the bind, after which libzmq would ignore them. Read them back, as far as libzmq allows.

    Raise `BusError` for an option that libzmq does not take.
    """
    for option, value in options.items():
        socket.set(option, value)
        if option not in _WRITE_ONLY and socket.get(option) != value:
            raise BusError(f"libzmq {zmq.zmq_version()} does not take {option.name}={value!r}; a newer one is needed")
