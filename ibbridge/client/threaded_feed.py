"""Message feed for threads: each stream without a hole or a duplicate, or with a `Gap` that names lost messages.

This module knows waiting. Two threads must never use a ZeroMQ socket at once. So one thread at a time waits at the
sockets, without the lock (`guard`), and the other threads wait for that thread. A thread that needs the sockets wakes
the waiting thread by a byte on a socket pair; the file descriptor of ZeroMQ is edge-triggered and cannot do this.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import zmq

from ibbridge.client.connection import BusConnection
from ibbridge.client.errors import BridgeError, Closed, SubscriptionRefused
from ibbridge.client.guard import Guard, Waker
from ibbridge.client.inbox import Inbox
from ibbridge.client.stream_state import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ibbridge.client.endpoints import Endpoint
    from ibbridge.client.errors import NoAnswer
    from ibbridge.client.inbox import Watch
    from ibbridge.client.message import Message
    from ibbridge.client.order_state import KnownOrder
    from ibbridge.client.request import Request

T = TypeVar("T")

_SLICE = 1.0
_USER = "user"


class Feed:
    """Subscriptions to one daemon, connected until `close`, for any thread of the process that made the feed.

    `pub`, `rep` and `prefix` are bus.pub, bus.rep and bus.prefix of the daemon's configuration. The feed requests state
    and missed messages at `rep`.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        pub: str | Endpoint,
        rep: str | Endpoint,
        *,
        prefix: str = "",
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect. `gone` is called once the sockets are closed."""
        self._connection = BusConnection(context, pub, rep, prefix=prefix)
        self.pub = self._connection.pub
        self._inbox = Inbox(self._connection.ready)
        self._waker = Waker()
        self._lock = Guard(self._dispose)  # held for a moment only, never while a thread waits
        self._turn = threading.Condition(self._lock)  # type: ignore[arg-type] # it has what a condition needs
        self._urgent = 0
        self._pid = os.getpid()
        self._gone = gone

    def close(self) -> None:
        """Disconnect, and end every wait. Any thread or signal handler may call it. Do nothing in a forked child."""
        if self.ours:
            self._lock.close(self._waker)

    def wait_closed(self) -> None:
        """Wait until the sockets are closed, for a fraction of a second at most."""
        self._lock.wait_closed()

    def _dispose(self) -> None:
        self._connection.close()
        self._waker.close()
        self._turn.notify_all()
        self._gone()

    @property
    def closed(self) -> bool:
        """Return True if `close` was called."""
        return self._lock.closed

    @property
    def ours(self) -> bool:
        """Return True if this process made the connection, False in a forked child."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise BridgeError in a forked child, Closed after `close`."""
        if os.getpid() != self._pid:
            raise BridgeError("this connection belongs to the process that made it: connect after the fork")
        if self._lock.closed:
            raise Closed

    @property
    def epoch(self) -> int | None:
        """Epoch of the daemon that was heard last; None before the first message."""
        return self._connection.follower.epoch

    def heard(self) -> int | None:
        """Process the messages that have arrived, and return the daemon's epoch after them."""
        self.check()
        with self._lock:
            if not self._lock.waiter:
                self._connection.turn(time.monotonic())
        return self.epoch

    # -- subscriptions

    @property
    def prefixes(self) -> frozenset[str]:
        """Prefixes that are subscribed to."""
        return self._connection.prefixes

    def subscribe(self, prefixes: Iterable[str], holder: str = _USER, mode: Mode = Mode.STATE) -> list[str]:
        """Subscribe to every topic that begins with one of `prefixes`, and return them as a list.

        The state of these topics comes first, then new messages.
        """
        self.check()
        with self._sockets():
            return self._connection.join(prefixes, holder, mode)

    def unsubscribe(self, prefixes: Iterable[str], holder: str | None = None) -> None:
        """Unsubscribe this holder (None: every holder) from `prefixes`. A prefix with another holder stays subscribed.

        Messages that are ready still come.
        """
        self.check()
        with self._sockets():
            self._connection.unsubscribe(prefixes, holder)

    def release(self, holder: str) -> None:
        """Unsubscribe the holder from all of its prefixes. Do nothing after `close`."""
        with suppress(Closed), self._sockets():
            self._connection.unsubscribe_all(holder)

    def begun(self, prefixes: Iterable[str], timeout: float) -> bool:
        """Wait until no message under these prefixes can be missed, and their state is ready to be received.

        Return False if that has not happened in `timeout` seconds.
        """
        self.check()
        wanted = list(prefixes)
        with self._lock:
            return bool(self._wait(lambda: self._connection.begun(wanted), time.monotonic() + timeout))

    def join(self, prefixes: Iterable[str], timeout: float, holder: str = _USER, mode: Mode = Mode.STATE) -> list[str]:
        """Subscribe, wait until messages and state arrive, and return the prefixes as a list.

        Raise NoAnswer if that takes longer than `timeout` seconds, SubscriptionRefused if the daemon does not allow it;
        the subscription is undone then.
        """
        given = self.subscribe(prefixes, holder, mode)
        try:
            begun = self.begun(given, timeout)
        except SubscriptionRefused:
            self.unsubscribe(given, holder)
            raise
        if not begun:
            error = self.silent(given, timeout)
            self.unsubscribe(given, holder)
            raise error
        return given

    def silent(self, prefixes: Iterable[str], timeout: float) -> NoAnswer:
        """Return the error for subscriptions that have not begun in `timeout` seconds, with the likely cause."""
        with self._lock:
            return self._connection.silent(prefixes, timeout)

    # -- messages

    def receive(self, timeout: float | None = None) -> Message | None:
        """Return the next message, or None if there was none for `timeout` seconds (None: no limit)."""
        self.check()
        inbox = self._inbox
        with self._lock:
            if not inbox and (self._lock.waiter or not self._connection.take() or not inbox):
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

    def wait_for_news_of_tws(self, timeout: float) -> None:
        """Wait for a message that may mean another stage of the connection to TWS, for `timeout` seconds at most.

        Messages before it are kept for later.
        """
        self.check()
        with self._lock:
            self._wait(self._inbox.skip_to_news_of_tws, time.monotonic() + timeout)

    def watch(self, request: Request) -> Watch:
        """Keep the responses to a request for this thread, even if other threads take them."""
        self.check()
        with self._lock:
            return self._inbox.watch(request, threading.get_ident())

    def unwatch(self, identifier: str) -> None:
        """End the watch for responses to the request with this id. Do nothing after `close`."""
        with suppress(Closed), self._lock:
            self._inbox.unwatch(identifier)

    def pick(self, watch: Watch, timeout: float) -> Message | None:
        """Return the next response to a request, or None if there was none for `timeout` seconds.

        Other messages are kept for later.
        """
        self.check()
        with self._lock:
            return self._wait(lambda: self._inbox.pick(watch), time.monotonic() + timeout)

    # -- orders

    def track(self, topic: str, key: str) -> KnownOrder:
        """Return what is known of the order whose states come on `topic`."""
        self.check()
        with self._lock:
            return self._inbox.track(topic, key)

    def tracked(self) -> list[KnownOrder]:
        """Return what is known of all orders that somebody holds."""
        self.check()
        with self._lock:
            return self._inbox.tracked()

    def note(self, known: KnownOrder, message: Message) -> None:
        """Note the state of an order, which has come in another way than on its stream."""
        self.check()
        with self._lock:
            known.note(message)

    def wait_for_order(self, known: KnownOrder, states: frozenset[str], timeout: float) -> bool:
        """Wait until an order is in one of these states or over. Return False if it is not in `timeout` seconds.

        All messages meanwhile are kept for later.
        """
        self.check()
        with self._lock:
            done = partial(self._inbox.set_aside_until, partial(known.reached, states))
            return bool(self._wait(done, time.monotonic() + timeout))

    # -- waiting; call these methods with the lock held

    def _wait(self, done: Callable[[], T | None], deadline: float | None) -> T | None:
        """Wait until `done` returns a true value, and return that value; None after the deadline (None: no limit)."""
        while not (found := done()):
            if self._lock.closed:
                raise Closed
            now = time.monotonic()
            if self._lock.waiter or self._urgent:
                if deadline is not None and now >= deadline:
                    return None
                self._turn.wait(_SLICE if deadline is None else min(_SLICE, deadline - now))
            elif not self._connection.turn(now):
                if found := done():
                    break
                if refusal := self._connection.refusal():
                    raise refusal
                if deadline is not None and now >= deadline:
                    return None
                self._poll(now, deadline)
        return found

    def _poll(self, now: float, deadline: float | None) -> None:
        """Wait at the sockets, without the lock, for a second at most, so that signals are noticed."""
        until = min(time for time in (now + _SLICE, deadline, self._connection.wake()) if time is not None)
        waits_for = [*self._connection.waits_for(), (self._waker, zmq.POLLIN)]
        self._lock.wait(lambda: zmq.zmq_poll(waits_for, max(0, int((until - now) * 1000) + 1)))
        self._waker.drain()
        self._turn.notify_all()

    @contextmanager
    def _sockets(self) -> Iterator[None]:
        """Use the sockets exclusively: wake the thread that waits at them, and keep it away until the end."""
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
