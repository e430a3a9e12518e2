"""Registry of orders: from the ids in a message of TWS to the owner and key of the order.

Pure. An order is known by `(clientId, orderId)` until TWS gives its permId, and by the permId afterwards. Owner and key
also travel in `orderRef` (`owner/key`), so that they survive even the loss of this table. An order of an earlier
process is restored from the messages that were published about the order, or from the first message with an `orderRef`;
most messages have none. Orders that no client of this daemon has placed belong to `ext` and have the key `~permId`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ibbridge.orders.order import FOREIGN, Order, Owner
from ibbridge.orders.reports import take_report
from ibbridge.orders.state_machine import OrderEvent, OrderState, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.orders.order_states import OrderStates

MOST_EXECUTIONS = 20_000

_UNTIED = (None, 0)


@dataclass(slots=True)
class _Reported:
    """Topics of an execution whose commission has not come yet, oldest first, and the topic of its last commission."""

    pending: list[Any] = field(default_factory=list)
    last: Any = None


def end(order: Order) -> None:
    """Note that an order of an earlier process is over: those that are open have records."""
    order.step(OrderEvent.END, Reason.CANCELLED)


class OrderRegistry:
    """Registry of the orders that this process has placed, and of the owners of earlier orders.

    `recorded` returns orderId and permId of an order that is not in the registry, by owner and key.
    """

    def __init__(
        self, client_id: int, states: OrderStates, recorded: Callable[[str, str], tuple[int, int] | None]
    ) -> None:
        self.listed: set[Order] | None = None
        """The orders that TWS has reported since a reconciliation began; None while there is none."""
        self.states = states
        self.journal = states.journal
        self._client_id = client_id
        self._recorded = recorded
        self._by_key: dict[tuple[str, str], Order] = {}
        self._live: dict[tuple[str, str], Order] = {}
        self._by_id: dict[int, Order] = {}
        self._by_perm: dict[int, Order] = {}
        self._former: dict[tuple[str, str], Order] = {}
        self._executions: OrderedDict[str, _Reported] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def ours(self, client_id: Any) -> bool:
        """Return True if `client_id`, which a message gives for an order, is this daemon's."""
        return bool(client_id == self._client_id)

    def add(self, order: Order) -> None:
        """Add an order that was accepted, or is known from the journal."""
        self._by_key[order.owner, order.key] = order
        if not order.ended:
            self._live[order.owner, order.key] = order
        if order.order_id:
            self._by_id[order.order_id] = order
        if order.perm_id:
            self._by_perm[order.perm_id] = order

    def number(self, order: Order, order_id: int) -> None:
        """Give an order that is about to leave its id."""
        order.number(order_id)
        self._by_id[order_id] = order

    def forget(self, order: Order) -> None:
        """Remove an order that was not accepted."""
        del self._by_key[order.owner, order.key]
        self._live.pop((order.owner, order.key), None)
        if order.order_id:
            del self._by_id[order.order_id]
        self.journal.forget(order)

    def keyed(self, owner: str, key: str) -> Order | None:
        """Return the order that `owner` has placed under `key`, if it is in memory."""
        return self._by_key.get((owner, key))

    def find(self, owner: str, key: str) -> Order | None:
        """Return the order that `owner` has ever placed under `key`, from memory or from the journal.

        Return None too if the journal cannot be read; it has a fault then.
        """
        order = self._by_key.get((owner, key))
        if order is None and (order := self.journal.find(owner, key)) is not None:
            self.add(order)
        return order

    def former(self, owner: str, key: str) -> Order | None:
        """Return the order of an earlier process under that key. Its ids are known, its arguments are not."""
        if (owner, key) not in self._former and (numbers := self._recorded(owner, key)) is not None:
            end(self.take_up(owner, key, *numbers))  # those that are open were taken up at the start
        return self._former.get((owner, key))

    def known(self, owner: str, key: str, order_id: Any) -> Order | None:
        """Return the order in memory of this or an earlier process under a key; of two, the one with this order id."""
        placed, former = self._by_key.get((owner, key)), self._former.get((owner, key))
        return former if former is not None and (placed is None or former.order_id == order_id) else placed

    def numbered(self, order_id: int) -> Order | None:
        """Return the order that this daemon has placed under `order_id`."""
        return self._by_id.get(order_id)

    @property
    def highest(self) -> int | None:
        """Highest known order id of this daemon's orders; None if there is none."""
        return max(self._by_id, default=None)

    def open_orders(self) -> list[Order]:
        """Return the orders that are not over."""
        for whose in [whose for whose, order in self._live.items() if order.ended]:
            del self._live[whose]
        return [*self._live.values()]

    def unheard(self) -> list[Order]:
        """Return the orders that have left, and that TWS has not reported."""
        return [order for order in self.open_orders() if order.state is OrderState.SENT]

    def uncancelled(self) -> list[Order]:
        """Return the orders that TWS has not reported since a cancel left."""
        return [order for order in (*self.open_orders(), *self._former.values()) if order.cancelling]

    def whose(self, *, client_id: Any, order_id: Any, perm_id: Any, order_ref: str = "", status: str = "") -> Owner:
        """Return the owner of the order in a message of TWS, and note the ids and the status in the message."""
        order = self._by_perm.get(perm_id) if perm_id not in _UNTIED else None
        if order is None and self.ours(client_id):
            order = self._by_id.get(order_id)
        if order is None and client_id in _UNTIED and order_id in _UNTIED:
            order = self._without_perm_id(order_ref)
        if order is not None:
            order.hear(status)
            self.states.note(order)
            if perm_id not in _UNTIED and not order.perm_id:
                order.perm_id = perm_id
                self._by_perm[perm_id] = order
            return order.whose
        return self._stranger(client_id, order_id, perm_id, order_ref, status)

    def report(self, whose: Owner, name: str, data: Mapping[str, Any]) -> None:
        """Take the quantities and the end of an order from a message of TWS about it."""
        if whose.order is not None:
            if self.listed is not None:
                self.listed.add(whose.order)
            take_report(whose.order, name, data)
            if not whose.order.ended:
                self._live[whose.owner, whose.part] = whose.order

    def _without_perm_id(self, order_ref: str) -> Order | None:
        """Return the order with that `orderRef`, if its permId is not known: `completedOrder` has no other id."""
        owner, _, key = order_ref.partition("/")
        order = self._by_key.get((owner, key))
        return None if order is None or order.perm_id else order

    def _stranger(self, client_id: Any, order_id: Any, perm_id: Any, order_ref: str, status: str) -> Owner:
        owner, slash, key = order_ref.partition("/")
        if slash and owner and key and self.ours(client_id):
            order = self.take_up(owner, key, order_id, perm_id)
            order.hear(status)
            self.states.note(order)
            return order.whose
        part = f"~{perm_id}" if perm_id not in _UNTIED else f"~{client_id}/{order_id}"
        about = {"orderId": order_id, "permId": perm_id, "clientId": client_id}
        return Owner(FOREIGN, part, {"owner": FOREIGN, "key": part, **about})

    def recall(self, ref: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Restore an order from a message that an earlier process published: later `orderStatus` has only its ids."""
        if (ref["owner"], ref["key"]) in self._by_key:  # the journal knows more
            return
        about = data.get("order") or data
        if ref["owner"] != FOREIGN and self.ours(about.get("clientId", 0)):
            known = (ref["owner"], ref["key"]) in self._former
            order = self.take_up(ref["owner"], ref["key"], ref["orderId"], about.get("permId", 0))
            if not known and not order.ended:  # those that are open are known from their records
                end(order)
                order.recorded = (order.order_id, order.perm_id, True)

    def take_up(self, owner: str, key: str, order_id: Any, perm_id: Any) -> Order:
        """Enter an order of an earlier process by its ids, and return the order. Its arguments are not known."""
        order = self._by_id.get(order_id)
        if order is None or (order.owner, order.key) != (owner, key):
            order = self._former[owner, key] = Order(owner, key, order_id, {}, perm_id=perm_id, state=OrderState.ACKED)
        if order_id not in _UNTIED:
            self._by_id.setdefault(order_id, order)
        if perm_id not in _UNTIED:
            order.perm_id = perm_id
            self._by_perm[perm_id] = order
        return order

    def executed(self, exec_id: str, whose: Any) -> None:
        """Remember the topic of an execution: its commission comes later and names only the execution."""
        reported = self._executions.setdefault(exec_id, _Reported())
        reported.pending = [*reported.pending[:1], whose]
        if len(self._executions) > MOST_EXECUTIONS:
            self._executions.popitem(last=False)

    def execution(self, exec_id: str) -> Any:
        """Return the topic for the commission of an execution; None if the execution is not known.

        A repeated report of the execution (reqExecutions) must not take the commission of the live report from its
        owner.
        """
        reported = self._executions.get(exec_id)
        if reported is None:
            return None
        if reported.pending:
            reported.last = reported.pending.pop(0)
        return reported.last
