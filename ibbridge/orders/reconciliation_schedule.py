"""The times of reconciliations: after each connect, after an outage of IB's servers, for unknown orders, and regularly.

Pure. This module also raises the alarm about orders that stay unknown. It must not know what a reconciliation asks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ibbridge.orders.fills import is_filled_up
from ibbridge.orders.order import ABSENCES, INACTIVE
from ibbridge.orders.reconciliation import SETTLED
from ibbridge.orders.state_machine import OrderState
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from ibbridge.monitoring.bridge_events import BridgeEvents
    from ibbridge.orders.order import Order
    from ibbridge.orders.reconciliation import Reconciliation
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.tws.session import Session

PAUSES = (0.0, 11.0, 30.0, 60.0, 300.0)
"""Seconds to wait after a reconciliation that has left orders unknown or was not complete, by their number in a row."""

ALARMED = 60.0
"""Seconds for which an order may be unknown before an alarm names it."""

OVERDUE = 5.0
"""Seconds after which an order is looked up that is filled by its executions, or inactive, and whose end is not
reported: TWS may report no other end of it."""

NAMED = 10
"""Most orders that the alarm names."""


class ReconciliationSchedule(ConnectionListener):
    """Schedule of reconciliations. `every` is the number of seconds between two of them on a quiet connection."""

    def __init__(
        self, reconciliation: Reconciliation, registry: OrderRegistry, session: Session, events: BridgeEvents,
        every: float,
    ) -> None:  # fmt: skip
        self.why = ""
        """The reason for an alarm about unknown orders; empty if there is none."""
        self._reconciliation = reconciliation
        self._registry = registry
        self._session = session
        self._events = events
        self._every = every
        self._due: float | None = None  # None: at once, when there is a connection; infinite: under way
        self._disputes = 0  # those that were looked up
        self._disputed_at = -SETTLED  # when; a TWS that contradicts itself in each list is not asked all the time
        self._endless: dict[Order, float] = {}  # orders whose end may be missing, and since when; inf: looked up
        self._unsettled = 0  # reconciliations in a row after which something was left to find out
        self._upstream_since = 0.0
        self._compared = 0  # complete reconciliations that count, since the connection or IB's servers were lost
        self._compared_at = 0.0

    @property
    def has_compared(self) -> bool:
        """True if TWS has listed all of its orders, as often as their absence from its lists must be seen."""
        return self._compared >= ABSENCES

    @property
    def is_current(self) -> bool:
        """True if TWS has listed all of its orders since the connection, or the link to IB's servers, is there."""
        return self._compared > 0

    def request(self) -> None:
        """Have a reconciliation begin as soon as there is a connection to TWS and IB."""
        self._due = None

    def connection_ready(self) -> None:
        """Reconcile each new connection."""
        self._unsettled = self._compared = 0
        self._upstream_since = self._session.upstream_since
        self.request()
        self._begin()

    def connection_lost(self) -> None:
        """Drop the reconciliation that was running."""
        self._reconciliation.stop()
        self.request()

    def _begin(self) -> None:
        if self._session.upstream != "lost" and self._reconciliation.begin():
            self._due = math.inf  # until the outcome says when

    def tick(self, now: float) -> None:
        """Publish an outcome, and begin a reconciliation that is due."""
        if self._session.upstream_since != self._upstream_since:
            self._reconciliation.give_up()
        self._reconciliation.tick(now)
        if (result := self._reconciliation.result) is not None:
            self._reconciliation.result = None
            self._events.reconciled(result._asdict())
            self._count(now, complete=result.complete)
            pause = self._pause(complete=result.complete)
            if self._due == math.inf:  # nobody has asked for another one meanwhile
                self._due = now + pause
        if self._session.upstream_since != self._upstream_since:
            self._upstream_since = self._session.upstream_since
            self._unsettled = self._compared = 0
            self.request()
        if not self._reconciliation.is_running:
            disputed = self._registry.disputes != self._disputes and now - self._disputed_at >= SETTLED
            if self._overdue(now) or disputed:
                self._disputes, self._disputed_at = self._registry.disputes, now
                self.request()
        at_once = self._unsettled == 0 and self._due != math.inf and self._unsettled_orders()
        if self._due is None or now >= self._due or at_once:
            self._begin()
        self.why = self._alarm(now)

    def _pause(self, *, complete: bool) -> float:
        """Return the seconds until the next reconciliation."""
        settled = complete and not self._unsettled_orders()
        self._unsettled = 0 if settled else self._unsettled + 1
        pause = self._every if settled else PAUSES[min(self._unsettled, len(PAUSES) - 1)]
        if complete and self._registry.journal.doubt and not self.has_compared:  # somebody waits to accept it
            return min(pause, PAUSES[1])
        return pause

    def _count(self, now: float, *, complete: bool) -> None:
        """Count a reconciliation, unless it came so soon after the last one that it says no more."""
        if not complete:
            self._compared = 0
        elif not self._compared or now - self._compared_at >= SETTLED:
            self._compared += 1
            self._compared_at = now

    def _overdue(self, now: float) -> bool:
        """Return True if the end of an order is overdue, once for each such order."""
        endless = [order for order in self._registry.open_orders() if order.status == INACTIVE or is_filled_up(order)]
        self._endless = {order: self._endless.get(order, now) for order in endless}
        due = [order for order, since in self._endless.items() if now - since >= OVERDUE]
        self._endless |= dict.fromkeys(due, float("inf"))
        return bool(due)

    def _unsettled_orders(self) -> bool:
        return any(order.state is OrderState.UNKNOWN or order.absences for order in self._registry.open_orders())

    def _alarm(self, now: float) -> str:
        unknown = []
        for order in self._registry.open_orders():
            if order.state is not OrderState.UNKNOWN:
                order.unknown_since = None
            elif order.unknown_since is None:
                order.unknown_since = now
            elif now - order.unknown_since >= ALARMED:
                unknown.append(f"{order.owner}/{order.key}")
        if not unknown:
            return ""
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        return f"nobody knows what became of {', '.join(unknown[:NAMED])}{more}; look for them in TWS"
