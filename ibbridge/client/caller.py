"""The REQ socket for threads: one command at a time, and for each a reply, a refusal or, in time, that there was none.

Knows locks and waiting. What a command and its reply are, and what a retry means, is in `commands`.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import zmq

from ibbridge.client import commands, wires
from ibbridge.client.errors import BridgeError

if TYPE_CHECKING:
    from ibbridge.client.commands import Command, Reply


class Caller:
    """The command socket of one client, from the making to `close`. Any thread may call; they take turns."""

    def __init__(self, context: zmq.Context[Any], rep: str) -> None:
        self.rep = rep
        self._context = context
        self._socket = wires.requester(context, rep)
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Disconnect, after the command under way. What was not delivered never will be."""
        with self._lock:
            self._closed = True
            self._socket.close()

    def call(self, command: Command, timeout: float) -> Reply:
        """Send a command and wait for its reply.

        Raises CommandError if the daemon refuses, NoAnswer if it does not answer in `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=max(0.0, timeout)):
            raise command.unanswered(self.rep, timeout)
        try:
            if self._closed:
                raise BridgeError("this connection is closed")
            packed = self._exchange(command, deadline)
        finally:
            self._lock.release()
        if packed is None:
            raise command.unanswered(self.rep, timeout)
        return command.reply(packed, self.rep)

    def _exchange(self, command: Command, deadline: float) -> bytes | None:
        while (left := deadline - time.monotonic()) > 0:
            if not self._socket.poll(_milliseconds(left), zmq.POLLOUT):
                break
            self._socket.send(command.packed, zmq.NOBLOCK)
            command.sent += 1
            if self._socket.poll(_milliseconds(min(deadline - time.monotonic(), commands.RETRY))):
                return self._socket.recv()
        self._socket.close()
        self._socket = wires.requester(self._context, self.rep)
        return None


def _milliseconds(seconds: float) -> int:
    """Whole ones, upwards: a wait that ends too early is only taken up again."""
    return max(0, int(seconds * 1000) + 1)
