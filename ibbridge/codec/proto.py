"""Protobuf readers and writers of a declaration, on top of the `protobuf` package.

Descriptors are built from the declarations when a message is first met; field names do not matter on the wire. A
message's own fields are read by generated source, because ticks are the hot path; records (an order has 145 fields, of
which twenty are there) are walked by the fields that are present.

A reader raises `DecodeError`, `ValueError` or `LookupError` on a body that contradicts the declaration. Unknown fields
are skipped, as protobuf requires.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeGuard, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from ibbridge.codec.codegen import SourceWriter
from ibbridge.codec.layout import sendable
from ibbridge.codec.schema import Declaration, Field, Inline, Mask, Member, Record, Request, Spread, Tags, Union
from ibbridge.codec.types import BOOL, DECIMAL, NAMESPACE, SENTINELS, Scalar, distinct

__all__ = ["DecodeError", "reader", "writer"]

Data = dict[str, Any]
Reader = Callable[[bytes], Data]
Writer = Callable[[Mapping[str, Any]], bytes]

_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int32": _F.TYPE_INT32,
    "int64": _F.TYPE_INT64,
    "double": _F.TYPE_DOUBLE,
    "string": _F.TYPE_STRING,
    "bool": _F.TYPE_BOOL,
}


# -- descriptors -----------------------------------------------------------------------------------------------------


class _Descriptors:
    """Message classes by declaration. Names need only be unique within the pool."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []  # declarations stay alive, so that no other object gets their id()

    def message_class(self, owner: Any, members: Sequence[Member]) -> type[ProtoMessage]:
        name = self._declare(owner, members)
        found = self._pool.FindMessageTypeByName(name)  # type: ignore[no-untyped-call, unused-ignore]
        return message_factory.GetMessageClass(found)

    def _declare(self, owner: Any, members: Sequence[Member]) -> str:
        if id(owner) in self._names:
            return self._names[id(owner)]
        name = f"M{len(self._names)}"
        self._names[id(owner)] = name
        self._kept.append(owner)
        file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="ib", syntax="proto3")
        message = file.message_type.add(name=name)
        for field in tagged(members):
            inner = self._add(message, field)
            if inner and f"{inner.removeprefix('ib.')}.proto" not in file.dependency:
                file.dependency.append(f"{inner.removeprefix('ib.')}.proto")
        self._pool.Add(file)  # type: ignore[no-untyped-call, unused-ignore]
        self._names[id(owner)] = f"ib.{name}"
        return f"ib.{name}"

    def _add(self, message: Any, member: Field | Inline) -> str | None:
        """Add one field. Return the full name of the message type that it needs, or None."""
        many = isinstance(member, Field) and member.many
        added = message.field.add(
            name=attribute(member), number=member.tag, label=_F.LABEL_REPEATED if many else _F.LABEL_OPTIONAL
        )
        kind = None if isinstance(member, Inline) else member.type
        if isinstance(kind, Tags):
            _as_map(message, added)
            return None
        if isinstance(kind, Scalar | Mask) and not (isinstance(kind, Mask) and kind.message):
            added.type = _SCALARS[kind.proto] if isinstance(kind, Scalar) else _F.TYPE_INT32
            if not many:
                added.proto3_optional = True
                added.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{added.name}")
            return None
        inner = self._declare(kind or member, nested(member))
        added.type, added.type_name = _F.TYPE_MESSAGE, f".{inner}"
        return inner


def _as_map(message: Any, added: Any) -> None:
    entry = message.nested_type.add(name=added.name[0].upper() + added.name[1:] + "Entry")
    entry.options.map_entry = True
    for number, part in enumerate(("key", "value"), 1):
        entry.field.add(name=part, number=number, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)
    added.label, added.type, added.type_name = _F.LABEL_REPEATED, _F.TYPE_MESSAGE, f".ib.{message.name}.{entry.name}"


