"""Limit on the rows of a protobuf body, by the length of the body.

In text a row takes a byte for each of its fields. In protobuf an empty row takes two bytes, and becomes a protobuf
message and a map with every key: four hundred bytes for a bar, more for a wider row, gigabytes for the largest frame.
So a body with more rows than a server has reason to send is refused. The rows are counted before any of them is built,
by a parser that knows only where rows are, and nothing of their content.
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
"""Longest body, in bytes, that is read without counting: its rows cannot take much memory. An order is shorter."""

LEAST_ROW = 4
"""Fewest bytes of a row that is not empty: its tag and length, and a tag and a value inside."""


class _Place(NamedTuple):
    """Field that holds rows, or is a list of rows. `least`: bytes that each row takes at least (0: no list)."""

    member: Field | Inline
    least: int
    inner: tuple[_Place, ...]


def bounded(message: Declaration, read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return `read` behind a check that raises `ValueError` on too many rows; `read` itself if no field has rows."""
    places = tuple(_places(message.fields))
    if not places:
        return read
    outline = proto.message_class(replace(message, fields=tuple(map(_without_values, places)))).FromString

    def bounded_read(body: bytes) -> Any:
        if len(body) > UNCHECKED and (least := _taken(outline(body), places)) > len(body):
            raise ValueError(f"too many rows: they take at least {least} bytes, and the body has {len(body)}")
        return read(body)

    return bounded_read


def _places(members: Sequence[Member]) -> Iterator[_Place]:
    for member in proto.tagged(members):
        many = isinstance(member, Field) and member.many
        if isinstance(member, Inline) or isinstance(member.type, Record | Union):
            fields = proto.nested(member)
            inner = tuple(_places(fields))
            if many or inner:
                # Half of a row's fields: most have a value, but some rows are wide and nearly empty.
                yield _Place(member, max(LEAST_ROW, len(fields) // 2) if many else 0, inner)


def _without_values(place: _Place) -> Any:
    """Return the same field, reduced to the rows inside: protobuf parses nothing else of it."""
    inner = tuple(map(_without_values, place.inner))
    if isinstance(place.member, Inline):
        return replace(place.member, fields=inner)
    return replace(place.member, type=Record("rows", inner))


def _taken(m: Any, places: Sequence[_Place]) -> int:
    """Return how many bytes the rows in a message take at least."""
    total = 0
    for member, least, inner in places:
        value = getattr(m, proto.attribute(member))
        if least:
            total += least * len(value)
        for row in value if least and inner else [value] if inner else []:
            total += _taken(row, inner)
    return total
