"""Attacks on a bus with keys and with endpoints of several kinds: no peer is taken for another, and none gets in."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from ibbridge.bus import Bus
from ibbridge.config.model import BusConfig
from ibbridge.security.access import Access, AccessRules, KnownClient
from ibbridge.security.identity import NO_ROLE, Identity
from tests.attacks import zmtp
from tests.support.bus_peers import PATIENCE, Welcoming, receive, welcome

if TYPE_CHECKING:
    import pathlib
    import socket
    from collections.abc import Iterator

SERVER, CLIENT, STRANGER = (zmq.curve_keypair() for _ in range(3))
ALPHA = KnownClient("alpha", "trader", key=CLIENT[0].decode())


FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


class Names:
    """Answers with the role and the name of who asks, and keeps the names of the connections."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.peers: list[bytes] = []

    def answer(self, request: bytes, peer: bytes) -> bytes:
        self.peers.append(peer)
        identity: Identity = self._access.identity(peer)
        return f"{identity.role} {identity.name}".encode()

    def refuse(self, reason: str) -> bytes:
        return reason.encode()


class Place:
    """A bus on ipc and on loopback tcp, with a table of access, and its peers."""

    def __init__(self, directory: pathlib.Path, stack: contextlib.ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self.context: zmq.Context[Any] = stack.enter_context(zmq.Context())

    def open(self, *clients: KnownClient) -> Bus:
        self.access = Access(AccessRules(clients), SERVER[1])
        self.names = Names(self.access)
        pub, rep = ((f"ipc://{self._directory}/{name}", "tcp://127.0.0.1:*") for name in ("pub", "rep"))
        self.bus = Bus(BusConfig(pub, rep), self.names, Welcoming(), self.access)
        self.bus.open()
        self._stack.callback(self.bus.close)
        self.ipc, self.tcp = self.bus.endpoints.rep
        return self.bus

    def peer(self, kind: int, endpoint: str, keys: tuple[bytes, bytes] | None = None) -> zmq.Socket[bytes]:
        peer: zmq.Socket[bytes] = self._stack.enter_context(self.context.socket(kind))
        peer.linger = 0
        if keys:
            peer.curve_serverkey = SERVER[0]
            peer.curve_publickey, peer.curve_secretkey = keys
        peer.connect(endpoint)
        return peer

    def ask(self, endpoint: str, keys: tuple[bytes, bytes] | None = None) -> bytes:
        peer = self.peer(zmq.REQ, endpoint, keys)
        peer.send(b"who am I?")
        return receive(self.bus, peer)[0]


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        yield Place(tmp_path, stack)


def test_each_endpoint_of_one_socket_has_its_own_rule(place: Place) -> None:
    place.open()
    assert (place.ask(place.ipc), place.ask(place.tcp)) == (b"admin ", b"data ")


def test_keys_are_demanded_on_tcp_and_not_on_ipc(place: Place) -> None:
    place.open(ALPHA)
    assert (place.ask(place.ipc), place.ask(place.tcp, CLIENT)) == (b"admin ", b"trader alpha")


def late(place: Place, name: bytes) -> socket.socket:
    """A peer of the tcp endpoint that claims the name of another, once it has been admitted under its own."""
    peer = zmtp.connect(place.tcp)
    peer.sendall(zmtp.greeting())
    zmtp.exactly(peer, 64)
    _, size = zmtp.exactly(peer, 2)
    assert zmtp.exactly(peer, size).startswith(b"\x05READY")  # the handler has replied, and READY is later
    peer.sendall(zmtp.ready(b"REQ", Identity=name, **{"User-Id": name.hex().encode()}))
    return peer


def test_who_claims_the_name_of_another_connection_is_still_itself(place: Place) -> None:
    bus = place.open()
    victim = place.peer(zmq.REQ, place.ipc)
    victim.send(b"x")
    assert receive(bus, victim) == [b"admin "]
    name = place.names.peers[0] + b"0"  # another process of that user; libzmq refuses a second of one name
    assert place.access.identity(name).role == "admin"
    with late(place, name) as peer:
        peer.sendall(zmtp.frame(b"", zmtp.MORE) + zmtp.frame(b"order"))
        peer.setblocking(False)
        for _ in range(PATIENCE):
            bus.turn()
            if len(place.names.peers) == 2:
                break
            bus._rep.poll(1)
    assert len(place.names.peers) == 2
    assert place.names.peers[1] != name
    assert place.access.identity(place.names.peers[1]).role == "data"


@pytest.mark.parametrize(
    "said",
    [
        b"\x01\x00" + zmtp.old_frame(b"", zmtp.MORE) + zmtp.old_frame(b"order"),
        zmtp.SIGNATURE + b"\x01\x03" + b"\x00\x00" + zmtp.frame(b"", zmtp.MORE) + zmtp.frame(b"order"),
        zmtp.greeting() + zmtp.ready(b"REQ") + zmtp.frame(b"", zmtp.MORE) + zmtp.frame(b"order"),
        zmtp.greeting(0) + zmtp.ready(b"REQ") + zmtp.frame(b"", zmtp.MORE) + zmtp.frame(b"order"),
    ],
    ids=["ZMTP 1", "ZMTP 2", "NULL", "NULL of ZMTP 3.0"],
)
def test_without_curve_no_frame_gets_through_an_endpoint_that_demands_it(place: Place, said: bytes) -> None:
    bus = place.open(ALPHA)
    with zmtp.connect(place.tcp) as peer:
        with contextlib.suppress(OSError):
            peer.sendall(said)
        zmtp.rest(peer)  # to the end, which is the daemon's
    assert place.ask(place.tcp, CLIENT) == b"trader alpha"  # whatever came before has been served by now
    assert len(place.names.peers) == 1
    assert bus.counts["strayRequests"] == 0


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.SUB])
@pytest.mark.parametrize("keys", [STRANGER, None])
def test_who_is_not_admitted_is_told_by_libzmq_and_served_nothing(
    place: Place, kind: int, keys: tuple[bytes, bytes] | None
) -> None:
    bus = place.open(ALPHA)
    peer: zmq.Socket[bytes] = place.context.socket(kind)
    with peer, peer.get_monitor_socket(FAILED) as failed:
        peer.linger = 0
        if keys:
            peer.curve_serverkey, (peer.curve_publickey, peer.curve_secretkey) = SERVER[0], keys
        peer.connect(bus.endpoints.rep[1] if kind == zmq.REQ else bus.endpoints.pub[1])
        with contextlib.suppress(zmq.Again):  # refused already
            peer.send(b"order", zmq.NOBLOCK) if kind == zmq.REQ else peer.subscribe(b"")
        assert failed.poll(PATIENCE)
        peer.disable_monitor()
    assert place.ask(place.tcp, CLIENT) == b"trader alpha"
    assert len(place.names.peers) == 1
    assert bus.counts["refusedCredentials"] == (place.access.refused if keys else 0)


