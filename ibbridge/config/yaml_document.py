"""A strict YAML reader: plain values, and the line of each key.

The module knows text, maps, lists and scalars. It must not know the contents of a configuration. It reads a subset of
YAML, so that operators get what they write. Only `true` and `false` are booleans (YAML 1.1 reads the ticker `ON` as
one). Only decimal digits without a leading zero are integers (YAML 1.1 reads `0700` as octal). A date is text. A key
given twice is a fault. There are no tags, no aliases, and no nesting that could exhaust the stack.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import yaml

Path: TypeAlias = tuple[str, ...]  # a key and the keys above it

MAX_DEPTH = 16


class DocumentError(Exception):
    """Text that cannot be read as a document; the message says why, with the line if there is one."""


class _Reader(yaml.BaseLoader):
    """PyYAML's parser with the scalars above. It returns nodes, and constructs no objects."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        fault = ""
        if isinstance(event, yaml.AliasEvent):
            fault = "aliases (*) are not read here"
        elif getattr(event, "tag", None) is not None:
            fault = "tags (!) are not read here"
        elif self.depth == MAX_DEPTH:
            fault = f"nested deeper than {MAX_DEPTH}"
        if fault:
            raise yaml.composer.ComposerError(None, None, fault, event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))

# YAML 1.1 reads each of these words as the same type, so other programs that write YAML put quotes where needed here.
# 18 digits fit any counter. More digits stay text, so int() never gets a number that it refuses or is slow with.
for _tag, _pattern, _first in (
    (_NULL, r"~|null|", ["~", "n", ""]),
    (_BOOL, r"true|false", ["t", "f"]),
    (_INT, r"[-+]?(0|[1-9][0-9]{0,17})", list("-+0123456789")),
    (_FLOAT, r"([-+]?[0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?", list("-+.0123456789")),
):
    _Reader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), _first)


def scalar(text: str) -> Any:
    """Return the value of a bare word: None, a bool, an int, a float, or the text itself."""
    resolver = _Reader("")
    return _scalar(resolver.resolve(yaml.ScalarNode, text, (True, False)), text)  # type: ignore[no-untyped-call]


def dotted(path: Path) -> str:
    """Return a path with dots (tws.port), in ASCII: other characters are escaped."""
    key = ".".join(path)
    return key if key.isascii() and key.isprintable() else ascii(key)


def _escaped(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")


def parse(text: str) -> tuple[Any, dict[Path, int], list[str]]:
    """Return the value of `text`, the line (from 1) of every key, and a fault for each key that was given twice.

    The value of an empty text is None. Raise DocumentError if the text is not YAML, or not in the subset read here.
    """
    try:
        root = _Reader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise DocumentError(place + _escaped(str(error.problem or error.context))) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: PyYAML's chr() of "\UFFFFFFFF"
        raise DocumentError(_escaped(" ".join(str(error).split()))) from error
    lines: dict[Path, int] = {}
    faults: list[str] = []
    return (None if root is None else _value(root, (), lines, faults)), lines, faults


def _value(node: yaml.Node, path: Path, lines: dict[Path, int], faults: list[str]) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node.tag, node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, path, lines, faults) for item in node.value]
    values: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise DocumentError(f"line {line}: a key must be a word, not a list or a map")
        here = (*path, key.value)
        if key.value in values:
            faults.append(f"line {line}: {dotted(here)}: given twice, first in line {lines[here]}; keep one")
            continue
        lines[here] = line
        values[key.value] = _value(value, here, lines, faults)
    return values


def _scalar(tag: str, text: str) -> Any:
    if tag == _NULL:
        return None
    if tag == _BOOL:
        return text == "true"
    if tag == _INT:
        return int(text)
    return float(text) if tag == _FLOAT else text
