"""Layout at one server version: the steps of a declaration's text form, and the fields that it carries.

Versions are compared here, in `Declaration` and in the connection, and nowhere else. This module must not know single
messages or bytes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.codec import types as t
from ibbridge.codec.schema import (
    Between,
    Const,
    Declaration,
    DeclarationError,
    Field,
    Inline,
    Layout,
    Member,
    Of,
    Path,
    Piece,
    Present,
    Record,
    Request,
    Same,
    Size,
    Split,
    Spread,
    Test,
    Union,
    When,
)
from ibbridge.codec.versions import NEWEST, OLDEST, raw_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """Text field that holds one value.

    `blank`: an empty field is unset. `again`: this value replaces that of an earlier slot with the same path.
    """

    path: Path
    field: Field
    blank: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SplitSlot:
    """Text field that holds the values of several slots."""

    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Length:
    """Text field that holds the number of rows of the list at `path`."""

    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class SameSlot:
    """Text field whose value goes to several slots."""

    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """Row count, and the steps of a row. A union has steps for each kind of row."""

    path: Path
    field: Field
    steps: tuple[Step, ...]
    kinds: Mapping[int, tuple[Step, ...]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """Steps that are taken only if the test holds."""

    test: Test
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Flagged:
    """Flag, and the steps of an optional record that follow if the flag is set."""

    path: Path
    field: Field
    steps: tuple[Step, ...]


Step: TypeAlias = "Slot | SplitSlot | SameSlot | Const | Length | Loop | Branch | Flagged"


@cache
def resolve(message: Declaration, version: int) -> tuple[Step, ...]:
    """Return the text layout of `message` at `version`. Raise `DeclarationError` if it has no text form."""
    if message.layout is None:
        raise DeclarationError(f"{message.name} has no text form")
    return tuple(_Resolution(message.shape, version).steps(message.layout, ()))


class _Resolution:
    def __init__(self, root: Record, version: int) -> None:
        self.root = root
        self.version = version
        self.seen: set[Path] = set()

    def steps(self, layout: Layout, under: Path) -> Iterator[Step]:
        for piece in layout:
            yield from self._piece(piece, under)

    def _piece(self, piece: Piece, under: Path) -> Iterator[Step]:  # noqa: C901 - one case for each kind of piece
        match piece:
            case str():
                for word in piece.split():
                    yield self._slot((*under, *word.rstrip("?!").split(".")), word[-1])
            case Const():
                yield piece
            case Of():
                yield from self.steps(piece.layout, (*under, *piece.path.split(".")))
            case Between():
                if piece.since <= self.version < piece.until:
                    yield from self.steps(piece.layout, under)
            case Size():
                yield Length((*under, *piece.path.split(".")))
            case When():
                yield Branch(piece.test, tuple(self.steps(piece.layout, under)))
            case Present():
                path = (*under, *piece.path.split("."))
                yield Flagged(path, self._find(path), tuple(self.steps(piece.layout, path)))
            case Split():
                yield SplitSlot(tuple(self._slot((*under, *path.split("."))) for path in piece.paths))
            case Same():
                yield SameSlot(tuple(self._slot((*under, *path.split("."))) for path in piece.paths))
            case _:
                yield self._loop((*under, *piece.path.split(".")), piece.layout)

    def _slot(self, path: Path, mark: str = "") -> Slot:
        again = path in self.seen
        self.seen.add(path)
        found = self._find(path)
        return Slot(path, replace(found, type=t.STR) if mark == "!" else found, mark == "?", again)

    def _loop(self, path: Path, layout: Layout) -> Loop:
        found = self._find(path)
        if isinstance(found.type, Union):
            kinds = {k: tuple(_row(record, self.version)) for k, record in found.type.kinds.items()}
            return Loop(path, found, (), kinds)
        if isinstance(found.type, Record):
            return Loop(path, found, tuple(_Resolution(found.type, self.version).steps(layout, ())))
        return Loop(path, found, ())

    def _find(self, path: Path) -> Field:
        record = self.root
        for name in path[:-1]:
            inner = record.field(name).type
            if not isinstance(inner, Record):
                raise DeclarationError(f"{self.root.name}: {name} in {'.'.join(path)} is no record")
            record = inner
        return record.field(path[-1])


def _row(record: Record, version: int) -> Iterator[Step]:
    """Yield the steps of one kind of a union: its fields in the order of their declaration."""
    resolution = _Resolution(record, version)
    for field in record.fields:
        yield from resolution.steps((field.name,), ())


# -- what a version carries ------------------------------------------------------------------------------------------


@cache
def carried(message: Declaration, version: int) -> frozenset[Path]:
    """Return the paths of all fields that `message` carries at `version`, in the encoding used there."""
    if not message.exists(version):
        return frozenset()
    if message.in_protobuf(version):
        swapped = (tuple(path.split(".")) for path in (message.swap.carries if message.swap else ()))
        return frozenset((*_proto_paths(message, message.fields, version, ()), *swapped))
    leaves = _text_paths(resolve(message, version))
    return frozenset(path[:length] for path in leaves for length in range(1, len(path) + 1))


def later(message: Declaration, version: int, path: Path | None = None) -> int | None:
    """Return the first version after `version` that has `message`, or carries `path` in it; None if none does."""
    return next((newer for newer in range(version + 1, NEWEST + 1) if _has(message, newer, path)), None)


def earlier(message: Declaration, version: int, path: Path) -> int | None:
    """Return the last version before `version` that carries `path`; None if none does."""
    return next((older for older in range(version - 1, OLDEST - 1, -1) if _has(message, older, path)), None)


def _has(message: Declaration, version: int, path: Path | None) -> bool:
    return message.exists(version) if path is None else path in carried(message, version)


def refused_since(field: Field, value: Any, version: int) -> int | None:
    """Return the version since which TWS refuses this value of `field`; None if `version` is older, or none does."""
    since = field.refused.get(value)
    return since if since is not None and version >= since else None


def _text_paths(steps: Sequence[Step], under: Path = ()) -> Iterator[Path]:
    for step in steps:
        match step:
            case Slot():
                yield under + step.path
            case SplitSlot() | SameSlot():
                yield from (under + slot.path for slot in step.slots)
            case Branch():
                yield from _text_paths(step.steps, under)
            case Flagged():
                yield under + step.path
                yield from _text_paths(step.steps, under)
            case Loop():
                yield under + step.path
                yield from _text_paths(step.steps, under + step.path)


def sendable(request: Declaration, member: Field | Inline, version: int) -> bool:
    """Return True if `request` carries the field in protobuf at `version`; TWS's own messages carry every field."""
    if not isinstance(request, Request):
        return True
    return member.since <= version and not (isinstance(member, Field) and member.answer)


