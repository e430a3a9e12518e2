"""The table of access: who is admitted at which endpoint, with which name and role, also when the rules change."""

from __future__ import annotations

from typing import Any

import pytest
import zmq
import zmq.utils.z85

from ibbridge.security import z85
from ibbridge.security.access import (
    Access,
    AccessError,
    AccessRules,
    Credentials,
    KnownClient,
    NotAdmittedError,
    is_near,
)
from ibbridge.security.identity import LOCAL, NO_ROLE, LocalPeerage

PUBLIC, SECRET = zmq.curve_keypair()
KEY = zmq.utils.z85.decode(PUBLIC)
ALPHA = KnownClient("alpha", "trader", key=PUBLIC.decode())
DESK = KnownClient("desk", "observer", uid=1001)


class Told:
    """Audit that keeps what it is told."""

    def __init__(self) -> None:
        self.facts: list[dict[str, Any]] = []

    def record(self, kind: str, **facts: Any) -> None:
        assert kind == "connection"
        self.facts.append({name: fact for name, fact in facts.items() if fact is not None})


def entered(*endpoints: str, **rules: Any) -> tuple[Access, list[str]]:
    """A table with these endpoints, and their domains."""
    access = Access(AccessRules(**rules), SECRET)
    return access, [access.enter("bus.rep", endpoint).domain for endpoint in endpoints]


def test_who_has_a_key_is_the_client_of_that_key():
    access, (domain,) = entered("tcp://0.0.0.0:5556", clients=(ALPHA,))
    who = access.identity(access.admit(Credentials(domain, "192.0.2.7", "CURVE", KEY)))
    assert (who.name, who.role, who.endpoint, who.address) == ("alpha", "trader", "tcp://0.0.0.0:5556", "192.0.2.7")
    assert (who.mechanism, who.key) == ("CURVE", PUBLIC.decode())


def test_a_key_that_is_nobodys_is_not_admitted():
    access, (domain,) = entered("tcp://127.0.0.1:5556", clients=(ALPHA,))
    with pytest.raises(NotAdmittedError, match=r"no client in security.clients has the key .*; if it is to be let in"):
        access.admit(Credentials(domain, "127.0.0.1", "CURVE", bytes(32)))
    assert access.refused == 1


@pytest.mark.parametrize(("mechanism", "endpoint"), [("NULL", "tcp://127.0.0.1:1"), ("CURVE", "ipc:///run/rep")])
def test_another_mechanism_than_the_endpoints_is_not_admitted(mechanism: str, endpoint: str):
    access, (domain,) = entered(endpoint, clients=(ALPHA,))
    with pytest.raises(NotAdmittedError):
        access.admit(Credentials(domain, "127.0.0.1", mechanism, KEY))


@pytest.mark.parametrize(("uid", "name", "role"), [(1001, "desk", "observer"), (1002, "", "admin")])
def test_over_ipc_the_user_is_known(uid: int, name: str, role: str):
    access, (domain,) = entered("ipc:///run/rep", clients=(DESK,))
    who = access.identity(access.admit(Credentials(domain, f"localhost:{uid}:100:77", "NULL")))
    assert (who.name, who.role, who.address) == (name, role, f"uid {uid}, pid 77")


def test_without_a_role_for_others_only_known_users_are_admitted():
    access, (domain,) = entered("ipc:///run/rep", clients=(DESK,), ipc_role=NO_ROLE)
    access.admit(Credentials(domain, "localhost:1001:100:77", "NULL"))
    with pytest.raises(NotAdmittedError, match=r"uid 1002 is no client of security\.clients, and security.ipc_role is"):
        access.admit(Credentials(domain, "localhost:1002:100:77", "NULL"))


def test_loopback_gives_the_role_data_unless_the_operator_trusts_it():
    for role in ("data", "admin"):
        access, (domain,) = entered("tcp://127.0.0.1:5556", loopback_role=role)
        assert access.identity(access.admit(Credentials(domain, "127.0.0.1", "NULL"))).role == role
    assert AccessRules().loopback_role == "data"


