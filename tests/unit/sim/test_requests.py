"""Every request of IB's gets an answer of its own or a refusal, and no client can make the host fall over."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.codec import Acceptor, Dialect, Message
from ibbridge.codec.framing import frame
from ibbridge.codec.messages import MESSAGES, OUTBOUND, REQUESTS
from ibbridge.codec.schema import Kind
from ibbridge.sim import SimulatedTws
from ibbridge.sim.client_connection import hand_over
from tests.support.sample_requests import SETTINGS_REFUSED, SOUND
from tests.support.simulator_client import CALL, Client, codes, names
from tests.support.strategies import canonical

VERSIONS = (176, 178, 200, 201, 203, 206, 208, 209, 210, 211, 212, 213, 215, 219, 221, 226)
SILENT = {
    "reqPnLSingle": "of a contract that the account never held nothing is said",
    "reqMatchingSymbols": "what is asked less than a second after the same is not answered",
    "placeOrder": "an order that is not transmitted stays in the host",
    "reqNewsBulletins": "there may be no news",
    "reqAccountUpdates": "unsubscribing from nothing",
    "reqRealTimeBars": "the next bar ends up to five seconds later",
    "reqMktData": "a broad tape may be silent",
}
"""Requests of which nothing need be heard, and why."""


def prepared(host):
    """A client with a stock and an option, so that there is one to exercise."""
    client = Client(host)
    client.place(1, CALL, action="BUY", totalQuantity=1.0, orderType="MKT")
    client.market(2, 1)
    client.wait(1)
    return client


def test_a_sound_request_is_known_of_every_kind():
    assert set(SOUND) == set(REQUESTS)
    assert SimulatedTws().simulated == set(REQUESTS)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_sound_request_is_answered_by_what_answers_it(name):
    request, client = REQUESTS[name], prepared(SimulatedTws(seed=1, advisor=True))
    if name == "reqWshEventData":
        client.ask("reqWshMetaData", reqId=99)
        client.wait()
    if request.concerns:
        client.ask(request.concerns, **SOUND[request.concerns])
    told = client.ask(name, **SOUND[name]) + client.wait(5)
    answers = [(kind, data) for kind, data in told if kind in request.answers]
    if name in SETTINGS_REFUSED:
        assert codes(told)[0] == SETTINGS_REFUSED[name]
    elif name.startswith("verify"):
        assert codes(told) == [321] if name.endswith("Request") else answers[0][1]["isSuccessful"] is False
    elif name == "reqNewsArticle":
        assert codes(told) == [10172]
    elif request.cancels or request.does in (Kind.FORGET, Kind.SETTING):
        assert not answers or name in ("cancelOrder", "reqGlobalCancel", "updateDisplayGroup"), answers
    else:
        assert answers, told
        assert not codes(told), told
        if request.does is Kind.ONE_SHOT and not request.subscribes(SOUND[name]):
            assert names(answers)[-1] in request.ends


@pytest.mark.parametrize(("name", "cancelled"), [(each.name, each.cancels) for each in OUTBOUND if each.cancels])
def test_after_its_cancel_nothing_more_comes(name, cancelled):
    client = Client(SimulatedTws(seed=1))
    if cancelled == "reqWshEventData":
        client.ask("reqWshMetaData", reqId=99)
        client.wait()
    client.ask(cancelled, **SOUND[cancelled])
    told = client.ask(name, **SOUND[name])
    assert set(codes(told)) <= {162, 202, 366}, told
    assert not [kind for kind, _ in client.wait(31) if kind in REQUESTS[cancelled].answers]


# -- whatever may be sent


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), version=st.sampled_from(VERSIONS))
def test_whatever_is_sent_is_answered_or_refused_and_every_answer_can_be_read(data, version):
    """Through the wire and back: nothing is raised, the connection stays, and whoever asks hears of it."""
    host = SimulatedTws(seed=1, advisor=data.draw(st.booleans()))
    client = prepared(host)
    wire = Wire(client, version)
    known = [name for name, each in REQUESTS.items() if each.exists(version)]
    for name in data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=4)):
        request = REQUESTS[name]
        args = data.draw(canonical(request, version))
        kept = data.draw(st.sets(st.sampled_from(sorted(args)), max_size=len(args))) if args else set()
        args |= {field: value for field, value in SOUND[name].items() if field in kept}
        told = wire.send(wire.client.put(name, args)[4:])
        told += wire.wait(1)
        heard = {kind for kind, _ in told}
        if (
            request.does in (Kind.ONE_SHOT, Kind.SUBSCRIPTION, Kind.ORDER)
            and not request.cancels
            and name not in SILENT
        ):
            assert heard & set(request.answers) or "error" in heard, (name, args)
    assert not client.session.closed
    assert "currentTime" in names(wire.send(wire.client.put("reqCurrentTime", {})[4:]))


class Wire:
    """Both ends of a connection, and the bytes between them, without a socket."""

    def __init__(self, client: Client, version: int) -> None:
        self.desk = client
        self.client, self.server = Dialect.client(version), Dialect.server(version)
        self.acceptor = Acceptor()
        list(self.acceptor.receive_data(b"API\0" + frame(f"v{version}..{version}".encode())))

    def send(self, payload: bytes) -> list[tuple[str, dict[str, Any]]]:
        for message in self.acceptor.receive_data(frame(payload)):
            hand_over(self.desk.host, self.desk.session, self.server.version, message)
        return self.heard()

    def wait(self, seconds: float) -> list[tuple[str, dict[str, Any]]]:
        self.desk.host.advance(self.desk.host.now + seconds)
        return self.heard()

    def heard(self) -> list[tuple[str, dict[str, Any]]]:
        read = []
        for name, data in self.desk.session.take():
            if MESSAGES[name].exists(self.server.version):
                message = self.client.read(self.server.put(name, data)[4:])
                assert isinstance(message, Message), message
                assert message.name == name
                read.append((name, data))
        return read


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32),
    version=st.sampled_from(VERSIONS),
    cut=st.sampled_from(["flip", "cut", "add", "make"]),
)
def test_garbage_in_whole_frames_is_refused_and_the_connection_lives(seed, version, cut):
    draw = random.Random(seed)
    wire = Wire(prepared(SimulatedTws(seed=1)), version)
    known = [name for name, each in REQUESTS.items() if each.exists(version)]
    for _ in range(6):
        name = draw.choice(known)
        payload = bytearray(wire.client.put(name, SOUND[name])[4:])
        if cut == "flip":
            for _ in range(draw.randrange(1, 4)):
                payload[draw.randrange(len(payload))] = draw.randrange(256)
        elif cut == "cut":
            del payload[draw.randrange(len(payload)) :]
        elif cut == "add":
            payload += draw.randbytes(draw.randrange(20))
        else:
            payload = bytearray(draw.randbytes(draw.randrange(60)))
        wire.send(bytes(payload))
        wire.wait(0.25)
    assert "currentTime" in names(wire.send(wire.client.put("reqCurrentTime", {})[4:]))


@pytest.mark.parametrize("version", [176, 200, 201, 208, 212, 226])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_in_the_other_encoding_is_understood_or_refused(name, version):
    """Above 200 a client may take the encoding that its version does not foresee; below, ids above 200 are none."""
    request = REQUESTS[name]
    wire = Wire(prepared(SimulatedTws(seed=1)), version)
    other = 212 if not request.in_protobuf(version) else 200
    if not request.exists(other):
        other = 226
    payload = Dialect.client(other).put(name, SOUND[name])[4:]
    if version > 200 >= other:  # a text body behind the raw id of this version
        payload = request.id.to_bytes(4, "big") + payload.partition(b"\0")[2]
    told = wire.send(payload) + wire.wait(1)
    assert not wire.desk.session.closed
    assert told or request.does in (Kind.FORGET, Kind.SETTING) or name in SILENT


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("placeOrder", {"orderId": 2**40, "contract": {}, "order": {}}),
        ("placeOrder", SOUND["placeOrder"] | {"order": SOUND["placeOrder"]["order"] | {"orderRef": "a\0b"}}),
        ("reqMktData", {"reqId": 2**31, "contract": {}}),
        ("reqMktData", SOUND["reqMktData"] | {"genericTickList": "x" * 2_000_000}),
        ("reqMarketRule", {"marketRuleId": -(2**31) - 1}),
        ("updateDisplayGroup", {"reqId": 1, "contractInfo": "\0"}),
        ("reqMktData", {"reqId": None, "contract": {}}),
    ],
)
def test_what_could_not_be_repeated_to_any_client_is_refused_before_it_is_looked_at(name, args):
    assert [(data["reqId"], data["errorCode"]) for _, data in Client(SimulatedTws()).ask(name, **args)] == [(-1, 320)]
