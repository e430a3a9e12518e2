"""Bytes that are as much work as possible for their length, made from the declarations.

A shape is a payload of about a wanted size. Every place of every message where the wire may have rows is filled with
rows that take the fewest bytes; a new message adds its own by being declared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec import proto
from ibbridge.codec.layout import Branch, Flagged, Loop, resolve
from ibbridge.codec.schema import Declaration, Field, Inline, Record, Tags, Union
from ibbridge.codec.types import Scalar
from tests.support.declared import BY_NAME, DECLARED, sides

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ibbridge.codec.layout import Step
    from ibbridge.codec.schema import Member, Path


class Place(NamedTuple):
    """Place of rows in a message: the path in its data (text), or the tags on the way (protobuf)."""

    name: str
    path: tuple[Any, ...]

    def __str__(self) -> str:
        return ".".join(map(str, (self.name, *self.path)))


# -- text ------------------------------------------------------------------------------------------------------------


def loops(steps: Sequence[Step], within: tuple[Branch | Flagged, ...] = ()) -> Iterator[tuple[Loop, tuple[Any, ...]]]:
    """Every count with rows, and the conditions under which it is on the wire. Not those inside of rows."""
    for step in steps:
        if isinstance(step, Loop):
            yield step, within
        elif isinstance(step, Branch | Flagged):
            yield from loops(step.steps, (*within, step))


TEXT_PLACES = [
    Place(each.name, loop.path)
    for each in DECLARED
    if each.layout is not None and each.exists(200) and not each.in_protobuf(200)
    for loop, _ in loops(resolve(each, 200))
]


def text_rows(place: Place, size: int, *, number: bytes, text: bytes) -> bytes:
    """Rows at `place` of about `size` bytes, whose numbers and texts are these."""
    declaration = BY_NAME[place.name]
    for loop, within in loops(resolve(declaration, 200)):
        if loop.path == place.path:
            one, two = (_fields(declaration, loop, within, rows) for rows in (1, 2))
            row = sum(len(_worst(each, number, text)) + 1 for each in two) - sum(
                len(_worst(each, number, text)) + 1 for each in one
            )
            fields = _fields(declaration, loop, within, max(size // row, 3))
            return b"%d\0" % declaration.id + b"".join(_worst(each, number, text) + b"\0" for each in fields)
    raise LookupError(place)


def _worst(field: bytes, number: bytes, text: bytes) -> bytes:
    return number if field in (b"0", b"2147483647", b"1.7976931348623157E308") else field or text


def _fields(declaration: Declaration, loop: Loop, within: Sequence[Any], rows: int) -> list[bytes]:
    data: dict[str, Any] = {}
    if declaration.kind:
        data[declaration.kind[0]] = min(declaration.kind[1])
    for step in within:
        if isinstance(step, Flagged):
            _put(data, step.path, {})
        else:
            for path, named in step.test.about.items():
                _put(data, path, named[0] if named else "1")
    _put(data, loop.path, [_row(loop.field)] * rows)
    payload = sides(declaration, 200)[0].put(declaration.name, data)[4:]
    return payload.split(b"\0")[1:-1]


def _row(field: Field) -> Any:
    if isinstance(field.type, Union):
        return {field.type.by.name: min(field.type.kinds)}
    if isinstance(field.type, Tags):
        return {"tag": "", "value": ""}
    return field.type.zero if isinstance(field.type, Scalar) else {}


def _put(data: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        data = data.setdefault(name, {})
    data.setdefault(path[-1], value)


# -- protobuf --------------------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def block(tag: int, content: bytes) -> bytes:
    """A field of length-delimited content: a text, a message or packed numbers."""
    return varint(tag << 3 | 2) + varint(len(content)) + content


def _repeated(members: Sequence[Member]) -> Iterator[tuple[tuple[int, ...], Field]]:
    for member in proto.tagged(members):
        if isinstance(member, Field) and (member.many or isinstance(member.type, Tags)):
            yield (member.tag,), member
        if isinstance(member, Inline) or isinstance(member.type, Record | Union):
            for tags, inner in _repeated(proto.nested(member)):
                yield (member.tag, *tags), inner


_REPEATED = {
    Place(each.name, tags): field
    for each in DECLARED
    if each.proto_since is not None
    for tags, field in _repeated(each.fields)
}
PROTO_PLACES = list(_REPEATED)


def place_field(place: Place) -> Field:
    """Return the field that is repeated at a place."""
    return _REPEATED[place]


def proto_rows(place: Place, size: int, row: bytes) -> bytes:
    """Rows with this content at `place`, of about `size` bytes; the keys of a map differ."""
    field, (*way, last) = _REPEATED[place], place.path
    if isinstance(field.type, Union):
        row = b"%c%c" % (field.type.by.tag << 3, min(field.type.kinds)) + row
    if isinstance(field.type, Tags):
        body = b"".join(block(last, block(1, _key(number))) for number in range(size // 8))
    else:
        body = block(last, row) * (size // len(block(last, row)))
    for tag in reversed(way):
        body = block(tag, body)
    return (BY_NAME[place.name].id + 200).to_bytes(4, "big") + body


def _key(number: int) -> bytes:
    """Short texts, all different."""
    key = bytearray()
    while number:
        key.append(number % 127 + 1)
        number //= 127
    return bytes(key)
