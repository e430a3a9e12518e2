"""How many rows a protobuf body may have for its length.

In text a row takes a byte for each of its fields. In protobuf a row of nothing takes two, and becomes a message of
protobuf's and a map with every key: four hundred bytes for a bar, more for a wider row, gigabytes for the largest
frame. So rows that no server has a reason to send are refused, and counted before anything is made of them: by a parser
that knows only where rows are, and nothing of what is in them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec import proto
from ibbridge.codec.schema import Field, Inline, Record, Union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ibbridge.codec.schema import Declaration, Member

UNCHECKED = 4096
"""Bodies up to this length are read without counting: whatever is in them takes little. An order is shorter."""

LEAST_ROW = 4
"""Bytes of a row with anything in it: its tag and length, and a tag and a value inside."""


class _Place(NamedTuple):
    """A field that has rows in it, or is one of them. `least`: what each of them takes."""

    member: Field | Inline
    least: int
    inner: tuple[_Place, ...]


def bounded(message: Declaration, read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """`read`, which now raises `ValueError` on too many rows first; `read` itself where a message has none."""
    places = tuple(_places(message.fields))
    if not places:
        return read
    outline = proto.message_class(replace(message, fields=tuple(map(_without_values, places)))).FromString

    def bounded_read(body: bytes) -> Any:
        if len(body) > UNCHECKED and (least := _taken(outline(body), places)) > len(body):
            raise ValueError(f"rows that take {least} bytes at the least, in {len(body)}")
        return read(body)

    return bounded_read


def _places(members: Sequence[Member]) -> Iterator[_Place]:
    for member in proto.tagged(members):
        many = isinstance(member, Field) and member.many
        if isinstance(member, Inline) or isinstance(member.type, Record | Union):
            fields = proto.nested(member)
            inner = tuple(_places(fields))
            if many or inner:
                # Half of its fields: most have a value, but some rows are wide and nearly empty.
                yield _Place(member, max(LEAST_ROW, len(fields) // 2) if many else 0, inner)


def _without_values(place: _Place) -> Any:
    """The same field, of which protobuf reads nothing but the rows inside."""
    inner = tuple(map(_without_values, place.inner))
    if isinstance(place.member, Inline):
        return replace(place.member, fields=inner)
    return replace(place.member, type=Record("rows", inner))


def _taken(m: Any, places: Sequence[_Place]) -> int:
    """Bytes that the rows in a message take at the least."""
    total = 0
    for member, least, inner in places:
        value = getattr(m, proto.attribute(member))
        if least:
            total += least * len(value)
        for each in value if least and inner else [value] if inner else []:
            total += _taken(each, inner)
    return total
