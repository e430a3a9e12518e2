"""A token bucket for the messages to TWS, with tokens kept for urgent messages.

TWS counts the messages of any second. The tokens of a full bucket and the tokens that flow in during one second add up
to the `rate`, so no window of one second ever has more messages. Pure: the caller gives the time, in seconds of a
monotonic clock. The module knows of a message only its urgency.
"""

from __future__ import annotations

from ibbridge.codec.schema import Pace

SLOWED = 60.0
"""Seconds at half the rate after TWS has reported too many messages (100)."""

_ROUNDING = 1e-9


class TokenBucket:
    """Token bucket, full at first. The last tokens are kept for cancels, the ones before for cancels and orders.

    `rate` is the most messages in a second, `interval` the seconds between two messages when the bucket is empty.
    """

    def __init__(self, rate: int) -> None:
        self._whole = rate
        self._slow_until: float | None = None
        self._empty_at = float("-inf")  # when the bucket would have been empty, had it filled up since to where it is
        self._set(rate)

    def _set(self, rate: int) -> None:
        self.rate = rate
        self._most = max(1, rate // 9)
        self.interval = 1 / max(1, rate - self._most)
        for_orders = self._most * 3 // 5
        self._kept = {Pace.CANCEL: 0, Pace.ORDER: self._most // 5, Pace.NORMAL: for_orders, Pace.HISTORY: for_orders}

    def advance(self, now: float) -> None:
        """Advance the time to `now`: end a slow-down that is over, and drop tokens above the bucket's size."""
        if self._slow_until is not None and now >= self._slow_until:
            self._slow_until = None
            self._change(self._whole, now)
        self._empty_at = max(self._empty_at, now - self._most * self.interval)

    def _change(self, rate: int, now: float) -> None:
        """Change the rate, and keep the tokens in the bucket."""
        there = (now - self._empty_at) / self.interval
        self._set(rate)
        self._empty_at = now - min(there, self._most) * self.interval

    def when(self, pace: Pace, *, overdue: bool = False) -> float:
        """Return when a message of a pace may leave.

        An `overdue` message may take the tokens that are kept for more urgent messages.
        """
        kept = 0 if overdue else self._kept[pace]
        return self._empty_at + (kept + 1) * self.interval

    def allows(self, pace: Pace, now: float, *, overdue: bool = False) -> bool:
        """Return True if a message of a pace may leave."""
        return now >= self.when(pace, overdue=overdue) - _ROUNDING

    def spend(self) -> None:
        """Take the token of one message."""
        self._empty_at += self.interval

    def slow(self, now: float) -> None:
        """Halve the rate until `SLOWED` seconds after the last call."""
        self.advance(now)
        if self._slow_until is None:
            self._change(max(2, self._whole // 2), now)
        self._slow_until = now + SLOWED

    def slowed(self, now: float) -> float:
        """Return the seconds for which the rate is still halved."""
        return max(0.0, (self._slow_until or now) - now)
