"""Registry of orders: from the ids in a message of TWS to the owner and key of the order.

Pure. An order is known by `(clientId, orderId)` until TWS gives its permId, and by the permId afterwards. Owner and key
also travel in `orderRef` (`owner/key`), so that they survive even the loss of this table. Most messages have no
`orderRef`. Where a message has one, it decides: TWS can give an order id a second time, and then the ids alone name the
wrong order. An order of an earlier process is restored from the messages that were published about the order, or from
the first message with an `orderRef`. Orders that no client of this daemon has placed belong to `ext` and have the key
`~permId`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ibbridge.orders.foreign_orders import UNTIED, ForeignOrder, ForeignOrders, stranger
from ibbridge.orders.order import FOREIGN, Order, Owner, is_end
from ibbridge.orders.reports import take_error, take_report
from ibbridge.orders.state_machine import OrderEvent, OrderState
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.ib.error_codes import ErrorCode
    from ibbridge.orders.order_states import OrderStates

MOST_FINISHED = 20_000
"""Most orders in memory that were over long ago. The journal has all of them."""

_LARGEST_PERM_ID = 2**63

_UNREPORTED = (OrderState.SENT, OrderState.HELD, OrderState.UNKNOWN)


_ORDER_IDS = range(-(2**31), 2**31)


def _status(name: str, data: Mapping[str, Any]) -> str:
    """Return the status in a message about an order. A completed order is over, whatever status the list repeats."""
    status: str = data.get("status") or (data.get("orderState") or {}).get("status") or ""
    return status if name != "completedOrder" or is_end(status) else ""


def end(order: Order) -> None:
    """Note that an order of an earlier process is over, nobody knows why: those that are open have records."""
    order.step(OrderEvent.END)


@dataclass(slots=True)
class Listing:
    """Lists of orders that a reconciliation has asked TWS for.

    - `since`: when the list of open orders that is coming was asked for, in µs since 1970 UTC; None once it is whole.
    - `answers`: TWS has sent such lists completely before. One that never does sends nothing because of them.
    - `orders`: those that TWS has reported as open or completed since then.
    - `topics`: those of the messages about orders that have come since then, `ext` included.
    - `foreign`: permIds of the orders of nobody here that TWS has reported since then.
    - `spoilt`: one of these messages cannot be read, and may be about any order, so absence says nothing.
    """

    since: int | None
    answers: bool = True
    orders: set[Order] = field(default_factory=set)
    topics: set[bytes] = field(default_factory=set)
    foreign: set[int] = field(default_factory=set)
    spoilt: bool = False

    def shows_open(self, order: Order) -> bool:
        """Return True if a status that is read now may be in a list of open orders asked for after `order` changed."""
        return self.since is not None and order.changed_at < self.since


class OrderRegistry(ConnectionListener):
    """Registry of the orders that this process has placed, and of the owners of earlier orders.

    `recorded` returns orderId and permId of an order that is not in the registry, by owner and key. `renumbered` is
    called with an order to which TWS has given another permId, once for each.
    """

    def __init__(
        self,
        client_id: int,
        states: OrderStates,
        recorded: Callable[[str, str], tuple[int, int] | None],
        renumbered: Callable[[Order], None],
        *,
        binds_manual: bool = False,
    ) -> None:
        self.listing: Listing | None = None
        """The lists of TWS that a reconciliation waits for; None while there is none."""
        self.first_reported: list[Order] = []
        """Orders that TWS has reported, and had not before, until somebody takes them: it has transmitted them."""
        self.disputes = 0
        """How often TWS has reported an order as open that was over. Such an order must be looked up."""
        self.foreign = ForeignOrders(client_id)
        """The orders that no client of this daemon has placed."""
        self.binds_manual = binds_manual
        """True if the daemon has TWS bind the orders that are made by hand to its client id."""
        self.states = states
        self.journal = states.journal
        self._client_id = client_id
        self._recorded = recorded
        self._renumbered = renumbered
        self._by_key: dict[tuple[str, str], Order] = {}
        self._finished: deque[Order] = deque()
        self._earlier = 0  # the highest order id that was given before this connection
        self._live: dict[tuple[str, str], Order] = {}
        self._by_id: dict[int, Order] = {}
        self._by_perm: dict[int, Order] = {}
        self._former: dict[tuple[str, str], Order] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def ours(self, client_id: Any) -> bool:
        """Return True if `client_id`, which a message gives for an order, is this daemon's. None is 0."""
        return bool((client_id or 0) == self._client_id)

    def add(self, order: Order) -> None:
        """Add an order that was accepted, or is known from the journal."""
        if not order.heard_at:
            self.states.heard(order)
        self._by_key[order.owner, order.key] = order
        if not order.ended:
            self._live[order.owner, order.key] = order
        if order.order_id:
            self._by_id[order.order_id] = order
        self._by_perm.update(dict.fromkeys(order.perm_ids, order))

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
            if order.settled:
                self._finished.append(order)
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

    def owner_of(self, perm_id: int) -> Order | None:
        """Return the order of a client with this permId."""
        return self._by_perm.get(perm_id)

    def numbered(self, order_id: int) -> Order | None:
        """Return the order that this daemon has placed under `order_id`."""
        return self._by_id.get(order_id)

    def parent(self, order: Order) -> Order | None:
        """Return the parent of an order; None if it has none that this daemon knows."""
        if order.parent:
            return self.find(order.owner, order.parent)
        given = order.args.get("order")
        return self.numbered((given.get("parentId") if isinstance(given, dict) else None) or 0)

    @property
    def highest(self) -> int | None:
        """Highest known order id of this daemon's orders; None if there is none."""
        return max(self._by_id, default=None)

    def placed(self) -> list[Order]:
        """Return the orders in memory that clients have placed, those that are over included."""
        return [*self._by_key.values()]

    def open_orders(self) -> list[Order]:
        """Return the orders that are not over."""
        for whose in [whose for whose, order in self._live.items() if order.ended]:
            del self._live[whose]
        return [*self._live.values()]

    def all_open(self) -> list[Order]:
        """Return the orders that are not over, with those of earlier processes that the journal does not have."""
        return [*self.open_orders(), *(order for order in self._former.values() if not order.ended)]

    def unheard(self) -> list[Order]:
        """Return the orders that have left, and that TWS has not reported."""
        return [order for order in self.open_orders() if order.state is OrderState.SENT]

    def unchanged(self) -> list[Order]:
        """Return the orders of which a change has left, and that TWS has not reported since."""
        return [order for order in self.open_orders() if order.state is OrderState.MODIFYING]

    def uncancelled(self) -> list[Order]:
        """Return the orders that TWS has not reported since a cancel left."""
        return [order for order in (*self.open_orders(), *self._former.values()) if order.cancelling]

    def connection_started(self) -> None:
        """Note that from here on other programs may have given order ids up to those of this daemon's orders."""
        self._earlier = self.highest or 0

    def take_error(self, data: Mapping[str, Any], error: ErrorCode, ts: int) -> tuple[Owner, bool | None] | None:
        """Apply an error of TWS to the order with its id. Return the owner, and whether the order is over.

        Return None if no order is known under the id.
        """
        number, code, text = data["reqId"], data["errorCode"], data["errorString"]
        if number in UNTIED or (number == -1 and error.error_class != "order"):  # an order made by hand may be -1
            return None
        order = self._by_id.get(number)
        foreign = self.foreign.under(number) if order is None else self.usurper(order)
        if foreign is not None:
            return foreign.whose, error.ends_order(acknowledged=True)
        if order is None:
            return None
        self.states.note(order)
        namesake = self.foreign.has_namesake(number)
        return order.whose, take_error(order, error, code, text, ts, namesake=namesake)

    def bound(self, client_id: Any, order_id: Any, perm_id: Any) -> Owner:
        """Note the order id that TWS has given to an order made by hand, and return the owner of the order."""
        self.foreign.note(client_id or 0, order_id, perm_id, "")
        return stranger(client_id, order_id, perm_id)

    def usurper(self, order: Order) -> ForeignOrder | None:
        """Return the order of another program that TWS has under the client id and order id of an order.

        Another program may have had the client id since the order left on an earlier connection, or did not leave.
        """
        return self.foreign.under(order.order_id) if order.order_id <= self._earlier else None

    def reported(self, name: str, data: Mapping[str, Any]) -> Owner:
        """Take what a message of TWS says of an order, and return the owner of the order."""
        about = data.get("execution") or data.get("order") or data
        whose = self.whose(
            client_id=about.get("clientId", 0),
            order_id=data.get("orderId", about.get("orderId", 0)),
            perm_id=about.get("permId", 0),
            order_ref=about.get("orderRef", "") if "order" in data or "execution" in data else None,
            status=_status(name, data),
        )
        if whose.order is None:
            self._report_foreign(about)
        self.report(whose, name, data)
        return whose

    def _report_foreign(self, about: Mapping[str, Any]) -> None:
        """Note that TWS has reported an order of nobody here, and its account."""
        order = self.foreign.find(about.get("permId") or 0)
        if order is not None:
            order.account = about.get("account") or about.get("acctNumber") or order.account
            if self.listing is not None:
                self.listing.foreign.add(order.perm_id)

    def whose(
        self, *, client_id: Any, order_id: Any, perm_id: Any, order_ref: str | None = None, status: str = ""
    ) -> Owner:
        """Return the owner of the order in a message of TWS, and note the ids and the status in the message.

        `order_ref` is None if messages of this type have none. Raise `OverflowError` for an order id that none can be:
        the text of TWS has room for it, and the journal has none.
        """
        if order_id is not None and order_id not in _ORDER_IDS:
            raise OverflowError(f"the order id {order_id}")
        order = self._found(client_id, order_id, perm_id, order_ref or "")
        if order is not None and order_ref != order.ref and self._may_be_anothers(order, perm_id):
            if order_ref is None:  # published for the owner, and no evidence
                return order.whose._replace(order=None)
            order = None
        if order is None:
            self.foreign.note(client_id, order_id, perm_id, status)
            return stranger(client_id, order_id, perm_id)
        another = bool(order.perm_ids)
        if self._join(order, perm_id) and another:
            self._renumbered(order)
        disputed, before = order.disputed, order.state
        order.hear(status, listed=self.listing is not None and self.listing.shows_open(order))
        self.disputes += order.disputed and not disputed
        if before in _UNREPORTED and order.state not in _UNREPORTED:
            self.first_reported.append(order)
        self.states.heard(order)
        self.states.note(order)
        return order.whose

    def trim(self) -> None:
        """Forget the oldest orders that were over long ago, beyond `MOST_FINISHED`. Call it about every second."""
        self._finished.extend(self.journal.take_settled())
        while len(self._finished) > MOST_FINISHED:
            order = self._finished.popleft()
            if order.settled:
                self._drop(order)

    def _drop(self, order: Order) -> None:
        known: tuple[tuple[dict[Any, Order], Any], ...] = (
            (self._by_key, (order.owner, order.key)),
            (self._by_id, order.order_id),
            *((self._by_perm, perm_id) for perm_id in order.perm_ids),
        )
        for orders, name in known:
            if orders.get(name) is order:
                del orders[name]
        self.states.forget(order)

    def report(self, whose: Owner, name: str, data: Mapping[str, Any]) -> None:
        """Take the quantities and the end of an order from a message of TWS about it."""
        if whose.order is None:
            return
        if self.listing is not None and name != "execDetails":
            self.listing.orders.add(whose.order)
        disputed = whose.order.disputed
        take_report(whose.order, name, data)
        self.disputes += whose.order.disputed and not disputed
        if not whose.order.ended and not whose.order.keyless:
            self._live[whose.owner, whose.part] = whose.order

    def unreadable(self, order: Order | None) -> None:
        """Note a message about an order that cannot be read. It may be about any order if `order` is None."""
        if self.listing is not None and order is not None:
            self.listing.orders.add(order)
        elif self.listing is not None:
            self.listing.spoilt = True

    def _found(self, client_id: Any, order_id: Any, perm_id: Any, order_ref: str) -> Order | None:
        """Return the order of this daemon that a message is about.

        `orderRef` decides, unless the message names another client of TWS: the clients of another daemon may have the
        same names. A message with neither client id nor order id (`completedOrder`) may be about anybody's order.
        """
        order = self._by_perm.get(perm_id) if perm_id not in UNTIED else None
        anybodys = client_id in UNTIED and order_id in UNTIED
        ours = self.ours(client_id) and not anybodys
        owner, _, key = order_ref.partition("/")
        if not (owner and key and (ours or anybodys)):
            known = order is not None or not ours or perm_id in self.foreign
            return order if known else self._by_untaken_id(order_id)
        if order is not None and (order.owner, order.key) == (owner, key):
            return order
        if order is None and anybodys:
            return None if perm_id in self.foreign else self._without_perm_id(owner, key)
        named = self.known(owner, key, order_id) or self.find(owner, key) or self.former(owner, key)
        if named is not None and named.may_have_left and order_id not in UNTIED:
            self.number(named, order_id)
        if named is None or order_id not in (*UNTIED, named.order_id):
            named = self.take_up(owner, key, order_id, perm_id)
        return named

    def _may_be_anothers(self, order: Order, perm_id: Any) -> bool:
        """Return True if a message without an orderRef may be about another program's order with the same order id.

        The orderRef says whose an order is, and so does a permId that is known. Without them the order id does, but
        only on the connection on which the order left, because TWS gives a client id to one program at a time. An
        exercise has no orderRef.
        """
        known = perm_id in UNTIED or perm_id in order.perm_ids
        return not known and order.command == "placeOrder" and 0 < order.order_id <= self._earlier

    def _by_untaken_id(self, order_id: Any) -> Order | None:
        """Return the order with an order id, unless TWS has refused it because it has another order under that id."""
        order = self._by_id.get(order_id)
        return None if order is not None and order.id_taken else order

    def _without_perm_id(self, owner: str, key: str) -> Order | None:
        """Return the order of this client id under a key, if its permId is not known.

        A permId that is not the order's is that of an order of another daemon, and so is one that TWS has reported
        before this daemon knew an order under the key. While the journal may miss orders, the order may be one of
        these, and is taken up: to place it again could be worse than to refuse another order.
        """
        found = [self._by_key.get((owner, key)), self._former.get((owner, key))]
        if found == [None, None]:
            found = [self.find(owner, key) or self.former(owner, key)]
            if found == [None] and self.journal.doubt:
                return self.take_up(owner, key, 0, 0)
        left = (
            order
            for order in found
            if order is not None and (order.order_id or order.may_have_left) and not order.unsent
        )
        return next((order for order in left if not order.perm_ids), None)

    def _join(self, order: Order, perm_id: Any) -> bool:
        """Enter an order under a permId, and under no other order. Return False if nothing is new."""
        other = self._by_perm.get(perm_id)
        if perm_id in UNTIED or other is order or not 0 < perm_id < _LARGEST_PERM_ID:
            return False
        self.foreign.forget(perm_id)
        if other is not None:
            other.give_up_perm_id(perm_id)
        self._by_perm[perm_id] = order
        if perm_id not in order.perm_ids:
            order.take_perm_id(perm_id)
        return True

    def recall(self, ref: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Restore an order from a message that an earlier process published: later `orderStatus` has only its ids."""
        if ref["owner"] != FOREIGN and self.find(ref["owner"], ref["key"]) is not None:  # the journal knows more
            return
        about = data.get("order") or data
        if ref["owner"] != FOREIGN and self.ours(about.get("clientId", 0)):
            known = (ref["owner"], ref["key"]) in self._former
            order = self.take_up(ref["owner"], ref["key"], ref["orderId"], about.get("permId", 0))
            if not known and not order.ended:  # those that are open are known from their records
                end(order)
                order.recorded = (order.order_id, order.perm_id, True)

    def take_up(self, owner: str, key: str, order_id: Any, perm_id: Any) -> Order:
        """Enter an order of an earlier process by its ids, and return the order. Its arguments are not known.

        If an order with another order id is known under the key, that order keeps the key: a cancel means that order.
        """
        order = self._by_id.get(order_id)
        if order is None or (order.owner, order.key) != (owner, key):
            order = self.find(owner, key)
        if order is None or order_id not in (*UNTIED, order.order_id):
            order = self._stray(owner, key, order_id, keyless=order is not None)
        if order_id not in UNTIED:
            self._by_id.setdefault(order_id, order)
        self._join(order, perm_id)
        return order

    def _stray(self, owner: str, key: str, order_id: Any, *, keyless: bool) -> Order:
        """Return the order of an earlier process that the journal does not have."""
        former = order = self._former.get((owner, key))
        if order is None or order_id not in (*UNTIED, order.order_id):
            order = Order(owner, key, order_id, {}, state=OrderState.ACKED, keyless=keyless)
            if former is None or former.order_id in UNTIED:
                self._former[owner, key] = order
        return order