def tagged(members: Sequence[Member]) -> list[Field | Inline]:
    """Return the protobuf fields at this level. `Spread` records contribute their fields."""
    found: list[Field | Inline] = []
    for member in members:
        if isinstance(member, Spread):
            found += tagged(member.record.fields)
        elif member.tag:
            found.append(member)
    return found


def nested(member: Field | Inline) -> Sequence[Member]:
    """Return the members of the message that a field holds."""
    if isinstance(member, Inline):
        return member.fields
    kind = member.type
    if isinstance(kind, Mask):
        return tuple(Field(bit, BOOL, tag) for tag, bit in enumerate(kind.message, 1))
    if isinstance(kind, Union):
        return tuple(union_fields(kind).values())
    return cast("Record", kind).fields


def union_fields(union: Union) -> dict[str, Field]:
    """Return the fields of all kinds by name. Kinds that share a field share its tag."""
    fields = {union.by.name: union.by}
    for record in union.kinds.values():
        fields.update((field.name, field) for field in record.fields)
    return fields


def attribute(member: Field | Inline) -> str:
    """Return the name of Python's generated attribute: unique by its tag, never a keyword."""
    return f"f{member.tag}"


_DESCRIPTORS = _Descriptors()


def message_class(message: Declaration) -> type[ProtoMessage]:
    """Return the generated class of a declaration."""
    return _DESCRIPTORS.message_class(message, message.fields)


# -- reading ---------------------------------------------------------------------------------------------------------


def reader(message: Declaration) -> Reader:
    """Return a function from a protobuf body to the published data."""
    return _reader(message)


@cache
def _reader(message: Declaration) -> Reader:
    proto = _DESCRIPTORS.message_class(message, message.fields)
    source = SourceWriter()
    emit = _ProtoEmitter(source, message)
    with source.block("def read(body):"):
        source.line("m = parse(body)")
        emit.prepare()
        emit.members(message.fields, "m")
        source.line(f"d = {emit.display()}")
        if message.swap:
            source.line(f"{source.constant('swap', message.swap.read)}(d)")
        source.line("return d")
    namespace = {**NAMESPACE, "parse": proto.FromString}
    made: Reader = source.compile(f"read {message.name} protobuf", "read", namespace)
    return made


class _ProtoEmitter:
    """Emitter of the reader for a message's own level. `record_reader` reads nested records."""

    def __init__(self, source: SourceWriter, message: Declaration) -> None:
        self.source = source
        self.shape = message.shape
        self.told = is_told(message)
        self.values: dict[str, str] = {}

    def prepare(self) -> None:
        for field in self.shape.shape:
            name = self.source.name("v")
            self.values[field.name] = name
            if isinstance(field.type, Record) and not field.many:
                self.source.line(f"{name} = {{}}")

    def members(self, members: Sequence[Member], m: str) -> None:
        for member in members:
            if isinstance(member, Field) and member.hidden:
                continue
            if isinstance(member, Inline):
                inner = self.source.name("m")
                self.source.line(f"{inner} = {m}.{attribute(member)}")
                self.members(member.fields, inner)
            elif isinstance(member, Spread):
                convert = self.source.constant("read", record_reader(member.record, told=self.told))
                self.source.line(f"{self.values[member.name]} = {convert}({m})")
            elif member.tag:
                self.field(member, m)
            else:
                self.source.line(f"{self.values[member.name]} = {member.absent!r}")

    def field(self, field: Field, m: str) -> None:
        value = f"{m}.{attribute(field)}"
        head, *rest = field.path
        if rest:
            self._deep(field, m, head, rest)
        elif isinstance(field.type, Record) and not field.many and field.default is None:
            there = f"{m}.HasField({attribute(field)!r})"
            self.source.line(f"{self.values[head]} = {self._convert(field)}({value}) if {there} else None")
        elif isinstance(field.type, Record) and not field.many:
            self.source.line(f"{self.values[head]}.update({self._convert(field)}({value}))")
        elif isinstance(field.type, Scalar) and not field.many:
            self.source.line(f"{self.values[head]} = {self._scalar(field, m)}")
        elif isinstance(field.type, Mask) and not field.type.message:
            bits = len(field.type.bits)
            table = self.source.constant("mask", tuple(field.type.load(value) for value in range(1 << bits)))
            self.source.line(f"{self.values[head]} = {table}[{value} & {(1 << bits) - 1}]")
        else:
            self.source.line(f"{self.values[head]} = {self._convert(field)}({value})")

    def _deep(self, field: Field, m: str, head: str, rest: list[str]) -> None:
        """Emit the reading of a field that stands deeper in the published data than in protobuf."""
        target = self.values[head]
        for name in rest[:-1]:
            target = f"{target}.setdefault({name!r}, {{}})"
        if isinstance(field.type, Scalar) and not field.many:
            value = self._scalar(field, m)
        else:
            value = f"{self._convert(field)}({m}.{attribute(field)})"
        with self.source.block(f"if (w := {value}) != {field.default!r}:"):
            self.source.line(f"{target}[{rest[-1]!r}] = w")

    def _convert(self, field: Field) -> str:
        return self.source.constant("read", value_reader(field, told=self.told))

    def _scalar(self, field: Field, m: str) -> str:
        return scalar_source(self.source, field, m)

    def display(self) -> str:
        return "{" + ", ".join(f"{field.name!r}: {self._value(field)}" for field in self.shape.shape) + "}"

    def _value(self, field: Field) -> str:
        value = self.values[field.name]
        if field.only is None:
            return value
        return f"({value} if {field.only.source(lambda path: self.values[path[0]])} else {field.default!r})"