def _proto_paths(message: Declaration, members: Sequence[Member], version: int, under: Path) -> Iterator[Path]:
    for member in members:
        if isinstance(member, Spread):
            yield (*under, member.name)
            yield from _proto_paths(message, member.record.fields, version, (*under, member.name))
        elif member.tag and sendable(message, member, version):
            if isinstance(member, Inline):
                yield from _proto_paths(message, member.fields, version, under)
            else:
                path = under + member.path
                yield from (path[:length] for length in range(len(under) + 1, len(path) + 1))
                if isinstance(member.type, Record):
                    yield from _proto_paths(message, member.type.fields, version, path)


@cache
def lifetime(message: Declaration) -> Mapping[Path, tuple[int, int]]:
    """Return the first and last version at which each field is carried; the message itself is under `()`.

    Only versions that this codec speaks count. Between the two a field is always carried: a test checks that.
    """
    found: dict[Path, tuple[int, int]] = {}
    for version in filter(message.exists, range(OLDEST, NEWEST + 1)):
        for path in ((), *carried(message, version)):
            found[path] = found.get(path, (version,))[0], version
    return found


def edges(message: Declaration, oldest: int = OLDEST, newest: int = NEWEST) -> list[int]:
    """Return the versions at which the wire form of `message` differs from the version before."""
    found, before = [], None
    for version in range(oldest, newest + 1):
        if message.exists(version):
            now = _signature(message, version)
            if now != before:
                found.append(version)
            before = now
    return found


def _signature(message: Declaration, version: int) -> tuple[Any, ...]:
    form = message.in_protobuf(version), raw_ids(version)
    if message.in_protobuf(version):
        return (*form, tuple(sorted(carried(message, version))))
    return (*form, tuple(map(_describe, resolve(message, version))))


def _describe(step: Step) -> Any:
    match step:
        case Const():
            return step.text
        case Length():
            return step.path
        case Slot():
            return step.path, step.blank
        case SplitSlot() | SameSlot():
            return tuple(map(_describe, step.slots))
        case Branch():
            return step.test.name, tuple(map(_describe, step.steps))
        case _:
            return step.path, tuple(map(_describe, step.steps))
