"""Notifications about orders: the state of each, and errors of the daemon's own, published to the owners.

Pure. This module knows orders and streams. It must not know the causes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.ib.notices import BAD_MESSAGE, NOT_CONNECTED
from ibbridge.orders.state_machine import OrderEvent, Reason
from ibbridge.protocol.topics import topic
from ibbridge.requests.notifications import own_error, publish_error

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.orders.order import Order, Owner
    from ibbridge.orders.order_states import OrderStates
    from ibbridge.streams.publisher import Publisher


class OrderNotifications:
    """Publishes what the daemon says about orders."""

    def __init__(self, states: OrderStates, publisher: Publisher, clock: Clock) -> None:
        self._states = states
        self._publisher = publisher
        self._clock = clock
        self._owners: dict[str, list[str]] = {}  # topics of the orders and of the executions, by owner

    def topics(self, order: Order) -> list[str]:
        """Return the topics of an order, and of the executions of its owner, as clients subscribe to them."""
        if (owner := self._owners.get(order.owner)) is None:
            owner = self._owners[order.owner] = [self._publisher.named(name, order.owner) for name in ("ord", "exec")]
        return [owner[0] + topic(order.key).decode(), owner[1]]

    def topic(self, whose: Owner) -> str:
        """Return the topic of an order of `ext`, as clients subscribe to it."""
        return self._publisher.named("ord", *whose[:2])

    def publish_state(self, order: Order) -> None:
        """Publish the state of an order, if it has changed."""
        self._states.changed_now(order)

    def step(self, order: Order, event: OrderEvent, reason: Reason | None = None) -> None:
        """Apply an event to an order, and publish its state if it has changed."""
        order.step(event, reason)
        self._states.changed_now(order)

    def notify_error(
        self, order: Order, code: int, text: str, ts: int | None = None, *, ends: bool | None = None
    ) -> None:
        """Publish an error of the daemon's own about an order, and the state of the order if it has changed.

        `ts` is the time of the event that causes the error, in µs since 1970 UTC; None is now. `ends` is None if the
        order may be over or not.
        """
        ts = self._clock.utc_us() if ts is None else ts
        channel = self._publisher.transient_channel("ord", *order.whose[:2], "error", ref=order.whose.ref)
        publish_error(self._publisher, channel, own_error(order.order_id, code, text), ts, ends=ends)
        order.error = {"code": code, "text": text, "ts": ts, "own": True}
        self._states.changed_now(order, ts)

    def notify_foreign(self, whose: Owner, code: int, text: str) -> None:
        """Publish an error of the daemon's own about an order of `ext`, which goes on."""
        channel = self._publisher.transient_channel("ord", *whose[:2], "error", ref=whose.ref)
        about = own_error(whose.ref["orderId"], code, text)
        publish_error(self._publisher, channel, about, self._clock.utc_us(), ends=False)

    def doubt(self, order: Order, code: int, text: str) -> None:
        """Publish an error after which nobody knows what has become of an order, its change or its cancel."""
        order.step(OrderEvent.DOUBT)
        self.notify_error(order, code, text)

    def missed(self, order: Order) -> None:
        """Publish that TWS lists an order nowhere, and that it may have been filled before the lists begin."""
        order.step(OrderEvent.MISS)
        text = (
            "TWS lists this order nowhere, and its lists begin at midnight, after its last report: the order is not "
            "open any more, and it may have been filled or not; look at the positions and at the account's statement. "
            "To close the order here, cancel it"
        )
        self.notify_error(order, NOT_CONNECTED, text)

    def closed(self, order: Order) -> None:
        """Publish that an order that TWS lists nowhere is over, as its owner wants."""
        self.step(order, OrderEvent.END, Reason.NOT_AT_TWS)

    def unplaced(self, order: Order, code: int, why: str) -> None:
        """Publish that an accepted order never left, and never will."""
        order.withdraw()
        text = f"the order was not placed: {why}. Nothing of it has reached TWS; to place it, take a new key"
        self.notify_error(order, code, text, ends=True)

    def never_left(self, order: Order) -> None:
        """Publish that an order had not left when the daemon ended."""
        self.unplaced(order, NOT_CONNECTED, "the daemon ended before it could be sent")

    def unreadable(self, order: Order, text: str, ts: int) -> None:
        """Publish that a message about an order cannot be read, so that nobody knows what has become of it."""
        order.step(OrderEvent.GARBLE)
        self.notify_error(order, BAD_MESSAGE, text, ts)
