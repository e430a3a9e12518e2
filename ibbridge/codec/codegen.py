"""Lines of generated Python, compiled so that tracebacks and `inspect` show them.

The readers and writers of text are straight-line source made from a layout: three times as fast as interpreting it.
"""

from __future__ import annotations

import linecache
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Source:
    """Indented lines, and names that have not been used yet."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0
        self._names = 0
        self._constants: dict[str, Any] = {}

    def line(self, text: str) -> None:
        """Add one line at the present depth."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add `head`; what is added inside the `with` stands under it. An empty block passes."""
        self.line(head)
        self._depth += 1
        before = len(self._lines)
        yield
        if len(self._lines) == before:
            self.line("pass")
        self._depth -= 1

    def name(self, stem: str) -> str:
        """A variable that has not been used."""
        self._names += 1
        return f"{stem}{self._names}"

    def constant(self, stem: str, value: Any) -> str:
        """A global of the generated source that holds `value`."""
        name = self.name(stem)
        self._constants[name] = value
        return name

    def shared(self, name: str, value: Any) -> None:
        """A global of the generated source under a name of its own."""
        self._constants[name] = value

    def compile(self, title: str, function: str, namespace: Mapping[str, Any]) -> Any:
        """The function that the lines define, with `namespace` as its globals."""
        text = "\n".join(self._lines) + "\n"
        filename = f"<{title}>"
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        scope = {**namespace, **self._constants}
        exec(compile(text, filename, "exec"), scope)  # noqa: S102 - made from declarations, never from data
        return scope[function]
