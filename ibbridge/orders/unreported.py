"""Orders, and cancels of orders, that have left for TWS, and that TWS has not reported yet.

Pure. Their owners are told if the report does not come in time, or not before the connection is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.clock import Deadlines
from ibbridge.ib.notices import NOT_CONNECTED
from ibbridge.orders.families import kept_with
from ibbridge.orders.state_machine import OrderEvent, OrderState
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.order import Order
    from ibbridge.orders.registry import OrderRegistry

PATIENCE = 30.0
"""Seconds after which the owner of an order is told that TWS has not reported the order, or its cancel."""

SAME_CANCEL = 5.0
"""Seconds for which a repeated cancel counts as the cancel that has left, unless TWS has reported the order since."""

ORDER_UNKNOWN = "the order may or may not exist; look for it among open and completed orders, executions and positions"
CHANGE_UNKNOWN = "the order may or may not be changed; the daemon looks it up"
CANCEL_UNKNOWN = "the order may or may not be cancelled; look for it among open orders, or cancel it again"


class UnreportedOrders(ConnectionListener):
    """Deadlines of the reports that TWS owes."""

    def __init__(self, registry: OrderRegistry, notifications: OrderNotifications, clock: Clock) -> None:
        self._registry = registry
        self._notifications = notifications
        self._clock = clock
        self._changes: Deadlines[tuple[Order, int]] = Deadlines()  # orders and the revisions of their changes
        self._deadlines: Deadlines[tuple[Order, bool]] = Deadlines()  # orders; True for a cancel of the order
        self._held: list[Order] = []  # which TWS was to keep back, on this connection

    def order_left(self, order: Order) -> None:
        """Start the deadline of the report of an order, which is being written. TWS reports no order that it holds."""
        order.left_at = self._clock.monotonic()
        order.heard_at = self._clock.utc_us()
        if order.state is OrderState.HELD:
            self._held.append(order)
        else:
            self._deadlines.add((order, False), PATIENCE)

    def cancel_left(self, order: Order) -> None:
        """Start the deadline of the report of a cancel, which is being written."""
        order.cancelling = order.has_followup = True
        order.cancelled_at = self._clock.utc_us()
        order.step(OrderEvent.CANCEL)
        self._deadlines.add((order, True), PATIENCE)

    def change_left(self, order: Order) -> None:
        """Start the deadline of the report of a change, which is being written."""
        order.left_at = self._clock.monotonic()
        self._changes.add((order, order.revision), PATIENCE)

    def has_just_been_cancelled(self, order: Order) -> bool:
        """Return True if a cancel has just left, and TWS has not reported the order since."""
        return order.cancelling and 0 <= self._clock.utc_us() - order.cancelled_at < SAME_CANCEL * 1e6

    def _expect_families(self) -> None:
        """Expect reports of the orders that TWS was keeping, and has transmitted with a child that it reports."""
        reported, self._registry.first_reported = self._registry.first_reported, []
        for order in reported:
            for kept in kept_with(order, self._registry.open_orders, self._registry.parent):
                kept.leave(transmitted=True, kept=False)
                kept.kept = False  # TWS has transmitted the child, and so its family
                self.order_left(kept)
                self._notifications.publish_state(kept)

    def connection_lost(self) -> None:
        """Publish an error for each order, and each cancel, of which TWS has said nothing."""
        why = "the connection to TWS was lost before TWS said anything of"
        held, self._held = self._held, []
        for order in (*self._registry.unheard(), *(order for order in held if order.state is OrderState.HELD)):
            self._notifications.doubt(order, NOT_CONNECTED, f"{why} this order: {ORDER_UNKNOWN}")
        for order in self._registry.unchanged():
            self._notifications.doubt(order, NOT_CONNECTED, f"{why} the change of this order: {CHANGE_UNKNOWN}")
        for order in self._registry.uncancelled():
            order.answer_cancel()
            self._notifications.doubt(order, NOT_CONNECTED, f"{why} the cancel of this order: {CANCEL_UNKNOWN}")

    def tick(self, now: float) -> None:
        """Publish an error for each order, and each cancel, that TWS has not reported in time."""
        self._expect_families()
        for order, cancel in self._deadlines.due(now):
            if order.cancelling if cancel else order.state is OrderState.SENT:
                of, unknown = ("the cancel of this order", CANCEL_UNKNOWN) if cancel else ("this order", ORDER_UNKNOWN)
                order.answer_cancel()
                why = f"TWS has not reported {of} for {PATIENCE:g} s: {unknown}"
                self._notifications.doubt(order, NOT_CONNECTED, why)
        for order, revision in self._changes.due(now):
            if order.state is OrderState.MODIFYING and order.revision == revision:
                why = f"TWS has not reported the change {revision} of this order for {PATIENCE:g} s: {CHANGE_UNKNOWN}"
                self._notifications.doubt(order, NOT_CONNECTED, why)
