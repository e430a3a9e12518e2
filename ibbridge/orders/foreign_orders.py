"""Foreign orders: those that no client of this daemon has placed, by permId and by order id.

Pure. Other programs may place orders under this daemon's client id while the daemon is not connected, and under order
ids that the daemon has given to orders of its own. The module knows the ids of such orders, and whether they are over.
It must not know orders of clients.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ibbridge.codec.types import UNSET_INT
from ibbridge.orders.order import ABSENCES, FOREIGN, Owner, is_end

if TYPE_CHECKING:
    from collections.abc import Collection

MOST_FOREIGN = 10_000
"""Most orders of nobody here whose ids are remembered."""

UNTIED = (None, 0, UNSET_INT)
"""Ids that name nothing."""


@dataclass(slots=True)
class ForeignOrder:
    """An order of nobody here.

    `status`: the last status of TWS. Client id and order id are 0 if it was made by hand, and is bound to no client.
    `account`: the account that TWS has named, or empty. `absences`: comparisons in a row whose lists lack the order.
    """

    client_id: Any
    order_id: Any
    perm_id: int
    status: str = ""
    account: str = ""
    absences: int = 0

    @property
    def whose(self) -> Owner:
        """The owner of the order, which is `ext`, and its place on the bus."""
        return stranger(self.client_id, self.order_id, self.perm_id)

    @property
    def ended(self) -> bool:
        """True if the order is over."""
        return is_end(self.status)

    @property
    def is_missing(self) -> bool:
        """True if TWS has not listed the order as often as that says something."""
        return self.absences >= ABSENCES


class ForeignOrders:
    """Table of the orders of nobody here that TWS has reported, the newest `MOST_FOREIGN`."""

    def __init__(self, client_id: int) -> None:
        self._client_id = client_id
        self._by_perm: OrderedDict[int, ForeignOrder] = OrderedDict()
        self._by_id: dict[int, dict[Any, ForeignOrder]] = {}  # by order id, then by client id: the newest

    def __contains__(self, perm_id: Any) -> bool:
        return perm_id in self._by_perm

    def find(self, perm_id: int) -> ForeignOrder | None:
        """Return an order by its permId; None if TWS has not reported it."""
        return self._by_perm.get(perm_id)

    def open_orders(self) -> list[ForeignOrder]:
        """Return the orders that are not over, as far as TWS has said."""
        return [order for order in self._by_perm.values() if not (order.ended or order.is_missing)]

    def listed(self, perm_ids: Collection[int]) -> None:
        """Note which orders a comparison with TWS has found among the open ones."""
        for order in self._by_perm.values():
            order.absences = 0 if order.perm_id in perm_ids else order.absences + 1

    def under(self, order_id: Any) -> ForeignOrder | None:
        """Return the newest order of this daemon's client id with this order id."""
        return self._by_id.get(order_id, {}).get(self._client_id)

    def has_namesake(self, order_id: Any) -> bool:
        """Return True if an order of nobody here has this order id, under whatever client id."""
        return order_id in self._by_id

    def note(self, client_id: Any, order_id: Any, perm_id: Any, status: str) -> None:
        """Note what a message of TWS says of an order. A message without an id leaves the id that is known."""
        if perm_id in UNTIED:
            return
        order = self._by_perm.get(perm_id)
        if order is None:
            order = self._by_perm[perm_id] = ForeignOrder(client_id, order_id, perm_id)
        order.status = status or order.status
        order.absences = 0
        if order_id not in UNTIED:
            order.client_id, order.order_id = client_id, order_id
            self._by_id.setdefault(order_id, {})[client_id] = order
        if len(self._by_perm) > MOST_FOREIGN:
            self.forget(next(iter(self._by_perm)))

    def forget(self, perm_id: Any) -> None:
        """Forget an order: it is a client's, or there are too many."""
        order = self._by_perm.pop(perm_id, None)
        if order is None:
            return
        namesakes = self._by_id.get(order.order_id, {})
        if namesakes.get(order.client_id) is order:
            del namesakes[order.client_id]
        if not namesakes:
            self._by_id.pop(order.order_id, None)


def stranger(client_id: Any, order_id: Any, perm_id: Any) -> Owner:
    """Return the owner of an order that no client of this daemon has placed."""
    part = f"~{perm_id}" if perm_id not in UNTIED else f"~{client_id}/{order_id}"
    about = {"orderId": order_id, "permId": perm_id, "clientId": client_id}
    return Owner(FOREIGN, part, {"owner": FOREIGN, "key": part, **about})
