"""Order queries: open orders, completed orders, and executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.market import ib_times
from ibbridge.sim.rejections import RequestRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.orders.order import SimulatedOrder
    from ibbridge.sim.orders.registry import OrderBook

_SIDES = {"BUY": "BOT", "SELL": "SLD", "SSHORT": "SLD", "BOT": "BOT", "SLD": "SLD"}


class OrderReports:
    """Handlers of order queries, some of which bind manual orders."""

    def __init__(self, context: SimulationContext, book: OrderBook) -> None:
        self._context = context
        self._book = book

    def open_orders(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        """Send the client's own open orders. For client 0 this binds manual orders, and sends them too."""
        for ticket in list(self._book.working()):
            if ticket.client == session.client_id:
                self._book.bind(ticket)
                self._show(session, ticket)
        session.send("openOrderEnd")

    def all_open_orders(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        """Send the open orders of every client, manual orders included, and bind none of them."""
        for ticket in self._book.working():
            self._show(session, ticket)
        session.send("openOrderEnd")

    def auto_open_orders(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Turn the automatic binding of new manual orders on or off, for client 0 only."""
        if session.client_id != 0:
            raise RequestRejected(
                327, "Only API connections with clientId set to 0 can set the auto bind TWS orders property."
            )
        session.auto_bind = args.get("bAutoBind", False)

    def completed_orders(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send every completed order, then the end."""
        for ticket in self._book.tickets:
            if ticket.done and ticket.perm_id and not (ticket.manual and args.get("apiOnly", False)):
                session.send("completedOrder", ticket.completed_order())
        session.send("completedOrdersEnd")

    def executions(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send today's executions with their commissions, then the end.

        A client sees its own executions; the master client sees those of every client.
        """
        request, wanted = args["reqId"], args.get("execFilter") or {}
        today = self._context.market.day_begin(self._context.now)
        since = max(today, self._since(wanted.get("time", "")))
        for ticket, execution, report in self._book.executions:
            if self._may_see(session, ticket) and self._matches(wanted, since, ticket, execution):
                data = {"reqId": request, "contract": ticket.contract, "execution": execution}
                session.send("execDetails", data)
                session.send("commissionAndFeesReport", {"commissionAndFeesReport": report})
        session.send("execDetailsEnd", {"reqId": request})

    @staticmethod
    def _show(session: ClientSession, ticket: SimulatedOrder) -> None:
        session.send("openOrder", ticket.open_order())
        session.send("orderStatus", ticket.order_status())

    def _may_see(self, session: ClientSession, ticket: SimulatedOrder) -> bool:
        return session.client_id in (ticket.client, self._context.master)

    @staticmethod
    def _since(text: str) -> float:
        if not text:
            return 0.0
        try:
            return ib_times.read(text)[0]
        except ValueError:
            raise RequestRejected(
                321, "Error validating request.-'bG' : cause - The format of the time in the filter is invalid"
            ) from None

    @staticmethod
    def _matches(wanted: Mapping[str, Any], since: float, ticket: SimulatedOrder, execution: Data) -> bool:
        instrument = ticket.instrument
        pairs = (
            (wanted.get("clientId", 0), ticket.client),
            (wanted.get("acctCode", ""), ticket.account),
            (wanted.get("symbol", ""), instrument.symbol),
            (wanted.get("secType", ""), instrument.sec_type),
            (wanted.get("exchange", ""), execution.get("exchange", "")),
            (_SIDES.get(wanted.get("side", ""), ""), execution["side"]),
        )
        return all(not asked or asked == is_ for asked, is_ in pairs) and ib_times.read(execution["time"])[0] >= since
