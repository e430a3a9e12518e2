"""Schema of declarations: records, layouts, messages and requests.

A *record* says once per IB class which fields there are: name, type, default, protobuf tag. A *layout* says only in
which order the text form has those fields; protobuf needs none. A *message* is a record with an id and a layout; a
*request* also says what it asks for, which messages answer it and which end it. The rest (readers, writers, refusals,
commands, the simulator, the documentation) is derived from these.

This module must not know single messages or bytes. `layout` resolves a declaration at one server version. `since` is
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
"""Most rows of a client's list where its field sets no limit: more than a client has reason to send."""

LONGEST_TAG = 64
LONGEST_VALUE = 1_024
"""Most characters of a tag, and of its value."""

Path: TypeAlias = tuple[str, ...]
_SAME: Any = object()


class DeclarationError(Exception):
    """Declaration that contradicts itself. Raised while messages are declared or resolved, never by data."""


# -- types that are not scalar ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Class of IB's, with its fields.

    In canonical form an attribute equal to its default is left out, unless the record is `full` (rows of bars and ticks
    carry every key). In a `lenient` record, attributes that a request does not carry are ignored: a contract often
    comes straight from contractDetails.
    """

    name: str
    fields: tuple[Field, ...]
    full: bool = False
    lenient: bool = False

    def field(self, name: str) -> Field:
        """Return the field called `name`. Raise `DeclarationError` if there is none."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise DeclarationError(f"{self.name} has no field {name}")

    @property
    def shape(self) -> tuple[Field, ...]:
        """Fields that are published and may be given."""
        return tuple(field for field in self.fields if not (field.hidden or field.nested))


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Flags that text carries as one integer. `bits` names the flags from bit 0 up.

    Protobuf has an integer as well, or a message of bools where `message` is set.
    """

    name: str
    bits: tuple[str, ...]
    message: tuple[str, ...] = ()

    def load(self, value: int) -> dict[str, bool]:
        """Return the flags that are set in `value`. Bits without a name are ignored."""
        return {bit: True for i, bit in enumerate(self.bits) if value >> i & 1}

    def dump(self, flags: Mapping[str, Any]) -> int:
        """Return the integer for these flags."""
        return sum(1 << i for i, bit in enumerate(self.bits) if flags.get(bit))


@dataclass(frozen=True, slots=True, eq=False)
class Tags:
    """List of `{tag, value}`: one field `k=v;k=v;` or rows in text, a map in protobuf (where order is lost)."""

    name: str = "TagValue"

    @property
    def pair(self) -> tuple[Field, Field]:
        """Fields of one row: the tag and the value."""
        return Str("tag", longest=LONGEST_TAG), Str("value", longest=LONGEST_VALUE)


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """Rows of several kinds, told apart by an integer field. One protobuf message has the fields of all kinds."""

    name: str
    by: Field
    kinds: Mapping[int, Record]


Type: TypeAlias = "Scalar | Record | Mask | Tags | Union"


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Attribute of a record, or argument of a request.

    `name` is IB's; among a message's fields the name may be a dotted path, for a protobuf field whose place in the
    published data is deeper. Canonical form leaves out the `default`. `absent` is the meaning of absence in protobuf,
    and `untold` its meaning in TWS's own messages where that differs. `tag` 0 means that protobuf has no such field.
    Requests in protobuf carry the field from version `since` on, and never an `answer` field. `always` fields are
    written even where they are false or empty. `hidden` fields are on the wire only. Where the test `only` fails, the
    default is published. `distinct` values are a set: published sorted, and each once. A `refused` value cannot be sent
    as text from the server version on that stands beside it.

    The remaining attributes concern values from clients: a text has at most `longest` characters (0: the limit of its
    type), a list at most `rows` rows (0: `MOST_ROWS`), a number is at least `least`, a word is on IB's list `words`. A
    value for which `nothing` is true stands for "none" and is not sent. A lenient record ignores an attribute that the
    request does not carry, but not where the test `apart` holds: there the attribute tells the record from another one.
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
        """Return the meaning of absence in protobuf: in TWS's own messages (`told`), or in a request."""
        return self.untold if told and self.untold is not _SAME else self.absent

    @property
    def most(self) -> int:
        """Most characters that a client may send; 0 for a field that is not text."""
        kind = self.type
        return self.longest or (kind.longest if isinstance(kind, t.Scalar) else 0)

    @property
    def most_rows(self) -> int:
        """Most rows that a client's list may have."""
        return self.rows or MOST_ROWS

    @property
    def path(self) -> Path:
        """Path of the value in the published data."""
        return tuple(self.name.split("."))

    @property
    def nested(self) -> bool:
        """True if the value stands deeper than the record that declares the field."""
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
    """Declare a text of which IB's client knows only these values."""
    return Field(name, t.codes(*known), tag, "", "")


