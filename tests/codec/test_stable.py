"""What was read once is read again after it was written: for frames that our own writers did not make."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.codec import Dialect, Message
from ibbridge.codec.versions import NEWEST
from tests.codec.declared import BY_NAME, DECLARED, EDGES, differences, framed, payload, sides
from tests.codec.golden import IN, OUT
from tests.codec.strategies import canonical
from tests.codec.wire import scattered, spelt

QUICK = settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

IN_TEXT = [(name, version) for name, version in EDGES if not BY_NAME[name].in_protobuf(version)]
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
