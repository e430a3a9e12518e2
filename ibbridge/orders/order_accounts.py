"""The accounts for which an order trades, from its arguments and the accounts that TWS manages.

Pure. This module must not know what follows from an account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ibbridge.tws.session import Session

_UNSET = (None, "", 0)
_ALLOCATED = frozenset(("faGroup", "faMethod", "faPercentage", "modelCode"))
"""Attributes with which TWS allocates an order to accounts."""


def is_allocated(about: Mapping[str, Any]) -> bool:
    """Return True if TWS allocates an order with these attributes to accounts, whatever account it names."""
    return not _ALLOCATED.isdisjoint(about) and any(about.get(name) not in _UNSET for name in _ALLOCATED)


class OrderAccounts:
    """Accounts of orders. `session` has those that TWS manages."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def managed(self) -> tuple[str, ...]:
        """The accounts that TWS manages; empty before the first connection."""
        return self._session.accounts

    def of(self, args: Mapping[str, Any]) -> Collection[str] | None:
        """Return the accounts for which an order with these arguments trades; None if that may be any."""
        given = args.get("order")
        about = given if isinstance(given, dict) else args
        if is_allocated(about):
            return None
        if account := about.get("account"):
            return (str(account),)
        return self.managed if len(self.managed) == 1 else None
