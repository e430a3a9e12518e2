"""Flat messages, packed straight from the wire to msgpack without a dict between.

Ticks are nearly all of the traffic, and no part of the daemon looks inside them. For a flat declaration (scalars and
masks, keyed by a request id) this module generates a function that joins packed names and packed values; an id or a
size that was met before costs one look-up. The result equals the packed dict of the reader: a test compares the two for
every declaration and version. The function raises what readers raise.

Messages that are not flat are read the ordinary way.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgpack

from ibbridge.codec import proto
from ibbridge.codec.codegen import SourceWriter
from ibbridge.codec.layout import Slot, resolve
from ibbridge.codec.schema import Const, Declaration, Field, Inline, Mask, Path
from ibbridge.codec.text import TooShort
from ibbridge.codec.types import (
    DECIMAL,
    FLOAT,
    GREEK,
    INTS,
    LONGEST_CACHED,
    LONGEST_SIZE,
    MODEL_PRICE,
    MOST_CACHED,
    NAMESPACE,
    VOLATILITY,
    Scalar,
)
from ibbridge.codec.versions import raw_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pack: Callable[[Any], bytes] = msgpack.Packer().pack


Packed: TypeAlias = "tuple[str, int | None, Any, bytes]"
"""Message that is packed already: its name, its key, the value of its identity (`()`: it has a single value; None: it
is an event), and its data. A plain tuple, because making any other object would cost as much as a field."""


_FRESH = (FLOAT, VOLATILITY, GREEK, MODEL_PRICE)
"""Types that are packed each time: prices move, and the results of models never repeat. Remembering a value costs as
much as packing it six times, which pays only if nine in ten values are met again."""


class _Known(dict[Any, bytes]):
    """Cache of values on the wire to msgpack. A full cache is emptied, because sizes move on.

    Texts longer than `longest` are not cached.
    """

    def __init__(self, load: Callable[[Any], Any], longest: int = LONGEST_CACHED) -> None:
        super().__init__()
        self._load = load
        self._longest = longest

    def __missing__(self, value: Any) -> bytes:
        packed = pack(self._load(value))
        if type(value) is not str or len(value) <= self._longest:
            if len(self) >= MOST_CACHED:
                self.clear()
            self[value] = packed
        return packed


@cache
def _known_text(kind: Scalar | Mask, *, blank: bool) -> _Known:
    """Return the cache for texts of this kind. `blank`: an empty text is unset."""
    if isinstance(kind, Mask):
        return _Known(lambda text: kind.load(INTS[text] or 0))
    source = SourceWriter()
    with source.block("def load(t):"):
        source.line(f"return {(kind.load_unset if blank else kind.load).format(x='t')}")
    return _Known(source.compile(f"load {kind.name}", "load", NAMESPACE), _longest(kind))


@cache
def _known_value(kind: Scalar | Mask) -> _Known:
    """Return the cache for protobuf's values of this kind."""
    if isinstance(kind, Mask):
        return _Known(kind.load)
    return _Known(kind.from_proto or (lambda value: value), _longest(kind))


def _longest(kind: Scalar) -> int:
    return LONGEST_SIZE if kind is DECIMAL else LONGEST_CACHED


def is_flat(message: Declaration) -> bool:
    """Return True if the message can be packed without a dict between."""
    single = message.identity is None or len(message.identity) <= 1
    scalars = all(isinstance(field.type, Scalar | Mask) and not field.many for field in message.shape.shape)
    return message.key is not None and scalars and single and message.swap is None


def text_packer(
    message: Declaration, version: int, over: Callable[[int], None]
) -> Callable[[list[str]], Packed] | None:
    """Return a function from text fields to a packed message, or None if the layout is not flat."""
    if not is_flat(message) or not all(isinstance(step, Slot | Const) for step in resolve(message, version)):
        return None
    made: Callable[[list[str]], Packed] = _text_source(message, version)(over)
    return made


@cache
def _text_source(message: Declaration, version: int) -> Any:
    steps = resolve(message, version)
    start = 0 if raw_ids(version) else 1
    slots = {step.path: (step, f"f[{i}]") for i, step in enumerate(steps, start) if isinstance(step, Slot)}
    emit = _PackEmitter(message)
    with emit.source.block("def make(over):"):
        with emit.source.block("def packed(f):"):
            end = start + len(steps)
            with emit.source.block(f"if len(f) != {end + 1}:"):
                with emit.source.block(f"if len(f) <= {end}:"):
                    emit.source.line(f"raise TooShort(f'{{len(f) - 1}} fields, not {end}')")
                emit.source.line(f"over(len(f) - {end + 1})")
            emit.result(lambda field: _from_text(emit, field, slots), lambda path: _text_value(slots, path))
        emit.source.line("return packed")
    return emit.source.compile(f"pack {message.name} v{version}", "make", {**NAMESPACE, "TooShort": TooShort})


