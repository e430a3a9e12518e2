"""The cancel of an order that no client of this daemon has placed, by its permId.

Pure. TWS takes such a cancel only from the client id that has the order, so the reply says why another cannot be
cancelled. This module must not know how an order of a client is placed or cancelled.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ibbridge.ib.notices import NOT_CONNECTED
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from ibbridge.codec.schema import Request
    from ibbridge.orders.foreign_orders import ForeignOrder
    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.requests.request import CommandId
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import RequestSender


class ForeignCancel:
    """Cancels of orders of `ext`."""

    def __init__(self, sender: RequestSender, registry: OrderRegistry, notifications: OrderNotifications) -> None:
        self._sender = sender
        self._orders = registry
        self._notifications = notifications

    def execute(self, request: Request, args: dict[str, Any], command_id: CommandId, key: str | None) -> dict[str, Any]:
        """Cancel the order with the permId of a command. Return the `result` of the reply. Raises `CommandRefused`."""
        perm_id = args["permId"]
        if key is not None or "key" in args:
            raise CommandRefused("E_ARG", "key and permId both name an order; give one of them")
        if not isinstance(perm_id, int) or isinstance(perm_id, bool):
            raise CommandRefused("E_ARG", "permId must be an integer")
        order = self._find(perm_id)
        rest = {name: value for name, value in args.items() if name != "permId"}
        checked = self._sender.check(request, {**rest, "orderId": order.order_id})
        message = self._sender.message(
            request, checked, client=command_id.client, on_drop=partial(self._dropped, order)
        )
        message.about = {"does": "cancel", "owner": "ext", "orders": [order.order_id], "permId": perm_id}
        self._sender.send(message)
        return {"permId": perm_id, "orderId": order.order_id, "topic": self._notifications.topic(order.whose)}

    def _find(self, perm_id: int) -> ForeignOrder:
        """Return the order of nobody here with this permId. Raise `CommandRefused` if TWS takes no cancel of it."""
        order = self._orders.foreign.find(perm_id)
        if order is None:
            if own := self._orders.owner_of(perm_id):
                raise CommandRefused(
                    "E_ARG", f"permId: {own.owner} has placed the order; cancel the order by its key, {own.key!r}"
                )
            fault = f"permId: TWS has reported no order of others with the permId {perm_id}; reconcile asks TWS"
            raise CommandRefused("E_ARG", fault)
        if order.ended:
            raise CommandRefused("E_STATE", f"the order is over ({order.status})", state="done")
        if not order.order_id:
            raise self._unbound()
        if not self._orders.ours(order.client_id):
            fault = (
                f"client id {order.client_id} has placed the order, and TWS takes its cancel from that client id alone"
            )
            raise CommandRefused("E_ARG", f"permId: {fault}")
        return order

    def _unbound(self) -> CommandRefused:
        """Return the refusal to cancel an order made by hand that has no order id of the API."""
        if self._orders.binds_manual:
            fault = "TWS has not bound the order, which was made by hand, to client id 0 yet; reconcile asks for that"
            return CommandRefused("E_STATE", f"permId: {fault}", outcome="not_sent", retry_after=1.0, state="unbound")
        way = "set" if self._orders.ours(0) else "run a daemon with tws.client_id: 0 and"
        fault = f"the order was made by hand in TWS, and the API has no order id for it; {way} orders.bind_manual: true"
        return CommandRefused("E_ARG", f"permId: {fault}, or cancel it in TWS")

    def _dropped(self, order: ForeignOrder, _: OutboundMessage) -> None:
        """Publish that the cancel never left, because the connection is gone."""
        why = "the connection to TWS was lost before the cancel of this order could be sent; cancel it again"
        self._notifications.notify_foreign(order.whose, NOT_CONNECTED, why)
