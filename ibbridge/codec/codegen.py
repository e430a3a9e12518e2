"""Builder of generated Python source, compiled so that tracebacks and `inspect` show its lines.

The readers and writers of text are straight-line source made from a layout: three times as fast as interpreting the
layout.
"""

from __future__ import annotations

import linecache
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class SourceWriter:
    """Builder of one generated function: indented lines, fresh names and constants."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0
        self._names = 0
        self._constants: dict[str, Any] = {}

    def line(self, text: str) -> None:
        """Add one line at the current depth."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add `head`, and indent under it the lines added inside the `with`. An empty block gets `pass`."""
        self.line(head)
        self._depth += 1
        before = len(self._lines)
        yield
        if len(self._lines) == before:
            self.line("pass")
        self._depth -= 1

    def name(self, stem: str) -> str:
        """Return a variable name that is not in use yet."""
        self._names += 1
        return f"{stem}{self._names}"

    def constant(self, stem: str, value: Any) -> str:
        """Bind `value` to a fresh global of the generated source, and return the global's name."""
        name = self.name(stem)
        self._constants[name] = value
        return name

    def shared(self, name: str, value: Any) -> None:
        """Bind `value` to the global `name` of the generated source."""
        self._constants[name] = value

    def compile(self, title: str, function: str, namespace: Mapping[str, Any]) -> Any:
        """Compile the lines and return the function that they define. Its globals are `namespace` and the constants."""
        text = "\n".join(self._lines) + "\n"
        filename = f"<{title}>"
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        scope = {**namespace, **self._constants}
        exec(compile(text, filename, "exec"), scope)  # noqa: S102 - made from declarations, never from data
        return scope[function]
