"""Which streams have fallen silent though they should speak, and may be asked for again now.

Pure: told the time, and looks at the numbers of streams once in a while; nothing is done for a message. What has never
spoken may be of an instrument in which nothing happens, or TWS may never have heard the request: it is asked for again
where its market is known to be open, behind what has spoken, and says nothing of other streams. Knows nothing of how a
stream is asked for again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.subscriptions.registry import Subscription

SUSPECT_AFTER = 15.0
"""Seconds of silence that are too many for a stream that spoke more often, once something may have killed it."""

WITHOUT_HOURS = 10.0
"""How much longer to wait where nobody knows whether the market is open."""

COMPETING, FREED = "competing", "freed"
"""Why a stream is dead: another login has the market data, or had it."""

_MAY_FLOW = ("", COMPETING, FREED)
"""What is dead for another reason has ended at TWS, and says nothing until it is asked for again."""

COMPETING_AFTER = 60.0
"""Seconds between the first tries while another login has the market data."""

THIN = 10.0
"""How many of its usual pauses a stream may be silent: one that speaks every minute is not dead after three."""

LONGEST = 3600.0
"""The longest pause between two tries for one stream."""

PROVEN = 60.0
"""Seconds after which data says that a stream flows again. What comes at once is what TWS knew before."""

MANY = 4
"""So many silent streams, and more than half of all: a market has closed, or it is a holiday that nobody told of."""


class Watched(Protocol):
    """What the watchdog asks about a stream."""

    def seq(self, subscription: Subscription) -> int:
        """The number of its stream's last message."""

    def farm_is_up(self, subscription: Subscription) -> bool:
        """Whether IB has said nothing else of the farms that such streams come from."""

    def open(self, subscription: Subscription) -> bool | None:
        """Whether its market is; None if that is not known."""


class Watchdog:
    """Looks at some streams at a time. No more than `per_minute` are asked for again in any minute, all together."""

    def __init__(self, silent_after: float = 180.0, per_minute: int = 6) -> None:
        self._silent_after = silent_after
        self._per_minute = per_minute
        self._asked: deque[float] = deque()
        self._silent: set[Subscription] = set()
        self._probed = float("-inf")
        self._proven = False  # whether one of many that was asked for again has spoken: so the streams were dead
        self._next = 0
        self.looked_at: Sequence[Subscription] = ()
        """Those that the last look was at."""

    def look(
        self, streams: Sequence[Subscription], about: Watched, now: float, most: int = 1_000
    ) -> list[Subscription]:
        """Those to ask for again now. To be called every second or so, while there is anything to hear."""
        if self._next >= len(streams):
            self._next = 0
            self._silent.intersection_update(streams)
        self.looked_at = some = streams[self._next : self._next + most]
        self._next += most
        overdue = []
        for each in some:
            self._listen(each, about.seq(each), now)
            if self._is_silent(each, about, now):
                if each.spoke:
                    self._silent.add(each)
                overdue.append(each)
            elif not each.tries:  # one that was asked for again has to prove that it flows
                self._silent.discard(each)
        overdue.sort(key=_unproven)
        return [each for each in overdue if self._may(each, len(streams), now)]

    def _listen(self, each: Subscription, seq: int, now: float) -> None:
        if each.asked is None:
            each.asked = now
        if seq == each.seq or each.dead not in _MAY_FLOW:  # what comes there is another's, on the same topic
            return
        if each.heard is not None:
            pause = (now - each.heard) / (seq - each.seq)
            each.every = pause if each.every is None else each.every + (pause - each.every) * 0.2
        each.seq, each.heard = seq, now
        each.spoke, each.stale, each.suspect, each.dead = True, False, False, ""
        if each.tries and now - each.asked > PROVEN:
            each.tries, self._proven = 0, True

    def _is_silent(self, each: Subscription, about: Watched, now: float) -> bool:
        since = each.heard if each.heard is not None else each.asked
        if since is None or not about.farm_is_up(each):
            return False
        return now - since >= self.patience(each, about)

    def patience(self, each: Subscription, about: Watched) -> float:
        """How many seconds of silence are too many."""
        if each.dead:
            first = COMPETING_AFTER if each.dead == COMPETING else SUSPECT_AFTER
            return min(LONGEST, first * 2.0**each.tries)
        is_open = about.open(each)
        if is_open is False or (is_open is None and _unproven(each)):
            return float("inf")
        first = max(self._silent_after, THIN * (each.every or 0.0))
        if each.suspect and not each.tries:
            first = SUSPECT_AFTER
        elif is_open is None:
            first *= WITHOUT_HOURS
        return min(max(LONGEST, first), first * 2.0**each.tries)

    def _may(self, each: Subscription, watched: int, now: float) -> bool:
        """Whether this one may be asked for again now."""
        if each.dead == FREED:  # those are as many as there were, once
            each.tries += 1
            return True
        while self._asked and now - self._asked[0] >= 60.0:
            self._asked.popleft()
        if len(self._asked) >= ((self._per_minute + 1) // 2 if _unproven(each) else self._per_minute):
            return False
        many = len(self._silent) >= MANY and 2 * len(self._silent) > watched
        if not many:
            self._proven = False
        elif not (each.suspect or each.dead or self._proven):
            if now - self._probed < self._silent_after:
                return False
            self._probed = now
        self._asked.append(now)
        each.tries += 1
        return True

    def uncontested(self, streams: Sequence[Subscription], now: float) -> None:
        """Another login has let go of the data: what does not flow again by itself in a moment is asked for at once."""
        for each in streams:
            if each.dead == COMPETING:
                each.dead, each.tries, each.asked = FREED, 0, now

    def resumed(self, streams: Sequence[Subscription], now: float) -> None:
        """What kept them all silent is over: each has its time from now on, and may have died meanwhile."""
        for each in streams:
            if each.heard is not None:
                each.heard = max(each.heard, now)
                each.suspect = each.every is not None and each.every < SUSPECT_AFTER


def _unproven(each: Subscription) -> bool:
    """Whether its silence may be all that there is to hear."""
    return not (each.spoke or each.dead)
