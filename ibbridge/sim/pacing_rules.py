"""What a TWS takes from one client: messages in a second, and IB's rules for historical data.

Told the time in seconds of a clock that only goes forward, and never reads one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ibbridge.sim.market_data.history import SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping

STRIKES = 3
"""Violations of the rate after which a connection is closed."""
OPEN = 50
SMALL = 30
"""Seconds of the largest bar that the pacing rules concern."""
_HISTORY = ("reqHistoricalData", "reqHeadTimeStamp", "reqHistoricalTicks")
_CANCELS = ("cancelHistoricalData", "cancelHeadTimeStamp", "cancelHistoricalTicks")


class Rate:
    """The messages of one connection: how many in the last second, and the most there ever were."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._struck: float | None = None
        self.most = 0
        self.strikes = 0

    def count(self, now: float) -> int:
        """One more; how many there are now in a window of one second."""
        self._times.append(now)
        while self._times[0] <= now - 1.0:
            self._times.popleft()
        self.most = max(self.most, len(self._times))
        return len(self._times)

    def strike(self, now: float) -> bool:
        """A message too many. Whether that is a violation of its own: there is one in a second."""
        if self._struck is not None and now < self._struck + 1.0:
            return False
        self._struck = now
        self.strikes += 1
        return True


class HistoryRules:
    """The rules for one connection: 15 s, 6 in 2 s, 60 in 10 minutes (BID_ASK twice), and 50 open."""

    def __init__(self) -> None:
        self._same: dict[str, float] = {}
        self._near: dict[str, deque[float]] = {}
        self._long: deque[float] = deque()
        self._open: dict[int, str] = {}

    def end(self, name: str, request: int) -> None:
        """A message about a request: an answer ends bars, unless kept up to date, an error or a cancel anything."""
        kind = self._open.get(request)
        if name in ("error", *_CANCELS) or (name == "historicalData" and kind == "once"):
            self._open.pop(request, None)

    def violated(self, name: str, args: Mapping[str, Any], now: float) -> str:
        """What is wrong with this request at this time; empty if nothing is. A refused one does not count."""
        if name not in _HISTORY:
            return ""
        if len(self._open) >= OPEN:
            return f"Max number ({OPEN}) of simultaneous historical data requests has been reached"
        text = ""
        if name == "reqHeadTimeStamp" or SIZES.get(args.get("barSizeSetting", ""), 0) in range(1, SMALL + 1):
            text = self._paced(name, args, now)
        if not text and name != "reqHistoricalTicks":
            once = name == "reqHistoricalData" and not args.get("keepUpToDate")
            self._open[args["reqId"]] = "once" if once else "kept"
        return text

    def _paced(self, name: str, args: Mapping[str, Any], now: float) -> str:
        contract, shows = args.get("contract", {}), str(args.get("whatToShow", ""))
        same = repr((name, sorted((key, str(value)) for key, value in args.items() if key != "reqId")))
        near = self._near.setdefault(repr((sorted(contract.items(), key=str), shows)), deque())
        while near and near[0] <= now - 2.0:
            near.popleft()
        while self._long and self._long[0] <= now - 600.0:
            self._long.popleft()
        weight = 2 if shows.upper() == "BID_ASK" else 1
        if now < self._same.get(same, -1e9) + 15.0 or len(near) >= 5 or len(self._long) + weight > 60:
            return "Historical data request pacing violation"
        self._same[same] = now
        near.append(now)
        self._long.extend([now] * weight)
        return ""
