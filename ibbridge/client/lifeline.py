"""Lifeline: a thread that tells the daemon that the strategy is there, also while the strategy computes.

The thread has a socket of its own, and keeps nothing of the client alive: a client that is garbage-collected, or a
process that dies, closes the socket, and the daemon sees that. This module must not know messages or requests.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import zmq

from ibbridge.client import sockets
from ibbridge.client.commands import Command, Names, unpacked
from ibbridge.client.errors import BridgeError
from ibbridge.client.guard import CLOSING, Waker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.client.endpoints import Endpoint

TTL = 15.0
"""Seconds for which the daemon waits for a word, until its reply to the hello says otherwise."""

SHARE = 3.0
"""Words in one `ttl`: one may be lost, and another late."""

PATIENCE = 2.0
"""Seconds to wait for a reply, before the socket is made anew."""

LEAVING = 1.0
"""Seconds to wait for the reply to a logout. The daemon takes a client that goes without one for lost."""

AGAIN = 0.5
"""Seconds before a word that had no reply is repeated."""


class Lifeline:
    """Lifeline of a client to a daemon, from `start` to `stop`. `said` are the arguments of its hello.

    Another daemon hears the hello, too. Its `run` is the client's: a daemon takes it for the same program.
    """

    def __init__(self, endpoint: Endpoint, client: str, said: Mapping[str, Any]) -> None:
        self._endpoint = endpoint
        self._client = client
        self._said = dict(said)
        self._names = Names()
        self._waker = Waker()
        self._stopping = False
        self._leaves = False
        self._epoch = 0
        self._pause = float(said.get("ttl") or TTL) / SHARE
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name=f"lifeline of {client}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, *, logout: bool) -> None:
        """End the thread, with a logout or without a word. Wait for that for a second or two at most: mostly for none.

        A second call does nothing, nor does one in a forked child.
        """
        if self._stopping or os.getpid() != self._pid:
            return
        self._leaves, self._stopping = logout, True
        self._waker.wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(2 * LEAVING if logout else CLOSING)

    def _run(self) -> None:
        context: zmq.Context[Any] = zmq.Context()
        socket, admission = sockets.requester(context, self._endpoint)
        try:
            while not self._stopping:
                if (pause := self._speak(socket)) is None:
                    admission.close()
                    socket.close()
                    socket, admission = sockets.requester(context, self._endpoint)
                    pause = AGAIN
                self._wait(pause)
            if self._leaves:
                self._ask(socket, "logout", {}, LEAVING)
        except BridgeError:  # what answers is no ibbridge, which the client itself says
            pass
        finally:
            admission.close()
            socket.close()
            context.term()
            self._waker.close()

    def _speak(self, socket: zmq.Socket[bytes]) -> float | None:
        """Say hello to a daemon that has not heard it, or else that the client is there.

        Return the seconds until the next word; None if there was no reply.
        """
        reply = self._ask(socket, "alive" if self._epoch else "hello", {} if self._epoch else self._said, PATIENCE)
        if reply is None:
            return None if not self._stopping else 0.0
        if not reply.get("ok"):  # an older daemon, or a hello that `connect` has had refused
            return self._pause
        if reply["epoch"] != self._epoch and self._epoch:  # another daemon, which has to hear the hello
            self._epoch = 0
            return 0.0
        self._epoch = reply["epoch"]
        if ttl := reply["result"].get("ttl"):
            self._pause = float(ttl) / SHARE
        return self._pause

    def _ask(self, socket: zmq.Socket[bytes], cmd: str, args: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """Return the reply to a command; None if there is none in time, or no daemon."""
        until = time.monotonic() + seconds
        command = Command(self._client, self._names.new(), cmd, args)
        if not self._poll(socket, zmq.POLLOUT, until):
            return None
        with suppress(zmq.Again):
            socket.send(command.packed, zmq.NOBLOCK)
            if self._poll(socket, zmq.POLLIN, until):
                return unpacked(socket.recv(zmq.NOBLOCK), self._endpoint.address)
        return None

    def _poll(self, socket: zmq.Socket[bytes], events: int, until: float) -> bool:
        """Wait for the socket. Return False if it is not ready in time, or a stop came that this is no part of."""
        waits: list[tuple[Any, int]] = [(socket, events)]
        if not self._stopping:
            waits.append((self._waker, zmq.POLLIN))
        left = max(0, int((until - time.monotonic()) * 1000))
        ready: list[tuple[Any, int]] = zmq.zmq_poll(waits, left)
        return any(each is socket for each, _ in ready)

    def _wait(self, seconds: float) -> None:
        if not self._stopping:
            zmq.zmq_poll([(self._waker, zmq.POLLIN)], max(0, int(seconds * 1000)))
