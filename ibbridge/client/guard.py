"""Exclusive use of ZeroMQ sockets, and their closing from any thread, signal handler or finalizer.

Two threads must not use a ZeroMQ socket at once, and no thread may close a socket that another waits at. So `close`
only sets a flag and wakes the waiting thread; the last thread to leave the sockets closes them. Nothing here blocks
without a bound, except for a lock that other threads hold for a moment. This module knows no ZeroMQ: its user passes
the function that closes the sockets.
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
"""Seconds that closing waits until other threads have left the sockets. They leave within milliseconds."""

REENTERED = (
    "this thread is using the connection already, so this call came from a signal handler or a finalizer: "
    "call only stop() or close() there, and do the rest after the loop"
)


class Waker:
    """Pair of connected sockets that wakes a thread waiting at file descriptors."""

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)  # noqa: FBT003 -- it takes no keyword
        self._there.setblocking(False)  # noqa: FBT003 -- it takes no keyword

    def fileno(self) -> int:
        """Return the file descriptor to wait at."""
        return self._here.fileno()

    def wake(self) -> None:
        """Wake the thread that waits now or next. Do nothing after `close`."""
        with suppress(OSError):  # full, so the waiting thread is woken anyway; or closed
            self._there.send(b"!")

    def drain(self) -> None:
        """Discard pending wake-ups. Do nothing after `close`."""
        with suppress(OSError):
            self._here.recv(64)

    def close(self) -> None:
        """Close both ends."""
        self._here.close()
        self._there.close()


class Guard:
    """Lock on sockets, which calls `dispose` to close them once no thread uses them any more.

    Entering raises `Closed` after `close`. Entering raises `BridgeError` in a signal handler that has interrupted a use
    by its own thread, because that thread would wait for itself.
    """

    def __init__(self, dispose: Callable[[], None]) -> None:
        self.closed = False
        self.waiter = 0
        """Id of the thread that waits at the sockets without the lock; 0 if none does."""
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
        """Take the lock. Return False if the lock is not free within `timeout` seconds (-1: no limit)."""
        me = get_ident()
        if me in (self._owner, self.waiter):
            raise BridgeError(REENTERED)
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            self._owner = me
        return taken

    def release(self) -> None:
        """Release the lock, and close the sockets if `close` was called and no other thread uses them."""
        if self._owner != get_ident():  # a signal handler raised in `wait` before the lock was taken again
            return
        self._owner = 0
        self._lock.release()
        if self.closed:
            self._finish()

    def wait(self, poll: Callable[[], object]) -> None:
        """Release the caller's lock, call `poll`, which waits at the sockets, and take the lock again."""
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

    # The methods that threading.Condition requires of a lock.

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
        """Close the sockets as soon as no thread uses them; at once, if none does. Never wait."""
        self.closed = True
        waker.wake()
        self._finish()

    def wait_closed(self, timeout: float = CLOSING) -> None:
        """Wait until the sockets are closed, for `timeout` seconds at most.

        Return at once if this thread is using the sockets itself: leaving them closes them.
        """
        if not self._disposed and get_ident() not in (self._owner, self.waiter) and self._gone.acquire(timeout=timeout):
            self._gone.release()

    def _finish(self) -> None:
        if self.waiter or self._disposed or not self._lock.acquire(blocking=False):
            return  # the thread that waits or has the lock calls this method when it leaves
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
