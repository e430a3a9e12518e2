"""The keeper of the book of risk: tells the book of every order, execution and position, each once over all restarts.

Pure. What the keeper tells the book is an event, which is in the order journal in the same commit as the order or the
execution that it is about. So a process that begins has the book of the one before. The module must not know rules or
limits.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.orders import book_events
from ibbridge.orders.execution_ledger import FillWatch
from ibbridge.orders.order import FOREIGN, is_end
from ibbridge.orders.order_states import OrderWatch
from ibbridge.orders.state_machine import OrderState, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ibbridge.clock import Clock
    from ibbridge.orders.book_records import BookRecords
    from ibbridge.orders.order import Order, Owner
    from ibbridge.orders.position_rows import PositionRow, PositionRows
    from ibbridge.orders.proposals import Proposals
    from ibbridge.risk.book import TradeFill, TradingBook
    from ibbridge.risk.evaluation import RiskGate
    from ibbridge.risk.order import OrderName, ProposedOrder

BookEvent: TypeAlias = "tuple[Any, ...]"
"""Event as the journal has it: what has happened, and the values for the book."""

_UNDECIDED = (OrderState.MODIFYING, OrderState.UNKNOWN)
"""States in which nobody knows whether TWS has taken a change."""


MOST_ROWS = 300
"""Positions that are taken over in one call, which takes some 15 ms. The rest follow with the next calls."""


class BookKeeper(OrderWatch, FillWatch):
    """Keeper of the book of a gate."""

    def __init__(
        self, gate: RiskGate, proposals: Proposals, rows: PositionRows, records: BookRecords, clock: Clock
    ) -> None:
        self.gate = gate
        self.proposals = proposals
        self._rows = rows
        self._clock = clock
        self._records = records
        self._changed_before: tuple[Order, Mapping[str, Any]] | None = None
        self._changing: dict[OrderName, tuple[Order, Mapping[str, Any]]] = {}
        self._seen: dict[str, int] = {}  # orders of other programs: when TWS reported each last
        self._does: Mapping[str, Callable[..., None]] = {
            "accepted": lambda packed, now: self.gate.accept((book_events.proposed(packed),), now, more=True),
            "undone": lambda owner, key: self.gate.take_back((owner, key)),
            "works": self._works,
            "ended": lambda owner, key, now, filled, left: self._book.ended((owner, key), now, filled, left=left),
            "settled": lambda owner, key, taken: self._book.settled((owner, key), taken=taken),
            "rejected": lambda owner, key, now: self.gate.rejected((owner, key), now),
            "filled": lambda fill: self._book.filled(book_events.fill(fill)),
            "corrected": self._correct,
            "identified": self._identify,
            "charged": self._charge,
            "reported": self._report,
            "resumed": lambda kind, name: self.gate.resume((kind, name)),
        }

    # The book is asked for each time, because the gate then has all in it that was let pass.

    def _identify(self, instrument: str, con_id: int) -> None:
        self._book.identify(instrument, con_id)

    def _charge(self, client: str, account: str, currency: str, amount: float) -> None:
        self._book.charged(client, account, currency, amount)

    def _report(self, account: str, instrument: str, contract: Mapping[str, Any], quantity: float, now: int) -> None:
        self._book.reported(account, instrument, contract, quantity, now)

    def _tell(self, *event: Any) -> None:
        """Tell the book of an event, and have it written with the next commit."""
        self._does[event[0]](*event[1:])
        self._records.note(event)

    @property
    def _book(self) -> TradingBook:
        return self.gate.book

    @property
    def _now(self) -> int:
        return self._clock.utc_us()

    # -- what the gate has let pass

    def accept(self, proposed: Sequence[ProposedOrder]) -> None:
        """Count orders, or the order that one becomes, which are about to be sent.

        The journal has it with the order, and the book as soon as anybody asks.
        """
        now = self._now
        self._records.make_room()
        self.gate.accept(proposed, now)
        for each in proposed:
            self._records.note(("accepted", each, now))

    def take_back(self, proposed: Sequence[ProposedOrder]) -> None:
        """Take back what was counted last: its command is refused, and nothing of it has left."""
        for each in reversed(proposed):
            self._tell("undone", *each.name)
            if self._changing.pop(each.name, None) is not None and self._changed_before is not None:
                self._changing[each.name] = self._changed_before

    def changes(self, order: Order, args: Mapping[str, Any]) -> None:
        """Note the arguments that an order gets by a change, which TWS may take or refuse."""
        name = order.owner, order.key
        self._changed_before = self._changing.get(name)
        self._changing[name] = order, args

    def resumed(self, kind: str, name: str) -> None:
        """Open the gate again that rejects have closed for a scope."""
        self._tell("resumed", kind, name)

    # -- what becomes of orders

    def order_changed(self, order: Order) -> None:
        """Take over what has become of an order of a client."""
        name = order.owner, order.key
        works = name in self._book.working
        if order.ended and works:
            if order.reason is Reason.REJECTED:
                self._tell("rejected", *name, self._now)
            self._changing.pop(name, None)
            self._over(name, _number(order.filled), left=not order.unsent)
        elif not order.ended and not works:
            self._works_on(order)
        elif name in self._changing:
            self._settle(order)

    def _over(self, name: OrderName, filled: float | None = None, *, left: bool = True) -> None:
        self._tell("ended", *name, self._now, filled, left)

    def _settle(self, order: Order) -> None:
        """Note that a change was taken or refused, if that is known."""
        if order.queued is not None or order.pending is not None or order.state in _UNDECIDED:
            return
        _, args = self._changing.pop((order.owner, order.key))
        taken = order.args == args
        if not taken and order.error is not None and not order.error["own"]:
            self._tell("rejected", order.owner, order.key, self._now)
        self._tell("settled", order.owner, order.key, taken)

    def _works_on(self, order: Order) -> None:
        """Count an order that works and that the book does not have, such as one that was taken for over."""
        if order.args:
            for each in self.proposals.of(order):
                self._tell("works", each, self._now, _number(order.filled) or 0.0)

    def _works(self, packed: Sequence[Any], now: int, filled: float) -> None:
        order = book_events.proposed(packed)
        self.gate.works(order, now)
        self._book.executed_before(order.name, filled)

    # -- what TWS reports

    def reported(self, whose: Owner, name: str, data: Mapping[str, Any]) -> None:
        """Take over what a message of TWS says of the contract of an order, and of an order of another program."""
        contract = data.get("contract")
        if whose.order is not None:
            if contract:
                self._name(whose.order, contract)
            if name == "openOrder":
                self._restate(whose.order, data.get("order") or {})
            return
        if contract:
            self.proposals.contracts.learn(contract)
        if whose.owner == FOREIGN and name in ("openOrder", "orderStatus", "completedOrder"):
            self._take_foreign(whose.part, name, data)

    def _name(self, order: Order, contract: Mapping[str, Any]) -> None:
        """Note the contract that TWS names for that of an order: positions and executions have its conId."""
        if key := self.proposals.name(order, contract):
            self._tell("identified", key, contract["conId"])

    def _restate(self, order: Order, reported: Mapping[str, Any]) -> None:
        """Take over a quantity that somebody else has changed at TWS, such as a person, or the rest of an OCA group."""
        working = self._book.working.get((order.owner, order.key))
        quantity = _number(reported.get("totalQuantity"))
        if working is None or not quantity or order.queued is not None or order.pending is not None:
            return
        if working.order.quantity not in (None, quantity) and working.order.cash_quantity is None:
            restated = working.order._replace(quantity=quantity)
            self._tell("works", restated, self._now, _number(order.filled) or 0.0)

    def _take_foreign(self, part: str, name: str, data: Mapping[str, Any]) -> None:
        status = data.get("status") or (data.get("orderState") or {}).get("status") or ""
        whose = FOREIGN, part
        working = self._book.working.get(whose)
        self._seen[part] = self._now
        if name == "completedOrder" or is_end(status):
            self._seen.pop(part, None)
            if working is not None:
                self._over(whose, _number(data.get("filled")))
        elif name == "openOrder":
            proposed = self.proposals.foreign(part, data)
            if working is None or working.order != proposed:
                self._tell("works", proposed, self._now, 0.0)
        elif working is not None and (filled := _number(data.get("filled"))):
            self._book.executed_before(whose, filled)

    def listed(self, since: int) -> None:
        """Note that TWS has listed all open orders, in a list asked for at `since`.

        Orders of other programs that it does not list are over.
        """
        for owner, part in [name for name in self._book.working if name[0] == FOREIGN]:
            if self._seen.get(part, 0) < since:
                self._seen.pop(part, None)
                self._over((owner, part))

    # -- executions and positions

    def filled(self, fill: TradeFill) -> None:
        """Count an execution."""
        self.positions()
        self._tell("filled", tuple(fill))

    def corrected(self, old: TradeFill, new: TradeFill | None) -> None:
        """Count the correction of an execution; None if it never took place."""
        self._tell("corrected", tuple(old), tuple(new) if new is not None else None, self._now)

    def _correct(self, old: Sequence[Any], new: Sequence[Any] | None, now: int) -> None:
        self._book.corrected(book_events.fill(old), book_events.fill(new) if new else None, now)

    def charged(self, client: str, account: str, currency: str, amount: float) -> None:
        """Count a commission; a negative amount takes back what was charged before."""
        if amount:
            self._tell("charged", client, account, currency, amount)

    def positions(self) -> None:
        """Take over the positions of the accounts that have changed, at most `MOST_ROWS` in one call."""
        for row in islice(self._rows.changed(), MOST_ROWS):
            self._take_row(row)

    def _take_row(self, row: PositionRow) -> None:
        key, contract = self.proposals.held(row.contract)
        self._tell("reported", row.account, key, contract, row.quantity, self._now)

    # -- time and restarts

    def tick(self) -> None:
        """Value the book, note what became of changes, and maintain the records. Call it about every second."""
        self.positions()
        for order, _ in [*self._changing.values()]:
            self._settle(order)
        self._book.revalue(self._now)
        self._records.tick()

    def _load(self, data: Any) -> None:
        self._book.load(data, self._now)

    def restore(self, orders: Iterable[Order]) -> None:
        """Restore the book of the process before, and compare it with the orders of the journal."""
        self._records.restore(self._load, lambda event: self._does[event[0]](*event[1:]))
        self.gate.accept((), self._now)
        known = {(order.owner, order.key): order for order in orders}
        for owner, key in [name for name in self._book.working if name[0] != FOREIGN and name not in known]:
            self._over((owner, key))
        for order in known.values():
            if order.pending is not None:
                self._changing[order.owner, order.key] = order, order.pending
            self.order_changed(order)


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
