"""Instrument keys: the topic component that names a contract's instrument, the same in every language.

This module knows how a contract becomes a key. It must not know the messages of an instrument. Its functions are pure,
and total on every value that a client may send.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from ibbridge.protocol.topics import BULLETINS, Escaped, percent_encoded

# Four more characters have a meaning in an instrument key: - stands between fields, + before the kind of a stream,
# @ before the exchange of a conId, ~ before the id of an unknown request.
_UNSAFE_IN_FIELD = re.compile(r"[^A-Za-z0-9_/]")
_PLAIN_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)")

# Strike and multiplier are numbers even when they are given as text. A symbol of digits ("0700") is no number.
_NUMERIC = frozenset({"strike", "multiplier"})
_FIELDS = (
    "symbol",
    "secType",
    "exchange",
    "currency",
    "lastTradeDateOrContractMonth",
    "strike",
    "right",
    "tradingClass",
    "multiplier",
    "primaryExchange",
    "localSymbol",
)
# TWS itself writes "0" and "?" as the right of a contract that is no option.
_RIGHTS = {"CALL": "C", "PUT": "P", "C": "C", "P": "P", "0": "", "?": ""}

_NO_PROVIDER = frozenset({"", "NEWS", "SMART"})


def instrument_key(contract: Mapping[str, Any]) -> Escaped:
    """Return the key of a contract's instrument, a pure function of the contract's attributes under IB's names.

    symbol, secType, exchange, currency, lastTradeDateOrContractMonth, strike, right, tradingClass, multiplier,
    primaryExchange, localSymbol: in this order, joined by ``-``, empty ones at the end dropped.

    - Inside a field everything but ``A-Z a-z 0-9 _ /`` is escaped as in a topic, so also ``-``, ``+``, ``@``, ``~``
      and the decimal point.
    - Absent, None and empty are the same. Numbers are written in decimal digits without an exponent, in the shortest
      form that reads back as the same float64: 6000.0 is 6000. Strike and multiplier are numbers even where they are
      given as text, and 0 is no strike and no multiplier.
    - right is C or P (CALL and PUT are taken), in upper case.
    - Without symbol and localSymbol the contract is named by its conId, ``265598@SMART`` (``265598@`` without an
      exchange); without a conId either, but with a secId, ``secIdType/secId`` stands in the symbol's place.
    - A combo (secType BAG) is ``BAG-`` and 16 hex digits: see `_combo`.

    Two spellings of one instrument give two keys.
    """
    values = tuple(map(contract.get, _FIELDS))
    if values[0] and values[1] != "BAG" and _REMEMBERED.issuperset(map(type, values)):
        return _plain_key(values)
    text = _texts(values)
    if text["secType"] == "BAG":
        return _combo(contract, text)
    if not text["symbol"] and not text["localSymbol"]:
        if con_id := _text(contract.get("conId"), numeric=True):
            return Escaped(f"{_field(con_id)}@{_field(text['exchange'])}")
        if sec_id := _text(contract.get("secId")):
            text["symbol"] = f"{_text(contract.get('secIdType'))}/{sec_id}"
    return _joined(text)


# Values of other types may be equal, and make another text: True and 1.
_REMEMBERED = frozenset((str, float, type(None)))


@lru_cache(4_096)
def _plain_key(values: tuple[str | float | None, ...]) -> Escaped:
    """Return the key of a contract with a symbol that is no combo. The same contracts come again and again."""
    return _joined(_texts(values))


def _texts(values: Sequence[object]) -> dict[str, str]:
    text = {name: _text(value, numeric=name in _NUMERIC) for name, value in zip(_FIELDS, values, strict=True)}
    text["right"] = _RIGHTS.get(text["right"].upper(), text["right"])
    return text


def _joined(text: Mapping[str, str]) -> Escaped:
    return Escaped("-".join([_field(text[name]) for name in _FIELDS]).rstrip("-"))


def contract_identity(contract: Mapping[str, Any]) -> int | str:
    """Return the conId of a contract, which names the instrument whatever the exchange; its key if it has none."""
    return contract.get("conId") or instrument_key(contract)


def tape(contract: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the topic components of a provider's whole news feed (a contract of secType NEWS), which is no instrument.

    The provider is the contract's exchange. Where the exchange is left out or names no provider (contract details have
    NEWS there), the provider is the part of the symbol before the colon (``BZ:BZ_ALL``). Return None for any other
    contract, and for a contract that only its conId names.
    """
    if _text(contract.get("secType")).upper() != "NEWS":
        return None
    exchange = _text(contract.get("exchange"))
    named = _text(contract.get("symbol")) or _text(contract.get("localSymbol"))
    provider = named.partition(":")[0] if exchange.upper() in _NO_PROVIDER else exchange
    if not provider:
        return None
    return BULLETINS[0], f"~{provider}" if provider == BULLETINS[1] else provider


def _combo(contract: Mapping[str, Any], text: Mapping[str, str]) -> Escaped:
    """Return ``BAG-`` and the first 16 hex digits, lower case, of the SHA-256 of ``symbol;exchange;currency;legs``.

    legs are ``conId:ratio:action:exchange`` of each leg, sorted by code point and joined by ``,``. Each field is
    escaped as in an instrument key, so the hashed text is ASCII and two different combos never give the same text.
    """
    legs = contract.get("comboLegs")
    rows = sorted(":".join(_leg(leg)) for leg in (legs if isinstance(legs, (list, tuple)) else ()))
    named = [_field(text[name]) for name in ("symbol", "exchange", "currency")]
    return Escaped("BAG-" + hashlib.sha256(";".join([*named, ",".join(rows)]).encode("ascii")).hexdigest()[:16])


def _leg(leg: object) -> list[str]:
    """Return the four fields that identify a combo's leg; for a value that is no leg, the text of the value."""
    if not isinstance(leg, Mapping):
        return [_field(_text(leg))]
    return [
        _field(_text(leg.get("conId"), numeric=True)),
        _field(_text(leg.get("ratio"), numeric=True)),
        _field(_text(leg.get("action"))),
        _field(_text(leg.get("exchange"))),
    ]


def _text(value: object, *, numeric: bool = False) -> str:
    """Return an attribute's value as text. `numeric`: digits in text are a number; zero is empty, like IB's unset."""
    if isinstance(value, str):
        text = _shortest(value) if numeric and _PLAIN_NUMBER.fullmatch(value) else value
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float):
        text = "" if value == sys.float_info.max else _shortest(repr(value))
    else:
        text = "" if value is None else str(value)
    return "" if numeric and text == "0" else text


def _shortest(number: str) -> str:
    """Return decimal text without exponent, superfluous zeros or negative zero; nan and inf as Decimal writes them."""
    text = format(Decimal(number), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _field(text: str) -> str:
    return _UNSAFE_IN_FIELD.sub(percent_encoded, text)
