"""Cancels of the orders of a scope, one by one: which orders those are, and when a cancel of one is sent again.

Pure. A cancel is sent again only if nothing of it is under way: after another connection or outage, or when TWS has the
order working all the same. This module must not know why orders are cancelled, or what is said of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ibbridge.codec.messages import REQUESTS
from ibbridge.orders.order import FOREIGN
from ibbridge.orders.state_machine import OrderState
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import CommandId
from ibbridge.risk.halt import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ibbridge.orders.foreign_cancel import ForeignCancel
    from ibbridge.orders.foreign_orders import ForeignOrder
    from ibbridge.orders.order import Order
    from ibbridge.orders.order_accounts import OrderAccounts
    from ibbridge.orders.placement import OrderPlacement
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.tws.session import Session

AGAIN = 5.0
"""Seconds before a cancel is sent again for an order that TWS has as working after it."""

LOOKED_UP = 15.0
"""The same for an order of which nobody knows what has become, and that the daemon is looking up meanwhile."""

_CANCEL = REQUESTS["cancelOrder"]


@dataclass(slots=True, eq=False)
class Attempt:
    """Attempt to cancel one order: when a cancel was sent last, in which link to IB, and why none can be sent."""

    sent_at: float = float("-inf")
    link: tuple[int, float] | None = None
    fault: str = ""
    is_refused: bool = False


class OrderCanceller:
    """Sender of the cancels of single orders, own and foreign ones, for mass cancels."""

    def __init__(
        self,
        placement: OrderPlacement,
        foreign_cancel: ForeignCancel,
        registry: OrderRegistry,
        accounts: OrderAccounts,
        session: Session,
    ) -> None:
        self._placement = placement
        self._foreign_cancel = foreign_cancel
        self._registry = registry
        self._accounts = accounts
        self._session = session
        self._connections = 0

    def connection_started(self) -> None:
        """Note that what was sent before may be lost."""
        self._connections += 1

    @property
    def link(self) -> tuple[int, float]:
        """The connection to TWS, and its link to IB: what was sent on an earlier one may be lost."""
        return self._connections, self._session.upstream_since

    # -- the orders of a scope

    def open_orders(self, scope: Scope, name: str) -> list[Order]:
        """Return the open orders of a scope. One whose account is not certain is in the scope of every account."""
        orders = self._registry.all_open()
        if scope is Scope.CLIENT:
            return [order for order in orders if order.owner == name]
        if scope is Scope.ACCOUNT:
            return [order for order in orders if (of := self._accounts.of(order.args)) is None or name in of]
        return orders

    def open_strangers(self, scope: Scope, name: str) -> list[ForeignOrder]:
        """Return the open orders of a scope that no client of this daemon has placed."""
        orders = [] if scope is Scope.CLIENT else self._registry.foreign.open_orders()
        return [order for order in orders if scope is Scope.ALL or order.account in ("", name)]

    def strangers(self, perm_ids: Iterable[int]) -> Mapping[int, ForeignOrder]:
        """Return those of some foreign orders that are known, by permId."""
        found = ((perm_id, self._registry.foreign.find(perm_id)) for perm_id in perm_ids)
        return {perm_id: order for perm_id, order in found if order is not None}

    def restore(self, owner: str, key: str) -> Order | None:
        """Return an order by its name; None if it is not known."""
        return self._registry.find(owner, key) or self._registry.former(owner, key)

    # -- cancels

    def cancel(self, order: Order, attempt: Attempt, cause: str, now: float) -> None:
        """Cancel an order, unless a cancel of it is under way, or was sent a moment ago."""
        if self._is_due(order, attempt, now):
            attempt.fault = ""
            try:
                self._placement.cancel(_CANCEL, {}, CommandId(order.owner, cause), order.key, cause=cause)
            except CommandRefused as error:
                attempt.fault = str(error)
                attempt.is_refused = error.code == "E_ARG"
                return
            attempt.sent_at, attempt.link = now, self.link

    def _is_due(self, order: Order, attempt: Attempt, now: float) -> bool:
        waits = order.cancel is not None and order.cancel.waits
        acknowledged = order.state is OrderState.CANCELLING and order.status == "PendingCancel"
        if order.ended or attempt.is_refused or waits or acknowledged:
            return False
        if attempt.link != self.link:
            return True
        pause = LOOKED_UP if order.state is OrderState.UNKNOWN else AGAIN
        return not order.cancelling and now - attempt.sent_at >= pause

    def cancel_foreign(self, order: ForeignOrder, attempt: Attempt, cause: str, now: float) -> None:
        """Cancel an order that no client of this daemon has placed, once on each connection."""
        if order.ended or attempt.link == self.link:
            return
        attempt.fault, attempt.is_refused = "", False
        try:
            self._foreign_cancel.execute(_CANCEL, {"permId": order.perm_id}, CommandId(FOREIGN, cause), None)
        except CommandRefused as error:
            attempt.fault = str(error)
            attempt.is_refused = error.outcome == "refused"
            return
        attempt.sent_at, attempt.link = now, self.link
