"""The bus through real sockets: plain SUB, XSUB, REQ and DEALER peers, over tcp and ipc.

Nothing here sleeps. That a subscription is in place is known from its welcome, and that nothing came from a message
sent after what must not come.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from contextlib import ExitStack, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.bus import TURN, Bus, BusError, _set, pub_options, rep_options
from ibbridge.config.model import BusConfig
from ibbridge.zeromq import zmq_send
from ibbridge.zeromq.reply_socket import MOST_FRAMES

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

PATIENCE = 20_000  # milliseconds after which a test gives up on a message that must come


def welcome(prefix: bytes) -> bytes:
    return b"welcome " + prefix


class Echo:
    """Answers with what was asked, and counts."""

    def __init__(self) -> None:
        self.answered = 0

    def answer(self, request: bytes, peer: bytes) -> bytes:
        self.answered += 1
        return b"to " + request

    def refuse(self, reason: str) -> bytes:
        return b"refused: " + reason.encode()


class Peers:
    """Opens buses and the sockets of their peers, and closes them all at the end."""

    def __init__(self, stack: ExitStack, directory: pathlib.Path, transport: str) -> None:
        self._stack = stack
        self._context = stack.enter_context(zmq.Context())
        self._directory = directory
        self._transport = transport

    def config(self, **changes: Any) -> BusConfig:
        if self._transport == "tcp":
            places = {"pub": "tcp://127.0.0.1:*", "rep": "tcp://127.0.0.1:*"}
        else:
            places = {name: f"ipc://{self._directory / name}" for name in ("pub", "rep")}
        return BusConfig(**{**places, **changes})

    def bus(self, answering: Any = None, **changes: Any) -> Bus:
        bus = Bus(self.config(**changes), answering or Echo(), welcome)
        bus.open()
        self._stack.callback(bus.close)
        return bus

    def peer(self, kind: int, endpoint: str, *prefixes: bytes, **options: int | str) -> zmq.Socket[bytes]:
        peer = self._stack.enter_context(self._context.socket(kind))
        peer.linger = 0
        for name, value in options.items():
            peer.set(getattr(zmq, name), value.encode() if isinstance(value, str) else value)
        peer.connect(endpoint)
        for prefix in prefixes:
            peer.subscribe(prefix)
        return peer

    def sub(self, bus: Bus, *prefixes: bytes, **options: int) -> zmq.Socket[bytes]:
        """A subscriber that has been welcomed to each of its prefixes."""
        peer = self.peer(zmq.SUB, bus.endpoints.pub, *prefixes, **options)
        for prefix in prefixes:
            assert receive(bus, peer) == [prefix, welcome(prefix)]
        return peer

    def xsub(self, bus: Bus, *frames: bytes) -> zmq.Socket[bytes]:
        """A subscriber that does not filter, so that it shows what is sent to it, and that can send any frame."""
        peer = self.peer(zmq.XSUB, bus.endpoints.pub)
        for frame in frames:
            peer.send(frame)
        return peer


@pytest.fixture(params=["tcp", "ipc"])
def peers(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Peers]:
    with ExitStack() as stack:
        yield Peers(stack, tmp_path, request.param)


def receive(bus: Bus, peer: zmq.Socket[bytes]) -> list[bytes]:
    """The next message of this peer, while the bus takes its turns."""
    for _ in range(PATIENCE):
        bus.turn()
        if peer.poll(1):
            return peer.recv_multipart()
    raise AssertionError("no message came")


def until_strays(bus: Bus, count: int) -> None:
    """Give the bus its turns until it has met that many frames that are no subscription."""
    for _ in range(PATIENCE):
        bus.turn()
        if bus.strays == count:
            return
        bus._pub.poll(1)
    raise AssertionError("it never came to that")


def next_but_welcomes(bus: Bus, peer: zmq.Socket[bytes]) -> list[bytes]:
    """The next message that is not a welcome."""
    while (message := receive(bus, peer))[1].startswith(b"welcome"):
        pass
    return message


# Publishing


@pytest.fixture(params=["compiled", "pure"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which messages get into the socket."""
    if request.param == "compiled" and not zmq_send.COMPILED:
        pytest.skip("the compiled part is not built")
    monkeypatch.setattr(zmq_send, "COMPILED", request.param == "compiled")


