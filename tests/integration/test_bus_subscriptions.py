"""Subscriptions through real sockets: each is confirmed with a welcome, whatever else subscribers send.

Nothing here sleeps. That a subscription is in place is known from its welcome, and that nothing came from a message
sent after what must not come.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bus_peers import PATIENCE, Peers, next_but_welcomes, receive, until_strays, welcome


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
    # Frames of a peer keep their order: once the peer is welcomed to "end.", its unsubscription has been served.
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
    assert bus._subscriptions is not None
    bus._subscriptions._subscribing = None
    sub = peers.peer(zmq.SUB, bus.endpoints.pub[0], b"md.", b"end.")
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
