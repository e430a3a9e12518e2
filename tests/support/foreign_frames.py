"""Frames as others might write them: every spelling that a reader takes, not only that of our own writers.

`spelt` writes given data as text, each value in one of the ways that mean it. `scattered` makes protobuf bodies at the
level of bytes: fields in any order, absent or there with zero, twice, packed or not, with some that nobody knows.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, cast

from hypothesis import strategies as st

from ibbridge.codec import types as t
from ibbridge.codec.layout import Branch, Flagged, Length, Loop, SameSlot, Slot, SplitSlot, Step, resolve, sendable
from ibbridge.codec.proto import nested, tagged
from ibbridge.codec.schema import Const, Declaration, Field, Inline, Mask, Member, Path, Record, Tags, Union
from ibbridge.codec.text import compiled_test

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# -- text -------------------------------------------------------------------------------------------------------------

_UNSET_FLOATS = ["1.7976931348623157E308", "1.7976931348623157e+308"]
_ODD = st.sampled_from(["", "0", "7", "x", "2147483647"])  # where nothing is read


def spelt(draw: Any, declaration: Declaration, version: int, data: Mapping[str, Any]) -> list[str]:
    """Text fields, without the id, that say `data`."""
    return _Speller(draw).steps(resolve(declaration, version), data)


class _Speller:
    def __init__(self, draw: Any) -> None:
        self.draw = draw

    def one_of(self, spellings: Sequence[str]) -> str:
        return cast("str", self.draw(st.sampled_from(spellings)))

    def steps(self, steps: Sequence[Step], data: Mapping[str, Any]) -> list[str]:
        return [field for step in steps for field in self.step(step, data)]

    def step(self, step: Step, data: Mapping[str, Any]) -> list[str]:
        match step:
            case Const() | Length():
                return [self.draw(_ODD)]
            case Slot():
                return [self.slot(step, data)]
            case SplitSlot():
                return [self.date([_find(data, slot.path, "") for slot in step.slots])]
            case SameSlot():
                return [self.slot(step.slots[0], data)]
            case Branch():
                return self.steps(step.steps, data) if compiled_test(step.test)(data) else []
            case Flagged():
                if _find(data, step.path, None) is None:
                    return [self.one_of(["0", "", "00"])]
                return [self.one_of(["1", "2", "-1"]), *self.steps(step.steps, data)]
            case _:
                return self.loop(step, _find(data, step.path, []))

    def loop(self, step: Loop, rows: Sequence[Any]) -> list[str]:
        fields = [self.one_of([str(len(rows)), f"0{len(rows)}"] if rows else ["0", ""])]
        for row in rows:
            match step.field.type:
                case Union():
                    number = row[step.field.type.by.name]
                    fields += [str(number), *self.steps(step.kinds[number], row)]
                case Tags():
                    fields += [row["tag"], row["value"]]
                case Record():
                    fields += self.steps(step.steps, row)
                case kind:
                    fields.append(self.one_of(spellings(cast("t.Scalar", kind), row, blank=False)))
        return fields

    def date(self, parts: list[str]) -> str:
        while parts and not parts[-1]:
            parts.pop()
        joined = ["-".join(parts), *([" ".join(parts), "  ".join(parts)] if all(parts) else [])]
        return self.one_of(joined)

    def slot(self, slot: Slot, data: Mapping[str, Any]) -> str:
        value = _find(data, slot.path, slot.field.default)
        match slot.field.type:
            case Mask() as mask:
                return str(mask.dump(value) + (self.draw(st.integers(0, 3)) << len(mask.bits)))
            case Tags():
                pairs = [f"{each['tag']}={each['value']}" for each in value]
                return self.one_of([";".join(pairs) + ";" if pairs else "", ";".join(pairs), ";;".join([*pairs, ""])])
            case kind:
                return self.one_of(spellings(cast("t.Scalar", kind), value, blank=slot.blank))


def _find(data: Mapping[str, Any], path: Path, default: Any) -> Any:
    for name in path[:-1]:
        data = data.get(name) or {}
    return data.get(path[-1], default)


def spellings(kind: t.Scalar, value: Any, *, blank: bool) -> list[str]:
    """The texts that mean `value`. An empty one means zero, or unset where the layout says so (`blank`)."""
    zero, unset = ([], [""]) if blank else ([""], [])
    if kind in (t.INT, t.FLAG, t.DATE, t.LONG, t.WHOLE):
        if value is None:
            return [*unset, "2147483647", *(["9223372036854775807"] if kind is t.LONG else [])]
        number = int(value)
        return [str(number), f"{number:+}", f" {number}", f"{number:05}", *([] if number else zero)]
    if kind is t.DECIMAL:
        return sorted(t.UNSET_DECIMALS) if value is None else _floats(value)
    if kind.name == "computed":
        return (
            [kind.unset, f"{kind.unset}.0", *_UNSET_FLOATS]
            if value is None
            else [*_floats(value), *([] if value else [""])]
        )
    if (kind.proto in ("double", "int32") and kind.name in ("float", "whole")) or kind is t.TICK:
        return [*unset, *_UNSET_FLOATS] if value is None else [*_floats(value), *([] if value else zero)]
    return _word_spellings(kind, value, zero, unset)


def _word_spellings(kind: t.Scalar, value: Any, zero: list[str], unset: list[str]) -> list[str]:
    if kind is t.WORD:
        return ["true", "TRUE", "True", "1"] if value else ["false", "False", "0", ""]
    if kind is t.CONNECTOR:
        return ["a"] if value else ["o", "", "x"]
    if kind.name == "bool":
        return unset if value is None else ["1", "2", "-1", "01"] if value else ["0", "00", *zero]
    if kind is t.ESCAPED:
        units = value.encode("utf-16-be")
        escaped = "".join(f"\\u{high:02x}{low:02X}" for high, low in zip(units[::2], units[1::2], strict=True))
        return [t.escape(value), escaped]
    if kind.known:
        return [value] if value else ["", "zzz"]
    if kind.name == "amount":
        return [value] if value else ["", *_UNSET_FLOATS]
    return [value]


def _floats(value: float) -> list[str]:
    if math.isinf(value):
        return ["Infinity", "inf", "1e999"] if value > 0 else ["-Infinity", "-inf", "-1e999"]
    if math.isnan(value):
        return ["NaN", "nan"]
    return [repr(value), f"{value:.16e}", f"{value:.16E}", f" {value!r}", t.number_text(value)]


# -- protobuf ---------------------------------------------------------------------------------------------------------

_INT32S = st.sampled_from([0, 1, 2, 3, 7, -1, t.UNSET_INT, -(2**31)]) | st.integers(-(2**31), 2**31 - 1)
_INT64S = st.sampled_from([0, 1, t.UNSET_INT, t.UNSET_LONG, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
_DOUBLES = st.sampled_from([0.0, -0.0, 1.0, 100.0, -1.0, -2.0, math.inf, math.nan, t.UNSET_FLOAT]) | st.floats()
_NUMBERS = st.sampled_from(
    ["", "0", "1.0", "1e0", "-0", "100.50", "2147483647", *_UNSET_FLOATS, "1e-7", "Infinity", "7"]
)
_STRINGS = st.sampled_from(
    ["", "AAPL", "café", r"\u00e9", r"\u0000", "BAG", "PEG BENCH", "PEG BEST", "FUND", "N", "000", "zzz", "a=b;c",
     "20261218", "20261218 08:30:00", "20261218-08:30:00-US/Central", " ", "-08:30:00", "a\0b"]
) | st.text(max_size=4)  # fmt: skip

_BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "int32": _INT32S,
    "int64": _INT64S,
    "double": _DOUBLES,
    "string": _STRINGS,
    "bool": st.booleans(),
}


def scattered(draw: Any, declaration: Declaration, version: int) -> bytes:
    """A protobuf body with some of the fields of `declaration`."""
    kind = {declaration.kind[0]: sorted(declaration.kind[1])} if declaration.kind else {}
    return _Scatterer(draw, declaration, version).message(declaration.fields, kind)


class _Scatterer:
    def __init__(self, draw: Any, declaration: Declaration, version: int) -> None:
        self.draw = draw
        self.declaration = declaration
        self.version = version

    def message(self, given: Sequence[Member], only: Mapping[str, Sequence[int]]) -> bytes:
        """`only` are fields that must be there, with one of these values."""
        members = [each for each in tagged(given) if sendable(self.declaration, each, self.version)]
        must = [each for each in members if isinstance(each, Field) and each.name in only]
        chosen = self.draw(st.lists(st.integers(0, len(members) - 1), max_size=6)) if members else []
        parts = [self.field(each, only) for each in (*(members[index] for index in chosen), *must)]
        unknown = [_tagged(500, "int32", 7)] if self.draw(st.booleans()) else []
        return b"".join((*unknown, *parts))

    def field(self, member: Field | Inline, only: Mapping[str, Sequence[int]]) -> bytes:
        kind = None if isinstance(member, Inline) else member.type
        if isinstance(kind, t.Scalar) or (isinstance(kind, Mask) and not kind.message):
            return self.plain(cast("Field", member), kind, only)
        if isinstance(kind, Tags):
            pairs = [
                _tagged(number, "string", self.draw(_STRINGS)) for number in (1, 2) if self.draw(st.integers(0, 3))
            ]
            return _block(member.tag, b"".join(pairs))
        if isinstance(kind, Union):
            only = {kind.by.name: [self.draw(st.sampled_from(sorted(kind.kinds)))]}
            return _block(member.tag, self.message(nested(member), only))
        return _block(member.tag, self.message(nested(member), {}))

    def plain(self, field: Field, kind: t.Scalar | Mask, only: Mapping[str, Sequence[int]]) -> bytes:
        proto = kind.proto if isinstance(kind, t.Scalar) else "int32"
        values = st.sampled_from(only[field.name]) if field.name in only else _values(kind, proto)
        if field.many and proto != "string" and self.draw(st.booleans()):  # packed
            packed = (_plain(proto, each) for each in self.draw(st.lists(values, max_size=3)))
            return _block(field.tag, b"".join(packed))
        return _tagged(field.tag, proto, self.draw(values))


def _values(kind: t.Scalar | Mask, proto: str) -> st.SearchStrategy[Any]:
    if kind in (t.DECIMAL, t.TICK):
        return _NUMBERS
    if kind is t.DATE:
        return st.sampled_from(["", "0", "20261218", "007"])
    return _BY_TYPE[proto]


_WIRE_TYPES = {"int32": 0, "int64": 0, "bool": 0, "double": 1, "string": 2}


def _tagged(number: int, proto: str, value: Any) -> bytes:
    if proto == "string":
        return _block(number, value.encode())
    return _varint(number << 3 | _WIRE_TYPES[proto]) + _plain(proto, value)


def _block(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _plain(proto: str, value: Any) -> bytes:
    return struct.pack("<d", value) if proto == "double" else _varint(int(value) & (2**64 - 1))


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