def scalar_source(source: SourceWriter, field: Field, m: str) -> str:
    """Return the expression for a scalar's value. Presence is tested only for zero: any other value is present."""
    kind, name = cast("Scalar", field.type), attribute(field)
    value = f"{m}.{name}"
    if kind is DECIMAL:
        return f"DECIMALS[{value}]"
    if kind.from_proto is None:
        if _absent_is_zero(field, kind):
            return value
        return f"(x if (x := {value}) or {m}.HasField({name!r}) else {field.absent!r})"
    if kind.proto in SENTINELS and kind.name in ("int", "long", "float"):
        nothing = "x" if field.absent == 0 else f"(x if {m}.HasField({name!r}) else {field.absent!r})"
        return f"((None if x == {kind.sentinel!r} else x) if (x := {value}) else {nothing})"
    load = source.constant("load", kind.from_proto)
    return f"({load}(x) if (x := {value}) or {m}.HasField({name!r}) else {field.absent!r})"


_ZEROS: dict[str, Any] = {"string": "", "bool": False, "double": 0.0, "int32": 0, "int64": 0}


def _absent_is_zero(field: Field, kind: Scalar) -> bool:
    """Return True if absence means the same as protobuf's zero, so that presence need not be tested."""
    zero = _ZEROS[kind.proto]
    loaded = kind.from_proto(zero) if kind.from_proto else zero
    return type(loaded) is type(field.absent) and bool(loaded == field.absent)


def is_told(message: Declaration) -> bool:
    """Return True if TWS sends `message`, False if a client does: absence can mean something else in each."""
    return not isinstance(message, Request)


def value_reader(field: Field, *, told: bool = True) -> Callable[[Any], Any]:
    """Return a function from protobuf's value to the published value of `field`."""
    one = _one_reader(field.type, told=told)
    if field.distinct:
        return lambda values: distinct(map(one, values))
    if field.many:  # a list leaves out unset values
        return lambda values: [loaded for value in values if (loaded := one(value)) is not None]
    return one


