"""An order of a client: its owner, key and ids, and what has become of it.

Pure. The module must not know how orders are found, or placed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.orders.state import TRANSITIONS, OrderEvent, OrderState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.tws.outbound import OutboundMessage

FOREIGN = "ext"
"""Owner of the orders that no client of this daemon has placed."""

LONGEST_REF = 40

CANCEL_SHOWS = frozenset(("PendingCancel", "Cancelled", "ApiCancelled", "Filled", "Inactive"))
"""Statuses of an order whose cancel TWS has taken, or cannot take. Any other status may be older than the cancel."""

ENDS = frozenset(("Filled", "Cancelled", "ApiCancelled"))
"""Statuses of an order that is over. An `Inactive` order may become active again."""


def is_end(status: str) -> bool:
    """Return True if an order of this status is over."""
    return status in ENDS


class Owner(NamedTuple):
    """The owner of an order, the topic component of its key, and the `ref` of its messages."""

    owner: str
    part: str
    ref: dict[str, Any]


@dataclass(slots=True)
class Order:
    """An order that a client of this daemon has placed.

    - `state`: what is known of the order. `message`: the message that places the order, while it is queued.
    - `cancelling`: a cancel has left, and TWS has said nothing since that may be about the cancel.
    - `has_followup`: a cancel has left at some time, so an error may be about the cancel.
    - `perm_id`: the first permId that TWS has given the order, 0 before that. `perm_ids`: all of them, in order.
    - `cancel`: the message of the last cancel. `cancelled_at`: when the last cancel left, in µs since 1970 UTC.
    - `ended`: the order is over. `recorded`: orderId, permId and `ended` as the store was given them last.
    """

    owner: str
    key: str
    order_id: int
    args: Mapping[str, Any]
    command: str = "placeOrder"
    perm_id: int = 0
    state: OrderState = OrderState.QUEUED
    message: OutboundMessage | None = None
    cancelling: bool = False
    has_followup: bool = False
    cancel: OutboundMessage | None = None
    cancelled_at: int = 0
    recorded: tuple[int, int, bool] | None = None
    perm_ids: tuple[int, ...] = field(init=False)
    whose: Owner = field(init=False)

    def __post_init__(self) -> None:
        self.perm_ids = (self.perm_id,) if self.perm_id else ()
        about = {"owner": self.owner, "key": self.key, "orderId": self.order_id}
        self.whose = Owner(self.owner, self.key, about)

    def take_perm_id(self, perm_id: int) -> None:
        """Add a permId to those of the order."""
        self.perm_ids = (*self.perm_ids, perm_id)
        self.perm_id = self.perm_ids[0]

    def give_up_perm_id(self, perm_id: int) -> None:
        """Remove a permId that turns out to be another order's."""
        self.perm_ids = tuple(each for each in self.perm_ids if each != perm_id)
        self.perm_id = self.perm_ids[0] if self.perm_ids else 0

    def step(self, event: OrderEvent) -> None:
        """Change the state as the table says."""
        self.state = TRANSITIONS.get((self.state, event), self.state)

    def leave(self) -> None:
        """Note that the order is being written to TWS."""
        self.message = None
        self.step(OrderEvent.LEAVE)

    def withdraw(self) -> None:
        """Note that the order will never be written."""
        self.message = None
        self.step(OrderEvent.WITHDRAW)

    def end(self, *, ends: bool | None = True) -> None:
        """Note that an error is about the order, which ends it, or does not, or may (None)."""
        if ends:
            self.step(OrderEvent.END)

    @property
    def heard(self) -> bool:
        """True if TWS has reported the order, or need not: its owner knows what became of it, or that nobody knows."""
        return self.state not in (OrderState.QUEUED, OrderState.SENT)

    @property
    def unsent(self) -> bool:
        """True if the order was accepted, and will never be written."""
        return self.state is OrderState.NOT_SENT

    @property
    def ended(self) -> bool:
        """True if the order is over."""
        return self.state in (OrderState.ENDED, OrderState.NOT_SENT)

    def hear(self, status: str | None = None) -> None:
        """Note that TWS has reported the order, or that the owner was told that TWS has not.

        A report without a status also answers a cancel. A report with a status does so only if the status is in
        `CANCEL_SHOWS`.
        """
        self.step(_event(status) if status else OrderEvent.REPORT)
        if status is None or status in CANCEL_SHOWS:
            self.cancelling = False
            if self.cancel is not None and not self.cancel.waits:
                self.cancel = None


def _event(status: str) -> OrderEvent:
    return OrderEvent.END if is_end(status) else OrderEvent.OPEN


def order_ref(owner: str, key: str) -> str:
    """Return the `orderRef` that carries owner and key."""
    return f"{owner}/{key}"
