"""Commands as bytes, and what their replies mean; for whoever has a socket to send them on.

Knows envelopes, ids and errors. Must not know what a command means, sockets, or waiting.
"""

from __future__ import annotations

import time
from itertools import count
from typing import Any, NamedTuple

import msgpack

from ibbridge.client.access import forbidden
from ibbridge.client.errors import BridgeError, CommandError, NoAnswer

RETRY = 3.0
"""Seconds without a reply after which a command is sent once more. The daemon gives its first reply again."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Reply(NamedTuple):
    """What the daemon said to a command: its id, and the result."""

    id: str
    result: dict[str, Any]
    epoch: int


class Names:
    """Names that no other run of this client gives again: counted from the time in microseconds, which is faster.

    Any thread may take one: a step of `count` is one step of the interpreter's.
    """

    def __init__(self) -> None:
        self._numbers = count(time.time_ns() // 1000)

    def new(self) -> str:
        """The next name: 10 letters and digits."""
        number = next(self._numbers)
        name = ""
        while number:
            number, digit = divmod(number, 36)
            name = _DIGITS[digit] + name
        return name


class Command:
    """One command on its way. `envelope` are further keys beside args: key, not_after, epoch. `sent`: how often.

    Sent again it is the same bytes, its id among them, so it is carried out once. TypeError if the arguments are not
    plain values.
    """

    def __init__(self, client: str, id: str, cmd: str, args: dict[str, Any], **envelope: Any) -> None:  # noqa: A002 -- the protocol's word
        self.id = id
        self.cmd = cmd
        self.key: str | None = envelope.get("key") or args.get("key")
        self.sent = 0
        request = {"id": id, "cmd": cmd, "args": args, "client": client}
        request |= {name: value for name, value in envelope.items() if value is not None}
        try:
            self.packed: bytes = msgpack.packb(request)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"{cmd}: an argument cannot be sent: {error}") from error

    def reply(self, packed: bytes, rep: str) -> Reply:
        """What the daemon said. CommandError if it refuses, BridgeError if it is none."""
        reply = unpacked(packed, rep)
        if reply.get("ok"):
            return Reply(self.id, reply.get("result") or {}, reply.get("epoch", 0))
        error = reply.get("error") or {"message": "the daemon failed on this; its log says why"}
        if error.get("code") == "E_NOT_SYNCED" and self.sent == 1:  # so no other daemon can have had it
            error = {**error, "outcome": "not_sent"}
        raise CommandError(self.cmd, error)

    def cut_off(self) -> NoAnswer:
        """Return what it means that the connection was closed before there was a reply."""
        if not self.sent:
            return NoAnswer(f"{self.cmd}: the connection was closed; nothing was sent", "not_sent", self.id, self.key)
        text = f"{self.cmd}: the connection was closed before the daemon answered. It may have carried it out"
        return NoAnswer(text, "unknown", self.id, self.key)

    def unanswered(self, rep: str, timeout: float) -> NoAnswer:
        """There was no reply in time: what that means."""
        if not self.sent and (why := forbidden(rep)):
            return NoAnswer(f"{self.cmd}: {why}; nothing was sent", "not_sent", self.id, self.key)
        if not self.sent:
            text = (
                f"{self.cmd}: there is no daemon at {rep}; nothing was sent. Is ibbridge running? Is this the "
                "bus.rep of its configuration?"
            )
            return NoAnswer(text, "not_sent", self.id, self.key)
        named = f"key={self.key!r}, is safe." if self.key else f"id={self.id!r}, is safe for ten minutes."
        text = (
            f"{self.cmd}: the daemon at {rep} did not answer within {timeout:g} s. It may have carried it out: the "
            f"same command again, with {named}"
        )
        return NoAnswer(text, "unknown", self.id, self.key)


def unpacked(packed: bytes, rep: str) -> dict[str, Any]:
    """A reply as a map; an empty one if the daemon could say nothing."""
    try:
        reply = msgpack.unpackb(packed, strict_map_key=False) if packed else {}
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise BridgeError(f"what answers at {rep} is no ibbridge: is rep= the bus.rep of its configuration?")
    return reply
