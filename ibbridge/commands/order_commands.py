"""Commands about orders that are no requests of IB's: changes, groups, cancels of several, the list, a reconciliation.

This module knows the arguments of these commands. It must not know the form of commands, or how an order is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.commands.takes import ORDER_TAKES, check
from ibbridge.orders.order_states import shown
from ibbridge.orders.state_machine import OrderState
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.orders.groups import OrderGroups
    from ibbridge.orders.modification import OrderModification
    from ibbridge.orders.order import Order
    from ibbridge.orders.placement import OrderPlacement
    from ibbridge.orders.reconciliation_schedule import ReconciliationSchedule
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.requests.request import CommandId

LISTED = 200
"""Most orders of one reply to `orders`."""

_CANCEL = REQUESTS["cancelOrder"]


class OrderCommands:
    """Executor of these commands."""

    def __init__(
        self,
        placement: OrderPlacement,
        modification: OrderModification,
        groups: OrderGroups,
        registry: OrderRegistry,
        schedule: ReconciliationSchedule,
    ) -> None:
        self._placement = placement
        self._modification = modification
        self._groups = groups
        self._registry = registry
        self._schedule = schedule
        self._does: Mapping[str, Callable[[dict[str, Any], CommandId, int | None], dict[str, Any]]] = {
            "modifyOrder": self._modify,
            "placeOrders": self._place,
            "cancelOrders": self._cancel,
            "orders": self._list,
            "reconcile": self._reconcile,
        }

    def execute(
        self, name: str, args: dict[str, Any], command_id: CommandId, key: str | None, not_after: int | None
    ) -> dict[str, Any]:
        """Execute the command of this name and return its result. Raises `CommandRefused`."""
        takes = ORDER_TAKES[name]
        if key is not None:
            if "key" not in {each.name for each in takes}:
                raise CommandRefused("E_ARG", f"key is for single orders; {name} has none")
            if args.get("key", key) != key:
                raise CommandRefused("E_ARG", "key is given twice, and differently: beside args and within")
            args = {**args, "key": key}
        check(name, takes, args)
        return self._does[name](args, command_id, not_after)

    def is_repeat(self, name: str, args: Mapping[str, Any], command_id: CommandId) -> bool:
        """Return True if the command places orders of which one is known, so that nothing is sent."""
        if name != "placeOrders" or not isinstance(args.get("orders"), list):
            return False
        keys = (each.get("key") for each in args["orders"] if isinstance(each, dict))
        return any(isinstance(key, str) and self._registry.find(command_id.client, key) is not None for key in keys)

    def _modify(self, args: dict[str, Any], command_id: CommandId, _: int | None) -> dict[str, Any]:
        if args["rev"] < 1:
            raise CommandRefused("E_ARG", "rev must be 1 or more")
        if not args["order"]:
            raise CommandRefused("E_ARG", "order names no attribute to change")
        return self._modification.execute(command_id.client, args["key"], args["rev"], args["order"])

    def _place(self, args: dict[str, Any], command_id: CommandId, not_after: int | None) -> dict[str, Any]:
        return self._groups.execute(command_id.client, args["orders"], args.get("on_partial", "cancel"), not_after)

    def _cancel(self, args: dict[str, Any], command_id: CommandId, _: int | None) -> dict[str, Any]:
        if (args.get("keys") is None) == (not args.get("all")):
            raise CommandRefused("E_ARG", "give keys, or all: true")
        keys = args.get("keys")
        if keys is None:
            keys = [order.key for order in self._registry.open_orders() if order.owner == command_id.client]
        return {"orders": [self._cancelled(key, command_id) for key in dict.fromkeys(keys)]}

    def _cancelled(self, key: str, command_id: CommandId) -> dict[str, Any]:
        try:
            return {"key": key, "ok": True, **self._placement.cancel(_CANCEL, {}, command_id, key)}
        except CommandRefused as error:
            return {"key": key, "ok": False, "error": error.as_map()}

    def _list(self, args: dict[str, Any], command_id: CommandId, _: int | None) -> dict[str, Any]:
        state, since = args.get("state"), args.get("since", 0)
        states = [each.value for each in OrderState]
        if state is not None and state not in states:
            raise CommandRefused("E_ARG", f"state must be one of {', '.join(states)}")
        page, following = self._registry.journal.list_orders(command_id.client, args.get("after", ""), LISTED)
        if page is None:
            fault = f"the journal of orders cannot be read: {self._registry.journal.fault}"
            raise CommandRefused("E_STORE", fault, retry_after=5.0)
        known = [self._registry.keyed(order.owner, order.key) or order for order in page]
        wanted = [each for each in known if state in (None, each.state.value) and each.changed_at >= since]
        return {"orders": [_described(order) for order in wanted], "next": following}

    def _reconcile(self, _: dict[str, Any], __: CommandId, ___: int | None) -> dict[str, Any]:
        self._schedule.request()
        return {}


def _described(order: Order) -> dict[str, Any]:
    args = {name: order.args[name] for name in ("contract", "order") if name in order.args}
    return {"key": order.key, "command": order.command, **args, **shown(order), "ts": order.changed_at}
