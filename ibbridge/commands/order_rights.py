"""The right to trade: which roles may send orders, cancels, halts and the requests that change TWS for all. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.config.model import RESTRICTED
from ibbridge.protocol.arguments import WHAT_IF
from ibbridge.protocol.errors import CommandRefused
from ibbridge.security.identity import NO_ROLE

if TYPE_CHECKING:
    from ibbridge.security.identity import Identity, Peerage

TRADING_ROLES = ("trader", "admin")

TRADING = frozenset(
    (
        "placeOrder", "placeOrders", "modifyOrder", "cancelOrder", "cancelOrders", "exerciseOptions", "reqGlobalCancel",
        "reconcile", "halt", "resume", "acceptJournal", WHAT_IF, *RESTRICTED,
    )
)  # fmt: skip
"""Commands that only these roles may send."""


class OrderRights:
    """Check of commands against the role of the connection over which they come."""

    def __init__(self, peerage: Peerage) -> None:
        self._peerage = peerage

    def trades(self, peer: bytes) -> bool:
        """Return True if the role of a connection may send orders."""
        return self._peerage.identity(peer).role in TRADING_ROLES

    def check(self, peer: bytes, command: str) -> None:
        """Refuse a command that the role of the connection does not allow."""
        _check(self._peerage.identity(peer), command)


def _check(identity: Identity, command: str) -> None:
    if identity.role == NO_ROLE:
        raise CommandRefused("E_AUTH", "this connection is not admitted any more: its key or its user has been revoked")
    if command in TRADING and identity.role not in TRADING_ROLES:
        raise CommandRefused(
            "E_PERM",
            f"{command}: a connection to {identity.endpoint} has the role {identity.role}, which does not trade; "
            f"connect over ipc or with the key of a client whose role is {' or '.join(TRADING_ROLES)}, or set "
            "security.trust_loopback: true to trust every program of this machine",
        )