def test_the_compiled_way_is_taken_where_it_is_built(peers: Peers) -> None:
    pytest.importorskip("ibbridge.zeromq._zmq_send")
    assert (os.environ.get("IBBRIDGE_PURE") != "1") == zmq_send.COMPILED
    assert isinstance(peers.bus()._outbox, zmq_send.Plain) != zmq_send.COMPILED


def test_where_libzmq_is_not_to_be_found_pyzmq_is_asked_to_send(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibbridge.zeromq.zmq_send.ctypes.CDLL", lambda _: object())
    bus = peers.bus()
    assert isinstance(bus._outbox, zmq_send.Plain)
    sub = peers.sub(bus, b"md.")
    bus.send([b"md.", b"body"])
    assert receive(bus, sub) == [b"md.", b"body"]


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("frames", [[b"md."], [b"md.", b"1", b"md."], [b"md.", None], ["md.", b"1"], [b"md.", 1]])
def test_what_is_no_message_is_a_fault_of_ours_and_is_not_sent(peers: Peers, frames: Any) -> None:
    bus = peers.bus()
    with pytest.raises((ValueError, TypeError)):
        bus.send(frames)


@pytest.mark.usefixtures("ways")
def test_a_socket_that_cannot_send_says_why(peers: Peers) -> None:
    bus = peers.bus()
    with zmq.Context() as context, context.socket(zmq.SUB) as deaf, pytest.raises(zmq.ZMQError) as raised:
        zmq_send.outbox(deaf).send([b"md.", b"body"])
    assert raised.value.errno == zmq.ENOTSUP
    assert bus.unsent == 0


@pytest.mark.usefixtures("ways")
def test_a_message_is_two_frames_and_comes_in_order(peers: Peers) -> None:
    bus = peers.bus()
    sub = peers.sub(bus, b"md.")
    for number in range(1000):
        bus.send([b"md.%d." % number, b"body %d" % number])
    for number in range(1000):
        assert receive(bus, sub) == [b"md.%d." % number, b"body %d" % number]


@pytest.mark.usefixtures("ways")
def test_a_burst_of_50000_messages_arrives_complete(peers: Peers) -> None:
    bus = peers.bus()
    sub = peers.sub(bus, b"md.")
    for number in range(50_000):
        bus.send([b"md.", b"%d" % number])
    for number in range(50_000):
        assert sub.poll(PATIENCE)
        assert sub.recv() == b"md."
        assert sub.recv() == b"%d" % number


@pytest.mark.usefixtures("ways")
def test_a_subscriber_that_does_not_read_never_holds_up_a_send(peers: Peers) -> None:
    bus = peers.bus(sndhwm=10)
    stuck = peers.sub(bus, b"md.", RCVHWM=1)
    body = bytes(100_000)
    for _ in range(2000):  # 200 MB: more than any kernel buffers
        bus.send([b"md.", body])
    other = peers.sub(bus, b"sys.")
    bus.send([b"sys.", b"still here"])
    assert receive(bus, other) == [b"sys.", b"still here"]
    read = 0
    while stuck.poll(100):
        assert stuck.recv_multipart() == [b"md.", body]  # whole messages or none
        read += 1
    assert 0 < read < 2000
    assert bus.unsent == 0


@pytest.mark.usefixtures("ways")
def test_a_message_that_libzmq_will_not_take_is_counted_and_the_next_is_whole(peers: Peers) -> None:
    bus = peers.bus(sndhwm=10)
    sub = peers.sub(bus, b"md.", RCVHWM=1)
    bus._pub.set(zmq.XPUB_NODROP, 1)  # the one way to make it say so
    body = bytes(100_000)
    for _ in range(2000):
        bus.send([b"md.", body])
    assert 0 < bus.unsent < 2000
    for _ in range(2000 - bus.unsent):
        assert receive(bus, sub) == [b"md.", body]


# Subscriptions


@pytest.mark.parametrize(
    "prefix", [b"", b"md.", b"md.AAPL-STK-SMART-USD.", b"\x00", b"\x01", b"\xff\x00\xfe", b"x" * 1000]
)
def test_a_subscription_is_welcomed_on_exactly_its_prefix(peers: Peers, prefix: bytes) -> None:
    bus = peers.bus()
    sub = peers.sub(bus, prefix)
    bus.send([prefix + b"more", b"body"])
    assert receive(bus, sub) == [prefix + b"more", b"body"]


def test_who_subscribes_late_gets_what_comes_from_then_on(peers: Peers) -> None:
    bus = peers.bus()
    early = peers.sub(bus, b"md.")
    bus.send([b"md.", b"1"])
    late = peers.sub(bus, b"md.")
    bus.send([b"md.", b"2"])
    assert [next_but_welcomes(bus, early)[1] for _ in range(2)] == [b"1", b"2"]
    assert receive(bus, late) == [b"md.", b"2"]


def test_every_subscriber_of_a_prefix_is_welcomed_not_just_the_first(peers: Peers) -> None:
    bus = peers.bus()
    for _ in range(3):
        peers.sub(bus, b"md.")


def test_each_peer_is_sent_what_it_subscribed_to_and_nothing_else(peers: Peers) -> None:
    bus = peers.bus()
    one, other = peers.xsub(bus, b"\x01md."), peers.xsub(bus, b"\x01ord.", b"\x01end.")
    assert receive(bus, one) == [b"md.", b"welcome md."]
    assert receive(bus, other) == [b"ord.", b"welcome ord."]
    assert receive(bus, other) == [b"end.", b"welcome end."]
    one.send(b"\x01end.")
    assert receive(bus, one) == [b"end.", b"welcome end."]
    for topic in (b"md.", b"ord.", b"acct.", b"end."):
        bus.send([topic, topic])
    assert [receive(bus, one)[0] for _ in range(2)] == [b"md.", b"end."]
    assert [next_but_welcomes(bus, other)[0] for _ in range(2)] == [b"ord.", b"end."]


def test_an_unsubscription_is_for_that_peer_only(peers: Peers) -> None:
    bus = peers.bus()
    leaver, stayer = peers.xsub(bus, b"\x01md."), peers.xsub(bus, b"\x01md.")
    assert receive(bus, leaver) == receive(bus, stayer) == [b"md.", b"welcome md."]
    # What a peer sends is in order: once it is welcomed to "end.", its unsubscription has been served.
    leaver.send(b"\x00md.")
    leaver.send(b"\x01end.")
    while receive(bus, leaver)[0] != b"end.":
        pass
    bus.send([b"md.", b"1"])
    bus.send([b"end.", b"2"])
    assert next_but_welcomes(bus, leaver) == [b"end.", b"2"]
    assert next_but_welcomes(bus, stayer) == [b"md.", b"1"]


def test_who_subscribed_twice_and_unsubscribed_once_is_still_subscribed(peers: Peers) -> None:
    bus = peers.bus()
    sub = peers.sub(bus, b"md.", b"md.")
    sub.unsubscribe(b"md.")
    sub.subscribe(b"end.")
    assert receive(bus, sub) == [b"end.", b"welcome end."]
    bus.send([b"md.", b"1"])
    assert receive(bus, sub) == [b"md.", b"1"]


def test_when_a_subscriber_goes_the_others_stay_and_it_may_come_back(peers: Peers) -> None:
    bus = peers.bus()
    stayer = peers.sub(bus, b"md.")
    for _ in range(20):
        peers.sub(bus, b"md.", b"").close()
    again = peers.sub(bus, b"md.")
    bus.send([b"md.", b"1"])
    assert next_but_welcomes(bus, stayer) == next_but_welcomes(bus, again) == [b"md.", b"1"]


def test_5000_subscriptions_of_one_peer_are_all_welcomed(peers: Peers) -> None:
    prefixes = [b"md.%d." % number for number in range(5000)]
    # A SUB drops its own subscriptions beyond SNDHWM (1000) while they wait to be sent.
    peers.sub(peers.bus(), *prefixes, SNDHWM=0)


def test_a_bus_without_a_welcome_confirms_subscriptions_in_silence(peers: Peers) -> None:
    bus = peers.bus()
    bus._welcome = None
    sub = peers.peer(zmq.SUB, bus.endpoints.pub, b"md.", b"end.")
    while not sub.poll(1):
        bus.turn()
        bus.send([b"end.", b"1"])
    assert sub.recv_multipart() == [b"end.", b"1"]


def test_garbage_of_one_subscriber_does_not_take_the_subscriptions_of_others(peers: Peers) -> None:
    bus = peers.bus()
    rogue = peers.xsub(bus, b"\x01rogue.")
    assert receive(bus, rogue) == [b"rogue.", b"welcome rogue."]
    innocents = [peers.sub(bus, b"start.") for _ in range(2)]
    for number in range(50):
        for _ in range(3):
            rogue.send(b"garbage")
        strays = bus.strays
        assert bus._pub.poll(PATIENCE)  # the garbage is there, and the next subscriptions queue up behind it
        for innocent in innocents:
            innocent.subscribe(b"%d.%d." % (number, innocent.FD))
        for innocent in innocents:
            prefix = b"%d.%d." % (number, innocent.FD)
            while receive(bus, innocent) != [prefix, welcome(prefix)]:
                pass
        until_strays(bus, strays + 3)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=3), max_size=20))
