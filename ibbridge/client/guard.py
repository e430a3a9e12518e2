"""Exclusive use of ZeroMQ sockets, and their closing from any thread, signal handler or finalizer.

A ZeroMQ socket must not be used by two threads at once, nor be closed under whoever waits at it. So closing only sets a
flag and wakes whoever waits; the sockets are closed by whoever leaves them last. Nothing here blocks without a bound
but waiting for a lock that other threads hold for a moment. Knows no ZeroMQ: it is told how to close.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING

from ibbridge.client.errors import BridgeError, Closed

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSING = 0.4
"""Seconds for which closing waits until others have left the sockets. They leave within milliseconds."""

REENTERED = (
    "this thread is in the midst of using the connection, so this was called from a signal handler or a finalizer: "
    "call only stop() or close() there, and do the rest behind the loop"
)


class Waker:
    """A pair of connected sockets, by which a thread that waits at file descriptors is woken."""

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)  # noqa: FBT003 -- it takes no keyword
        self._there.setblocking(False)  # noqa: FBT003 -- it takes no keyword

    def fileno(self) -> int:
        """Return what to wait at."""
        return self._here.fileno()

    def wake(self) -> None:
        """Wake whoever waits, or waits next. Once closed, do nothing."""
        with suppress(OSError):  # full, so the waiting thread is woken anyway; or closed
            self._there.send(b"!")

    def drain(self) -> None:
        """Forget that there was a wake-up. Once closed, do nothing."""
        with suppress(OSError):
            self._here.recv(64)

    def close(self) -> None:
        """Close both ends."""
        self._here.close()
        self._there.close()


class Guard:
    """A lock on sockets that are closed by `dispose` once nobody uses them any more.

    Entering raises `Closed` after `close`, and `BridgeError` in a signal handler that has interrupted a use by its own
    thread, which would otherwise wait for itself.
    """

    def __init__(self, dispose: Callable[[], None]) -> None:
        self.closed = False
        self.waiter = 0
        """The thread that waits at the sockets without the lock; 0 if none does."""
        self._dispose = dispose
        self._lock = threading.Lock()
        self._owner = 0
        self._disposed = False
        self._gone = threading.Lock()  # held until the sockets are closed; events and conditions cannot be re-entered
        self._gone.acquire()

    # -- use

    def __enter__(self) -> None:
        self.acquire()
        if self.closed:
            self.release()
            raise Closed

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self, blocking: bool = True, timeout: float = -1.0) -> bool:  # noqa: FBT001, FBT002 -- as a lock's
        """Take the lock. Return False if that has not succeeded within `timeout` seconds (-1: no limit)."""
        me = get_ident()
        if me in (self._owner, self.waiter):
            raise BridgeError(REENTERED)
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            self._owner = me
        return taken

    def release(self) -> None:
        """Give the lock back, and close the sockets if that is wanted and nobody else uses them."""
        if self._owner != get_ident():  # an exception of a signal handler's came before it was taken again
            return
        self._owner = 0
        self._lock.release()
        if self.closed:
            self._finish()

    def wait(self, poll: Callable[[], object]) -> None:
        """Call `poll`, which waits at the sockets, without the lock that the caller holds."""
        me = get_ident()
        try:
            self.waiter = me
            self._lock.release()
            self._owner = 0
            poll()
        finally:
            try:
                self._lock.acquire()
                self._owner = me
            finally:
                self.waiter = 0

    # What threading.Condition asks of a lock.

    def _release_save(self) -> None:
        self._owner = 0
        self._lock.release()

    def _acquire_restore(self, _: None) -> None:
        self._lock.acquire()
        self._owner = get_ident()

    def _is_owned(self) -> bool:
        return self._lock.locked()

    # -- the end

    def close(self, waker: Waker) -> None:
        """Have the sockets closed as soon as nobody uses them; at once, if nobody does. Never wait."""
        self.closed = True
        waker.wake()
        self._finish()

    def wait_closed(self, timeout: float = CLOSING) -> None:
        """Wait until the sockets are closed, at most for `timeout` seconds.

        Return at once where this thread is in the midst of using them itself: they are closed when it leaves them.
        """
        if not self._disposed and get_ident() not in (self._owner, self.waiter) and self._gone.acquire(timeout=timeout):
            self._gone.release()

    def _finish(self) -> None:
        if self.waiter or self._disposed or not self._lock.acquire(blocking=False):
            return  # whoever waits, or has the lock, comes here when leaving
        self._owner = get_ident()
        try:
            self._close_once()
        finally:
            self._owner = 0
            self._lock.release()

    def _close_once(self) -> None:
        if not self.waiter and not self._disposed:
            self._disposed = True
            self._dispose()
            self._gone.release()