def _one_reader(kind: Any, *, told: bool) -> Callable[[Any], Any]:
    if isinstance(kind, Scalar):
        return kind.from_proto or (lambda value: value)
    if isinstance(kind, Record):
        return record_reader(kind, told=told)
    if isinstance(kind, Tags):
        return lambda entries: [{"tag": tag, "value": value} for tag, value in sorted(entries.items())]
    if isinstance(kind, Mask):
        if not kind.message:
            return lambda value: kind.load(value & ((1 << len(kind.bits)) - 1))
        return lambda m: {bit: True for tag, bit in enumerate(kind.message, 1) if getattr(m, f"f{tag}")}
    return _union_reader(kind, told=told)


@cache
def record_reader(record: Record, *, told: bool) -> Callable[[Any], Data]:
    """Return a function from a protobuf message to a record in canonical form.

    Fields that the message has and the record does not are skipped: a `Spread` record stands beside fields that others
    read.
    """
    table = {each.tag: (each, value_reader(each, told=told)) for each in record.fields if each.tag}
    means = {each.name: each.missing(told=told) for each in record.shape}
    absent = {each.name: means[each.name] for each in record.shape if means[each.name] != each.default or record.full}
    empty = tuple((name, type(value)) for name, value in absent.items() if isinstance(value, dict | list))

    def read(m: Any) -> Data:
        data = dict(absent)
        for name, kind in empty:  # new containers for each row, because they are filled piece by piece
            data[name] = kind()
        for descriptor, value in m.ListFields():
            if descriptor.number not in table:
                continue
            field, convert = table[descriptor.number]
            loaded = convert(value)
            if field.nested:
                _put(data, field, loaded)
            elif loaded != field.default or record.full:
                data[field.name] = loaded
            elif field.name in data:
                del data[field.name]
        return data

    return read


def _put(data: Data, field: Field, value: Any) -> None:
    """Put a value at its path in the published data, which is deeper than in protobuf."""
    if value != field.default:
        for name in field.path[:-1]:
            data = data.setdefault(name, {})
        data[field.path[-1]] = value


def _union_reader(union: Union, *, told: bool) -> Callable[[Any], Data]:
    by = attribute(union.by)
    tables = {number: record_reader(record, told=told) for number, record in union.kinds.items()}
    tags = {number: {field.tag for field in record.fields} for number, record in union.kinds.items()}

    def read(m: Any) -> Data:
        number = getattr(m, by)
        if number not in tables:
            raise ValueError(f"{union.by.name} {number} is unknown")
        return {union.by.name: number, **tables[number](_Some(m, tags[number]))}

    return read


class _Some:
    """View of a protobuf message that shows only the fields of one kind of a union."""

    __slots__ = ("_m", "_tags")

    def __init__(self, m: Any, tags: set[int]) -> None:
        self._m = m
        self._tags = tags

    def ListFields(self) -> list[tuple[Any, Any]]:  # noqa: N802 - protobuf's name
        return [(d, value) for d, value in self._m.ListFields() if d.number in self._tags]


# -- writing ---------------------------------------------------------------------------------------------------------


def writer(message: Declaration, version: int) -> Writer:
    """Return a function from data to a protobuf body."""
    return _Filler(message, version).write


class _Plan(NamedTuple):
    """Plan to write members: their plain scalars by name, what is written for an absent one, and the other members."""

    members: Sequence[Member]
    scalars: dict[str, tuple[str, Field, Scalar]]
    constants: list[tuple[str, str, Any]]
    others: list[Member]


