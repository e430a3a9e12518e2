"""Values of bars: an empty one is nil, and any other, zero and -1 too, is a value."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import pytest

from ibbridge.codec import Dialect, Message
from tests.support.hostile_bytes import block, varint

client = cache(Dialect.client)
server = cache(Dialect.server)

EMPTY = dict.fromkeys(("open", "high", "low", "close", "volume", "wap", "barCount"))
ZEROS = dict.fromkeys(EMPTY, 0)
NONE_OF_THE_KIND = {"volume": -1.0, "wap": -1.0, "barCount": -1}
BARS = [
    {"date": "20260713", **EMPTY},
    {"date": "20260713", **ZEROS},
    {"date": "20260713", **ZEROS, **NONE_OF_THE_KIND},
    {"date": "20260713", **EMPTY, "open": 1.5, "barCount": 0},
]


def text(version: int, number: int, *fields: object) -> bytes:
    head = number.to_bytes(4, "big") if version > 200 else b"%d\0" % number
    return head + "".join(f"{'' if each is None else each}\0" for each in fields).encode()


def read(version: int, payload: bytes) -> Any:
    got = client(version).read(payload)
    assert isinstance(got, Message), got
    return got.data


def row(bar: dict[str, Any], names: str) -> list[Any]:
    return [bar[name] for name in names.split()]


@pytest.mark.parametrize("version", [176, 195, 196, 200, 207, 226])
@pytest.mark.parametrize("bar", BARS)
def test_empty_values_of_bars_are_nil_in_text(version: int, bar: dict[str, Any]) -> None:
    span = ("20260701", "20260713") if version < 196 else ()
    fields = row(bar, "date open high low close volume wap barCount")
    data = read(version, text(version, 17, 7, *span, 1, *fields))
    assert data["bars"] == [bar]


@pytest.mark.parametrize("version", [176, 200, 226])
@pytest.mark.parametrize("bar", BARS)
def test_empty_values_of_the_bar_in_the_making_are_nil_in_text(version: int, bar: dict[str, Any]) -> None:
    data = read(version, text(version, 90, 7, *row(bar, "barCount date open close high low wap volume")))
    assert data["bar"] == bar


def in_protobuf(bar: dict[str, Any]) -> bytes:
    """A bar with the values that are not nil, zeros too, as a gateway writes them."""
    body = block(1, bar["date"].encode())
    for tag, name in enumerate(("open", "high", "low", "close"), 2):
        body += b"" if bar[name] is None else varint(tag << 3 | 1) + struct.pack("<d", bar[name])
    for tag, name in enumerate(("volume", "wap"), 6):
        body += b"" if bar[name] is None else block(tag, f"{bar[name]:g}".encode())
    count = bar["barCount"]
    return body + (b"" if count is None else varint(8 << 3) + varint(count & (2**64 - 1)))


@pytest.mark.parametrize("bar", BARS)
def test_absent_values_of_bars_are_nil_in_protobuf(bar: dict[str, Any]) -> None:
    body = varint(1 << 3) + varint(7) + block(2, in_protobuf(bar))
    assert read(226, (200 + 17).to_bytes(4, "big") + body)["bars"] == [bar]
    assert read(226, (200 + 90).to_bytes(4, "big") + body)["bar"] == bar


@pytest.mark.parametrize("version", [176, 200, 226])
@pytest.mark.parametrize("bar", BARS)
def test_a_server_says_nil_and_zero_so_that_they_are_told_apart(version: int, bar: dict[str, Any]) -> None:
    for name, data in (("historicalData", {"bars": [bar]}), ("historicalDataUpdate", {"bar": bar})):
        got = read(version, server(version).write(name, {"reqId": 7, **data})[4:])
        assert {key: got[key] for key in data} == data
