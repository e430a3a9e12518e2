r"""Scalar types: how a value is spelt as text field and as protobuf field, and what a command may give for it.

This module is one table of types and must not know messages. Each `Scalar` carries source templates for the text form,
because readers and writers are generated (see `text.py`), and functions for the protobuf form. Unset is `None`
everywhere; IB's sentinels for unset values are written down here and nowhere else.

Sources: empty and unset fields as IB's own client reads them (`decode` and `make_field_handle_empty`), the escapes of
`\uXXXX` since server version 153.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

UNSET_INT = 2147483647
UNSET_LONG = 9223372036854775807
UNSET_INTS = frozenset((UNSET_INT, UNSET_LONG))  # text does not say how wide a field is
UNSET_FLOAT = 1.7976931348623157e308
UNSET_DECIMALS = frozenset(
    (
        "",
        "2147483647",
        "9223372036854775807",
        "-9223372036854775808",
        "1.7976931348623157E308",
        "1.7976931348623157e+308",
    )
)
"""Texts that are known to mean an unset decimal."""

LONGEST_TEXT = 256
LONGEST_NUMBER = 64
"""Most characters of a client's text where nothing else is said, and of a number that is given as text."""

_INT32 = range(-(2**31), 2**31 - 1)  # the largest integer is the sentinel and so not a value
_INT64 = range(-(2**63), 2**63 - 1)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
SURROGATES = re.compile("[\ud800-\udfff]")
_MOMENT = re.compile(r"(\d*)(?:\s+|-)(\d[\d:.]*|(?=-))(?:(?:\s+|-)(.+))?", re.ASCII | re.DOTALL)


def unescape(text: str) -> str:
    r"""Return the text without `\uXXXX` escapes: `caf\u00e9` → `café`.

    Other backslashes stay as they are, as in every client but IB's own.
    """
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    if SURROGATES.search(plain):  # a character beyond U+FFFF arrives as two escapes
        plain = plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return plain


def escape(text: str) -> str:
    r"""Return the text with escapes: the inverse of `unescape`.

    Escaped are all characters outside ASCII, a NUL, and a backslash that would look like an escape.
    """
    text = text.replace("\\u", "\\u005cu").replace("\0", "\\u0000")
    if text.isascii():
        return text
    units = text.encode("utf-16-be", "surrogatepass")
    pairs = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(chr(unit) if 0 < unit < 128 else f"\\u{unit:04x}" for unit in pairs)


def number_text(value: float) -> str:
    """Return the shortest text that reads back as the same double: `150`, `0.1`, `1e-05`, `Infinity`."""
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return "NaN" if math.isnan(value) else repr(float(value)).removesuffix(".0")


def whole_text(value: float) -> str:
    """Return a double as text where an integer is read: a whole number never gets an exponent."""
    return str(int(value)) if float(value).is_integer() else number_text(value)


def distinct(values: Iterable[Any]) -> list[Any]:
    """Return a set of values in order, without unset values and NaN."""
    return sorted({value for value in values if value is not None and value == value})  # noqa: PLR0124 - NaN


def decimal_text(value: Any) -> str:
    """Return a quantity in plain notation, exactly: `0.00000001`, `1000000`.

    `value` is a Decimal, int, float or text. The digits of a Decimal or a text stay as they are given; a float has as
    many as it takes to read the same double back.
    """
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    return format(Decimal(value), "f")


def split_date(text: str, parts: int) -> list[str]:
    """Return date, time and zone of one field, padded or cut to `parts`.

    Blanks or dashes separate them: `20251219 08:30:00 GB-Eire`, `20251219-08:30:00`. A zone may contain either
    (`NZ-CHAT`, `Central European Standard Time`), so a text with blanks is not split at its dashes.
    """
    text = text.strip()
    if found := _MOMENT.fullmatch(text):
        words = [word or "" for word in found.groups()]
    else:
        words = text.split(None, 2)
        words = words if len(words) > 1 else text.split("-", 2)
    return (words + [""] * parts)[:parts]


def only_date(text: str) -> str:
    """Return the date of a text that has a time or a zone behind the date; any other text as it is."""
    date, *rest = split_date(text, 3)
    return date if any(rest) and date.isdecimal() and len(date) in (6, 8) else text


