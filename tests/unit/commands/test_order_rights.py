"""The right to trade by the role of the connection."""

from __future__ import annotations

import pytest

from ibbridge.commands.order_rights import TRADING, OrderRights
from ibbridge.protocol.errors import CommandRefused
from ibbridge.security.identity import NO_ROLE, ROLES, Identity


class One:
    """Peerage of one peer."""

    def __init__(self, role: str) -> None:
        self.role = role

    def identity(self, peer: bytes) -> Identity:
        return Identity(role=self.role, endpoint="tcp://127.0.0.1:5556")


@pytest.mark.parametrize("role", ["observer", "data", "anything"])
@pytest.mark.parametrize("command", sorted(TRADING))
def test_who_does_not_trade_is_told_what_to_do(role: str, command: str):
    with pytest.raises(CommandRefused, match=f"{command}: .* has the role {role}, which does not trade; .*trust") as no:
        OrderRights(One(role)).check(b"p", command)
    assert (no.value.code, no.value.outcome) == ("E_PERM", "refused")


@pytest.mark.parametrize("role", ROLES)
def test_everybody_may_ask(role: str):
    OrderRights(One(role)).check(b"p", "status")
    OrderRights(One(role)).check(b"p", "reqMktData")


@pytest.mark.parametrize("role", ["trader", "admin"])
def test_traders_trade(role: str):
    for command in TRADING:
        OrderRights(One(role)).check(b"p", command)


@pytest.mark.parametrize("command", ["status", "placeOrder"])
def test_who_has_been_revoked_may_nothing(command: str):
    with pytest.raises(CommandRefused, match="revoked") as no:
        OrderRights(One(NO_ROLE)).check(b"p", command)
    assert no.value.code == "E_AUTH"
