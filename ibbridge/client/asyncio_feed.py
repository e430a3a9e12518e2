"""ZeroMQ's sockets in an event loop: the feed and the caller behind the client for asyncio.

ZeroMQ's file descriptors only say that something may have changed, so whatever wakes the loop, all there is to do
without waiting is done (`turn`), in bounded pieces: the loop is never blocked. Must not know what a request is.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, TypeVar

import zmq

from ibbridge.client import commands, sockets
from ibbridge.client.connection import Link
from ibbridge.client.errors import BridgeError, Closed
from ibbridge.client.inbox import Inbox
from ibbridge.client.stream_state import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibbridge.client.commands import Command, Reply
    from ibbridge.client.message import Message

T = TypeVar("T")

MOST = 100_000
"""Messages kept for a strategy that is busy, after which no more are taken from ZeroMQ, which keeps as many again."""

_PIECE = 100
USER = "user"
"""Who holds what the strategy has subscribed to itself."""


class Waiting:
    """Sockets of ZeroMQ's in an event loop: `news` for whoever waits."""

    def __init__(self) -> None:
        self.open = True
        self.loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[None]] = set()
        self._pid = os.getpid()

    @property
    def ours(self) -> bool:
        """Whether this is the process that made it, and not a forked child."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """BridgeError where it cannot be used."""
        if not self.ours:
            raise BridgeError("this connection belongs to the process that made it: connect after the fork")
        if not self.open:
            raise Closed

    def foreign(self) -> bool:
        """Return True if another thread runs the loop now: then it must be asked to do what is to be done."""
        try:
            return self.loop.is_running() and asyncio.get_running_loop() is not self.loop
        except RuntimeError:
            return self.loop.is_running()

    def watch(self, each: zmq.Socket[bytes], changed: Callable[[], None]) -> None:
        """Have `changed` called when the socket may have something."""
        self.loop.add_reader(each, changed)

    def unwatch(self, each: zmq.Socket[bytes]) -> None:
        """Have nothing called any more. A loop that was closed calls nothing anyway, and refuses."""
        if not self.loop.is_closed():
            self.loop.remove_reader(each)

    def after(self, seconds: float) -> float:
        """The loop's time, so many seconds from now."""
        return self.loop.time() + seconds

    def turn(self, *, wanted: bool = False) -> None:
        """Do all that can be done without waiting; `wanted`: somebody is about to wait for what comes of it."""
        raise NotImplementedError

    def news(self) -> None:
        """Have everybody look whether what they wait for is there; in a loop that was closed, nobody can."""
        for waiter in () if self.loop.is_closed() else self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, done: Callable[[], T | None], end: float | None) -> T | None:
        """Wait until there is something, and say what; None past the end."""
        self.check()
        if found := done():
            return found
        self.turn(wanted=True)
        while not (found := done()):
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


class LoopFeed(Waiting):
    """Messages for tasks."""

    def __init__(self, context: zmq.Context[Any], pub: str, rep: str, *, prefix: str) -> None:
        super().__init__()
        self.link = Link(context, pub, rep, prefix=prefix)
        self.inbox = Inbox(self.link.ready)
        self._timer: asyncio.TimerHandle | None = None
        self._given = 0
        for each in (self.link.sub, self.link.req):
            self.watch(each, self._look)
        self._look()

    def close(self) -> None:
        """Disconnect. Once closed, does nothing."""
        if self.open:
            self.open = False
            for each in (self.link.sub, self.link.req):
                self.unwatch(each)
            if self._timer is not None:
                self._timer.cancel()
            self.link.close()
            self.news()

    def subscribe(self, prefixes: Iterable[str], holder: str = USER, mode: Mode = Mode.STATE) -> list[str]:
        """Ask for everything whose topic begins with one of `prefixes`: its state first, then what comes."""
        self.check()
        given = self.link.join(prefixes, holder, mode)
        self._look()
        return given

    def unsubscribe(self, prefixes: Iterable[str], holder: str | None = None) -> None:
        """No longer ask for these, unless another than this holder does; what is ready still comes."""
        self.check()
        self.link.leave(prefixes, holder)
        self._look()

    def release(self, holder: str) -> None:
        """The holder no longer asks for anything."""
        self.check()
        self.link.leave_all(holder)
        self._look()

    async def receive_until_closed(self, end: float | None) -> Message | None:
        """Return the next message; None if none came until then, or the connection was closed."""
        try:
            return await self.receive(end)
        except Closed:
            return None

    async def receive(self, end: float | None) -> Message | None:
        """The next message; None if none came until then. Whoever takes many at once lets others have their turn."""
        self.check()
        self._given += 1
        if not self._given % _PIECE:
            await asyncio.sleep(0)
        me = asyncio.current_task()
        return await self.wait(lambda: self.inbox.next(me) if self.inbox else None, end)

    def _look(self) -> None:
        """Something may have changed. Asking for the events is what makes the descriptors quiet."""
        if not self.open or not self.ours:
            return
        self.link.sub.get(zmq.EVENTS)
        self.link.req.get(zmq.EVENTS)
        self.turn()

    def turn(self, *, wanted: bool = False) -> None:
        """Take what has arrived, unless there is too much already and nobody waits for anything."""
        if len(self.link.ready) >= MOST and not (wanted or self._waiters):
            return
        now = time.monotonic()
        more = self.link.turn(now)
        if self._timer is not None:
            self._timer.cancel()
        wake = now if more else self.link.wake()
        self._timer = None if wake is None else self.loop.call_later(max(0.0, wake - now), self._look)
        self.news()


class LoopCaller(Waiting):
    """The command socket of one client; tasks take turns."""

    def __init__(self, context: zmq.Context[Any], rep: str) -> None:
        super().__init__()
        self.rep = rep
        self._context = context
        self._lock = asyncio.Lock()
        self._open_socket()

    def _open_socket(self) -> None:
        self._socket = sockets.requester(self._context, self.rep)
        self.watch(self._socket, self.turn)

    def close(self) -> None:
        """Disconnect. What was not delivered never will be."""
        if self.open:
            self.open = False
            self._close_socket()
            self.news()

    def _close_socket(self) -> None:
        self.unwatch(self._socket)
        self._socket.close()

    def turn(self, *, wanted: bool = False) -> None:
        """Have whoever waits try again."""
        if self.open and self.ours:
            self._socket.get(zmq.EVENTS)
            self.news()

    async def call(self, command: Command, timeout: float) -> Reply:  # noqa: ASYNC109 -- as the other client's
        """Send a command and wait for its reply."""
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
        finally:
            if packed is None and self.open and self.ours:  # a reply that comes later is not to be taken for another's
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
