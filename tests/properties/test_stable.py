"""Stability: frames that our writers did not make are read, written, and read again as before."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.codec import Dialect, Message
from ibbridge.codec.versions import NEWEST
from tests.conformance.golden import IN, OUT
from tests.support.declared import BY_NAME, DECLARED, EDGES, differences, framed, payload, sides
from tests.support.foreign_frames import scattered, spelt
from tests.support.strategies import canonical

QUICK = settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

IN_TEXT = [(name, version) for name, version in EDGES if not BY_NAME[name].in_protobuf(version)]
TEXT_FRAMES = {
    name: found
    for name, vectors in {**IN, **OUT}.items()
    if (found := [each for each in vectors if each["enc"] == "text" and each["frame"] and each["msg"]])
}
IN_PROTOBUF = [each.name for each in DECLARED if each.proto_since is not None]

client = cache(Dialect.client)
server = cache(Dialect.server)


def is_protobuf(frame: bytes, version: int) -> bool:
    return version >= 201 and int.from_bytes(frame[:4], "big") > 200


def assert_stable(reader: Dialect, frame: bytes) -> Message | None:
    """Read, written in the same encoding and read again: the data are the same. None if the frame is not readable."""
    first = reader.read(frame)
    if not isinstance(first, Message):
        return None
    protobuf = is_protobuf(frame, reader.version)
    again = reader.read(payload(BY_NAME[first.name], reader.version, first.data, protobuf=protobuf))
    assert isinstance(again, Message), again
    assert again.name == first.name
    assert not list(differences(first.data, again.data))
    return first


@pytest.mark.parametrize("name", IN)
def test_golden_messages_are_stable(name: str) -> None:
    readable = [assert_stable(client(each["server_version"]), bytes.fromhex(each["frame"])) for each in IN[name]]
    assert any(readable)


@pytest.mark.parametrize("name", OUT)
def test_golden_requests_are_stable(name: str) -> None:
    sent = [each for each in OUT[name] if each["frame"]]
    assert all(assert_stable(server(each["server_version"]), bytes.fromhex(each["frame"])) for each in sent)


@pytest.mark.parametrize(("name", "version"), IN_TEXT)
@QUICK
@given(data=st.data())
def test_text_means_the_same_however_it_is_spelt(name: str, version: int, data: Any) -> None:
    """`1`, `1.0` and `1e0`; an empty field, zero and IB's numbers for unset, where they mean the same."""
    declaration = BY_NAME[name]
    means = data.draw(canonical(declaration, version))
    frame = framed(declaration, version, spelt(data.draw, declaration, version, means))
    got = assert_stable(sides(declaration, version)[1], frame)
    assert got
    assert not list(differences(means, got.data))


@pytest.mark.parametrize("name", IN_PROTOBUF)
@QUICK
@given(data=st.data())
def test_protobuf_of_any_shape_is_stable(name: str, data: Any) -> None:
    declaration = BY_NAME[name]
    frame = (declaration.id + 200).to_bytes(4, "big") + scattered(data.draw, declaration, NEWEST)
    assert assert_stable(sides(declaration, NEWEST)[1], frame)


ODD_FIELDS = st.sampled_from([
    "", "0", "1", "-1", "-2", "3", "0.5", "1.0", "1e0", " 7 ", "true", "x", "é", " ", "nan", "Infinity", "2147483647",
    "9223372036854775807", "-9223372036854775808", "1.7976931348623157E308", "BAG", "FUND", "PEG BEST", "a=b;c=d",
    "a;b=", "=;", "20261218-08:30:00-UTC", "20261218 08:30:00", "-08:30:00", r"\u00e9", r"\ud83c\udca1", r"\u0000",
])  # fmt: skip


@pytest.mark.parametrize("name", TEXT_FRAMES)
@settings(QUICK, max_examples=10)
@given(data=st.data())
def test_altered_text_is_stable_if_it_can_be_read(name: str, data: Any) -> None:
    """Values that no vector has, at places where others stand in real frames."""
    vector = data.draw(st.integers(0, len(TEXT_FRAMES[name]) - 1).map(TEXT_FRAMES[name].__getitem__))
    version, frame = vector["server_version"], bytes.fromhex(vector["frame"])
    head, fields = (frame[:4], frame[4:].split(b"\0")) if version >= 201 else (b"", frame.split(b"\0"))
    first = 0 if head else 1  # below, the id is a field
    if len(fields) > first + 1:
        for _ in range(data.draw(st.integers(1, 3))):
            fields[data.draw(st.integers(first, len(fields) - 2))] = data.draw(ODD_FIELDS).encode()
    assert_stable(client(version) if vector["dir"] == "in" else server(version), head + b"\0".join(fields))


# -- what these tests found -------------------------------------------------------------------------------------------


def test_an_unset_value_is_none_of_a_list() -> None:
    frame = framed(
        BY_NAME["reqExecutions"], 200, ["3", "1", "0", "", "", "", "", "", "", "", "2", "2147483647", "20261218"]
    )
    got = assert_stable(server(200), frame)
    assert got
    assert got.data["execFilter"]["specificDates"] == [20261218]


def test_a_set_has_neither_unset_nor_what_is_no_number() -> None:
    fields = ["1", "SMART", "5", "AAPL", "100", "0", "4", "200", "nan", "1.7976931348623157E308", "100.0"]
    got = assert_stable(client(200), framed(BY_NAME["securityDefinitionOptionParameter"], 200, fields))
    assert got
    assert got.data["strikes"] == [100.0, 200.0]


def test_a_character_that_ends_fields_is_escaped_where_there_are_escapes() -> None:
    got = assert_stable(client(200), framed(BY_NAME["error"], 200, ["1", "200", r"a\u0000b", "", "0"]))
    assert got
    assert got.data["errorString"] == "a\0b"
    assert server(200).write("error", got.data)