def test_with_keys_tcp_demands_one_but_for_the_endpoints_that_stay_plain():
    access = Access(AccessRules((ALPHA,), plain=("tcp://127.0.0.1:1",)), SECRET)
    endpoints = ("tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "ipc:///run/rep")
    assert [access.enter("bus.rep", each).curve for each in endpoints] == [False, True, False]


@pytest.mark.parametrize("clients", [(), (DESK,)])
def test_an_endpoint_beyond_loopback_is_not_bound_without_keys(clients: tuple[KnownClient, ...]):
    with pytest.raises(AccessError, match=r"bus.rep: tcp://\*:5556: other machines can reach .*ibbridge keygen"):
        entered("tcp://*:5556", clients=clients)
    with pytest.raises(AccessError, match=r"is in security\.plain"):
        entered("tcp://*:5556", clients=(ALPHA,), plain=("tcp://*:5556",))


def test_without_a_key_of_the_server_no_endpoint_demands_one():
    with pytest.raises(AccessError, match="clients have keys, and the server has none"):
        Access(AccessRules((ALPHA,))).enter("bus.rep", "tcp://127.0.0.1:1")


def test_a_revoked_key_has_no_rights_from_then_on_and_may_come_back():
    access, (domain,) = entered("tcp://127.0.0.1:1", clients=(ALPHA,))
    peer = access.admit(Credentials(domain, "127.0.0.1", "CURVE", KEY))
    access.refresh(AccessRules())
    assert access.identity(peer).role == NO_ROLE
    assert access.identity(peer).key == PUBLIC.decode()
    access.refresh(AccessRules((KnownClient("alpha", "observer", key=PUBLIC.decode()),)))
    assert access.identity(peer).role == "observer"


@pytest.mark.parametrize("name", [b"", b"\x00abcd", b"\x01", b"\x01\x09" + bytes(20), b"\x01\x00\xff\xff" + bytes(12)])
def test_a_name_that_was_never_given_has_no_rights(name: bytes):
    access, _ = entered("tcp://127.0.0.1:1", clients=(ALPHA,))
    assert access.identity(name).role == NO_ROLE


def test_each_connection_has_a_name_of_its_own_that_cannot_be_guessed():
    access, (domain,) = entered("tcp://127.0.0.1:1")
    names = {access.admit(Credentials(domain, "127.0.0.1", "NULL")) for _ in range(100)}
    assert len(names) == 100
    assert all(name[0] for name in names), "those that begin with a zero are libzmq's"


def test_the_audit_hears_of_each_kind_once_with_its_count_and_the_log_once_for_ever():
    access, (domain,) = entered("tcp://127.0.0.1:1", clients=(ALPHA,))
    for _ in range(3):
        access.admit(Credentials(domain, "127.0.0.1", "CURVE", KEY))
        with pytest.raises(NotAdmittedError):
            access.admit(Credentials(domain, "127.0.0.1", "CURVE", bytes(32)))
    told = Told()
    (warning,) = access.tell(told)
    assert warning.startswith("127.0.0.1 at tcp://127.0.0.1:1: no client in security.clients has the key")
    assert [(each["act"], each["identity"].name, each["times"]) for each in told.facts] == [
        ("admitted", "alpha", 3),
        ("refused", "", 3),
    ]
    with pytest.raises(NotAdmittedError):
        access.admit(Credentials(domain, "127.0.0.1", "CURVE", bytes(32)))
    assert access.tell(told) == []
    assert told.facts[-1]["times"] == 1


@pytest.mark.parametrize("endpoint", ["ipc:///a", "tcp://127.0.0.1:1", "tcp://localhost:1", "tcp://[::1]:1"])
def test_what_only_this_machine_reaches_is_near(endpoint: str):
    assert is_near(endpoint)


@pytest.mark.parametrize("endpoint", ["tcp://*:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://10.0.0.1:1", "udp://a"])
def test_what_others_reach_is_not_near(endpoint: str):
    assert not is_near(endpoint)


def test_keys_are_written_as_zeromq_writes_them():
    for _ in range(100):
        public, _ = zmq.curve_keypair()
        assert z85.encoded(zmq.utils.z85.decode(public)) == public.decode()
        assert z85.is_key(public.decode())


@pytest.mark.parametrize("text", ["", "x" * 39, "x" * 41, "~" * 40, "#" * 40])
def test_what_is_no_key_is_told_from_one(text: str):
    assert not z85.is_key(text)


def test_without_a_socket_there_are_all_rights():
    assert LocalPeerage().identity(b"") is LOCAL
    assert LOCAL.role == "admin"
