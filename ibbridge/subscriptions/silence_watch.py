"""Watch over subscriptions that have fallen silent: gaps for their clients, and their re-subscription.

Pure. `stall_detector` decides which silence is too long. This module knows what the detector looks at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.codec.schema import Pace
from ibbridge.requests.reissue_queue import Reissue
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ibbridge.codec.schema import Request
    from ibbridge.requests.reissue_queue import ReissueQueue
    from ibbridge.subscriptions.market_hours import MarketHours
    from ibbridge.subscriptions.registry import Subscription, SubscriptionRegistry
    from ibbridge.subscriptions.stall_detector import StallDetector
    from ibbridge.subscriptions.stream_gaps import StreamGaps
    from ibbridge.tws.ib_servers import IbServers

AGAIN = 60.0
"""Seconds of silence after which the trading hours of a contract are requested, if they are not known."""


class SilenceWatch(ConnectionListener):
    """Watch over the subscriptions of instruments, with a detector of stalls."""

    def __init__(
        self,
        registry: SubscriptionRegistry,
        gaps: StreamGaps,
        reissue_queue: ReissueQueue,
        hours: MarketHours,
        detector: StallDetector,
    ) -> None:
        self._registry = registry
        self._gaps = gaps
        self._reissue_queue = reissue_queue
        self._hours = hours
        self._detector = detector
        self._now = 0.0

    @property
    def servers(self) -> IbServers:
        """State of IB's servers."""
        return self._hours.servers

    def tick(self, now: float) -> None:
        """Publish a gap on subscriptions that have been silent for too long, and queue them again."""
        self._now = now
        if not self._reissue_queue.is_open or not self.servers.up:
            return
        queued = set(self._reissue_queue.requests())
        watched = [each for each in self.watched() if each.active not in queued and not each.active.waits]
        found = self._detector.tick(watched, self, now)
        for subscription in found:
            self._gaps.publish(subscription, "silent")
        self._reissue_queue.put([Reissue(subscription.active, cancel_first=True) for subscription in found])
        self._reissue_queue.take()
        self._hours.ask(self._quiet(now))

    def _quiet(self, now: float) -> Iterator[Subscription]:
        """Yield the subscriptions that are silent for long enough to ask for the trading hours of their markets."""
        for subscription in self._detector.looked_at:
            since = subscription.heard if subscription.heard is not None else subscription.asked
            if since is not None and now - since >= min(AGAIN, self._detector.silent_after / 2):
                yield subscription

    def watched(self) -> list[Subscription]:
        """Return the subscriptions whose silence may mean that they are dead: those of instruments."""
        return [subscription for subscription in self._registry.live() if subscription.instrument]

    def resumed(self, subscriptions: Sequence[Subscription] | None = None) -> None:
        """Restart the silence of these subscriptions (None: of all) after an outage."""
        self._detector.resumed(self.watched() if subscriptions is None else subscriptions, self._now)

    def uncontested(self) -> None:
        """Resume market data after another login has released it."""
        self._detector.uncontested(self.watched(), self._now)

    # -- what the detector looks at

    def seq(self, subscription: Subscription) -> int:
        """Return the last sequence number of its stream that counts for it."""
        return self._gaps.seq(subscription)

    def farm_is_up(self, subscription: Subscription) -> bool:
        """Return True if all farms are up that may deliver the subscription."""
        return self.servers.farms_are_up(farm_kind(subscription.active.request))

    def open(self, subscription: Subscription) -> bool | None:
        """Return whether the market of its instrument is open; None if that is not known."""
        return self._hours.open(subscription)


def farm_kind(request: Request) -> str:
    """Return the kind of farm that serves a subscription: "market" or "history"."""
    return "history" if request.pace is Pace.HISTORY else "market"
