"""JSON Schema (draft 2020-12) of the messages and commands on the bus: one self-contained schema for each.

The schema of a message describes its `data`, that of a command its `args`. A message's schema holds at every server
version and in both encodings, and lets unknown keys pass, as every subscriber should. A command's schema lets none
pass, as the daemon does not. A field that is not always carried says so in its `$comment`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ibbridge import ib
from ibbridge.codec.messages import MESSAGES
from ibbridge.codec.schema import Field, Mask, Path, Record, Request, Tags, Type, Union
from ibbridge.codec.types import Scalar
from ibbridge.codec.versions import NEWEST, OLDEST
from ibbridge.docgen.entries import Entry, commands, messages, places, topics
from ibbridge.docgen.type_names import KINDS, Fragment, accepted, or_nil, published

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TABLES = "reference/{}"
"""Path of the tables of IB's numbers: data, beside the schemas."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(entry: Entry) -> dict[str, Any]:
    """Return the schema of one message or command."""
    made = _Commanded(entry) if entry.is_command else _Published(entry)
    whole = made.record(Record(entry.name, entry.fields, full=not entry.is_command), ())
    for own in entry.own:
        whole["properties"][own.name] = {**own.schema, "description": own.note} if own.note else dict(own.schema)
        if own.required:
            whole["required"] = [*whole.get("required", ()), own.name]
    about = {"description": entry.declaration.doc} if entry.declaration and entry.declaration.doc else {}
    defs = {"$defs": made.defs} if made.defs else {}
    return {"$schema": DIALECT, "title": entry.name, **about, **whole, **defs}


class _Made:
    """Schema under construction. Records go to `$defs` under their names."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.defs: dict[str, Any] = {}

    def record(self, record: Record, path: Path) -> dict[str, Any]:
        raise NotImplementedError

    def property(self, field: Field, path: Path, *, there: bool) -> dict[str, Any]:
        """Return the schema of one attribute, with its default unless it is always `there`."""
        made = self.value(field, path)
        if not there and field.default not in (None, "", [], {}):
            made["default"] = field.default
        life = self.entry.lives.get(path)
        if life is not None and life != self.entry.lives.get(path[:-1]):
            made["$comment"] = f"server versions {life[0]} to {life[1]}"
        return made

    def value(self, field: Field, path: Path) -> dict[str, Any]:
        raise NotImplementedError

    def one(self, field: Field, path: Path) -> Fragment:
        """Return the schema of a single value that is set."""
        match kind := field.type:
            case Scalar():
                return self.scalar(field)
            case Record():
                return self.define(kind.name, self.record(kind, path))
            case Mask():
                return self.define(kind.name, self.map({bit: {"type": "boolean"} for bit in kind.bits}, ()))
            case Tags():
                pair = {part.name: dict(self.scalar(part)) for part in kind.pair}
                return self.define(kind.name, self.map(pair, pair))
            case Union():
                return {"oneOf": [self.kind(kind, number, path) for number in kind.kinds]}

    def kind(self, union: Union, number: int, path: Path) -> Fragment:
        """Return the schema of one kind of a union's rows."""
        record = union.kinds[number]
        made = self.record(record, path)
        by = {union.by.name: {"const": number}}
        named = {**made, "properties": {**by, **made["properties"]}, "required": [*by, *made.get("required", ())]}
        return self.define(record.name, named)

    def scalar(self, field: Field) -> Fragment:
        raise NotImplementedError

    def map(self, properties: Mapping[str, Any], required: Iterable[str]) -> dict[str, Any]:
        """Return the schema of an object."""
        needed = {"required": names} if (names := [*required]) else {}
        rest = not self.entry.is_command
        return {"type": "object", "properties": dict(properties), **needed, "additionalProperties": rest}

    def define(self, name: str, content: dict[str, Any]) -> Fragment:
        """Return a reference to a definition. Definitions that share a name but differ get names of their own."""
        free, count = name, 1
        while self.defs.setdefault(free, content) != content:
            count += 1
            free = f"{name}{count}"
        return {"$ref": f"#/$defs/{free}"}