def test_whatever_a_subscriber_sends_the_bus_lives_and_echoes_none_of_it(
    peers: Peers, messages: list[list[bytes]]
) -> None:
    with ExitStack() as stack:
        peers._stack = stack
        bus = peers.bus()
        rogue = peers.xsub(bus, b"\x01end.")
        assert receive(bus, rogue) == [b"end.", b"welcome end."]
        for message in messages:
            rogue.send_multipart(message)
        rogue.send(b"\x01done.")
        while (came := receive(bus, rogue))[0] != b"done.":
            assert came[1] == welcome(came[0])
        honest = peers.sub(bus, b"md.")
        bus.send([b"md.", b"1"])
        assert receive(bus, honest) == [b"md.", b"1"]


def test_a_flood_of_garbage_is_taken_in_bounded_pieces_and_ends(peers: Peers) -> None:
    bus = peers.bus()
    rogue = peers.xsub(bus, *[b""] * 900, b"\x01end.")
    assert receive(bus, rogue) == [b"end.", b"welcome end."]
    assert bus.strays == 900


# Requests


def test_each_request_gets_its_reply(peers: Peers) -> None:
    bus = peers.bus()
    req = peers.peer(zmq.REQ, bus.endpoints.rep)
    for request in (b"ping", b"", b"\x00" * 100_000):
        req.send(request)
        assert receive(bus, req) == [b"to " + request]


