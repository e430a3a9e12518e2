"""Pacing limits of a TWS for one client: messages per second, and IB's rules for historical data.

Callers pass the time, in seconds of a clock that only goes forward; the module reads no clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ibbridge.sim.market_data.history import SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping

STRIKES = 3
"""Violations of the message rate after which a connection is closed."""
OPEN = 50
SMALL = 30
"""Largest bar size in seconds to which the pacing rules apply."""
_HISTORY = ("reqHistoricalData", "reqHeadTimeStamp", "reqHistoricalTicks")
_CANCELS = ("cancelHistoricalData", "cancelHeadTimeStamp", "cancelHistoricalTicks")


class Rate:
    """Message rate of one connection: messages in the last second, the highest count, and violations."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._struck: float | None = None
        self.most = 0
        self.strikes = 0

    def count(self, now: float) -> int:
        """Count one message. Return the number of messages in the last second."""
        self._times.append(now)
        while self._times[0] <= now - 1.0:
            self._times.popleft()
        self.most = max(self.most, len(self._times))
        return len(self._times)

    def strike(self, now: float) -> bool:
        """Count a message above the limit. Return True if a new violation begins: one per second at most."""
        if self._struck is not None and now < self._struck + 1.0:
            return False
        self._struck = now
        self.strikes += 1
        return True


class HistoryRules:
    """Pacing rules for historical data of one connection.

    An identical request must wait 15 s. The limits are 5 requests for the same contract and data in 2 s, 60 requests in
    10 minutes (BID_ASK counts twice), and 50 open requests.
    """

    def __init__(self) -> None:
        self._same: dict[str, float] = {}
        self._near: dict[str, deque[float]] = {}
        self._long: deque[float] = deque()
        self._open: dict[int, str] = {}

    def end(self, name: str, request: int) -> None:
        """Close a request if this message ends it.

        An error or a cancel ends any request; `historicalData` ends a request that is not kept up to date.
        """
        kind = self._open.get(request)
        if name in ("error", *_CANCELS) or (name == "historicalData" and kind == "once"):
            self._open.pop(request, None)

    def violated(self, name: str, args: Mapping[str, Any], now: float) -> str:
        """Return IB's text for the rule that a request breaks; empty if none. A refused request does not count."""
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
