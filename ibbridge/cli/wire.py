"""Line loop of `ibbridge decode` and `encode`: one line of JSON in, one line of JSON out, also for a malformed line."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from ibbridge.cli.text import dump
from ibbridge.codec import Dialect
from ibbridge.codec.versions import NEWEST, OLDEST, is_known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class BadLineError(Exception):
    """Input line that the tool cannot read; its text says what is expected."""


def answer_lines(answer: Callable[[Mapping[str, Any]], Any], refuse: Callable[[str], Any]) -> None:
    """Answer each line of standard input at once. `refuse` makes the answer to a line that raises BadLineError."""
    put, flush = sys.stdout.write, sys.stdout.flush
    for line in sys.stdin.buffer:
        try:
            reply = answer(_question(line))
        except BadLineError as error:
            reply = refuse(str(error))
        put(dump(reply) + "\n")
        flush()


def _question(line: bytes) -> Mapping[str, Any]:
    try:
        question = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLineError(f"this line is not JSON: {error}") from error
    if not isinstance(question, dict):
        raise BadLineError(f"a line must be a map, not {type(question).__name__}")
    return question


def dialect(question: Mapping[str, Any]) -> Dialect:
    """Return the client's dialect for the line's server version. Raise BadLineError for an unknown version."""
    version = question.get("server_version")
    if not is_known(version):
        raise BadLineError(f"server_version must be an integer from {OLDEST} to {NEWEST}, not {version!r:.60}")
    return _dialect(version)


@cache
def _dialect(version: int) -> Dialect:
    return Dialect.client(version)
