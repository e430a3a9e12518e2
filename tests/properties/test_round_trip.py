"""Round trips: the other side reads the written values, for every declaration, at every version that changes it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.codec import Message
from tests.support.declared import BY_NAME, DECLARED, EDGES, differences, sides
from tests.support.strategies import canonical

QUICK = settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize(("name", "version"), EDGES)
@QUICK
@given(data=st.data())
def test_what_is_written_is_read_back(name: str, version: int, data: Any) -> None:
    declaration = BY_NAME[name]
    writer, reader = sides(declaration, version)
    sent = data.draw(canonical(declaration, version))
    payload = writer.write(name, sent)[4:]
    got = reader.read(payload)
    assert isinstance(got, Message), got
    assert got.name == name
    assert not list(differences(sent, got.data))
    again = writer.write(got.name, got.data)[4:]
    assert again == payload
    assert not reader.surplus


def test_every_declaration_is_tested_in_each_encoding_that_it_has() -> None:
    tested = {(name, BY_NAME[name].in_protobuf(version)) for name, version in EDGES}
    assert tested == {
        (each.name, protobuf)
        for each in DECLARED
        for protobuf, there in ((False, each.layout is not None), (True, each.proto_since is not None))
        if there
    }
