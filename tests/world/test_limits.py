"""Worlds with limits: whatever strikes, the books of TWS never show what the limits forbid.

The judge is naive: it knows two limits, and adds up what TWS has executed, in the order in which TWS did so.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.world.checkers import breaches
from tests.world.world import World

if TYPE_CHECKING:
    from tests.world.world import Evidence

LARGEST, POSITION = 800, 900
LIMITS = {
    "risk.all": f"{{max_order_quantity: {LARGEST}}}",
    "risk.clients": f'{{"*": {{max_position: {POSITION}}}}}',
}
SEEDS = 16
AT_ONCE = 4


def limited(seed: int) -> Evidence:
    world = World(seed)
    world.settings |= LIMITS
    return world.live()


def forbidden(evidence: Evidence) -> list[str]:
    """Return what TWS should never have heard, or done."""
    found = [
        f"{each.ref} has {each.order['totalQuantity']}"
        for each in evidence.history.arrivals
        if float(each.order["totalQuantity"]) > LARGEST
    ]
    held: Counter[tuple[str, str]] = Counter()
    for order, execution, _ in evidence.executions:
        place = order.order["orderRef"].partition("/")[0], order.instrument.symbol
        held[place] += order.sign * execution["shares"]
        if abs(held[place]) > POSITION:
            found.append(f"{place} has {held[place]} after {execution['execId']}")
    return found


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_the_books_of_tws_never_show_what_the_limits_forbid(first: int) -> None:
    refused = 0
    for seed in range(first, first + AT_ONCE):
        evidence = limited(seed)
        assert forbidden(evidence) == [], seed
        assert breaches(evidence) == [], f"seed {seed}: " + "\n".join(evidence.history.faults)
        refused += sum(reply["error"]["code"] == "E_RISK" for reply in replies(evidence) if not reply["ok"])
    assert refused


def replies(evidence: Evidence) -> list[dict[str, Any]]:
    return [reply for command in evidence.commands for _, reply in command.replies]


def test_the_judge_finds_what_no_limit_has_forbidden() -> None:
    assert any(forbidden(World(seed).live()) for seed in range(AT_ONCE))
