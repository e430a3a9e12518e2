"""Holdings: the positions of owners and accounts, as the executions and TWS's lists of positions have them.

Pure. Of an account's position the smaller figure counts where the executions and TWS's list differ, because the one
comes before the other. This module must not know what is done with a position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.orders.owner_positions import decimal
from ibbridge.orders.position import ZERO
from ibbridge.streams import envelope
from ibbridge.subscriptions.position_differences import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from ibbridge.orders.owner_positions import OwnerPositions
    from ibbridge.streams.publisher import Publisher
    from ibbridge.subscriptions.position_lists import PositionLists


class Holdings:
    """Positions of owners and accounts."""

    def __init__(self, publisher: Publisher, lists: PositionLists, owners: OwnerPositions) -> None:
        self._publisher = publisher
        self._lists = lists
        self._owners = owners

    def held(self, account: str, owner: str) -> Iterator[tuple[Mapping[str, Any], Decimal]]:
        """Yield the contracts and quantities that an owner has in an account; all of the account for the owner ""."""
        rows = {} if owner else self._rows(account)
        known = {instrument for of, instrument in self._owners.places() if of == account}
        for instrument in sorted({*known, *rows}, key=str):
            sums = self._owners.sums(account, instrument)
            contract = {**self._owners.contract(account, instrument)}
            quantity = sums.get(owner, ZERO) if owner else sum(sums.values(), ZERO)
            if not owner and self._lists.completed(ROWS):
                listed, contract_at_tws = rows.get(instrument, (ZERO, {}))
                contract = {**contract, **contract_at_tws}
                quantity = _smaller(quantity, listed) if instrument in known else listed
            if quantity:
                yield ({**contract, "conId": instrument} if isinstance(instrument, int) else contract), quantity

    def _rows(self, account: str) -> dict[Any, tuple[Decimal, dict[str, Any]]]:
        """Return the position in each instrument of an account, and its contract, as TWS has listed them."""
        found = {}
        for components, channels in self._publisher.holding(("acct",), frozenset((ROWS,))).items():
            for channel in channels if components[1] == account else ():
                for instrument, body in channel.last.items():
                    data = envelope.unpack(body)["data"]
                    found[instrument] = (
                        decimal(data.get("position")) or ZERO,
                        data.get("contract") or {},
                    )
        return found


def _smaller(one: Decimal, other: Decimal) -> Decimal:
    """Return the one of two figures that is nearer to nothing; 0 if they have different signs."""
    if one * other <= 0:
        return ZERO
    return min(one, other, key=abs)