def join_date(*parts: str | None) -> str:
    """Return the inverse of `split_date`. Dashes stand only where the time is missing but the zone is not."""
    given = [part or "" for part in parts]
    while given and not given[-1]:
        given.pop()
    return " ".join(given) if all(given) else "-".join(given)


class _Flags(dict[str, bool]):
    """Map from text to bool. Only 0 and 1 are stored: any other integer is rare, and true."""

    def __missing__(self, text: str) -> bool:
        return int(text) != 0


class _Words(dict[str, bool]):
    """Map from text to bool: `true` and `false` in any case, or an integer."""

    def __missing__(self, text: str) -> bool:
        word = text.lower()
        return word == "true" if word in ("true", "false") else int(text) != 0


class _Cached(dict[str, Any]):
    """Cache of text to number: ids, tick types and sizes repeat, and a look-up costs a third of a conversion."""

    def __init__(self, load: Callable[[str], Any], longest: int) -> None:
        super().__init__()
        self._load = load
        self._longest = longest

    def __missing__(self, text: str) -> Any:
        value = self._load(text)
        if len(self) < MOST_CACHED and len(text) <= self._longest:
            self[text] = value
        return value


MOST_CACHED = 16_384
LONGEST_CACHED = 24
LONGEST_SIZE = 5
"""Longest size, in characters, that is cached: a longer one is a volume, which only rises, and would fill the cache
with texts that never come again."""


def _int(text: str) -> int | None:
    value = int(text or 0)
    return None if value == UNSET_INT else value


def _decimal(text: str) -> float | None:
    return None if text in UNSET_DECIMALS else float(text)


INTS = _Cached(_int, LONGEST_CACHED)
DECIMALS = _Cached(_decimal, LONGEST_SIZE)
FLAGS = _Flags({"0": False, "1": True, "": False})
WORDS = _Words({"true": True, "false": False, "": False})


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """Type of single values.

    The templates are Python source: `{x}` stands for the text of a field, `{v}` for a value that is not None. `load`
    reads an empty field as zero, `load_unset` as unset. `unset` is the text of an unset value where the layout does not
    ask for an empty field. `coerce` returns a command's value in the form that is written, and raises `ValueError` on a
    value of another type. `known` lists the only values, where there are few. `longest` is the most characters of a
    command's text where its field sets no limit.
    """

    name: str
    proto: str
    zero: Any
    load: str
    load_unset: str
    dump: str
    unset: str
    coerce: Callable[[Any], Any]
    from_proto: Callable[[Any], Any] | None = None
    to_proto: Callable[[Any], Any] | None = None
    known: tuple[str, ...] = ()
    longest: int = 0

    def expected(self) -> str:
        """Return a description, for people, of the values that a command may give."""
        return _EXPECTED[self.name]

    @property
    def sentinel(self) -> float | str | None:
        """Value that means unset in protobuf, for types that are numbers in protobuf or in text; else None."""
        if self.proto == "string" and self.name in _NUMBERS:
            return self.unset
        return SENTINELS.get(self.proto) if self.name in _NUMBERS else None


SENTINELS = {"int32": UNSET_INT, "int64": UNSET_LONG, "double": UNSET_FLOAT}
_NUMBERS = frozenset(("int", "long", "float", "computed", "whole"))


_EXPECTED = {
    "int": "an integer of 32 bits",
    "long": "an integer of 64 bits",
    "float": "a number",
    "decimal": "a number or decimal text",
    "str": "text",
    "bool": "true or false",
    "flag": "0 or 1",
    "amount": "a number or its text",
    "connector": "true or false",
    "computed": "a number",
    "whole": "a whole number",
    "code": "one of IB's codes",
}


def _whole(within: range) -> Callable[[Any], int]:
    def coerce(value: Any) -> int:
        if type(value) is not int or value not in within:
            raise ValueError
        return value

    return coerce


def _real(value: Any) -> float:
    if value in ("Infinity", "-Infinity"):  # JSON has no number for infinity; up-to-mid offsets need it
        return float(value)
    if type(value) not in (int, float):
        raise ValueError
    try:
        number = float(value)
    except OverflowError:  # an integer that no double holds
        raise ValueError from None
    if math.isnan(number) or abs(number) == UNSET_FLOAT:
        raise ValueError
    return number


def _integral(value: Any) -> float:
    if not _real(value).is_integer() or int(value) not in _INT32:
        raise ValueError
    return float(value)