def test_interleaving_clients_get_one_reply_to_each_request_and_their_own(peers: Peers) -> None:
    echo = Echo()
    bus = peers.bus(echo)
    dealers = [peers.peer(zmq.DEALER, bus.endpoints.rep) for _ in range(5)]
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
    req = peers.peer(zmq.REQ, bus.endpoints.rep)
    req.send(bytes(2000))
    assert receive(bus, req) == [b"to " + bytes(2000)]
    for size in (2001, 4000):
        req.send(bytes(size))
        assert receive(bus, req) == [b"refused: a request may have 2000 bytes, and this one has %d" % size]
    assert echo.answered == 1


def test_a_request_that_libzmq_will_not_carry_cuts_off_its_peer_and_no_other(peers: Peers) -> None:
    bus = peers.bus()
    peers.peer(zmq.REQ, bus.endpoints.rep).send(bytes(2 * bus._config.max_request + 1))
    req = peers.peer(zmq.REQ, bus.endpoints.rep)
    req.send(b"ping")
    assert receive(bus, req) == [b"to ping"]


def test_a_request_of_several_frames_is_refused(peers: Peers) -> None:
    bus = peers.bus()
    req = peers.peer(zmq.REQ, bus.endpoints.rep)
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
        dealer = peers.peer(zmq.DEALER, bus.endpoints.rep)
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
    dealer = peers.peer(zmq.DEALER, bus.endpoints.rep)
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
    dealer = peers.peer(zmq.DEALER, bus.endpoints.rep)
    envelope = [b"%d" % number for number in range(proxies)]
    dealer.send_multipart([*envelope, b"", b"ping"])
    dealer.send_multipart([b"", b"end"])
    if served:
        assert receive(bus, dealer) == [*envelope, b"", b"to ping"]
    assert receive(bus, dealer) == [b"", b"to end"]
    assert bus.counts["strayRequests"] == (not served)