class _Filler:
    """Writer of data into protobuf messages.

    As in IB's client, numbers are written even if they are zero, text and flags only if they are not. TWS's own
    messages leave out a value that absence means already.
    """

    def __init__(self, message: Declaration, version: int) -> None:
        self.message = message
        self.version = version
        self.told = is_told(message)
        self.proto = _DESCRIPTORS.message_class(message, message.fields)
        self.plans: dict[int, _Plan] = {}  # by the id of the members, which the plan keeps

    def write(self, data: Mapping[str, Any]) -> bytes:
        m = self.proto()
        swap = self.message.swap
        self.fill(m, self.message.fields, swap.write(dict(data)) if swap else data)
        return m.SerializeToString(deterministic=True)

    def fill(self, m: Any, members: Sequence[Member], data: Mapping[str, Any]) -> None:
        plan = self.plans.get(id(members)) or self.plan(members)
        for name, value in data.items():
            if (found := plan.scalars.get(name)) is not None:
                _set_scalar(m, *found, value, told=self.told)
        for name, absent, value in plan.constants:
            if name not in data:
                setattr(m, absent, value)
        for member in plan.others:
            if isinstance(member, Spread):
                self.fill(m, member.record.fields, data.get(member.name) or {})
            elif isinstance(member, Inline):
                inner = getattr(m, attribute(member))
                inner.SetInParent()
                self.fill(inner, member.fields, data)
            else:
                self.set(m, member, _find(data, member))

    def plan(self, members: Sequence[Member]) -> _Plan:
        """Plan the writing of members, so that the many fields that an order leaves out cost nothing."""
        plan = self.plans[id(members)] = _Plan(members, {}, [], [])
        for member in members:
            if isinstance(member, Spread):
                plan.others.append(member)
            elif not (member.tag and sendable(self.message, member, self.version)):
                continue
            elif _is_plain(member) and member.name not in plan.scalars:
                name, kind = attribute(member), cast("Scalar", member.type)
                plan.scalars[member.name] = name, member, kind
                absent = SimpleNamespace()
                _set_scalar(absent, name, member, kind, member.default, told=self.told)
                plan.constants.extend((member.name, *each) for each in vars(absent).items())
            else:
                plan.others.append(member)
        return plan

    def set(self, m: Any, field: Field, value: Any) -> None:
        name, kind = attribute(field), field.type
        if isinstance(kind, Tags):
            getattr(m, name).update((pair["tag"], pair["value"]) for pair in value or ())
        elif field.many:
            self.extend(getattr(m, name), kind, value or ())
        elif isinstance(kind, Scalar):
            _set_scalar(m, name, field, kind, value, told=self.told)
        elif isinstance(kind, Mask):
            _set_mask(m, name, kind, value or {})
        elif value is not None:
            inner = getattr(m, name)
            inner.SetInParent()
            self.fill(inner, nested(field), value)

    def extend(self, target: Any, kind: Any, rows: Sequence[Any]) -> None:
        for row in rows:
            if isinstance(kind, Scalar):
                target.append(kind.sentinel if row is None else kind.to_proto(row) if kind.to_proto else row)
            elif isinstance(kind, Union):
                inner = target.add()
                setattr(inner, attribute(kind.by), row[kind.by.name])
                self.fill(inner, kind.kinds[row[kind.by.name]].fields, row)
            else:
                self.fill(target.add(), kind.fields, row)


def _is_plain(member: Field | Inline) -> TypeGuard[Field]:
    """Return True for a single scalar that stands in the record that declares it."""
    return isinstance(member, Field) and isinstance(member.type, Scalar) and not member.many and not member.nested


def _find(data: Mapping[str, Any], field: Field) -> Any:
    *way, last = field.path
    for name in way:
        data = data.get(name) or {}
    return data.get(last, field.default)


def _set_scalar(m: Any, name: str, field: Field, kind: Scalar, value: Any, *, told: bool) -> None:
    means = field.missing(told=told)
    if value is None:
        if means is not None and kind.sentinel is not None:
            setattr(m, name, kind.sentinel)
        return
    loaded = kind.to_proto(value) if kind.to_proto and value != "" else value
    optional = kind.proto in ("bool", "string") or value == ""
    if field.always or not optional or (loaded if means == field.absent else value != means):
        setattr(m, name, loaded)


def _set_mask(m: Any, name: str, kind: Mask, flags: Mapping[str, Any]) -> None:
    if not kind.message:
        setattr(m, name, kind.dump(flags))
        return
    inner = getattr(m, name)
    inner.SetInParent()
    for tag, bit in enumerate(kind.message, 1):
        if flags.get(bit):
            setattr(inner, f"f{tag}", True)
