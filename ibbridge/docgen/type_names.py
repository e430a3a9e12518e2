"""Types of values, in words and as JSON Schema: the published form, and the form that a command may give.

The table has a row for each `Scalar` name. Fragments are flat (`type` is a list where there is a choice), because
generators of code in other languages handle that best. Unset is nil everywhere; the caller, who knows whether a value
can be unset, adds nil.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ibbridge.codec import types as t

if TYPE_CHECKING:
    from ibbridge.codec.schema import Field

Fragment: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ValueType:
    """Type of values. `unset`: TWS has a sentinel for unset, so the value can be nil wherever it stands."""

    word: str
    published: Fragment
    accepted: Fragment
    says: str
    takes: str
    unset: bool = False


def _type(*names: str, **more: Any) -> dict[str, Any]:
    return {"type": names[0] if len(names) == 1 else list(names), **more}


_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_INFINITY = "-?Infinity"
_INT32 = {"minimum": -t.UNSET_INT - 1, "maximum": t.UNSET_INT - 1}  # the largest means unset
_INT64 = {"minimum": -t.UNSET_LONG - 1, "maximum": t.UNSET_LONG - 1}
_REAL = _type("number", "string", pattern=f"^{_INFINITY}$")

# `format` gives the width that IB declares for an integer, but no bound: TWS can send more digits as text.
KINDS: Mapping[str, ValueType] = {
    "int": ValueType(
        "integer",
        _type("integer", format="int32"),
        _type("integer", **_INT32),
        "an integer, of 32 bits in IB's declaration",
        "an integer of 32 bits, but not 2147483647, which means unset",
        unset=True,
    ),
    "long": ValueType(
        "long integer",
        _type("integer", format="int64"),
        _type("integer", **_INT64),
        "an integer of 64 bits",
        "an integer of 64 bits, but not 9223372036854775807, which means unset",
        unset=True,
    ),
    "float": ValueType(
        "number",
        _type("number"),
        _REAL,
        "a number: a double",
        'a number, or one of the texts "Infinity" and "-Infinity", for which JSON has no number',
        unset=True,
    ),
    "computed": ValueType(
        "computed number",
        _type("number"),
        _REAL,
        "a number; nil where TWS has not computed it",
        "as *number*",
        unset=True,
    ),
    "whole": ValueType(
        "whole number",
        _type("number"),
        _type("integer", **_INT32),
        "a number",
        "a number without a fraction",
        unset=True,
    ),
    "decimal": ValueType(
        "quantity",
        _type("number"),
        _type("number", "string", pattern=f"^{_NUMBER}$", maxLength=t.LONGEST_NUMBER),
        "a number",
        'a number, or its digits as text (`"0.1"`), which arrive at TWS exactly as given',
        unset=True,
    ),
    "str": ValueType(
        "text",
        _type("string"),
        _type("string"),
        "text",
        f"text of at most {t.LONGEST_TEXT} characters, unless this page says otherwise",
    ),
    "code": ValueType(
        "code",
        _type("string"),
        _type("string"),
        "one of the texts named; empty where TWS sends another",
        "one of the texts named",
    ),
    "amount": ValueType(
        "amount",
        _type("string"),
        _type("number", "string", pattern=f"^({_NUMBER}|{_INFINITY})?$", maxLength=t.LONGEST_NUMBER),
        "a number as text; empty where there is none",
        "a number, or its text",
    ),
    "bool": ValueType("flag", _type("boolean"), _type("boolean"), "true or false", "true or false"),
    "connector": ValueType("conjunction", _type("boolean"), _type("boolean"), "true: and; false: or", "true or false"),
    "flag": ValueType(
        "0 or 1",
        _type("integer"),
        {"enum": [0, 1, False, True]},
        "0 or 1",
        "0, 1, false or true",
        unset=True,
    ),
}


def published(kind: t.Scalar) -> Fragment:
    """Return the schema of a value as it is published."""
    return _with_codes(KINDS[kind.name].published, kind)


def accepted(field: Field) -> Fragment:
    """Return the schema of a value as a command may give it."""
    kind = cast("t.Scalar", field.type)
    fragment = dict(_with_codes(KINDS[kind.name].accepted, kind))
    if kind.name == "str":
        fragment["maxLength"] = field.most
    if field.least is not None:
        fragment["minimum"] = field.least
        if "pattern" in fragment:
            fragment["pattern"] = fragment["pattern"].replace("[+-]?", "[+]?", 1).replace("-?", "", 1)
    return {**fragment, **_of_words(field)}


def _of_words(field: Field) -> Fragment:
    """Return the schema of IB's words for a field. An empty text counts as no word where the field may be left out."""
    words = field.words
    if words is None:
        return {}
    empty = [""] if field.default in ("", None) and field.type is t.STR and not field.required else []
    if not words.any_case and not words.form:
        return {"enum": [*empty, *words.listed]}
    spelt = _in_any_case if words.any_case else re.escape
    listed = [spelt(str(word)) for word in words.listed]
    forms = [*listed, *([words.form] if words.form else [])]
    return {"pattern": f"^({'|'.join(forms)}){'?' if empty else ''}$"}


def _in_any_case(word: str) -> str:
    """Return a pattern for the word in any case: regular expressions in JSON Schema have no flag for that."""
    return "".join(f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else re.escape(letter) for letter in word)


def _with_codes(fragment: Fragment, kind: t.Scalar) -> Fragment:
    return {**fragment, "enum": ["", *kind.known]} if kind.known else fragment


def or_nil(fragment: Fragment) -> dict[str, Any]:
    """Return the schema of the same value, or nil."""
    if "$ref" in fragment:
        return {"anyOf": [fragment, {"type": "null"}]}
    wider = dict(fragment)
    if "type" in wider:
        types = wider["type"] if isinstance(wider["type"], list) else [wider["type"]]
        wider["type"] = [*types, "null"]
    if "enum" in wider:
        wider["enum"] = [*wider["enum"], None]
    return wider
