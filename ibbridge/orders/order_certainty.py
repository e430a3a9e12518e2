"""The times in which the states of orders are known, as far as they can be: TWS and IB are there, and were asked.

Pure. This module must not know what is done about orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibbridge.orders.reconciliation_schedule import ReconciliationSchedule
    from ibbridge.risk.gate import TradingGate
    from ibbridge.tws.session import Session

AT_LATEST = 60.0
"""Seconds after which a TWS that does not list its orders completely is not waited for any longer."""


class OrderCertainty:
    """Certainty about orders: since when it holds."""

    def __init__(self, session: Session, schedule: ReconciliationSchedule, gate: TradingGate) -> None:
        self._session = session
        self._schedule = schedule
        self._gate = gate
        self._linked: float | None = None
        self._since: float | None = None

    def since(self, now: float) -> float | None:
        """Return since when the daemon is linked to IB and has compared its orders; None while it is not, or has not.

        A restart window that has been announced counts as no link. `now` is in seconds of a monotonic clock.
        """
        if self._gate.window() or not self._session.ready or self._session.upstream == "lost":
            self._linked = self._since = None
            return None
        if self._linked is None:
            self._linked = now
        if self._since is None and (self._schedule.is_current or now - self._linked >= AT_LATEST):
            self._since = now
        return self._since
