"""`ibbridge encode`: encode requests under IB's names into frames for TWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.cli import wire
from ibbridge.codec import NotCarried

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

SUMMARY = """\
Read requests as JSON lines, and write the frames that the daemon would send to TWS, one line for each, in order.

In:   {"server_version": 178, "cmd": "reqMktData", "args": {"reqId": 1, "contract": {...}, ...}}
Out:  {"frame": "<the payload in hex, without its length>"}, or
      {"error": {"code": "E_ARG", "message": "...", "faults": [...]}}

Arguments have IB's names and include reqId and orderId, unlike the arguments of a command to the daemon."""

EXAMPLES = """\
  echo '{"server_version": 178, "cmd": "cancelMktData", "args": {"reqId": 7}}' | ibbridge encode
  ibbridge encode < requests.jsonl > frames.jsonl"""

_LENGTH = 4


def arguments(_parser: argparse.ArgumentParser) -> None:
    """Declare no options."""


def run(_options: argparse.Namespace) -> int:
    """Encode lines until the input ends."""
    wire.answer_lines(_encoded, lambda reason: _error("E_PROTO", [reason]))
    return 0


def _encoded(question: Mapping[str, Any]) -> dict[str, Any]:
    dialect = wire.dialect(question)
    cmd, args = question.get("cmd"), question.get("args", {})
    if not isinstance(cmd, str):
        raise wire.BadLineError("cmd must be the name of a request")
    try:
        return {"frame": dialect.write(cmd, args)[_LENGTH:]}
    except NotCarried as error:
        return _error("E_ARG", error.faults)


def _error(code: str, faults: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": "; ".join(faults), "faults": list(faults)}}
