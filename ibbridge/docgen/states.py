"""State machines as tables for people, from the transitions that the code uses.

The module must not know what a state means: the states and events carry their words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.subscriptions.state import TRANSITIONS, SubscriptionEvent, SubscriptionState

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "docs/architecture.md"
BEGIN, END = "<!-- made from subscriptions/state.py by make docs -->\n", "<!-- end -->\n"


def subscription_states() -> str:
    """Return the table of the states of a subscription: a row for each event."""
    return "".join(f"| {' | '.join(row)} |\n" for row in _rows())


def filled(page: str) -> str:
    """Return a page with the table between its two marks. Raise ValueError if the marks are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page has no place for the table of states")
    return before + BEGIN + subscription_states() + END + after


def _rows() -> Iterator[tuple[str, str, str]]:
    yield "event", "in the states", "leads to"
    yield "---", "---", "---"
    for event in SubscriptionEvent:
        found = {state: after for (state, other), after in TRANSITIONS.items() if other is event}
        before = [state.value for state in SubscriptionState if state in found]
        (after,) = {state.value for state in found.values()}
        yield event.value, "all" if len(before) == len(SubscriptionState) else ", ".join(before), after