class _Published(_Made):
    def record(self, record: Record, path: Path) -> dict[str, Any]:
        properties = {
            field.name: self.property(field, (*path, field.name), there=record.full) for field in record.shape
        }
        return self.map(properties, properties if record.full else ())

    def value(self, field: Field, path: Path) -> dict[str, Any]:
        one = self.one(field, path)
        if field.many or isinstance(field.type, Tags):
            listed = {"type": "array", "items": self._or_unset(field.type, one)}
            if self.entry.maps(path):
                row = {"type": "array", "items": {"type": "string"}}
                return {"anyOf": [listed, {"type": "object", "additionalProperties": row}]}
            return {**listed, "uniqueItems": True} if field.distinct else listed
        return or_nil(one) if None in (field.default, field.absent) else self._or_unset(field.type, one)

    def scalar(self, field: Field) -> Fragment:
        return published(cast("Scalar", field.type))

    def _or_unset(self, kind: Type, one: Fragment) -> dict[str, Any]:
        return or_nil(one) if isinstance(kind, Scalar) and KINDS[kind.name].unset else dict(one)


class _Commanded(_Made):
    def record(self, record: Record, path: Path) -> dict[str, Any]:
        fields = {(*path, field.name): field for field in record.shape}
        sent = {where: field for where, field in fields.items() if where in self.entry.lives}
        # A lenient record's surplus attributes are ignored, not refused. Rows of several kinds are carried whole.
        taken = fields if record.lenient or not sent else sent
        required = {field.name for where, field in taken.items() if self.entry.required(where, field)}
        made = {field.name: self.property(field, where, there=field.name in required) for where, field in taken.items()}
        return self.map(made, (name for name in made if name in required))

    def value(self, field: Field, path: Path) -> dict[str, Any]:
        one = self.one(field, path)
        needed = self.entry.required(path, field)
        if field.many or isinstance(field.type, Tags):
            made: dict[str, Any] = {"type": "array", "items": dict(one), "maxItems": field.most_rows}
        else:
            made = dict(one)
        if path in self.entry.needed:
            made["enum"] = [word for word in made["enum"] if word]
        return made if needed else or_nil(made)

    def scalar(self, field: Field) -> Fragment:
        return accepted(field)


# -- the index -------------------------------------------------------------------------------------------------------


def index() -> dict[str, Any]:
    """Return the index: ids, versions, and which messages answer which commands on which topics."""
    return {
        "serverVersions": {"first": OLDEST, "last": NEWEST},
        "messages": {entry.name: _about_message(entry) for entry in messages()},
        "commands": {entry.name: _about_command(entry) for entry in commands() if entry.usable},
        "reference": {name: {"schema": f"{TABLES.format(name)}.json"} for name in ib.tables()},
    }


def _about_message(entry: Entry) -> dict[str, Any]:
    declaration = MESSAGES[entry.name]
    identity = declaration.identity
    return {
        **_about(entry, "messages"),
        "topics": [*places(declaration)],
        "key": declaration.key,
        "identity": None if identity is None else [*identity],
        "last": declaration.last,
    }


def _about_command(entry: Entry) -> dict[str, Any]:
    request = entry.declaration
    if not isinstance(request, Request):
        return _about(entry, "commands")
    return {
        **_about(entry, "commands"),
        "topics": [*topics(request)],
        "starts": request.does.value,
        "pace": request.pace.name.lower(),
        "answers": [*request.answers],
        "ends": [*request.ends],
        "turnedBy": [*request.turns],
        "cancels": request.cancels,
        "concerns": request.concerns,
        "restricted": entry.restricted,
    }


def _about(entry: Entry, folder: str) -> dict[str, Any]:
    about: dict[str, Any] = {"schema": f"{folder}/{entry.name}.json", "domain": entry.domain}
    if entry.declaration is None:
        return about
    first, last = entry.lives[()]
    fields = {".".join(path): [*life] for path, life in entry.lives.items() if path and life != (first, last)}
    return {
        **about,
        "id": entry.declaration.id,
        "serverVersions": [first, last],
        "protobufFrom": entry.declaration.proto_since,
        "fields": dict(sorted(fields.items())),
    }
