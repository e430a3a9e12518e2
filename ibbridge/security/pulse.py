"""The pulse of a thread: it beats whenever the thread comes round, and shows another thread if it stands still."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 10.0
"""Seconds between two beats of a thread that lives: ten times what a busy machine has been seen to cause."""

ROUND = 1.0
"""Seconds after which a thread with a pulse comes round although nothing has happened."""


class Pulse:
    """Pulse of the thread that does `work`, which is a clause for people."""

    def __init__(self, work: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """Note that the thread has come round."""
        self._last = self._clock()

    def standstill(self) -> str:
        """Return a sentence if the thread has not come round for too long; "" if it has."""
        silent = self._clock() - self._last
        return f"the thread that {self._work} has stood still for {silent:.0f} s" if silent > LONGEST else ""
