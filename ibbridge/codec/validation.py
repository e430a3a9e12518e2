"""Validation of a request: every argument that would not reach TWS as it was given, named, all at once.

An argument that the negotiated version, the encoding or another argument would leave off the wire is refused, never
dropped (IB's clients break this rule in places). The rule is derived from the declarations. `checked` returns the
arguments in the form that writers take. It accepts whatever a client can send, and its cost is bounded: it stops at the
fiftieth fault, quotes no more of a value than fits a line, guesses at a few misspelt names only, and looks at no text
or list that is longer than its field may be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from itertools import takewhile
from typing import Any, cast

from ibbridge.codec.layout import Branch, Flagged, Loop, Slot, Step, carried, earlier, later, refused_since, resolve
from ibbridge.codec.schema import Declaration, Field, Mask, Path, Record, Tags, Union
from ibbridge.codec.text import compiled_test
from ibbridge.codec.types import BOOL, SURROGATES, Scalar
from ibbridge.codec.words import nearest

MOST_FAULTS = 50
"""Most faults that one reply names: a million misspelt keys are not worth a million lines."""

MOST_GUESSED = 5
"""Most faults of one reply that suggest a correction: each guess takes almost a millisecond."""


class NotCarried(Exception):  # noqa: N818 - the name says what is wrong
    """Request that cannot be written as it was given. `faults` says why, a sentence each, named by path."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def checked(
    request: Declaration,
    version: int,
    args: Any,
    *,
    command: bool = False,
    listed: bool = False,
    order_types: Collection[str] = (),
) -> dict[str, Any]:
    """Return `args` ready to be written at `version`. Raise `NotCarried` with every fault.

    `command`: a value that means nothing, such as a strike of 0, is left out, and an attribute that tells one
    instrument from another must be carried. Without `command` both go as IB's own client sends them. `listed`: a word
    must be on IB's list, if IB has one for its argument. `order_types`: order types that are taken besides IB's.
    """
    if not request.exists(version):
        raise NotCarried([_absence(request, version)])
    check = _Check(request, version, command=command, listed=listed, order_types=order_types)
    values: dict[str, Any] = check.record(request.shape, args, ())
    if not check.faults:
        check.together(values)
    if check.faults:
        raise NotCarried(check.faults)
    return values


def _absence(request: Declaration, version: int) -> str:
    if (needed := later(request, version)) is not None:
        return f"{request.name} needs server version {needed}; this connection has {version}"
    return f"{request.name} does not exist at server version {version}"


