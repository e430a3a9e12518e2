"""Packed messages: equal to the packed data of the reader, for every declaration that is flat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.codec import Dialect, Message, Undecodable, speedups, types
from ibbridge.codec.messages import INBOUND
from ibbridge.codec.passthrough import is_flat
from ibbridge.inbound.publication_plan import PASSED_ON
from tests.support.declared import BY_NAME, EDGES, differences, framed, sides
from tests.support.foreign_frames import scattered, spelt
from tests.support.strategies import canonical

if TYPE_CHECKING:
    from collections.abc import Collection

FLAT = {each.name for each in INBOUND if is_flat(each)}
QUICK = settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def clients(version: int, packed: Collection[str]) -> list[Dialect]:
    """With compiled code, if it is in use, and without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speedups, "IN_USE", False)
        pure = Dialect.client(version, packed)
    return [Dialect.client(version, packed), pure]


def same(got: Any, plain: Message | Undecodable) -> None:
    assert isinstance(plain, Message), plain
    assert type(got) is tuple
    name, key, identity, body = got
    declaration = BY_NAME[name]
    assert (name, key) == (plain.name, plain.data[declaration.key or ""])
    assert not list(differences(plain.data, msgpack.unpackb(body)))
    if declaration.identity:
        assert identity == plain.data[declaration.identity[0]]
    else:
        assert identity == (None if declaration.identity is None else ())


@pytest.mark.parametrize(("name", "version"), [each for each in EDGES if each[0] in FLAT])
@QUICK
@given(data=st.data())
def test_a_packed_message_is_the_packed_message(name: str, version: int, data: Any) -> None:
    declaration = BY_NAME[name]
    payload = sides(declaration, version)[0].write(name, data.draw(canonical(declaration, version)))[4:]
    for dialect in clients(version, [name]):
        same(dialect.read_packed(payload), dialect.read(payload))


@pytest.mark.parametrize(("name", "version"), [each for each in EDGES if each[0] in FLAT])
@QUICK
@given(data=st.data())
def test_a_packed_message_is_the_packed_message_however_it_is_spelt(name: str, version: int, data: Any) -> None:
    declaration = BY_NAME[name]
    if declaration.in_protobuf(version):
        payload = (declaration.id + 200).to_bytes(4, "big") + scattered(data.draw, declaration, version)
    else:
        fields = spelt(data.draw, declaration, version, data.draw(canonical(declaration, version)))
        payload = framed(declaration, version, fields)
    dialect = Dialect.client(version, FLAT)
    same(dialect.read_packed(payload), dialect.read(payload))


@pytest.mark.parametrize("version", [176, 200, 202, 226])
@given(number=st.integers(1, 100), fields=st.lists(st.text(st.characters(exclude_characters="\0")), max_size=12))
def test_garbage_is_undecodable_in_both_ways_or_in_neither(version: int, number: int, fields: list[str]) -> None:
    head = number.to_bytes(4, "big") if version >= 201 else b"%d\0" % number
    payload = head + "".join(f"{each}\0" for each in fields).encode("utf-8", "replace")
    for dialect in clients(version, FLAT):
        got, plain = dialect.read_packed(payload), dialect.read(payload)
        if type(got) is tuple:
            same(got, plain)
        elif isinstance(got, Undecodable):
            # A number that msgpack has no room for is found only by whoever packs.
            assert isinstance(plain, Undecodable) or "too large" in got.reason or "out of range" in got.reason
        else:
            assert got == plain


@pytest.mark.parametrize("version", [178, 226])
def test_only_what_is_wanted_comes_packed(version: int) -> None:
    payload = Dialect.server(version).put("tickSize", {"reqId": 1, "tickType": 0, "size": 0.0})[4:]
    assert isinstance(Dialect.client(version).read_packed(payload), Message)
    assert type(Dialect.client(version, ["tickSize"]).read_packed(payload)) is tuple


def test_a_number_without_room_in_msgpack_is_undecodable_with_its_bytes() -> None:
    payload = b"2\x006\x001\x00%d\x005\x00" % 10**30
    got = Dialect.client(178, ["tickSize"]).read_packed(payload)
    assert isinstance(got, Undecodable)
    assert got.raw == payload


@pytest.mark.parametrize(
    ("version", "payload"), [(178, b"1\x006\x001\x000\x001.5\x00x\x000\x00"), (226, b"\0\0\0\xc9\x22\x01x")]
)
def test_a_value_that_is_not_published_must_be_readable_all_the_same(version: int, payload: bytes) -> None:
    """The size of a price that has none: `read` says that it is no number, and so does `read_packed`."""
    for dialect in clients(version, ["tickPrice"]):
        assert dialect.read_packed(payload) == dialect.read(payload)
        assert isinstance(dialect.read(payload), Undecodable)


def test_no_more_values_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(types, "MOST_CACHED", 2)
    known = types._Cached(float, 3)
    for text in ("1.5", "12.5", "2.5", "3.5", "1.5", "3.5"):
        assert known[text] == float(text)
    assert list(known) == ["1.5", "2.5"]


@pytest.mark.parametrize("version", [178, 226])
def test_volumes_do_not_fill_what_is_remembered_of_sizes(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They only rise: none is met again, and all together would leave no room for what is."""
    monkeypatch.setattr(speedups, "IN_USE", False)  # compiled code remembers nothing
    dialect, server = Dialect.client(version, ["tickSize"]), Dialect.server(version)
    for size in (703.0, 7654321.0):
        payload = server.put("tickSize", {"reqId": 1, "tickType": 8, "size": size})[4:]
        same(dialect.read_packed(payload), dialect.read(payload))
    assert "703" in types.DECIMALS
    assert "7654321" not in types.DECIMALS


def test_the_ticks_are_passed_on_packed() -> None:
    assert {"tickPrice", "tickSize", "tickString", "tickByTickAllLast"} <= PASSED_ON & FLAT
    assert not {"error", "updateMktDepth", "updateMktDepthL2"} & PASSED_ON, "these are looked into"
