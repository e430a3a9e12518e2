"""Changes of orders: the same order under its key and id, with other attributes, in revisions that rise.

Pure. A change leaves only while the daemon knows that TWS has the order and is doing nothing else with it. The revision
is in the journal before the change leaves, so a repeated change is known again. This module must not know how orders
are placed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.orders import order_arguments
from ibbridge.orders.departure import Change
from ibbridge.orders.state_machine import OrderState
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.orders.departure import OrderDeparture
    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.order import Order
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.orders.risk_control import OrderGates
    from ibbridge.tws.sender import RequestSender

CHANGEABLE = (OrderState.HELD, OrderState.ACKED, OrderState.WORKING)
"""States in which a change may leave."""

FIXED = ("action", "account", "faGroup", "faMethod")
"""Attributes that TWS lets nobody change. The limits could not count both orders until it has refused that."""

_PLACE = REQUESTS["placeOrder"]


class OrderModification:
    """Changes of orders that TWS has."""

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

    def execute(self, client: str, key: str, revision: int, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change attributes of an order, and return the `result` of the reply. Raises `CommandRefused`."""
        order = self._orders.find(client, key)
        if order is None:
            raise CommandRefused("E_ARG", f"key: {client} has no order with the key {key!r}")
        digest = order_arguments.order_digest("modifyOrder", {"rev": revision, "order": changes})
        if self._is_repeat(order, revision, digest):
            return {**self._result(order, revision), "dup": True}
        last, args = order.queued or (order.revision, order.args)
        if revision <= last:
            raise CommandRefused("E_ARG", f"rev must be above {last}, the revision of the last change", rev=last)
        self._gate.check(client)
        _check(order)
        self._departure.check_not_usurped(order)
        changed = order_arguments.changed(args, changes)
        was_held = order.state is OrderState.HELD
        transmit = changes.get("transmit", not was_held)
        if was_held:  # TWS keeps it until a change says otherwise, whatever it was placed with
            changed = order_arguments.changed(changed, {"transmit": transmit})
        values = order_arguments.changed_values(
            self._sender, order, changed, self._departure.parent(order), transmit=transmit
        )
        _check_fixed(order.args["order"], changed["order"], self._sender.accounts)
        self._gate.halts.check_change(order, changed)
        before = order.change, order.change_digest, order.queued
        message = self._sender.message(
            _PLACE,
            values,
            client=order.owner,
            on_send=partial(self._departure.change_leaves, order, Change(revision, digest, changed, was_held)),
            on_drop=partial(self._departure.change_dropped, order),
            on_refuse=partial(self._departure.change_refused, order, _kept(order)),
            on_written=partial(self._departure.orders_written, [order]),
            instead_of=[order.change] if order.change else (),
        )
        counted = self._risk.admit_change(order, changed)
        order.change, order.change_digest, order.queued = message, digest, (revision, changed)
        self._departure.changing = order
        try:
            self._sender.send(message)
        except CommandRefused:
            order.change, order.change_digest, order.queued = before
            self._risk.take_back(counted)
            raise
        finally:
            self._departure.changing = None
            self._risk.settle()
        if not message.waits and order.revision != revision:
            fault = f"the change was not sent, because it could not be recorded: {self._gate.store_fault}"
            raise CommandRefused("E_STORE", fault, outcome="not_sent", retry_after=5.0)
        return self._result(order, revision)

    def _is_repeat(self, order: Order, revision: int, digest: bytes) -> bool:
        """Return True if this change has left, or waits to be sent."""
        waits = order.change is not None and order.change.waits
        return digest == order.change_digest and (revision == order.revision or waits)

    def _result(self, order: Order, revision: int) -> dict[str, Any]:
        topics = self._notifications.topics(order)
        return {"key": order.key, "orderId": order.order_id, "rev": revision, "topic": topics[0], "topics": topics}


def _kept(order: Order) -> tuple[int, OrderState, Mapping[str, Any], bool, bool]:
    """Return what a change alters of an order as it leaves."""
    return order.revision, order.state, order.args, order.kept, order.has_followup


def _check(order: Order) -> None:
    """Refuse the change of an order that cannot be changed, now or ever."""
    if order.ended:
        why = f"is over ({order.reason.value if order.reason else 'done'})"
        raise CommandRefused("E_STATE", f"the order {why}, and cannot be changed", state=order.state.value)
    if order.command != "placeOrder" or "order" not in order.args:
        raise CommandRefused("E_ARG", "only an order made by placeOrder or placeOrders can be changed")
    if order.state not in CHANGEABLE or order.pending is not None:
        fault = (
            f"the order is {order.state.value}: it can be changed when TWS has reported it, and while no other change "
            "or cancel of it is under way"
        )
        raise CommandRefused("E_STATE", fault, outcome="not_sent", retry_after=1.0, state=order.state.value)


def _check_fixed(before: Mapping[str, Any], after: Mapping[str, Any], accounts: Sequence[str]) -> None:
    """Refuse a change of what an order cannot change. The login's only account is meant if none is given."""
    meant = {"account": accounts[0]} if len(accounts) == 1 else {}
    faults = [
        f"order.{name} cannot be changed; cancel the order, and place another one"
        for name in FIXED
        if (before.get(name) or meant.get(name, "")) != (after.get(name) or meant.get(name, ""))
    ]
    if faults:
        raise CommandRefused("E_ARG", *faults)
