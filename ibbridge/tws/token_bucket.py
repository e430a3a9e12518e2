"""How many messages may leave for TWS: a token bucket, part of which is kept for what is urgent.

TWS counts the messages of any second. What the bucket holds when it is full and what flows into it in one second are
together the `rate`, so no window of one second ever has more, whatever happened before. Pure: told the time, in seconds
of a clock that only goes forward. Knows nothing of messages but how urgent they are.
"""

from __future__ import annotations

from ibbridge.codec.schema import Pace

SLOWED = 60.0
"""Seconds at half the rate after TWS has complained."""

_ROUNDING = 1e-9


class Budget:
    """A bucket that is full at first. The last of it is for cancels only, and a little more for cancels and orders."""

    def __init__(self, rate: int) -> None:
        self._whole = rate
        self._slow_until: float | None = None
        self._empty_at = float("-inf")  # when the bucket would have been empty, had it filled up since to where it is
        self._set(rate)

    def _set(self, rate: int) -> None:
        self.rate = rate
        self._most = max(1, rate // 9)
        self._each = 1 / max(1, rate - self._most)
        for_orders = self._most * 3 // 5
        self._kept = {Pace.CANCEL: 0, Pace.ORDER: self._most // 5, Pace.NORMAL: for_orders, Pace.HISTORY: for_orders}

    def advance(self, now: float) -> None:
        """It is `now`: what flows into a full bucket is lost."""
        if self._slow_until is not None and now >= self._slow_until:
            self._slow_until = None
            self._change(self._whole, now)
        self._empty_at = max(self._empty_at, now - self._most * self._each)

    def _change(self, rate: int, now: float) -> None:
        """Go over to another rate with what there is."""
        there = (now - self._empty_at) / self._each
        self._set(rate)
        self._empty_at = now - min(there, self._most) * self._each

    def when(self, pace: Pace, ahead: int = 0, *, overdue: bool = False) -> float:
        """Return when a message of that pace may leave, if so many others leave before it.

        One that is `overdue` may take what is kept for the more urgent.
        """
        kept = 0 if overdue else self._kept[pace]
        return self._empty_at + (kept + 1 + ahead) * self._each

    def allows(self, pace: Pace, now: float, *, overdue: bool = False) -> bool:
        """Return True if a message of that pace may leave."""
        return now >= self.when(pace, overdue=overdue) - _ROUNDING

    def spend(self) -> None:
        """A message leaves."""
        self._empty_at += self._each

    def slow(self, now: float) -> None:
        """TWS has complained: half the rate for a while, counted from the last complaint."""
        self.advance(now)
        if self._slow_until is None:
            self._change(max(2, self._whole // 2), now)
        self._slow_until = now + SLOWED

    def slowed(self, now: float) -> float:
        """For how many seconds more the rate is halved."""
        return max(0.0, (self._slow_until or now) - now)
