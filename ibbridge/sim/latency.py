"""Response times of the simulated host: delays drawn from a seed by kind of request, and delayed messages.

Responses to different requests overtake each other, as at a gateway. The messages of one request, of orders, of
positions or of an account stay in order: no later message gets ahead of an earlier one. The module is pure; callers
pass the time.
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
"""Median response time in seconds by request. A request that is not listed gets its response at once."""
SPREAD = 0.5
"""Deviation of the delay's logarithm: one delay in forty is more than two and a half times the median."""
LONGEST = 4.0
"""Longest delay, as a multiple of the median."""

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


class LatencyModel:
    """Generator of response times. The same seed and the same requests give the same delays."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def draw(self, request: str) -> float:
        """Return the seconds until the response to a request."""
        typical = TYPICAL.get(request)
        if typical is None:
            return 0.0
        return min(self._random.lognormvariate(math.log(typical), SPREAD), LONGEST * typical)


class DelayedResponses:
    """Delayed messages for one client. `orders` are the order ids that the client has used."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Lane, Sent]] = []
        self._lanes: dict[Lane, float] = {}
        self._count = 0
        self.orders: set[int] = set()

    @property
    def due(self) -> float | None:
        """Time at which the next message is due; None if no message waits."""
        return self._waiting[0][0] if self._waiting else None

    def put(self, messages: Iterable[Sent], due: float) -> None:
        """Add messages that are due at `due`, or as soon as the messages that they must not overtake have gone."""
        for message in messages:
            lane = self._lane(*message)
            due = self._lanes[lane] = max(due, self._lanes.get(lane, due))
            self._count += 1
            heappush(self._waiting, (due, self._count, lane, message))

    def take(self, now: float) -> list[Sent]:
        """Remove and return the messages that are due, in order."""
        taken = []
        while self._waiting and self._waiting[0][0] <= now:
            taken.append(heappop(self._waiting)[3])
        if not self._waiting:
            self._lanes.clear()
        return taken

    def withdraw(self, request: int) -> bool:
        """Remove the messages that wait under a cancelled request id. Return True if there were any."""
        kept = [entry for entry in self._waiting if entry[2] != request]
        found = len(kept) < len(self._waiting)
        if found:
            self._waiting = sorted(kept)
        return found

    def _lane(self, name: str, data: dict[str, object]) -> Lane:
        if name in _FAMILIES:
            return _FAMILIES[name]
        key = next((data[field] for field in _KEYS if field in data), None)
        if name == "error" and key in self.orders:
            return "orders"
        return key if isinstance(key, int) and key >= 0 else name
