"""The REQ socket for threads: one command at a time, and for each a reply, a refusal or, in time, that there was none.

Knows locks and waiting. What a command and its reply are, and what a retry means, is in `commands`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import zmq

from ibbridge.client import commands, sockets
from ibbridge.client.errors import Closed
from ibbridge.client.guard import Guard, Waker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.client.commands import Command, Reply


class Caller:
    """The command socket of one client, from the making to `close`. Any thread may call; they take turns.

    `gone` is called once the socket is closed.
    """

    def __init__(self, context: zmq.Context[Any], rep: str, gone: Callable[[], None] = lambda: None) -> None:
        self.rep = rep
        self._context = context
        self._socket = sockets.requester(context, rep)
        self._waker = Waker()
        self._guard = Guard(self._dispose)
        self._gone = gone

    def close(self) -> None:
        """Disconnect. Whoever waits for a reply is told that there is none. What was not delivered never will be."""
        self._guard.close(self._waker)

    def wait_closed(self) -> None:
        """Wait until nobody uses the socket any more; not for long."""
        self._guard.wait_closed()

    def _dispose(self) -> None:
        self._socket.close()
        self._waker.close()
        self._gone()

    def call(self, command: Command, timeout: float) -> Reply:
        """Send a command and wait for its reply.

        Raises CommandError if the daemon refuses, NoAnswer if it does not answer in `timeout` seconds, or before
        another thread closes the connection.
        """
        deadline = time.monotonic() + timeout
        if not self._guard.acquire(timeout=max(0.0, timeout)):
            raise command.unanswered(self.rep, timeout)
        try:
            if self._guard.closed:
                raise Closed
            packed = self._exchange(command, deadline)
            if packed is None and self._guard.closed:
                raise command.cut_off()
        finally:
            self._guard.release()
        if packed is None:
            raise command.unanswered(self.rep, timeout)
        return command.reply(packed, self.rep)

    def _exchange(self, command: Command, deadline: float) -> bytes | None:
        try:
            while (left := deadline - time.monotonic()) > 0:
                if not self._poll(left, zmq.POLLOUT):
                    break
                self._socket.send(command.packed, zmq.NOBLOCK)
                command.sent += 1
                if self._poll(min(deadline - time.monotonic(), commands.RETRY), zmq.POLLIN):
                    return self._socket.recv()
                if self._guard.closed:
                    return None
        except BaseException:  # such as KeyboardInterrupt: a reply that comes later is not to be taken for another's
            self._renew()
            raise
        self._renew()
        return None

    def _renew(self) -> None:
        self._socket.close()
        self._socket = sockets.requester(self._context, self.rep)

    def _poll(self, seconds: float, events: int) -> bool:
        """Wait for the socket. Return False if it is not ready in time, or the connection is to be closed."""
        ready: list[tuple[Any, int]] = zmq.zmq_poll(
            [(self._socket, events), (self._waker, zmq.POLLIN)], _milliseconds(seconds)
        )
        return any(each is self._socket for each, _ in ready)


def _milliseconds(seconds: float) -> int:
    """Whole ones, upwards: a wait that ends too early is only taken up again."""
    return max(0, int(seconds * 1000) + 1)
