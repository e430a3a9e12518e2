"""Table of the requests about orders, and the orders behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.sim.orders.execution import Executor
from ibbridge.sim.orders.option_exercise import OptionExercise
from ibbridge.sim.orders.order_entry import OrderEntry
from ibbridge.sim.orders.queries import OrderReports
from ibbridge.sim.orders.registry import OrderBook
from ibbridge.sim.request_table import RequestTable

if TYPE_CHECKING:
    from ibbridge.sim.accounts.updates import AccountUpdates
    from ibbridge.sim.context import SimulationContext


class OrderRequests(RequestTable):
    """Requests to place, change, cancel and list orders. Orders outlive the sessions of their clients."""

    def __init__(self, context: SimulationContext, accounts: AccountUpdates) -> None:
        self.book = book = OrderBook(context)
        self.entry = entry = OrderEntry(context, accounts, book)
        self._executor = Executor(context, accounts, book)
        exercise, reports = OptionExercise(context, accounts, book, entry), OrderReports(context, book)
        super().__init__(
            {
                "reqIds": entry.send_next_id,
                "placeOrder": entry.place,
                "cancelOrder": entry.cancel,
                "reqGlobalCancel": entry.cancel_all,
                "exerciseOptions": exercise.exercise,
                "reqOpenOrders": reports.open_orders,
                "reqAllOpenOrders": reports.all_open_orders,
                "reqAutoOpenOrders": reports.auto_open_orders,
                "reqCompletedOrders": reports.completed_orders,
                "reqExecutions": reports.executions,
            }
        )

    def tick(self, quarter: int) -> None:
        """Process the working orders on a beat of the market."""
        self._executor.tick(quarter)

    def restart(self, ids: int) -> None:
        """Drop the orders that were not transmitted, and move the next order ids by `ids`."""
        self.book.drop_held()
        self.entry.move_ids(ids)
