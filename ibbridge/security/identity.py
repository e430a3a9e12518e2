"""Identity: who is at the other end of a connection, as the connection itself shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

NO_ROLE = "none"
"""Role of a connection that may do nothing: its key or its user has been taken off the list since it was admitted."""

ROLES = ("observer", "data", "trader", "admin")
"""Roles from the fewest rights to all."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of a peer: the connection's endpoint and credentials, and the name and role that go with them."""

    name: str = ""
    """The client's name by key or uid; empty if peers of this endpoint only declare a name."""
    role: str = "admin"
    """The role that holds for this connection."""
    endpoint: str = ""
    """The endpoint at which the peer came in."""
    address: str = ""
    """The IP address, or `uid 1000, pid 123`."""
    mechanism: str = "NULL"
    key: str = ""
    """The public key (Z85) of a CURVE peer."""


LOCAL = Identity()
"""Identity with all rights, for callers without a socket, and for tests."""


class Peerage(Protocol):
    """Register of the connections that were admitted."""

    def identity(self, peer: bytes) -> Identity:
        """Return the identity of a connection as it is now; one with the role `none` if there is none any more."""


class LocalPeerage:
    """Peerage in which every connection has all rights."""

    def identity(self, peer: bytes) -> Identity:
        """Return `LOCAL`."""
        return LOCAL
