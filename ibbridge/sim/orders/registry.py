"""Order book: every order, the relations between orders, and the clients that are told of an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.sim.market import ib_times
from ibbridge.sim.orders.order import API_CANCELLED, CANCELLED, FILLED, HELD, PRE_SUBMITTED, SimulatedOrder
from ibbridge.sim.orders.validation import Trigger, order_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibbridge.sim.context import ClientSession, Data, SimulationContext

FIRST_PERM_ID = 1_880_000_001
CANCELLED_BY_USER = "Order Canceled - reason:"


class OrderBook:
    """Orders of every client, and every execution as (ticket, execution, commission report), oldest first."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self._bound = 0
        self._perm_ids = 0
        self._fills = 0
        self.tickets: list[SimulatedOrder] = []
        self.executions: list[tuple[SimulatedOrder, Data, Data]] = []

    def find(self, client: int, order_id: int) -> SimulatedOrder | None:
        """Return the latest order of a client with this order id; None if there is none. 0 is the id of no order."""
        found = (t for t in reversed(self.tickets) if t.client == client and t.order_id == order_id)
        return next(found, None) if order_id else None

    def working(self) -> Iterator[SimulatedOrder]:
        """Return the orders that have been transmitted and are not over, oldest first."""
        return (ticket for ticket in self.tickets if ticket.working)

    def children(self, ticket: SimulatedOrder) -> list[SimulatedOrder]:
        """Return the orders attached to this one."""
        return [other for other in self.tickets if other.parent is ticket]

    def siblings(self, ticket: SimulatedOrder) -> list[SimulatedOrder]:
        """Return the other children of a filled parent: of take-profit and stop-loss only one may happen."""
        if ticket.parent is None or ticket.parent.status != FILLED:
            return []
        return [other for other in self.children(ticket.parent) if other is not ticket]

    def forget_day(self) -> None:
        """Drop executions and finished orders, which a TWS does not report on the next day."""
        self.executions.clear()
        self.tickets = [ticket for ticket in self.tickets if not ticket.done]

    def drop_held(self) -> None:
        """Drop the orders that were not transmitted."""
        self.tickets = [ticket for ticket in self.tickets if ticket.status != HELD]

    def execution_id(self) -> str:
        """Return a new execution id. A correction would differ after the last dot."""
        self._fills += 1
        return f"0000e0d5.{0x65000000 + self._fills:08x}.01.01"

    # -- states ------------------------------------------------------------------------------------------------------

    def start(self, ticket: SimulatedOrder) -> None:
        """Send an order to the market, and report the order."""
        if ticket not in self.tickets:
            self.tickets.append(ticket)
        self.number(ticket)
        ticket.order.pop("transmit", None)
        ticket.status = PRE_SUBMITTED
        ticket.why_held = why_held(ticket)
        self.tell(ticket)

    def end(self, ticket: SimulatedOrder, reason: str, also: ClientSession | None = None) -> None:
        """Cancel an order, its children and its bracket siblings. `also` is told of the order itself."""
        ticket.status = API_CANCELLED if ticket.status == HELD else CANCELLED
        ticket.why_held = ""
        ticket.completed = ib_times.stamp(self._context.now)
        for client in dict.fromkeys([*self._watchers(ticket), *([also] if also else [])]):
            client.send("orderStatus", ticket.order_status())
            client.error(ticket.order_id, 202, reason)
        for relative in [*self.children(ticket), *self.siblings(ticket)]:
            if not relative.done:
                self.end(relative, CANCELLED_BY_USER)

    def reject(self, ticket: SimulatedOrder, reason: str) -> None:
        """Reject an order on behalf of the broker."""
        self.number(ticket)
        ticket.completed = ib_times.stamp(self._context.now)
        self.tickets.append(ticket)
        for client in self._watchers(ticket):
            client.send("orderStatus", ticket.order_status())
            client.error(ticket.order_id, 201, f"Order rejected - reason:{reason}")
            client.send("orderStatus", ticket.order_status())

    def bind(self, ticket: SimulatedOrder) -> None:
        """Give a manual order an order id of client 0, negative as is IB's default."""
        if not ticket.manual or ticket.order_id:
            return
        self._bound -= 1
        ticket.order_id = self._bound
        self.number(ticket)
        data = {"permId": ticket.perm_id, "clientId": 0, "orderId": ticket.order_id}
        for client in self._context.clients(0):
            client.send("orderBound", data)

    def number(self, ticket: SimulatedOrder) -> None:
        """Give an order its permId, once."""
        if not ticket.perm_id:
            ticket.perm_id = FIRST_PERM_ID + self._perm_ids
            self._perm_ids += 1

    # -- reports to clients ------------------------------------------------------------------------------------------

    def tell(self, ticket: SimulatedOrder) -> None:
        """Send the order and its status to every client that may see the order."""
        for client in self._watchers(ticket):
            client.send("openOrder", ticket.open_order())
            client.send("orderStatus", ticket.order_status())

    def broadcast(self, ticket: SimulatedOrder, name: str, data: Data) -> None:
        """Send one message about an order to every client that may see the order."""
        for client in self._watchers(ticket):
            client.send(name, data)

    def _watchers(self, ticket: SimulatedOrder) -> Iterator[ClientSession]:
        """Return the clients that may see an order: its own and the master; client 0 for a manual order."""
        return self._context.clients(ticket.client, None if ticket.manual else self._context.master)


def why_held(ticket: SimulatedOrder) -> str:
    """Return IB's word for the event that an order waits for; empty if the order does not wait."""
    if ticket.parent is not None and ticket.parent.status != FILLED:
        return "child"
    return "trigger" if order_type(ticket.order).trigger is not Trigger.NONE and not ticket.triggered else ""
