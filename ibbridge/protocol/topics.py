"""Topics: text that names a stream and the type of a message, the same in every language.

This module knows how a topic is joined and split. It must not know the messages on a topic, or ZeroMQ. Its functions
are pure, and total on every value that a client may send.

A topic is its components, each followed by a dot: ``md.AAPL-STK-SMART-USD.tickPrice.``. The closing dot keeps a prefix
from matching a longer neighbour. Inside a component every character outside ``A-Z a-z 0-9 _ - + @ ~ /`` is written as
the ``%XX`` (upper case) of its UTF-8 bytes.

Text is escaped once. Escaped text has the type `Escaped`, which `escape` and `topic` leave unchanged. It stays
`Escaped` when a plain suffix is added: ``topic("md", instrument_key(contract) + "+depth", "updateMktDepth")``.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[^A-Za-z0-9_\-+@~/]")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
LONGEST_STREAM = 960
"""Most bytes of a stream's name, prefix and last dot included. So a topic of that stream stays below 1,000 bytes, the
most that a ZeroMQ subscription may have."""

GAP = "gap"
"""Type of the message that says that messages of a stream may be missing."""

BULLETINS = ("news", "bulletin")
"""Topic components of IB's bulletins, which belong to no provider of news."""


class Escaped(str):
    """Text that already is a topic component or a part of one. Adding plain text escapes the added text."""

    __slots__ = ()

    def __add__(self, other: str) -> Escaped:
        return Escaped(str.__add__(self, escape(other)))

    def __radd__(self, other: str) -> Escaped:
        return Escaped(str.__add__(escape(other), self))


def escape(component: str) -> Escaped:
    """Return the text as a topic component; `Escaped` text unchanged. Takes any str, also with lone surrogates."""
    return component if isinstance(component, Escaped) else Escaped(_UNSAFE.sub(percent_encoded, component))


def unescape(text: str) -> str:
    """Undo `escape`. Raises ValueError if a '%' is not followed by two hex digits, or the bytes are not UTF-8."""
    if stray := _PERCENT.search(text):
        raise ValueError(f"{text!r}: the % at {stray.start()} is not followed by two hex digits")
    return _ESCAPES.sub(lambda run: bytes.fromhex(run[0].replace("%", "")).decode("utf-8", "surrogatepass"), text)


def topic(*components: str) -> bytes:
    """Return the topic of these components. As a ZeroMQ subscription the topic matches all topics that begin with them.

    Without components the result is the empty prefix, which matches every topic.
    """
    return "".join([str.__add__(escape(component), ".") for component in components]).encode("ascii")


def split(topic: bytes) -> tuple[str, ...]:
    """Return the components of a topic, unescaped: the inverse of `topic`. Raises ValueError for other bytes."""
    *components, rest = topic.decode("ascii").split(".")
    if rest:
        raise ValueError(f"{topic!r} does not end with a dot: it is a prefix, not a topic")
    return tuple(unescape(component) for component in components)


def percent_encoded(character: re.Match[str]) -> str:
    """Return a character that a pattern has found as the `%XX` of its UTF-8 bytes."""
    return "".join([f"%{byte:02X}" for byte in character[0].encode("utf-8", "surrogatepass")])
