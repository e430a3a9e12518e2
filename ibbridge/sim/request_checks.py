"""Checks of a request before any other part reads it: no more than IB's own clients could have meant.

A client may send any values that fit into a frame. This module rejects numbers that fit into no field, a NUL inside a
text, and texts that only fill memory. So every response that repeats a request's values can be encoded, for this client
and for another client that is told of the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec import types as t
from ibbridge.codec.schema import Field, Mask, Record, Tags, Union

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibbridge.codec.schema import Declaration

LONGEST = 1_000_000
"""Limit of the characters in all texts of a request; a row counts as 16."""

_ROW = 16
_BITS = {t.INT: 31, t.LONG: 63, t.FLAG: 31, t.DATE: 31}


def unreadable(declaration: Declaration, args: Mapping[str, Any]) -> str | None:
    """Return the reason why a request must be rejected; None if the request is readable."""
    weight = 0
    for field, value in _values(declaration.shape, args):
        if isinstance(value, str):
            weight += len(value)
            if "\0" in value:
                return _unable(field)
        elif isinstance(value, int):
            bits = _BITS.get(field.type) if isinstance(field.type, t.Scalar) else None
            if bits is not None and not -(1 << bits) <= value < 1 << bits:
                return _unable(field)
        else:
            weight += _ROW
    return None if weight <= LONGEST else "The message is too long"


def _unable(field: Field) -> str:
    return f"Unable to parse field: '{field.name}'"


def _values(record: Record, given: Mapping[str, Any]) -> Iterator[tuple[Field, Any]]:
    """Yield every value of a record with its field, including nested records and rows; a row yields None first."""
    for field in record.shape:
        value = given.get(field.name)
        if value is None:
            continue
        kind = field.type
        if not field.many and not isinstance(kind, Tags):
            yield from _inside(field, kind, value)
            continue
        for row in value:
            yield field, None
            if isinstance(kind, Tags):
                yield from ((field, row[name]) for name in ("tag", "value"))
            elif isinstance(kind, Union):
                yield from _values(kind.kinds[row[kind.by.name]], row)
            else:
                yield from _inside(field, kind, row)


def _inside(field: Field, kind: Any, value: Any) -> Iterator[tuple[Field, Any]]:
    if isinstance(kind, Record):
        yield from _values(kind, value)
    elif not isinstance(kind, Mask):
        yield field, value
