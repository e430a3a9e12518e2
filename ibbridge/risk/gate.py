"""The trading gate: whether any order may go out now, and until when one may.

A fault of the event store, a restart window of TWS, and the loss of IB's servers close the gate for all clients. A halt
closes it for its scope. Pure: a clock says the time. This module must not know what an order says. Cancels do not pass
through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.config import maintenance_windows
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.clock import Clock
    from ibbridge.config.maintenance_windows import Window
    from ibbridge.tws.session import Session


class FaultSource(Protocol):
    """Store files, as far as the gate knows them."""

    @property
    def fault(self) -> str:
        """Text that says why nothing can be written; empty if there is no fault."""


class HaltedOrders(Protocol):
    """Check of orders against the halts, by a part that knows what an order says."""

    def check(self, client: str) -> None:
        """Raise `CommandRefused` if all orders of a client are halted, whatever they say."""

    def check_orders(self, orders: Sequence[Any]) -> None:
        """Raise `CommandRefused` if one of these orders, which come together, must not leave."""

    def check_change(self, order: Any, args: Mapping[str, Any]) -> None:
        """Raise `CommandRefused` if an order must not become one with these arguments."""

    def objection(self, orders: Sequence[Any]) -> str:
        """Return why these orders, which were queued before a halt, must not leave; empty if they may."""

    def objection_to_change(self, order: Any, args: Mapping[str, Any]) -> str:
        """Return why a change that was queued before a halt must not leave; empty if it may."""


class TradingGate:
    """Gate for new orders. `windows` are the restart windows of TWS."""

    def __init__(
        self, halts: HaltedOrders, store: FaultSource, session: Session, windows: tuple[Window, ...], clock: Clock
    ) -> None:
        self.halts = halts
        self._store = store
        self._session = session
        self._windows = windows
        self._clock = clock

    def check(self, client: str) -> None:
        """Raise `CommandRefused` while all orders of a client are refused."""
        self.halts.check(client)
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

    @property
    def store_fault(self) -> str:
        """Text that says why orders cannot be recorded; empty if they can."""
        return self._store.fault

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
