"""Stall detector: finds subscriptions that have fallen silent during trading hours, and limits re-subscriptions.

Pure: the caller gives the time. The detector compares sequence numbers once in a while, so a message costs nothing. A
subscription that has never delivered data may have a quiet instrument, or TWS may have lost the request. Such a
subscription is requested again only while its market is known to be open, and after those that have delivered data; its
silence is no evidence about other subscriptions. The module must not know how a subscription is requested again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from ibbridge.subscriptions.state import DEAD, MAY_FLOW, SubscriptionEvent, SubscriptionState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.subscriptions.registry import Subscription

SUSPECT_AFTER = 15.0
"""Seconds of silence after which a suspect subscription counts as silent, if its data came more often before."""

WITHOUT_HOURS = 10.0
"""Factor for the time to wait while it is not known whether the market is open."""

COMPETING_AFTER = 60.0
"""Seconds between the first tries while another login has the market data."""

THIN = 10.0
"""Number of its usual pauses that a subscription may be silent: data every minute is not dead after three minutes."""

LONGEST = 3600.0
"""Seconds of the longest pause between two re-subscriptions of one subscription."""

PROVEN = 60.0
"""Seconds after a request from which data proves that the subscription is live. Earlier data may be old values."""

MANY = 4
"""Number of silent subscriptions that, if they are also more than half of all, suggest a closed market or a holiday."""


class StreamView(Protocol):
    """Facts that the stall detector needs about a subscription."""

    def seq(self, subscription: Subscription) -> int:
        """Return the sequence number of its last message."""

    def farm_is_up(self, subscription: Subscription) -> bool:
        """Return True unless IB has said that a farm is down that may deliver the subscription."""

    def open(self, subscription: Subscription) -> bool | None:
        """Return whether the market of its instrument is open; None if that is not known."""


class StallDetector:
    """Stall detector that looks at some subscriptions at a time, and allows `per_minute` new requests a minute."""

    def __init__(self, silent_after: float = 180.0, per_minute: int = 6) -> None:
        self.silent_after = silent_after
        """Seconds of silence after which a subscription that should deliver data counts as silent."""
        self._per_minute = per_minute
        self._asked: deque[float] = deque()
        self._silent: set[Subscription] = set()
        self._probed = float("-inf")
        self._proven = False  # True once one of many silent subscriptions has delivered data again: they were dead
        self._next = 0
        self.looked_at: Sequence[Subscription] = ()
        """Subscriptions that the last call of `tick` has examined."""

    def tick(
        self, streams: Sequence[Subscription], about: StreamView, now: float, most: int = 1_000
    ) -> list[Subscription]:
        """Return the subscriptions to request again now. Call this about every second while IB's servers are there."""
        if self._next >= len(streams):
            self._next = 0
            self._silent.intersection_update(streams)
        self.looked_at = some = streams[self._next : self._next + most]
        self._next += most
        overdue = []
        for subscription in some:
            self._listen(subscription, about.seq(subscription), now)
            if self._is_silent(subscription, about, now):
                if subscription.spoke:
                    self._silent.add(subscription)
                overdue.append(subscription)
            elif not subscription.tries:  # a subscription that was requested again must first prove that data flows
                self._silent.discard(subscription)
        overdue.sort(key=_unproven)
        return [subscription for subscription in overdue if self._may(subscription, len(streams), now)]

    def _listen(self, subscription: Subscription, seq: int, now: float) -> None:
        if subscription.asked is None:
            subscription.asked = now
        # New messages on the topic of a dead subscription belong to another one.
        if seq == subscription.seq or subscription.state not in MAY_FLOW:
            return
        if subscription.heard is not None:
            pause = (now - subscription.heard) / (seq - subscription.seq)
            usual = pause if subscription.every is None else subscription.every
            subscription.every = usual + (pause - usual) * 0.2
        subscription.seq, subscription.heard = seq, now
        subscription.spoke, subscription.stale = True, False
        subscription.step(SubscriptionEvent.DATA)
        if subscription.tries and now - subscription.asked > PROVEN:
            subscription.tries, self._proven = 0, True

    def _is_silent(self, subscription: Subscription, about: StreamView, now: float) -> bool:
        since = subscription.heard if subscription.heard is not None else subscription.asked
        if since is None or not about.farm_is_up(subscription):
            return False
        return now - since >= self.patience(subscription, about)

    def patience(self, subscription: Subscription, about: StreamView) -> float:
        """Return the seconds of silence after which the subscription counts as silent."""
        if subscription.state in DEAD:
            first = COMPETING_AFTER if subscription.state is SubscriptionState.CONTESTED else SUSPECT_AFTER
            return min(LONGEST, first * 2.0**subscription.tries)
        is_open = about.open(subscription)
        if is_open is False or (is_open is None and _unproven(subscription)):
            return float("inf")
        first = max(self.silent_after, THIN * (subscription.every or 0.0))
        if subscription.state is SubscriptionState.SUSPECT and not subscription.tries:
            first = SUSPECT_AFTER
        elif is_open is None:
            first *= WITHOUT_HOURS
        return min(max(LONGEST, first), first * 2.0**subscription.tries)

    def _may(self, subscription: Subscription, watched: int, now: float) -> bool:
        """Count a try and return True if the subscription may be requested again now."""
        if (
            subscription.state is SubscriptionState.RELEASED
        ):  # outside the limit, because each of them is requested only once
            subscription.tries += 1
            return True
        while self._asked and now - self._asked[0] >= 60.0:
            self._asked.popleft()
        if len(self._asked) >= ((self._per_minute + 1) // 2 if _unproven(subscription) else self._per_minute):
            return False
        many = len(self._silent) >= MANY and 2 * len(self._silent) > watched
        if not many:
            self._proven = False
        elif not (subscription.state is SubscriptionState.SUSPECT or subscription.state in DEAD or self._proven):
            if now - self._probed < self.silent_after:
                return False
            self._probed = now
        self._asked.append(now)
        subscription.tries += 1
        return True

    def uncontested(self, streams: Sequence[Subscription], now: float) -> None:
        """Mark subscriptions whose data another login has released: those still silent soon are requested again."""
        for subscription in streams:
            if subscription.state is SubscriptionState.CONTESTED:
                subscription.step(SubscriptionEvent.RELEASE)
                subscription.tries, subscription.asked = 0, now

    def resumed(self, streams: Sequence[Subscription], now: float) -> None:
        """Restart the silence of subscriptions after an outage. Frequent ones become suspect: they may have died."""
        for subscription in streams:
            if subscription.heard is not None:
                subscription.heard = max(subscription.heard, now)
                often = subscription.every is not None and subscription.every < SUSPECT_AFTER
                subscription.step(SubscriptionEvent.RESUMED_OFTEN if often else SubscriptionEvent.RESUMED_SELDOM)


def _unproven(subscription: Subscription) -> bool:
    """Return True if the subscription has never delivered data, so that silence may be normal."""
    return not subscription.spoke and subscription.state not in DEAD
