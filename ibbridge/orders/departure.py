"""The departure of orders and cancels: the last checks, the order id, the record in the journal, then the bytes.

Pure. An order gets its id as it leaves, because TWS takes only ids that rise, and the queue takes turns. The order is
in the journal, with its id, before its bytes leave. This module also tells the owner of an order that cannot leave any
more. It must not know commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec.schema import Pace
from ibbridge.ib.notices import CANCELLED, NOT_CONNECTED
from ibbridge.orders.families import families, is_transmitted, transmitted
from ibbridge.orders.state_machine import OrderEvent, OrderState, Reason
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.order import Order
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.orders.risk_control import OrderGates
    from ibbridge.orders.unreported import UnreportedOrders
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import RequestSender


class Change(NamedTuple):
    """Change of an order. `args`: all arguments with the change; `of_held`: TWS kept the order when it was made."""

    revision: int
    digest: bytes
    args: Mapping[str, Any]
    of_held: bool


class OrderDeparture:
    """Departure of orders, changes and cancels.

    `accepting`: the orders whose command is being executed. `changing`: the order whose change is.
    """

    def __init__(
        self,
        sender: RequestSender,
        registry: OrderRegistry,
        gates: OrderGates,
        notifications: OrderNotifications,
        unreported: UnreportedOrders,
    ) -> None:
        self.accepting: frozenset[Order] = frozenset()
        self.changing: Order | None = None
        self._queued: dict[OutboundMessage, Sequence[Order]] = {}
        self._sender = sender
        self._orders = registry
        self._gate = gates.gate
        self._risk = gates.risk
        self._notifications = notifications
        self._unreported = unreported

    def queue(self, orders: Sequence[Order], message: OutboundMessage) -> None:
        """Note that orders are about to be queued by this message."""
        for order in orders:
            order.message = message
        self._queued[message] = orders

    def queued(self) -> list[Order]:
        """Return the orders that wait to be sent, those of each client in order."""
        return [order for message in self._sender.waiting(Pace.ORDER) for order in self._queued.get(message, ())]

    def together(self, order: Order) -> list[Order]:
        """Return the queued orders that leave in one write with this one, itself included; none if it has left."""
        return [*self._queued.get(order.message, ())] if order.message is not None else []

    # -- hooks of messages

    def order_leaves(self, order: Order, message: OutboundMessage) -> bool:
        """Prepare for the writing of an order. Return False if the order must not be sent any more."""
        return self.group_leaves([order], [dict(message.args)], message)

    def group_leaves(self, orders: Sequence[Order], values: Sequence[dict[str, Any]], message: OutboundMessage) -> bool:
        """Prepare for the writing of orders that leave together. Return False if none of them must be sent any more."""
        if why := self._expiry(orders) or self._gate.halts.objection(orders) or self._late_fault(orders):
            for order in orders:
                self.unplaced(order, CANCELLED, why)
            return False
        if not self._sender.ids.is_reserved(len(orders)):
            self.group_refused(orders, message)
            return False
        del self._queued[message]
        heads = self.heads(orders)
        message.data = b"".join(self._number(order, each, message) for order, each in zip(orders, values, strict=True))
        message.about = _about("place", orders)
        for order, each, is_sent in zip(orders, values, transmitted(heads, values), strict=True):
            self._leave(order, transmitted=is_sent, kept=not each.get("order", {}).get("transmit", True))
        return True

    def _expiry(self, orders: Sequence[Order]) -> str:
        """Return why orders must not leave any more; empty if they may."""
        for order in orders:
            if order.not_after is not None and self._gate.expired(order.not_after):
                return "its not_after passed before it could be sent"
            parent = self.parent(order)
            if parent is not None and parent.ended and parent.reason is not Reason.FILLED:
                return f"its parent, {parent.key}, {'was not placed' if parent.unsent else 'is over'}"
        return ""

    def _late_fault(self, orders: Sequence[Order]) -> str:
        """Return the limit that orders which have waited are over meanwhile; empty if there is none."""
        waited = [order for order in orders if order not in self.accepting]
        return self._risk.late_fault(waited) if waited else ""

    def _late_fault_of_change(self, order: Order) -> str:
        return self._risk.late_fault([order]) if order is not self.changing else ""

    def _leave(self, order: Order, *, transmitted: bool, kept: bool) -> None:
        order.leave(transmitted=transmitted, kept=kept)
        self._orders.journal.note(order)
        self._unreported.order_left(order)

    def _number(self, order: Order, values: dict[str, Any], message: OutboundMessage) -> bytes:
        """Give an order its id, and that of its parent. Return the bytes of the order."""
        values = {**values, str(message.request.key): self._sender.ids.take()}
        parent = self.parent(order)
        if order.parent and parent is not None:
            values["order"] = {**values["order"], "parentId": parent.order_id}
        self._orders.number(order, values[str(message.request.key)])
        return message.data if values == message.args else self._sender.packed(message.request, values)

    def orders_written(self, orders: Sequence[Order], _: OutboundMessage) -> None:
        """Publish the states of orders that are written. What is committed for that takes the orders no time."""
        for order in orders:
            if order not in self.accepting:
                self._notifications.publish_state(order)

    def order_dropped(self, order: Order, message: OutboundMessage) -> None:
        """End an order whose connection is gone."""
        self.group_dropped([order], message)

    def group_dropped(self, orders: Sequence[Order], _: OutboundMessage) -> None:
        """End orders whose connection is gone."""
        for order in orders:
            self.unplaced(order, NOT_CONNECTED, "the connection to TWS was lost before it could be sent")

    def order_refused(self, order: Order, message: OutboundMessage) -> None:
        """End an order that could not be written into the journal, and so must not leave."""
        self.group_refused([order], message)

    def group_refused(self, orders: Sequence[Order], _: OutboundMessage) -> None:
        """End orders that could not be written into the journal, and so must not leave."""
        for order in orders:
            if order in self.accepting:  # the reply says it
                self.withdrawn(order)
            else:
                self.unplaced(order, NOT_CONNECTED, f"it could not be recorded: {self._gate.store_fault}")

    def change_leaves(self, order: Order, change: Change, message: OutboundMessage) -> bool:
        """Prepare for the writing of a change. Return False if the order has changed so that it must not be sent.

        A change of an order that TWS keeps says whether TWS is to go on keeping it. That must not be said of an order
        that TWS has transmitted meanwhile.
        """
        order.change = order.queued = None
        if why := self._gate.halts.objection_to_change(order, change.args) or self._late_fault_of_change(order):
            self._notifications.notify_error(order, NOT_CONNECTED, f"the change was not sent: {why}", ends=False)
            return False
        open_now = (OrderState.HELD,) if change.of_held else (OrderState.HELD, OrderState.ACKED, OrderState.WORKING)
        if order.state not in open_now:
            text = f"the change {change.revision} was not sent: the order is {order.state.value} meanwhile"
            self._notifications.notify_error(order, NOT_CONNECTED, text, ends=False)
            return False
        message.about = {**_about("change", [order]), "rev": change.revision}
        order.revision, order.change_digest = change.revision, change.digest
        if order.state is OrderState.HELD:  # TWS says nothing of what it keeps back
            order.args, order.has_followup = change.args, True
            if is_transmitted(order):
                self._leave(order, transmitted=True, kept=False)
            self._orders.journal.note(order)
            return True
        order.pending, order.has_followup = change.args, True
        order.step(OrderEvent.MODIFY)
        self._orders.journal.note(order)
        self._unreported.change_left(order)
        return True

    def change_dropped(self, order: Order, _: OutboundMessage) -> None:
        """Tell the owner of an order that its change never left."""
        order.change, order.change_digest, order.queued = None, b"", None
        why = "the connection to TWS was lost before the change of this order could be sent; change it again"
        self._notifications.notify_error(order, NOT_CONNECTED, why, ends=False)

    def change_refused(
        self, order: Order, before: tuple[int, OrderState, Mapping[str, Any], bool, bool], _: OutboundMessage
    ) -> None:
        """Take a change back that could not be written into the journal, and so must not leave.

        `before` are the revision, the state, the arguments, `kept` and `has_followup` without the change.
        """
        order.revision, order.state, order.args, order.kept, order.has_followup = before
        order.change_digest, order.pending = b"", None
        self._orders.journal.note(order)  # the journal may have the change already
        why = f"the change could not be recorded, and was not sent: {self._gate.store_fault}"
        self._notifications.notify_error(order, NOT_CONNECTED, why, ends=False)

    def cancel_leaves(self, order: Order, message: OutboundMessage) -> bool:
        """Note that a cancel is being written."""
        message.about = {**_about("cancel", [order]), "decisions": None, "cause": order.cancelled_by}
        self._unreported.cancel_left(order)
        return True

    def cancel_dropped(self, order: Order, _: OutboundMessage) -> None:
        """Tell the owner of an order that its cancel never left."""
        order.cancelled_by = ""
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

    def check_not_usurped(self, order: Order) -> None:
        """Refuse to send anything under an order id that TWS has given to an order of another program since."""
        if usurper := self._orders.usurper(order):
            fault = (
                f"TWS has an order of another program under the order id {order.order_id} (permId {usurper.perm_id}), "
                "and would take the message for that order's; the comparison with TWS says what became of yours"
            )
            raise CommandRefused("E_STATE", fault, state=order.state.value)

    def heads(self, orders: Sequence[Order]) -> list[Order]:
        """Return the head of the family of each order: TWS keeps a family until it is to transmit the last."""
        return families(orders, self.parent)

    def parent(self, order: Order) -> Order | None:
        """Return the parent of an order; None if it has none that this daemon knows."""
        return self._orders.parent(order)


def _about(does: str, orders: Sequence[Order]) -> dict[str, Any]:
    """Return the facts for the audit about orders that leave."""
    return {
        "does": does,
        "owner": orders[0].owner,
        "keys": [order.key for order in orders],
        "orders": [order.order_id for order in orders],
        **({"decisions": decisions} if (decisions := [order.decision for order in orders if order.decision]) else {}),
    }
