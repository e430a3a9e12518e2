"""Table of the requests about accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.sim.accounts.advisor_groups import AdvisorGroups
from ibbridge.sim.accounts.updates import AccountUpdates
from ibbridge.sim.request_table import RequestTable

if TYPE_CHECKING:
    from ibbridge.sim.context import SimulationContext


class AccountRequests(RequestTable):
    """Requests for account values, positions, and profit and loss, and those of an advisor."""

    def __init__(self, context: SimulationContext) -> None:
        self.updates = updates = AccountUpdates(context)
        user = AdvisorGroups(context.settings)
        super().__init__(
            {
                "reqManagedAccts": updates.announce,
                "reqAccountUpdates": updates.updates,
                "reqAccountUpdatesMulti": updates.updates_multi,
                "cancelAccountUpdatesMulti": updates.cancel_updates_multi,
                "reqAccountSummary": updates.summary,
                "cancelAccountSummary": updates.cancel_summary,
                "reqPositions": updates.positions,
                "cancelPositions": updates.cancel_positions,
                "reqPositionsMulti": updates.positions_multi,
                "cancelPositionsMulti": updates.cancel_positions_multi,
                "reqPnL": updates.pnl,
                "cancelPnL": updates.cancel_pnl,
                "reqPnLSingle": updates.pnl_single,
                "cancelPnLSingle": updates.cancel_pnl,
                "requestFA": user.documents,
                "replaceFA": user.replace,
                "reqFamilyCodes": user.families,
                "reqSoftDollarTiers": user.tiers,
                "reqUserInfo": user.user,
            },
            updates,
        )
