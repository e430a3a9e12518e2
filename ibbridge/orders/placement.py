"""Placement and cancellation of orders by key, and withdrawal of queued orders.

This module tells the owner of an order that never left. `order_arguments` knows what an order must say, `risk.gate`
knows when no order may go out, `registry` finds the owner of an order that TWS reports, and `sender` sends. A command
that is not executed raises `CommandRefused`. Pure.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ibbridge.codec.schema import Kind, Pace
from ibbridge.ib.notices import CANCELLED, NOT_CONNECTED
from ibbridge.orders import order_arguments
from ibbridge.orders.order import LONGEST_REF, Order, order_ref
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.orders.unreported import UnreportedOrders
    from ibbridge.requests.request import CommandId
    from ibbridge.risk.gate import TradingGate
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import RequestSender


class OrderPlacement:
    """Placement and cancellation of orders."""

    def __init__(
        self,
        sender: RequestSender,
        registry: OrderRegistry,
        gate: TradingGate,
        notifications: OrderNotifications,
        unreported: UnreportedOrders,
    ) -> None:
        self._sender = sender
        self._orders = registry
        self._gate = gate
        self._notifications = notifications
        self._unreported = unreported

    # -- commands

    def is_repeat(self, command: str, args: Mapping[str, Any], command_id: CommandId, key: str | None) -> bool:
        """Return True if the command places an order under a known key. `execute` compares the two orders."""
        given = args.get("key", key)
        return (
            command in order_arguments.ORDERS
            and isinstance(given, str)
            and self._orders.keyed(command_id.client, given) is not None
        )

    def execute(
        self, request: Request, args: dict[str, Any], command_id: CommandId, key: str | None, not_after: int | None
    ) -> dict[str, Any]:
        """Place or cancel the order that a command names by its key. Return the `result` of the reply."""
        args, key = order_arguments.with_key(args, key)
        if request.does is Kind.ORDER:
            return self._place(request, args, command_id, key, not_after)
        return self._cancel(request, args, command_id, key)

    def what_if_values(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a `placeOrder` that asks for the margin and commission, and places nothing."""
        return order_arguments.what_if_values(self._sender, args)

    def _place(
        self, request: Request, args: dict[str, Any], command_id: CommandId, key: str, not_after: int | None
    ) -> dict[str, Any]:
        if known := self._orders.keyed(command_id.client, key):
            if (known.command, known.args) != (request.name, args):
                raise CommandRefused(
                    "E_KEY_REUSED", f"key {key!r} names another order of {command_id.client}; take a new key"
                )
            return {**self._placed(known), "dup": True}
        self._gate.check()
        if former := self._former(command_id.client, key):
            topic = self._notifications.topics(former)[0]
            fault = f"key {key!r} was used before the daemon was restarted: {topic} has the state of that order"
            raise CommandRefused("E_KEY_REUSED", f"{fault}; for another order take a new key")
        if len(ref := order_ref(command_id.client, key)) > LONGEST_REF:
            raise CommandRefused(
                "E_ARG", f"key: {ref[:80]!r}, which travels in orderRef, may have {LONGEST_REF} characters"
            )
        order = Order(command_id.client, key, self._sender.upcoming_id, args, request.name)
        if request.name == "placeOrder":
            values = order_arguments.order_values(self._sender, order)
        else:
            values = order_arguments.exercise_values(self._sender, request, order)
        self._sender.next_id()
        self._orders.add(order)
        try:
            order.message = self._sender.message(
                request,
                values,
                client=order.owner,
                on_send=partial(self._order_leaves, order, not_after),
                on_drop=partial(self._order_dropped, order),
            )
            self._sender.send(order.message)
        except CommandRefused:
            self._orders.forget(order)
            raise
        return self._placed(order)

    def _former(self, client: str, key: str) -> Order | None:
        """Return the order of an earlier process under a key. Raise `CommandRefused` if the store cannot say."""
        found = self._orders.former(client, key)
        if found is None:
            self._gate.check_store(f"the daemon cannot look up whether {client} has an order with the key {key!r}")
        return found

    def _placed(self, order: Order) -> dict[str, Any]:
        topic, executions = topics = self._notifications.topics(order)
        return {
            "key": order.key,
            "orderId": order.order_id,
            "topic": topic,
            "executions": executions,
            "topics": topics,
        }

    def _cancel(self, request: Request, args: dict[str, Any], command_id: CommandId, key: str) -> dict[str, Any]:
        order = self._orders.keyed(command_id.client, key) or self._former(command_id.client, key)
        if order is None or not order.order_id:
            raise CommandRefused("E_ARG", f"key: {command_id.client} has no order with the key {key!r}")
        if "orderId" in args:
            raise CommandRefused("E_ARG", "orderId is the daemon's to give; key names the order")
        checked = self._sender.check(request, {**args, "orderId": order.order_id})
        result = {"key": key, "orderId": order.order_id}
        if order.unsent or self._taken_back(order, "it was cancelled before it could be sent"):
            return result
        if self._being_cancelled(order, checked):
            return {**result, "dup": True}
        former = [order.cancel] if order.cancel else []
        message = self._sender.message(
            request,
            checked,
            client=command_id.client,
            on_send=partial(self._cancel_leaves, order),
            on_drop=partial(self._cancel_dropped, order),
            instead_of=former,
        )
        order.cancel = self._sender.send(message)
        return result

    def _being_cancelled(self, order: Order, args: Mapping[str, Any]) -> bool:
        """Return True if the same cancel is queued, or has just left and TWS has not reported the order since."""
        cancel = order.cancel
        if cancel is None or cancel.args != args:
            return False
        return cancel.waits or self._unreported.has_just_been_cancelled(order)

    def withdraw_all(self, why: str) -> None:
        """Withdraw all queued orders, and tell their owners that they were not placed, and why."""
        for order in self._queued():
            if self._sender.withdraw(order.message):
                self._unplaced(order, CANCELLED, why)

    def _queued(self) -> list[Order]:
        """Return the orders that wait to be sent."""
        found = (self._orders.numbered(_order_id(message)) for message in self._sender.waiting(Pace.ORDER))
        return [order for order in found if order is not None]

    # -- on the way to TWS

    def _order_leaves(self, order: Order, not_after: int | None, message: OutboundMessage) -> bool:
        """Prepare for the writing of an order. Return False if the order must not be sent any more."""
        if not_after is not None and self._gate.expired(not_after):
            self._unplaced(order, CANCELLED, "its not_after passed before it could be sent")
            return False
        parent = self._orders.numbered(_parent(message))
        if parent is not None and parent.unsent:
            self._unplaced(order, CANCELLED, f"its parent, {parent.key}, was not placed")
            return False
        order.leave()
        if _transmitted(message):
            self._unreported.order_left(order)
        return True

    def _cancel_leaves(self, order: Order, _: OutboundMessage) -> bool:
        self._unreported.cancel_left(order)
        return True

    def _order_dropped(self, order: Order, _: OutboundMessage) -> None:
        self._unplaced(order, NOT_CONNECTED, "the connection to TWS was lost before it could be sent")

    def _cancel_dropped(self, order: Order, _: OutboundMessage) -> None:
        why = "the connection to TWS was lost before the cancel of this order could be sent; cancel it again"
        self._notifications.notify_error(order, NOT_CONNECTED, why, ends=False)

    def _unplaced(self, order: Order, code: int, why: str) -> None:
        """End an accepted order that never left, and tell its owner."""
        order.withdraw()
        text = f"the order was not placed: {why}. Nothing of it has reached TWS; to place it, take a new key"
        self._notifications.notify_error(order, code, text, ends=True)

    def _taken_back(self, order: Order, why: str) -> bool:
        """Withdraw a queued order and its queued descendants. Return False if the order has left already."""
        if not self._sender.withdraw(order.message):
            return False
        self._unplaced(order, CANCELLED, why)
        children: dict[int, list[Order]] = {}
        for child in self._queued():
            children.setdefault(_parent(child.message), []).append(child)
        gone = [order]
        while gone:
            parent = gone.pop()
            for child in children.pop(parent.order_id, ()):
                if self._sender.withdraw(child.message):
                    self._unplaced(child, CANCELLED, f"its parent, {parent.key}, was cancelled before it could be sent")
                    gone.append(child)
        return True


def _order_id(message: OutboundMessage) -> int:
    """Return the order id of a queued order. The request id of an exercise of options becomes its order id."""
    number: int = message.args[str(message.request.key)]
    return number


def _parent(message: OutboundMessage | None) -> int:
    """Return the order id of the parent of a queued order; 0 if there is none."""
    number: int = message.args.get("order", {}).get("parentId") or 0 if message else 0
    return number


def _transmitted(message: OutboundMessage) -> bool:
    """Return True if TWS is to transmit the order. TWS does not report an order that it only keeps."""
    return bool(message.args.get("order", {}).get("transmit", True))
