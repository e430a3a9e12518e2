"""Exercise and lapse of options.

A TWS exercises options overnight; here the exercise happens at once. The option leaves the account at a price of 0, and
the underlying comes or goes at the strike. An option on an index is settled in cash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.market import ib_times
from ibbridge.sim.orders.order import FILLED, SimulatedOrder
from ibbridge.sim.orders.validation import choose_account
from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.accounts.updates import AccountUpdates
    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.market.instruments import Instrument
    from ibbridge.sim.orders.order_entry import OrderEntry
    from ibbridge.sim.orders.registry import OrderBook

EXERCISE, LAPSE = 1, 2


def _refused(cause: str) -> RequestRejected:
    return RequestRejected(322, f"Error processing request.-'cl' : cause - {cause}")


class OptionExercise:
    """Handler of exerciseOptions, whose request id is an order id."""

    def __init__(
        self, context: SimulationContext, accounts: AccountUpdates, book: OrderBook, orders: OrderEntry
    ) -> None:
        self._context = context
        self._accounts = accounts
        self._book = book
        self._orders = orders

    def exercise(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Exercise options, or let them lapse, as an order that is opened, executed and filled at once."""
        option = self._context.instrument(args.get("contract", {}))
        action, quantity = args.get("exerciseAction"), float(args.get("exerciseQuantity") or 0)
        if not option.right or option.underlying is None:
            raise invalid("The contract is not an option")
        if action not in (EXERCISE, LAPSE):
            raise invalid(f"Invalid exercise action: {action}")
        if quantity < 1:
            raise invalid(f"Invalid exercise quantity: {quantity:g}")
        account = choose_account({"account": args.get("account", "")}, list(self._accounts.ledgers))
        position = self._accounts.ledgers[account].positions.get(option.con_id)
        if position is None or position.quantity < quantity:
            raise _refused(f"No unlapsed position exists in this option in account {account}")
        gain = self._gain(option, option.underlying)
        if not args.get("override") and (gain > 0) is not (action == EXERCISE):
            state, done = ("in", "lapsed") if action == LAPSE else ("out of", "exercised")
            raise _refused(f"The option is {state} the money and is not {done} without override")
        self._orders.claim_id(session.client_id, args["reqId"])
        ticket = self._open(session, args, option, account)
        cash = max(gain, 0.0) if action == EXERCISE and option.underlying.sec_type == "IND" else 0.0
        self._settle(ticket, ticket, quantity, cash, "SELL")
        if action == EXERCISE and option.underlying.sec_type != "IND":
            ratio = option.size / option.underlying.size  # shares per contract; 1 for a future
            bought = "BUY" if option.right == "C" else "SELL"
            delivery = SimulatedOrder(
                ticket.client, ticket.order_id, option.underlying, option.underlying.contract(), {}
            )
            delivery.perm_id, delivery.order = ticket.perm_id, ticket.order | {"action": bought}
            self._settle(ticket, delivery, quantity * ratio, option.strike, bought)
        self._book.tell(ticket)

    def _gain(self, option: Instrument, underlying: Instrument) -> float:
        """Return the value of one unit of the option if exercised now; below zero out of the money."""
        price = self._context.market.quote(underlying, self._context.now).last
        return price - option.strike if option.right == "C" else option.strike - price

    def _open(
        self, session: ClientSession, args: Mapping[str, Any], option: Instrument, account: str
    ) -> SimulatedOrder:
        order: Data = {
            "action": "SELL",
            "totalQuantity": float(args["exerciseQuantity"]),
            "orderType": "MKT",
            "account": account,
            "orderRef": "Exercise" if args["exerciseAction"] == EXERCISE else "Lapse",
        }
        exchange = args.get("contract", {}).get("exchange") or None
        ticket = SimulatedOrder(session.client_id, args["reqId"], option, option.contract(exchange), order)
        self._book.start(ticket)
        return ticket

    def _settle(self, ticket: SimulatedOrder, part: SimulatedOrder, quantity: float, price: float, action: str) -> None:
        """Book one side of the exercise and report it as an execution of the order."""
        sign = 1 if action == "BUY" else -1
        part.order["totalQuantity"] = quantity
        part.filled, part.spent, part.last_price = quantity, quantity * price, price
        part.status, part.completed = FILLED, ib_times.stamp(self._context.now)
        exec_id = self._book.execution_id()
        execution = part.execution(exec_id, self._context.now, quantity)
        realised = self._accounts.fill(ticket.account, part.instrument, sign * quantity, price, 0.0)
        report: Data = {
            "execId": exec_id,
            "commissionAndFees": 0.0,
            "currency": part.instrument.currency,
            "realizedPNL": None if realised is None else round(realised, 6),
            "yield": None,
        }
        self._book.executions.append((part, execution, report))
        self._book.broadcast(ticket, "execDetails", {"reqId": -1, "contract": part.contract, "execution": execution})
        self._book.broadcast(ticket, "commissionAndFeesReport", {"commissionAndFeesReport": report})
