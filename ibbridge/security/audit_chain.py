"""The records of the audit as lines, each with the digest of the line before, so that no line can be changed unseen.

Pure. A line is a map in JSON with sorted keys; `seq` counts lines, `prev` is the SHA-256 of the line before, without
its end. Secrets are left out of what clients send. This module must not know files, or what a record means.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ibbridge.security.audit import Head

LONGEST_VALUE, LONGEST_OF_ORDERS = 2_000, 65_536
"""Most characters of one fact, and of one about orders that were accepted. A longer one is replaced by its beginning,
its length and its digest. The bytes of orders are never cut."""

BEGINNING = 500
"""Characters that are kept of a longer one."""

SECRET = "***"  # noqa: S105 - what stands in place of one
"""Text in place of a secret."""

SECRETS = ("password", "passwd", "passphrase", "secret", "private", "credential", "token", "isvkey", "apidata", "xyz")
"""Names of secrets: a field whose name contains one of these, in any case, is a secret. The last three are those of
IB's requests that verify a program."""

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def digest(line: bytes) -> str:
    """Return the SHA-256 of a line without its end, in hex."""
    return hashlib.sha256(line).hexdigest()


class Chain:
    """Chain of records, which goes on from its head."""

    def __init__(self, head: Head) -> None:
        self.head = head

    def link(
        self, kind: str, ts: int, facts: Mapping[str, Any], longest: int = LONGEST_VALUE
    ) -> tuple[dict[str, Any], bytes]:
        """Append a record, made at `ts` (µs since 1970 UTC). Return the record, and its line with its end.

        `longest` is the most characters of one fact.
        """
        about = {"kind": kind, "seq": self.head.seq + 1, "ts": ts, "prev": self.head.digest}
        record = {name: plain(value) for name, value in facts.items() if value is not None} | about
        line = _encode(record).encode()
        if len(line) > longest:
            record = {name: _cut(name, value, longest) for name, value in record.items()}
            line = _encode(record).encode()
        self.head = Head(record["seq"], digest(line))
        return record, line + b"\n"


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line without its end; None if it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    seq, prev, ts = record.get("seq"), record.get("prev"), record.get("ts")
    is_whole = type(seq) is int and type(prev) is str and type(ts) is int and type(record.get("kind")) is str
    return record if is_whole else None


def _cut(name: str, fact: Any, longest: int) -> Any:
    """Return a fact, or its beginning, its length and its digest if it is too long."""
    text = fact if isinstance(fact, str) else _encode(fact)
    if len(text) <= longest or name == "bytes":
        return fact
    return {"cut": text[:BEGINNING], "length": len(text), "sha256": digest(text.encode())}


def plain(value: Any) -> Any:
    """Return a value as JSON can carry it, without the secrets in it."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return {
            str(name): SECRET if is_secret(name) and inner is not None else plain(inner)
            for name, inner in value.items()
        }
    if kind is bytes:
        return base64.b64encode(value).decode()
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if kind in (list, tuple, set, frozenset):
        return [plain(each) for each in value]
    if fields := getattr(kind, "__dataclass_fields__", None):
        return {name: plain(inner) for name in fields if (inner := getattr(value, name)) not in ("", None)}
    return plain(dict(value)) if isinstance(value, Mapping) else str(value)


_PLAIN = frozenset((str, int, bool, type(None)))


@lru_cache(4096)
def is_secret(name: Any) -> bool:
    """Return True if a field of this name holds a secret."""
    return isinstance(name, str) and any(each in name.lower().replace("_", "") for each in SECRETS)


def has_secret(value: Any) -> bool:
    """Return True if there is a secret in a value, so that a text about the value may show it.

    The names of a map are looked at together: a command may have very many of them.
    """
    level: list[Any] = [value]
    while level:
        maps: list[Any] = [each for each in level if each.__class__ is dict]
        if any(_SECRET_NAME.search("\n".join(map(str, each))) for each in maps):
            return True
        lists: list[Any] = [each for each in level if each.__class__ in _LISTS]
        level = [inner for each in maps for inner in each.values() if inner.__class__ in _NESTED]
        level += [inner for each in lists for inner in each if inner.__class__ in _NESTED]
    return False


_LISTS: frozenset[type] = frozenset((list, tuple))
_NESTED: frozenset[type] = _LISTS | {dict}


_SECRET_NAME = re.compile("|".join("_*".join(map(re.escape, word)) for word in SECRETS), re.IGNORECASE)
