"""A thread that measures the peers of the bus, and disconnects peers that use too much memory.

The work needs a thread of its own, because libzmq processes a socket's input in the thread that uses the socket: one
call processes a flood of subscriptions for as long as the flood lasts. The module knows the memory of the process and
the clock.
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import TYPE_CHECKING

from ibbridge.security import process_limits
from ibbridge.security.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ibbridge.security.peers import Peers, Published

_LOOK_EVERY = 50  # milliseconds between two looks at the process's memory
_MEASURE_EVERY = 1.0  # seconds between two measurements of all peers, if there are more than `_FEW`
_FEW = 50  # peers that are measured at each look, which takes 8 µs per peer
_GROWN = 16 * 2**20  # bytes by which the process may grow before all peers are measured, however many there are
_TRIMS = 15  # times to return a disconnected peer's memory to the system, a second apart: libzmq frees it gradually


class PeerWatch:
    """Watch over the peers of several sockets, from `start` to `stop`. `published` returns the totals so far."""

    def __init__(self, watched: Sequence[Peers], published: Callable[[], Published]) -> None:
        self._watched = watched
        self._published = published
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._run, name="peers", daemon=True)
        self._over = False
        self._used = 0  # the least bytes of memory in use within the last second
        self._since = 0.0  # the start of that second
        self._measured = 0.0  # the time of the last measurement of all peers
        self._ended = 0  # the number of disconnected peers at that time
        self._trims = 0
        self.pulse = Pulse("measures peers")

    @property
    def alive(self) -> bool:
        """True while peers are watched."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait for its end. A second call does nothing."""
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
            self.pulse.beat()
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
        """Measure all peers. Report the growth of the process to them if it is more than honest peers cause."""
        grown = used - self._used
        for peers in self._watched:
            peers.measure(self._published(), grown if grown > _GROWN else 0, now - self._measured)
        self._measured = now
        if grown > _GROWN:
            self._used, self._since = used, now
        ended = sum(peers.ended for peers in self._watched)
        if ended != self._ended:
            self._ended, self._trims = ended, _TRIMS