def Part(name: str, record: Record, tag: int = 0, *, optional: bool = False, **more: Any) -> Field:  # noqa: N802
    """Declare a nested record. An optional record is None unless it is present."""
    default: dict[str, Any] | None = None if optional else {}
    return Field(name, record, tag, default, default, **more)


def Rows(name: str, of: Record | Scalar | Union, tag: int = 0, **more: Any) -> Field:  # noqa: N802
    """Declare a list of records, of values, or of rows of several kinds."""
    return Field(name, of, tag, [], [], many=True, **more)


def Values(name: str, of: Scalar, tag: int = 0) -> Field:  # noqa: N802
    """Declare a set of values."""
    return Field(name, of, tag, [], [], many=True, distinct=True)


def TagValues(name: str, tag: int = 0, **more: Any) -> Field:  # noqa: N802
    """Declare a list of `{tag, value}`."""
    return Field(name, Tags(), tag, [], [], **more)


def Masked(name: str, mask: Mask, tag: int = 0) -> Field:  # noqa: N802
    """Declare a map of the flags that are set."""
    return Field(name, mask, tag, {}, {})


@dataclass(frozen=True, slots=True, eq=False)
class Inline:
    """Fields that protobuf nests in a message of their own, and the published data has one level up."""

    tag: int
    fields: tuple[Member, ...]
    since = 0


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Record that the published data nests, and whose fields protobuf has one level up."""

    name: str
    record: Record
    required: bool = False


Member: TypeAlias = "Field | Inline | Spread"

# -- tests on earlier values -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Test:
    """Named condition on values that stand earlier in the layout.

    `source` returns the condition as Python, given a function from a path to the expression for its value (None where
    the value is its default). `about` maps the path of each value that the condition looks at to the values that it
    names.
    """

    name: str
    source: Callable[[Callable[[Path], str]], str]
    about: Mapping[Path, tuple[Any, ...]]


def _test(name: str, dotted: str, template: str, *named: Any) -> Test:
    path = tuple(dotted.split("."))
    return Test(name, lambda value: template.format(x=value(path)), {path: named})


def given(path: str) -> Test:
    """Return a test that the value at `path` is neither unset nor empty."""
    return _test(f"{path} is not empty", path, "{x}")


def positive(path: str) -> Test:
    """Return a test that the number at `path` is set and above zero."""
    return _test(f"{path} is set and > 0", path, "({x} or 0) > 0")


def lacking(*paths: str) -> Test:
    """Return a test that the values at all these paths are unset, zero or empty."""
    return both(*(_test(f"{path} is empty", path, "not {x}") for path in paths))


def one_of(path: str, *values: Any) -> Test:
    """Return a test that the value at `path` is one of `values`."""
    listed = "{{" + ", ".join("INFINITY" if v == float("inf") else repr(v) for v in values) + "}}"  # a template
    return _test(f"{path} is {' or '.join(map(str, values))}", path, "{x} in " + listed, *values)


def either(*tests: Test) -> Test:
    """Return a test that holds if at least one of `tests` does."""
    return _joined(" or ", tests)


def both(*tests: Test) -> Test:
    """Return a test that holds if all of `tests` do."""
    return _joined(" and ", tests)


def _joined(word: str, tests: tuple[Test, ...]) -> Test:
    return Test(
        word.join(test.name for test in tests),
        lambda value: word.join(f"({test.source(value)})" for test in tests),
        {path: named for test in tests for path, named in test.about.items()},
    )


# -- layouts: the order of the text form -----------------------------------------------------------------------------
#
# In a layout a string names fields, separated by blanks; `name?` means that an empty field is unset (and that unset is
# written as an empty field rather than as IB's sentinel), `name!` that this place has no `\\uXXXX` escapes.


@dataclass(frozen=True, slots=True, eq=False)
class Const:
    """Text field without information: written as `text`, skipped when read."""

    text: str


def Version(number: int) -> Const:  # noqa: N802
    """Return the field for the message's own version, from before the server version governed layouts."""
    return Const(str(number))


