"""ZeroMQ sockets in an asyncio event loop: the message feed and the command socket of the asyncio client.

A file descriptor of ZeroMQ only says that the socket's state may have changed. So each wake-up does all the work that
is possible without waiting (`turn`), in bounded pieces, and never blocks the loop. This module must not know what a
request is.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, TypeVar

import zmq

from ibbridge.client import commands, sockets
from ibbridge.client.connection import BusConnection
from ibbridge.client.endpoints import Endpoint
from ibbridge.client.errors import AuthError, BridgeError, Closed
from ibbridge.client.inbox import Inbox
from ibbridge.client.lifeline import Lifeline
from ibbridge.client.stream_state import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibbridge.client.commands import Command, Reply
    from ibbridge.client.message import Message

T = TypeVar("T")

MOST = 100_000
"""Limit of messages kept here for a busy strategy. Beyond this limit messages stay in ZeroMQ, which keeps as many."""

_PIECE = 100
USER = "user"
"""Holder name of the subscriptions that the strategy made itself."""


class Waiters:
    """Base class of objects with ZeroMQ sockets in an event loop: tasks `wait`, and `news` wakes them."""

    def __init__(self) -> None:
        self.open = True
        self.loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[None]] = set()
        self._pid = os.getpid()

    @property
    def ours(self) -> bool:
        """Return True if this process made the connection, False in a forked child."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise BridgeError in a forked child, Closed after `close`."""
        if not self.ours:
            raise BridgeError("this connection belongs to the process that made it: connect after the fork")
        if not self.open:
            raise Closed

    def foreign(self) -> bool:
        """Return True if another thread runs the loop now, so that the caller must schedule its work there."""
        try:
            return self.loop.is_running() and asyncio.get_running_loop() is not self.loop
        except RuntimeError:
            return self.loop.is_running()

    def watch(self, socket: zmq.Socket[bytes], changed: Callable[[], None]) -> None:
        """Have the loop call `changed` whenever the state of the socket may have changed."""
        self.loop.add_reader(socket, changed)

    def unwatch(self, socket: zmq.Socket[bytes]) -> None:
        """Stop the calls that `watch` began. Do nothing for a closed loop, which would refuse."""
        if not self.loop.is_closed():
            self.loop.remove_reader(socket)

    def after(self, seconds: float) -> float:
        """Return the time of the loop's clock `seconds` from now."""
        return self.loop.time() + seconds

    def refusal(self) -> AuthError | None:
        """Return the error if the daemon has refused a socket lately; None if it has not."""
        raise NotImplementedError

    def turn(self, *, wanted: bool = False) -> None:
        """Do all work that is possible without waiting. `wanted`: a task is about to wait for the outcome."""
        raise NotImplementedError

    def news(self) -> None:
        """Wake every waiting task to check its condition again. Do nothing if the loop is closed."""
        for waiter in () if self.loop.is_closed() else self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, done: Callable[[], T | None], end: float | None) -> T | None:
        """Wait until `done` returns a true value, and return that value; None after `end` on the loop's clock."""
        self.check()
        if found := done():
            return found
        self.turn(wanted=True)
        while not (found := done()):
            if refusal := self.refusal():
                raise refusal
            if end is not None and self.loop.time() >= end:
                return None
            await self._changed(end)
            self.check()
        return found

    async def _changed(self, end: float | None) -> None:
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=None if end is None else max(0.0, end - self.loop.time()))
        finally:
            self._waiters.discard(waiter)


