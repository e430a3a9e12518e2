"""The daemon's own commands (`ping`, `status`, `snapshot`, `replay`), and those that other parts add: their execution.

This module knows streams and their state. It must not know the form of commands, sockets or TWS.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.commands.takes import TAKES, check
from ibbridge.protocol.errors import CommandRefused
from ibbridge.streams import envelope, snapshot
from ibbridge.streams.audience import filtered
from ibbridge.streams.history import Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.orders.acceptance import JournalAcceptance
    from ibbridge.security.rights import Rights
    from ibbridge.streams.publisher import Publisher

REPLAYED = 500
REPLAYED_BYTES = 256 * 1024
"""Limits of one reply to `replay`, in messages and bytes. A reply at the limit takes about a millisecond to build."""


class ClientWords(Protocol):
    """Part that notes which clients are there."""

    def word(self, client: str | None, peer: bytes, *, trades: bool = True) -> None:
        """Note that a command of a client has come over a connection; None for one that speaks for nobody."""


class BuiltinCommands:
    """Executor of the daemon's own commands.

    `status` returns the result of the command `status`. `further` are commands of other parts, by name.
    `words` is told of every command of a client.
    """

    def __init__(
        self,
        publisher: Publisher,
        acceptance: JournalAcceptance,
        status: Callable[[], dict[str, Any]],
        further: Mapping[str, Callable[[dict[str, Any], str], dict[str, Any]]],
        words: ClientWords,
    ) -> None:
        self.words = words
        self._publisher = publisher
        self._does: Mapping[str, Callable[[dict[str, Any], str, Rights], dict[str, Any]]] = {
            "ping": lambda _, __, rights: {"pong": True, **_named(rights)},
            "status": lambda _, __, rights: status() if rights.everything else filtered(status(), rights),
            "snapshot": self._snapshot,
            "replay": self._replay,
            "acceptJournal": lambda _, __, ___: {"accepted": acceptance.accept()},
            **{name: partial(_without_rights, do) for name, do in further.items()},
        }

    def execute(self, name: str, args: dict[str, Any], client: str, rights: Rights) -> dict[str, Any]:
        """Execute the command of this name and return its result, as far as `rights` let the client see it.

        Raises `CommandRefused`.
        """
        check(name, TAKES[name], args)
        return self._does[name](args, client, rights)

    def _snapshot(self, args: dict[str, Any], _: str, rights: Rights) -> dict[str, Any]:
        """Return a page of the state of the streams under `prefix`, and `next`: the `after` of the next page."""
        prefix = args.get("prefix", "").encode("utf-8", "replace")
        rights.check_topic(prefix, "prefix")
        try:
            streams, following = snapshot.page(self._publisher, prefix, args.get("after", ""), sees=rights)
        except snapshot.CursorError as error:
            raise CommandRefused("E_ARG", str(error)) from None
        return {"streams": streams, "next": following, "offset": self._publisher.offset}

    def _replay(self, args: dict[str, Any], _: str, rights: Rights) -> dict[str, Any]:
        """Return the messages `from` to `to` of a stream, and `next`: the `from` that gives the rest.

        Those that the client may not see are withheld, but their numbers are not.
        """
        name, first = args["stream"], args["from"]
        rights.check_topic(name.encode("utf-8", "replace"), "stream")
        stream = self._publisher.stream(name.encode("utf-8", "replace"))
        if stream is None:
            hint = "" if name.endswith(".") else "; a name ends in a dot"
            raise CommandRefused("E_ARG", f"stream: no message was ever published on {name[:200]!a}{hint}")
        last = min(args.get("to", stream.seq), stream.seq)
        if first < 1:
            raise CommandRefused("E_ARG", "from: sequence numbers begin with 1")
        try:
            found = self._publisher.replay(stream.name, first, last, REPLAYED, REPLAYED_BYTES)
        except Gone as gone:
            fault = f"{name} is kept from sequence number {gone.first} on; take a snapshot instead of older messages"
            raise CommandRefused("E_GAP_TOO_OLD", fault, first=gone.first) from None
        if not found and first <= last:
            fault = f"{name}: sequence number {first} cannot be read from the store; the daemon's log says why"
            raise CommandRefused("E_STORE", fault, retry_after=1.0)
        following = found[-1][0] + 1 if found else first
        return {
            "stream": name,
            "messages": [_shown(topic, body, stream.name, rights) for _, topic, body in found],
            "next": following if following <= last else None,
        }


def _shown(topic: bytes, body: bytes, stream: bytes, rights: Rights) -> list[bytes]:
    return [topic, body] if rights.sees(topic) else [stream, envelope.withheld(body)]


def _named(rights: Rights) -> dict[str, str]:
    """Return the role of a connection, and the name by which the daemon knows it, if it has one."""
    role, own, _ = rights.whose
    return {"role": role, "client": own.name} if own.name else {"role": role}


def _without_rights(
    do: Callable[[dict[str, Any], str], dict[str, Any]], args: dict[str, Any], client: str, _: Rights
) -> dict[str, Any]:
    return do(args, client)
