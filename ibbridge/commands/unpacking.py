"""Safe msgpack unpacking: bytes of a client become plain values, at a cost that is bounded before any value is made.

msgpack can express more than a command needs, and some of that is expensive: a million empty lists take a quarter of a
second to make, and keys that are not text can be chosen to collide. So this module measures the bytes first, header by
header, and unpacks only small, plain values. It knows the format of msgpack, and must not know commands.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgpack

MOST_VALUES = 10_000
"""Most values in one command, counting nested values and keys: ten times the longest list in IB's API."""

DEEPEST = 64
"""Most levels of nested maps and lists."""


class UnpackingError(ValueError):
    """Bytes that are not a msgpack value allowed in a command."""


class TooMuchError(UnpackingError):
    """Bytes with more values, or deeper nesting, than any command needs."""


def unpacked(data: bytes) -> Any:
    """Return the one value in `data`: nil, booleans, numbers, text, bytes, lists, and maps whose keys are text.

    Raises `UnpackingError` for anything else, `TooMuchError` beyond `MOST_VALUES` or `DEEPEST`.
    """
    _measure(data)
    try:
        return msgpack.unpackb(data, strict_map_key=True, object_pairs_hook=_map)
    except UnpackingError:
        raise
    except (ValueError, msgpack.UnpackException) as error:
        raise UnpackingError(f"{type(error).__name__}: {error}"[:200]) from None


def _map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    """Make a map of text keys. Refuse a key that is given twice, because either value may be the intended one."""
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise UnpackingError(f"the key {twice[:60]!a} is given twice in one map")
    if not all(type(name) is str for name in made):
        raise UnpackingError("keys of maps must be text, not bytes")
    return made


def _measure(data: bytes) -> None:
    """Raise for too many values, too deep nesting, or an unsupported type, without making any value."""
    at, values, left, above = 0, 0, 1, list[int]()
    try:
        while True:
            values += 1
            left -= 1
            at, inner = _after(data, at)
            if inner:
                above.append(left)
                left = inner
            if values + left > MOST_VALUES:
                raise TooMuchError(f"a command has at most {MOST_VALUES} values, all its lists and maps together")
            if len(above) > DEEPEST:
                raise TooMuchError(f"a command is nested at most {DEEPEST} deep")
            while not left and above:
                left = above.pop()
            if not left:
                return  # unpacking finds surplus or missing bytes
    except IndexError:
        return


def _after(data: bytes, at: int) -> tuple[int, int]:
    """Return the offset behind the header at `at` and its own bytes, and the number of values nested in it."""
    head = data[at]
    size, values = _FIXED[head]
    if size:
        return at + size, values
    if head not in _SIZED:
        raise UnpackingError("extension types, such as timestamps, are not taken: write times as numbers or text")
    width, each = _SIZED[head]
    count = int.from_bytes(data[at + 1 : at + 1 + width], "big")
    return (at + 1 + width, count * each) if each else (at + 1 + width + count, 0)


def _fixed(head: int) -> tuple[int, int]:
    """Return the size in bytes, and the number of nested values, that a header alone determines; size 0 for others."""
    if head <= 0x7F or head >= 0xE0 or head in (0xC0, 0xC1, 0xC2, 0xC3):
        return 1, 0
    if head <= 0x8F:
        return 1, 2 * (head & 0x0F)
    if head <= 0x9F:
        return 1, head & 0x0F
    if head <= 0xBF:
        return 1 + (head & 0x1F), 0
    numbers = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
    return numbers.get(head, 0), 0


_FIXED = tuple(map(_fixed, range(256)))
_BYTES = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0)}
_TEXT = {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
_LISTS = {0xDC: (2, 1), 0xDD: (4, 1)}
_MAPS = {0xDE: (2, 2), 0xDF: (4, 2)}
_SIZED = _BYTES | _TEXT | _LISTS | _MAPS
"""Headers that are followed by a count: the width of the count in bytes, and the values for each counted item (0 where
the count is in bytes)."""
