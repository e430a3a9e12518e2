"""Diagnosis of an unreadable payload: the field that contradicts the declaration, and the values that can be read.

Readers are made for speed, and say only that something is wrong. This module walks a payload that no reader could read,
field by field, so that the client that sent the request can be told more. It accepts any bytes without raising, and its
work is bounded: it stops after `MOST_FIELDS` fields.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from struct import error as StructError  # noqa: N812 - `error` says too little
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ibbridge.codec import proto
from ibbridge.codec.codegen import SourceWriter
from ibbridge.codec.layout import Branch, Flagged, Length, Loop, SameSlot, Slot, SplitSlot, resolve
from ibbridge.codec.passthrough import pack
from ibbridge.codec.row_limits import bounded
from ibbridge.codec.schema import Const, Declaration, Field, Inline, Member, Path, Record, Spread, Tags, Union
from ibbridge.codec.text import compiled_test
from ibbridge.codec.types import FLAGS, INTS, NAMESPACE, Scalar, split_date
from ibbridge.codec.versions import raw_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ibbridge.codec.encoding import TextEncoding
    from ibbridge.codec.layout import Step

MOST_FIELDS = 10_000
"""Most fields to look at: the message is lost anyway, and a hostile one may have millions."""

LONGEST = 1 << 20
"""Longest protobuf body, in bytes, that is parsed once more for its diagnosis."""

UNREADABLE = (ValueError, LookupError, TypeError, OverflowError, StructError, proto.DecodeError)
"""Exceptions that readers raise on a body that contradicts the declaration."""


class Diagnosis(NamedTuple):
    """Path of the first field at fault (None: no single field is), and the readable values outside of lists."""

    field: str | None
    known: Mapping[str, Any]


def of_text(message: Declaration, version: int, body: bytes, encoding: TextEncoding) -> Diagnosis:
    """Return the diagnosis of a body in text. Below version 201 the body begins with the message's id."""
    if message.layout is None:
        return Diagnosis(None, {})
    return _TextWalk(message, version, body, encoding).diagnosis()


def of_protobuf(message: Declaration, body: bytes) -> Diagnosis:
    """Return the diagnosis of a body in protobuf."""
    if message.proto_since is None:
        return Diagnosis(None, {})
    if len(body) <= LONGEST:
        try:
            diagnosis: Diagnosis = bounded(message, _ProtoWalk(message).diagnosis)(body)
            return diagnosis
        except UNREADABLE:  # not protobuf, or more rows than its length has room for
            pass
    tagged = proto.tagged(message.fields)
    numbers = {member.tag: member.name for member in tagged if isinstance(member, Field) and _is_integer(member)}
    return Diagnosis(None, _known({numbers[tag]: value for tag, value in _integers(body) if tag in numbers}))