def _quantity(value: Any) -> Any:
    if type(value) is Decimal:
        number = value
    elif type(value) in (int, float, str) and len(str(value)) <= LONGEST_NUMBER:
        try:
            number = Decimal(decimal_text(value) if type(value) is float else str(value))
        except InvalidOperation:
            raise ValueError from None
    else:
        raise ValueError
    if not number.is_finite() or abs(number.adjusted()) > 30 or decimal_text(number) in UNSET_DECIMALS:
        raise ValueError
    return number


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError
    return value


def _expiry(value: Any) -> str:
    return only_date(_text(value))


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _flag(value: Any) -> int:
    if type(value) not in (bool, int) or value not in (0, 1):
        raise ValueError
    return int(value)


def _amount(value: Any) -> str:
    if type(value) is str and (not value or _NUMBER.fullmatch(value)):
        return value
    return number_text(_real(value))


def _unset_if(sentinel: float) -> Callable[[Any], Any]:
    return lambda value: None if value == sentinel else value


def _strict_float(text: str) -> float:
    return float(text) if text else 0.0


def _tick(text: str) -> float | None:
    value = _strict_float(text)
    return None if value == UNSET_FLOAT else value


_UNSET_AMOUNT = frozenset(("1.7976931348623157E308", "1.7976931348623157e+308"))


def _double_text(value: float) -> str:
    """Return a double as IB's client writes one as a decimal: without exponent, `100.0`."""
    return format(Decimal(repr(value)), "f")


def _amount_of(spell: Callable[[float], str]) -> Callable[[float], str]:
    return lambda value: "" if value == UNSET_FLOAT else spell(value)


_LOAD_AMOUNT = "('' if (t := {x}) in UNSET_AMOUNT else t)"
_LOAD_INT = "INTS[{x}]"
_LOAD_INT_UNSET = "(None if not (t := {x}) or (v := int(t)) == 2147483647 else v)"
_LOAD_FLOAT = "(None if (v := float({x} or 0)) == MAX else v)"
_LOAD_FLOAT_UNSET = "(None if not (t := {x}) or (v := float(t)) == MAX else v)"

INT = Scalar(
    "int", "int32", 0, _LOAD_INT, _LOAD_INT_UNSET, "str({v})", "2147483647", _whole(_INT32), _unset_if(UNSET_INT)
)
LONG = Scalar(
    "long",
    "int64",
    0,
    "(None if (v := int({x} or 0)) in UNSET_INTS else v)",
    "(None if not (t := {x}) or (v := int(t)) in UNSET_INTS else v)",
    "str({v})",
    "9223372036854775807",
    _whole(_INT64),
    _unset_if(UNSET_LONG),
)
FLOAT = Scalar(
    "float",
    "double",
    0.0,
    _LOAD_FLOAT,
    _LOAD_FLOAT_UNSET,
    "number_text({v})",
    "1.7976931348623157E308",
    _real,
    _unset_if(UNSET_FLOAT),
)
DECIMAL = Scalar(
    "decimal",
    "string",
    None,
    "DECIMALS[{x}]",
    "DECIMALS[{x}]",
    "decimal_text({v})",
    "",
    _quantity,
    _decimal,
    decimal_text,
    longest=LONGEST_NUMBER,
)
STR = Scalar("str", "string", "", "{x}", "{x}", "{v}", "", _text, longest=LONGEST_TEXT)
ESCAPED = replace(STR, load="(unescape(t) if '\\\\' in (t := {x}) else t)", dump="escape({v})")
EXPIRY = replace(STR, coerce=_expiry)
"""Date of a contract. A request has no room for the time and the zone that contract details may have behind the
date."""
_LOAD_BOOL_UNSET = "(None if not (t := {x}) else FLAGS[t])"
BOOL = Scalar("bool", "bool", False, "FLAGS[{x}]", _LOAD_BOOL_UNSET, "('1' if {v} else '0')", "", _truth)
WORD = Scalar("bool", "bool", False, "WORDS[{x}]", "WORDS[{x}]", "('true' if {v} else 'false')", "", _truth)
CONNECTOR = Scalar("connector", "bool", True, "({x} == 'a')", "({x} == 'a')", "('a' if {v} else 'o')", "a", _truth)
"""Conjunction between an order condition and the next: `a` and, `o` or."""

