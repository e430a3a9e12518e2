"""Text from outside made safe for terminals and logs: control characters are shown as escapes.

A reason, a name or an error text may hold escape sequences that move a terminal's cursor, line breaks that forge a log
line, or marks that turn the direction of writing. All text printed or logged for people goes through `printable`.
"""

from __future__ import annotations

CUT = " ... ({} characters in all)"


def printable(text: str, longest: int | None = None) -> str:
    r"""Return `text` in one line, with unprintable characters written as Python escapes (`\x1b`).

    A text of more than `longest` characters is cut, and its whole length is added.
    """
    if longest is not None and len(text) > longest:
        return printable(text[:longest]) + CUT.format(len(text))
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def printable_lines(text: str) -> str:
    """Return `text` with its line breaks kept, and each of its lines made printable."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
