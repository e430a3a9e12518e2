"""Whatever bytes a payload has, reading gives a message or an undecodable one that keeps them. It never raises."""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.codec import Dialect, Message, Undecodable
from ibbridge.codec.messages import INBOUND
from tests.conformance.golden import FOLDER, load
from tests.support.declared import BY_NAME, DECLARED, differences, sides
from tests.support.hostile_bytes import block, varint
from tests.support.strategies import canonical

if TYPE_CHECKING:
    from ibbridge.codec.schema import Declaration

VERSIONS = [176, 200, 201, 226]
SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

client = cache(Dialect.client)
server = cache(Dialect.server)


def read(payload: bytes, version: int) -> None:
    for dialect in (client(version), server(version)):
        got = dialect.read(payload)
        assert isinstance(got, Message | Undecodable)
        if isinstance(got, Undecodable):
            assert got.raw == payload
            assert got.reason


def text_frame(number: int, fields: list[bytes], version: int) -> bytes:
    head = number.to_bytes(4, "big") if version >= 201 else b"%d\0" % number
    return head + b"".join(field + b"\0" for field in fields)


# -- bytes of all kinds -----------------------------------------------------------------------------------------------


@given(st.binary(max_size=100), st.sampled_from(VERSIONS))
def test_arbitrary_bytes_are_read_or_kept(payload: bytes, version: int) -> None:
    read(payload, version)


FIELDS = st.lists(
    st.sampled_from(
        [
            *(b"", b"0", b"1", b"-1", b"99999999999", b"2147483647", b"-9223372036854775808", b"9" * 5000),
            *(b"1e999", b"nan", b"1_0", "٣".encode(), b"x", b"\xff\xfe", b"true", b"BAG", b"FUND", b"PEG BENCH"),
        ]
    )
    | st.binary(max_size=6),
    max_size=60,
)
IDS = st.sampled_from(sorted({each.id for each in DECLARED})) | st.integers(0, 300)


@SLOW
@given(IDS, FIELDS, st.sampled_from(VERSIONS))
def test_arbitrary_fields_are_read_or_kept(number: int, fields: list[bytes], version: int) -> None:
    read(text_frame(number, fields, version), version)


def wire_field(number: int, content: bytes | float) -> bytes:
    if isinstance(content, bytes):
        return block(number, content)
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 1) + struct.pack("<d", content)


WIRE = st.recursive(
    st.binary(max_size=8) | st.sampled_from([b"1.5", b"-2", b"nan", b"x", "é".encode()]),
    lambda inner: st.lists(
        st.builds(wire_field, st.integers(1, 150), inner | st.integers(0, 2**64 - 1) | st.floats()), max_size=6
    ).map(b"".join),
    max_leaves=20,
)


@SLOW
@given(IDS, WIRE)
def test_arbitrary_protobuf_is_read_or_kept(number: int, body: bytes) -> None:
    for version in (201, 226):
        read((number + 200).to_bytes(4, "big") + body, version)


# -- frames that were right once --------------------------------------------------------------------------------------


@cache
def frames(version: int) -> list[bytes]:
    """Return a golden frame of each message and encoding around `version`."""
    found = {}
    for name in ("in_text", "in_proto", "out_text", "out_proto"):
        for vector in load(FOLDER / f"{name}.jsonl.gz"):
            same_framing = (vector["server_version"] >= 201) == (version >= 201)
            if vector["frame"] and same_framing and vector["server_version"] <= version:
                found[vector["msg"], vector["dir"], vector["enc"]] = bytes.fromhex(vector["frame"])
    return list(found.values())


@st.composite
def damaged(draw: Any, version: int) -> bytes:
    """A frame with bits flipped, an end cut off, or fields taken away, doubled or replaced."""
    frame = bytearray(draw(st.sampled_from(frames(version))))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(frame) - 1, 0)))
        match draw(st.sampled_from(["bits", "cut", "insert", "remove", "field"])):
            case "bits" if frame:
                frame[place] ^= draw(st.integers(1, 255))
            case "cut":
                del frame[place:]
            case "insert":
                more = [b"\0", b"\xff", b"99999999999\0", b"2147483646\0", b"\0\0\0"]
                frame[place:place] = draw(st.sampled_from(more))
            case "remove":
                del frame[place : place + draw(st.integers(1, 4))]
            case "field":
                fields = bytes(frame).split(b"\0")
                fields[place % len(fields)] = draw(st.sampled_from([b"", b"-1", b"16777215", b"x", b"\xc3\x28"]))
                frame = bytearray(b"\0".join(fields))
    return bytes(frame)


