"""Canonical data for any declaration at any version: what is written must be read back as it was.

Derived from the declarations, so that a message is tested by being declared. Canonical form: a record leaves out what
equals its default; a message, and a row of a `full` record, has every key. Values are drawn in the order of the layout
(text) or of the members (protobuf), so that blocks which depend on earlier values are drawn only where they are on the
wire. What is not drawn, and why, is written where it is left out; in short, what an encoding cannot tell apart:

* an unset value where the form has no way to say unset (a text in the text form, an absent flag in protobuf);
* the numbers and texts that mean unset;
* a NUL in a text field, which ends it, and half a surrogate pair, which is no character;
* in a one-field tag list, the characters that separate tags;
* in a protobuf map, a tag that comes twice, and an order of tags;
* in a date that text splits, blanks and dashes inside a part.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from hypothesis import strategies as st

from ibbridge.codec import types as t
from ibbridge.codec.layout import Branch, Flagged, Length, Loop, SameSlot, Slot, SplitSlot, Step, resolve, sendable
from ibbridge.codec.proto import is_told
from ibbridge.codec.schema import (
    Const,
    Declaration,
    Field,
    Inline,
    Mask,
    Member,
    Path,
    Record,
    Request,
    Spread,
    Tags,
    Test,
    Union,
)
from ibbridge.codec.text import compiled_test

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


# -- values of each type ----------------------------------------------------------------------------------------------

_INT32 = st.integers(-(2**31), 2**31 - 2) | st.sampled_from([0, 1, -1, 2**31 - 2, -(2**31)])
_INT64 = st.integers(-(2**63), 2**63 - 2) | st.sampled_from([0, 1, 2**31, 2**63 - 2, -(2**63)])
_DOUBLES = st.floats().filter(lambda value: abs(value) != t.UNSET_FLOAT) | st.sampled_from([0.0, 0.1, math.inf])
_SENT_DOUBLES = _DOUBLES.filter(lambda value: not math.isnan(value))  # refused: no price is no number
_QUANTITIES = _DOUBLES.filter(lambda value: t.decimal_text(value) not in t.UNSET_DECIMALS)
_SENT_QUANTITIES = st.floats(-1e30, 1e30, allow_nan=False).filter(
    lambda value: (not value or abs(value) > 1e-25) and t.decimal_text(value) not in t.UNSET_DECIMALS
)
_WHOLE = st.integers(-(2**31), 2**31 - 2).map(float)
_CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
_ASCII = st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\t\r\n")
_TEXTS = st.text(_CHARACTERS, max_size=6) | st.sampled_from(["", "AAPL", "café", "日本", r"\u00e9", "a\\", "🂡", "-"])
_SENT_TEXTS = st.text(_ASCII, max_size=6) | st.sampled_from(["", "AAPL", "a\\u", "1;2=3"])

# A day, a time and a zone of a date that comes in one field; all or the first few. A zone may have dashes and blanks.
_ZONES = ("US/Central", "GB-Eire", "Etc/GMT-5", "America/Port-au-Prince", "Central European Standard Time")
DATES = st.sampled_from(
    [(), ("20261218",), ("20261218", "08:30:00"), *(("20261218", "08:30:00", zone) for zone in _ZONES)]
)

_GAPPED_DATES = st.sampled_from([("", "08:30:00"), ("20261218", "", "US/Central"), ("", "", "US/Central")])


def _meant(field: Field, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Restrict values to those that a client may give: IB's words, numbers not too low, texts not too long."""
    if field.words:
        spelt = [word for word in (*field.words.listed, "1 D", "300 S") if field.words.has(word)]
        values = st.sampled_from(spelt if field.required or field.default else ["", *spelt])
    if field.least is not None:
        least = field.least
        values = values.filter(lambda value: bool(value >= least))
    if field.most:
        values = values.filter(lambda value: not isinstance(value, str) or len(value) <= field.most)
    return values


