"""A declaration at one server version: the steps of its text form, and what it has room for.

Versions are compared here, in `Declaration` and in the connection, and nowhere else. Knows no message and no bytes.
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
    """One text field with a value in it. `again`: an earlier slot has the same place, this one wins."""

    path: Path
    field: Field
    blank: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SplitSlot:
    """One text field with the values of several slots in it."""

    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Length:
    """One text field with the number of rows that the list at `path` has."""

    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class SameSlot:
    """One text field whose value goes to several slots."""

    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A count and rows; a union's rows are told apart by their kind."""

    path: Path
    field: Field
    steps: tuple[Step, ...]
    kinds: Mapping[int, tuple[Step, ...]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """Steps that are taken if the test holds."""

    test: Test
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Flagged:
    """A flag, and the steps of an optional record if it is set."""

    path: Path
    field: Field
    steps: tuple[Step, ...]


Step: TypeAlias = "Slot | SplitSlot | SameSlot | Const | Length | Loop | Branch | Flagged"


@cache
def resolve(message: Declaration, version: int) -> tuple[Step, ...]:
    """The text layout of `message` at `version`. Raises `DeclarationError` where it has none."""
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
    """A kind of a union has its fields in text in the order of its declaration."""
    resolution = _Resolution(record, version)
    for each in record.fields:
        yield from resolution.steps((each.name,), ())


# -- what a version carries ------------------------------------------------------------------------------------------


@cache
def carried(message: Declaration, version: int) -> frozenset[Path]:
    """The paths of all fields that `message` has room for at `version`, in the encoding it has there."""
    if not message.exists(version):
        return frozenset()
    if message.in_protobuf(version):
        swapped = (tuple(path.split(".")) for path in (message.swap.carries if message.swap else ()))
        return frozenset((*_proto_paths(message, message.fields, version, ()), *swapped))
    leaves = _text_paths(resolve(message, version))
    return frozenset(path[:length] for path in leaves for length in range(1, len(path) + 1))


def later(message: Declaration, version: int, path: Path | None = None) -> int | None:
    """The first version after `version` that has `message`, or room for what stands at `path` in it."""
    return next((each for each in range(version + 1, NEWEST + 1) if _has(message, each, path)), None)


def earlier(message: Declaration, version: int, path: Path) -> int | None:
    """The last version before `version` that has room for what stands at `path`."""
    return next((each for each in range(version - 1, OLDEST - 1, -1) if _has(message, each, path)), None)


def _has(message: Declaration, version: int, path: Path | None) -> bool:
    return message.exists(version) if path is None else path in carried(message, version)


def refused_since(field: Field, value: Any, version: int) -> int | None:
    """The version since which TWS does not take this value of `field`, if `version` is no older."""
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
    """Whether a protobuf message of this kind carries the field at `version`."""
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
    """The first and last version at which each field is carried; of the message itself under `()`.

    Versions are those that this codec speaks. A field that has come stays until it goes: a test holds that.
    """
    found: dict[Path, tuple[int, int]] = {}
    for version in filter(message.exists, range(OLDEST, NEWEST + 1)):
        for path in ((), *carried(message, version)):
            found[path] = found.get(path, (version,))[0], version
    return found


def edges(message: Declaration, oldest: int = OLDEST, newest: int = NEWEST) -> list[int]:
    """The versions at which something about `message` on the wire differs from the version before."""
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
