"""Payloads that real gateways sent and took, against the codec."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.codec import Dialect, Message
from tests.conformance.captured import FRAMES, LEFT_OUT, REQUESTS, Frame, OriginError, Taken, load, value_at
from tests.conformance.golden import attributes

if TYPE_CHECKING:
    from pathlib import Path

client = cache(Dialect.client)
server = cache(Dialect.server)

EMPTY_SIZE = "the gateway sends no size: nil here, zero in the publisher's client"

OTHERWISE = {("206 tickPrice: price", "size"): EMPTY_SIZE}
"""Values that are published in another way than the publishers' clients have them, with the reason."""

SURPLUS = {
    "200 commissionAndFeesReport: commission": 1,
    "200 openOrder: open order of another client": 15,
}
"""Fields at the end of text that no client reads."""

NUMBERS = "numbers that are zero are written, and texts and flags that are not: a gateway leaves out some of them"
SPELLING = "an empty number, or one in another spelling: read alike"
ALLOCATION = "the allocation of shares, a field that no client reads, and unset sizes in another spelling"
ZONE = "the zone of a date is not published twice"

NOT_THE_SAME_BYTES = {
    "200 bondContractDetails: bond, two ids": SPELLING,
    "200 bondContractDetails: bond, one id": SPELLING,
    "206 positionMulti: position multi, text body behind a raw id": SPELLING,
    "200 contractDetails: fund": SPELLING,
    "200 commissionAndFeesReport: commission": SPELLING,
    "200 completedOrder: completed TRAIL LIMIT": SPELLING,
    "200 completedOrder: completed order, cancelled by the system": SPELLING,
    "200 securityDefinitionOptionParameter: chain": SPELLING,
    "200 tickGeneric: generic": SPELLING,
    "200 contractDetails: option details": SPELLING,
    "200 contractDetails: future details": ZONE,
    "200 contractDetails: stock details": SPELLING,
    "200 execDetails: execution": SPELLING,
    "200 position: position": SPELLING,
    "200 historicalData: bars": SPELLING,
    "200 openOrder: open order with a price condition": ALLOCATION,
    "200 openOrder: open order with an execution condition": ALLOCATION,
    "200 openOrder: open order of a bracket's child": ALLOCATION,
    "200 openOrder: open order of another client": ALLOCATION,
    "205 contractDetails: stock details": NUMBERS,
    "205 contractDetails: fund details": NUMBERS,
    "205 bondContractDetails: bond with reasons": NUMBERS,
    "206 tickPrice: price": NUMBERS,
    "206 tickOptionComputation: option computation": NUMBERS,
    "212 smartComponents: components": NUMBERS,
    "225 execDetails: execution": NUMBERS,
    "225 commissionAndFeesReport: commission with a profit": NUMBERS,
    "225 commissionAndFeesReport: commission of an opening": NUMBERS,
    "225 contractDetails: option details": NUMBERS,
    "225 openOrder: open order, combination with prices of its legs": NUMBERS,
    "203 openOrder: open order, plain limit order": NUMBERS,
    "203 openOrderEnd: open orders end": "protobuf in this capture, text by IB's client until 204: read in both",
}
"""Frames that our writer of messages, which the simulator uses, spells in another way; all of them mean the same."""


def test_all_captures_are_there_each_under_a_name_of_its_own() -> None:
    assert (len(FRAMES), len(REQUESTS)) == (132, 69)
    names = [frame.id for frame in FRAMES] + [request.id for request in REQUESTS]
    assert len(set(names)) == len(names)


def test_a_file_of_captures_without_its_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"source": "", "frames": []}))
    with pytest.raises(OriginError):
        load(path)


def read(frame: Frame) -> Message:
    got = client(frame.version).read(frame.payload)
    assert isinstance(got, Message), got
    assert got.name == frame.type
    return got


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.id)
def test_every_frame_of_a_gateway_means_what_its_publisher_read_in_it(frame: Frame) -> None:
    got = read(frame)
    wrong = {path: value_at(got.data, path) for path, want in frame.want.items() if not _is(got.data, path, want)}
    assert {path: value for path, value in wrong.items() if (frame.id, path) not in OTHERWISE} == {}
    assert all(wrong[path] is None for name, path in OTHERWISE if name == frame.id)


def _is(data: Any, path: str, want: Any) -> bool:
    """Return True if the value there is the one that is wanted; nil is neither zero nor empty."""
    got = value_at(data, path)
    if got is LEFT_OUT:  # it has its default, for the publishers nil if it is unset or a flag that is false
        name = path.rpartition(".")[2]
        default = {"transmit": True, "isConjunctionConnection": True}.get(name)
        unset = want is None and name in ("initMarginBefore", "conditionsCancelOrder", "lmtPrice")
        return unset or (want is not None and (want == default or (default is None and not want)))
    return bool(got == want) and (got is None) == (want is None)


def test_what_is_left_out_and_not_empty_is_known_from_outside() -> None:
    defaults = attributes()[0]
    assert True in defaults["transmit"]
    assert True in defaults["isConjunctionConnection"]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.id)
def test_no_frame_has_more_fields_than_are_known_to_be_read_by_nobody(frame: Frame) -> None:
    dialect = Dialect.client(frame.version)
    assert isinstance(dialect.read(frame.payload), Message)
    assert sum(dialect.surplus.values()) == SURPLUS.get(frame.id, 0)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.id)
def test_what_the_simulator_would_send_for_a_frame_means_the_same(frame: Frame) -> None:
    got = read(frame)
    written = server(frame.version).write(got.name, got.data)[4:]
    assert client(frame.version).read(written) == got
    assert (written == frame.payload) is (frame.id not in NOT_THE_SAME_BYTES)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.id)
def test_a_frame_is_read_packed_as_it_is_read(frame: Frame) -> None:
    import msgpack

    packed: Any = Dialect.client(frame.version, [frame.type]).read_packed(frame.payload)
    if not isinstance(packed, Message):
        assert (packed[0], msgpack.unpackb(packed[3])) == read(frame)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.id)
def test_every_request_is_the_frame_that_a_gateway_took_byte_for_byte(request_: Taken) -> None:
    assert client(request_.version).write(request_.command, request_.args)[4:] == request_.payload


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.id)
def test_a_server_reads_every_request_that_a_gateway_took(request_: Taken) -> None:
    got = server(request_.version).read(request_.payload)
    assert isinstance(got, Message), got
    assert got.name == request_.command
    assert client(request_.version).put(got.name, got.data)[4:] == request_.payload
