"""The shape of a frame: which of its fields are there, and of what kind each is, whatever its value.

A shape maps places (`order.lmtPrice`, `contract.comboLegs[].ratio`, `surplus[3]` past the last field that is known) to
kinds. Of the rows of a list every different shape is kept, in order. Absent fields have no place in protobuf, and are
`empty` in text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.unknown_fields import UnknownFieldSet

from ibbridge.codec import Dialect, Message
from ibbridge.codec.layout import Branch, Flagged, Length, Loop, SameSlot, Slot, SplitSlot, Step, resolve
from ibbridge.codec.messages import MESSAGES
from ibbridge.codec.proto import attribute, message_class, nested, tagged, union_fields
from ibbridge.codec.schema import Const, Inline, Mask, Record, Tags, Union
from ibbridge.codec.text import compiled_test

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Shape: TypeAlias = "dict[str, set[str]]"

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_UNSET = ("2147483647", "9223372036854775807", "-9223372036854775808", "1.7976931348623157E308")
_WORDS = ("None", "?")
RAW_IDS, PROTOBUF_IDS = 201, 200


def kind(text: str) -> str:
    """Return the kind of a text: `empty`, a sentinel itself, `zero`, `number`, a word for none, `text`."""
    if text in _UNSET or text in _WORDS:
        return text
    if not text:
        return "empty"
    if _NUMBER.fullmatch(text):
        return "number" if float(text) else "zero"
    return "text"


def value_kind(value: Any) -> str:
    """The same for a value of protobuf."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        text = "1.7976931348623157E308" if value == 1.7976931348623157e308 else str(value)
        return kind(text)
    return kind(value)


def name_of(payload: bytes, version: int) -> str:
    """The name of the message in a payload."""
    found = Dialect.client(version).read(payload)
    assert isinstance(found, Message), found
    return found.name


def shape_of(payload: bytes, version: int) -> Shape:
    """The shape of a payload (without its length)."""
    found = Dialect.client(version).read(payload)
    assert isinstance(found, Message), found
    shape: Shape = {}
    places = _places(payload, version, found)
    for place, what in places:
        shape.setdefault(place, set()).add(what)
    return shape


def _places(payload: bytes, version: int, found: Message) -> Iterator[tuple[str, str]]:
    message = MESSAGES[found.name]
    if version >= RAW_IDS and int.from_bytes(payload[:4], "big") > PROTOBUF_IDS:
        yield from _protobuf(message_class(message).FromString(payload[4:]), message.fields, "")
        return
    body = payload[4:] if version >= RAW_IDS else payload.partition(b"\0")[2]
    fields = iter(body.decode("utf-8", "replace").split("\0")[:-1])
    yield from _text(resolve(message, version), fields, found.data, "")
    for number, left in enumerate(fields):
        yield f"surplus[{number}]", kind(left)


# -- text ------------------------------------------------------------------------------------------------------------


def _text(
    steps: Sequence[Step], fields: Iterator[str], data: Mapping[str, Any], under: str
) -> Iterator[tuple[str, str]]:
    for number, step in enumerate(steps):
        match step:
            case Const() | Length() | Slot() | SplitSlot() | SameSlot():
                yield under + _place(step, number), kind(next(fields))
            case Branch():
                if compiled_test(step.test)(data):
                    yield from _text(step.steps, fields, data, under)
            case Flagged():
                flag = next(fields)
                yield f"{under}{'.'.join(step.path)}(flag)", kind(flag)
                if kind(flag) == "number":
                    yield from _text(step.steps, fields, data, under)
            case Loop():
                yield from _rows(step, fields, under)


def _place(step: Step, number: int) -> str:
    match step:
        case Length():
            return f"{'.'.join(step.path)}(rows)"
        case Slot():
            return ".".join(step.path) + ("(again)" if step.again else "")
        case SplitSlot() | SameSlot():
            return ".".join(step.slots[0].path)
    return f"({number})"


def _rows(step: Loop, fields: Iterator[str], under: str) -> Iterator[tuple[str, str]]:
    place = f"{under}{'.'.join(step.path)}"
    count = next(fields)
    yield f"{place}(rows)", kind(count)
    for _ in range(int(count or 0)):
        if isinstance(step.field.type, Union):
            number = int(next(fields))
            yield from _text(step.kinds[number], fields, {}, f"{place}[{number}].")
        elif isinstance(step.field.type, Record):
            yield from _text(step.steps, fields, {}, f"{place}[].")
        elif isinstance(step.field.type, Tags):
            yield f"{place}[].tag", kind(next(fields))
            yield f"{place}[].value", kind(next(fields))
        else:
            yield f"{place}[]", kind(next(fields))


# -- protobuf --------------------------------------------------------------------------------------------------------


def _protobuf(m: Any, members: Sequence[Any], under: str) -> Iterator[tuple[str, str]]:
    by_attribute = {attribute(each): each for each in tagged(members)}
    for descriptor, value in m.ListFields():
        member = by_attribute[descriptor.name]
        place = under + ("(inline)" if isinstance(member, Inline) else member.name)
        if isinstance(member, Inline):
            yield from _protobuf(value, member.fields, f"{place}.")
            continue
        rows, mark = (value, "[]") if member.many else ([value], "")
        for row in rows:
            yield from _value(row, member, place + mark)
    for left in _unknown(m):
        yield f"{under}surplus[{left.field_number}]", "unknown"


def _unknown(m: Any) -> Any:
    """The fields of a message that no declaration has. (The package declares them as not iterable.)"""
    return UnknownFieldSet(m)


def _value(row: Any, member: Any, place: str) -> Iterator[tuple[str, str]]:
    type_ = member.type
    if isinstance(type_, Tags):
        for tag in row if isinstance(row, str) else [*row]:
            yield f"{place}.tag", kind(tag)
    elif isinstance(type_, Union):
        yield from _protobuf(row, tuple(union_fields(type_).values()), f"{place}.")
    elif isinstance(type_, Record) or (isinstance(type_, Mask) and type_.message):
        yield place, "record"
        yield from _protobuf(row, nested(member), f"{place}.")
    else:
        yield place, value_kind(row)


# -- comparing -------------------------------------------------------------------------------------------------------


def differences(gateway: Shape, simulator: Shape) -> list[str]:
    """Return a line for each place that differs. A list of the simulator may have fewer kinds of rows."""
    lines = []
    for place in dict.fromkeys((*gateway, *simulator)):
        there, here = gateway.get(place), simulator.get(place)
        if there == here or (here and there and "[" in place and here <= there):
            continue
        lines.append(f"{place}: {_said(there)} at a gateway, {_said(here)} here")
    return lines


def _said(kinds: set[str] | None) -> str:
    return "absent" if kinds is None else " or ".join(sorted(kinds))