# Types that differ between text and protobuf, and are published in one shape.
FLAG = Scalar("flag", "bool", 0, _LOAD_INT, _LOAD_INT_UNSET, "str({v})", "2147483647", _flag, int, bool)
"""Integer 0 or 1 in text, a bool in protobuf (`liquidation`, `useRTH`)."""
TRUTH = Scalar(
    "bool",
    "int32",
    False,
    "FLAGS[{x}]",
    _LOAD_BOOL_UNSET,
    "('1' if {v} else '0')",
    "",
    _truth,
    lambda value: None if value == UNSET_INT else bool(value),
    int,
)
"""A bool in text, an integer in protobuf (`usePriceMgmtAlgo`)."""
RATIO = Scalar(
    "amount",
    "double",
    "",
    _LOAD_AMOUNT,
    _LOAD_AMOUNT,
    "{v}",
    "",
    _amount,
    _amount_of(decimal_text),
    _strict_float,
    longest=LONGEST_NUMBER,
)
"""Number kept as text, because its digits matter little; a double in protobuf (`multiplier`)."""
AMOUNT = replace(RATIO, from_proto=_amount_of(_double_text))
"""Number like `RATIO`, but spelt as IB's client writes a double: the margins of an order state."""
PERCENT = Scalar(
    "whole",
    "int32",
    0.0,
    _LOAD_FLOAT,
    _LOAD_FLOAT_UNSET,
    "number_text({v})",
    "1.7976931348623157E308",
    _integral,
    lambda value: None if value == UNSET_INT else float(value),
    int,
)
"""A double in text, an integer in protobuf: whole numbers only (the percent of a margin condition)."""
TICK = Scalar(
    "float",
    "string",
    0.0,
    _LOAD_FLOAT,
    _LOAD_FLOAT_UNSET,
    "number_text({v})",
    "1.7976931348623157E308",
    _real,
    _tick,
    number_text,
)
"""A double in text, text in protobuf (`minTick`)."""
DATE = Scalar("int", "string", 0, _LOAD_INT, _LOAD_INT_UNSET, "str({v})", "2147483647", _whole(_INT32), _int, str)
"""A date as an integer in text, text in protobuf (`yieldRedemptionDate`)."""

WHOLE = Scalar(
    "float",
    "double",
    0.0,
    "(None if (v := int({x} or 0)) == 2147483647 else float(v))",
    "(None if not (t := {x}) or (v := int(t)) == 2147483647 else float(v))",
    "whole_text({v})",
    "2147483647",
    _real,
    _unset_if(UNSET_FLOAT),
)
"""An integer in text, a double in protobuf (`evMultiplier` of contract details)."""


def codes(*known: str) -> Scalar:
    """Return the type of a code of IB's. A code that IB's client does not know reads as empty."""
    load = "(t if (t := {x}) in " + repr(known) + " else '')"
    read = dict(zip(known, known, strict=True))
    return Scalar("code", "string", "", load, load, "{v}", "", _text, lambda text: read.get(text, ""), str, known)


def _computed(condition: str, sentinel: float) -> Scalar:
    """Return the type of a number in an option computation. `condition`, on `v`, means that IB has not computed it."""
    unset = eval(f"lambda v: None if {condition} or v == {UNSET_FLOAT!r} else v")  # noqa: S307 - from the lines below
    load = "(None if (v := float({x} or 0)) == MAX or " + condition + " else v)"
    return Scalar("computed", "double", 0.0, load, load, "number_text({v})", str(sentinel), _real, unset)


VOLATILITY = _computed("v < 0", -1)
GREEK = _computed("v == -2", -2)
MODEL_PRICE = _computed("v == -1", -1)

NAMESPACE = {
    "MAX": UNSET_FLOAT,
    "UNSET_INTS": UNSET_INTS,
    "UNSET_DECIMALS": UNSET_DECIMALS,
    "UNSET_AMOUNT": _UNSET_AMOUNT,
    "INTS": INTS,
    "DECIMALS": DECIMALS,
    "FLAGS": FLAGS,
    "WORDS": WORDS,
    "number_text": number_text,
    "whole_text": whole_text,
    "distinct": distinct,
    "decimal_text": decimal_text,
    "escape": escape,
    "unescape": unescape,
}
"""Names that generated source may use."""
