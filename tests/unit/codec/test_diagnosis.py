"""Diagnosis of a payload that cannot be read: the field at fault, and the fields that can be read."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.codec import Dialect, Message, Undecodable, diagnosis
from ibbridge.codec.messages import INBOUND
from tests.support.hostile_bytes import block, varint
from tests.support.strategies import canonical

client = cache(Dialect.client)
server = cache(Dialect.server)


def text(version: int, number: int, *fields: object) -> bytes:
    head = number.to_bytes(4, "big") if version > 200 else b"%d\0" % number
    return head + b"".join(f"{each}".encode() + b"\0" for each in fields)


def number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value)


def proto(of: int, *fields: bytes) -> bytes:
    return (200 + of).to_bytes(4, "big") + b"".join(fields)


def unread(version: int, payload: bytes) -> Undecodable:
    got = client(version).read(payload)
    assert isinstance(got, Undecodable), got
    assert client(version).read_packed(payload) == got
    return got


BAR = ("20180424", "?", "?", "?", "?", -1, "-1.00", -1)
GOOD = ("20180423", 1, 1, 1, 1, 10, 1, 3)


@pytest.mark.parametrize("version", [176, 195, 196, 200, 201, 226])
def test_a_bar_of_question_marks_is_named(version: int) -> None:
    span = ("20180401", "20180424") if version < 196 else ()
    got = unread(version, text(version, 17, 7, *span, 2, *GOOD, *BAR))
    assert (got.name, got.field) == ("historicalData", "bars.1.open")
    assert got.known["reqId"] == 7


@pytest.mark.parametrize("version", [176, 200, 201, 226])
def test_a_strike_between_good_ones_is_named(version: int) -> None:
    got = unread(version, text(version, 75, 7, "CBOE", 265598, "AAPL", 100, 1, "20260101", 3, 10.0, "?", 12.0))
    assert (got.name, got.field) == ("securityDefinitionOptionParameter", "strikes.1")
    assert got.known == {
        "reqId": 7, "exchange": "CBOE", "underlyingConId": 265598, "tradingClass": "AAPL", "multiplier": "100"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "name", "field", "known"),
    [
        (text(200, 2, 6, 7, "five", 100), "tickSize", "tickType", {"reqId": 7, "size": 100.0}),
        (text(200, 2, 6, "x", 5, 100), "tickSize", "reqId", {"tickType": 5, "size": 100.0}),
        (text(200, 2, 6, 7), "tickSize", "tickType", {"reqId": 7}),
        (text(200, 99, 7, 3, 1, 2, 3, "x", 1, 0), "tickByTickBidAsk", "bidSize", {"reqId": 7, "tickType": 3}),
        (text(200, 93, 26, 2, 0, 0.01, "?", 1), "marketRule", "priceIncrements.1.lowEdge", {"marketRuleId": 26}),
        (text(200, 93, 26, 99, 0, 0.01), "marketRule", "priceIncrements", {"marketRuleId": 26}),
        (text(200, 93, 26, -1), "marketRule", "priceIncrements", {"marketRuleId": 26}),
        (text(200, 4, 7, "x", "f\x00", 0), "error", "errorCode", {"reqId": 7}),
        (proto(17, number(1, 7), block(2, block(6, b"?"))), "historicalData", "bars.0.volume", {"reqId": 7}),
        (proto(2, number(1, 7), block(3, b"x")), "tickSize", "size", {"reqId": 7}),
        (proto(99, number(1, 7), number(2, 3), block(4, block(5, b"?"))), "tickByTickBidAsk", "bidSize", {"reqId": 7}),
        (proto(5, number(1, 9), block(3, block(100, number(1, 9)))), "openOrder", "order.conditions.0.condType", {}),
        (proto(17, number(1, 7), b"\xff"), "historicalData", None, {"reqId": 7}),
        (proto(17, number(1, 7), block(2, b"\xff")), "historicalData", None, {"reqId": 7}),
        (proto(4, number(1, 7), block(4, b"f\xfcr")), "error", None, {"reqId": 7}),
        (proto(110, b"\x80"), "configResponse", None, {}),
    ],
)
def test_the_field_at_fault_and_what_else_there_is(
    payload: bytes, name: str, field: str | None, known: dict[str, Any]
) -> None:
    got = unread(200 if payload[0] else 226, payload)
    assert (got.name, got.field) == (name, field)
    assert got.known.items() >= known.items()


def test_what_is_unknown_is_known_by_nothing() -> None:
    got = unread(200, b"9999\x007\x00")
    assert (got.name, got.field, dict(got.known)) == (None, None, {})


@pytest.mark.parametrize("message", [each for each in INBOUND if each.layout is not None], ids=repr)
@settings(max_examples=20)
@given(data=st.data())
def test_a_spoilt_field_of_any_message_is_named_or_did_no_harm(message: Any, data: Any) -> None:
    version = data.draw(st.sampled_from([176, 196, 200, 226]))
    if message.in_protobuf(version) or not message.exists(version):
        return
    frame = server(version).write(message.name, data.draw(canonical(message, version)))[4:]
    head, body = (frame[:4], frame[4:]) if version > 200 else (b"", frame)
    fields = body.split(b"\0")
    place = data.draw(st.integers(1 if version < 201 else 0, max(1, len(fields) - 2)))
    if place >= len(fields) - 1:
        return
    fields[place] = b"?"
    got = client(version).read(head + b"\0".join(fields))
    if isinstance(got, Undecodable):
        assert got.field
        assert got.raw


def test_a_message_of_millions_of_fields_is_looked_at_only_so_far() -> None:
    rows = diagnosis.MOST_FIELDS
    payload = text(200, 93, 26, rows, *([1] * (2 * rows - 1)), "?")
    got = unread(200, payload)
    assert got.field is None  # it stands too far behind
    assert got.known == {"marketRuleId": 26}
    payload = text(200, 93, 26, rows, "?", *([1] * (2 * rows - 1)))
    assert unread(200, payload).field == "priceIncrements.0.lowEdge"


def test_a_frame_of_text_in_another_encoding_is_diagnosed_in_it() -> None:
    payload = b"4\x002\x00x\x00200\x00" + "中国".encode("gbk") + b"\x00\x00"
    got = Dialect.client(176, encoding="gbk").read(payload)
    assert isinstance(got, Undecodable)
    assert (got.field, got.known["errorString"]) == ("reqId", "中国")


def test_a_message_that_can_be_read_costs_no_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "of_text", None)
    assert isinstance(client(200).read(text(200, 2, 6, 7, 5, 100)), Message)
