"""Parser of command arguments: `contract.symbol=AAPL order.totalQuantity=100` becomes nested maps.

A value that is valid JSON (100, true, null, [...], {...}) is read as JSON, any other value is text, unless it begins
as a list or a map. The declaration of
the request overrides this: a field that IB declares as text stays text, as in `lastTradeDateOrContractMonth=202612`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.codec.schema import Record
from ibbridge.codec.types import Scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXTUAL = frozenset({"str", "code", "amount"})


class ArgumentError(Exception):
    """Argument that is not KEY=VALUE, is no JSON where it must be, or contradicts another argument."""


def build(cmd: str, given: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a command as nested maps. Raise ArgumentError for a malformed or repeated argument."""
    built: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        *parents, last = path = name.split(".")
        if not equals or not all(path):
            raise ArgumentError(f"{text!r}: expected KEY=VALUE, such as contract.symbol=AAPL")
        place = built
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ArgumentError(f"{text!r}: {parent} already has a value, so it can have no fields")
        if last in place:
            raise ArgumentError(f"{text!r}: {name} is given twice")
        place[last] = _value(value, textual=_is_text(cmd, path))
    return built


def _value(text: str, *, textual: bool) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text[:1] in ("[", "{") and not textual:
            raise ArgumentError(
                f"{text!r}: a value that begins with {text[0]} must be valid JSON ({error}); give text in double quotes"
            ) from None
        return text
    return text if textual and not isinstance(value, (str, type(None))) else value


def _is_text(cmd: str, path: Sequence[str]) -> bool:
    """Return True if IB declares this argument as text, or it names an order."""
    if path in (["key"], ["parent"]):  # the names of orders
        return True
    declared = REQUESTS.get("placeOrder" if cmd in ("whatIfOrder", "modifyOrder") else cmd)
    kind: object = declared.shape if declared else None
    for name in path:
        if not isinstance(kind, Record):
            return False
        kind = next((field.type for field in kind.fields if field.name == name), None)
    return isinstance(kind, Scalar) and kind.name in _TEXTUAL