def test_a_message_of_very_many_frames_is_read_in_steps_and_refused(peers: Peers) -> None:
    bus = peers.bus()
    dealer = peers.peer(zmq.DEALER, bus.endpoints.rep)
    dealer.send_multipart([b"", *[b"x"] * 20_000])
    assert receive(bus, dealer) == [b"", b"refused: a request is one frame, and this one has 20000"]
    dealer.send_multipart([b"x"] * 20_000)
    dealer.send_multipart([b"", b"ping"])
    assert receive(bus, dealer) == [b"", b"to ping"]


def test_a_stranger_gets_his_reply_whatever_a_broken_peer_left_behind(peers: Peers) -> None:
    bus = peers.bus()
    for number in range(20):
        broken = peers.peer(zmq.DEALER, bus.endpoints.rep)
        for _ in range(5):
            broken.send_multipart([b"one", b"two"])
        while bus.counts["strayRequests"] < 5 * (number + 1):
            bus.turn()
        broken.close()
        stranger = peers.peer(zmq.REQ, bus.endpoints.rep)
        stranger.send(b"order")
        assert receive(bus, stranger) == [b"to order"]


def test_peers_of_one_identity_are_each_answered(peers: Peers) -> None:
    bus = peers.bus()
    twins = [peers.peer(zmq.REQ, bus.endpoints.rep, IDENTITY="twin") for _ in range(5)]
    for number in range(3):
        for name, twin in enumerate(twins):
            twin.send(b"%d of %d" % (number, name))
        for name, twin in enumerate(twins):
            assert receive(bus, twin) == [b"to %d of %d" % (number, name)]


def test_the_options_of_req_that_the_protocol_page_advises_work(peers: Peers) -> None:
    bus = peers.bus()
    req = peers.peer(zmq.REQ, bus.endpoints.rep, REQ_RELAXED=1, REQ_CORRELATE=1, IMMEDIATE=1)
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
    req = peers.peer(zmq.REQ, bus.endpoints.rep)
    req.send(b"ping")
    assert receive(bus, req) == [b"to ping"]


def test_a_client_that_went_before_its_reply_leaves_the_others_served(peers: Peers) -> None:
    bus = peers.bus()
    gone = peers.peer(zmq.REQ, bus.endpoints.rep, LINGER=1000)
    gone.send(b"bye")
    assert bus._rep.poll(PATIENCE)
    gone.close()
    req = peers.peer(zmq.REQ, bus.endpoints.rep)
    req.send(b"ping")
    assert receive(bus, req) == [b"to ping"]


class Broken(Echo):
    """Has a bug."""

    def answer(self, request: bytes, peer: bytes) -> bytes:
        if request == b"crash":
            raise ZeroDivisionError
        return super().answer(request, peer)


def test_a_bug_in_an_answer_goes_up_and_the_client_gets_an_empty_reply(peers: Peers) -> None:
    bus = peers.bus(Broken())
    req = peers.peer(zmq.REQ, bus.endpoints.rep)
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
    dealer = peers.peer(zmq.DEALER, bus.endpoints.rep)
    for number in range(100):
        dealer.send_multipart([b"", b"%d" % number])
    for number in range(100):
        assert receive(bus, dealer) == [b"", b"to %d" % number]
        assert receive(bus, sub) == [b"md.", b"%d" % number]


