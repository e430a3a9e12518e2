"""IB's limits on requests, such as 60 requests for small bars in ten minutes: what they count, and what they hold back.

A message that a full limit holds back waits in the limit's window, beside the send queue. Pure: the caller gives the
time, in seconds of a monotonic clock. The module knows the declarations of requests. It must not know paces or tokens.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from ibbridge.protocol.arguments import canonical
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.tws.fair_queue import FairQueue
from ibbridge.tws.outbound import Count, Held, OutboundMessage

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from ibbridge.codec.schema import Limit

MARGIN = 0.25
"""Seconds added to the span of each of IB's limits, because the transit time to TWS varies from message to message."""


class LimitWindow:
    """Window of one of IB's limits: the units used by requests that count together, and the messages held back by it.

    A window offers one held message to the queue as soon as the message fits, and the next one after the first has left
    or waits for another limit. So an hour's worth of requests is not examined again each time one of them may leave.
    """

    def __init__(self, limit: Limit, key: Hashable) -> None:
        self.limit = limit
        self.key = key
        self.used = 0
        self.spent: deque[tuple[float, int]] = deque()  # (end, units): these units are in use until `end`
        self.held: FairQueue[OutboundMessage] = FairQueue()
        self.offered: OutboundMessage | None = None

    @property
    def idle(self) -> bool:
        """Return True if nothing counts against the limit, and nothing waits for it."""
        return not (self.used or self.held or self.offered)

    def fits(self, units: int) -> bool:
        """Return True if a message of this many units may leave now."""
        return not self.used or self.used + units <= self.limit.most

    def units(self, message: OutboundMessage) -> int:
        """Return the units that a message takes of this limit."""
        return next(count.units for count in message.counts if count.key == self.key)

    def when(self, message: OutboundMessage, ahead: int, now: float) -> float | None:
        """Return when a message fits, behind `ahead` others of its size; None if the time is unknown."""
        rounds, rest = divmod(self.units(message) * (ahead + 1) - 1, self.limit.most)
        free = self.limit.most - self.used
        for until, leaving in self.spent:
            if free > rest:
                break
            free, now = free + leaving, until
        return None if self.limit.seconds is None else now + rounds * (self.limit.seconds + MARGIN)

    def holds(self, message: OutboundMessage, now: float) -> Held:
        """Return how long the limit holds a message back, if all messages in the window go first."""
        when = self.when(message, len(self.held) - (message.held_by is self), now)
        span = "at a time" if self.limit.seconds is None else f"in {self.limit.seconds:g} s"
        left = None if when is None else max(0.0, when - now)
        return Held(left, f"IB's limit '{self.limit.name}': {self.limit.most} {span}")


