"""The schemas as somebody else's validator reads them, and the least that a command can be given."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from ibbridge.codec.messages.contracts import CONTRACT
from ibbridge.codec.messages.orders import ORDER
from ibbridge.codec.schema import Field, Record
from ibbridge.docgen import SCHEMAS, files

if TYPE_CHECKING:
    from ibbridge.codec.schema import Path as Place
    from ibbridge.docgen import Entry

WRITTEN = {path: json.loads(text) for path, text in files().items() if Path(path).suffix == ".json"}


@cache
def _validator(path: str) -> Draft202012Validator:
    return Draft202012Validator(WRITTEN[f"{SCHEMAS}/{path}.json"])


def faults(path: str, value: Any) -> list[str]:
    """Return the faults that the schema at `path` (`messages/tickPrice`) finds."""
    return [f"{each.json_path}: {each.message}" for each in _validator(path).iter_errors(value)]


def example(entry: Entry) -> dict[str, Any]:
    """Arguments for a command: what it requires, and nothing else."""
    needed = (each for each in entry.fields if entry.required(each.path, each))
    return {each.name: _value(entry, each, (each.name,)) for each in needed}


def named(entry: Entry) -> dict[str, Any]:
    """Return the required arguments that replace IB's request ids and order ids in a command."""
    return {own.name: "x" for own in entry.own if own.required}


def _value(entry: Entry, field: Field, path: Place) -> Any:
    if isinstance(field.type, Record):
        inner = ((each, (*path, each.name)) for each in field.type.shape)
        given = {each.name: _value(entry, each, where) for each, where in inner if entry.required(where, each)}
        if field.type is ORDER:
            given["totalQuantity"] = 1
        contract = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
        return given or (contract if field.type is CONTRACT else {})
    if field.words:
        return word(field)
    return {"str": "TRADES", "bool": True}.get(getattr(field.type, "name", ""), 1)


def word(field: Field) -> Any:
    """A word that IB lists for a field."""
    assert field.words is not None
    return field.words.listed[0] if field.words.listed else "1 D"
