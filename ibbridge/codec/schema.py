"""What a message declaration is made of: records, layouts, messages and requests.

A *record* says once per IB class what there is: name, type, default, protobuf tag. A *layout* says only in which
order the text form has those fields; protobuf needs none. A *message* is a record with an id and a layout; a
*request* also says what it asks for, what answers it and what ends it. Everything else (readers, writers, refusals,
commands, the simulator, the documentation) is derived from these.

This module knows no message and no bytes. What a declaration comes to at one server version is in `layout`. `since` is
inclusive, `until` exclusive, like `range`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.codec import types as t
from ibbridge.codec.versions import NEWEST, OLDEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ibbridge.codec.types import Scalar
    from ibbridge.codec.words import Words

MOST_ROWS = 1_000
"""Rows of a client's list, where its field does not say: more than any has a reason to have."""

LONGEST_TAG = 64
LONGEST_VALUE = 1_024
"""Characters of a tag and of its value."""

Path: TypeAlias = tuple[str, ...]
_SAME: Any = object()


class DeclarationError(Exception):
    """A declaration contradicts itself. Raised while messages are declared or resolved, never by data."""


# -- types that are not scalar ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A class of IB's.

    In canonical form an attribute equal to its default is left out, unless the record is `full` (rows of bars and ticks
    carry every key). A `lenient` record may carry attributes a request has no use for: a contract often comes straight
    from contractDetails.
    """

    name: str
    fields: tuple[Field, ...]
    full: bool = False
    lenient: bool = False

    def field(self, name: str) -> Field:
        """The field called `name`. Raises `DeclarationError` if there is none."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise DeclarationError(f"{self.name} has no field {name}")

    @property
    def shape(self) -> tuple[Field, ...]:
        """The fields that are published and may be given."""
        return tuple(each for each in self.fields if not (each.hidden or each.nested))


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Flags that text carries as one integer; `bits` names them from bit 0 up.

    Protobuf has an integer as well, or a message of bools where `message` is set.
    """

    name: str
    bits: tuple[str, ...]
    message: tuple[str, ...] = ()

    def load(self, value: int) -> dict[str, bool]:
        """The flags that are set in `value`; bits without a name are no flags."""
        return {bit: True for i, bit in enumerate(self.bits) if value >> i & 1}

    def dump(self, flags: Mapping[str, Any]) -> int:
        """The integer for these flags."""
        return sum(1 << i for i, bit in enumerate(self.bits) if flags.get(bit))


@dataclass(frozen=True, slots=True, eq=False)
class Tags:
    """A list of `{tag, value}`: one field `k=v;k=v;` or rows in text, a map in protobuf (where order is lost)."""

    name: str = "TagValue"

    @property
    def pair(self) -> tuple[Field, Field]:
        """The tag and the value of one row."""
        return Str("tag", longest=LONGEST_TAG), Str("value", longest=LONGEST_VALUE)


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """Rows of several kinds, told apart by an integer field; one protobuf message has the fields of all kinds."""

    name: str
    by: Field
    kinds: Mapping[int, Record]


Type: TypeAlias = "Scalar | Record | Mask | Tags | Union"


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One attribute or argument.

    `name` is IB's; among a message's fields it may be a dotted path, for a protobuf field whose place in the published
    data is deeper. `default` is what canonical form leaves out, `absent` what absence means in protobuf, and `untold`
    what it means in a message of TWS's where that is something else. `tag` 0 means
    that protobuf has no such field; `since` is where requests in protobuf begin to carry it, and `answer` fields are
    never in a request. `always` fields are written even where they are false. `hidden` fields are on the wire only.
    Where the test `only` fails, the published value is the default. `distinct` values are a set: published sorted, and
    each once. A value that is `refused` cannot be sent as text from the server version on that stands beside it.

    Of what clients send: a text has at most `longest` characters (0: what its type says), a list as many `rows` (0:
    `MOST_ROWS`), a number is at least `least`, a word is of a list of IB's (`words`). A value that is `nothing` means
    that there is none, and is not sent. A lenient record leaves an attribute aside that the request does not carry, but
    not where the test `apart` holds: there the attribute tells what is meant from something else.
    """

    name: str
    type: Type
    tag: int = 0
    default: Any = None
    absent: Any = None
    many: bool = False
    always: bool = False
    since: int = 0
    required: bool = False
    hidden: bool = False
    only: Test | None = None
    answer: bool = False
    distinct: bool = False
    refused: Mapping[Any, int] = dataclasses.field(default_factory=dict)
    untold: Any = _SAME
    longest: int = 0
    rows: int = 0
    least: int | None = None
    words: Words | None = None
    nothing: Callable[[Any], bool] | None = None
    apart: Test | None = None

    def missing(self, *, told: bool) -> Any:
        """Return what absence means in protobuf: in a message of TWS's (`told`), or in a request."""
        return self.untold if told and self.untold is not _SAME else self.absent

    @property
    def most(self) -> int:
        """How many characters a client may send; 0 for what is no text."""
        kind = self.type
        return self.longest or (kind.longest if isinstance(kind, t.Scalar) else 0)

    @property
    def most_rows(self) -> int:
        """How many rows a client's list may have."""
        return self.rows or MOST_ROWS

    @property
    def path(self) -> Path:
        """Where the value stands in the published data."""
        return tuple(self.name.split("."))

    @property
    def nested(self) -> bool:
        """Whether that is deeper than the record in which the field is declared."""
        return "." in self.name