def _number_texts(kind: t.Scalar) -> st.SearchStrategy[str]:
    """Amounts: text, whose form in protobuf is that of the double."""
    read = cast("Callable[[float], str]", kind.from_proto)
    return st.floats(allow_nan=False, allow_infinity=False).map(read) | st.sampled_from(["", read(100.0)])


class _Kinds:
    """Values that may be drawn for a scalar, in one direction and encoding."""

    def __init__(self, *, sent: bool, text: bool) -> None:
        self._text = text
        ascii_only = sent and text
        texts = _SENT_TEXTS if ascii_only else _TEXTS
        doubles = _SENT_DOUBLES if sent else _DOUBLES
        bools = st.booleans()
        self._table: dict[t.Scalar, st.SearchStrategy[Any]] = {
            t.INT: _INT32,
            # Text does not say how wide a field is: the unset int is also the unset long.
            t.LONG: _INT64.filter(lambda value: value != t.UNSET_INT) if text else _INT64,
            t.FLOAT: doubles,
            t.DECIMAL: _SENT_QUANTITIES if sent else _QUANTITIES,
            t.STR: texts,
            t.ESCAPED: texts,
            t.EXPIRY: st.sampled_from(["", "202612", "20261218"]) if sent else texts,
            t.BOOL: bools,
            t.WORD: bools,
            t.CONNECTOR: bools,
            t.FLAG: st.sampled_from([0, 1]),
            t.TRUTH: bools,
            t.RATIO: _number_texts(t.RATIO),
            t.AMOUNT: _number_texts(t.AMOUNT),
            t.PERCENT: _WHOLE,
            t.TICK: doubles,
            t.DATE: _INT32,
            t.WHOLE: _WHOLE if text else doubles,  # an integer in text
        }

    def of(self, kind: t.Scalar) -> st.SearchStrategy[Any]:
        if kind.known:
            return st.sampled_from(["", *kind.known])
        if kind.name == "computed":  # some numbers of an option computation say that it was not computed
            computed = cast("Callable[[float], float | None]", kind.from_proto)
            return _DOUBLES.filter(lambda value: computed(value) is not None)
        return self._table[kind]


# -- data of a declaration --------------------------------------------------------------------------------------------


@st.composite
def canonical(draw: Any, declaration: Declaration, version: int) -> dict[str, Any]:
    """Data of `declaration` in canonical form, with every key that its reader gives at `version`."""
    form = _Protobuf if declaration.in_protobuf(version) else _Text
    return form(draw, declaration, version).data()


@st.composite
def common(draw: Any, declaration: Declaration, version: int) -> dict[str, Any]:
    """Draw data that both encodings can express: text at `version`, and protobuf. Other fields have their defaults."""
    return _Both(draw, declaration, version).data()


