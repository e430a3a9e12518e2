"""Order entry: placing, changing and cancelling orders, and the immediate responses.

`execution.py` decides what happens to an order later, and `queries.py` answers questions about orders; the three share
the book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.market import ib_times
from ibbridge.sim.market.price_path import DAY
from ibbridge.sim.orders.matching import commission
from ibbridge.sim.orders.order import FILLED, HELD, INACTIVE, PRE_SUBMITTED, SimulatedOrder
from ibbridge.sim.orders.registry import CANCELLED_BY_USER, OrderBook, why_held
from ibbridge.sim.orders.validation import check, choose_account
from ibbridge.sim.rejections import RequestRejected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.sim.accounts.updates import AccountUpdates
    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

MOST_WORKING = 20
"""Working orders that an account may have in one contract on one side."""


def combination(instrument: Instrument, legs: Sequence[Mapping[str, Any]]) -> Data:
    """Return the additional fields of a combination: its legs, and their short form (`265598|1,272093|-1`)."""
    short = ",".join(f"{leg.con_id}|{ratio:g}" for leg, ratio in instrument.legs)
    return {"comboLegs": [dict(leg) for leg in legs], "comboLegsDescrip": short}


class OrderEntry:
    """Handlers of placing and cancelling, and the order ids of every client."""

    def __init__(self, context: SimulationContext, accounts: AccountUpdates, book: OrderBook) -> None:
        self._context = context
        self._accounts = accounts
        self._book = book
        self._highest: dict[int, int] = {}

    def next_id(self, client: int) -> int:
        """Return the order id above the highest that this client has ever used."""
        return self._highest.get(client, 0) + 1

    def send_next_id(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        """Send the next order id of a client."""
        session.send("nextValidId", {"orderId": self.next_id(session.client_id)})

    def claim_id(self, client: int, order_id: int) -> None:
        """Mark an order id as used, also if the order fails.

        Raise `RequestRejected` unless it is above every used one.
        """
        if order_id < self.next_id(client):
            raise RequestRejected(103, "Duplicate order id")
        self._highest[client] = order_id

    def reset_ids(self) -> None:
        """Start again with the lowest order ids. The ids of working orders stay used."""
        self._highest.clear()
        for ticket in self._book.working():
            self._highest[ticket.client] = max(ticket.order_id, self._highest.get(ticket.client, 0))

    def move_ids(self, by: int) -> None:
        """Move every client's next order id on by `by`, or back if `by` is negative."""
        self._highest = {client: max(0, highest + by) for client, highest in self._highest.items()}

    # -- placing -----------------------------------------------------------------------------------------------------

    def place(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Place a new order, change an existing one, or send the cost of a what-if order."""
        ticket = self._ticket(session.client_id, args)
        existing = self._book.find(ticket.client, ticket.order_id)
        if ticket.order.get("whatIf"):
            self._what_if(session, ticket)
        elif existing and not existing.done:
            self._modify(existing, ticket)
        elif existing and existing.status == FILLED:
            raise RequestRejected(104, "Cannot modify a filled order.")
        else:
            self.claim_id(ticket.client, ticket.order_id)
            self._accept(ticket)

    def enter_manually(self, contract: Mapping[str, Any], order: Mapping[str, Any]) -> SimulatedOrder:
        """Place an order as if entered by hand in the host. Raise `RequestRejected`."""
        instrument = self._context.instrument(contract)
        ticket = SimulatedOrder(0, 0, instrument, instrument.contract(), dict(order))
        ticket.manual = True
        self._complete(ticket)
        keeper = self._context.sessions.get(0)
        if keeper is not None and keeper.auto_bind:
            self._book.bind(ticket)
        self._book.start(ticket)
        return ticket

    def _ticket(self, client: int, args: Mapping[str, Any]) -> SimulatedOrder:
        asked = args.get("contract") or {}
        instrument = self._context.instrument(asked)
        contract = instrument.contract(asked.get("exchange") or None)
        if instrument.legs:
            contract |= combination(instrument, asked["comboLegs"])
        return SimulatedOrder(client, args["orderId"], instrument, contract, dict(args.get("order") or {}))

    def _accept(self, ticket: SimulatedOrder) -> None:
        if parent_id := ticket.order.get("parentId", 0):
            ticket.parent = self._book.find(ticket.client, parent_id)
            if ticket.parent is None or (ticket.parent.done and ticket.parent.status != FILLED):
                raise RequestRejected(10006, f"Missing parent order {parent_id}.")
        self._complete(ticket)
        if reason := self._rejection(ticket):
            ticket.status = INACTIVE
            self._book.reject(ticket, reason)
            return
        self._book.tickets.append(ticket)
        if ticket.order.get("transmit", True):
            self._transmit(ticket)

    def _complete(self, ticket: SimulatedOrder) -> None:
        """Check an order and fill in the fields that the host knows. Raise `RequestRejected`."""
        order = ticket.order
        cash = order.get("cashQty") if ticket.instrument.sec_type in ("CASH", "CRYPTO") else None
        if cash and not order.get("totalQuantity"):
            price = self._context.market.quote(ticket.instrument, self._context.now).last
            order["totalQuantity"] = cash / price
        check(ticket.instrument, order)
        if cash:
            order["totalQuantity"] = round(order["totalQuantity"], 4)
        order["account"] = choose_account(order, list(self._accounts.ledgers))
        ticket.starts = ib_times.read(order["goodAfterTime"])[0] if order.get("goodAfterTime") else None
        if ticket.tif() == "GTD":
            ticket.expires = ib_times.read(order["goodTillDate"])[0]
        elif ticket.tif() != "GTC":
            ticket.expires = self._context.market.day_begin(self._context.now) + DAY

    def _transmit(self, ticket: SimulatedOrder) -> None:
        """Start an order and the held orders of its bracket, parents first."""
        head = ticket.parent or ticket
        for member in (head, *self._book.children(head)):
            if member.status == HELD:
                self._book.start(member)

    def _rejection(self, ticket: SimulatedOrder) -> str:
        """Return the broker's reason to reject an order; empty if the broker accepts the order."""
        con_id, side = ticket.instrument.con_id, (ticket.buys, ticket.account)
        same = sum(t.instrument.con_id == con_id and (t.buys, t.account) == side for t in self._book.working())
        if same >= MOST_WORKING:
            return f"Maximum of {MOST_WORKING} working orders on one side of a contract has been reached"
        (before, _), (after, _) = self._margins(ticket)
        equity = self._accounts.ledgers[ticket.account].figures().net_liquidation
        if after > equity and after > before:
            return (
                "YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR EQUITY WITH LOAN VALUE "
                f"[{equity:.2f} USD] MUST EXCEED THE INITIAL MARGIN [{after:.2f} USD]"
            )
        return ""

    # -- changing ----------------------------------------------------------------------------------------------------

    def _modify(self, ticket: SimulatedOrder, change: SimulatedOrder) -> None:
        """Apply a later placeOrder with the same order id, and report the order twice, as a TWS does."""
        same_contract = change.instrument.con_id == ticket.instrument.con_id
        same_side = change.order.get("action") == ticket.order["action"]
        if not same_contract or not same_side or change.quantity < ticket.filled:
            raise RequestRejected(105, "Order being modified does not match original order.")
        self._complete(change)
        transmit = change.order.get("transmit", True)
        ticket.order, ticket.expires, ticket.starts = change.order, change.expires, change.starts
        ticket.stop = None
        if ticket.status == HELD:
            if transmit:
                self._transmit(ticket)
            return
        ticket.order.pop("transmit", None)
        if ticket.status == PRE_SUBMITTED:
            ticket.why_held = why_held(ticket)
        for _ in range(2):
            self._book.tell(ticket)

    # -- what-if -----------------------------------------------------------------------------------------------------

    def _what_if(self, session: ClientSession, ticket: SimulatedOrder) -> None:
        """Send one openOrder with margins and commission, and place nothing."""
        if not ticket.order.get("transmit", True):
            raise RequestRejected(413, "What-if order should have the transmit flag set to true.")
        self._complete(ticket)
        instrument = ticket.instrument
        equity = self._accounts.ledgers[ticket.account].figures().net_liquidation
        (initial, maintenance), (initial_after, maintenance_after) = self._margins(ticket)
        price = self._context.market.quote(instrument, self._context.now).last
        fee = round(commission(instrument, ticket.quantity, abs(price) * ticket.quantity * instrument.size), 4)
        state: Data = {
            "initMarginBefore": f"{initial:.2f}",
            "maintMarginBefore": f"{maintenance:.2f}",
            "equityWithLoanBefore": f"{equity:.2f}",
            "initMarginChange": f"{initial_after - initial:.2f}",
            "maintMarginChange": f"{maintenance_after - maintenance:.2f}",
            "equityWithLoanChange": f"{-fee:.2f}",
            "initMarginAfter": f"{initial_after:.2f}",
            "maintMarginAfter": f"{maintenance_after:.2f}",
            "equityWithLoanAfter": f"{equity - fee:.2f}",
            "commissionAndFees": fee,
            "minCommissionAndFees": fee,
            "maxCommissionAndFees": round(fee * 1.2, 4),
            "commissionAndFeesCurrency": instrument.currency,
        }
        ticket.status = PRE_SUBMITTED
        answer = ticket.open_order(state)
        answer["order"]["whatIf"] = True
        session.send("openOrder", answer)

    def _margins(self, ticket: SimulatedOrder) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the account's initial and maintenance margin, before and after a fill of the whole order."""
        ledger = self._accounts.ledgers[ticket.account]
        figures = ledger.figures()
        position = ledger.positions.get(ticket.instrument.con_id)
        held = position.quantity if position else 0.0
        old = ledger.margin(ticket.instrument, held)
        new = ledger.margin(ticket.instrument, held + ticket.sign * ticket.quantity)
        return (
            (figures.initial, figures.maintenance),
            (figures.initial - old[0] + new[0], figures.maintenance - old[1] + new[1]),
        )

    # -- cancelling --------------------------------------------------------------------------------------------------

    def cancel(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Cancel one of the client's orders."""
        order_id = args["orderId"]
        ticket = self._book.find(session.client_id, order_id)
        if ticket is None and self._context.settings.foreign_cancel:
            ticket = next((t for t in self._book.working() if t.order_id == order_id), None)
        if ticket is None:
            raise RequestRejected(10147, f"OrderId {order_id} that needs to be cancelled is not found.")
        if ticket.done:
            raise RequestRejected(
                10148, f"OrderId {order_id} that needs to be cancelled can not be cancelled, state: {ticket.status}."
            )
        self._book.end(ticket, CANCELLED_BY_USER, also=session)

    def cancel_all(self, _: ClientSession, __: Mapping[str, Any]) -> None:
        """Cancel the orders of every client, manual orders included."""
        for ticket in list(self._book.tickets):
            if not ticket.done:
                self._book.end(ticket, CANCELLED_BY_USER)
