"""The trading gate: whether any order may go out now, and until when one may.

A halt, a fault of the event store, a restart window of TWS, and the loss of IB's servers close the gate for all
clients. Pure: a clock says the time. This module must not know what an order says. Cancels do not pass through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ibbridge.config import maintenance_windows
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.config.maintenance_windows import Window
    from ibbridge.risk.halt import Halt
    from ibbridge.tws.session import Session


class FaultSource(Protocol):
    """Store files, as far as the gate knows them."""

    @property
    def fault(self) -> str:
        """Text that says why nothing can be written; empty if there is no fault."""


class TradingGate:
    """Gate for new orders. `windows` are the restart windows of TWS."""

    def __init__(
        self, halt: Halt, store: FaultSource, session: Session, windows: tuple[Window, ...], clock: Clock
    ) -> None:
        self._halt = halt
        self._store = store
        self._session = session
        self._windows = windows
        self._clock = clock

    def check(self) -> None:
        """Raise `CommandRefused` while orders of all clients are refused."""
        if self._halt.state:
            told = "{client}: {reason}" if self._halt.state["reason"] else "{client}"
            fault = f"orders are halted by {told.format(**self._halt.state)}; `resume` ends the halt"
            raise CommandRefused("E_HALTED", fault, outcome="not_sent")
        self.check_store("orders are refused")
        if left := self.window():
            fault = "orders are refused in a restart window of TWS or IB (tws.restart_windows)"
            fault += f", which ends in {left:.0f} s"
            raise CommandRefused("E_RESTART_WINDOW", fault, outcome="not_sent", retry_after=left)
        if self._session.upstream == "lost":
            fault = (
                "TWS has lost its connection to IB (1100), and would send the order later; try again when TWS is "
                "connected"
            )
            raise CommandRefused("E_NOT_CONNECTED", fault, outcome="not_sent", retry_after=5.0)

    def check_store(self, consequence: str) -> None:
        """Raise `CommandRefused` with the consequence and the fault, if a store has one."""
        if fault := self._store.fault:
            raise CommandRefused("E_STORE", f"{consequence}: {fault}", outcome="not_sent", retry_after=5.0)

    def set_windows(self, windows: tuple[Window, ...]) -> None:
        """Change the restart windows."""
        self._windows = windows

    def window(self) -> float:
        """Return the seconds until the current restart window ends; 0 outside of restart windows."""
        if not self._windows:
            return 0.0
        return maintenance_windows.left(self._windows, self._clock.utc_us() / 1e6)

    def expired(self, not_after: int) -> bool:
        """Return True if an order with this `not_after` (µs since 1970 UTC) must not leave any more."""
        return self._clock.utc_us() > not_after
