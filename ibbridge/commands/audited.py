"""The commands of clients for the audit: each with its reply, once, and after the reply is made.

Reading the command and its reply again for the audit takes longer than it may take a client. So the audit does that
later, from the bytes of both.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgpack

from ibbridge.commands.reply_cache import is_repeated
from ibbridge.commands.unpacking import UnpackingError, unpacked
from ibbridge.security.audit_chain import has_secret

if TYPE_CHECKING:
    from collections import Counter

    from ibbridge.security.audit import Audit, CommandAudit
    from ibbridge.security.identity import Peerage

LONGEST_FAULT = 300
"""Characters of a refusal that are recorded."""

_FACTS = ("cmd", "client", "id", "key", "args", "not_after")


class Commands(Protocol):
    """Endpoint of commands, as far as each is answered."""

    def answer(self, request: bytes, peer: bytes = b"") -> bytes:
        """Return the reply to one command."""

    def refuse(self, reason: str) -> bytes:
        """Return the refusal of a message that is no command."""

    @property
    def counts(self) -> Counter[str]:
        """Counts of commands."""

    def tick(self) -> None:
        """Do the periodic work."""


class AuditedCommands:
    """Endpoint of commands whose every command is recorded, with the identity of its connection."""

    def __init__(self, endpoint: Commands, audit: Audit, peerage: Peerage, decisions: CommandAudit) -> None:
        """`decisions` is the audit of what commands lead to."""
        self._endpoint = endpoint
        self._audit = audit
        self._peerage = peerage
        self._decisions = decisions

    @property
    def counts(self) -> Counter[str]:
        """Counts of commands received, refused, repeated and failed, and of replies forgotten early."""
        return self._endpoint.counts

    def tick(self) -> None:
        """Forget expired replies. Call this about every second."""
        self._endpoint.tick()

    def answer(self, request: bytes, peer: bytes = b"") -> bytes:
        """Return the reply to one command that came over the connection `peer`. Never raises."""
        self._decisions.identity = identity = self._peerage.identity(peer)
        try:
            reply = self._endpoint.answer(request, peer)
        finally:
            self._decisions.identity = None
        self._audit.record("command", identity=identity, facts=partial(facts, request, reply))
        return reply

    def refuse(self, reason: str) -> bytes:
        """Return the refusal of a message that is no command because of its size or its frames."""
        self._audit.record("command", ok=False, code="E_ARG", fault=reason)
        return self._endpoint.refuse(reason)


def facts(request: bytes, reply: bytes) -> dict[str, Any]:
    """Return what the audit records of a command and its reply."""
    try:
        command = unpacked(request)
    except UnpackingError:
        command = None
    if isinstance(command, dict):
        about = {name: command[name] for name in _FACTS if name in command}
    else:
        about = {"size": len(request)}
    about["ok"], error = _outcome(reply)
    about["dup"] = is_repeated(reply) or None
    if error is not None:
        about |= {"code": error.get("code"), "outcome": error.get("outcome")}
        if not has_secret(about.get("args")):
            about["fault"] = str(error.get("message"))[:LONGEST_FAULT]
    return about


def _outcome(reply: bytes) -> tuple[bool, dict[str, Any] | None]:
    """Return the second value of a reply, and the third if it is an error. The rest may be long, and is not read."""
    reader = msgpack.Unpacker(max_buffer_size=0, strict_map_key=False)
    reader.feed(reply)
    reader.read_map_header()
    values = {}
    for _ in range(2):
        name = reader.unpack()
        values[name] = reader.unpack()
    if values.get("ok"):
        return True, None
    reader.unpack()
    error = reader.unpack()
    return False, error if isinstance(error, dict) else {}
