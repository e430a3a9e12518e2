"""Admission of one socket: libzmq tells of each handshake, and a daemon that refuses one is an error for the program.

Without this libzmq would report nothing. After some refusals it goes on trying, and after others it never tries again.
The module knows libzmq's monitor.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import time
from typing import TYPE_CHECKING, Any

import zmq

from ibbridge.client.errors import AuthError

if TYPE_CHECKING:
    from ibbridge.client.endpoints import Endpoint

BROKEN_OFF = 3
"""Handshakes in a row that end without a word, after which the daemon is taken to refuse. One alone may be chance: the
daemon was stopped at that moment. libzmq makes so many within half a second."""

_AGAIN = 1.0  # seconds after which a socket that libzmq has given up is connected again

_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_EVENT = struct.Struct("=HI")
_MISMATCH = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
_NUMBERS = itertools.count()
_NOWAIT, _READABLE = int(zmq.NOBLOCK), int(zmq.POLLIN)


class Admission:
    """Admission of a socket at `endpoint`. Make it before the socket connects; close it before the socket."""

    def __init__(self, context: zmq.Context[Any], watched: zmq.Socket[bytes], endpoint: Endpoint) -> None:
        self._watched = watched
        self._endpoint = endpoint
        self._broken_off = 0
        self._was_admitted = False
        self._refusal: AuthError | None = None
        self._given_up: float | None = None  # the time at which libzmq gave up: it does so after an error
        name = f"inproc://admission-{next(_NUMBERS)}"
        watched.monitor(name, _EVENTS)
        self.monitor: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        """Socket that is readable when something has happened."""
        self.monitor.set(zmq.LINGER, 0)
        self.monitor.set(zmq.RCVHWM, 0)
        self.monitor.connect(name)

    def close(self) -> None:
        """End the watch. Call it before the watched socket is closed."""
        if not self.monitor.closed:
            self._watched.disable_monitor()
            self.monitor.close()

    def refusal(self) -> AuthError | None:
        """Return the error for a refusal since the last call; None if there is none, or a handshake succeeded later.

        The daemon may admit the client later, so the socket goes on trying, and a refusal that lasts is returned again.
        """
        self.note()
        refusal = self._refusal
        if self._given_up is None:
            self._refusal = None
        elif time.monotonic() - self._given_up > _AGAIN:
            self._given_up = self._refusal = None
            self._connect_again()
        return refusal

    def _connect_again(self) -> None:
        """Connect the socket again. libzmq ignores a second connection to an endpoint that it has not forgotten."""
        with contextlib.suppress(zmq.ZMQError):
            self._watched.disconnect(self._endpoint.address)
        self._watched.connect(self._endpoint.address)

    def note(self) -> None:
        """Note what has happened to the socket's handshakes."""
        while not self.monitor.closed and int(self.monitor.get(zmq.EVENTS)) & _READABLE:
            event, value = _EVENT.unpack(self.monitor.recv(_NOWAIT))
            self.monitor.recv(_NOWAIT)
            self._noted(event, value)

    def _noted(self, event: int, value: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._broken_off, self._refusal, self._was_admitted = 0, None, True
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._given_up = time.monotonic()
            self._refusal = AuthError(self._not_admitted())
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._given_up = time.monotonic()
            self._refusal = AuthError(self._other_mechanism() if value == _MISMATCH else self._no_daemon())
        elif not self._was_admitted:  # else it is the way to the daemon that breaks, and will be mended
            self._broken_off += 1
            if self._broken_off >= BROKEN_OFF:
                self._refusal = AuthError(self._ended())

    def _not_admitted(self) -> str:
        address, keys = self._endpoint
        if keys:
            return (
                f"the daemon at {address} does not admit the key {keys.public}: no client in its security.clients has "
                "it. Have it added there, or use another key"
            )
        who = f"the user {os.getuid()}" if address.startswith("ipc://") else "a program without a key"
        return f"the daemon at {address} does not admit {who} (its security section says whom). Connect with a key"

    def _other_mechanism(self) -> str:
        address, keys = self._endpoint
        if keys:
            return f"the daemon at {address} takes no keys there: leave key= out, or connect to another endpoint of its"
        return (
            f"the daemon at {address} demands a key: give key= and server_key=, or set IBBRIDGE_KEY and "
            "IBBRIDGE_SERVER_KEY (`ibbridge keygen` makes keys)"
        )

    def _no_daemon(self) -> str:
        return f"what answers at {self._endpoint.address} does not speak as an ibbridge does: is this its endpoint?"

    def _ended(self) -> str:
        address, keys = self._endpoint
        first = f"the daemon at {address} has ended {self._broken_off} connections in a row before they were made"
        if keys:
            return f"{first}. Is {keys.server} its public key (server_key=)? Or it has too many connections"
        return f"{first}. It may demand a key (key=), or have too many connections, or be no ibbridge"
