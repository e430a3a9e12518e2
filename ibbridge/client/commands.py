"""Encoding of commands and decoding of replies, for the modules that own a command socket.

This module knows envelopes, ids and errors. It must not know the meaning of a command, sockets, or waiting.
"""

from __future__ import annotations

import time
import uuid
from itertools import count
from typing import Any, NamedTuple

import msgpack

from ibbridge.client.access import forbidden
from ibbridge.client.errors import BridgeError, CommandError, NoAnswer

RETRY = 3.0
"""Seconds without a reply until a command is sent again. The daemon repeats its first reply to a known command id."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Reply(NamedTuple):
    """Successful reply of the daemon to a command: the command's id, the result, and the epoch of the daemon.

    `dup` is True if the daemon has executed the same command, or placed the same order, before.
    """

    id: str
    result: dict[str, Any]
    epoch: int
    dup: bool = False


class Names:
    """Source of names that are unique over all runs of this client.

    Names are numbers counted up from the start time in microseconds. The clock advances faster than the count, so a
    later run begins above the names of this run. Any thread may take a name: a step of `count` is atomic.
    """

    def __init__(self) -> None:
        self._numbers = count(time.time_ns() // 1000)

    def new(self) -> str:
        """Return the next name: 10 letters and digits."""
        number = next(self._numbers)
        name = ""
        while number:
            number, digit = divmod(number, 36)
            name = _DIGITS[digit] + name
        return name


class Command:
    """Encoded command, with a count in `sent` of how often it was sent.

    Without a `client` the command is that of the name by which the daemon knows the connection. `envelope` has further
    keys beside args: key, not_after, epoch. A repeated command is the same bytes with the same id, so the daemon
    executes it once. Raise TypeError if the arguments are not plain values.
    """

    def __init__(self, client: str, id: str, cmd: str, args: dict[str, Any], **envelope: Any) -> None:  # noqa: A002 -- the protocol's word
        self.id = id
        self.cmd = cmd
        self.key: str | None = envelope.get("key") or args.get("key")
        self.sent = 0
        request = {"id": id, "cmd": cmd, "args": args} | ({"client": client} if client else {})
        request |= {name: value for name, value in envelope.items() if value is not None}
        try:
            self.packed: bytes = msgpack.packb(request)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"{cmd}: an argument cannot be sent: {error}") from error

    def reply(self, packed: bytes, rep: str) -> Reply:
        """Return the decoded reply. Raise CommandError if the daemon refuses, BridgeError if no daemon is at `rep`."""
        reply = unpacked(packed, rep)
        if reply.get("ok"):
            return Reply(self.id, reply.get("result") or {}, reply.get("epoch", 0), bool(reply.get("dup")))
        error = reply.get("error") or {"message": "the daemon failed on this; its log says why"}
        if error.get("code") == "E_NOT_SYNCED" and self.sent == 1:  # so no daemon before a restart can have got it
            error = {**error, "outcome": "not_sent"}
        raise CommandError(self.cmd, error)

    def cut_off(self) -> NoAnswer:
        """Return the error for a connection that was closed before the reply came."""
        if not self.sent:
            return NoAnswer(f"{self.cmd}: the connection was closed; nothing was sent", "not_sent", self.id, self.key)
        text = f"{self.cmd}: the connection was closed before the daemon answered. It may have carried it out"
        return NoAnswer(text, "unknown", self.id, self.key)

    def unanswered(self, rep: str, timeout: float) -> NoAnswer:
        """Return the error for a reply that did not come in `timeout` seconds from the daemon at `rep`."""
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
    """Return a reply as a map, which is empty if the daemon failed. Raise BridgeError if the reply is not a map."""
    try:
        reply = msgpack.unpackb(packed, strict_map_key=False) if packed else {}
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise BridgeError(f"what answers at {rep} is no ibbridge: is rep= the bus.rep of its configuration?")
    return reply


def hello(cancel_on_disconnect: str | None, window: float | None, ttl: float | None) -> dict[str, Any]:
    """Return the arguments of a hello, without those that are not given, and with a name for this run."""
    given = {"cancel_on_disconnect": cancel_on_disconnect, "window": window, "ttl": ttl, "run": uuid.uuid4().hex}
    return {name: value for name, value in given.items() if value is not None}


def is_demanding(said: dict[str, Any]) -> bool:
    """Return True if the strategy has asked for something in its hello, and must know if the daemon refuses it."""
    return bool(said.keys() - {"run"})


def is_orderly(kind: type[BaseException] | None) -> bool:
    """Return True if a with block ends as the strategy wants it: without an exception, or by `sys.exit`."""
    return kind is None or issubclass(kind, SystemExit)