def _scalar(kind: Scalar) -> Callable[..., Field]:
    def declare(name: str, tag: int = 0, default: Any = _SAME, absent: Any = _SAME, **more: Any) -> Field:
        value: Any = kind.zero if default is _SAME else default
        return Field(name, kind, tag, value, value if absent is _SAME else absent, **more)

    return declare


Int = _scalar(t.INT)
Long = _scalar(t.LONG)
Float = _scalar(t.FLOAT)
Decimal = _scalar(t.DECIMAL)
Str = _scalar(t.STR)
Escaped = _scalar(t.ESCAPED)
Expiry = _scalar(t.EXPIRY)
Bool = _scalar(t.BOOL)
Word = _scalar(t.WORD)
Connector = _scalar(t.CONNECTOR)
Flag = _scalar(t.FLAG)
Truth = _scalar(t.TRUTH)
Ratio = _scalar(t.RATIO)
Tick = _scalar(t.TICK)
Date = _scalar(t.DATE)
Whole = _scalar(t.WHOLE)
Amount = _scalar(t.AMOUNT)
Percent = _scalar(t.PERCENT)
Volatility = _scalar(t.VOLATILITY)
Greek = _scalar(t.GREEK)
ModelPrice = _scalar(t.MODEL_PRICE)


def Code(name: str, tag: int, *known: str) -> Field:  # noqa: N802
    """A text of which IB's client knows only these values."""
    return Field(name, t.codes(*known), tag, "", "")


def Part(name: str, record: Record, tag: int = 0, *, optional: bool = False, **more: Any) -> Field:  # noqa: N802
    """A nested record. An optional one is None unless it is there."""
    default: dict[str, Any] | None = None if optional else {}
    return Field(name, record, tag, default, default, **more)


def Rows(name: str, of: Record | Scalar | Union, tag: int = 0, **more: Any) -> Field:  # noqa: N802
    """A list of records, values, or rows of several kinds."""
    return Field(name, of, tag, [], [], many=True, **more)


def Values(name: str, of: Scalar, tag: int = 0) -> Field:  # noqa: N802
    """A set of values."""
    return Field(name, of, tag, [], [], many=True, distinct=True)


def TagValues(name: str, tag: int = 0, **more: Any) -> Field:  # noqa: N802
    """A list of `{tag, value}`."""
    return Field(name, Tags(), tag, [], [], **more)


def Masked(name: str, mask: Mask, tag: int = 0) -> Field:  # noqa: N802
    """A map of the flags that are set."""
    return Field(name, mask, tag, {}, {})


