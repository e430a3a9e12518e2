"""Health checks: the conditions that raise and end the alarms about TWS, IB's servers and the store.

Pure: the caller gives samples, and their time. `alarms` keeps the alarms and reports them. Errors of single orders or
requests raise no alarm; they are reported to the client that sent the order or request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.clock import Clock
    from ibbridge.monitoring.alarms import Alarms

REMEMBERED = 60.0
"""Seconds for which the alarm of one slow commit holds, so that a disk that stalls now and then does not flap."""


class HealthSample(NamedTuple):
    """Health sample: TWS (ready for good, stage, error), IB's servers, store (seconds, fault, shortage), and orders.

    Of the orders: the fault of their journal, which of them are unknown for too long, which a halt was to cancel and
    has not, and which were cancelled because their client is lost.
    """

    ready: bool
    stage: str
    last_error: str
    upstream: str
    slowest_commit: float
    fault: str
    shortage: str = ""
    journal_fault: str = ""
    unknown_orders: str = ""
    halt_cancel: str = ""
    dead_man: str = ""


class HealthChecks:
    """Health checks, done about every second. TWS may be away for `patience` seconds, a commit may take `slow`."""

    def __init__(self, alarms: Alarms, patience: float, slow: float, now: float) -> None:
        self._alarms = alarms
        self._patience = patience
        self._slow = slow
        self._ready = now  # the last time when TWS was ready, or was expected to be away
        self._upstream = now
        self._slowest = 0.0
        self._slow_until = now

    def bear(self, patience: float, slow: float) -> None:
        """Change the seconds for which TWS may be away, and the seconds that a commit may take."""
        self._patience, self._slow = patience, slow

    def tick(self, sample: HealthSample, now: float, ts: int, *, expected: bool) -> None:
        """Raise and end alarms at `now` (seconds of a monotonic clock) and `ts` (µs since 1970 UTC).

        `expected`: TWS is expected to be away now, which raises no alarm. After that the full `patience` begins anew.
        """
        self._ready = now if sample.ready or expected else self._ready
        away = now - self._ready
        lasting = " for long enough" if sample.stage == "ready" else ""
        why = (
            f"TWS has not been ready{lasting} for {away:.0f} s; "
            f"it is {sample.stage}: {sample.last_error or 'no error so far'}"
        )
        self._alarms.update("notReady", why if away > self._patience else "", ts)
        self._upstream = now if not sample.ready or sample.upstream != "lost" or expected else self._upstream
        lost = now - self._upstream
        why = f"TWS has been without IB's servers for {lost:.0f} s (1100): nothing is quoted, and orders are refused"
        self._alarms.update("upstream", why if lost > self._patience else "", ts)
        self._alarms.update("store", sample.fault, ts)
        self._alarms.update("storeFull", sample.shortage, ts)
        self._alarms.update("journal", sample.journal_fault, ts)
        self._alarms.update("unknownOrders", sample.unknown_orders, ts)
        self._alarms.update("haltCancel", sample.halt_cancel, ts)
        self._alarms.update("deadMan", sample.dead_man, ts)
        self._look_at_disk(sample.slowest_commit, now, ts)

    def _look_at_disk(self, slowest: float, now: float, ts: int) -> None:
        if slowest > self._slow:
            self._slowest = max(slowest, self._slowest)
            self._slow_until = now + REMEMBERED
        elif now >= self._slow_until:
            self._slowest = 0.0
        why = (
            f"a commit took {self._slowest:.2f} s: the whole daemon waits for a commit, up to store.commit_timeout; "
            "move the store to a faster disk, or move other programs off this one"
        )
        self._alarms.update("slowDisk", why if self._slowest else "", ts)


class HealthWatch:
    """Watch that samples the daemon's health, and has it checked. `window` returns the seconds of a restart window."""

    def __init__(
        self, checks: HealthChecks, sample: Callable[[], HealthSample], window: Callable[[], float], clock: Clock
    ) -> None:
        self._checks = checks
        self._sample = sample
        self._window = window
        self._clock = clock

    def tick(self) -> None:
        """Check the health now. In a restart window TWS is expected to be away."""
        now, ts = self._clock.monotonic(), self._clock.utc_us()
        self._checks.tick(self._sample(), now, ts, expected=bool(self._window()))
