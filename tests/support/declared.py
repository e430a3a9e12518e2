"""Declarations to test, each at every version at which its form on the wire changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec import Dialect, proto, text
from ibbridge.codec.layout import edges
from ibbridge.codec.messages import INBOUND, OUTBOUND
from ibbridge.codec.schema import Declaration, Request
from ibbridge.codec.versions import raw_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DECLARED: tuple[Declaration, ...] = (*INBOUND, *OUTBOUND)

BY_NAME = {each.name: each for each in DECLARED}
"""Tests are parametrised by name: Hypothesis spells out its arguments, and an order is 70 kB of declaration."""

EDGES = [(each.name, version) for each in DECLARED for version in edges(each)]


def sides(declaration: Declaration, version: int) -> tuple[Dialect, Dialect]:
    """Return the dialects that write and read the message."""
    server, client = Dialect.server(version), Dialect.client(version)
    return (client, server) if isinstance(declaration, Request) else (server, client)


def payload(declaration: Declaration, version: int, data: Mapping[str, Any], *, protobuf: bool) -> bytes:
    """The message in the encoding that is asked for, whichever its version prefers: a reader goes by the id alone."""
    if protobuf:
        return (declaration.id + 200).to_bytes(4, "big") + proto.writer(declaration, version)(data)
    return framed(declaration, version, text.writer(declaration, version)(data))


def framed(declaration: Declaration, version: int, fields: list[str]) -> bytes:
    """Text fields with the id before them."""
    head = declaration.id.to_bytes(4, "big") if raw_ids(version) else b"%d\0" % declaration.id
    return head + "".join(f"{field}\0" for field in fields).encode()


def same(one: Any, other: Any) -> bool:
    """Equal in value and type, where a double that is no number equals itself."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))  # noqa: PLR0124 - NaN


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Yield the differences of two values that are not the `same`, for people."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in (*one, *(name for name in other if name not in one)):
            yield from differences(one.get(name, "<absent>"), other.get(name, "<absent>"), f"{where}.{name}")
    elif not same(one, other):
        yield f"{where}: {one!r} became {other!r}"
