"""State machines as tables for people, from the transitions that the code uses.

The module must not know what a state means: the states and events carry their words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.orders import state_machine as order
from ibbridge.requests import state as request
from ibbridge.risk import liveness
from ibbridge.subscriptions import state as subscription

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from enum import Enum

ARCHITECTURE = "docs/architecture.md"
ORDERS = "docs/order-truth.md"
PROTOCOL = "docs/protocol.md"
PAGES = (ARCHITECTURE, ORDERS, PROTOCOL)
END = "<!-- end -->\n"


class Machine(NamedTuple):
    """State machine: the page that shows it, the module that declares it, its states and events, the next states."""

    page: str
    module: str
    states: type[Enum]
    events: type[Enum]
    transitions: Mapping[tuple[Any, Any], Any]

    @property
    def begin(self) -> str:
        """Mark before the table of this machine on the page."""
        return f"<!-- made from {self.module} by make docs -->\n"


MACHINES = (
    Machine(
        ARCHITECTURE,
        "requests/state.py",
        request.RequestState,
        request.RequestEvent,
        request.TRANSITIONS,
    ),
    Machine(
        ARCHITECTURE,
        "subscriptions/state.py",
        subscription.SubscriptionState,
        subscription.SubscriptionEvent,
        subscription.TRANSITIONS,
    ),
    Machine(PROTOCOL, "risk/liveness.py", liveness.Presence, liveness.PresenceEvent, liveness.TRANSITIONS),
    Machine(ORDERS, "orders/state_machine.py", order.OrderState, order.OrderEvent, order.TRANSITIONS),
)


def filled(name: str, page: str) -> str:
    """Return a page with each of its tables between two marks. Raise ValueError if the marks are not there."""
    for machine in MACHINES:
        if machine.page != name:
            continue
        before, begin, rest = page.partition(machine.begin)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise ValueError(f"the page has no place for the table of {machine.module}")
        page = before + begin + table(machine) + end + after
    return page


def table(machine: Machine) -> str:
    """Return the table of a machine: a row for each event."""
    return "".join(f"| {' | '.join(row)} |\n" for row in _rows(machine))


def _rows(machine: Machine) -> Iterator[tuple[str, str, str]]:
    yield "event", "in the states", "leads to"
    yield "---", "---", "---"
    for event in machine.events:
        found = {state: after for (state, other), after in machine.transitions.items() if other is event}
        before = [state.value for state in machine.states if state in found]
        (after,) = {state.value for state in found.values()}
        yield event.value, "all" if len(before) == len(machine.states) else ", ".join(before), after