@dataclass(frozen=True, slots=True, eq=False)
class Inline:
    """Protobuf nests these fields in a message of their own; the published data has them one level up."""

    tag: int
    fields: tuple[Member, ...]
    since = 0


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """The published data nests this record; protobuf has its fields one level up."""

    name: str
    record: Record
    required: bool = False


Member: TypeAlias = "Field | Inline | Spread"

# -- tests on earlier values -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Test:
    """A named condition on values that stand earlier in the layout.

    `source` makes Python of it, given a function from a path to the expression for its value (None where it has its
    default). `about` are the values it looks at, with those that it names.
    """

    name: str
    source: Callable[[Callable[[Path], str]], str]
    about: Mapping[Path, tuple[Any, ...]]


def _test(name: str, dotted: str, template: str, *named: Any) -> Test:
    path = tuple(dotted.split("."))
    return Test(name, lambda value: template.format(x=value(path)), {path: named})


def given(path: str) -> Test:
    """The value at `path` is neither unset nor empty."""
    return _test(f"{path} is not empty", path, "{x}")


def positive(path: str) -> Test:
    """The number at `path` is set and above zero."""
    return _test(f"{path} is set and > 0", path, "({x} or 0) > 0")


def lacking(*paths: str) -> Test:
    """The values at all these paths are unset, zero or empty."""
    return both(*(_test(f"{each} is empty", each, "not {x}") for each in paths))


def one_of(path: str, *values: Any) -> Test:
    """The value at `path` is one of these."""
    listed = "{{" + ", ".join("INFINITY" if v == float("inf") else repr(v) for v in values) + "}}"  # a template
    return _test(f"{path} is {' or '.join(map(str, values))}", path, "{x} in " + listed, *values)


def either(*tests: Test) -> Test:
    """One of the tests holds, or several."""
    return _joined(" or ", tests)


def both(*tests: Test) -> Test:
    """All the tests hold."""
    return _joined(" and ", tests)


def _joined(word: str, tests: tuple[Test, ...]) -> Test:
    return Test(
        word.join(each.name for each in tests),
        lambda value: word.join(f"({each.source(value)})" for each in tests),
        {path: named for each in tests for path, named in each.about.items()},
    )


# -- layouts: the order of the text form -----------------------------------------------------------------------------
#
# In a layout a string names fields, separated by blanks; `name?` means that an empty field is unset (and that unset is
# written as an empty field rather than as IB's sentinel), `name!` that this place has no `\\uXXXX` escapes.


@dataclass(frozen=True, slots=True, eq=False)
class Const:
    """A field that is on the wire and means nothing to us: written as `text`, skipped when read."""

    text: str


def Version(number: int) -> Const:  # noqa: N802
    """The message's own version, from before the server version governed layouts."""
    return Const(str(number))


@dataclass(frozen=True, slots=True, eq=False)
class Of:
    """The layout of a nested record's fields, which may be scattered over several such groups."""

    path: str
    layout: Layout


@dataclass(frozen=True, slots=True, eq=False)
class Between:
    """Part of the layout only for some server versions."""

    since: int
    until: int
    layout: Layout


def Since(version: int, *layout: Piece) -> Between:  # noqa: N802
    """Part of the layout from `version` on."""
    return Between(version, NEWEST + 1, layout)


def Until(version: int, *layout: Piece) -> Between:  # noqa: N802
    """Part of the layout below `version`."""
    return Between(0, version, layout)


@dataclass(frozen=True, slots=True, eq=False)
class Each:
    """A count, then that many rows."""

    path: str
    layout: Layout = ()


@dataclass(frozen=True, slots=True, eq=False)
class Size:
    """The number of a list's rows, where the list itself comes as one text field: skipped when read."""

    path: str


@dataclass(frozen=True, slots=True, eq=False)
class When:
    """Only on the wire if the test holds."""

    test: Test
    layout: Layout


@dataclass(frozen=True, slots=True, eq=False)
class Present:
    """A flag, and the record's fields only if it is 1."""

    path: str
    layout: Layout


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One text field that holds a date, a time and a zone, split at `-` if there is one, else at blanks."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Same:
    """One text field whose value stands in two places of the published data."""

    paths: tuple[str, ...]