# In the loop


def served(bus: Bus, peer: Callable[[], None]) -> None:
    """Run a peer in a thread of its own while a loop serves the bus, by nothing but reader events."""

    async def serve() -> None:
        bus.attach(asyncio.get_running_loop())
        await asyncio.to_thread(peer)

    asyncio.run(serve())


def test_attached_to_a_loop_the_bus_serves_by_itself_more_than_one_turn_takes(peers: Peers) -> None:
    bus = peers.bus()

    def peer() -> None:
        prefixes = [b"%d." % number for number in range(1000)]
        sub = peers.peer(zmq.SUB, bus.endpoints.pub, *prefixes)
        dealer = peers.peer(zmq.DEALER, bus.endpoints.rep)
        for prefix in prefixes:
            dealer.send_multipart([b"", prefix])
        for prefix in prefixes:
            assert sub.poll(PATIENCE)
            assert sub.recv_multipart() == [prefix, welcome(prefix)]
            assert dealer.poll(PATIENCE)
            assert dealer.recv_multipart() == [b"", b"to " + prefix]

    served(bus, peer)
    bus.close()


class Slow(Echo):
    """Takes a millisecond of a clock of its own for each answer."""

    now = 0.0

    def answer(self, request: bytes, peer: bytes) -> bytes:
        self.now += 0.001
        return super().answer(request, peer)


