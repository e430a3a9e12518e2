"""Catalogue of what the seeds must have reached: states, transitions, codes, places of a kill, ways of recovery.

A rule that holds in a world where nothing happens says little. So a large run fails if an entry was never reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.orders.state_machine import TRANSITIONS, OrderEvent, OrderState, Reason
from tests.world.faults import FAULTS, MISSED
from tests.world.process import BORDERS

if TYPE_CHECKING:
    from collections.abc import Container

LARGE = 10_000
"""Seeds from which on a run must reach everything."""

STAGES = ("down", "resolving", "connecting", "handshaking", "starting", "syncing", "ready")

STATUSES = (
    *("new -> PreSubmitted", "new -> Submitted", "new -> Filled", "new -> Cancelled", "new -> Inactive"),
    *("PreSubmitted -> Submitted", "PreSubmitted -> Filled", "PreSubmitted -> Cancelled"),
    *("Submitted -> Filled", "Submitted -> Cancelled"),
)
"""Changes of an order's status, as its owner hears of them; "new" is before the first status."""

_E, _S = OrderEvent, OrderState

UNREACHABLE = {
    **dict.fromkeys(
        ((_S.QUEUED, event) for event in (_E.ACK, _E.OPEN, _E.STOP, _E.FILL, _E.END)),
        "TWS reports no order that has not left; the orderRef of another program would have to name it",
    ),
    **dict.fromkeys(
        ((state, _E.FILL) for state in (_S.SENT, _S.HELD, _S.UNKNOWN)),
        "an execution is a report of TWS, which has the order, before it is a fill",
    ),
    **dict.fromkeys(
        ((state, _E.MISS) for state in _S),
        "the lists of TWS reach back to midnight, and no world lasts so long",
    ),
    (
        _S.CANCELLING,
        _E.REOPEN,
    ): "the simulated TWS cancels at once: it never takes a cancel, and lists the order as working",
    (_S.HELD, _E.MODIFY): "the change of an order that TWS keeps back leaves it as held, or transmits it",
    (_S.HELD, _E.WITHDRAW): "an order that is written without a record is rarely one that TWS is to keep back",
}
"""Transitions that no seed reaches, or few of very many, each with the reason."""


def transition(state: OrderState, event: OrderEvent) -> str:
    """Return the entry for an event in a state."""
    return f"{event.name} in {state.value}"


ERRORS = (103, 110, 200, 201, 202, 321, 326, 504, 1100, 1101, 1102, 1300, 2103, 2110, 10147, 10148)
"""Codes of TWS, and of the daemon, that were published."""

CAUSES = ("own", "other_client", "group", "broker", "by_hand", "halt", "dead_man")
"""Those who have ended an order."""

REPLIES = (
    *("reply to placeOrder", "reply to cancelOrder", "reply to reqAllOpenOrders", "reply to reqExecutions"),
    *("reply to placeOrders", "reply to modifyOrder", "reply to cancelOrders", "reply to orders", "reply to replay"),
    *("reply to reconcile", "reply E_STORE not_sent", "reply E_STATE refused", "reply E_STATE not_sent"),
    *("reply dup", "reply E_ARG refused", "reply E_KEY_REUSED refused", "reply E_DEADLINE not_sent"),
    *("reply E_HALTED not_sent", "reply E_NOT_CONNECTED not_sent", "reply E_NOT_SYNCED unknown"),
)

MESSAGES = (
    *(
        "alarm",
        "bye",
        "execDetails",
        "execDetails, synthetic",
        "farm",
        "gap",
        "halt",
        "massCancel",
        "ownerPosition",
        "position",
    ),
    *("position, synthetic", "store"),
)

ALARMS = ("journal", "store", "unknownOrders")

RECOVERIES = (
    "an accepted order never left, 202",
    "an accepted order never left, 504",
    "a command was repeated without a reply",
    "a client repeated a command after its death",
    "the daemon started with working orders",
    "the daemon was killed while it started",
    "the daemon was killed before it heard of an order at TWS",
    *(f"orders were compared after {what}" for what in ("a connect", "1101", "1102", "a connect, without all answers")),
    "an order was found nowhere",
    "another program traded under the daemon's client id",
    "commits were lost",
    "no commit was lost",
)

REQUIRED = (
    *(f"stage {stage}" for stage in STAGES),
    *(f"status {change}" for change in STATUSES),
    *(f"state {state.value}" for state in OrderState),
    *(transition(*each) for each in TRANSITIONS if each not in UNREACHABLE),
    *(f"reason {reason.value}" for reason in Reason),
    *(f"cause {cause}" for cause in CAUSES),
    *(f"error {code}" for code in ERRORS),
    *REPLIES,
    *(f"message {kind}" for kind in MESSAGES),
    *(f"alarm {alarm} {change}" for alarm in ALARMS for change in ("raised", "over")),
    *RECOVERIES,
    *(f"killed {side} a {place}" for place, sides in BORDERS.items() for side in sides),
    *(f"fault {kind}" for kind in FAULTS),
    *(f"order events of an outage, {events}" for events in MISSED),
)
"""Marks that a large run must have."""


def missed(marks: Container[str]) -> list[str]:
    """Return the entries that are not among the marks of a run."""
    return [entry for entry in REQUIRED if entry not in marks]
