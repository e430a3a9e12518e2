"""Help formatter: wraps paragraphs between words to the terminal's width, and keeps examples ready to copy."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap

WIDEST = 120
"""Largest number of columns to use: longer lines are no easier to read."""

EXAMPLES = "examples:"

_OWN_LINE = re.compile(r"\n\n+|\n(?=Exit code )")
_CONTINUED = re.compile(r"\\\n\s*")
_COMMENT = re.compile(r"(?<=\S) {2,}(?=\S)")


class HelpFormatter(argparse.HelpFormatter):
    """Formatter for argparse that wraps between words only, and treats a text beginning with EXAMPLES as commands."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(EXAMPLES):
            return examples(text, width)
        return "\n\n".join(indent + wrapped(part, width) for part in _OWN_LINE.split(text.strip()))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrapped(text, width).splitlines()


def columns() -> int:
    """Return the number of terminal columns to use."""
    return min(shutil.get_terminal_size().columns, WIDEST)


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Return `text` in lines of at most `width`, indented from the second line on. Words are never broken."""
    whole = " ".join(text.split())
    return textwrap.fill(
        whole, max(width, 20), subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def wrapped_row(name: str, text: str) -> str:
    """Return `name` and `text` as a table row, with continuation lines aligned under the text."""
    return name + wrapped(text, columns() - len(name)).replace("\n", "\n" + " " * len(name))


def examples(text: str, width: int) -> str:
    """Return the examples, each a command with an optional explanation, in lines of at most `width`."""
    heading, *lines = _CONTINUED.sub("", text).splitlines()
    return "\n".join([heading, *(_example(line, width) for line in lines)])


def _example(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    command, *explained = _COMMENT.split(line.strip(), maxsplit=1)
    parts = wrapped(command, width - 4).splitlines()
    shown = " \\\n      ".join(parts)
    return "\n".join([f"  {shown}", *(f"      {wrapped(text, width - 6, '      ')}" for text in explained)])