class _Form:
    """Draws raw values into nested maps; `_finished` makes the canonical form of them."""

    text: bool

    def __init__(self, draw: Any, declaration: Declaration, version: int) -> None:
        self.draw = draw
        self.declaration = declaration
        self.version = version
        self.sent = isinstance(declaration, Request)
        self.kinds = _Kinds(sent=self.sent, text=self.text)
        self.raw: dict[str, Any] = {}
        self.about = dict(_about(declaration))
        # An order has 150 fields. Half of the examples fill all, half only a few, which shrinks and finds better.
        self.chosen: set[int] | None = draw(st.none() | st.sets(st.integers(0, 160), max_size=8))
        self.count = 0

    def data(self) -> dict[str, Any]:
        self.fill()
        shape = self.declaration.shape
        for each in shape.fields:
            if each.only and not compiled_test(each.only)(self.raw):
                self.raw.pop(each.name, None)
        return self._finished(shape, self.raw)

    def fill(self) -> None:
        raise NotImplementedError

    def absent(self, field: Field) -> Any:
        """Return the value that is read where no value was written."""
        raise NotImplementedError

    def holds(self, field: Field, value: Any, *, blank: bool) -> bool:
        """Return True if the form can tell this value from others."""
        raise NotImplementedError

    def one(self, field: Field, path: Path, *, blank: bool = False) -> Any:
        """A value for a scalar field, or its default."""
        kind = cast("t.Scalar", field.type)
        self.count += 1
        if self.declaration.kind and path == (self.declaration.kind[0],):
            return self.draw(st.sampled_from(sorted(self.declaration.kind[1])))  # the field that tells it from others
        unset = self.holds(field, None, blank=blank) and not field.required
        if self.sent:  # unset is refused where IB has no word for it
            unset = unset and (field.default is None or kind.sentinel is not None)
        usable = self.holds(field, field.default, blank=blank) and (field.default is not None or unset)
        named = self.about.get(path, ())  # what some condition waits for
        if usable and not field.required and not named and self.chosen is not None and self.count not in self.chosen:
            return field.default
        values = self.kinds.of(kind).filter(lambda value: self.holds(field, value, blank=blank))
        if field.refused:
            values = values.filter(lambda value: value not in field.refused)
        if self.sent:
            values = _meant(field, values)
        if named:
            values = st.sampled_from(named) | values
        if unset:
            values = values | st.none()
        return self.draw(values)

    def tags(self, *, pairs: bool) -> list[dict[str, str]]:
        tag, value = self.kinds.of(t.STR), self.kinds.of(t.STR)
        if not pairs:
            tag = tag.filter(lambda text: not set("=;") & set(text))
            value = value.filter(lambda text: ";" not in text)
        rows = st.lists(st.fixed_dictionaries({"tag": tag, "value": value}), max_size=3)
        return cast("list[dict[str, str]]", self.draw(rows))

    def flags(self, mask: Mask) -> dict[str, bool]:
        return {bit: True for bit in mask.bits if self.draw(st.booleans())}

    def rows(self, field: Field, row: Callable[[], Any]) -> list[Any]:
        if isinstance(field.type, t.Scalar):
            values = self.kinds.of(field.type)
            if field.distinct:
                values = values.filter(lambda value: value == value)  # noqa: PLR0124 - no set has NaN once
                return sorted(set(self.draw(st.lists(values, max_size=4))))
            return cast("list[Any]", self.draw(st.lists(values, max_size=3)))
        return [row() for _ in range(self.draw(st.integers(0, 2)))]

    def put(self, path: Path, value: Any) -> None:
        _put(self.raw, path, value)

    def _finished(self, record: Record, given: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for each in record.shape:
            value = given[each.name] if each.name in given else self.absent(each)
            if isinstance(each.type, Record) and not each.many and value is not None:
                value = self._finished(each.type, value)
            if record.full or value != each.default:
                found[each.name] = value
        return found


def _about(declaration: Declaration) -> Iterator[tuple[Path, tuple[Any, ...]]]:
    for test in _tests(declaration):
        yield from test.about.items()


def _tests(declaration: Declaration) -> Iterator[Test]:
    def inside(steps: Sequence[Step]) -> Iterator[Test]:
        for step in steps:
            if isinstance(step, Branch):
                yield step.test
            if isinstance(step, Branch | Flagged | Loop):
                yield from inside(step.steps)

    yield from (each.only for each in declaration.shape.fields if each.only)
    if declaration.layout is not None:
        yield from inside(resolve(declaration, 200))


def _put(raw: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        raw = raw.setdefault(name, {})
    raw[path[-1]] = value


def _get(raw: Mapping[str, Any], path: Path) -> Any:
    for name in path[:-1]:
        raw = raw.get(name) or {}
    return raw.get(path[-1])


# -- text -------------------------------------------------------------------------------------------------------------


class _Text(_Form):
    text = True

    def fill(self) -> None:
        self._steps(resolve(self.declaration, self.version), self.raw)

    def absent(self, field: Field) -> Any:
        return field.default

    def holds(self, field: Field, value: Any, *, blank: bool) -> bool:
        """Numbers have a sentinel, flags an empty field where the layout says so; text is never unset."""
        kind = cast("t.Scalar", field.type)
        if value is not None:
            return True
        return kind.name in ("int", "long", "float", "decimal", "flag", "whole", "computed") or (
            blank and kind.name == "bool"
        )

    def _steps(self, steps: Sequence[Step], raw: dict[str, Any]) -> None:  # noqa: C901 - one case for each kind of step
        for step in steps:
            match step:
                case Const() | Length():
                    pass
                case Slot():
                    if _get(raw, step.path) is None:  # the same field at a second place has the same value
                        _put(raw, step.path, self._slot(step))
                case SameSlot():
                    value = self._slot(step.slots[0])
                    for slot in step.slots:
                        _put(raw, slot.path, value)
                case SplitSlot():
                    parts = self.draw(DATES | _GAPPED_DATES)
                    for place, part in zip(step.slots, (*parts, "", "", ""), strict=False):
                        _put(raw, place.path, part)
                case Branch():
                    if compiled_test(step.test)(raw):
                        self._steps(step.steps, raw)
                case Flagged():
                    self._flagged(step, raw)
                case Loop():
                    _put(raw, step.path, self._loop(step))

    def _slot(self, slot: Slot) -> Any:
        if isinstance(slot.field.type, Mask):
            return self.flags(slot.field.type)
        if isinstance(slot.field.type, Tags):
            return self.tags(pairs=False)
        return self.one(slot.field, slot.path, blank=slot.blank)

    def _flagged(self, step: Flagged, raw: dict[str, Any]) -> None:
        if self.draw(st.booleans()):
            _put(raw, step.path, {})
            self._steps(step.steps, raw)
        else:
            _put(raw, step.path, None)

    def _loop(self, step: Loop) -> list[Any]:
        if isinstance(step.field.type, Tags):
            return self.tags(pairs=True)
        return self.rows(step.field, lambda: self._row(step))

    def _row(self, step: Loop) -> dict[str, Any]:
        raw: dict[str, Any] = {}
        if isinstance(step.field.type, Union):
            number = self.draw(st.sampled_from(sorted(step.kinds)))
            self._steps(step.kinds[number], raw)
            return {step.field.type.by.name: number, **self._finished(step.field.type.kinds[number], raw)}
        self._steps(step.steps, raw)
        return self._finished(cast("Record", step.field.type), raw)


# -- protobuf ---------------------------------------------------------------------------------------------------------


def _in_protobuf(field: Field, value: Any, *, told: bool) -> bool:
    """Texts and flags that are false are left out unless they must be there, so they read as absent ones."""
    kind = cast("t.Scalar", field.type)
    if value is None:
        return field.absent is None or kind.sentinel is not None
    left_out = kind.proto in ("string", "bool") and not (kind.to_proto(value) if kind.to_proto else value)
    means = field.missing(told=told)
    return not (left_out or value == "") or field.always or means == value or means is True


def _as_map(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    unique = {row["tag"]: row for row in rows}
    return [unique[tag] for tag in sorted(unique)]


class _Protobuf(_Form):
    text = False

    def fill(self) -> None:
        self._members(self.declaration.fields, self.raw, ())
        if self.declaration.swap:
            adjust = SWAPS[self.declaration.swap.read.__name__]
            adjust(self, self.raw)

    def absent(self, field: Field) -> Any:
        return field.missing(told=is_told(self.declaration))

    def holds(self, field: Field, value: Any, *, blank: bool) -> bool:
        return _in_protobuf(field, value, told=is_told(self.declaration))

    def _members(self, members: Sequence[Member], raw: dict[str, Any], under: Path) -> None:
        for member in members:
            if isinstance(member, Spread):
                self._members(member.record.fields, raw.setdefault(member.name, {}), (*under, member.name))
            elif not (member.tag and sendable(self.declaration, member, self.version)):
                continue
            elif isinstance(member, Inline):
                self._members(member.fields, raw, under)
            elif not member.hidden:
                _put(raw, member.path, self._field(member, (*under, *member.path)))

    def _field(self, field: Field, path: Path) -> Any:
        kind = field.type
        if isinstance(kind, Tags):  # a map: sorted by tag, each once
            return _as_map(self.tags(pairs=True))
        if field.many:
            return self.rows(field, lambda: self._row(field))
        if isinstance(kind, Mask):
            return self.flags(kind)
        if isinstance(kind, Record):
            if field.default is None and not self.draw(st.booleans()):
                return None
            raw: dict[str, Any] = {}
            self._members(kind.fields, raw, path)
            return raw
        return self.one(field, path)

    def _row(self, field: Field) -> dict[str, Any]:
        raw: dict[str, Any] = {}
        if isinstance(field.type, Union):
            number = self.draw(st.sampled_from(sorted(field.type.kinds)))
            record = field.type.kinds[number]
            self._members(record.fields, raw, ())
            return {field.type.by.name: number, **self._finished(record, raw)}
        record = cast("Record", field.type)
        self._members(record.fields, raw, ())
        return self._finished(record, raw)


# -- both -------------------------------------------------------------------------------------------------------------


class _Both(_Text):
    """Along the text layout, what protobuf has a field for and can tell from other values."""

    def fill(self) -> None:
        super().fill()
        if self.raw.get("contract") and "order" in self.raw:  # protobuf has a combo leg's price in the leg
            self.raw["contract"].setdefault("comboLegs", [])
            _leg_prices(self, self.raw)
            if not self.draw(st.booleans()):  # text may have no prices at all
                del self.raw["order"]["orderComboLegs"]

    def holds(self, field: Field, value: Any, *, blank: bool) -> bool:
        return super().holds(field, value, blank=blank) and _in_protobuf(field, value, told=is_told(self.declaration))

    def one(self, field: Field, path: Path, *, blank: bool = False) -> Any:
        return super().one(field, path, blank=blank) if field.tag else field.default

    def tags(self, *, pairs: bool) -> list[dict[str, str]]:
        return _as_map(super().tags(pairs=pairs))


# -- what the few swaps of shape between protobuf and the published data make canonical ------------------------------


def _date_and_time(form: _Form, raw: dict[str, Any]) -> None:
    """Day and time, which share a field, stand in two places of the data. A third part is not published."""
    parts = form.draw(DATES)[:2]
    for path, part in zip((("contract", "lastTradeDateOrContractMonth"), ("lastTradeTime",)), ("", ""), strict=True):
        _put(raw["contractDetails"], path, part)
    for path, part in zip((("contract", "lastTradeDateOrContractMonth"), ("lastTradeTime",)), parts, strict=False):
        _put(raw["contractDetails"], path, part)


def _maturity(form: _Form, raw: dict[str, Any]) -> None:
    """A bond's contract keeps the whole."""
    parts = form.draw(DATES)
    _put(raw, ("contractDetails", "contract", "lastTradeDateOrContractMonth"), " ".join(parts))
    raw["contractDetails"].update(zip(("maturity", "lastTradeTime", "timeZoneId"), parts, strict=False))


def _leg_prices(form: _Form, raw: dict[str, Any]) -> None:
    """A leg has its price beside it: as many prices as legs."""
    prices = [form.draw(st.none() | form.kinds.of(t.FLOAT)) for _ in raw["contract"]["comboLegs"]]
    raw["order"]["orderComboLegs"] = [{} if price is None else {"price": price} for price in prices]


def _order_id(form: _Form, raw: dict[str, Any]) -> None:
    """An order without its own id takes the message's."""
    _leg_prices(form, raw)
    raw["order"]["orderId"] = raw["order"]["orderId"] or raw["orderId"] or 0


def _components(_: _Form, raw: dict[str, Any]) -> None:
    """A map by bit number, where the last of several wins."""
    rows = raw["smartComponentMap"]
    raw["smartComponentMap"] = {str(row["bitNumber"] or 0): [row["exchange"], row["exchangeLetter"]] for row in rows}


SWAPS: dict[str, Callable[[_Form, dict[str, Any]], None]] = {
    "_split_date": _date_and_time,
    "_split_maturity": _maturity,
    "_leg_prices_out": _leg_prices,
    "_open_order_out": _order_id,
    "_by_bit": _components,
}