def _text_value(slots: dict[Path, tuple[Slot, str]], path: Path) -> str:
    step, text = slots[path]
    kind = cast("Scalar", step.field.type)
    return (kind.load_unset if step.blank else kind.load).format(x=text)


def _from_text(emit: _PackEmitter, field: Field, slots: dict[Path, tuple[Slot, str]]) -> str | None:
    """Return the expression for a packed value; None if the field is not on the wire at this version."""
    if field.path not in slots:
        return None
    step, text = slots[field.path]
    kind = cast("Scalar | Mask", step.field.type)
    if isinstance(kind, Scalar) and (kind.load == "{x}" or kind in _FRESH):
        return f"pack({_text_value(slots, field.path)})"
    return f"{emit.source.constant('known', _known_text(kind, blank=step.blank))}[{text}]"


def proto_packer(message: Declaration) -> Callable[[bytes], Packed] | None:
    """Return a function from a protobuf body to a packed message, or None if the message is not flat."""
    if not is_flat(message):
        return None
    made: Callable[[bytes], Packed] = _proto_source(message)
    return made


@cache
def _proto_source(message: Declaration) -> Any:
    emit = _PackEmitter(message)
    places = dict(_places(message.fields, "m"))
    with emit.source.block("def packed(body):"):
        emit.source.line("m = parse(body)")
        for member in message.fields:
            if isinstance(member, Inline):
                emit.source.line(f"m{member.tag} = m.{proto.attribute(member)}")
        for field, m in places.values():
            emit.source.line(f"{_variable(field, m)} = {m}.{proto.attribute(field)}")
        emit.result(
            lambda each: _from_value(emit, each, places.get(each.path)),
            lambda path: proto.scalar_source(emit.source, *places[path], _variable(*places[path])),
        )
    parse = proto.message_class(message).FromString
    return emit.source.compile(f"pack {message.name} protobuf", "packed", {**NAMESPACE, "parse": parse})


def _places(members: Sequence[Any], m: str) -> Iterator[tuple[Path, tuple[Field, str]]]:
    """Yield each field's path, with the field and the variable of the protobuf message that holds it."""
    for member in members:
        if isinstance(member, Inline):
            yield from _places(member.fields, f"m{member.tag}")
        elif member.tag:
            yield member.path, (member, m)


def _variable(field: Field, m: str) -> str:
    """Return the local variable for a field's value in the protobuf message."""
    return f"{m}_{field.tag}"


def _from_value(emit: _PackEmitter, each: Field, place: tuple[Field, str] | None) -> str | None:
    if place is None:
        return None
    field, m = place
    kind, name = cast("Scalar | Mask", field.type), proto.attribute(field)
    value = _variable(field, m)
    if isinstance(kind, Mask) and kind.message:
        return f"pack({emit.source.constant('read', proto.value_reader(field))}({value}))"
    if kind in _FRESH:
        return f"pack({proto.scalar_source(emit.source, field, m, value)})"
    plain = isinstance(kind, Scalar) and kind.from_proto is None and kind.proto == "string"
    known = f"pack({value})" if plain else f"{emit.source.constant('known', _known_value(kind))}[{value}]"
    if isinstance(kind, Mask) or proto.absent_is_zero(field, kind):
        return known
    absent = emit.source.constant("absent", pack(field.absent))
    return f"({known} if {value} or {m}.HasField({name!r}) else {absent})"


class _PackEmitter:
    """Emitter of the end of a packer: key, identity, and the joined names and values."""

    def __init__(self, message: Declaration) -> None:
        self.message = message
        self.source = SourceWriter()
        self.source.shared("pack", pack)

    def result(self, packed: Callable[[Field], str | None], value: Callable[[Path], str]) -> None:
        """Emit the return. `packed` gives the expression of a field's packed value, `value` that of its plain value."""
        message, parts = self.message, []
        values: dict[Path, str] = {}

        def local(path: Path) -> str:
            """Return a variable that holds the value, which several expressions may need."""
            if path not in values:
                values[path] = self.source.name("v")
                self.source.line(f"{values[path]} = {value(path)}")
            return values[path]

        fields = message.shape.shape
        fixed = bytes([0x80 | len(fields)]) if len(fields) < 16 else b"\xde" + len(fields).to_bytes(2, "big")
        for field in fields:
            fixed += pack(field.name)
            expression = packed(field)
            if expression is None:
                fixed += pack(field.default)
                continue
            if field.only is not None:
                default = self.source.constant("default", pack(field.default))
                there = self.source.name("p")  # read even if not published: an unreadable value must raise
                self.source.line(f"{there} = {expression}")
                expression = f"({there} if {field.only.source(local)} else {default})"
            parts += [repr(fixed), expression]
            fixed = b""
        parts += [repr(fixed)] if fixed else []
        key = local((message.key or "",))
        identity = "None" if message.identity is None else "()"
        if message.identity:
            identity = local((message.identity[0],))
        joined = f"b''.join(({', '.join(parts)}))"
        self.source.line(f"return {message.name!r}, {key}, {identity}, {joined}")