@pytest.mark.parametrize("version", VERSIONS)
@settings(SLOW, max_examples=300)
@given(data=st.data())
@pytest.mark.scenario("B36")
def test_a_damaged_frame_is_read_or_kept(version: int, data: Any) -> None:
    read(data.draw(damaged(version)), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_frame_cut_off_anywhere_is_read_or_kept(version: int) -> None:
    for frame in frames(version):
        for length in range(min(len(frame), 300)):
            read(frame[:length], version)


@pytest.mark.parametrize("version", [176, 200])
@pytest.mark.scenario("B36")
def test_a_text_message_that_is_cut_off_is_never_taken_for_whole(version: int) -> None:
    for vector in load(FOLDER / "in_text.jsonl.gz"):
        if vector["server_version"] == version:
            frame = bytes.fromhex(vector["frame"])
            assert isinstance(client(version).read(frame), Message)
            last = frame[:-1].rfind(b"\0") + 1
            assert isinstance(client(version).read(frame[:last]), Undecodable), vector["id"]


@pytest.mark.parametrize("count", [b"2147483646", b"-1", b"1000000000000", b"x", b"1.0"])
def test_a_count_that_cannot_be_is_refused_before_anything_is_allocated(count: bytes) -> None:
    got = client(200).read(text_frame(17, [b"7", count], 200))
    assert isinstance(got, Undecodable)
    assert got.name == "historicalData"


# -- what an undecodable payload is told by ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "payload", "number", "name", "reason"),
    [
        (176, b"", None, None, "unknown message id"),
        (176, b"\0", None, None, "unknown message id"),
        (176, b"x\0", None, None, "unknown message id"),
        (176, b"9999999999\x001\0", None, None, "unknown message id"),
        (176, b"9999\x001\0", 9999, None, "unknown message id"),
        (176, b"04\x001\0", 4, "error", "KeyError: '04'"),
        (176, b"2\x006\x007\0", 2, "tickSize", "TooShort: 3 fields, not 5"),
        (176, b"2\x006\x00seven\x000\x001\0", 2, "tickSize", "ValueError: invalid literal"),
        (201, b"", None, None, "unknown message id"),
        (201, b"\0\0\x00", None, None, "unknown message id"),
        (201, b"f", None, None, "unknown message id"),
        (201, b"\0\0\0\x02", 2, "tickSize", "TooShort"),
        (201, b"\0\0\xff\xff", 65335, None, "unknown message id"),
        (201, b"\0\0\0\xca\xff", 2, "tickSize", "DecodeError"),
    ],
)
def test_an_undecodable_payload_tells_what_is_known_of_it(
    version: int, payload: bytes, number: int | None, name: str | None, reason: str
) -> None:
    got = client(version).read(payload)
    assert isinstance(got, Undecodable)
    assert (got.id, got.name, got.raw) == (number, name, payload)
    assert got.reason.startswith(reason)


@pytest.mark.parametrize("declaration", DECLARED, ids=repr)
def test_a_message_in_an_encoding_that_it_does_not_have_is_undecodable(declaration: Declaration) -> None:
    reader = sides(declaration, 226)[1]
    text, protobuf = declaration.layout is not None, declaration.proto_since is not None
    for has, number in ((text, declaration.id), (protobuf, declaration.id + 200)):
        if not has:
            got = reader.read(number.to_bytes(4, "big"))
            assert isinstance(got, Undecodable)
            assert got.reason == "LookupError: the message does not exist in this encoding"


def test_a_kind_that_no_declaration_has_is_undecodable() -> None:
    for payload in (text_frame(99, [b"1", b"7", b"0", b"0"], 226), (299).to_bytes(4, "big") + b"\x08\x01\x10\x07"):
        got = client(226).read(payload)
        assert isinstance(got, Undecodable)
        assert got.id == 99


def test_a_condition_of_a_kind_that_nobody_knows_is_undecodable() -> None:
    order = wire_field(3, wire_field(100, wire_field(1, 9)))
    got = client(226).read((205).to_bytes(4, "big") + order)
    assert isinstance(got, Undecodable)
    assert got.reason == "ValueError: condType 9 is unknown"


def test_unknown_ids_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    target = "ibbridge.codec.dialect._Readers.__setitem__"
    monkeypatch.setattr(target, lambda _, number, __: made.append(number), raising=False)
    dialect = Dialect.client(176)
    for number in range(1000, 1100):
        dialect.read(b"%d\0" % number)
    assert not made


# -- surplus ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [each.name for each in DECLARED if each.layout is not None])
@settings(SLOW, max_examples=5)
@given(data=st.data())
def test_fields_past_the_known_end_are_counted_and_do_no_harm(name: str, data: Any) -> None:
    sent = data.draw(canonical(BY_NAME[name], 200))
    writer, reader = sides(BY_NAME[name], 200)
    got = reader.read(writer.put(name, sent)[4:] + b"new\x0015\0\0")
    assert isinstance(got, Message)
    assert not list(differences(sent, got.data))
    assert reader.surplus == {name: 3}


def test_unknown_protobuf_fields_do_no_harm() -> None:
    payload = Dialect.server(226).write("tickSize", {"reqId": 7, "tickType": 5, "size": 100.0})[4:]
    got = client(226).read(payload + wire_field(400, b"new") + wire_field(401, 1) + wire_field(402, 1.5))
    assert got == Message("tickSize", {"reqId": 7, "tickType": 5, "size": 100.0})


# -- the id decides, not the version ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [each.name for each in INBOUND if each.layout is not None])
@settings(SLOW, max_examples=5)
@given(data=st.data())
def test_a_message_that_is_still_text_is_read_at_the_newest_version(name: str, data: Any) -> None:
    sent = data.draw(canonical(BY_NAME[name], 200))
    fields = server(200).write(name, sent)[4:].partition(b"\0")[2]
    got = client(226).read(BY_NAME[name].id.to_bytes(4, "big") + fields)
    assert isinstance(got, Message)
    assert got.name == name
    assert not list(differences(sent, got.data))
