"""Errors of the daemon's own about orders, published to the owners of the orders.

Pure. This module knows orders and streams. It must not know the causes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.requests.notifications import own_error, publish_error

if TYPE_CHECKING:
    from ibbridge.orders.order import Order
    from ibbridge.streams.publisher import Publisher


class OrderNotifications:
    """Publishes what the daemon says about orders."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def notify_error(self, order: Order, code: int, text: str, ts: int, *, ends: bool | None = None) -> None:
        """Publish an error of the daemon's own about an order. `ends` is None if the order may be over or not."""
        order.ended = order.ended or bool(ends)
        channel = self._publisher.transient_channel("ord", *order.whose[:2], "error", ref=order.whose.ref)
        publish_error(self._publisher, channel, own_error(order.order_id, code, text), ts, ends=ends)
