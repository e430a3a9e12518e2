"""State of one connected client, as far as faults and limits concern it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.sim.latency import DelayedResponses
from ibbridge.sim.pacing_rules import HistoryRules, Rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, Sent

ORDERS = frozenset(("placeOrder", "cancelOrder", "reqGlobalCancel"))
"""Requests about orders that need the upstream, and open no subscription."""


class ClientState:
    """State of one connected client: its open subscriptions, its rates, and the messages withheld from it."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session
        self.rate = Rate()
        self.history = HistoryRules()
        self.open: dict[int, tuple[str, Mapping[str, Any]]] = {}
        self.dead: set[int] = set()
        self.kept: list[Sent] = []
        self.answers = DelayedResponses()
        self.asked: dict[int, str] = {}
        self.late: list[tuple[float, str, Mapping[str, Any]]] = []
        self.reads_at = 0.0  # requests that come are read then, or later

    def waits_for(self, name: str | None, key: int) -> bool:
        """Return True if `name` was the last request under this id."""
        return name is not None and self.asked.get(key) == name

    def note(self, name: str, args: Mapping[str, Any]) -> None:
        """Record the subscription that a request opens or cancels."""
        request, key = REQUESTS.get(name), key_of(args)
        if request is None or key is None:
            return
        if request.cancels:
            self.open.pop(key, None)
            self.dead.discard(key)
            self.history.end(name, key)
        elif request.subscribes(args) and name not in ORDERS:
            self.open[key] = name, args


def key_of(data: Mapping[str, Any]) -> int | None:
    """Return the request id of a request or a message; None if it has none."""
    for name in ("reqId", "tickerId"):
        if (found := data.get(name)) is not None:
            return int(found)
    return None