Piece: TypeAlias = "str | Const | Of | Between | Each | Size | When | Present | Split | Same"
Layout: TypeAlias = "Sequence[Piece]"

# -- messages --------------------------------------------------------------------------------------------------------

REQUEST_IDS = frozenset(("reqId", "tickerId", "requestId"))
"""What IB's signatures call a request id."""


class Topic(Enum):
    """Where a message belongs on the bus, when its request id does not say."""

    REQUEST = "request"
    ORDER = "order"
    EXECUTION = "execution"
    ACCOUNT = "account"
    NEWS = "news"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """One message, in either direction.

    `id` and `name` are IB's; `doc` says in a sentence what it is for. `proto_since` is the server version from which it
    travels as protobuf (of inbound messages: expected to; the id alone decides). `key` names the field, or the path to
    it, that ties it to a request or order. `identity` names the fields that tell apart the values a stream can hold at
    one time (None: an event, which has no state). `last` names the field that is true in the last one of several (None:
    any of them may be the last). A `book` message changes a row of a market depth book. `kind` restricts the
    declaration to some values of a field, where several messages share an id. `swap` maps protobuf's shape to the
    published one where nesting alone cannot.
    """

    id: int
    name: str
    fields: tuple[Member, ...]
    layout: Layout | None
    proto_since: int | None
    doc: str = ""
    since: int = OLDEST
    key: str | None = None
    topic: Topic = Topic.REQUEST
    identity: tuple[str, ...] | None = None
    last: str | None = None
    book: bool = False
    kind: tuple[str, frozenset[int]] | None = None
    swap: Swap | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def request_id(self) -> Path | None:
        """Where the request's id stands, for a message that has one: an order's id is none."""
        path = tuple(self.key.split(".")) if self.key else ()
        return path if path and path[-1] in REQUEST_IDS else None

    @property
    def shape(self) -> Record:
        """The published data as a record: always the same one, as what is made of it is remembered by record."""
        return _shape(self)

    def in_protobuf(self, version: int) -> bool:
        """Whether it travels as protobuf at `version`."""
        return self.proto_since is not None and version >= self.proto_since

    def exists(self, version: int) -> bool:
        """Whether a server of `version` has it at all."""
        return version >= self.since and (self.layout is not None or self.in_protobuf(version))


class Kind(Enum):
    """What a request starts."""

    ONE_SHOT = "one-shot"
    STREAM = "stream"
    ORDER = "order"
    FORGET = "fire-and-forget"
    SETTING = "setting"


class Pace(Enum):
    """The order in which the socket's budget is spent, most urgent first."""

    CANCEL = 0
    ORDER = 1
    NORMAL = 2
    HISTORY = 3


