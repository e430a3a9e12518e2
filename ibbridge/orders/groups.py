"""Groups of orders: all or none of a bracket or another group leave, in one write, with rising ids.

Pure. A fault in one member refuses all before a byte leaves. If TWS refuses a member later, the others are cancelled,
unless the client wants to keep them. This module must not know sockets or the form of commands.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.orders import order_arguments
from ibbridge.orders.order import LONGEST_REF, Order, order_ref
from ibbridge.orders.state_machine import OrderState, Reason
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import CommandId
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.orders.departure import OrderDeparture
    from ibbridge.orders.placement import OrderPlacement
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.orders.risk_control import RiskControl
    from ibbridge.tws.sender import RequestSender

MOST = 10
"""Most orders of a group: they leave in one write, and TWS takes some 50 messages a second."""

CANCEL, KEEP = "cancel", "keep"
"""What becomes of the other orders of a group, if TWS refuses one."""

_MEMBER = ("key", "contract", "order", "parent", "cancel_on_disconnect")
_FAILED = (Reason.REJECTED, Reason.NOT_AT_TWS, Reason.NOT_SENT)
_PLACE, _CANCEL = REQUESTS["placeOrder"], REQUESTS["cancelOrder"]


class OrderGroups(ConnectionListener):
    """Placement of groups of orders, and the watch over them."""

    def __init__(
        self,
        sender: RequestSender,
        registry: OrderRegistry,
        placement: OrderPlacement,
        departure: OrderDeparture,
        risk: RiskControl,
    ) -> None:
        self._sender = sender
        self._orders = registry
        self._placement = placement
        self._departure = departure
        self._risk = risk

    def execute(
        self, client: str, members: Sequence[Mapping[str, Any]], on_partial: str, not_after: int | None
    ) -> dict[str, Any]:
        """Place all of these orders, or none. Return the `result` of the reply. Raises `CommandRefused`."""
        keys = self._keys(members, on_partial)
        digest = order_arguments.order_digest("placeOrders", {"orders": list(members), "onPartial": on_partial})
        if known := [order for key in keys if (order := self._placement.known(client, key)) is not None]:
            return {**self._repeated(client, keys, known, digest), "dup": True}
        self._placement.check_unused(client, *keys)
        group = tuple(keys) if on_partial == CANCEL else ()
        orders = [
            Order(
                client, key, 0, _args(member), "placeOrder", digest, not_after, member.get("parent") or "", group=group
            )
            for key, member in zip(keys, members, strict=True)
        ]
        values = self._values(orders, keys)
        self._placement.check_halts(orders)
        for each in _kept_back(self._departure.heads(orders), values):
            each["order"]["transmit"] = False
        self._accept(orders, values)
        return self._result(orders)

    def _keys(self, members: Sequence[Mapping[str, Any]], on_partial: str) -> list[str]:
        """Return the keys of the members. Raise `CommandRefused` with the faults of the form of all of them."""
        if not 1 <= len(members) <= MOST:
            raise CommandRefused("E_ARG", f"orders must have 1 to {MOST} orders, not {len(members)}")
        if on_partial not in (CANCEL, KEEP):
            raise CommandRefused("E_ARG", f"on_partial must be {CANCEL} or {KEEP}")
        faults, keys = [], []
        for number, member in enumerate(members):
            try:
                keys.append(_key(member))
            except CommandRefused as error:
                faults += [f"orders[{number}]: {fault}" for fault in error.faults]
        for number, member in enumerate(members[: len(keys)] if not faults else ()):
            if keys.index(keys[number]) != number:
                faults.append(f"orders[{number}]: the key {keys[number]!r} is given twice")
            if member.get("parent") in keys[number:]:
                faults.append(f"orders[{number}]: its parent must stand before it")
        if faults:
            raise CommandRefused("E_ARG", *faults)
        return keys

    def _repeated(self, client: str, keys: Sequence[str], known: list[Order], digest: bytes) -> dict[str, Any]:
        if len(known) < len(keys) or any(order.digest != digest for order in known):
            used = ", ".join(repr(order.key) for order in known)
            raise CommandRefused("E_KEY_REUSED", f"{used}: used by other orders of {client}; take new keys")
        return self._result(known)

    def _values(self, orders: Sequence[Order], keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return the checked arguments of all orders. Raise `CommandRefused` with the faults of all of them."""
        found, faults = [], []
        for number, order in enumerate(orders):
            try:
                self._check_name(order, keys)
                found.append(order_arguments.order_values(self._sender, order))
            except CommandRefused as error:
                if error.code != "E_ARG":
                    raise
                faults += [f"orders[{number}]: {fault}" for fault in error.faults]
        if faults:
            raise CommandRefused("E_ARG", *faults)
        return found

    def _check_name(self, order: Order, keys: Sequence[str]) -> None:
        if len(order_ref(order.owner, order.key)) > LONGEST_REF:
            raise CommandRefused("E_ARG", f"client and key together may have {LONGEST_REF - 1} characters")
        order_arguments.parent(order.args)
        if order.parent and order.parent not in keys and self._orders.find(order.owner, order.parent) is None:
            raise CommandRefused("E_ARG", f"parent: {order.owner} has no order with the key {order.parent!r}")

    def _accept(self, orders: list[Order], values: list[dict[str, Any]]) -> None:
        """Queue the orders as one message, which mostly leaves at once."""
        counted = self._risk.admit(orders)
        for order in orders:
            self._orders.add(order)
        self._departure.accepting = frozenset(orders)
        try:
            message = self._sender.message(
                _PLACE,
                values[0],
                client=orders[0].owner,
                on_send=partial(self._departure.group_leaves, orders, values),
                on_drop=partial(self._departure.group_dropped, orders),
                on_refuse=partial(self._departure.group_refused, orders),
                on_written=partial(self._departure.orders_written, orders),
            )
            message.weight = len(orders)
            self._departure.queue(orders, message)
            self._sender.send(message)
            self._placement.record(orders, message)
        except CommandRefused:
            self._risk.take_back(counted)
            for order in orders:
                self._departure.withdrawn(order)
                self._orders.forget(order)
            raise
        finally:
            self._departure.accepting = frozenset()
            self._risk.settle()
        self._placement.publish(orders)

    def _result(self, orders: Sequence[Order]) -> dict[str, Any]:
        placed = [self._placement.placed(order) for order in orders]
        topics = dict.fromkeys(topic for each in placed for topic in each["topics"])
        return {"orders": placed, "topics": [*topics]}

    # -- later

    def tick(self, _: float) -> None:
        """Cancel the orders of groups of which TWS has refused a member."""
        if not self._sender.is_open:
            return
        for order in self._orders.open_orders():
            if order.group and self._is_to_cancel(order):
                try:
                    self._placement.cancel(_CANCEL, {}, CommandId(order.owner, "group"), order.key, cause="group")
                except CommandRefused:
                    continue

    def _is_to_cancel(self, order: Order) -> bool:
        lost = order.state is OrderState.UNKNOWN and order.may_be_kept  # so was the first cancel, and no list says it
        if (order.cancelled_by and not lost) or order.state in (OrderState.CANCELLING, OrderState.QUEUED):
            return False
        others = (self._orders.keyed(order.owner, key) for key in order.group if key != order.key)
        return any(other is not None and other.ended and other.reason in _FAILED for other in others)


def _key(member: Mapping[str, Any]) -> str:
    if unknown := [name for name in member if name not in _MEMBER]:
        raise CommandRefused("E_ARG", f"{str(unknown[0])[:60]!r} is unknown; an order takes {', '.join(_MEMBER)}")
    order_arguments.parent(member)
    order_arguments.check_disconnect(member)
    return order_arguments.with_key(dict(member), None)[1]


def _args(member: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in member.items() if name != "key"}


def _kept_back(heads: Sequence[Order], values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the arguments of those orders that TWS keeps until the last one of their family comes."""
    last = {head: number for number, head in enumerate(heads)}
    return [each for number, (head, each) in enumerate(zip(heads, values, strict=True)) if last[head] != number]
