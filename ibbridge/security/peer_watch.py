"""A thread that measures the peers of the bus, and disconnects who costs too much.

A thread of its own, because libzmq's work for a socket is done by whoever uses that: a flood of subscriptions is taken
in within one call, for as long as the flood lasts. Knows the process's memory and the clock.
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import TYPE_CHECKING

from ibbridge.security import process_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ibbridge.security.peers import Peers, Published

_LOOK_EVERY = 50  # milliseconds between two looks at the process's memory
_MEASURE_EVERY = 1.0  # seconds between two measures of all peers, where they are many
_FEW = 50  # peers that are measured at each look: that takes 8 µs for each
_GROWN = 16 * 2**20  # bytes by which the process may grow before all are measured, however many they are
_TRIMS = 15  # times, a second apart, that what a disconnected peer had is given back: it is freed little by little


class PeerWatch:
    """Watches the peers of several sockets, from `start` to `stop`; `published` says how much has been published."""

    def __init__(self, watched: Sequence[Peers], published: Callable[[], Published]) -> None:
        self._watched = watched
        self._published = published
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._run, name="peers", daemon=True)
        self._over = False
        self._used = 0  # bytes of memory, a second ago at most
        self._since = 0.0  # when that was
        self._measured = 0.0  # when all peers were measured
        self._ended = 0  # peers that had been disconnected then
        self._trims = 0

    @property
    def alive(self) -> bool:
        """True while peers are watched."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; the thread has ended then. Once stopped, does nothing."""
        if self._over:
            return
        self._over = True
        os.write(self._stopped, b".")
        self._thread.join()
        os.close(self._stop)
        os.close(self._stopped)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        for peers in self._watched:
            if peers.monitor is not None:
                poll.register(peers.monitor.FD, select.POLLIN)
        self._used, self._measured = process_limits.memory_in_use(), time.monotonic()
        while self._stop not in dict(poll.poll(_LOOK_EVERY)):
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        for peers in self._watched:
            peers.update()
        used = process_limits.memory_in_use()
        few = sum(map(len, self._watched)) <= _FEW
        if few or used - self._used > _GROWN or now - self._measured >= _MEASURE_EVERY:
            self._measure(used, now)
        self._used = min(used, self._used)
        if now - self._since >= _MEASURE_EVERY:
            self._used, self._since = used, now
            if self._trims:
                self._trims -= 1
                process_limits.return_memory()

    def _measure(self, used: int, now: float) -> None:
        """Measure all peers. By how much the process has grown is told when that is more than honest peers cause."""
        grown = used - self._used
        for peers in self._watched:
            peers.measure(self._published(), grown if grown > _GROWN else 0, now - self._measured)
        self._measured = now
        if grown > _GROWN:
            self._used, self._since = used, now
        ended = sum(peers.ended for peers in self._watched)
        if ended != self._ended:
            self._ended, self._trims = ended, _TRIMS
