"""Errors of the daemon's own about orders, published to the owners of the orders.

Pure. This module knows orders and streams. It must not know the causes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.requests.notifications import own_error, publish_error

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.orders.order import Order
    from ibbridge.streams.publisher import Publisher


class OrderNotifications:
    """Publishes what the daemon says about orders."""

    def __init__(self, publisher: Publisher, clock: Clock) -> None:
        self._publisher = publisher
        self._clock = clock
        self._executions: dict[str, str] = {}  # by owner

    def topics(self, order: Order) -> list[str]:
        """Return the topics of an order, and of the executions of its owner, as clients subscribe to them."""
        if (executions := self._executions.get(order.owner)) is None:
            executions = self._executions[order.owner] = self._publisher.named("exec", order.owner)
        return [self._publisher.named("ord", order.owner, order.key), executions]

    def notify_error(
        self, order: Order, code: int, text: str, ts: int | None = None, *, ends: bool | None = None
    ) -> None:
        """Publish an error of the daemon's own about an order.

        `ts` is the time of the event that causes the error, in µs since 1970 UTC; None is now. `ends` is None if the
        order may be over or not.
        """
        ts = self._clock.utc_us() if ts is None else ts
        order.end(ends=ends)
        channel = self._publisher.transient_channel("ord", *order.whose[:2], "error", ref=order.whose.ref)
        publish_error(self._publisher, channel, own_error(order.order_id, code, text), ts, ends=ends)
