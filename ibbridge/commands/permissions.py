"""Permissions: whose command it is, and whether that client may send it.

The client of a command is the authenticated identity of its connection, never what the message claims. The policy
knows what each client may do; this module knows where a command says what it is about, and who hears of a refusal.
Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.protocol.errors import CommandRefused, shown
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.security.identity import NO_ROLE
from ibbridge.security.instrument_rights import COMBINATION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.security.audit import Audit
    from ibbridge.security.identity import Identity, Peerage
    from ibbridge.security.instrument_rights import InstrumentKeys
    from ibbridge.security.policy import Policy
    from ibbridge.security.rights import Rights

FOREIGN = "ext"
"""Owner of the orders of nobody here. No client has this name, but one that `acts_as` it may cancel these orders."""

LEASES = ("leases", "release")
"""Commands about the leases of a client, which is named in their arguments."""


class Caller(NamedTuple):
    """Sender of a command: who it is, what it may do, and the client whose command it is; empty if none is named."""

    identity: Identity
    rights: Rights
    client: str

    @property
    def speaks_for(self) -> str | None:
        """Client that is there, as this command shows: none for a caller who acts as another.

        A caller who may not trade speaks for no client that may: a name belongs to one kind of rights at a time.
        """
        own = self.identity.name in ("", self.client)
        return self.client if self.client and own else None

    def is_own(self, client: object) -> bool:
        """Return True if a client is the sender's own, or one that it acts as."""
        acts_as = self.rights.whose.acts_as
        return isinstance(client, str) and (client in (self.client, self.identity.name) or acts_as.matches(client))

    def knows(self, client: str) -> bool:
        """Return True if the sender may know what a client holds."""
        return self.rights.sees_orders or self.is_own(client)

    @property
    def origin(self) -> bytes:
        """Bytes that tell callers apart who may not get each other's replies, although they use one client name."""
        return (self.identity.name or f"/{self.identity.role}").encode()


class Permissions:
    """Permissions of the peers that send commands.

    `contract_of(owner, key)` returns the contract of an order; None if there is no such order.
    """

    def __init__(
        self,
        peerage: Peerage,
        policy: Policy,
        contract_of: Callable[[str, str], Mapping[str, Any] | None],
        keys: InstrumentKeys,
        audit: Audit,
    ) -> None:
        self._peerage = peerage
        self._policy = policy
        self._contract_of = contract_of
        self._keys = keys
        self._audit = audit

    def caller(self, peer: bytes, declared: object) -> Caller:
        """Return who sends a command over the connection `peer`, which says that it is of the client `declared`.

        Raise `CommandRefused` if that is not so.
        """
        identity = self._peerage.identity(peer)
        if identity.role == NO_ROLE:
            fault = "this connection is not admitted any more: its key or its user has been revoked"
            raise CommandRefused("E_AUTH", fault)
        rights = self._policy.rights(identity)
        name = declared if isinstance(declared, str) else ""
        owner = self._policy.owner(identity, name)
        if owner is None or owner == FOREIGN:
            raise CommandRefused("E_AUTH", _not_yours(identity, name))
        return Caller(identity, rights, owner)

    def check(self, caller: Caller, command: str, args: Mapping[str, Any], key: object) -> None:
        """Raise `CommandRefused` unless the caller may send this command."""
        rights = caller.rights
        if rights.everything:
            return
        rights.check_command(command, args)
        if command == "cancelOrder" and "permId" in args and not rights.whose.own.holds(FOREIGN):
            fault = f"permId: the order is none of {caller.client}'s; a client that may acts_as: [{FOREIGN}] cancels it"
            raise CommandRefused("E_PERM", fault, role=caller.identity.role)
        if command in LEASES and not rights.sees_orders and not caller.is_own(args.get("client")):
            fault = f"client: {command} is for your own leases, so client must be {caller.client or 'your own name'}"
            raise CommandRefused(
                "E_PERM", f"{fault}; one who may see all of ord. may name others", role=rights.whose.role
            )
        if rights.instruments.everything:
            return
        if command == "modifyOrder" and isinstance(key := args.get("key", key), str):
            contract = self._contract_of(caller.client, key)
            if contract is not None:
                rights.check_contract(contract)
        contract = args.get("contract")
        # The responses come under the instrument key, which says what the contract is if that has a symbol.
        if isinstance(contract, dict) and (not contract.get("symbol") or contract.get("secType") == COMBINATION):
            self._keys.note(instrument_key(contract), contract)

    def refused(self, caller: Caller | None, peer: bytes, command: Mapping[str, Any], error: CommandRefused) -> None:
        """Tell the audit of a command that was refused for who sent it."""
        identity = caller.identity if caller else self._peerage.identity(peer)
        told = {name: _text(command.get(name)) for name in ("cmd", "client", "key", "id")}
        self._audit.record(
            "decision", rule="permission", allowed=False, code=error.code, why=str(error), identity=identity, **told
        )


def _not_yours(identity: Identity, declared: str) -> str:
    if declared == FOREIGN:
        return f"client: {FOREIGN} is nobody's name: the owner of orders that no client here has placed"
    if identity.name:
        return (
            f"client: this connection is {identity.name}'s, and {shown(declared)} is another client; leave client out, "
            f"or have the policy of {identity.name} say acts_as: [{shown(declared)}]"
        )
    return (
        f"client: the name {shown(declared)} is that of programs with more rights than this connection has (role "
        f"{identity.role}); connect where those programs do, over ipc or with their key, or take another name here"
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:100]
