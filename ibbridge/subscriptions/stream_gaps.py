"""Gaps in the streams of subscriptions, and how far each stream has come.

A gap tells clients that data may be missing. Pure. This module must not know why data is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.subscriptions.registry import Subscription, SubscriptionRegistry
    from ibbridge.subscriptions.singleton_streams import SingletonStreams


class StreamGaps:
    """Streams of the subscriptions, as far as gaps concern them."""

    def __init__(
        self,
        registry: SubscriptionRegistry,
        singletons: SingletonStreams,
        tracker: RequestTracker,
        notifications: RequestNotifications,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._singletons = singletons
        self._tracker = tracker
        self._notifications = notifications
        self._clock = clock

    def last(self, subscription: Subscription) -> int:
        """Return the last sequence number of its stream."""
        return self._tracker.last(subscription.active)

    def seq(self, subscription: Subscription) -> int:
        """Return the last sequence number of its stream; the one before, if another subscription sent that message."""
        if self._registry.is_alone(subscription) or self._tracker.has_spoken(subscription.active):
            return self.last(subscription)
        return subscription.seq

    def publish(self, subscription: Subscription, reason: str, ts: int | None = None) -> None:
        """Publish `gap` for a subscription, unless no message has come since its last `gap`.

        `ts` is when the message that tells of the gap was read, in µs since 1970 UTC; None is now.
        """
        if subscription.stale and self.last(subscription) == subscription.seq:
            return
        ts = self._clock.utc_us() if ts is None else ts
        if self._notifications.gap(subscription.active, reason, ts):
            last = self.last(subscription)
            for other in self._registry.on_topic(subscription.topic):
                other.stale, other.seq = True, last

    def publish_all(self, reason: str) -> None:
        """Publish `gap` on every subscription."""
        ts = self._clock.utc_us()
        for subscription in self._registry.live():
            self.publish(subscription, reason, ts)
        self._singletons.gaps(reason, ts)
