"""SUB and REQ sockets with the options that the protocol advises (docs: the protocol, two sockets), and their context.

This module knows ZeroMQ. It must not know what is sent.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import zmq

from ibbridge.client.admission import Admission
from ibbridge.client.errors import BridgeError

if TYPE_CHECKING:
    from ibbridge.client.endpoints import Endpoint

RECEIVE_HIGH_WATER = 100_000
"""Limit of messages that ZeroMQ keeps for a busy strategy in this process; the daemon keeps as many again."""


class Context:
    """ZeroMQ context that ends with the last of the `holders` of its sockets. Ended earlier, it would wait for them."""

    def __init__(self, holders: int) -> None:
        self.zmq: zmq.Context[Any] = zmq.Context()
        self._holders = [None] * holders
        self._last = threading.Lock()

    def leave(self) -> None:
        """Note that a holder has closed its sockets. Several threads may call this method at once."""
        self._holders.pop()
        if not self._holders and self._last.acquire(blocking=False):
            self.zmq.term()


def subscriber(context: zmq.Context[Any], endpoint: Endpoint) -> tuple[zmq.Socket[bytes], Admission]:
    """Return a SUB socket, connected to a daemon's `bus.pub`, and its admission."""
    socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
    socket.set(zmq.RCVHWM, RECEIVE_HIGH_WATER)
    return socket, _connected(context, socket, endpoint, "pub")


def requester(context: zmq.Context[Any], endpoint: Endpoint) -> tuple[zmq.Socket[bytes], Admission]:
    """Return a REQ socket, connected to a daemon's `bus.rep`, and its admission.

    The socket sends a command only while a daemon is connected, so that no command is delivered late, when its time has
    passed. A command can be sent again before its reply has come.
    """
    socket: zmq.Socket[bytes] = context.socket(zmq.REQ)
    socket.set(zmq.REQ_RELAXED, 1)
    socket.set(zmq.REQ_CORRELATE, 1)
    socket.set(zmq.IMMEDIATE, 1)
    return socket, _connected(context, socket, endpoint, "rep")


def _connected(context: zmq.Context[Any], socket: zmq.Socket[bytes], endpoint: Endpoint, name: str) -> Admission:
    """Connect a socket, without waiting, and return its admission. Raise BridgeError for a malformed endpoint."""
    address, keys = endpoint
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.RECONNECT_IVL_MAX, 1000)
    if "[" in address:
        socket.set(zmq.IPV6, 1)
    if keys is not None:
        socket.set(zmq.CURVE_SERVERKEY, keys.server.encode())
        socket.set(zmq.CURVE_PUBLICKEY, keys.public.encode())
        socket.set(zmq.CURVE_SECRETKEY, keys.secret.encode())
    admission = Admission(context, socket, endpoint)
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        admission.close()
        socket.close()
        raise BridgeError(
            f"{name}={address!r}: {error.strerror}; write it as tcp://127.0.0.1:PORT or ipc:///PATH"
        ) from error
    return admission
