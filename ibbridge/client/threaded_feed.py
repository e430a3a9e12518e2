"""Messages for threads: each stream without a hole or a duplicate, or a `Gap` that names what is lost.

Knows waiting. A ZeroMQ socket must never be used by two threads at once, so one thread at a time waits at the sockets,
without the lock (`guard`); the others wait for it. Whoever needs the sockets for something else wakes it by a byte:
that works where ZeroMQ's own file descriptor, which is edge-triggered, does not.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import zmq

from ibbridge.client.connection import Link
from ibbridge.client.errors import BridgeError, Closed
from ibbridge.client.guard import Guard, Waker
from ibbridge.client.inbox import Inbox
from ibbridge.client.stream_state import Mode

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

    def __init__(
        self,
        context: zmq.Context[Any],
        pub: str,
        rep: str,
        *,
        prefix: str = "",
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect. `gone` is called once the sockets are closed."""
        self.pub = pub
        self._link = Link(context, pub, rep, prefix=prefix)
        self._inbox = Inbox(self._link.ready)
        self._waker = Waker()
        self._lock = Guard(self._dispose)  # held for a moment only, never while waiting
        self._turn = threading.Condition(self._lock)  # type: ignore[arg-type] # it has what a condition needs
        self._urgent = 0
        self._pid = os.getpid()
        self._gone = gone

    def close(self) -> None:
        """Disconnect. May be called anywhere, and ends whoever waits; but not in a forked child: see `ours`."""
        if self.ours:
            self._lock.close(self._waker)

    def wait_closed(self) -> None:
        """Wait until nobody uses the sockets any more; not for long."""
        self._lock.wait_closed()

    def _dispose(self) -> None:
        self._link.close()
        self._waker.close()
        self._turn.notify_all()
        self._gone()

    @property
    def closed(self) -> bool:
        """Return True if `close` was called."""
        return self._lock.closed

    @property
    def ours(self) -> bool:
        """Whether this is the process that made it, and not a forked child."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """BridgeError where it cannot be used."""
        if os.getpid() != self._pid:
            raise BridgeError("this connection belongs to the process that made it: connect after the fork")
        if self._lock.closed:
            raise Closed

    @property
    def epoch(self) -> int | None:
        """That of the daemon that was heard last."""
        return self._link.follower.epoch

    def heard(self) -> int | None:
        """The same, after all that has arrived."""
        self.check()
        with self._lock:
            if not self._lock.waiter:
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
        """The holder no longer asks for anything. Once closed, does nothing."""
        with suppress(Closed), self._sockets():
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
            if not inbox and (self._lock.waiter or not self._link.take() or not inbox):
                deadline = None if timeout is None else time.monotonic() + timeout
                if not self._wait(lambda: inbox, deadline):
                    return None
            return inbox.next(threading.get_ident())

    def receive_until_closed(self, timeout: float | None = None) -> Message | None:
        """Return the next message, or None if there was none for `timeout` seconds, or the connection was closed."""
        try:
            return self.receive(timeout)
        except Closed:
            return None

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
        """No more answers to the request with this id are wanted. Once closed, does nothing."""
        with suppress(Closed), self._lock:
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
            if self._lock.closed:
                raise Closed
            now = time.monotonic()
            if self._lock.waiter or self._urgent:
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
        waits_for = [*self._link.waits_for(), (self._waker, zmq.POLLIN)]
        self._lock.wait(lambda: zmq.zmq_poll(waits_for, max(0, int((until - now) * 1000) + 1)))
        self._waker.drain()
        self._turn.notify_all()

    @contextmanager
    def _sockets(self) -> Iterator[None]:
        """Have the sockets for oneself, at once: whoever waits at them is woken, and waits."""
        with self._lock:
            self._urgent += 1
            try:
                while self._lock.waiter:
                    self._waker.wake()
                    self._turn.wait()
                if self._lock.closed:
                    raise Closed
                yield
            finally:
                self._urgent -= 1
                self._turn.notify_all()
