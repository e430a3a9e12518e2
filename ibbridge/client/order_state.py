"""States of this client's orders, as the daemon publishes them, and what a program waits for.

This module knows the messages `orderState`. It must not know sockets, commands or waiting: the inbox notes the messages
that arrive, and `threaded_orders` and `asyncio_orders` wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ibbridge.client.message import Message, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TYPE = "orderState"
"""Type of the messages that say what is known of an order."""

STATES = ("queued", "sent", "held", "acked", "working", "modifying", "cancelling", "unknown", "done")
"""Names of the states of an order."""

SETTLED = frozenset(("held", "acked", "working", "unknown", "done"))
"""States in which nothing is under way of which TWS has said nothing."""

_FAILED = ("rejected", "not_sent", "not_at_tws")


@dataclass(frozen=True, slots=True)
class OrderState:
    """State of an order: `state`, the `reason` if it is "done", IB's ids, and the figures that TWS reported last.

    `rev` is the revision of the last change. `lastError` has `code`, `text`, `ts` and `own`, or is None. The daemon
    counts the states of an order in `changes`, which is 0 as long as no state has come.
    """

    state: str
    reason: str | None = None
    cause: str | None = None
    orderId: int | None = None  # noqa: N815 -- IB's name
    permId: int | None = None  # noqa: N815 -- IB's name
    rev: int = 0
    status: str | None = None
    filled: Any = None
    remaining: Any = None
    avgFillPrice: Any = None  # noqa: N815 -- IB's name
    lastError: Record | None = None  # noqa: N815 -- as the daemon's other names
    changes: int = 0

    @property
    def done(self) -> bool:
        """Return True if the order is over."""
        return self.state == "done"

    @property
    def failed(self) -> bool:
        """Return True if the order is over, and was never at work: refused, never sent, or unknown to TWS."""
        return self.done and self.reason in _FAILED


_NAMES = frozenset(each.name for each in fields(OrderState))


def order_state(data: Mapping[str, Any]) -> OrderState:
    """Return the state that the data of a message, or a row of `orders`, has. Other fields are left out."""
    given = {name: value for name, value in data.items() if name in _NAMES}
    error = given.get("lastError")
    return OrderState(**{**given, "lastError": None if error is None else Record(error)})


def wanted(until: str | Iterable[str] | None) -> frozenset[str]:
    """Return the states to wait for. Raise ValueError for a state that there is not."""
    if until is None:
        return SETTLED
    states = frozenset((until,) if isinstance(until, str) else until)
    for state in sorted(states.difference(STATES)):
        near = get_close_matches(state, STATES, 1)
        raise ValueError(f"no order is ever {state!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return states


@dataclass(eq=False, slots=True, weakref_slot=True)
class KnownOrder:
    """Knowledge of one order: its last state, and which change or cancel its next states must show.

    All handles of one order share it.
    """

    key: str
    state: OrderState = field(default_factory=lambda: OrderState("queued"))
    message: Message | None = None
    """Message that brought the state; None if none has come."""
    _rev: int = 0
    _attempt: tuple[int, dict[str, Any]] | None = None
    _due_rev: int = 0
    _due_cancel: bool = False

    def note(self, message: Message) -> None:
        """Take over the state that a message brings, unless it is older than the state that is known."""
        state, former = order_state(message.data), self.state
        if self.message is not None and message.epoch == self.message.epoch and state.changes < former.changes:
            return
        fails = self.message is not None and state.lastError is not None and state.lastError != former.lastError
        self.state, self.message = state, message
        if fails or state.state in ("done", "unknown"):
            self.give_up()
        if state.rev >= self._due_rev:
            self._due_rev = 0
        if state.state == "cancelling":
            self._due_cancel = False

    def suppose(self, state: OrderState) -> None:
        """Take over a state that no message has brought, if none has come."""
        if self.message is None:
            self.state = state

    def reached(self, states: frozenset[str]) -> bool:
        """Return True if the order is in one of these states or over, after the last change and the last cancel."""
        return not (self._due_rev or self._due_cancel) and (self.state.state in states or self.state.done)

    # -- changes and cancels

    def expect_change(self, rev: int) -> None:
        """Note that a change of this revision is about to be sent."""
        self._rev = max(self._rev, rev)
        if rev > self.state.rev and not self.state.done:
            self._due_rev = rev

    def expect_cancel(self) -> None:
        """Note that a cancel is about to be sent."""
        self._due_cancel = self.state.state not in ("cancelling", "done")

    def give_up(self) -> None:
        """Expect no change or cancel any more: it was refused, or its outcome is known."""
        self._due_rev, self._due_cancel = 0, False

    def revision(self, changes: dict[str, Any]) -> tuple[int, bool]:
        """Return the revision of a change, and True if the change is tried again: its first outcome is not known."""
        if self._attempt is not None and self._attempt[1] == changes:
            return self._attempt[0], True
        self._rev = max(self._rev, self.state.rev) + 1
        self._attempt = self._rev, changes
        return self._rev, False

    def attempted(self, rev: int = 0) -> None:
        """Note that the outcome of the last change is known, and the revision `rev` that the daemon has."""
        self._attempt, self._rev = None, max(self._rev, rev)
