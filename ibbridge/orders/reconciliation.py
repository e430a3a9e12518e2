"""Reconciliation: compares the orders with the lists of TWS, and concludes from what is missing.

Pure. What TWS lists moves the orders as it comes, like any message of TWS. This module adds the one conclusion that no
message carries: an order is over, if it is neither among the open nor among the completed orders, twice in a row, and
at least `SETTLED` seconds after it left. It is filled, if its executions say so. If the lists do not reach back to the
last report of the order, nobody knows how much of it was filled. A list that was asked for before an order left says
nothing of that order. The module must not know when a reconciliation is due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ibbridge.ib.list_reach import reaches
from ibbridge.orders.fills import is_filled_up
from ibbridge.orders.order import ABSENCES
from ibbridge.orders.registry import Listing
from ibbridge.orders.state_machine import OrderEvent, OrderState, Reason

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.order import Order
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.orders.tws_lists import TwsLists
    from ibbridge.tws.session import Session

SETTLED = 10.0
"""Seconds after an order has left, before which its absence from TWS's lists says nothing. Two absences that count are
so far apart, too: a TWS that has just started may end a list before it has all orders."""


EXEMPT = (OrderState.QUEUED, OrderState.HELD)
"""States of orders that TWS does not list, or need not list."""


class Reconciled(NamedTuple):
    """Outcome of a reconciliation: the orders that were open before it, those listed, unknown and not at TWS after it.

    `complete` is False if TWS did not answer completely about orders, and `positions` if it did not list all positions.
    `seconds` is how long the answers took.
    """

    open: int
    listed: int
    unknown: list[str]
    not_at_tws: list[str]
    complete: bool
    positions: bool
    seconds: float


class Reconciliation:
    """Reconciliation of the orders in the registry with those of TWS, one at a time."""

    def __init__(
        self,
        registry: OrderRegistry,
        lists: TwsLists,
        notifications: OrderNotifications,
        session: Session,
        clock: Clock,
    ) -> None:
        self.result: Reconciled | None = None
        """The outcome of the last reconciliation, until somebody takes it."""
        self._registry = registry
        self._lists = lists
        self._notifications = notifications
        self._session = session
        self._clock = clock
        self._upstream_since = 0.0
        self._began: float | None = None
        self._open: list[Order] = []
        self._answered = False  # TWS has sent all lists about orders at some time

    @property
    def is_running(self) -> bool:
        """True while TWS lists orders. The list of positions comes later, and keeps no reconciliation waiting."""
        return self._began is not None

    def begin(self) -> bool:
        """Begin a reconciliation, unless one is running, or TWS takes no requests. Return True if one has begun."""
        if self.is_running or not self._lists.is_open:
            return False
        self._began = self._clock.monotonic()
        self._upstream_since = self._session.upstream_since
        self._open = [order for order in self._registry.open_orders() if order.state not in EXEMPT]
        self._registry.listing = Listing(self._clock.utc_us(), self._answered)
        self._lists.orders(self._opened, self._conclude)
        return True

    def give_up(self) -> None:
        """End a reconciliation during which IB's servers went or came: TWS may never answer, and nothing follows."""
        if self.is_running:
            self._lists.give_up()

    def _opened(self) -> None:
        """Note that the list of open orders is complete."""
        listing = self._registry.listing
        if listing is not None:
            if listing.since is not None and not listing.spoilt:
                self._registry.states.watch.listed(listing.since)
            listing.since = None

    def stop(self) -> None:
        """End a reconciliation whose connection is gone. Nothing follows from it, nor from the one before."""
        self._lists.stop()
        self._began, self._registry.listing = None, None
        for order in self._registry.open_orders():
            order.absences = 0

    def tick(self, now: float) -> None:
        """Go on after the last list. Call it about every second."""
        self._lists.tick(now)

    def _conclude(self, *, complete: bool) -> None:
        """Conclude what follows for the orders, then ask for the positions."""
        began, listing = self._began or 0.0, self._registry.listing or Listing(None)
        self._began, self._registry.listing = None, None
        self._answered = self._answered or complete
        # TWS without IB's servers may not know all orders.
        complete = complete and self._session.upstream_since == self._upstream_since and not listing.spoilt
        listed = listing.orders
        gone = self._absent(began, listed) if complete else []
        if complete:
            self._registry.foreign.listed(listing.foreign)
        unknown = [f"{order.owner}/{order.key}" for order in self._open if order.state is OrderState.UNKNOWN]
        count, self._open = len(self._open), []

        about_orders = complete

        def finish(*, complete: bool) -> None:
            seconds = self._clock.monotonic() - began
            self.result = Reconciled(count, len(listed), unknown, gone, about_orders, complete, seconds)

        if complete:
            self._lists.positions(finish)
        else:
            finish(complete=False)

    def _absent(self, began: float, listed: set[Order]) -> list[str]:
        """Conclude what follows for the orders that TWS does not list. Return the names of those that are over."""
        now, gone = self._clock.monotonic(), []
        for order in self._open:
            if order in listed or order.ended or order.may_be_kept:
                order.absences = 0
                if order in listed and order.left_at <= began:  # a change that TWS does not report was not taken
                    order.pending = None
            elif order.left_at <= began:  # a younger order may be missing because TWS did not have it yet
                if not order.absences:
                    order.absences, order.absent_since = 1, began
                elif began - order.absent_since >= SETTLED:
                    order.absences += 1
                if order.is_missing and now - order.left_at >= SETTLED:
                    self._settle(order)
                    gone += [f"{order.owner}/{order.key}"] if order.reason is Reason.NOT_AT_TWS else []
        return gone

    def _settle(self, order: Order) -> None:
        """Conclude from its absence that an order is over, or that nobody knows what has become of it."""
        if is_filled_up(order):
            self._notifications.step(order, OrderEvent.END, Reason.FILLED)
        elif reaches(order.heard_at, self._clock.utc_us(), self._session.connection_time):
            self._notifications.step(order, OrderEvent.END, Reason.NOT_AT_TWS)
        elif order.absences == ABSENCES:  # once
            self._notifications.missed(order)
