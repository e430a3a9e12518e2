"""Documentation generated from the declarations: `docs/messages.md` for people, and JSON Schemas for programs.

All of it is derived: from the declarations what travels between TWS and the bridge, from the daemon's own tables what
differs on the bus, from `ib` what IB's numbers mean. `entries` joins these, `json_schema` and `markdown` render them,
and `python -m ibbridge.docgen` (`make docs`) writes the files.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ibbridge import ib
from ibbridge.docgen import json_schema, markdown
from ibbridge.docgen.entries import Entry, commands, messages

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "docs/messages.md"
SCHEMAS = "ibbridge/schema"
WIDTH = 110


def files() -> dict[str, str]:
    """Return the text of every generated file, by path from the project's root."""
    return {PAGE: markdown.page(), **{f"{SCHEMAS}/{path}.json": _json(content) for path, content in _schemas()}}


def _schemas() -> Iterator[tuple[str, Any]]:
    yield "index", json_schema.index()
    for name, rows in ib.tables().items():
        yield json_schema.TABLES.format(name), rows
    for folder, entries in (("messages", messages()), ("commands", commands())):
        for entry in entries:
            if entry.usable:
                yield f"{folder}/{entry.name}", json_schema.schema(entry)


def _json(content: Any) -> str:
    return _laid_out(content, "") + "\n"


def _laid_out(value: Any, indent: str) -> str:
    """Return JSON for people and for diffs: a value that fits on a line is on one."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(indent) + len(line) <= WIDTH or not isinstance(value, dict | list):
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        rows = [f"{json.dumps(name)}: {_laid_out(item, deeper)}" for name, item in value.items()]
    else:
        rows = [_laid_out(item, deeper) for item in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n{deeper}" + f",\n{deeper}".join(rows) + f"\n{indent}{last}"


__all__ = ["PAGE", "SCHEMAS", "Entry", "commands", "files", "messages"]