class _Check:
    def __init__(
        self, request: Declaration, version: int, *, command: bool, listed: bool, order_types: Collection[str]
    ) -> None:
        self.request = request
        self.version = version
        self.command = command
        self.listed = listed
        self.order_types = order_types
        self.carried = carried(request, version)
        self.text = not request.in_protobuf(version)
        self.pairs = frozenset(_pairs(resolve(request, version))) if self.text else frozenset()
        self.faults: list[str] = []

    @property
    def full(self) -> bool:
        """True if there are as many faults as a reply names."""
        return len(self.faults) >= MOST_FAULTS

    def fault(self, path: Path, text: str) -> None:
        if not self.full:
            self.faults.append(f"{'.'.join(path) or self.request.name} {text}")

    def record(self, record: Record, given: Any, path: Path, *, ignore: bool = False) -> dict[str, Any]:
        """Return the values of a record, coerced. `ignore`: leave out attributes that the request does not carry."""
        if not isinstance(given, Mapping):
            self.fault(path, f"must be a map, not {_show(given)}")
            return {}
        known, required = _attributes(record)
        values = {}
        for name, value in given.items():
            if self.full:
                break
            if name not in known:
                self._unknown(name, known, path)
                continue
            apart = self.command and _tells_apart(known[name], given)
            loaded = self.value(known[name], value, (*path, name), ignore=ignore or record.lenient, apart=apart)
            if loaded is not _SKIP:
                values[name] = loaded
        for field in required:
            if given.get(field.name) is None or (field.words and given[field.name] == ""):
                self.fault((*path, field.name), "is missing")
        return values

    def _unknown(self, name: Any, known: Mapping[str, Field], path: Path) -> None:
        if not isinstance(name, str):
            self.fault(path, f"has a key that is not text: {_show(name)}")
            return
        near = nearest(name, known) if self._guesses else None
        self.fault((*path, _plain(name)), "is unknown" + (f", did you mean {near}?" if near else ""))

    @property
    def _guesses(self) -> bool:
        return len(self.faults) < MOST_GUESSED

    def value(self, field: Field, value: Any, path: Path, *, ignore: bool, apart: bool) -> Any:
        """Return a value, coerced.

        An attribute that tells its record `apart` is not left out, though attributes inside it may be.
        """
        if value is None:
            return None if field.default is None or _may_be_unset(field.type) else _SKIP
        sent = path in self.carried or apart or not ignore
        loaded = self._load(field, value, path, ignore=ignore, sent=sent)
        if field.refused and self.text and (since := refused_since(field, loaded, self.version)):
            shown = _show(value)
            self.fault(path, f"{shown} is not taken since server version {since}; this connection has {self.version}")
        if path not in self.carried and loaded is not _SKIP and loaded != field.default:
            if ignore and not apart:
                return _SKIP
            self.fault(path, self._why_not(path))
        return loaded

    def _load(self, field: Field, value: Any, path: Path, *, ignore: bool, sent: bool) -> Any:
        kind = field.type
        if field.many or isinstance(kind, Tags):
            return self._rows(field, value, path, ignore=ignore)
        if isinstance(kind, Scalar):
            return self._scalar(field, value, path, sent=sent)
        if isinstance(kind, Mask):
            return self._flags(kind, value, path)
        return self.record(cast("Record", kind), value, path, ignore=ignore)

    def _flags(self, mask: Mask, value: Any, path: Path) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self.fault(path, f"must be a map, not {_show(value)}")
            return {}
        known = {bit: Field(bit, BOOL) for bit in mask.bits}
        for name in self._until_full(value):
            if name not in known:
                self._unknown(name, known, path)
        return {bit: self._scalar(known[bit], value[bit], (*path, bit)) for bit in mask.bits if bit in value}

    def _scalar(self, field: Field, value: Any, path: Path, *, sent: bool = True) -> Any:
        """Return a value in the form that is written.

        A value that is not sent may have any characters, and be any word.
        """
        kind = cast("Scalar", field.type)
        if isinstance(value, str) and field.most and len(value) > field.most:
            self.fault(path, f"must have at most {field.most} characters, not {len(value)}")
            return _SKIP
        try:
            loaded = kind.coerce(value)
        except ValueError:
            self.fault(path, f"must be {kind.expected()}, not {_show(value)}")
            return _SKIP
        if self.command and field.nothing and field.nothing(loaded):
            return field.default
        if isinstance(loaded, str) and sent:
            self._characters(loaded, path)
        if sent:
            self._meaning(field, loaded, path)
        return loaded

    def _meaning(self, field: Field, loaded: Any, path: Path) -> None:
        """Note a number that is too low, and a word that IB does not list."""
        if field.least is not None and loaded < field.least:
            self.fault(path, f"must be at least {field.least}, not {_show(loaded)}")
        words = field.words
        if self.listed and words and loaded != "" and not words.has(loaded, self.order_types):
            near = words.meant(loaded, self.order_types) if self._guesses else None
            meant = f", did you mean {near}?" if near else ""
            self.fault(path, f"must be {words.expected()}, not {_show(loaded)}{meant}")

    def _characters(self, text: str, path: Path) -> None:
        """Note characters that TWS does not take.

        A NUL would end the field and shift all that follow: a string could rewrite an order. The text form takes
        printable ASCII, tab, CR and LF only (IB's error 579); protobuf takes any Unicode.
        """
        if "\0" in text:
            self.fault(path, "has a NUL in it")
        elif self.text and not (text.isascii() and (text.isprintable() or not text.translate(_ALLOWED))):
            self.fault(path, "has characters that TWS does not take at this server version (579): only printable ASCII")
        elif not text.isascii() and SURROGATES.search(text):
            self.fault(path, "has half of a surrogate pair in it")

    def _rows(self, field: Field, value: Any, path: Path, *, ignore: bool) -> Any:
        if not isinstance(value, list | tuple):
            self.fault(path, f"must be a list, not {_show(value)}")
            return _SKIP
        if len(value) > field.most_rows:
            self.fault(path, f"has {len(value)} rows; {field.most_rows} at most")
            return _SKIP
        kind = field.type
        if isinstance(kind, Tags):
            return self._tags(value, path)
        if isinstance(kind, Scalar):
            return [self._scalar(field, row, path) for row in self._until_full(value)]
        if isinstance(kind, Union):
            return [self._of_kind(kind, row, path) for row in self._until_full(value)]
        return [self.record(cast("Record", kind), row, path, ignore=ignore) for row in self._until_full(value)]

    def _until_full(self, rows: Iterable[Any]) -> Iterator[Any]:
        return takewhile(lambda _: not self.full, rows)

    def _tags(self, rows: Sequence[Any], path: Path) -> list[dict[str, str]]:
        tags: dict[str, None] = {}
        pairs = []
        fields = _TAGS.pair
        for row in self._until_full(rows):
            if not (isinstance(row, Mapping) and row.keys() == {"tag", "value"}):
                self.fault(path, f"must be rows of {{tag, value}}, not {_show(row)}")
                continue
            tag, value = (self._scalar(field, row[field.name], (*path, field.name)) for field in fields)
            if tag is _SKIP or value is _SKIP:
                continue
            if not self.text and tag in tags:
                self.fault(path, f"has the tag {_plain(tag)} twice; at this server version only one can be sent")
            if self.text and path not in self.pairs and ("=" in tag or ";" in tag or ";" in value):
                self.fault(path, "has a tag or value with = or ; in it, which separate them on the wire")
            tags[tag] = None
            pairs.append({"tag": tag, "value": value})
        return pairs

    def _of_kind(self, union: Union, row: Any, path: Path) -> Any:
        number = row.get(union.by.name) if isinstance(row, Mapping) else None
        if type(number) is not int or number not in union.kinds:
            kinds = ", ".join(f"{n} ({record.name})" for n, record in union.kinds.items())
            self.fault((*path, union.by.name), f"must be one of {kinds}")
            return {}
        rest = {name: value for name, value in row.items() if name != union.by.name}
        record = union.kinds[number]
        inner = _Check(
            self.request, self.version, command=self.command, listed=self.listed, order_types=self.order_types
        )
        inner.carried = frozenset((*path, field.name) for field in record.fields)
        inner.faults = self.faults
        return {union.by.name: number, **inner.record(record, rest, path)}

    def _why_not(self, path: Path) -> str:
        if (needed := later(self.request, self.version, path)) is not None:
            return f"needs server version {needed}; this connection has {self.version}"
        if (last := earlier(self.request, self.version, path)) is not None:
            return f"is not carried after server version {last}; this connection has {self.version}"
        return f"is not carried by {self.request.name}"

    def together(self, values: Mapping[str, Any]) -> None:
        """Note each value that another argument would leave off the wire."""
        if self.text:
            self._branches(resolve(self.request, self.version), values)
        elif self.request.swap and self.request.swap.lost:
            for path, why in self.request.swap.lost(values):
                self.fault(path, why)

    def _branches(self, steps: Sequence[Step], values: Mapping[str, Any]) -> None:
        for step in steps:
            if not isinstance(step, Branch):
                continue
            if compiled_test(step.test)(values):
                self._branches(step.steps, values)
                continue
            for path, default in _slots(step.steps):
                if (value := _find(values, path)) is not None and value != default:
                    self.fault(path, f"is only sent when {step.test.name}")


