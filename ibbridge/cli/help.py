"""Help that fits the terminal: paragraphs are wrapped between words, and examples can still be copied."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap

WIDEST = 120
"""Columns beyond which lines are no easier to read."""

EXAMPLES = "examples:"

_OWN_LINE = re.compile(r"\n\n+|\n(?=Exit code )")
_CONTINUED = re.compile(r"\\\n\s*")
_COMMENT = re.compile(r"(?<=\S) {2,}(?=\S)")


class HelpFormatter(argparse.HelpFormatter):
    """argparse's formatter, which wraps between words only, and takes a text that begins with EXAMPLES for commands."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(EXAMPLES):
            return examples(text, width)
        return "\n\n".join(indent + wrapped(part, width) for part in _OWN_LINE.split(text.strip()))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrapped(text, width).splitlines()


def columns() -> int:
    """Return how many columns to use of the terminal there is."""
    return min(shutil.get_terminal_size().columns, WIDEST)


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Return `text` in lines of `width` at most, all but the first of them indented. Words are never broken."""
    whole = " ".join(text.split())
    return textwrap.fill(
        whole, max(width, 20), subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def wrapped_row(name: str, text: str) -> str:
    """Return `text` beside its name, wrapped under itself."""
    return name + wrapped(text, columns() - len(name)).replace("\n", "\n" + " " * len(name))


def examples(text: str, width: int) -> str:
    """Return examples, each a command that is perhaps explained, so that none is wider than `width`."""
    heading, *lines = _CONTINUED.sub("", text).splitlines()
    return "\n".join([heading, *(_example(line, width) for line in lines)])


def _example(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    command, *explained = _COMMENT.split(line.strip(), maxsplit=1)
    parts = wrapped(command, width - 4).splitlines()
    shown = " \\\n      ".join(parts)
    return "\n".join([f"  {shown}", *(f"      {wrapped(each, width - 6, '      ')}" for each in explained)])
