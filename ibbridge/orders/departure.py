"""The departure of orders and cancels: the last checks, the order id, the record in the journal, then the bytes.

Pure. An order gets its id as it leaves, because TWS takes only ids that rise, and the queue takes turns. The order is
in the journal, with its id, before its bytes leave. This module also tells the owner of an order that cannot leave any
more. It must not know commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.schema import Pace
from ibbridge.ib.notices import CANCELLED, NOT_CONNECTED

if TYPE_CHECKING:
    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.order import Order
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.orders.unreported import UnreportedOrders
    from ibbridge.risk.gate import TradingGate
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import RequestSender


class OrderDeparture:
    """Departure of orders and cancels. `accepting` is the order whose command is being executed."""

    def __init__(
        self,
        sender: RequestSender,
        registry: OrderRegistry,
        gate: TradingGate,
        notifications: OrderNotifications,
        unreported: UnreportedOrders,
    ) -> None:
        self.accepting: Order | None = None
        self._queued: dict[OutboundMessage, Order] = {}
        self._sender = sender
        self._orders = registry
        self._gate = gate
        self._notifications = notifications
        self._unreported = unreported

    def queue(self, order: Order, message: OutboundMessage) -> None:
        """Note that an order is about to be queued by this message."""
        order.message = message
        self._queued[message] = order

    def queued(self) -> list[Order]:
        """Return the orders that wait to be sent, those of each client in order."""
        return [self._queued[message] for message in self._sender.waiting(Pace.ORDER) if message in self._queued]

    # -- hooks of messages

    def order_leaves(self, order: Order, message: OutboundMessage) -> bool:
        """Prepare for the writing of an order. Return False if the order must not be sent any more."""
        if order.not_after is not None and self._gate.expired(order.not_after):
            self.unplaced(order, CANCELLED, "its not_after passed before it could be sent")
            return False
        parent = self.parent(order)
        if parent is not None and parent.unsent:
            self.unplaced(order, CANCELLED, f"its parent, {parent.key}, was not placed")
            return False
        if not self._sender.ids.is_reserved():
            self.order_refused(order, message)
            return False
        del self._queued[message]
        self._number(order, parent, message)
        order.leave(transmitted=is_transmitted(order))
        self._orders.journal.note(order)
        self._unreported.order_left(order)
        if order is not self.accepting:
            self._notifications.publish_state(order)
        return True

    def _number(self, order: Order, parent: Order | None, message: OutboundMessage) -> None:
        """Give an order its id, and that of its parent."""
        field = str(message.request.key)
        number = self._sender.ids.take()
        values = {**message.args, field: number}
        if order.parent and parent is not None:
            values["order"] = {**values["order"], "parentId": parent.order_id}
        if values != message.args:
            self._sender.rewrite(message, values)
        self._orders.number(order, number)

    def order_dropped(self, order: Order, _: OutboundMessage) -> None:
        """End an order whose connection is gone."""
        self.unplaced(order, NOT_CONNECTED, "the connection to TWS was lost before it could be sent")

    def order_refused(self, order: Order, _: OutboundMessage) -> None:
        """End an order that could not be written into the journal, and so must not leave."""
        if order is self.accepting:  # the reply says it
            self.withdrawn(order)
        else:
            self.unplaced(order, NOT_CONNECTED, f"it could not be recorded: {self._orders.journal.fault}")

    def cancel_leaves(self, order: Order, _: OutboundMessage) -> bool:
        """Note that a cancel is being written."""
        self._unreported.cancel_left(order)
        return True

    def cancel_dropped(self, order: Order, _: OutboundMessage) -> None:
        """Tell the owner of an order that its cancel never left."""
        why = "the connection to TWS was lost before the cancel of this order could be sent; cancel it again"
        self._notifications.notify_error(order, NOT_CONNECTED, why, ends=False)

    def has_just_been_cancelled(self, order: Order) -> bool:
        """Return True if a cancel has just left, and TWS has not reported the order since."""
        return self._unreported.has_just_been_cancelled(order)

    # -- orders that do not leave

    def unplaced(self, order: Order, code: int, why: str) -> None:
        """End an accepted order that never left, and tell its owner."""
        self.withdrawn(order)
        self._notifications.unplaced(order, code, why)

    def withdrawn(self, order: Order) -> None:
        """Note that an order will never be written."""
        if order.message is not None:
            self._queued.pop(order.message, None)
        order.withdraw()

    def parent(self, order: Order) -> Order | None:
        """Return the parent of an order; None if it has none that this daemon knows."""
        if order.parent:
            return self._orders.keyed(order.owner, order.parent)
        return self._orders.numbered(_attribute(order, "parentId") or 0)


def is_transmitted(order: Order) -> bool:
    """Return True if TWS is to transmit the order. TWS does not report an order that it only keeps."""
    return bool(_attribute(order, "transmit", otherwise=True))


def _attribute(order: Order, name: str, otherwise: object = None) -> Any:
    given = order.args.get("order")
    return given.get(name, otherwise) if isinstance(given, dict) else otherwise
