"""The commands that are the daemon's own, and no requests of IB's: what they take, and what they do.

Knows streams and their state; nothing of the form of commands, of sockets or of TWS.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.protocol.errors import Refused, shown
from ibbridge.protocol.topics import LONGEST_STREAM
from ibbridge.streams import snapshot
from ibbridge.streams.publisher import Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.risk.halt import Halt
    from ibbridge.streams.publisher import Streams

LONGEST_REASON = 500

REPLAYED = 500
REPLAYED_BYTES = 256 * 1024
"""The most of one reply to `replay`: about a millisecond to build."""


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
        Takes("prefix", str, "of the topics whose state is wanted; all if left out"),
        Takes("after", str, "what the page before gave as `next`"),
    ),
    "replay": (
        Takes("stream", str, "its name: the first two components of its topics, such as `ord.me.`", required=True),
        Takes("from", int, "the first number", required=True),
        Takes("to", int, "the last number; the last there is if left out"),
    ),
    "halt": (
        Takes(
            "reason",
            str,
            f"for people, up to {LONGEST_REASON} characters: it is in every heartbeat",
            longest=sys.maxsize,  # it is cut off, and not refused
        ),
    ),
    "resume": (),
}
"""The daemon's own commands, with their arguments."""

ANEW = frozenset(("ping", "status", "snapshot", "replay", "halt"))
"""Those that are carried out anew when they are repeated: what they say is of the moment, and whoever says halt for the
second time means it."""

NAMED = frozenset(("halt", "resume"))
"""Those that want to know who is asking."""


class Bridge:
    """Carries them out. `status` gives the body of that one, `clock` the time in µs since 1970 UTC."""

    def __init__(
        self, streams: Streams, halt: Halt, status: Callable[[], dict[str, Any]], clock: Callable[[], int]
    ) -> None:
        self._streams = streams
        self._does: Mapping[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
            "ping": lambda _, __: {"pong": True},
            "status": lambda _, __: status(),
            "snapshot": self._snapshot,
            "replay": self._replay,
            "halt": lambda args, client: {"kept": halt.set(client, _reason(args), clock())},
            "resume": lambda _, client: {"kept": halt.clear(client, clock())},
        }

    def carry_out(self, name: str, args: dict[str, Any], client: str) -> dict[str, Any]:
        """The result of the command of this name. Raises `Refused`."""
        _check(name, args)
        return self._does[name](args, client)

    def _snapshot(self, args: dict[str, Any], _: str) -> dict[str, Any]:
        """The state of every stream under `prefix`; `next` is to be given as `after` for the next page."""
        prefix = args.get("prefix", "").encode("utf-8", "replace")
        try:
            streams, following = snapshot.page(self._streams, prefix, args.get("after", ""))
        except snapshot.CursorError as error:
            raise Refused("E_ARG", str(error)) from None
        return {"streams": streams, "next": following, "offset": self._streams.offset}

    def _replay(self, args: dict[str, Any], _: str) -> dict[str, Any]:
        """The messages `from` to `to` of a stream; `next` is to be given as `from` for the rest."""
        name, first = args["stream"], args["from"]
        stream = self._streams.stream(name.encode("utf-8", "replace"))
        if stream is None:
            hint = "" if name.endswith(".") else "; a name ends in a dot"
            raise Refused("E_ARG", f"stream: nothing was ever published on {name[:200]!a}{hint}")
        last = min(args.get("to", stream.seq), stream.seq)
        if first < 1:
            raise Refused("E_ARG", "from: numbers begin with 1")
        try:
            found = self._streams.replay(stream.name, first, last, REPLAYED, REPLAYED_BYTES)
        except Gone as gone:
            fault = f"{name} is kept from number {gone.first} on; take a snapshot for what came of the rest"
            raise Refused("E_GAP_TOO_OLD", fault, first=gone.first) from None
        if not found and first <= last:
            fault = f"{name}: number {first} cannot be read from the store; its log says why"
            raise Refused("E_STORE", fault, retry_after=1.0)
        following = found[-1][0] + 1 if found else first
        return {
            "stream": name,
            "messages": [[topic, body] for _, topic, body in found],
            "next": following if following <= last else None,
        }


def _reason(args: dict[str, Any]) -> str:
    """Cut off, and not refused: who halts is in a hurry."""
    given: str = args.get("reason", "")
    return given[:LONGEST_REASON]


def _check(name: str, args: dict[str, Any]) -> None:
    """Refuse what a command does not take."""
    takes = TAKES[name]
    known = " and ".join(each.name for each in takes)
    faults = [
        f"{shown(given)} is unknown; " + (f"{name} takes {known}" if takes else "this command takes no arguments")
        for given in args
        if given not in {each.name for each in takes}
    ][:10]
    for each in takes:
        given = args.get(each.name)
        if given is None:
            if each.required or each.name in args:
                faults.append(f"{each.name} is missing" if each.required else f"{each.name} must be {_WORD[each.kind]}")
        elif not isinstance(given, each.kind) or isinstance(given, bool):
            faults.append(f"{each.name} must be {_WORD[each.kind]}")
        elif isinstance(given, str) and len(given) > each.longest:
            faults.append(f"{each.name} must have at most {each.longest} characters, not {len(given)}")
    if faults:
        raise Refused("E_ARG", *faults)


_WORD: Mapping[type, str] = {str: "text", int: "an integer"}
