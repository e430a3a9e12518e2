"""`ibbridge decode`: decode frames of TWS into messages as the daemon publishes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.cli import wire
from ibbridge.codec import Undecodable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

SUMMARY = """\
Read frames of TWS as JSON lines, and write the messages that the daemon would publish, one line for each, in order.

In:   {"server_version": 178, "frame": "<the payload in hex, without its length>"}
Out:  {"type": "tickPrice", "data": {...}}, or {"type": "decodeError", "data": {"reason": ..., ...}}

Bytes are written as hex, numbers that JSON cannot express as text: "Infinity", "-Infinity", "NaN"."""

EXAMPLES = """\
  echo '{"server_version": 178, "frame": "34350036003700343800302e3500"}' | ibbridge decode
  ibbridge decode < frames.jsonl > messages.jsonl"""


def arguments(_parser: argparse.ArgumentParser) -> None:
    """Declare no options."""


def run(_options: argparse.Namespace) -> int:
    """Decode lines until the input ends."""
    wire.answer_lines(_decoded, lambda reason: _error(reason=reason))
    return 0


def _decoded(question: Mapping[str, Any]) -> dict[str, Any]:
    dialect = wire.dialect(question)
    try:
        payload = bytes.fromhex(question["frame"])
    except KeyError as error:
        raise wire.BadLineError("frame is missing: the payload in hex") from error
    except (TypeError, ValueError) as error:
        raise wire.BadLineError(f"frame must be a payload in hex: {error}") from error
    message = dialect.read(payload)
    if isinstance(message, Undecodable):
        return _error(id=message.id, name=message.name, reason=message.reason, raw=message.raw)
    return {"type": message.name, "data": message.data}


def _error(**about: Any) -> dict[str, Any]:
    return {"type": "decodeError", "data": about}
