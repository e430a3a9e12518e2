"""The daemon's own commands (`ping`, `status`, `snapshot`, `replay`, `halt`, `resume`): arguments and execution.

This module knows streams and their state. It must not know the form of commands, sockets or TWS.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.protocol.errors import CommandRefused, shown
from ibbridge.protocol.topics import LONGEST_STREAM
from ibbridge.streams import snapshot
from ibbridge.streams.history import Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.risk.halt import Halt
    from ibbridge.streams.publisher import Publisher

LONGEST_REASON = 500

REPLAYED = 500
REPLAYED_BYTES = 256 * 1024
"""Limits of one reply to `replay`, in messages and bytes. A reply at the limit takes about a millisecond to build."""


class Takes(NamedTuple):
    """An argument: text of at most `longest` characters, or an integer."""

    name: str
    kind: type[str | int]
    note: str
    required: bool = False
    longest: int = 2 * LONGEST_STREAM


TAKES: Mapping[str, tuple[Takes, ...]] = {
    "ping": (),
    "status": (),
    "snapshot": (
        Takes("prefix", str, "prefix of the wanted topics; all topics if left out"),
        Takes("after", str, "the `next` of the page before"),
    ),
    "replay": (
        Takes("stream", str, "the stream: the first two components of its topics, such as `ord.me.`", required=True),
        Takes("from", int, "the first sequence number", required=True),
        Takes("to", int, "the last sequence number; the newest one if left out"),
    ),
    "halt": (
        Takes(
            "reason",
            str,
            f"a text for people, up to {LONGEST_REASON} characters, which every heartbeat repeats",
            longest=sys.maxsize,  # a longer text is cut off, and not refused
        ),
    ),
    "resume": (),
}
"""Arguments of each of the daemon's own commands, by command name."""

ANEW = frozenset(("ping", "status", "snapshot", "replay", "halt"))
"""Commands that are executed anew when a client repeats them. Their results describe the moment, and a client that
repeats `halt` means `halt`."""

NAMED = frozenset(("halt", "resume"))
"""Commands that require the client's name."""


class BuiltinCommands:
    """Executor of the daemon's own commands.

    `status` returns the result of the command `status`. `clock` returns the time in µs since 1970 UTC.
    """

    def __init__(
        self, publisher: Publisher, halt: Halt, status: Callable[[], dict[str, Any]], clock: Callable[[], int]
    ) -> None:
        self._publisher = publisher
        self._does: Mapping[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
            "ping": lambda _, __: {"pong": True},
            "status": lambda _, __: status(),
            "snapshot": self._snapshot,
            "replay": self._replay,
            "halt": lambda args, client: {"kept": halt.set(client, _reason(args), clock())},
            "resume": lambda _, client: {"kept": halt.clear(client, clock())},
        }

    def execute(self, name: str, args: dict[str, Any], client: str) -> dict[str, Any]:
        """Execute the command of this name and return its result. Raises `CommandRefused`."""
        _check(name, args)
        return self._does[name](args, client)

    def _snapshot(self, args: dict[str, Any], _: str) -> dict[str, Any]:
        """Return a page of the state of the streams under `prefix`, and `next`: the `after` of the next page."""
        prefix = args.get("prefix", "").encode("utf-8", "replace")
        try:
            streams, following = snapshot.page(self._publisher, prefix, args.get("after", ""))
        except snapshot.CursorError as error:
            raise CommandRefused("E_ARG", str(error)) from None
        return {"streams": streams, "next": following, "offset": self._publisher.offset}

    def _replay(self, args: dict[str, Any], _: str) -> dict[str, Any]:
        """Return the messages `from` to `to` of a stream, and `next`: the `from` that gives the rest."""
        name, first = args["stream"], args["from"]
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
            "messages": [[topic, body] for _, topic, body in found],
            "next": following if following <= last else None,
        }


def _reason(args: dict[str, Any]) -> str:
    """Return the reason of a halt, cut to the limit. A long reason is no fault: a client that halts is in a hurry."""
    given: str = args.get("reason", "")
    return given[:LONGEST_REASON]


def _check(name: str, args: dict[str, Any]) -> None:
    """Refuse arguments that the command does not take, lacks, or takes with another type or length."""
    takes = TAKES[name]
    known = " and ".join(argument.name for argument in takes)
    faults = [
        f"{shown(given)} is unknown; " + (f"{name} takes {known}" if takes else "this command takes no arguments")
        for given in args
        if given not in {argument.name for argument in takes}
    ][:10]
    for argument in takes:
        given = args.get(argument.name)
        if given is None:
            if argument.required or argument.name in args:
                fault = "is missing" if argument.required else f"must be {_WORD[argument.kind]}"
                faults.append(f"{argument.name} {fault}")
        elif not isinstance(given, argument.kind) or isinstance(given, bool):
            faults.append(f"{argument.name} must be {_WORD[argument.kind]}")
        elif isinstance(given, str) and len(given) > argument.longest:
            faults.append(f"{argument.name} must have at most {argument.longest} characters, not {len(given)}")
    if faults:
        raise CommandRefused("E_ARG", *faults)


_WORD: Mapping[type, str] = {str: "text", int: "an integer"}