class RequestLimits:
    """Windows of all limits that are in use. `held` is the number of messages that the windows hold back.

    A method that makes room returns the messages that windows now offer: the queue puts them before other messages of
    their clients.
    """

    def __init__(self) -> None:
        self.held = 0
        self._windows: dict[Hashable, LimitWindow] = {}
        self._ends: list[tuple[float, int, LimitWindow]] = []  # a heap: when units become free, and in which window
        self._ended = 0  # serial numbers of the ends
        self._open: set[OutboundMessage] = set()  # sent messages whose request is open and still takes room

    @property
    def next_end(self) -> float | None:
        """The next time at which units become free; None if no message waits for that."""
        return self._ends[0][0] if self.held and self._ends else None

    def busy(self, message: OutboundMessage) -> LimitWindow | None:
        """Return a window in which other messages wait, so that this message must go behind them; None without one."""
        windows = (self._windows.get(count.key) for count in message.counts)
        return next((window for window in windows if window is not None and (window.held or window.offered)), None)

    def full(self, message: OutboundMessage) -> LimitWindow | None:
        """Return the first window that has no room for a message; None if all limits allow the message."""
        for _, key, units in message.counts:
            window = self._windows.get(key)
            if window is not None and not window.fits(units):
                return window
        return None

    def hold(self, message: OutboundMessage, window: LimitWindow) -> list[OutboundMessage]:
        """Hold a message back. Its former window, if one had offered the message, offers the next one."""
        former, message.offered_by = message.offered_by, None
        window.held.add(message, first=window is former)
        message.held_by = window
        self.held += 1
        if former is None:
            return []
        former.offered = None
        return self._offer(former)

    def release(self, message: OutboundMessage) -> list[OutboundMessage]:
        """Forget a message that is in no queue any more, because it leaves or is withdrawn."""
        window = message.held_by or message.offered_by
        if window is None:
            return []
        self.held -= message.held_by is not None
        message.held_by = message.offered_by = None
        if window.offered is message:
            window.offered = None
        return self._offer(window)

    def advance(self, now: float) -> list[OutboundMessage]:
        """Advance the time to `now`: free the units whose span has ended."""
        offered = []
        while self._ends and self._ends[0][0] <= now:
            _, _, window = heapq.heappop(self._ends)
            window.used -= window.spent.popleft()[1]
            offered += self._offer(window)
        return offered

    def spend(self, message: OutboundMessage, now: float) -> None:
        """Count a message that leaves."""
        for limit, key, units in message.counts:
            window = self._windows.get(key) or self._windows.setdefault(key, LimitWindow(limit, key))
            window.used += units
            if limit.seconds is None:
                self._open.add(message)
                continue
            until = now + limit.seconds + MARGIN
            window.spent.append((until, units))
            self._ended += 1
            heapq.heappush(self._ends, (until, self._ended, window))

    def completed(self, message: OutboundMessage) -> list[OutboundMessage]:
        """Free the units of a sent message whose request is no longer open at TWS."""
        if message not in self._open:
            return []
        self._open.remove(message)
        offered = []
        for limit, key, units in message.counts:
            if limit.seconds is None:
                window = self._windows[key]
                window.used -= units
                offered += self._offer(window)
        return offered

    def drop(self) -> None:
        """Forget all held messages and open requests. Units with a time span stay in use, for TWS counts them on."""
        self.held = 0
        self._open.clear()
        for window in self._windows.values():
            window.held, window.offered = FairQueue(), None
        self._windows = {
            key: window for key, window in self._windows.items() if window.limit.seconds is not None and window.used
        }

    def holding(self, message: OutboundMessage, now: float) -> list[Held]:
        """Return the limits that hold a message back, and for how long."""
        return [window.holds(message, now) for window in self._full(message)]

    def free_at(self, message: OutboundMessage, now: float) -> float | None:
        """Return when all limits allow a message at the latest, if each other client has one turn before the message.

        None if the time is unknown.
        """
        times = [window.when(message, window.held.turns(message.client), now) for window in self._full(message)]
        return max((now, *(time for time in times if time is not None))) if None not in times else None

    def _full(self, message: OutboundMessage) -> Iterator[LimitWindow]:
        for _, key, units in message.counts:
            window = self._windows.get(key)
            if window is not None and (window is message.held_by or not window.fits(units)):
                yield window

    def _offer(self, window: LimitWindow) -> list[OutboundMessage]:
        """Take the next message out of a window, if it fits; drop a window that is idle."""
        message = window.held.head()
        offered = []
        if window.offered is None and message is not None and window.fits(window.units(message)):
            window.held.served(message)
            window.held.remove(message)
            message.held_by, message.offered_by, window.offered = None, window, message
            self.held -= 1
            offered.append(message)
        if window.idle:
            self._windows.pop(window.key, None)
        return offered


def counts(message: OutboundMessage) -> Iterator[Count]:
    """Yield the limits that a request counts under."""
    for limit in message.request.limits:
        if units := limit.counts(message.args):
            yield Count(limit, (limit.name, *_alike(limit, message)), units)


def _alike(limit: Limit, message: OutboundMessage) -> Iterator[Hashable]:
    """Yield the values that requests counting together under a limit have in common."""
    if limit.alike is None:
        yield message.request.name
        yield canonical({name: value for name, value in message.args.items() if name != message.request.key})
        return
    for name in limit.alike:
        value = message.args.get(name)
        yield instrument_key(value) if name == "contract" and value is not None else value
