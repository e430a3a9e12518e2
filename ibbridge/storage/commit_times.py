"""The durations of commits, for metrics and for the alarm about a slow disk. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

RECENT = 1_000
"""Commits that the percentiles of the duration are computed from."""


class CommitTimes:
    """Durations of commits: `count` of them, and the last one in milliseconds."""

    def __init__(self) -> None:
        self.count = 0
        self._last = self._longest = 0.0  # ms
        self._slowest = 0.0  # seconds
        self._recent: deque[float] = deque(maxlen=RECENT)  # ms

    def committed(self, seconds: float) -> None:
        """Note a commit."""
        self.count += 1
        self._last = seconds * 1000
        self._longest = max(self._longest, self._last)
        self._recent.append(self._last)
        self.attempted(seconds)

    def attempted(self, seconds: float) -> None:
        """Note an attempt that failed, or a job that ended late."""
        self._slowest = max(self._slowest, seconds)

    def slowest(self) -> float:
        """Return the seconds of the slowest commit, or attempt at one, since the last call."""
        slowest, self._slowest = self._slowest, 0.0
        return slowest

    def metrics(self) -> dict[str, float]:
        """Return the metrics. `longestCommitMs` is since the last call; p50 and p99 are of `RECENT` commits."""
        longest, self._longest = self._longest, 0.0
        return {
            "commits": self.count,
            "commitMs": self._last,
            "longestCommitMs": longest,
            "commitP50Ms": _share(self._recent, 0.5),
            "commitP99Ms": _share(self._recent, 0.99),
        }


def _share(values: Collection[float], share: float) -> float:
    """Return the quantile of values at a share from 0 to 1; 0 if there are no values."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0
