"""Digests of commands: equal for the same command, whatever the order of the keys in its maps. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

import msgpack


def digest(value: Any) -> bytes:
    """Return a digest of plain values that does not depend on the order of keys in maps."""
    return hashlib.blake2b(msgpack.packb(_sorted(value)), digest_size=16).digest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return [[name, _sorted(value[name])] for name in sorted(value)]
    return [len(value), [_sorted(each) for each in value]] if isinstance(value, list) else value
