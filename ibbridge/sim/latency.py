"""How long a host takes to answer: delays by kind of request, drawn from a seed, and answers that wait for their time.

Answers to different requests overtake each other, as at a gateway; what belongs to one request, to orders, to positions
or to an account stays in order, and nothing that comes later gets ahead of it. Pure: it is told the time.
"""

from __future__ import annotations

import math
import random
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibbridge.sim.context import Sent

TYPICAL: dict[str, float] = {
    "reqContractDetails": 0.04, "reqSecDefOptParams": 0.06, "reqMatchingSymbols": 0.08, "reqFundamentalData": 0.12,
    "reqHistoricalData": 0.15, "reqHistoricalTicks": 0.15, "reqHistogramData": 0.12, "reqHeadTimeStamp": 0.08,
    "reqHistoricalNews": 0.12, "reqNewsArticle": 0.08, "reqScannerSubscription": 0.12, "reqScannerParameters": 0.1,
    "reqWshMetaData": 0.08, "reqWshEventData": 0.08, "reqMktData": 0.02, "reqMktDepth": 0.03, "reqTickByTickData": 0.03,
    "reqSmartComponents": 0.02, "placeOrder": 0.01, "cancelOrder": 0.01, "reqGlobalCancel": 0.01,
    "exerciseOptions": 0.03, "reqOpenOrders": 0.01, "reqAllOpenOrders": 0.01, "reqCompletedOrders": 0.03,
    "reqExecutions": 0.02, "reqAccountUpdates": 0.02, "reqAccountSummary": 0.02, "reqAccountUpdatesMulti": 0.02,
    "reqPositions": 0.01, "reqPositionsMulti": 0.01, "reqPnL": 0.02, "reqPnLSingle": 0.02,
}  # fmt: skip
"""Seconds that half of the answers take at most. A request that is not here is answered at once."""
SPREAD = 0.5
"""The deviation of the logarithm: one in forty takes more than two and a half times the usual."""
LONGEST = 4.0
"""How many times the usual an answer takes at most."""

_FAMILIES = {
    **dict.fromkeys(
        ("openOrder", "orderStatus", "openOrderEnd", "execDetails", "execDetailsEnd", "commissionAndFeesReport",
         "orderBound", "completedOrder", "completedOrdersEnd"), "orders",
    ),
    **dict.fromkeys(("position", "positionEnd"), "positions"),
    **dict.fromkeys(
        ("updateAccountValue", "updatePortfolio", "updateAccountTime", "accountDownloadEnd"), "account",
    ),
}  # fmt: skip
_KEYS = ("reqId", "tickerId", "requestId")

Lane: TypeAlias = "str | int"


class Delays:
    """Draws how long answers take. The same seed and the same requests give the same delays."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def draw(self, request: str) -> float:
        """Return the seconds until the answer to a request."""
        typical = TYPICAL.get(request)
        if typical is None:
            return 0.0
        return min(self._random.lognormvariate(math.log(typical), SPREAD), LONGEST * typical)


class Answers:
    """Messages for one client that wait for their time. `orders` are the ids that it has given to orders."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Lane, Sent]] = []
        self._lanes: dict[Lane, float] = {}
        self._count = 0
        self.orders: set[int] = set()

    @property
    def due(self) -> float | None:
        """Return when the next message is due; None if none waits."""
        return self._waiting[0][0] if self._waiting else None

    def put(self, messages: Iterable[Sent], due: float) -> None:
        """Add messages that are due at a time, or as soon as what they must not overtake has gone."""
        for message in messages:
            lane = self._lane(*message)
            due = self._lanes[lane] = max(due, self._lanes.get(lane, due))
            self._count += 1
            heappush(self._waiting, (due, self._count, lane, message))

    def take(self, now: float) -> list[Sent]:
        """Return the messages that are due, in order."""
        taken = []
        while self._waiting and self._waiting[0][0] <= now:
            taken.append(heappop(self._waiting)[3])
        if not self._waiting:
            self._lanes.clear()
        return taken

    def withdraw(self, request: int) -> bool:
        """Forget what waits under a request id that is cancelled. Return True if anything did."""
        kept = [entry for entry in self._waiting if entry[2] != request]
        found = len(kept) < len(self._waiting)
        if found:
            self._waiting = sorted(kept)
        return found

    def _lane(self, name: str, data: dict[str, object]) -> Lane:
        if name in _FAMILIES:
            return _FAMILIES[name]
        key = next((data[each] for each in _KEYS if each in data), None)
        if name == "error" and key in self.orders:
            return "orders"
        return key if isinstance(key, int) and key >= 0 else name
