"""The parts that route messages of TWS, assembled. Other parts get one of them, or all.

This module knows the constructors of the parts. It must not know what they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ibbridge.inbound.errors import ErrorRouter
from ibbridge.inbound.router import Router
from ibbridge.orders.notifications import OrderNotifications
from ibbridge.requests.notifications import RequestNotifications
from ibbridge.requests.tracker import RequestTracker

if TYPE_CHECKING:
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.streams.publisher import Publisher


@dataclass(frozen=True, slots=True)
class Routing:
    """The requests under way, what the daemon says of requests and orders, and the routers of messages and errors."""

    tracker: RequestTracker
    notifications: RequestNotifications
    order_notifications: OrderNotifications
    errors: ErrorRouter
    router: Router


def routing(publisher: Publisher, orders: OrderRegistry) -> Routing:
    """Return the parts, for these streams and orders."""
    tracker = RequestTracker(publisher)
    notifications = RequestNotifications(publisher, tracker)
    errors = ErrorRouter(publisher, tracker, notifications, orders)
    router = Router(publisher, tracker, orders, errors)
    return Routing(tracker, notifications, OrderNotifications(publisher), errors, router)