class AsyncioFeed(Waiters):
    """Message feed for tasks: the connection to one daemon, and the inbox that tasks take messages from."""

    def __init__(self, context: zmq.Context[Any], pub: str | Endpoint, rep: str | Endpoint, *, prefix: str) -> None:
        super().__init__()
        self.connection = BusConnection(context, pub, rep, prefix=prefix)
        self.inbox = Inbox(self.connection.ready)
        self._timer: asyncio.TimerHandle | None = None
        self._given = 0
        for socket in self._sockets():
            self.watch(socket, self._look)
        self._look()

    def close(self) -> None:
        """Disconnect. Do nothing if the feed is closed already."""
        if self.open:
            self.open = False
            for socket in self._sockets():
                self.unwatch(socket)
            if self._timer is not None:
                self._timer.cancel()
            self.connection.close()
            self.news()

    def subscribe(self, prefixes: Iterable[str], holder: str = USER, mode: Mode = Mode.STATE) -> list[str]:
        """Subscribe to every topic that begins with one of `prefixes`, and return them as a list.

        The state of these topics comes first, then new messages.
        """
        self.check()
        given = self.connection.join(prefixes, holder, mode)
        self._look()
        return given

    def unsubscribe(self, prefixes: Iterable[str], holder: str | None = None) -> None:
        """Unsubscribe this holder (None: every holder) from `prefixes`. A prefix with another holder stays subscribed.

        Messages that are ready still come.
        """
        self.check()
        self.connection.unsubscribe(prefixes, holder)
        self._look()

    def release(self, holder: str) -> None:
        """Unsubscribe the holder from all of its prefixes."""
        self.check()
        self.connection.unsubscribe_all(holder)
        self._look()

    async def receive_until_closed(self, end: float | None) -> Message | None:
        """Return the next message, or None if none came until loop time `end`, or the connection was closed."""
        try:
            return await self.receive(end)
        except Closed:
            return None

    async def receive(self, end: float | None) -> Message | None:
        """Return the next message, or None if none came until loop time `end` (None: no limit).

        Every 100th call lets other tasks run, so that a task with many messages ready does not block the loop.
        """
        self.check()
        self._given += 1
        if not self._given % _PIECE:
            await asyncio.sleep(0)
        me = asyncio.current_task()
        return await self.wait(lambda: self.inbox.next(me) if self.inbox else None, end)

    def _look(self) -> None:
        """Handle a state change of a socket. Reading its events resets the socket's file descriptor."""
        if not self.open or not self.ours:
            return
        self.connection.sub.get(zmq.EVENTS)
        self.connection.req.get(zmq.EVENTS)
        for admission in self.connection.admissions:
            admission.note()
        self.turn()

    def _sockets(self) -> list[zmq.Socket[bytes]]:
        return [self.connection.sub, self.connection.req, *(each.monitor for each in self.connection.admissions)]

    def refusal(self) -> AuthError | None:
        """Return the error if the daemon has refused a socket lately; None if it has not."""
        return self.connection.refusal()

    def turn(self, *, wanted: bool = False) -> None:
        """Take messages that have arrived, unless `MOST` messages are ready and no task waits."""
        if len(self.connection.ready) >= MOST and not (wanted or self._waiters):
            return
        now = time.monotonic()
        more = self.connection.turn(now)
        if self._timer is not None:
            self._timer.cancel()
        wake = now if more else self.connection.wake()
        self._timer = None if wake is None else self.loop.call_later(max(0.0, wake - now), self._look)
        self.news()


class AsyncioCommands(Waiters):
    """Command socket of one client for tasks, which send one command at a time."""

    def __init__(self, context: zmq.Context[Any], rep: str | Endpoint) -> None:
        super().__init__()
        self._endpoint = Endpoint.of(rep)
        self.rep = self._endpoint.address
        self._context = context
        self._lock = asyncio.Lock()
        self._open_socket()

    def lifeline(self, client: str, said: dict[str, Any]) -> Lifeline:
        """Return a lifeline to the same daemon, not started yet. `said` are the arguments of its hello."""
        return Lifeline(self._endpoint, client, said)

    def _open_socket(self) -> None:
        self._socket, self._admission = sockets.requester(self._context, self._endpoint)
        self.watch(self._socket, self.turn)
        self.watch(self._admission.monitor, self.turn)

    def close(self) -> None:
        """Disconnect. A command that was not delivered yet is dropped."""
        if self.open:
            self.open = False
            self._close_socket()
            self.news()

    def _close_socket(self) -> None:
        self.unwatch(self._socket)
        self.unwatch(self._admission.monitor)
        self._admission.close()
        self._socket.close()

    def turn(self, *, wanted: bool = False) -> None:
        """Wake the waiting tasks to try their send or receive again."""
        if self.open and self.ours:
            self._socket.get(zmq.EVENTS)
            self._admission.note()
            self.news()

    def refusal(self) -> AuthError | None:
        """Return the error if the daemon has refused the socket lately; None if it has not."""
        return self._admission.refusal()

    async def call(self, command: Command, timeout: float) -> Reply:  # noqa: ASYNC109 -- as the other client's
        """Send a command and return its reply.

        Raise AuthError if the daemon does not admit this program, CommandError if it refuses, NoAnswer if there is no
        reply in `timeout` seconds, or the connection is closed before the reply.
        """
        end, packed = self.after(timeout), None
        try:
            async with asyncio.timeout_at(end):
                await self._lock.acquire()
        except TimeoutError:
            raise command.unanswered(self.rep, timeout) from None
        try:
            while packed is None and self.loop.time() < end:
                if not await self.wait(lambda: self._sent(command), end):
                    break
                packed = await self.wait(self._reply, min(end, self.after(commands.RETRY)))
        except Closed:
            raise command.cut_off() from None
        except AuthError as error:
            error.outcome = "unknown" if command.sent else "not_sent"
            raise
        finally:
            if packed is None and self.open and self.ours:  # a late reply must not count for the next command
                self._close_socket()
                self._open_socket()
            self._lock.release()
        if packed is None:
            raise command.unanswered(self.rep, timeout)
        return command.reply(packed[0], self.rep)

    def _sent(self, command: Command) -> bool:
        try:
            self._socket.send(command.packed, zmq.NOBLOCK)
        except zmq.Again:
            return False
        command.sent += 1
        return True

    def _reply(self) -> tuple[bytes] | None:
        try:
            return (self._socket.recv(zmq.NOBLOCK),)
        except zmq.Again:
            return None
