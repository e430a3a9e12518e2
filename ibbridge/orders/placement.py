"""Placement and cancellation of orders by key, and withdrawal of queued orders.

This module tells the owner of an order that never left. `order_arguments` knows what an order must say, `risk.gate`
knows when no order may go out, `registry` finds the owner of an order that TWS reports, and `sender` sends. A command
that is not executed raises `CommandRefused`. Pure.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ibbridge.codec.schema import Kind
from ibbridge.ib.notices import CANCELLED
from ibbridge.orders import order_arguments
from ibbridge.orders.order import LONGEST_REF, Order, order_ref
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.codec.schema import Request
    from ibbridge.orders.departure import OrderDeparture
    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.orders.risk_control import OrderGates
    from ibbridge.requests.request import CommandId
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import RequestSender


class OrderPlacement:
    """Placement and cancellation of orders."""

    def __init__(
        self,
        sender: RequestSender,
        registry: OrderRegistry,
        gates: OrderGates,
        notifications: OrderNotifications,
        departure: OrderDeparture,
    ) -> None:
        self._sender = sender
        self._orders = registry
        self._gate = gates.gate
        self._risk = gates.risk
        self._notifications = notifications
        self._departure = departure

    # -- commands

    def is_repeat(self, command: str, args: Mapping[str, Any], command_id: CommandId, key: str | None) -> bool:
        """Return True if the command places an order under a known key. `execute` compares the two orders."""
        given = args.get("key", key)
        return (
            command in order_arguments.ORDERS
            and isinstance(given, str)
            and self._orders.find(command_id.client, given) is not None
        )

    def execute(
        self, request: Request, args: dict[str, Any], command_id: CommandId, key: str | None, not_after: int | None
    ) -> dict[str, Any]:
        """Place or cancel the order that a command names by its key. Return the `result` of the reply."""
        args, key = order_arguments.with_key(args, key)
        if request.does is Kind.ORDER:
            return self._place(request, args, command_id, key, not_after)
        return self.cancel(request, args, command_id, key)

    def what_if_values(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a `placeOrder` that asks for the margin and commission, and places nothing."""
        return order_arguments.what_if_values(self._sender, args)

    def _place(
        self, request: Request, args: dict[str, Any], command_id: CommandId, key: str, not_after: int | None
    ) -> dict[str, Any]:
        digest = order_arguments.order_digest(request.name, args)
        if known := self.known(command_id.client, key):
            if known.digest != digest:
                raise CommandRefused("E_KEY_REUSED", self._reused(known))
            return {**self.placed(known), "dup": True}
        self.check_unused(command_id.client, key)
        if len(ref := order_ref(command_id.client, key)) > LONGEST_REF:
            raise CommandRefused(
                "E_ARG", f"key: {ref[:80]!r}, which travels in orderRef, may have {LONGEST_REF} characters"
            )
        parent = order_arguments.parent(args)
        order_arguments.check_disconnect(args)
        if parent and self._orders.find(command_id.client, parent) is None:
            raise CommandRefused("E_ARG", f"parent: {command_id.client} has no order with the key {parent!r}")
        order = Order(command_id.client, key, 0, args, request.name, digest, not_after, parent)
        if request.name == "placeOrder":
            values = order_arguments.order_values(self._sender, order)
        else:
            values = order_arguments.exercise_values(self._sender, request, order)
        self.check_halts([order])
        self._accept(order, request, values)
        return self.placed(order)

    def _accept(self, order: Order, request: Request, values: dict[str, Any]) -> None:
        """Queue an order, which mostly leaves at once. Raise `CommandRefused` if it is not accepted."""
        counted = self._risk.admit([order])
        self._orders.add(order)
        self._departure.accepting = frozenset((order,))
        try:
            message = self._sender.message(
                request,
                values,
                client=order.owner,
                on_send=partial(self._departure.order_leaves, order),
                on_drop=partial(self._departure.order_dropped, order),
                on_refuse=partial(self._departure.order_refused, order),
                on_written=partial(self._departure.orders_written, [order]),
            )
            self._departure.queue([order], message)
            self._sender.send(message)
            self.record([order], message)
        except CommandRefused:
            self._risk.take_back(counted)
            self._departure.withdrawn(order)
            self._orders.forget(order)
            raise
        finally:
            self._departure.accepting = frozenset()
            self._risk.settle()
        self.publish([order])

    def record(self, orders: Sequence[Order], message: OutboundMessage) -> None:
        """Record orders that are queued. Raise `CommandRefused` if they cannot be recorded, and withdraw them."""
        if message.waits:
            for order in orders:
                self._orders.journal.note(order)
            if not self._orders.journal.commit():
                self._sender.withdraw(message)
                for order in orders:
                    self._departure.withdrawn(order)
        if any(order.unsent and order.error is None for order in orders):
            fault = f"the order was not placed, because it could not be recorded: {self._gate.store_fault}"
            raise CommandRefused("E_STORE", fault, outcome="not_sent", retry_after=5.0)

    def publish(self, orders: Sequence[Order]) -> None:
        """Publish the states of orders that were accepted."""
        for order in orders:
            self._notifications.publish_state(order)

    def check_unused(self, client: str, *keys: str) -> None:
        """Refuse new orders while the gate is closed, and a key under which an earlier process has placed an order."""
        former = [self._orders.former(client, key) for key in keys]
        self._gate.check(client)  # a store that could not be read has a fault
        for order in former:
            if order is not None:
                raise CommandRefused("E_KEY_REUSED", self._reused(order))

    def check_halts(self, orders: Sequence[Order]) -> None:
        """Refuse new orders, which come together, if a halt of their client or account is in the way of one."""
        self._gate.halts.check_orders(orders)

    def known(self, owner: str, key: str) -> Order | None:
        """Return the order that the journal has under a key; None if it has none.

        An order that the journal has only from TWS's reports has no digest, so no command is a repetition of its own.
        """
        return self._orders.find(owner, key)

    def _reused(self, order: Order) -> str:
        topic = self._notifications.topics(order)[0]
        if not order.digest:
            return (
                f"key {order.key!r} names an earlier order of {order.owner}, and the journal does not have its "
                f"arguments to compare with ({topic} has its state); for another order take a new key"
            )
        return (
            f"key {order.key!r} names another order of {order.owner} ({topic} has its state); "
            "for another order take a new key"
        )

    def _former(self, client: str, key: str) -> Order | None:
        """Return the order of an earlier process under a key. Raise `CommandRefused` if the store cannot say."""
        found = self._orders.former(client, key)
        if found is None:
            self._gate.check_store(f"the daemon cannot look up whether {client} has an order with the key {key!r}")
        return found

    def placed(self, order: Order) -> dict[str, Any]:
        """Return the `result` of the command that has placed an order."""
        topic, executions = topics = self._notifications.topics(order)
        return {
            "key": order.key,
            "orderId": order.order_id or None,
            "topic": topic,
            "executions": executions,
            "topics": topics,
        }

    def cancel(
        self, request: Request, args: dict[str, Any], command_id: CommandId, key: str, *, cause: str = "own"
    ) -> dict[str, Any]:
        """Cancel an order, or withdraw it. `cause` says by whom. Return the `result` of the reply."""
        order = self.known(command_id.client, key) or self._former(command_id.client, key)
        if order is not None and order.may_have_left and order.is_missing:
            self._notifications.closed(order)
            return {"key": key, "orderId": None}
        if order is not None and order.may_have_left:
            fault = "TWS has not reported the order since the journal was restored, so its id is not known; try again"
            raise CommandRefused("E_STATE", fault, outcome="not_sent", retry_after=5.0, state=order.state.value)
        if order is None or not (order.order_id or order.message or order.unsent):
            raise CommandRefused("E_ARG", f"key: {command_id.client} has no order with the key {key!r}")
        if "orderId" in args:
            raise CommandRefused("E_ARG", "orderId is the daemon's to give; key names the order")
        checked = self._sender.check(request, {**args, "orderId": order.order_id})
        result = {"key": key, "orderId": order.order_id or None}
        if order.unsent or self._taken_back(order, "it was cancelled before it could be sent"):
            return result
        if self._being_cancelled(order, checked):
            return {**result, "dup": True}
        self._departure.check_not_usurped(order)
        former = [order.cancel] if order.cancel else []
        message = self._sender.message(
            request,
            checked,
            client=command_id.client,
            on_send=partial(self._departure.cancel_leaves, order),
            on_drop=partial(self._departure.cancel_dropped, order),
            on_written=partial(self._departure.orders_written, [order]),
            instead_of=former,
        )
        order.cancelled_by = cause
        order.cancel = self._sender.send(message)
        return result

    def _being_cancelled(self, order: Order, args: Mapping[str, Any]) -> bool:
        """Return True if the same cancel is queued, or has just left and TWS has not reported the order since."""
        cancel = order.cancel
        if cancel is None or cancel.args != args:
            return False
        return cancel.waits or self._departure.has_just_been_cancelled(order)

    def cancelled_by(self, client: str) -> None:
        """Note that a cancel of all orders leaves for a client."""
        for order in self._orders.open_orders():
            order.cancelled_by = order.cancelled_by or ("own" if order.owner == client else "other_client")

    def withdraw_all(self, why: str) -> None:
        """Withdraw all queued orders, and tell their owners that they were not placed, and why."""
        for order in self._departure.queued():
            self._withdraw(order, why)

    def _withdraw(self, order: Order, why: str) -> list[Order]:
        """Withdraw a queued order, and those that were to leave with it. Return them; none if the order has left."""
        together = self._departure.together(order)
        if not self._sender.withdraw(order.message):
            return []
        for each in together:
            other = f"{order.key}, which was to leave with it, was cancelled before it could be sent"
            self._departure.unplaced(each, CANCELLED, why if each is order else other)
        return together

    def _taken_back(self, order: Order, why: str) -> bool:
        """Withdraw a queued order and its queued descendants. Return False if the order has left already."""
        if order.message is None or not order.message.waits:
            return False
        children: dict[Order, list[Order]] = {}
        for child in self._departure.queued():
            if (parent := self._departure.parent(child)) is not None:
                children.setdefault(parent, []).append(child)
        if not (gone := self._withdraw(order, why)):
            return False
        while gone:
            parent = gone.pop()
            for child in children.pop(parent, ()):
                gone += self._withdraw(child, f"its parent, {parent.key}, was cancelled before it could be sent")
        return True
