"""The watchdog: tells systemd that the daemon lives, for as long as every vital sign is there.

systemd restarts a daemon of which it has not heard for `WatchdogSec=`. A restart drops the connection to TWS and every
client, so the daemon is silent only about a fault that a new process would not have: an event loop that stands still, a
thread that has ended or hangs. TWS that is away, and a disk that is full or does not answer, are no such faults: the
daemon knows them, raises an alarm and goes on, and a new process could not even open its store.

The module must not know how a part finds out about itself: each vital sign is a function of the part's.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from ibbridge.monitoring.systemd import notify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

SHARE = 4
"""Notifications in the time of which systemd wants one: a late one or two are no standstill."""


def watchdog_seconds(environment: Mapping[str, str] = os.environ, pid: int | None = None) -> float:
    """Return the seconds within which systemd wants a notification; 0 if it has no watchdog for this process.

    `WATCHDOG_PID` names the process that is meant: a child must not speak for its parent.
    """
    meant = environment.get("WATCHDOG_PID")
    if meant and meant != str(os.getpid() if pid is None else pid):
        return 0.0
    given = environment.get("WATCHDOG_USEC", "")
    return int(given) / 1e6 if given.isascii() and given.isdigit() else 0.0


class Watchdog:
    """Watchdog. `signs` are functions by name that return a reason to restart the daemon; "" if there is none."""

    def __init__(
        self,
        signs: Mapping[str, Callable[[], str]],
        seconds: float,
        tell: Callable[..., bool] = notify,
    ) -> None:
        self.interval = seconds / SHARE
        """Seconds between two calls of `tick`; 0 if nobody wants to be notified."""
        self._signs = signs
        self._seconds = seconds
        self._tell = tell
        self._missing = ""

    def tick(self) -> None:
        """Notify systemd, unless a vital sign is missing; log that once."""
        missing = "; ".join(f"{name}: {why}" for name, sign in self._signs.items() if (why := sign()))
        if missing and missing != self._missing:
            log.error(
                "watchdog: %s. Only a new process mends that: systemd is not told that this one lives, and restarts it "
                "within %.0f s",
                missing,
                self._seconds,
            )
            self._tell(f"STATUS=waits for its restart: {missing}")
        elif self._missing and not missing:
            log.warning("watchdog: every vital sign is back; no restart")
        self._missing = missing
        if not missing:
            self._tell("WATCHDOG=1")
