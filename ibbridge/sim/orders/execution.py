"""Order execution on each beat of the market: orders wait, trigger, rest, fill and expire.

The events of a fill come in the order that was seen from a TWS: execution, order and status, commission.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.sim.market import ib_times
from ibbridge.sim.orders.matching import commission, conditions_met, hedge_size, is_triggered, offer
from ibbridge.sim.orders.order import (
    CANCELLED,
    FILLED,
    INACTIVE,
    PENDING_CANCEL,
    PRE_SUBMITTED,
    SUBMITTED,
    SimulatedOrder,
)
from ibbridge.sim.orders.registry import CANCELLED_BY_USER, OrderBook, why_held
from ibbridge.sim.rejections import RequestRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibbridge.sim.accounts.updates import AccountUpdates
    from ibbridge.sim.context import Data, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

_REDUCES = (2, 3)
"""OCA types in which a fill reduces the other orders of the group; in other types a fill cancels them."""


def _report(exec_id: str, fee: float, instrument: Instrument, realised: float | None) -> Data:
    return {
        "execId": exec_id,
        "commissionAndFees": fee,
        "currency": instrument.currency,
        "realizedPNL": None if realised is None else round(realised, 6),
        "yield": None,
    }


def _part(ticket: SimulatedOrder, leg: Instrument, ratio: float, shares: float, price: float) -> SimulatedOrder:
    """Return one leg's part of a combination's fill, in the form of a separate order."""
    action = "BUY" if ticket.sign * ratio > 0 else "SELL"
    part = SimulatedOrder(ticket.client, ticket.order_id, leg, leg.contract(), ticket.order | {"action": action})
    part.perm_id, part.manual = ticket.perm_id, ticket.manual
    part.filled = shares * abs(ratio)
    part.spent, part.last_price = part.filled * price, price
    return part


class Executor:
    """Execution of the orders in the book."""

    def __init__(self, context: SimulationContext, accounts: AccountUpdates, book: OrderBook) -> None:
        self._context = context
        self._accounts = accounts
        self._book = book

    def tick(self, quarter: int) -> None:
        """Process every working order. The first beat of a day drops what the day before has finished."""
        market = self._context.market
        at = market.moment(quarter)
        if at == market.day_begin(at):
            self._book.forget_day()
        for ticket in list(self._book.working()):
            if ticket.working:  # another order's fill may have ended this one
                self._step(ticket, at)

    def _step(self, ticket: SimulatedOrder, at: float) -> None:
        if ticket.expires is not None and at >= ticket.expires:
            ticket.expired = True
            self._book.end(ticket, f"{CANCELLED_BY_USER}The time in force of the order has ended")
            return
        if self._waits(ticket, at):
            return
        if not ticket.triggered:
            ticket.triggered = is_triggered(ticket, self._context.market.quote(ticket.instrument, at))
        if ticket.triggered:
            self._work(ticket, at)

    def _waits(self, ticket: SimulatedOrder, at: float) -> bool:
        if ticket.parent is not None and ticket.parent.status != FILLED:
            return True
        if ticket.parent is not None and not ticket.quantity:
            ticket.order["totalQuantity"] = hedge_size(ticket, ticket.parent)
        if ticket.why_held == "child":  # the parent has just filled
            ticket.why_held = why_held(ticket)
            if ticket.why_held:
                self._book.tell(ticket)
        if ticket.starts is not None and at < ticket.starts:
            return True
        return not conditions_met(ticket, at, lambda con_id: self._last(con_id, at))

    def _last(self, con_id: int, at: float) -> float | None:
        try:
            return self._context.market.quote(self._context.resolver.by_id(con_id), at).last
        except RequestRejected:
            return None

    def _work(self, ticket: SimulatedOrder, at: float) -> None:
        """Fill as much as possible. The rest of the order rests, or is given up (IOC, FOK)."""
        tif = ticket.tif()
        found = offer(ticket, self._context.market.quote(ticket.instrument, at))
        size = min(ticket.remaining, found.size) if found else 0.0
        whole = tif == "FOK" or ticket.order.get("allOrNone", False)
        if found and (size >= ticket.remaining or (size and not whole)):
            self._fill(ticket, size, found.price, at)
        elif ticket.status == PRE_SUBMITTED and tif not in ("IOC", "FOK"):
            ticket.status, ticket.why_held = SUBMITTED, ""
            self._book.tell(ticket)
        if ticket.working and tif in ("IOC", "FOK"):
            self._give_up(ticket, tif)

    def _give_up(self, ticket: SimulatedOrder, tif: str) -> None:
        """End an order that had to be filled at once and was not."""
        ticket.completed = ib_times.stamp(self._context.now)
        for status in (INACTIVE,) if tif == "FOK" else (PENDING_CANCEL, CANCELLED):
            ticket.status = status
            self._book.broadcast(ticket, "orderStatus", ticket.order_status())

    def _fill(self, ticket: SimulatedOrder, shares: float, price: float, at: float) -> None:
        instrument, book = ticket.instrument, self._book
        ticket.filled = round(ticket.filled + shares, 8)
        ticket.spent += shares * price
        ticket.last_price = price
        ticket.why_held = ""
        ticket.status = SUBMITTED if ticket.remaining else FILLED
        if ticket.status == FILLED:
            ticket.completed = ib_times.stamp(at)
        total = commission(instrument, ticket.filled, abs(ticket.spent) * instrument.size)
        fee, ticket.charged = round(total - ticket.charged, 6), total
        booked = list(self._book_fill(ticket, shares, price, fee, at))
        book.executions += booked
        for part, execution, _ in booked:
            book.broadcast(ticket, "execDetails", {"reqId": -1, "contract": part.contract, "execution": execution})
        book.tell(ticket)
        for _, _, report in booked:
            book.broadcast(ticket, "commissionAndFeesReport", {"commissionAndFeesReport": report})
        self._after(ticket, shares)

    def _book_fill(
        self, ticket: SimulatedOrder, shares: float, price: float, fee: float, at: float
    ) -> Iterator[tuple[SimulatedOrder, Data, Data]]:
        """Book a fill in the account, and yield its executions, each with its order and its commission report.

        A combination has one execution for the whole, without commission, and one for each leg. Their ids begin alike.
        """
        exec_id = self._book.execution_id()
        legs = list(self._legs(ticket.instrument, price))
        whole = ticket.execution(exec_id, at, shares)
        if not ticket.instrument.legs:
            realised = self._accounts.fill(ticket.account, ticket.instrument, ticket.sign * shares, price, fee)
            yield ticket, whole, _report(exec_id, fee, ticket.instrument, realised)
            return
        yield ticket, whole, _report(exec_id, 0.0, ticket.instrument, None)
        stem, share = exec_id.removesuffix(".01.01"), round(fee / len(legs), 6)
        for number, (leg, ratio, leg_price) in enumerate(legs, 2):
            part = _part(ticket, leg, ratio, shares, leg_price)
            realised = self._accounts.fill(ticket.account, leg, part.sign * shares * abs(ratio), leg_price, share)
            leg_id = f"{stem}.{number:02}.01.01"
            execution = part.execution(leg_id, at, shares * abs(ratio))
            yield part, execution, _report(leg_id, share, leg, realised)

    def _legs(self, instrument: Instrument, price: float) -> Iterator[tuple[Instrument, float, float]]:
        """Yield instrument, ratio and price of each leg of one unit. The last leg bears the rest of the price."""
        legs = instrument.legs or ((instrument, 1.0),)
        left = price
        for leg, ratio in legs[:-1]:
            last = self._context.market.quote(leg, self._context.now).last
            left -= ratio * last
            yield leg, ratio, last
        leg, ratio = legs[-1]
        yield leg, ratio, round(left / ratio, 8)

    def _after(self, ticket: SimulatedOrder, shares: float) -> None:
        """Apply a fill to related orders: cancel bracket siblings, and reduce or cancel the OCA group."""
        if ticket.status == FILLED:
            for sibling in self._book.siblings(ticket):
                if not sibling.done:
                    self._book.end(sibling, CANCELLED_BY_USER)
        group = ticket.order.get("ocaGroup", "")
        for other in list(self._book.working()) if group else ():
            if other is ticket or other.account != ticket.account or other.order.get("ocaGroup") != group:
                continue
            if (ticket.order.get("ocaType") or _REDUCES[-1]) in _REDUCES and other.remaining > shares:
                other.order["totalQuantity"] = round(other.quantity - shares, 8)
                self._book.tell(other)
            else:
                self._book.end(other, CANCELLED_BY_USER)