def test_a_turn_ends_when_its_time_is_up_and_not_before(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr("ibbridge.bus.time", SimpleNamespace(monotonic=lambda: slow.now))
    bus = peers.bus(slow)
    dealers = [peers.peer(zmq.DEALER, bus.endpoints.rep) for _ in range(20)]
    for dealer in dealers:
        dealer.send_multipart([b"", b"ping"])
    most = 0
    while slow.answered < len(dealers):
        before = slow.answered
        bus.turn()
        most = max(most, slow.answered - before)
    assert 1 < most <= round(TURN / 0.001)


def test_a_peer_with_thousands_of_requests_under_way_gets_every_other_answer(peers: Peers) -> None:
    noted = Noted()
    bus = peers.bus(noted)
    greedy = peers.peer(zmq.DEALER, bus.endpoints.rep, SNDHWM=0, RCVHWM=0)
    modest = peers.peer(zmq.REQ, bus.endpoints.rep)
    for _ in range(20_000):
        greedy.send_multipart([b"", b"more"])
    assert bus._rep.poll(PATIENCE)
    modest.send(b"once")
    assert receive(bus, modest) == [b"to once"]
    # It had to come here first, which is the time of some hundred answers.
    assert noted.requests.index(b"once") < 10_000
    # Both have requests here: each has its turn.
    bystander = peers.peer(zmq.DEALER, bus.endpoints.rep)
    for _ in range(4):
        bystander.send_multipart([b"", b"one of four"])
    for _ in range(4):
        assert receive(bus, bystander) == [b"", b"to one of four"]
    first = noted.requests.index(b"one of four")
    assert noted.requests[first : first + 100].count(b"one of four") == 4


class Noted(Echo):
    """Keeps what was asked, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[bytes] = []

    def answer(self, request: bytes, peer: bytes) -> bytes:
        self.requests.append(request)
        return super().answer(request, peer)


def test_a_bus_closed_in_its_loop_is_not_called_again(peers: Peers) -> None:
    bus = peers.bus()
    faults: list[Any] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        bus.attach(loop)
        bus.close()
        await asyncio.sleep(0)

    asyncio.run(serve())
    assert faults == []


def test_what_came_before_it_was_attached_is_served_too(peers: Peers) -> None:
    bus = peers.bus()
    req = peers.peer(zmq.REQ, bus.endpoints.rep)
    req.send(b"ping")
    assert bus._rep.poll(PATIENCE)  # this has taken the signal

    def peer() -> None:
        assert req.poll(PATIENCE)
        assert req.recv() == b"to ping"

    served(bus, peer)


def test_after_a_bug_in_an_answer_the_loop_serves_what_was_queued_behind_it(peers: Peers) -> None:
    bus = peers.bus(Broken())
    faults: list[Any] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
        bus.attach(loop)
        await asyncio.to_thread(peer)

    def peer() -> None:
        dealer = peers.peer(zmq.DEALER, bus.endpoints.rep)
        for request in (b"crash", b"1", b"crash", b"2"):
            dealer.send_multipart([b"", request])
        for reply in (b"", b"to 1", b"", b"to 2"):
            assert dealer.poll(PATIENCE)
            assert dealer.recv_multipart() == [b"", reply]

    asyncio.run(serve())
    assert [type(fault) for fault in faults] == [ZeroDivisionError] * 2


def test_clients_in_threads_of_their_own_each_get_their_replies(peers: Peers) -> None:
    bus = peers.bus()
    done: list[int] = []

    def client(name: int) -> None:
        req = peers.peer(zmq.REQ, bus.endpoints.rep)
        for number in range(50):
            req.send(b"%d %d" % (name, number))
            assert req.poll(PATIENCE)
            assert req.recv() == b"to %d %d" % (name, number)
        done.append(name)

    def peer() -> None:
        threads = [threading.Thread(target=client, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    served(bus, peer)
    assert sorted(done) == [0, 1, 2, 3]


# Opening and closing


@pytest.mark.parametrize(("name", "options"), [("_pub", pub_options), ("_rep", rep_options)])
def test_every_option_is_set_on_its_socket(peers: Peers, name: str, options: Callable[[BusConfig], Any]) -> None:
    bus = peers.bus(sndhwm=4321, linger_ms=765)
    wanted = options(peers.config(sndhwm=4321, linger_ms=765))
    write_only = {zmq.XPUB_MANUAL, zmq.XPUB_VERBOSE, zmq.ROUTER_MANDATORY}
    for option in wanted.keys() - write_only:
        assert getattr(bus, name).get(option) == wanted[option], option
    assert wanted[zmq.LINGER] == 765
    assert pub_options(bus._config)[zmq.SNDHWM] == 4321
    assert bus._pub.get(zmq.HEARTBEAT_IVL) == 0  # see the comment on the options


def test_a_second_bus_on_the_same_endpoints_is_refused_and_the_first_goes_on(peers: Peers) -> None:
    bus = peers.bus()
    sub = peers.sub(bus, b"md.")
    taken = bus.endpoints
    for pub, rep, key in ((taken.pub, taken.rep, "bus.pub"), (free(peers, "pub2"), taken.rep, "bus.rep")):
        with pytest.raises(BusError, match=f"^{key}: .*another ibbridge.*choose another {key}"):
            peers.bus(pub=pub, rep=rep)
    late = peers.sub(bus, b"md.")
    bus.send([b"md.", b"1"])
    assert next_but_welcomes(bus, sub) == next_but_welcomes(bus, late) == [b"md.", b"1"]
    req = peers.peer(zmq.REQ, taken.rep)
    req.send(b"ping")
    assert receive(bus, req) == [b"to ping"]


def free(peers: Peers, name: str) -> str:
    config = peers.config()
    return config.pub if config.pub.startswith("tcp") else f"{config.pub}-{name}"


def test_a_bus_that_could_not_open_leaves_nothing_locked_or_bound(peers: Peers) -> None:
    bus = peers.bus()
    pub = free(peers, "pub2")
    with pytest.raises(BusError):
        peers.bus(pub=pub, rep=bus.endpoints.rep)
    peers.bus(pub=pub, rep=free(peers, "rep2"))


def test_a_closed_bus_leaves_its_endpoints_to_the_next_at_once(peers: Peers) -> None:
    first = peers.bus()
    config = first.endpoints
    first.close()
    for _ in range(20):
        bus = peers.bus(pub=config.pub, rep=config.rep)
        peers.sub(bus, b"md.").close()
        bus.close()


def test_the_last_message_gets_out_before_the_bus_is_closed(peers: Peers) -> None:
    bus = peers.bus()
    sub = peers.sub(bus, b"")
    bus.send([b"sys.bridge.bye.", b"bye"])
    bus.close()
    assert sub.poll(PATIENCE)
    assert sub.recv_multipart() == [b"sys.bridge.bye.", b"bye"]


def test_closing_again_or_before_opening_does_nothing(peers: Peers) -> None:
    Bus(peers.config(), Echo()).close()
    bus = peers.bus()
    bus.close()
    bus.close()
    bus.turn()


def test_a_bus_that_is_not_open_says_so(peers: Peers) -> None:
    bus = Bus(peers.config(), Echo())
    with pytest.raises(BusError, match="not open"):
        bus.send([b"md.", b""])
    with pytest.raises(BusError, match="not open"):
        _ = bus.endpoints


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bus_that_lets_nobody_in_any_more_says_so(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = peers.bus()
    monkeypatch.setattr("ibbridge.security.zap.decide", lambda _: 1 // 0)
    peers.peer(zmq.REQ, bus.endpoints.rep)
    bus._handler.join()
    with pytest.raises(BusError, match="no new peer can connect"):
        bus.turn()


def test_an_ipc_endpoint_and_its_lock_are_for_the_user_and_the_group_alone(tmp_path: pathlib.Path) -> None:
    config = BusConfig(pub=f"ipc://{tmp_path}/pub", rep=f"ipc://{tmp_path}/rep")
    before = os.umask(0)
    try:
        bus = Bus(config, Echo())
        bus.open()
        modes = {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in tmp_path.iterdir()}
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert modes == {"pub": "0o770", "rep": "0o770", "pub.lock": "0o600", "rep.lock": "0o600"}
    bus.close()
    assert {"pub.lock", "rep.lock"} <= {file.name for file in tmp_path.iterdir()}


def test_an_ipv6_endpoint_is_bound(tmp_path: pathlib.Path) -> None:
    config = BusConfig(pub="tcp://[::1]:*", rep=f"ipc://{tmp_path}/rep")
    bus = Bus(config, Echo())
    try:
        bus.open()
    except BusError as error:
        pytest.skip(f"no IPv6 here: {error}")
    assert bus.endpoints.pub.startswith("tcp://[::1]:")
    bus.close()


@pytest.mark.parametrize(
    ("endpoint", "fault"),
    [
        ("ipc://{tmp}/nowhere/pub", "there is no directory {tmp}/nowhere; create it"),
        ("ipc://{tmp}/file", "{tmp}/file exists and is no socket"),
        ("ipc://{tmp}/" + "x" * 120, "File name too long; a path may have 107 bytes; choose a shorter bus.pub"),
        ("tcp://nowhere:5555", "No such device; this machine has no such address"),
        ("tcp://192.0.2.1:5555", "Cannot assign requested address; this machine has no such address"),
        ("carrier-pigeon://here", "Protocol not supported; write bus.pub as tcp://127.0.0.1:PORT or ipc:///PATH"),
        ("ipc://{tmp}/linked", "cannot open its lock {tmp}/linked.lock: "),
    ],
)
def test_an_endpoint_that_is_not_to_be_had_says_which_why_and_what_to_do(
    tmp_path: pathlib.Path, endpoint: str, fault: str
) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "linked.lock").symlink_to("/dev/null")
    endpoint = endpoint.format(tmp=tmp_path)
    with pytest.raises(BusError) as refused:
        Bus(BusConfig(pub=endpoint, rep="tcp://127.0.0.1:*"), Echo()).open()
    assert str(refused.value).startswith(f"bus.pub: {endpoint}: ")
    assert fault.format(tmp=tmp_path) in str(refused.value)
    assert (tmp_path / "file").read_text() == "precious"


def test_an_option_that_libzmq_does_not_take_keeps_the_bus_from_opening():
    class Deaf:
        def set(self, option, value):
            pass

        def get(self, option):
            return -1

    with pytest.raises(BusError, match=r"libzmq .* does not take SNDHWM=5; a newer one is needed"):
        _set(Deaf(), {zmq.SNDHWM: 5})  # type: ignore[arg-type]
