"""The ZeroMQ Authentication Protocol: requests that are none, decisions, and sockets whose handler is not there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.security import zap
from ibbridge.security.access import Access, AccessRules, Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self


def trusting() -> Access:
    """A table of one loopback endpoint whose peers have all rights."""
    access = Access(AccessRules(loopback_role="admin"))
    access.enter("bus.rep", "tcp://127.0.0.1:5556")
    return access


DOMAIN = "ibbridge 0"
REQUEST = [b"1.0", b"7", DOMAIN.encode(), b"127.0.0.1", b"", b"NULL"]


def test_a_request_is_read():
    assert zap.parse(REQUEST) == zap.ZapRequest(b"7", Credentials(DOMAIN, "127.0.0.1", "NULL"))


def test_the_key_behind_the_mechanism_is_read():
    assert zap.parse([*REQUEST[:5], b"CURVE", b"key"]) == zap.ZapRequest(
        b"7", Credentials(DOMAIN, "127.0.0.1", "CURVE", b"key")
    )


@pytest.mark.parametrize("frames", [[], REQUEST[:5], [b"2.0", *REQUEST[1:]]])
def test_what_is_no_request_of_this_version_is_none(frames: list[bytes]):
    assert zap.parse(frames) is None


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_whatever_comes_is_a_request_or_none(frames: list[bytes]):
    request = zap.parse(frames)
    assert request is None or zap.decide(request, trusting()).status in {b"200", b"400"}


@pytest.mark.parametrize(("domain", "mechanism"), [("other", "NULL"), (DOMAIN, "PLAIN"), (DOMAIN, "CURVE")])
def test_what_is_not_ours_to_let_in_is_turned_away(domain: str, mechanism: str):
    request = zap.ZapRequest(b"1", Credentials(domain, "127.0.0.1", mechanism))
    assert zap.decide(request, trusting()).status == b"400"
    assert not zap.decide(request, trusting()).user_id


def test_each_peer_is_let_in_under_a_routing_id_of_its_own():
    request = zap.ZapRequest(b"1", Credentials(DOMAIN, "127.0.0.1", "NULL"))
    access = trusting()
    replies = [zap.decide(request, access) for _ in range(100)]
    ids = {reply.metadata[b"Identity"] for reply in replies}
    assert len(ids) == 100
    assert all(routing_id[0] for routing_id in ids), "those that begin with a zero are libzmq's"
    assert {reply.status for reply in replies} == {b"200"}


def test_a_reply_has_the_frames_of_the_rfc():
    reply = zap.ZapReply(b"200", b"welcome", b"me", {b"Identity": b"ab", b"Role": b""})
    metadata = b"\x08Identity\0\0\0\x02ab\x04Role\0\0\0\0"
    assert zap.frames_of(b"7", reply) == [b"1.0", b"7", b"200", b"welcome", b"me", metadata]


class Place:
    """A ROUTER that hears whom the handler lets in, and peers of it."""

    def __init__(self) -> None:
        self.handler = zap.ZapHandler(trusting())
        self._context: zmq.Context[Any] = zmq.Context()
        self._outside: zmq.Context[Any] = zmq.Context()
        self.router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._sockets = [self.router]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for socket in self._sockets:
            socket.close(linger=0)
        self._outside.term()
        self._context.term()
        self.handler.join()

    def bind(self, *, handled: bool = True) -> None:
        if handled:
            self.handler.start(self._context)
        self.router.set(zmq.ZAP_DOMAIN, DOMAIN.encode())
        self.router.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"

    def say_hello(self, identity: bytes = b"") -> None:
        """Have a new peer send a message."""
        peer = self._outside.socket(zmq.DEALER)
        self._sockets.append(peer)
        if identity:
            peer.set(zmq.IDENTITY, identity)
        peer.connect(self.endpoint)
        peer.send(b"hello")

    def routing_id(self) -> bytes:
        """Wait for the next message; its peer."""
        assert self.router.poll(20_000)
        routing_id, hello = self.router.recv_multipart()
        assert hello == b"hello"
        return routing_id

    def turned_away(self) -> None:
        """Have a new peer send a message, and wait until it is turned away."""
        with self.router.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL) as failed:
            self.say_hello()
            assert failed.poll(20_000)
            assert not self.router.poll(0)


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


def test_without_a_handler_nobody_is_let_in(place: Place):
    place.bind(handled=False)
    place.turned_away()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_handler_has_ended_nobody_is_let_in(place: Place, monkeypatch: pytest.MonkeyPatch):
    place.bind()
    place.say_hello()
    place.routing_id()
    monkeypatch.setattr(zap, "decide", lambda *_: 1 // 0)
    place.say_hello()
    place.handler.join()
    assert not place.handler.alive
    place.turned_away()


def test_peers_that_claim_one_routing_id_are_each_let_in(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zap, "PATIENCE", 2.0)  # whoever is late with its READY keeps its own: see there
    place.bind()
    for _ in range(10):
        place.say_hello(b"same")
    ids = {place.routing_id() for _ in range(10)}
    assert len(ids) == 10
    assert b"same" not in ids


def test_many_who_come_at_once_do_not_wait_for_each_other(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zap, "PATIENCE", 0.2)  # a minute for all, one after the other: no machine is as busy as that
    place.bind()
    began = time.monotonic()
    for _ in range(300):
        place.say_hello()
    for _ in range(300):
        place.routing_id()
    assert time.monotonic() - began < 300 * zap.PATIENCE
