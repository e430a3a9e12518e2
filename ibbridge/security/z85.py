"""Z85 (ZeroMQ RFC 32), the text form of a key: 32 bytes in 40 characters. Pure."""

from __future__ import annotations

CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

LENGTH = 40
"""Characters of a key."""


def encoded(key: bytes) -> str:
    """Return a key as text."""
    text = ""
    for start in range(0, len(key), 4):
        number = int.from_bytes(key[start : start + 4], "big")
        text += "".join(CHARACTERS[number // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return text


def is_key(text: str) -> bool:
    """Return True for a text that is a key."""
    if len(text) != LENGTH or not all(character in CHARACTERS for character in text):
        return False
    groups = (text[start : start + 5] for start in range(0, LENGTH, 5))
    return all(_number(group) < 2**32 for group in groups)


def _number(group: str) -> int:
    number = 0
    for character in group:
        number = number * 85 + CHARACTERS.index(character)
    return number
