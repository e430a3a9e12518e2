"""Messages for threads: each stream without a hole or a duplicate, or a `Gap` that names what is lost.

Knows locks and waiting. A ZeroMQ socket must never be used by two threads at once, so one thread at a time waits at the
sockets, without the lock; the others wait for it. Whoever needs the sockets for something else wakes it by a byte: that
works where ZeroMQ's own file descriptor, which is edge-triggered, does not.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import zmq

from ibbridge.client.errors import BridgeError
from ibbridge.client.inbox import Inbox
from ibbridge.client.link import Link
from ibbridge.client.tracks import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ibbridge.client.errors import NoAnswer
    from ibbridge.client.inbox import Watch
    from ibbridge.client.message import Message
    from ibbridge.client.request import Request

T = TypeVar("T")

_SLICE = 1.0
_USER = "user"


class Feed:
    """Subscriptions to one daemon, from the making to `close`; for any thread of the process that made it.

    `pub`, `rep` and `prefix` are the bus.pub, bus.rep and bus.prefix of the daemon's configuration: `rep` is where
    state and what was missed is asked for.
    """

    def __init__(self, context: zmq.Context[Any], pub: str, rep: str, *, prefix: str = "") -> None:
        self.pub = pub
        self._link = Link(context, pub, rep, prefix=prefix)
        self._inbox = Inbox(self._link.ready)
        self._turn = threading.Condition(threading.Lock())
        self._lock = self._turn  # held for a moment only, never while waiting
        self._polling = False
        self._urgent = 0
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)  # noqa: FBT003 -- it takes no keyword
        self._there.setblocking(False)  # noqa: FBT003 -- it takes no keyword
        self._pid = os.getpid()
        self._closed = False

    def close(self) -> None:
        """Disconnect. Once closed, does nothing; nor does it in a forked child, whose sockets these are not."""
        if self._closed or not self.ours:
            return
        with self._sockets():
            self._closed = True
            self._link.close()
            self._here.close()
            self._there.close()

    @property
    def ours(self) -> bool:
        """Whether this is the process that made it, and not a forked child."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """BridgeError where it cannot be used."""
        if os.getpid() != self._pid:
            raise BridgeError("this connection belongs to the process that made it: connect after the fork")
        if self._closed:
            raise BridgeError("this connection is closed")

    @property
    def epoch(self) -> int | None:
        """That of the daemon that was heard last."""
        return self._link.follower.epoch

    def heard(self) -> int | None:
        """The same, after all that has arrived."""
        self.check()
        with self._lock:
            if not self._polling:
                self._link.turn(time.monotonic())
        return self.epoch

    # -- subscriptions

    @property
    def prefixes(self) -> frozenset[str]:
        """What is subscribed to."""
        return self._link.prefixes

    def subscribe(self, prefixes: Iterable[str], holder: str = _USER, mode: Mode = Mode.STATE) -> list[str]:
        """Ask for everything whose topic begins with one of `prefixes`: its state first, then what comes."""
        self.check()
        with self._sockets():
            return self._link.join(prefixes, holder, mode)

    def unsubscribe(self, prefixes: Iterable[str], holder: str | None = None) -> None:
        """No longer ask for these, unless another than this holder does; what is ready still comes."""
        self.check()
        with self._sockets():
            self._link.leave(prefixes, holder)

    def release(self, holder: str) -> None:
        """The holder no longer asks for anything."""
        self.check()
        with self._sockets():
            self._link.leave_all(holder)

    def begun(self, prefixes: Iterable[str], timeout: float) -> bool:
        """Wait until nothing under these can be missed any more, and their state is there to be received."""
        self.check()
        wanted = list(prefixes)
        with self._lock:
            return bool(self._wait(lambda: self._link.begun(wanted), time.monotonic() + timeout))

    def join(
        self, prefixes: Iterable[str], timeout: float, holder: str = _USER, mode: Mode = Mode.STATE
    ) -> list[str]:
        """Subscribe and wait until it has begun. NoAnswer if the daemon is silent."""
        given = self.subscribe(prefixes, holder, mode)
        if not self.begun(given, timeout):
            error = self.silent(given, timeout)
            self.unsubscribe(given, holder)
            raise error
        return given

    def silent(self, prefixes: Iterable[str], timeout: float) -> NoAnswer:
        """What is wrong where these have not begun in time."""
        with self._lock:
            return self._link.silent(prefixes, timeout)

    # -- messages

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, or None if there was none for `timeout` seconds (None: wait for ever)."""
        self.check()
        inbox = self._inbox
        with self._lock:
            if not inbox and (self._polling or not self._link.take() or not inbox):
                deadline = None if timeout is None else time.monotonic() + timeout
                if not self._wait(lambda: inbox, deadline):
                    return None
            return inbox.next(threading.get_ident())

    def put_back(self, messages: list[Message]) -> None:
        """Have `receive` give these first, in their order."""
        self.check()
        with self._lock:
            self._inbox.put_back(messages)

    def watch(self, request: Request) -> Watch:
        """See to it that this thread gets the answers to a request, whichever takes them."""
        self.check()
        with self._lock:
            return self._inbox.watch(request, threading.get_ident())

    def unwatch(self, identifier: str) -> None:
        """No more answers to the request with this id are wanted."""
        self.check()
        with self._lock:
            self._inbox.unwatch(identifier)

    def pick(self, watch: Watch, timeout: float) -> Message | None:
        """The next answer to a request, or None if there was none for `timeout` seconds. Other messages keep."""
        self.check()
        me = threading.get_ident()
        with self._lock:
            return self._wait(lambda: self._inbox.pick(watch, me), time.monotonic() + timeout)

    # -- waiting; all of this with the lock

    def _wait(self, done: Callable[[], T | None], deadline: float | None) -> T | None:
        """Wait until there is something, and say what; None past the deadline."""
        while not (found := done()):
            if self._closed:
                raise BridgeError("this connection is closed")
            now = time.monotonic()
            if self._polling or self._urgent:
                if deadline is not None and now >= deadline:
                    return None
                self._turn.wait(_SLICE if deadline is None else min(_SLICE, deadline - now))
            elif not self._link.turn(now):
                if found := done():
                    break
                if deadline is not None and now >= deadline:
                    return None
                self._poll(now, deadline)
        return found

    def _poll(self, now: float, deadline: float | None) -> None:
        """Wait at the sockets, without the lock; but not for long, so that signals are noticed."""
        until = min(each for each in (now + _SLICE, deadline, self._link.wake()) if each is not None)
        waits_for = [*self._link.waits_for(), (self._here.fileno(), zmq.POLLIN)]
        self._polling = True
        self._turn.release()
        try:
            zmq.zmq_poll(waits_for, max(0, int((until - now) * 1000) + 1))
        finally:
            self._turn.acquire()
            self._polling = False
            with suppress(BlockingIOError):
                self._here.recv(64)
            self._turn.notify_all()

    @contextmanager
    def _sockets(self) -> Iterator[None]:
        """Have the sockets for oneself, at once: whoever waits at them is woken, and waits."""
        with self._lock:
            self._urgent += 1
            try:
                while self._polling:
                    with suppress(BlockingIOError):
                        self._there.send(b"!")
                    self._turn.wait()
                yield
            finally:
                self._urgent -= 1
                self._turn.notify_all()
