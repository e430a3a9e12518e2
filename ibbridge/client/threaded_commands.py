"""Command socket for threads: one command at a time, each of which ends in a reply, a refusal or a timeout.

This module knows locks and waiting. `commands` knows commands, replies and the meaning of a retry.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import zmq

from ibbridge.client import commands, sockets
from ibbridge.client.endpoints import Endpoint
from ibbridge.client.errors import AuthError, Closed
from ibbridge.client.guard import Guard, Waker
from ibbridge.client.lifeline import Lifeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.client.commands import Command, Reply


class ThreadedCommands:
    """Command socket of one client, connected until `close`. Any thread may call it; one command is sent at a time.

    `gone` is called once the socket is closed.
    """

    def __init__(self, context: zmq.Context[Any], rep: str | Endpoint, gone: Callable[[], None] = lambda: None) -> None:
        self._endpoint = Endpoint.of(rep)
        self.rep = self._endpoint.address
        self._context = context
        self._socket, self._admission = sockets.requester(context, self._endpoint)
        self._waker = Waker()
        self._guard = Guard(self._dispose)
        self._gone = gone
        self._lifeline: Lifeline | None = None

    def begin_lifeline(self, client: str, said: dict[str, Any]) -> None:
        """Tell the daemon from now on that the client is there; `said` are the arguments of its hello."""
        self._lifeline = Lifeline(self._endpoint, client, said)
        self._lifeline.start()

    def end_lifeline(self, *, logout: bool) -> None:
        """Tell the daemon no longer that the client is there, with a logout or without a word."""
        if self._lifeline is not None:
            self._lifeline.stop(logout=logout)

    def close(self) -> None:
        """Disconnect. Calls that wait for a reply raise NoAnswer; a command that was not delivered yet is dropped."""
        self._guard.close(self._waker)

    def wait_closed(self) -> None:
        """Wait until the socket is closed, for a fraction of a second at most."""
        self._guard.wait_closed()

    def _dispose(self) -> None:
        self._admission.close()
        self._socket.close()
        self._waker.close()
        self._gone()

    def call(self, command: Command, timeout: float) -> Reply:
        """Send a command and return its reply.

        Raise AuthError if the daemon does not admit this program, CommandError if it refuses, NoAnswer if there is no
        reply in `timeout` seconds, or another thread closes the connection before the reply.
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
        except AuthError as error:
            error.outcome = "unknown" if command.sent else "not_sent"
            self._renew()
            raise
        except BaseException:  # KeyboardInterrupt, too: a late reply must not be taken for the next command's reply
            self._renew()
            raise
        self._renew()
        return None

    def _renew(self) -> None:
        self._admission.close()
        self._socket.close()
        self._socket, self._admission = sockets.requester(self._context, self._endpoint)

    def _poll(self, seconds: float, events: int) -> bool:
        """Wait for the socket. Return False if the socket is not ready in time, or `close` was called."""
        deadline = time.monotonic() + seconds
        monitor = self._admission.monitor
        while True:
            watched: list[tuple[Any, int]] = [(self._socket, events), (self._waker, zmq.POLLIN), (monitor, zmq.POLLIN)]
            ready = [each for each, _ in zmq.zmq_poll(watched, _milliseconds(deadline - time.monotonic()))]
            if refusal := self._admission.refusal():
                raise refusal
            if ready != [monitor]:
                return self._socket in ready


def _milliseconds(seconds: float) -> int:
    """Return whole milliseconds, rounded up, so that a wait does not end too early and start again."""
    return max(0, int(seconds * 1000) + 1)
