"""The policy: which rights each client has, by its role and by its own entry on top.

Pure. The configuration gives the terms; what is not allowed there is refused. Rights are worked out once for each
client, and anew after a reload. The module must not know connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.security import policy_terms
from ibbridge.security.declared_names import DeclaredNames, Holder
from ibbridge.security.globs import Globs
from ibbridge.security.policy_terms import Terms
from ibbridge.security.rights import TRADING, Rights, Surroundings, Whose
from ibbridge.security.roles import ROLES
from ibbridge.security.topic_rights import Own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibbridge.security.identity import Identity
    from ibbridge.security.policy_terms import Fault

DEFAULTS = {
    name: policy_terms.read({term: list(words) for term, words in terms.items()})[0] for name, terms in ROLES.items()
}
"""Terms of the roles that are there without configuration."""

NOBODY = Terms()
"""Terms of a role that is not there: nothing is allowed."""


def faults(roles: Mapping[str, Terms]) -> Iterator[Fault]:
    """Yield the roles that are like a role which is not there, or like themselves."""
    for name, terms in roles.items():
        seen, like = {name}, terms.like
        while like:
            if like not in roles and like not in DEFAULTS:
                known = ", ".join(sorted({*DEFAULTS, *roles}))
                yield (name, "like"), f"there is no role {like!a}; there are {known}"
                break
            if like in seen:
                if like != name or name not in DEFAULTS:
                    yield (name, "like"), f"the role {name!a} is like itself in the end: {' > '.join([*seen, like])}"
                break
            seen.add(like)
            like = roles[like].like if like in roles else ""


class Policy:
    """Policy of a configuration. `roles` and `clients` are the terms by name; a client's go on top of its role's."""

    def __init__(
        self,
        roles: Mapping[str, Terms],
        clients: Mapping[str, Terms],
        around: Surroundings,
        names: DeclaredNames,
    ) -> None:
        self._around = around
        self._names = names
        self._roles: dict[str, Terms] = {}
        self._clients: Mapping[str, Terms] = {}
        self._rights: dict[tuple[str, str], Rights] = {}
        self.replace(roles, clients)

    def replace(self, roles: Mapping[str, Terms], clients: Mapping[str, Terms]) -> None:
        """Take over another configuration, for all clients at once."""
        self._roles = complete(roles)
        self._clients = clients
        self._rights.clear()
        self._names.reserve(clients)

    def rights(self, identity: Identity, client: str = "") -> Rights:
        """Return the rights of an identity. `client` is the declared name; the rights do not depend on it."""
        found = self._rights.get((identity.role, identity.name))
        return found or self._worked_out(identity)

    def owner(self, identity: Identity, declared: str) -> str | None:
        """Return the client that a command is of, which declares this name, or none; None if it may not use it."""
        name, rights = identity.name, self.rights(identity)
        if name:
            declared = declared or name
            return declared if rights.whose.own.holds(declared) else None
        return declared if not declared or rights.whose.own.holds(declared) else None

    @property
    def roles(self) -> Mapping[str, Terms]:
        """The complete terms of each role."""
        return self._roles

    def _worked_out(self, identity: Identity) -> Rights:
        terms = self._roles.get(identity.role, NOBODY)
        if identity.name:
            terms = self._clients.get(identity.name, NOBODY).over(terms)
        acts_as = Globs(terms.acts_as or (), fold=False)
        rights = Rights(Whose(identity.role, self._own(identity, terms, acts_as), acts_as), terms, self._around)
        self._rights[identity.role, identity.name] = rights
        return rights

    def _own(self, identity: Identity, terms: Terms, acts_as: Globs) -> Own:
        if identity.name:
            return Own(lambda name: name == identity.name or acts_as.matches(name), identity.name)
        holder = Holder(_rank(terms), identity.role)
        return Own(lambda name: self._names.may_use(name, holder) or acts_as.matches(name))


def _rank(terms: Terms) -> int:
    """Return how much peers that only declare a name can do with it."""
    commands = Globs(terms.allowed.get("commands", ()), terms.denied.get("commands", ()), fold=False)
    if commands.everything and not any(terms.denied.values()):
        return 2
    return int(any(map(commands.matches, TRADING)))


def complete(roles: Mapping[str, Terms]) -> dict[str, Terms]:
    """Return the complete terms of each role, with those that are there without configuration."""
    return {name: _whole(name, roles) for name in {**DEFAULTS, **roles}}


def _whole(name: str, roles: Mapping[str, Terms]) -> Terms:
    """Return the complete terms of a role: its own on those of the role that it is like.

    A role with the name of a role that is there without configuration changes that one.
    """
    terms = roles.get(name)
    if terms is None:
        return DEFAULTS.get(name, NOBODY)
    if not terms.like or terms.like == name:
        return terms.over(DEFAULTS.get(name, NOBODY))
    return terms.over(_whole(terms.like, roles))
