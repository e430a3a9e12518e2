"""Acceptance of an order journal that was restored from a backup: new orders are refused until an operator accepts it.

Pure. Orders that were placed since the backup are missing in such a journal. Those that TWS still lists are taken up
from its lists, by their `orderRef`. So the journal can be accepted only after TWS has listed everything, and a key is
free after that only if neither the journal nor TWS knows an order under it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from ibbridge.orders.journal import OrderJournal
    from ibbridge.orders.reconciliation_schedule import ReconciliationSchedule


class JournalAcceptance:
    """Acceptance of the journal. As long as there is a doubt, the trading gate refuses new orders."""

    def __init__(self, journal: OrderJournal, schedule: ReconciliationSchedule) -> None:
        self._journal = journal
        self._schedule = schedule

    def accept(self) -> bool:
        """Accept the journal. Return False if there is no doubt about it. Raises `CommandRefused`."""
        if self._journal.fault:
            raise CommandRefused("E_STORE", self._journal.fault, retry_after=5.0)
        if not self._journal.doubt:
            return False
        if not self._schedule.has_compared:
            fault = (
                "the journal can be accepted when the orders have been compared with those of TWS twice, which takes "
                "some fifteen seconds on a connection to TWS with IB's servers; sys.bridge.reconciled. tells of each"
            )
            raise CommandRefused("E_STATE", fault, retry_after=5.0)
        if not self._journal.accept():
            raise CommandRefused(
                "E_STORE", f"the acceptance could not be recorded: {self._journal.fault}", retry_after=5.0
            )
        return True
