"""Whose order is it: from what TWS says of an order or execution to its owner and key.

Pure. An order is known by `(clientId, orderId)` until TWS gives its permId, and by that afterwards. Owner and key also
travel in `orderRef` (`owner/key`), so that they survive even the loss of this table: an order of an earlier process is
taken up again from what was published of it, or from the first message that has an `orderRef`, because most have none.
Orders of nobody here belong to `ext` and are keyed `~permId`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.tws.send_queue import Waiting

FOREIGN = "ext"
"""The owner of orders that no client of this daemon placed."""

LONGEST_REF = 40
MOST_EXECUTIONS = 20_000

_UNTIED = (None, 0)


CANCEL_SHOWS = frozenset(("PendingCancel", "Cancelled", "ApiCancelled", "Filled", "Inactive"))
"""What an order may be once TWS has taken a cancel of it, or cannot. As any other it may not know of one."""

ENDS = frozenset(("Filled", "Cancelled", "ApiCancelled"))
"""What an order is as when it is over. An `Inactive` one may come to life again."""


def is_end(status: str) -> bool:
    """Return True if an order of this status is over."""
    return status in ENDS


class Owner(NamedTuple):
    """Whose an order is, and under which key its messages are published."""

    owner: str
    part: str
    ref: dict[str, Any]


@dataclass(slots=True)
class Order:
    """An order that a client of this daemon placed. `heard`: TWS has said something of it.

    `message` is what asks TWS for it, while that waits; one that is `unsent` was accepted, and never left. When a
    cancel of it has left, it is `cancelling` until TWS says something that may be about that, and `touched` for ever:
    an error may be about the cancel. `cancel` is what asked for the last one, `cancelled_at` (µs since 1970 UTC) when
    that left. `ended` says whether it is over, and `recorded` what the store was given last: orderId, permId, `ended`.
    """

    owner: str
    key: str
    order_id: int
    args: Mapping[str, Any]
    command: str = "placeOrder"
    perm_id: int = 0
    heard: bool = False
    message: Waiting | None = None
    unsent: bool = False
    cancelling: bool = False
    touched: bool = False
    cancel: Waiting | None = None
    cancelled_at: int = 0
    ended: bool = False
    recorded: tuple[int, int, bool] | None = None
    whose: Owner = field(init=False)

    def __post_init__(self) -> None:
        about = {"owner": self.owner, "key": self.key, "orderId": self.order_id}
        self.whose = Owner(self.owner, self.key, about)

    def hear(self, status: str | None = None) -> None:
        """TWS has said something of it, or its owner was told that TWS has not.

        Without a status that is about a cancel as well; with one it is so only if that is how a cancel shows.
        """
        self.heard = True
        if status:
            self.ended = is_end(status)
        if status is None or status in CANCEL_SHOWS:
            self.cancelling = False
            if self.cancel is not None and not self.cancel.waits:
                self.cancel = None


@dataclass(slots=True)
class _Reported:
    """Where an execution was published and its commission was not, oldest first; and where the last commission was."""

    pending: list[Any] = field(default_factory=list)
    last: Any = None


class Orders:
    """Every order placed through this daemon since it started, and whose those are that were placed before.

    `recorded` gives orderId and permId of an order that nothing here is known of, by its owner and key.
    """

    def __init__(
        self, client_id: int, recorded: Callable[[str, str], tuple[int, int] | None] = lambda _, __: None
    ) -> None:
        self._client_id = client_id
        self._recorded = recorded
        self._by_key: dict[tuple[str, str], Order] = {}
        self._by_id: dict[int, Order] = {}
        self._by_perm: dict[int, Order] = {}
        self._former: dict[tuple[str, str], Order] = {}
        self._executions: OrderedDict[str, _Reported] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def ours(self, client_id: Any) -> bool:
        """Whether TWS speaks of an order that was placed under this daemon's client id."""
        return bool(client_id == self._client_id)

    def add(self, order: Order) -> None:
        """Remember an order that is about to be sent."""
        self._by_key[order.owner, order.key] = order
        self._by_id[order.order_id] = order

    def forget(self, order: Order) -> None:
        """It was not sent after all."""
        del self._by_key[order.owner, order.key], self._by_id[order.order_id]

    def keyed(self, owner: str, key: str) -> Order | None:
        """The order that `owner` placed under `key`."""
        return self._by_key.get((owner, key))

    def former(self, owner: str, key: str) -> Order | None:
        """The order of an earlier process under that key: its number is known, and what was ordered is not."""
        if (owner, key) not in self._former and (numbers := self._recorded(owner, key)) is not None:
            self.take_up(owner, key, *numbers).ended = True  # those that are open were taken up at the start
        return self._former.get((owner, key))

    def known(self, owner: str, key: str, order_id: Any) -> Order | None:
        """Return the order of this or an earlier process under a key, if memory has it: that with this number first."""
        placed, former = self._by_key.get((owner, key)), self._former.get((owner, key))
        return former if former is not None and (placed is None or former.order_id == order_id) else placed

    def numbered(self, order_id: int) -> Order | None:
        """The order that this daemon placed under `order_id`."""
        return self._by_id.get(order_id)

    @property
    def highest(self) -> int | None:
        """The highest number that an order of ours is known to have had."""
        return max(self._by_id, default=None)

    def unheard(self) -> list[Order]:
        """The orders of which TWS has said nothing, each once."""
        found = [order for order in self._by_key.values() if not order.heard]
        for order in found:
            order.hear()
        return found

    def uncancelled(self) -> list[Order]:
        """The orders of which TWS has said nothing since a cancel left, each once."""
        found = [order for order in (*self._by_key.values(), *self._former.values()) if order.cancelling]
        for order in found:
            order.hear()
        return found

    def whose(
        self, *, client_id: Any, order_id: Any, perm_id: Any, order_ref: str = "", status: str = ""
    ) -> Owner:
        """The owner of the order that a message is about, which says that it has this status."""
        order = self._by_perm.get(perm_id) if perm_id not in _UNTIED else None
        if order is None and self.ours(client_id):
            order = self._by_id.get(order_id)
        if order is None and client_id in _UNTIED and order_id in _UNTIED:
            order = self._without_perm_id(order_ref)
        if order is not None:
            order.hear(status)
            if perm_id not in _UNTIED and not order.perm_id:
                order.perm_id = perm_id
                self._by_perm[perm_id] = order
            return order.whose
        return self._stranger(client_id, order_id, perm_id, order_ref, status)

    def _without_perm_id(self, order_ref: str) -> Order | None:
        """The order with that ref, if it has no permId yet: completedOrder has no number but that."""
        owner, _, key = order_ref.partition("/")
        order = self._by_key.get((owner, key))
        return None if order is None or order.perm_id else order

    def _stranger(self, client_id: Any, order_id: Any, perm_id: Any, order_ref: str, status: str) -> Owner:
        owner, slash, key = order_ref.partition("/")
        if slash and owner and key and self.ours(client_id):
            order = self.take_up(owner, key, order_id, perm_id)
            order.hear(status)
            return order.whose
        part = f"~{perm_id}" if perm_id not in _UNTIED else f"~{client_id}/{order_id}"
        about = {"orderId": order_id, "permId": perm_id, "clientId": client_id}
        return Owner(FOREIGN, part, {"owner": FOREIGN, "key": part, **about})

    def recall(self, ref: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Take up the order that an earlier process published this of: `orderStatus` names it by numbers only."""
        about = data.get("order") or data
        if ref["owner"] != FOREIGN and self.ours(about.get("clientId", 0)):
            known = (ref["owner"], ref["key"]) in self._former
            order = self.take_up(ref["owner"], ref["key"], ref["orderId"], about.get("permId", 0))
            if not known:  # those that are open are known from their records
                order.ended, order.recorded = True, (order.order_id, order.perm_id, True)

    def take_up(self, owner: str, key: str, order_id: Any, perm_id: Any) -> Order:
        """Know an order of an earlier process by its numbers. Return it. What was ordered is not known."""
        order = self._by_id.get(order_id)
        if order is None or (order.owner, order.key) != (owner, key):
            order = self._former[owner, key] = Order(owner, key, order_id, {}, perm_id=perm_id, heard=True)
        if order_id not in _UNTIED:
            self._by_id.setdefault(order_id, order)
        if perm_id not in _UNTIED:
            order.perm_id = perm_id
            self._by_perm[perm_id] = order
        return order

    def executed(self, exec_id: str, whose: Any) -> None:
        """Remember where an execution was published: its commission comes later and names only the execution."""
        reported = self._executions.setdefault(exec_id, _Reported())
        reported.pending = [*reported.pending[:1], whose]
        if len(self._executions) > MOST_EXECUTIONS:
            self._executions.popitem(last=False)

    def execution(self, exec_id: str) -> Any:
        """Where the commission of an execution belongs, or None if the execution is not known.

        One that is asked for again (reqExecutions) while the commission of the live one is still to come must not take
        it from its owner.
        """
        reported = self._executions.get(exec_id)
        if reported is None:
            return None
        if reported.pending:
            reported.last = reported.pending.pop(0)
        return reported.last


def order_ref(owner: str, key: str) -> str:
    """The `orderRef` that carries owner and key."""
    return f"{owner}/{key}"
