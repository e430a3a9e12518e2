"""Requests through real sockets: one reply to each, to the peer that sent the request.

Nothing here sleeps. That a subscription is in place is known from its welcome, and that nothing came from a message
sent after what must not come.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.security import zap
from ibbridge.zeromq.reply_socket import MOST_FRAMES
from tests.support.bus_peers import PATIENCE, Broken, Echo, Peers, receive

if TYPE_CHECKING:
    from ibbridge.bus import Bus


def test_each_request_gets_its_reply(peers: Peers) -> None:
    bus = peers.bus()
    req = peers.peer(zmq.REQ, bus.endpoints.rep[0])
    for request in (b"ping", b"", b"\x00" * 100_000):
        req.send(request)
        assert receive(bus, req) == [b"to " + request]


def test_interleaving_clients_get_one_reply_to_each_request_and_their_own(peers: Peers) -> None:
    echo = Echo()
    bus = peers.bus(echo)
    dealers = [peers.peer(zmq.DEALER, bus.endpoints.rep[0]) for _ in range(5)]
    for number in range(200):
        for name, dealer in enumerate(dealers):
            dealer.send_multipart([b"", b"%d from %d" % (number, name)])
    for number in range(200):
        for name, dealer in enumerate(dealers):
            assert receive(bus, dealer) == [b"", b"to %d from %d" % (number, name)]
    assert echo.answered == 1000
    assert not any(dealer.poll(0) for dealer in dealers)


def test_a_request_above_the_limit_is_refused_without_being_read(peers: Peers) -> None:
    echo = Echo()
    bus = peers.bus(echo, max_request=2000)
    req = peers.peer(zmq.REQ, bus.endpoints.rep[0])
    req.send(bytes(2000))
    assert receive(bus, req) == [b"to " + bytes(2000)]
    for size in (2001, 4000):
        req.send(bytes(size))
        assert receive(bus, req) == [b"refused: a request may have 2000 bytes, and this one has %d" % size]
    assert echo.answered == 1


def test_a_request_that_libzmq_will_not_carry_cuts_off_its_peer_and_no_other(peers: Peers) -> None:
    bus = peers.bus()
    peers.peer(zmq.REQ, bus.endpoints.rep[0]).send(bytes(2 * bus._config.max_request + 1))
    req = peers.peer(zmq.REQ, bus.endpoints.rep[0])
    req.send(b"ping")
    assert receive(bus, req) == [b"to ping"]


def test_a_request_of_several_frames_is_refused(peers: Peers) -> None:
    bus = peers.bus()
    req = peers.peer(zmq.REQ, bus.endpoints.rep[0])
    req.send_multipart([b"one", b"", b"three"])
    assert receive(bus, req) == [b"refused: a request is one frame, and this one has 3"]
    req.send(b"ping")
    assert receive(bus, req) == [b"to ping"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.binary(max_size=3), min_size=1, max_size=4), max_size=20))
def test_whatever_a_client_sends_what_is_a_request_gets_one_reply_and_the_rest_none(
    peers: Peers, messages: list[list[bytes]]
) -> None:
    with ExitStack() as stack:
        peers._stack = stack
        bus = peers.bus()
        dealer = peers.peer(zmq.DEALER, bus.endpoints.rep[0])
        # A request is an envelope (any frames), an empty frame, and what it asks.
        requests = [message for message in messages if b"" in message[:-1]]
        for message in [*messages, [b"", b"end"]]:
            dealer.send_multipart(message)
        for message in requests:
            bottom = message.index(b"")
            body = message[bottom + 1 :]
            expected = b"to " + body[0] if len(body) == 1 else b"refused: a request is one frame, and this one has %d"
            assert receive(bus, dealer) == [
                *message[: bottom + 1],
                expected if len(body) == 1 else expected % len(body),
            ]
        assert receive(bus, dealer) == [b"", b"to end"]


def test_a_message_without_a_delimiter_is_dropped_and_counted(peers: Peers) -> None:
    bus = peers.bus()
    dealer = peers.peer(zmq.DEALER, bus.endpoints.rep[0])
    dealer.send(b"ping")
    dealer.send_multipart([b"one", b"two"])
    dealer.send_multipart([b""])
    dealer.send_multipart([b"", b"ping"])
    assert receive(bus, dealer) == [b"", b"to ping"]
    assert bus.counts["strayRequests"] == 3


@pytest.mark.parametrize(("proxies", "served"), [(0, True), (1, True), (MOST_FRAMES - 1, True), (MOST_FRAMES, False)])
def test_the_envelope_of_proxies_comes_back_unless_it_is_longer_than_any(
    peers: Peers, proxies: int, served: bool
) -> None:
    bus = peers.bus()
    dealer = peers.peer(zmq.DEALER, bus.endpoints.rep[0])
    envelope = [b"%d" % number for number in range(proxies)]
    dealer.send_multipart([*envelope, b"", b"ping"])
    dealer.send_multipart([b"", b"end"])
    if served:
        assert receive(bus, dealer) == [*envelope, b"", b"to ping"]
    assert receive(bus, dealer) == [b"", b"to end"]
    assert bus.counts["strayRequests"] == (not served)


def test_a_message_of_very_many_frames_is_read_in_steps_and_refused(peers: Peers) -> None:
    bus = peers.bus()
    dealer = peers.peer(zmq.DEALER, bus.endpoints.rep[0])
    dealer.send_multipart([b"", *[b"x"] * 20_000])
    assert receive(bus, dealer) == [b"", b"refused: a request is one frame, and this one has 20000"]
    dealer.send_multipart([b"x"] * 20_000)
    dealer.send_multipart([b"", b"ping"])
    assert receive(bus, dealer) == [b"", b"to ping"]


def test_a_stranger_gets_his_reply_whatever_a_broken_peer_left_behind(peers: Peers) -> None:
    bus = peers.bus()
    for number in range(20):
        broken = peers.peer(zmq.DEALER, bus.endpoints.rep[0])
        for _ in range(5):
            broken.send_multipart([b"one", b"two"])
        while bus.counts["strayRequests"] < 5 * (number + 1):
            bus.turn()
        broken.close()
        stranger = peers.peer(zmq.REQ, bus.endpoints.rep[0])
        stranger.send(b"order")
        assert receive(bus, stranger) == [b"to order"]


def test_peers_of_one_identity_are_each_answered(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zap, "PATIENCE", 2.0)  # whoever is late with its READY keeps its own: see there
    bus = peers.bus()
    twins = [peers.peer(zmq.REQ, bus.endpoints.rep[0], IDENTITY="twin") for _ in range(5)]
    for number in range(3):
        for name, twin in enumerate(twins):
            twin.send(b"%d of %d" % (number, name))
        for name, twin in enumerate(twins):
            assert receive(bus, twin) == [b"to %d of %d" % (number, name)]


def test_the_options_of_req_that_the_protocol_page_advises_work(peers: Peers) -> None:
    bus = peers.bus()
    req = peers.peer(zmq.REQ, bus.endpoints.rep[0], REQ_RELAXED=1, REQ_CORRELATE=1, IMMEDIATE=1)
    req.send(b"given up")
    assert bus._rep.poll(PATIENCE)
    req.send(b"again")
    assert awaited(bus, req) == b"to again"


def awaited(bus: Bus, req: zmq.Socket[bytes]) -> bytes:
    """The reply to a REQ that passes over late replies: such a one makes it readable, and nothing is to be read."""
    for _ in range(PATIENCE):
        bus.turn()
        if req.poll(1):
            with suppress(zmq.Again):
                return req.recv(zmq.NOBLOCK)
    raise AssertionError("no reply came")


def test_a_reply_to_a_peer_that_has_gone_is_counted(peers: Peers) -> None:
    bus = peers.bus()
    bus._replies._envelope = [b"gone", b""]
    bus._replies._send(b"reply")
    assert bus.counts["undeliveredReplies"] == 1
    req = peers.peer(zmq.REQ, bus.endpoints.rep[0])
    req.send(b"ping")
    assert receive(bus, req) == [b"to ping"]


def test_a_client_that_went_before_its_reply_leaves_the_others_served(peers: Peers) -> None:
    bus = peers.bus()
    gone = peers.peer(zmq.REQ, bus.endpoints.rep[0], LINGER=1000)
    gone.send(b"bye")
    assert bus._rep.poll(PATIENCE)
    gone.close()
    req = peers.peer(zmq.REQ, bus.endpoints.rep[0])
    req.send(b"ping")
    assert receive(bus, req) == [b"to ping"]


def test_a_bug_in_an_answer_goes_up_and_the_client_gets_an_empty_reply(peers: Peers) -> None:
    bus = peers.bus(Broken())
    req = peers.peer(zmq.REQ, bus.endpoints.rep[0])
    req.send(b"crash")
    assert bus._rep.poll(PATIENCE)
    with pytest.raises(ZeroDivisionError):
        bus.turn()
    assert receive(bus, req) == [b""]
    req.send(b"ping")
    assert receive(bus, req) == [b"to ping"]


class Publishing(Echo):
    """Publishes in its answer, and gives the bus a turn there."""

    bus: Bus

    def answer(self, request: bytes, peer: bytes) -> bytes:
        self.bus.send([b"md.", request])
        self.bus.turn()
        return super().answer(request, peer)


def test_an_answer_may_publish_and_give_the_bus_a_turn(peers: Peers) -> None:
    answering = Publishing()
    answering.bus = bus = peers.bus(answering)
    sub = peers.sub(bus, b"md.")
    dealer = peers.peer(zmq.DEALER, bus.endpoints.rep[0])
    for number in range(100):
        dealer.send_multipart([b"", b"%d" % number])
    for number in range(100):
        assert receive(bus, dealer) == [b"", b"to %d" % number]
        assert receive(bus, sub) == [b"md.", b"%d" % number]