_SKIP: Any = object()
_TAGS = Tags()
_ALLOWED = dict.fromkeys([*range(32, 127), 9, 10, 13])


@cache
def _attributes(record: Record) -> tuple[Mapping[str, Field], tuple[Field, ...]]:
    """Return the fields that may be given of a record, by name, and those that must be."""
    return {field.name: field for field in record.shape}, tuple(field for field in record.shape if field.required)


def _tells_apart(field: Field, beside: Mapping[str, Any]) -> bool:
    """Return True if the attribute, by what is given `beside` it, tells its record from another one."""
    return field.apart is not None and compiled_test(field.apart)(beside)


def _may_be_unset(kind: Any) -> bool:
    return isinstance(kind, Scalar) and kind.sentinel is not None


def _pairs(steps: Sequence[Step]) -> Iterator[Path]:
    """Yield the paths of the tag lists that have a text field for each tag and value; the others are one text."""
    for step in steps:
        if isinstance(step, Branch):
            yield from _pairs(step.steps)
        elif isinstance(step, Loop) and isinstance(step.field.type, Tags):
            yield step.path


def _slots(steps: Sequence[Step]) -> Iterator[tuple[Path, Any]]:
    for step in steps:
        if isinstance(step, Branch):
            yield from _slots(step.steps)
        elif isinstance(step, Slot | Loop | Flagged):
            yield step.path, step.field.default


def _find(values: Mapping[str, Any], path: Path) -> Any:
    for name in path[:-1]:
        values = values.get(name) or {}
    return values.get(path[-1])


def _plain(text: str) -> str:
    """Return a name for a sentence that people read in a terminal: short, and without control characters."""
    return ascii(text[:60])[1:-1][:100]


def _show(value: Any) -> str:
    """Return a value for a sentence; of a value that may be large or deep, and costly to spell out, only its kind."""
    if isinstance(value, str | bytes):
        return ascii(value[:60])[:100]
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, float | bool | None) or (isinstance(value, int) and value.bit_length() <= 64):
        return repr(value)
    kinds = {"dict": "a map", "list": "a list", "tuple": "a list", "int": "a larger one"}
    return kinds.get(type(value).__name__, f"a {_plain(type(value).__name__)}")