@dataclass(frozen=True, slots=True, eq=False)
class Of:
    """Layout of a nested record's fields, which may be scattered over several such groups."""

    path: str
    layout: Layout


@dataclass(frozen=True, slots=True, eq=False)
class Between:
    """Part of a layout that is there for some server versions only."""

    since: int
    until: int
    layout: Layout


def Since(version: int, *layout: Piece) -> Between:  # noqa: N802
    """Return a part of the layout that is there from `version` on."""
    return Between(version, NEWEST + 1, layout)


def Until(version: int, *layout: Piece) -> Between:  # noqa: N802
    """Return a part of the layout that is there below `version`."""
    return Between(0, version, layout)


@dataclass(frozen=True, slots=True, eq=False)
class Each:
    """Row count, then that many rows."""

    path: str
    layout: Layout = ()


@dataclass(frozen=True, slots=True, eq=False)
class Size:
    """Row count of a list that itself comes as one text field: skipped when read."""

    path: str


@dataclass(frozen=True, slots=True, eq=False)
class When:
    """Part of a layout that is on the wire only if the test holds."""

    test: Test
    layout: Layout


@dataclass(frozen=True, slots=True, eq=False)
class Present:
    """Flag, and the record's fields if the flag is 1."""

    path: str
    layout: Layout


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Text field that holds a date, a time and a zone, separated by blanks or dashes (see `types.split_date`)."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Same:
    """Text field whose value stands in two places of the published data."""

    paths: tuple[str, ...]


Piece: TypeAlias = "str | Const | Of | Between | Each | Size | When | Present | Split | Same"
Layout: TypeAlias = "Sequence[Piece]"

# -- messages --------------------------------------------------------------------------------------------------------

REQUEST_IDS = frozenset(("reqId", "tickerId", "requestId"))
"""Names of the request id in IB's signatures."""


class Topic(Enum):
    """Family of topics on which a message is published. REQUEST: that of the request which its request id names."""

    REQUEST = "request"
    ORDER = "order"
    EXECUTION = "execution"
    ACCOUNT = "account"
    NEWS = "news"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """Message, in either direction.

    `id` and `name` are IB's; `doc` says in a sentence what the message is for. From server version `proto_since` on the
    message travels as protobuf (a message from TWS is expected to: the id alone decides). `key` names the field, or its
    path, that ties the message to a request or order. `identity` names the fields that tell apart the values that a
    topic holds at one time (None: the message is an event, without state). `last` names the field that is true in the
    last of several messages (None: any of them may be the last). A `book` message changes a row of a market depth book.
    Where several messages share an id, `kind` gives a field and its values in this message. `swap` converts between
    protobuf's shape and the published one where nesting alone cannot.
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
        """Path of the request id in the message, or None: an order id is no request id."""
        path = tuple(self.key.split(".")) if self.key else ()
        return path if path and path[-1] in REQUEST_IDS else None

    @property
    def shape(self) -> Record:
        """Published data as a record: always the same object, because results are cached by record."""
        return _shape(self)

    def in_protobuf(self, version: int) -> bool:
        """Return True if the message travels as protobuf at `version`."""
        return self.proto_since is not None and version >= self.proto_since

    def exists(self, version: int) -> bool:
        """Return True if a server of `version` has the message at all."""
        return version >= self.since and (self.layout is not None or self.in_protobuf(version))


class Kind(Enum):
    """Kind of work that a request starts."""

    ONE_SHOT = "one-shot"
    SUBSCRIPTION = "stream"
    ORDER = "order"
    FORGET = "fire-and-forget"
    SETTING = "setting"


class Pace(Enum):
    """Priority in spending the connection's send budget, most urgent first."""

    CANCEL = 0
    ORDER = 1
    NORMAL = 2
    HISTORY = 3