def _known(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that can be published and are in no list."""
    known = {name: _known(value) if isinstance(value, dict) else value for name, value in data.items()}
    return {name: value for name, value in known.items() if not isinstance(value, list) and _fits(value)}


def _fits(value: Any) -> bool:
    """Return True if `value` is set and msgpack has room for it."""
    try:
        pack(value)
    except OverflowError:
        return False
    return value is not None


# -- text ------------------------------------------------------------------------------------------------------------


class _OverError(Exception):
    """End of the walk: nothing more can be read."""


class _TextWalk:
    """Walk over one body in text, field by field."""

    def __init__(self, message: Declaration, version: int, body: bytes, encoding: TextEncoding) -> None:
        self._message = message
        self._steps = resolve(message, version)
        self._fields = body.split(b"\0", MOST_FIELDS)[:-1]  # no field follows the last NUL
        self._count = body.count(b"\0")
        self._text = encoding.text
        self._place = 0 if raw_ids(version) else 1
        self._fault: Path | None = None
        self._data: dict[str, Any] = {}

    def diagnosis(self) -> Diagnosis:
        with suppress(_OverError):
            self._walk(self._steps, self._data, ())
        return Diagnosis(".".join(self._fault) if self._fault else None, _known(self._data))

    def _blame(self, path: Path) -> None:
        self._fault = self._fault or path

    def _next(self, path: Path) -> str:
        if self._place >= self._count:
            self._blame(path)
        if self._place >= len(self._fields):
            raise _OverError
        self._place += 1
        return self._text(self._fields[self._place - 1])

    def _walk(  # noqa: C901 - one case for each kind of step
        self, steps: Sequence[Step], data: dict[str, Any], under: Path
    ) -> None:
        for step in steps:
            match step:
                case Const():
                    self._next(under)
                case Length():
                    self._next((*under, *step.path))
                case Slot():
                    self._slot(step, data, under)
                case SplitSlot():
                    parts = split_date(self._next((*under, *step.slots[0].path)), len(step.slots))
                    for slot, part in zip(step.slots, parts, strict=True):
                        _put(data, slot.path, part)
                case SameSlot():
                    self._slot(step.slots[0], data, under)
                case Branch():
                    if self._holds(step, data):
                        self._walk(step.steps, data, under)
                case Flagged():
                    if self._load(FLAGS.__getitem__, (*under, *step.path)):
                        self._walk(step.steps, data, under)
                case _:
                    self._loop(step, data, (*under, *step.path))

    @staticmethod
    def _holds(step: Branch, data: Mapping[str, Any]) -> bool:
        try:
            return bool(compiled_test(step.test)(data))
        except UNREADABLE:  # a value that the test looks at could not be read
            raise _OverError from None

    def _slot(self, step: Slot, data: dict[str, Any], under: Path) -> None:
        kind, path = step.field.type, (*under, *step.path)
        if isinstance(kind, Tags):
            self._next(path)
        elif isinstance(kind, Scalar):
            _put(data, step.path, self._load(_loader(kind, blank=step.blank), path))
        else:
            self._load(INTS.__getitem__, path)

    def _load(self, load: Callable[[str], Any], path: Path) -> Any:
        text = self._next(path)
        try:
            return load(text)
        except UNREADABLE:
            self._blame(path)
            return None

    def _loop(self, step: Loop, data: dict[str, Any], path: Path) -> None:
        count = self._load(lambda text: int(text or 0), path)
        if count is None or not 0 <= count <= self._count - self._place:
            self._blame(path)
            raise _OverError  # the end of the rows is unknown
        _put(data, step.path, [self._row(step, (*path, str(index))) for index in range(count)])

    def _row(self, step: Loop, path: Path) -> Any:
        kind, row = step.field.type, dict[str, Any]()
        if isinstance(kind, Union):
            number = self._load(lambda text: int(text or 0), (*path, kind.by.name))
            if number not in step.kinds:
                self._blame((*path, kind.by.name))
                raise _OverError
            self._walk(step.kinds[number], row, path)
        elif isinstance(kind, Record):
            self._walk(step.steps, row, path)
        elif isinstance(kind, Tags):
            self._next(path)
            self._next(path)
        else:
            return self._load(_loader(cast("Scalar", kind), blank=False), path)
        return row


@cache
def _loader(kind: Scalar, *, blank: bool) -> Callable[[str], Any]:
    """Return a function from a field's text to its value. `blank`: an empty field is unset."""
    source = SourceWriter()
    with source.block("def load(text):"):
        source.line(f"return {(kind.load_unset if blank else kind.load).format(x='text')}")
    made: Callable[[str], Any] = source.compile(f"load {kind.name}", "load", NAMESPACE)
    return made


def _put(data: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        inner = data.get(name)
        if not isinstance(inner, dict):
            inner = data[name] = {}
        data = inner
    data[path[-1]] = value


# -- protobuf --------------------------------------------------------------------------------------------------------


def _is_integer(field: Field) -> bool:
    return isinstance(field.type, Scalar) and field.type.proto in ("int32", "int64") and not field.many


class _ProtoWalk:
    """Walk over one body in protobuf, field by field."""

    def __init__(self, message: Declaration) -> None:
        self._message = message
        self._fault: Path | None = None
        self._left = MOST_FIELDS

    def diagnosis(self, body: bytes) -> Diagnosis:
        data: dict[str, Any] = {}
        self._walk(self._message.fields, proto.message_class(self._message).FromString(body), data, ())
        return Diagnosis(".".join(self._fault) if self._fault else None, _known(data))

    def _walk(self, members: Sequence[Member], m: Any, data: dict[str, Any], under: Path) -> None:
        table = dict(_by_tag(members, under))
        for descriptor, value in m.ListFields():
            if descriptor.number in table:
                member, path = table[descriptor.number]
                self._member(member, value, data, path)

    def _member(self, member: Field | Inline, value: Any, data: dict[str, Any], path: Path) -> None:
        self._left -= 1
        if self._left < 0:
            return
        if isinstance(member, Inline):
            self._walk(member.fields, value, data, path)
        elif member.many:
            for index, element in enumerate(value):
                self._one(member, element, (*path, str(index)))
        elif isinstance(member.type, Record):
            inner: dict[str, Any] = {}
            self._walk(member.type.fields, value, inner, path)
            _put(data, member.path, inner)
        else:
            _put(data, member.path, self._one(member, value, path))

    def _one(self, field: Field, value: Any, path: Path) -> Any:
        kind = field.type
        self._left -= 1
        if self._left < 0:
            return None
        if isinstance(kind, Record):
            self._walk(kind.fields, value, {}, path)
        elif isinstance(kind, Union):
            number = getattr(value, proto.attribute(kind.by))
            if number in kind.kinds:
                self._walk(kind.kinds[number].fields, value, {}, path)
            else:
                self._fault = self._fault or (*path, kind.by.name)
        elif isinstance(kind, Scalar) and kind.from_proto is not None:
            try:
                return kind.from_proto(value)
            except UNREADABLE:
                self._fault = self._fault or path
                return None
        return value if isinstance(kind, Scalar) else None


def _by_tag(members: Sequence[Member], under: Path) -> Iterator[tuple[int, tuple[Field | Inline, Path]]]:
    for member in members:
        if isinstance(member, Spread):
            yield from _by_tag(member.record.fields, (*under, member.name))
        elif member.tag:
            yield member.tag, (member, under if isinstance(member, Inline) else under + member.path)


def _integers(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield tag and value of the integers at the top of a protobuf body, up to where the body is damaged."""
    place = 0
    for _ in range(MOST_FIELDS):
        key, place = _varint(body, place)
        if key is None:
            return
        wire = key & 7
        if wire == 0:
            number, place = _varint(body, place)
            if number is None:
                return
            yield key >> 3, number - (1 << 64) if number >> 63 else number
        elif wire == 2:
            length, place = _varint(body, place)
            if length is None:
                return
            place += length
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        else:
            return


def _varint(body: bytes, place: int) -> tuple[int | None, int]:
    """Return an integer and the place behind it. The integer is None if there is none."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(body):
            return None, place
        byte = body[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return (number, place) if number < 1 << 64 else (None, place)
    return None, place
