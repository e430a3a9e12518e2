"""Facts about Interactive Brokers that are not layouts of the wire: tick types, error codes, trading hours.

The package contains data, and the few rules for reading them. It imports only the standard library, so that the daemon,
the client library and the documentation can read the same tables.
"""

from __future__ import annotations

from typing import Any

from ibbridge.ib.error_codes import CLASSES, ERROR_CODES, ErrorClass, ErrorCode, about
from ibbridge.ib.tick_types import GENERIC_TICKS, NO_DEFAULTS, TICK_TYPES, GenericTick, TickType

__all__ = [
    "CLASSES",
    "ERROR_CODES",
    "GENERIC_TICKS",
    "NO_DEFAULTS",
    "TICK_TYPES",
    "ErrorClass",
    "ErrorCode",
    "GenericTick",
    "TickType",
    "about",
    "tables",
]


def tables() -> dict[str, list[dict[str, Any]]]:
    """Return every table as plain data: maps of text, numbers, booleans, None and lists of numbers or text."""
    return {
        "tick_types": [_plain(each) for each in TICK_TYPES.values()],
        "generic_ticks": [_plain(each) for each in GENERIC_TICKS.values()],
        "error_codes": [_plain(each) for each in ERROR_CODES.values()],
    }


def _plain(row: TickType | GenericTick | ErrorCode) -> dict[str, Any]:
    fields = {"class" if name == "error_class" else name: value for name, value in row._asdict().items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