def test_a_revoked_key_is_disconnected_at_once_and_does_not_come_back(place: Place) -> None:
    bus = place.open(ALPHA)
    req = place.peer(zmq.REQ, place.tcp, CLIENT)
    sub = place.peer(zmq.SUB, bus.endpoints.pub[1], CLIENT)
    silent = place.peer(zmq.REQ, place.tcp, CLIENT)  # has said nothing, so nobody knows which connection is its
    local = place.peer(zmq.REQ, place.ipc)
    sub.subscribe(b"md.")
    assert receive(bus, sub) == [b"md.", welcome(b"md.")]
    for peer, role in ((req, b"trader alpha"), (local, b"admin ")):
        peer.send(b"x")
        assert receive(bus, peer) == [role]
    watched = [peer.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH) for peer in (req, sub, silent)]
    place.access.refresh(AccessRules())
    assert bus.disconnect_revoked() == 2
    for monitor in watched:
        assert monitor.poll(PATIENCE)
        assert parse_monitor_message(monitor.recv_multipart())["value"] == 400
    bus.send([b"md.", b"1"])
    local.send(b"x")
    assert receive(bus, local) == [b"admin "], "those who are not revoked stay"
    assert not sub.poll(0)
    assert {place.access.identity(peer).role for peer in place.names.peers} == {"admin", NO_ROLE}
    for peer, monitor in zip((req, sub, silent), watched, strict=True):
        peer.disable_monitor()
        monitor.close()


def test_a_bus_says_what_a_change_of_keys_needs(place: Place) -> None:
    place.open()
    (said,) = place.access.unapplied(AccessRules((ALPHA,)))
    assert "a restart" in said
    assert place.access.unapplied(AccessRules((KnownClient("desk", uid=1),))) == []