def _once(_: Mapping[str, Any]) -> int:
    return 1


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """How many requests IB takes: at most `most` in any `seconds`, or open at a time where that is None.

    Requests that declare limits of one `name` count together if they are alike in the arguments that `alike` names, a
    contract by its instrument; None is all of them but the request's number. `counts` says for how many a request
    counts, by its arguments; 0 for one that is not concerned. `note` says that to people.
    """

    name: str
    most: int
    seconds: float | None
    alike: tuple[str, ...] | None = ()
    counts: Callable[[Mapping[str, Any]], int] = _once
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Request(Declaration):
    """A message to TWS, and what it means for the bridge.

    `answers` are the messages that carry its result, `ends` those after which a one-shot is over, or a stream has sent
    all there is and goes on with what changes. `repeats` names the arguments that its answer repeats, by which one
    without a request id is told from that to another. `cancels` is the request that this one cancels, `concerns` one
    that it does something else to; it carries the id of that one. `turns` names the flags that make a one-shot of a
    stream, and a stream of a one-shot. One that `lingers` is kept by TWS even after its answer, until it is cancelled.
    A `fresh` one must not be given the answer to one that was sent before it: what it asks for may just have changed.
    `pace` is how urgent it is, `limits` are IB's own on how often it may be asked.

    It has to be answered within `deadline` seconds, or by default in as many as its kind and pace ask for; a stream
    only where that is said: TWS answers some at once. One that is `throttled` by TWS has so long for each single
    answer. When the connection is lost, a question is put once more on the next one, unless it is `once`: because it
    changes something, or costs money, which the flags that `costs` names say. A stream that `flows` speaks all the time
    that its market is open.
    """

    does: Kind = Kind.ONE_SHOT
    answers: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()
    cancels: str | None = None
    concerns: str | None = None
    turns: tuple[str, ...] = ()
    lingers: bool = False
    fresh: bool = False
    pace: Pace = Pace.NORMAL
    limits: tuple[Limit, ...] = ()
    deadline: float | None = None
    throttled: bool = False
    once: bool = False
    costs: tuple[str, ...] = ()
    flows: bool = False

    def within(self, args: Mapping[str, Any]) -> float | None:
        """Seconds that TWS has for its (first) answer; None for no limit."""
        if self.streams(args):
            return self.deadline if self.does is Kind.STREAM else None
        if self.deadline is not None and self.does is not Kind.STREAM:
            return self.deadline
        return 90.0 if self.pace is Pace.HISTORY else 30.0

    def repeatable(self, args: Mapping[str, Any]) -> bool:
        """Whether it may be sent again as it was, when there was no answer."""
        return not self.once and self.does is not Kind.ORDER and not any(args.get(name) for name in self.costs)

    @property
    def target(self) -> str | None:
        """The request under whose id this one goes: what it cancels, or does something else to."""
        return self.cancels or self.concerns

    def streams(self, args: Mapping[str, Any]) -> bool:
        """Whether these arguments ask for a stream, which goes on until it is cancelled."""
        return (self.does is Kind.STREAM) is not any(args.get(name) for name in self.turns)


@dataclass(frozen=True, slots=True, eq=False)
class Swap:
    """The one escape hatch: a change of shape between protobuf and the published data, both ways.

    `read` changes what was read in place; `write` returns what is to be written. `carries` are the paths for which it
    finds room in protobuf, and `lost` names, with the reason, those for which it finds none in the data at hand. `maps`
    are the lists of which it makes maps.
    """

    read: Callable[[dict[str, Any]], None]
    write: Callable[[dict[str, Any]], dict[str, Any]]
    carries: tuple[str, ...] = ()
    lost: Callable[[Mapping[str, Any]], Iterator[tuple[Path, str]]] | None = None
    maps: tuple[str, ...] = ()


def inbound(
    id: int,  # noqa: A002 - IB's word for it
    name: str,
    *fields: Member,
    text: Layout | str | None,
    proto: int | None,
    **more: Any,
) -> Declaration:
    """A message from TWS: `text` is its layout, `proto` the version from which it comes as protobuf.

    It is keyed by its request id if it has one.
    """
    return Declaration(id, name, fields, _layout(text), proto, **{"key": _key(fields), **more})


def request(
    id: int,  # noqa: A002
    name: str,
    *fields: Member,
    text: Layout | str | None,
    proto: int | None,
    **more: Any,
) -> Request:
    """A message to TWS. Its arguments as those of `inbound`. A cancel goes first, unless it says otherwise."""
    more.setdefault("pace", Pace.CANCEL if "cancels" in more else Pace.NORMAL)
    return Request(id, name, fields, _layout(text), proto, **{"key": _key(fields), **more})


def _key(fields: Sequence[Member]) -> str | None:
    return next((each.name for each in fields if isinstance(each, Field) and each.name in REQUEST_IDS), None)


def _layout(text: Layout | str | None) -> Layout | None:
    return (text,) if isinstance(text, str) else text


@cache
def _shape(declaration: Declaration) -> Record:
    flat = (each for member in declaration.fields for each in _shape_of(member))
    return Record(declaration.name, tuple(each for each in flat if "." not in each.name), full=True)


def _shape_of(member: Member) -> tuple[Field, ...]:
    if isinstance(member, Inline):
        return tuple(each for inner in member.fields for each in _shape_of(inner))
    if isinstance(member, Spread):
        return (Part(member.name, member.record, required=member.required),)
    return (member,)
