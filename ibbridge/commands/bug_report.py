"""The report of a bug that a command has met: enough to mend the bug, and nothing of what the client has said.

A command has account numbers, and may have anything where a client has put it. So the report has the names and the
forms of the arguments, the kind of the exception, and the places in the code, but no value. Nor has it the text of the
exception, which quotes values.
"""

from __future__ import annotations

import traceback
from typing import Any

from ibbridge.commands.unpacking import UnpackingError, unpacked

LONGEST = 1_000
"""Most characters of the form of a command."""

_LONGEST_NAME = 40
_MOST_PLACES = 12


def report(request: bytes, error: Exception) -> str:
    """Return what the log says of a command of these bytes, and of the bug that it has met."""
    places = traceback.extract_tb(error.__traceback__)[-_MOST_PLACES:]
    where = " > ".join(f"{place.filename.rpartition('ibbridge/')[2]}:{place.lineno} {place.name}" for place in places)
    return f"{type(error).__name__} in {where}; the command: {form(request)}"


def form(request: bytes) -> str:
    """Return the form of a command: its names, and the kind and size of each value."""
    try:
        command = unpacked(request)
    except UnpackingError:
        return f"{len(request)} bytes that cannot be unpacked"
    text = _form(command)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(request)} bytes in all)"


def _name(name: str) -> str:
    """Return a name in a map, if it may be one: a client may have put anything in its place."""
    return name if name.isidentifier() and len(name) <= _LONGEST_NAME else "?"


def _form(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{_name(name)}: {_form(inner)}" for name, inner in value.items()) + "}"
        case list():
            first = f" of {_form(value[0])}" if value else ""
            return f"list({len(value)}){first}"
        case str() | bytes():
            return f"{type(value).__name__}({len(value)})"
        case None | True | False:
            return str(value)
        case _:
            return type(value).__name__
