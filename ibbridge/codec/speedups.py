"""Plans for the compiled reader: which flat messages it may read, and what it must know of each.

`_speedups` reads a payload straight to msgpack and takes only plain spellings; the pure path reads the rest, and alone
decides what a value means. A plan has all that the compiled reader knows of a message. This module makes the plan from
the declaration, with the pure path's own packed names, defaults and absent values. The compiled reader is used where it
has been built, unless it is switched off.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from ibbridge.codec import compiled, proto
from ibbridge.codec import types as t
from ibbridge.codec.codegen import SourceWriter as Code
from ibbridge.codec.framing import PROTOBUF_IDS
from ibbridge.codec.layout import Slot, resolve
from ibbridge.codec.passthrough import is_flat, pack
from ibbridge.codec.schema import Const, Declaration, Field, Inline, Mask, one_of
from ibbridge.codec.versions import raw_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ibbridge.codec import _speedups
    from ibbridge.codec.layout import Step
    from ibbridge.codec.schema import Member, Path, Test
    from ibbridge.codec.types import Scalar
else:
    _speedups = compiled.built("ibbridge.codec._speedups")

BUILT = _speedups is not None
"""True if there is compiled code, whether or not it is in use."""

IN_USE = BUILT and not compiled.PURE
"""True if compiled code reads flat messages."""

_MOST_FLAGS = 4


class Source(NamedTuple):
    """Field on the wire.

    `kind` is one of `_speedups.KINDS`. `unset` is the number that means unset. `absent` is published where the text is
    empty or protobuf has no such field. `masks` has the packed map for each combination of flags. `number` is
    protobuf's tag, and `level` says which message has the field: 0 the message itself, then one for each of the plan's
    `inlines`.
    """

    kind: str
    unset: float | None = None
    absent: bytes = b""
    masks: tuple[bytes, ...] = ()
    level: int = 0
    number: int = 0


class Condition(NamedTuple):
    """Condition that a source has one of these values. `absent`: the condition holds where the source is absent."""

    source: int
    named: tuple[int, ...]
    absent: bool = False


class Value(NamedTuple):
    """Published value. `fixed` stands before it, and `default` in its place if `only` does not hold."""

    source: int
    fixed: bytes
    default: bytes
    only: Condition | None


class Draft(NamedTuple):
    """Arguments of a `_speedups.Plan`. `tail` stands behind the last value.

    `key` and `identity` are each a source and the value for its absence; without a source, always that value.
    """

    name: str
    sources: Sequence[Source]
    inlines: Sequence[int]
    values: Sequence[Value]
    tail: bytes
    key: tuple[int, Any]
    identity: tuple[int | None, Any]
    kind: Condition | None
    greatest: float = t.UNSET_FLOAT
    unset_decimals: tuple[bytes, ...] = tuple(map(str.encode, sorted(t.UNSET_DECIMALS)))

    @property
    def proto(self) -> bool:
        """True if the draft is for protobuf, where every field has a number."""
        return any(source.number for source in self.sources)

    @property
    def has_text(self) -> bool:
        """True if a field holds text, which may not be ASCII."""
        return any(source.kind in ("str", "escaped") for source in self.sources)

    @property
    def kind_place(self) -> tuple[int, int] | None:
        """Source and number of the field that tells the message from others with its id."""
        return self.kind and (self.kind.source, self.sources[self.kind.source].number)


_REALS: Mapping[Scalar, tuple[str, float | None]] = {
    t.FLOAT: ("real", None),
    t.VOLATILITY: ("negative", None),
    t.GREEK: ("real", -2.0),
    t.MODEL_PRICE: ("real", -1.0),
}
_TEXT: Mapping[Scalar, tuple[str, float | None]] = {
    **_REALS,
    t.INT: ("int32", t.UNSET_INT),
    t.LONG: ("int64", t.UNSET_INT),  # UNSET_LONG has too many digits to be plain
    t.TICK: ("real", None),
    t.DECIMAL: ("decimal", None),
    t.STR: ("str", None),
    t.ESCAPED: ("escaped", None),
    t.BOOL: ("bool", None),
}
_PROTO: Mapping[Scalar, tuple[str, float | None]] = {
    **_REALS,
    t.INT: ("int32", t.UNSET_INT),
    t.LONG: ("int64", t.UNSET_LONG),
    t.TICK: ("strict", None),
    t.DECIMAL: ("decimal", None),
    t.STR: ("str", None),
    t.ESCAPED: ("str", None),
    t.BOOL: ("bool", None),
}


class _NotPlainError(Exception):
    """Message that compiled code cannot read."""


def reading(
    version: int,
    by_id: Mapping[int, Sequence[Declaration]],
    packed: Collection[str],
    rest: Callable[[bytes], Any],
    *,
    utf_8: bool = True,
) -> Callable[[bytes], Any]:
    """Return `rest`, or a faster function with the same results.

    The faster one reads the messages named in `packed` that are flat and plain, and leaves the others to `rest`.
    """
    return reader(version, by_id, packed, rest, utf_8=utf_8) if IN_USE and packed else rest


def reader(
    version: int,
    by_id: Mapping[int, Sequence[Declaration]],
    packed: Collection[str],
    rest: Callable[[bytes], Any],
    *,
    utf_8: bool = True,
) -> Callable[[bytes], Any]:
    """Return the faster function of `reading`, whether or not compiled code is in use.

    It decodes text as UTF-8 only: without `utf_8` it leaves text messages that hold text to `rest`.
    """
    raw = raw_ids(version)

    def plans(number: int) -> Iterator[_speedups.Plan]:
        in_proto = raw and number > PROTOBUF_IDS
        found = by_id.get(number - PROTOBUF_IDS if in_proto else number, ())
        for draft in drafts(found, None if in_proto else version):
            if draft.name in packed and (utf_8 or in_proto or not draft.has_text):
                with suppress(ValueError):  # more fields than a plan has room for
                    yield _speedups.Plan(draft)

    return _speedups.Reader(raw, PROTOBUF_IDS + max(by_id, default=0) + 1, plans, rest).read


def drafts(found: Iterable[Declaration], version: int | None) -> list[Draft]:
    """Return drafts for all messages with one id, or none: as text at `version`, or as protobuf (None).

    The same field must tell several messages apart.
    """
    readable = [
        declaration
        for declaration in found
        if (declaration.proto_since if version is None else declaration.layout) is not None
    ]
    made = [draft for draft in (_draft(declaration, version) for declaration in readable) if draft]
    if len(made) < len(readable) or len({draft.kind_place for draft in made}) > 1:
        return []
    return made if len(made) == 1 or (all(draft.kind for draft in made) and _agree(made)) else []


def _agree(made: Iterable[Draft]) -> bool:
    """Return True if each protobuf number means the same in all messages with one id.

    The first of their plans parses a body to find out which message it is, and must not fail on a field of another.
    """
    found: dict[int, Any] = {}
    for draft in made:
        own = {source.number: source.kind for source in draft.sources if source.number and not source.level}
        own.update((number, draft.name) for number in draft.inlines)
        if any(found.setdefault(number, kind) != kind for number, kind in own.items()):
            return False
    return True


@cache
def _draft(message: Declaration, version: int | None) -> Draft | None:
    if not is_flat(message):
        return None
    try:
        return (_ProtoPlan(message) if version is None else _TextPlan(message, version)).draft()
    except _NotPlainError:
        return None


class _DraftMaker:
    """Plan of one message in one encoding while it is made: its sources, and the source of each field."""

    def __init__(self, message: Declaration) -> None:
        self.message = message
        self.sources: list[Source] = []
        self.inlines: list[int] = []
        self.places: dict[Path, tuple[int, Any]] = {}
        """Source of a field, and the value for its absence, by path."""

    def add(self, path: Path, kind: tuple[str, float | None], absent: Any, **more: Any) -> None:
        """Add one source. `absent` is the unpacked value."""
        self.places[path] = len(self.sources), absent
        self.sources.append(Source(*kind, absent=pack(absent), **more))

    def draft(self) -> Draft:
        """Return the finished draft."""
        message, values = self.message, []
        fixed = msgpack.Packer().pack_map_header(len(message.shape.shape))
        for field in message.shape.shape:
            fixed += pack(field.name)
            if field.path not in self.places:
                fixed += pack(field.default)
                continue
            only = self._only(field.only) if field.only else None
            values.append(Value(self.places[field.path][0], fixed, pack(field.default), only))
            fixed = b""
        name = message.identity and message.identity[0]
        identity = self._integer((name,)) if name else (None, message.identity)
        kind = message.kind and Condition(self._integer((message.kind[0],))[0], tuple(message.kind[1]))
        key = self._integer((message.key or "",))
        return Draft(message.name, self.sources, self.inlines, values, fixed, key, identity, kind)

    def _only(self, test: Test) -> Condition:
        """Return the test as a condition. Raise `_NotPlainError` unless it says that an integer is one of several."""
        (path, named), *more = test.about.items()
        place, absent = self._integer(path)
        if more or test.source(".".join) != one_of(".".join(path), *named).source(".".join):
            raise _NotPlainError
        return Condition(place, named, absent in named)

    def _integer(self, path: Path) -> tuple[int, Any]:
        place, absent = self.places[path]
        if self.sources[place].kind not in ("int32", "int64"):
            raise _NotPlainError
        return place, absent


class _TextPlan(_DraftMaker):
    """Plan of a message as text fields."""

    def __init__(self, message: Declaration, version: int) -> None:
        super().__init__(message)
        for step in resolve(message, version):
            self._step(step)

    def _step(self, step: Step) -> None:
        if isinstance(step, Const):
            self.sources.append(Source("skip"))
        elif not isinstance(step, Slot):
            raise _NotPlainError
        elif isinstance(step.field.type, Mask):
            masks = _masks(step.field.type.bits)
            self.add(step.path, ("mask", None), {}, masks=masks)
        else:
            kind = _known(_TEXT, step.field)
            code = Code()
            with code.block("def absent():"):
                code.line(f"return {(kind.load_unset if step.blank else kind.load).format(x=repr(''))}")
            absent = code.compile(f"absent {kind.name}", "absent", t.NAMESPACE)()
            self.add(step.path, ("str", None) if step.blank and kind is t.ESCAPED else _TEXT[kind], absent)


class _ProtoPlan(_DraftMaker):
    """Plan of a message as protobuf. Unpublished fields are part of the plan: they must be valid all the same."""

    def __init__(self, message: Declaration) -> None:
        super().__init__(message)
        self._members(message.fields, proto.message_class(message)(), 0)

    def _members(self, members: Sequence[Member], m: Any, level: int) -> None:
        for member in members:
            if isinstance(member, Field):
                if member.tag:
                    self._field(member, m, level)
            elif isinstance(member, Inline) and not level:
                self.inlines.append(member.tag)
                self._members(member.fields, getattr(m, proto.attribute(member)), len(self.inlines))
            else:
                raise _NotPlainError

    def _field(self, field: Field, m: Any, level: int) -> None:
        where = {"level": level, "number": field.tag}
        if field.many or field.nested:
            raise _NotPlainError
        if isinstance(field.type, Mask):
            names = field.type.message
            masks = _masks(names or field.type.bits)
            self.add(field.path, ("flags" if names else "mask", None), {}, masks=masks, **where)
            return
        kind = _known(_PROTO, field)
        code = Code()
        code.shared("m", m)
        with code.block("def absent():"):
            code.line(f"return {proto.scalar_source(code, field, 'm')}")
        self.add(field.path, _PROTO[kind], code.compile(f"absent {field.name}", "absent", t.NAMESPACE)(), **where)


def _known(kinds: Mapping[Scalar, tuple[str, float | None]], field: Field) -> Scalar:
    kind = field.type
    if not isinstance(kind, t.Scalar) or kind not in kinds:
        raise _NotPlainError
    return kind


def _masks(names: Sequence[str]) -> tuple[bytes, ...]:
    """Return the packed map for each combination of flags. `names` begins with the lowest bit."""
    if len(names) > _MOST_FLAGS:
        raise _NotPlainError
    every = range(1 << _MOST_FLAGS)
    return tuple(pack({name: True for place, name in enumerate(names) if flags >> place & 1}) for flags in every)
