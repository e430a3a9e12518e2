"""The places in the send queue: how many messages of each client and of all may wait, and what a refusal says."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.codec.messages import REQUESTS
from ibbridge.codec.schema import Pace
from ibbridge.protocol.errors import CommandRefused
from ibbridge.tws.fair_queue import NEWCOMERS
from ibbridge.tws.outbound import OutboundMessage
from ibbridge.tws.send_queue import PATIENCE
from tests.support.daemon_core import AAPL, refusal
from tests.support.paced_line import BARS, DAILY, Line, flood

# -- shares


def test_a_full_share_is_refused_and_says_by_when_there_is_room():
    line = Line(share=100)
    for number in range(100):
        line.put("reqMktData", "a")
        line.put("reqMktData", f"b{number % 4}")
    line.take()
    while sum(each.client == "a" for each in line.pacing.waiting(Pace.NORMAL)) < 100:
        line.put("reqMktData", "a")
    refused = refusal("E_PACING", line.put, "reqMktData", "a")
    assert refused.outcome == "not_sent"
    waited = 0.0
    while sum(each.client == "a" for each in line.pacing.waiting(Pace.NORMAL)) == 100:
        line.go(0.001)
        waited += 0.001
    assert waited < refused.more["retry_after"] < 2 * waited
    line.put("reqMktData", "a")


NAMES = ["cancelMktData", "placeOrder", "reqMktData", "reqHistoricalData"]


@given(
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from("abcdef"), st.sampled_from([b"p", b"q"])), max_size=60),
    st.sampled_from([0.0, 0.1, 1.0, 20.0]),
)
def test_where_no_limit_of_ibs_comes_in_between_there_is_room_by_the_time_that_a_refusal_names(name, others, seconds):
    line = Line(share=5)
    for other, client, peer in others:
        with contextlib.suppress(CommandRefused):
            line.put(other, client, peer, **DAILY)
    line.go(seconds)
    refused = None
    while refused is None:
        try:
            line.put(name, "a", b"p", **DAILY)
        except CommandRefused as error:
            refused = error
    line.go(refused.more["retry_after"])
    line.put(name, "a", b"p", **DAILY)


@pytest.mark.parametrize("before", [0, 3, 59])
def test_who_waits_for_a_limit_is_told_when_there_is_room(before):
    line = Line(share=10)
    for number in range(before):
        line.put("reqRealTimeBars", "other", contract={"conId": number}, whatToShow="TRADES")
        line.go(1)
    for number in range(60 - before):
        line.put("reqRealTimeBars", "a", contract={"conId": number}, whatToShow="TRADES")
        line.go(1)
    for number in range(10):
        line.put("reqRealTimeBars", "a", contract={"conId": number}, whatToShow="TRADES")
    line.take()
    wait = refusal("E_PACING", line.put, "reqRealTimeBars", "a", contract=AAPL, whatToShow="X").more["retry_after"]
    line.go(wait - 0.1)
    refusal("E_PACING", line.put, "reqRealTimeBars", "a", contract=AAPL, whatToShow="X")
    line.go(0.1)
    line.put("reqRealTimeBars", "a", contract=AAPL, whatToShow="X")


def test_where_nobody_can_tell_a_number_is_given_all_the_same():
    line = Line(share=1)
    for _ in range(51):
        line.put("reqHistoricalData", **DAILY)
        line.go(1)
    assert refusal("E_PACING", line.put, "reqHistoricalData", **DAILY).more["retry_after"] > 1


def test_a_full_share_of_bulk_takes_no_room_from_cancels_and_orders_nor_from_others():
    line = Line(share=3)
    for name in ("reqHistoricalData", "reqMktData"):
        for _ in range(3):
            line.put(name, **BARS)
        refusal("E_PACING", line.put, name, **BARS)
    line.put("placeOrder")
    line.put("cancelOrder")
    line.put("reqMktData", "b")


def test_the_daemons_own_may_wait_in_any_number():
    line = Line(share=3)
    for _ in range(100):
        line.put("reqMktData", "")
    assert len(line.go(10)) == 100


# -- the bound over all


@pytest.mark.parametrize(("names", "peers"), [(200, 1), (5_000, 1), (200, 200), (5_000, 20)])
def test_names_without_number_queue_no_more_than_may_wait_in_all_and_others_find_room(names, peers):
    line = Line(most=1000)
    assert flood(line, 5_000, names, peers) <= 750
    assert line.pacing.metrics(line.now)["queued"] <= 750
    line.put("placeOrder", "honest", peer=b"h")
    line.put("reqMktData", "honest", peer=b"h")
    turns = (min(peers, 500) + 2) * (NEWCOMERS + 1) / NEWCOMERS * (1 + 1 / PATIENCE[Pace.NORMAL])
    assert [each.message.client for each in line.go(2 * turns / 39)].count("honest") == 2


def test_under_few_names_an_honest_client_finds_room_beside_them_on_one_connection():
    line = Line(most=1000, share=400)
    flood(line, 2000, 5)
    for _ in range(80):
        line.put("placeOrder", "honest", peer=b"p0")
    refused = refusal("E_PACING", line.put, "placeOrder", "c1", peer=b"p0")
    assert refused.outcome == "not_sent"
    assert refused.more["retry_after"] > 0
    line.go(60)
    line.put("placeOrder", "c1", peer=b"p0")


def test_a_connection_that_takes_its_share_leaves_the_rest_to_those_that_have_not():
    line = Line(most=1000)
    flood(line, 5000, 5000, 1)
    for number in range(100):
        line.put("placeOrder", f"h{number}", peer=b"h")
    refusal("E_PACING", line.put, "placeOrder", "new", peer=b"p0")


def test_long_messages_take_more_places():
    line = Line(most=1000)
    for number in range(20):
        with contextlib.suppress(CommandRefused):
            line.pacing.put(OutboundMessage(REQUESTS["reqMktData"], b"x" * 2**18, f"c{number}"), line.now)
    assert line.pacing.metrics(line.now)["queued"] == 5, "a hundred and twenty-nine places each"
    line.put("reqMktData", "b", peer=b"other")


def test_whatever_comes_and_goes_the_places_are_given_back():
    line = Line(most=400)
    for number in range(3000):
        with contextlib.suppress(CommandRefused):
            one = line.put(("placeOrder", "reqMktData")[number % 2], f"c{number % 50}", peer=b"p%d" % (number % 7))
            if number % 3 == 0:
                line.pacing.withdraw(one)
        if number % 200 == 0:
            line.go(1)
    line.go(60)
    load = line.pacing._waiting._load
    assert (load.total, load.of_peers, load.of_clients, line.pacing._waiting._of_client) == (0, {}, {}, {})
    flood(line, 100, 10)
    line.pacing.drop()
    assert line.pacing._waiting._load.total == 0


def test_figures_name_no_more_clients_than_a_heartbeat_has_room_for():
    line = Line()
    flood(line, 5000, 4000)
    assert len(line.pacing.metrics(line.now)["clients"]) == 20
