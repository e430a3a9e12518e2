"""Advice to programs that may place no order where they are."""

import pytest

from ibbridge.security import ways_in
from ibbridge.security.access import AccessRules, KnownClient

PUB, REP = ["tcp://127.0.0.1:5555"], ["tcp://127.0.0.1:5556"]
IPC_PUB, IPC_REP = ["ipc://$RUNTIME_DIRECTORY/pub", *PUB], ["ipc://$RUNTIME_DIRECTORY/rep", *REP]


def test_a_configuration_with_loopback_alone_is_told_what_to_write():
    said = ways_in.missing(PUB, REP, AccessRules())
    assert said.startswith("nobody can place orders: programs on loopback tcp have the role data; have")
    assert "pub: [ipc://$RUNTIME_DIRECTORY/pub, tcp://127.0.0.1:5555]" in said
    assert "rep: [ipc://$RUNTIME_DIRECTORY/rep, tcp://127.0.0.1:5556]" in said


@pytest.mark.parametrize(
    ("pub", "rep", "rules"),
    [
        (IPC_PUB, IPC_REP, AccessRules()),
        (PUB, REP, AccessRules(loopback_role="admin")),
        (PUB, REP, AccessRules(loopback_role="desk")),
        (PUB, REP, AccessRules(clients=(KnownClient("alpha", key="k" * 40),))),
    ],
)
def test_nothing_is_said_where_somebody_may_trade(pub, rep, rules):
    assert ways_in.missing(pub, rep, rules) == ""


def test_the_way_in_is_the_endpoint_as_a_program_writes_it(monkeypatch):
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/ibbridge")
    assert ways_in.way(IPC_PUB, IPC_REP) == "connect to ipc:///run/ibbridge/rep"