def _once(_: Mapping[str, Any]) -> int:
    return 1


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """Limit of IB's on requests: at most `most` in any `seconds`, or open at a time where `seconds` is None.

    Requests that declare limits of one `name` count together if they are alike in the arguments that `alike` names (a
    contract by its instrument); None stands for all arguments but the request id. `counts` says for how many a request
    counts, by its arguments; 0 exempts the request. `note` says the same to people.
    """

    name: str
    most: int
    seconds: float | None
    alike: tuple[str, ...] | None = ()
    counts: Callable[[Mapping[str, Any]], int] = _once
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Request(Declaration):
    """Message to TWS, and its meaning for the bridge.

    `answers` names the messages that carry the result. `ends` names those after which a one-shot is over, or a
    subscription has sent its full state and goes on with changes. `repeats` names the arguments that the responses
    repeat: they tie a response without a request id to its request. `cancels` is the request that this one cancels,
    `concerns` a request that this one changes otherwise; both carry the id of that request. `turns` names the flags
    that make a one-shot of a subscription, and a subscription of a one-shot. TWS keeps a request that `lingers` after
    its response, until it is cancelled. A `fresh` request must not get the response to one that was sent before it: the
    data may just have changed. `pace` is its priority, `limits` are IB's own limits on how often it may be sent.

    TWS must respond within `deadline` seconds (None: a default by kind and pace). A subscription has a deadline only
    where one is declared, because TWS answers only some of them at once. TWS slows down the responses to a
    `throttled` request, so the deadline restarts with each of them. After a lost connection a request is sent again on
    the next one, unless it is `once` (it changes something) or one of the flags in `costs` is set (it costs money). A
    subscription that `flows` sends data all the time that its market is open.
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
        """Return the seconds that TWS has for its (first) response; None for no limit."""
        if self.subscribes(args):
            return self.deadline if self.does is Kind.SUBSCRIPTION else None
        if self.deadline is not None and self.does is not Kind.SUBSCRIPTION:
            return self.deadline
        return 90.0 if self.pace is Pace.HISTORY else 30.0

    def repeatable(self, args: Mapping[str, Any]) -> bool:
        """Return True if the request may be sent again unchanged after it got no response."""
        return not self.once and self.does is not Kind.ORDER and not any(args.get(name) for name in self.costs)

    @property
    def target(self) -> str | None:
        """Name of the request whose id this one carries: the request that it cancels, or changes otherwise."""
        return self.cancels or self.concerns

    def subscribes(self, args: Mapping[str, Any]) -> bool:
        """Return True if these arguments ask for a subscription, which goes on until it is cancelled."""
        return (self.does is Kind.SUBSCRIPTION) is not any(args.get(name) for name in self.turns)


@dataclass(frozen=True, slots=True, eq=False)
class Swap:
    """Change of shape between protobuf and the published data, both ways: the one escape hatch.

    `read` changes the data that was read, in place; `write` returns the data to be written. `carries` are the paths for
    which `write` finds room in protobuf. `lost` yields, each with the reason, the paths for which it finds none in the
    data at hand. `maps` are the lists that `read` turns into maps.
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
    """Declare a message from TWS. `text` is its layout, `proto` the version from which it comes as protobuf.

    The `key` defaults to the message's request id, if it has one.
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
    """Declare a message to TWS, with the arguments of `inbound`. A cancel goes first unless `pace` says otherwise."""
    more.setdefault("pace", Pace.CANCEL if "cancels" in more else Pace.NORMAL)
    return Request(id, name, fields, _layout(text), proto, **{"key": _key(fields), **more})


def _key(fields: Sequence[Member]) -> str | None:
    return next((field.name for field in fields if isinstance(field, Field) and field.name in REQUEST_IDS), None)


def _layout(text: Layout | str | None) -> Layout | None:
    return (text,) if isinstance(text, str) else text


@cache
def _shape(declaration: Declaration) -> Record:
    flat = (field for member in declaration.fields for field in _shape_of(member))
    return Record(declaration.name, tuple(field for field in flat if "." not in field.name), full=True)


def _shape_of(member: Member) -> tuple[Field, ...]:
    if isinstance(member, Inline):
        return tuple(field for inner in member.fields for field in _shape_of(inner))
    if isinstance(member, Spread):
        return (Part(member.name, member.record, required=member.required),)
    return (member,)
