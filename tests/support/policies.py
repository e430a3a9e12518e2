"""Policies for tests: rights of a role, or of a client with terms of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.security import policy_terms
from ibbridge.security.declared_names import DeclaredNames
from ibbridge.security.identity import LOCAL, Identity
from ibbridge.security.instrument_rights import InstrumentKeys
from ibbridge.security.policy import Policy
from ibbridge.security.rights import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.security.rights import Rights


def policy(
    roles: Mapping[str, Any] | None = None,
    clients: Mapping[str, Any] | None = None,
    *,
    known: Callable[[int], Mapping[str, Any] | None] = lambda _: None,
    accounts: tuple[str, ...] = ("DU1", "DU2"),
) -> Policy:
    """Return the policy of a configuration."""
    keys = InstrumentKeys({}, known)
    return Policy(
        {name: policy_terms.read(terms)[0] for name, terms in (roles or {}).items()},
        {name: policy_terms.read(terms)[0] for name, terms in (clients or {}).items()},
        Surroundings("", keys, lambda: accounts),
        DeclaredNames(),
    )


def rights(role: str, name: str = "me", **terms: Any) -> Rights:
    """Return the rights of a client with this role, and with these terms of its own."""
    return policy(clients={name: terms}).rights(Identity(name=name, role=role))


ALL = policy().rights(LOCAL)
"""Rights to everything."""
