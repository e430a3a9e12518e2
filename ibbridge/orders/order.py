"""An order of a client: its owner, key and ids, and what has become of it.

Pure. The module must not know how orders are found, placed, recorded or published.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.orders.fills import OrderFills
from ibbridge.orders.state_machine import (
    OVERTURNED_BY_ANYTHING,
    OVERTURNED_BY_LIST,
    TRANSITIONS,
    OrderEvent,
    OrderState,
    Reason,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.tws.outbound import OutboundMessage

FOREIGN = "ext"
"""Owner of the orders that no client of this daemon has placed."""

LONGEST_REF = 40

ABSENCES = 2
"""Reconciliations in a row that must miss an order, before something follows from that."""

INACTIVE = "Inactive"
"""Status of an order that TWS has, and that does not work: it was refused, or it may become active again."""

CANCEL_SHOWS = frozenset(("PendingCancel", "Cancelled", "ApiCancelled", "Filled", INACTIVE))
"""Statuses of an order whose cancel TWS has taken, or cannot take. Any other status may be older than the cancel."""

STATUS_EVENTS: Mapping[str, tuple[OrderEvent, Reason | None]] = {
    "ApiPending": (OrderEvent.ACK, None),
    "PendingSubmit": (OrderEvent.ACK, None),
    INACTIVE: (OrderEvent.STOP, None),
    "PreSubmitted": (OrderEvent.OPEN, None),
    "Submitted": (OrderEvent.OPEN, None),
    "PendingCancel": (OrderEvent.CANCEL, None),
    "ApiCancelled": (OrderEvent.END, Reason.CANCELLED),
    "Cancelled": (OrderEvent.END, Reason.CANCELLED),
    "Filled": (OrderEvent.END, Reason.FILLED),
}
"""What a status of TWS says of an order. An `Inactive` order may become active again, so it is not over. A status that
is not here says that TWS has the order."""


def is_end(status: str) -> bool:
    """Return True if an order of this status is over."""
    return STATUS_EVENTS.get(status, (None, None))[0] is OrderEvent.END


class Owner(NamedTuple):
    """The owner of an order, the topic component of its key, the `ref` of its messages, and the order if known."""

    owner: str
    part: str
    ref: dict[str, Any]
    order: Order | None = None


@dataclass(slots=True, eq=False)
class Order:
    """An order that a client of this daemon has placed.

    - `order_id`: 0 until the order leaves for TWS. `args`: the arguments of the command; empty if they are not known.
    - `digest`: the digest of command and arguments; empty if they are not known.
    - `parent`: the key of the parent order, if the client names it by key.
    - `kept`: the order was written with `transmit` false, so TWS may keep it back, and report nothing of it.
    - `not_after`: µs since 1970 UTC, after which the order must not leave. `revision`: that of the last change.
    - `state`, `reason`, `cause`: what is known of the order, and if it is over, why, and by whom (empty: not known).
    - `status`: the last status of TWS. `filled`, `remaining`, `average`: the newest that TWS has reported of them.
    - `counted`: what TWS has counted as filled, without corrections. `fills`: the executions.
    - `heard_at`: when TWS reported the order last, or when it left, in µs since 1970 UTC. `disputed`: TWS has reported
      the order as open after its end, so that it is looked up. `id_taken`: TWS has another order under its id.
    - `error`: code, text and time of the last error about the order.
    - `message`: the message that places the order, while it is queued.
    - `change`: the message of the last change; `change_digest`: its digest. `queued`: revision and arguments of a
      change that waits. `pending`: the arguments of a change that has left, until TWS reports or refuses it.
    - `group`: the keys of the orders that are cancelled if TWS refuses one of them.
    - `settled`: the order is over for long enough that its record is closed.
    - `cancelled_by`: by whom the last cancel was asked for. `changed_at`: when the state was published last, in µs.
    - `cancelling`: a cancel has left, and TWS has said nothing since that may be about the cancel.
    - `has_followup`: a cancel or a change has left at some time, so an error may be about that.
    - `perm_id`: the first permId that TWS has given the order, 0 before that. `perm_ids`: all of them, in order.
    - `cancel`: the message of the last cancel. `cancelled_at`: when the last cancel left, in µs since 1970 UTC.
    - `left_at`: when the order left, in seconds of a monotonic clock; an order of an earlier process left long ago.
    - `absences`: reconciliations in a row that have missed the order. `unknown_since`: when it was found unknown.
    - `changes`: the number of the last published state. `published`: that state.
    - `keyless`: another order has the key, and so its state and its record in the journal.
    - `decision`: the id of the decision by which the limits let the order, or its last change, pass; empty if unknown.
    - `recorded`: orderId, permId and `ended` as the event store was given them last.
    """

    owner: str
    key: str
    order_id: int
    args: Mapping[str, Any]
    command: str = "placeOrder"
    digest: bytes = b""
    not_after: int | None = None
    parent: str = ""
    kept: bool = False
    revision: int = 0
    perm_id: int = 0
    state: OrderState = OrderState.QUEUED
    reason: Reason | None = None
    cause: str = ""
    status: str = ""
    filled: Any = None
    remaining: Any = None
    average: Any = None
    counted: float | None = None
    fills: OrderFills = field(default_factory=OrderFills)
    heard_at: int = 0
    disputed: bool = False
    id_taken: bool = False
    error: dict[str, Any] | None = None
    message: OutboundMessage | None = None
    change: OutboundMessage | None = None
    change_digest: bytes = b""
    queued: tuple[int, Mapping[str, Any]] | None = None
    pending: Mapping[str, Any] | None = None
    group: tuple[str, ...] = ()
    cancelled_by: str = ""
    changed_at: int = 0
    settled: bool = False
    cancelling: bool = False
    has_followup: bool = False
    cancel: OutboundMessage | None = None
    cancelled_at: int = 0
    left_at: float = float("-inf")
    absences: int = 0
    absent_since: float = 0.0
    unknown_since: float | None = None
    changes: int = 0
    published: Any = None
    keyless: bool = False
    recorded: tuple[int, int, bool] | None = None
    decision: str = ""
    perm_ids: tuple[int, ...] = ()
    whose: Owner = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.perm_ids = self.perm_ids or ((self.perm_id,) if self.perm_id else ())
        self.number(self.order_id)

    def number(self, order_id: int) -> None:
        """Give the order its id."""
        self.order_id = order_id
        about = {"owner": self.owner, "key": self.key, "orderId": order_id or None}
        self.whose = Owner(self.owner, self.key, about, self)

    def take_perm_id(self, perm_id: int) -> None:
        """Add a permId to those of the order."""
        self.perm_ids = (*self.perm_ids, perm_id)
        self.perm_id = self.perm_ids[0]

    def give_up_perm_id(self, perm_id: int) -> None:
        """Remove a permId that turns out to be another order's."""
        self.perm_ids = tuple(each for each in self.perm_ids if each != perm_id)
        self.perm_id = self.perm_ids[0] if self.perm_ids else 0

    def step(self, event: OrderEvent, reason: Reason | None = None) -> None:
        """Change the state as the table says. `reason` is for an event that ends the order."""
        before, self.state = self.state, TRANSITIONS.get((self.state, event), self.state)
        if self.state is not OrderState.DONE:
            self.reason, self.cause, self.disputed = None, "", False
        elif reason is not None and (
            before is not OrderState.DONE or self.reason is None or self.reason.yields_to(reason)
        ):
            self.reason = reason
            self.cause = self.cancelled_by if reason is Reason.CANCELLED else ""

    def blame(self, cause: str) -> None:
        """Note who has ended the order, unless that is known."""
        if self.ended and not self.cause:
            self.cause = cause

    def leave(self, *, transmitted: bool, kept: bool) -> None:
        """Note that the order is being written to TWS. `kept`: TWS keeps it until another order transmits it."""
        self.message = None
        self.kept = self.kept or kept  # a change that transmits it may not arrive
        self.step(OrderEvent.LEAVE if transmitted else OrderEvent.KEEP)

    def withdraw(self) -> None:
        """Note that the order will never be written."""
        self.message = None
        self.step(OrderEvent.WITHDRAW, Reason.NOT_SENT)

    @property
    def ref(self) -> str:
        """The orderRef with which the order was placed."""
        return order_ref(self.owner, self.key)

    @property
    def may_be_kept(self) -> bool:
        """True if TWS may keep the order back without a report, so that its absence from TWS's lists says nothing."""
        return self.kept and not self.perm_ids and not self.status

    @property
    def heard(self) -> bool:
        """True if TWS has reported the order, or need not, or its owner was told that nobody knows."""
        return self.state not in (OrderState.QUEUED, OrderState.SENT)

    @property
    def unsent(self) -> bool:
        """True if the order was accepted, and will never be written."""
        return self.state is OrderState.DONE and self.reason is Reason.NOT_SENT

    @property
    def may_have_left(self) -> bool:
        """True if the order left, if at all, after the backup from which the journal was restored."""
        return not self.order_id and self.state is OrderState.UNKNOWN

    @property
    def is_missing(self) -> bool:
        """True if TWS has not listed the order as often as that says something."""
        return self.absences >= ABSENCES

    @property
    def ended(self) -> bool:
        """True if the order is over."""
        return self.state is OrderState.DONE

    def hear(self, status: str | None = None, *, listed: bool = False) -> None:
        """Note a report of TWS about the order, with its status if it has one.

        Only a status in `CANCEL_SHOWS` answers a cancel: an execution may have left TWS before the cancel came.
        `listed`: the report is in a list of open orders that was asked for after the order was published last.
        """
        if status:
            self._take_status(status, listed=listed)
        else:
            self.step(OrderEvent.ACK)
        if status in CANCEL_SHOWS:
            self.answer_cancel()

    def answer_cancel(self) -> None:
        """Note that TWS has said something that may be about the last cancel, or that its answer is overdue."""
        self.cancelling = False
        if self.cancel is not None and not self.cancel.waits:
            self.cancel = None

    def _take_status(self, status: str, *, listed: bool) -> None:
        self.status = status
        event, reason = STATUS_EVENTS.get(status, (OrderEvent.ACK, None))
        if event is not OrderEvent.END and self.ended:
            self._weigh(status, listed=listed)
        elif event is OrderEvent.OPEN and listed and not self.cancelling and self.state is OrderState.CANCELLING:
            self.step(OrderEvent.REOPEN)  # TWS has answered the cancel, and the order works all the same
        self.step(event, reason)

    def _weigh(self, status: str, *, listed: bool) -> None:
        """Reopen an order that is over, or have it looked up, if its status is that of an open order."""
        if self.reason in OVERTURNED_BY_ANYTHING:
            self.step(OrderEvent.REOPEN)
        elif status != INACTIVE and self.reason in OVERTURNED_BY_LIST:
            if listed:
                self.step(OrderEvent.REOPEN)
            else:
                self.disputed = True


def order_ref(owner: str, key: str) -> str:
    """Return the `orderRef` that carries owner and key."""
    return f"{owner}/{key}"
