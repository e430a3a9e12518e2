"""Output formats of messages: a line of text for people, and JSON for programs.

In a line, nested data is written as `contract.symbol=AAPL`, the form in which `ibbridge call` takes arguments.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ibbridge.client import TICK_NAMES
from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibbridge.client import Message

_PLAIN = re.compile(r"[^\s\"'\\=\[\]{}]+")
_RAW_SHOWN = 64
_LONG = 160
_EMPTY: tuple[Any, ...] = (None, "", {}, [])
_IDS = frozenset({"reqId", "tickerId"})


def line(message: Message, width: int = 0) -> str:
    """Return `10:15:00.123456 topic field=value ...`, with the topic padded to `width`."""
    flags = f"  [{printable(', '.join(message.flags))}]" if message.flags else ""
    return f"{clock(message.ts)} {printable(message.topic):<{width}} {fields(_telling(message.data))}{flags}".rstrip()


def block(message: Message) -> str:
    """Return the line of a message, or a block with one line for each field if the line is too long."""
    if len(whole_line := line(message)) <= _LONG:
        return whole_line
    rows = list(_flat(_telling(message.data), ""))
    width = max(len(name) for name, _ in rows)
    head = f"{clock(message.ts)} {printable(message.topic)}"
    return "\n".join([head, *(f"  {name:<{width}} {value}" for name, value in rows)])


def clock(ts: int) -> str:
    """Return the local time of day of `ts`, microseconds since 1970."""
    return datetime.fromtimestamp(ts / 1e6).astimezone().strftime("%H:%M:%S.%f")


def row(data: Mapping[str, Any]) -> str:
    """Return `name=value` for every field that is not empty."""
    return fields(_telling(data))


def fields(data: Mapping[str, Any]) -> str:
    """Return `name=value` for every field, with dots in nested names."""
    return " ".join(f"{name}={value}" for name, value in _flat(data, ""))


def _telling(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without empty ones and IB's request ids."""
    return {name: value for name, value in data.items() if value not in _EMPTY and name not in _IDS}


def _flat(data: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}{name}.")
        elif name == "tickType" and value in TICK_NAMES:
            yield f"{path}{name}", TICK_NAMES[value]
        else:
            yield printable(f"{path}{name}"), _value(value)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.isprintable() else dump(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, bytes):
        return value.hex() if len(value) <= _RAW_SHOWN else f"{value[:_RAW_SHOWN].hex()}...({len(value)} bytes)"
    return dump(value)


def whole(message: Message) -> dict[str, Any]:
    """Return the message with its envelope, as a map for JSON."""
    shown = {"topic": message.topic, "type": message.type, "seq": message.seq, "offset": message.offset}
    about = {"epoch": message.epoch, "gen": message.gen, "ts": message.ts, "ref": message.ref, "flags": message.flags}
    return {**shown, **{name: value for name, value in about.items() if value not in ({}, ())}, "data": message.data}


def dump(value: Any) -> str:
    """Return valid JSON in one line for any value: `Infinity` and `NaN` become text, bytes become hex."""
    try:
        return _COMPACT.encode(value)
    except ValueError:
        return _COMPACT.encode(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value


def _other(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


_COMPACT = json.JSONEncoder(allow_nan=False, default=_other, separators=(",", ":"))
