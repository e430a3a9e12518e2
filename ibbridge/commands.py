"""The command border: bytes from a client in, the bytes of exactly one reply out.

Everything a client can get wrong is caught here and answered: what is wrong, where, and whether a retry is safe. Knows
msgpack and the form of commands; what a command does is a function in a table, or a request of IB's.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.arguments import WHAT_IF
from ibbridge.codec.messages import REQUESTS
from ibbridge.refusal import Refused
from ibbridge.routing import Asking

if TYPE_CHECKING:
    from ibbridge.requests import Requests
    from ibbridge.streams import Streams

log = logging.getLogger(__name__)

Command = Callable[[dict[str, Any]], Mapping[str, Any]]

LONGEST_CLIENT = 32
LONGEST_ID = 64
PAGE = 1000
"""Messages in one page of a snapshot: about a millisecond to build."""

TAKES: Mapping[str, tuple[str, ...]] = {"ping": (), "status": (), "snapshot": ("prefix", "after")}
"""The commands that are no request of IB's, with their arguments."""

_KEYS = frozenset(("id", "cmd", "args", "client", "key", "not_after"))


class Commands:
    """Answers commands. `status` gives the body of that one; the rest is here or in `requests`."""

    def __init__(self, streams: Streams, requests: Requests, status: Callable[[], dict[str, Any]]) -> None:
        self._streams = streams
        self._requests = requests
        self.counts: Counter[str] = Counter()
        self._own: dict[str, Command] = {
            "ping": lambda _: {"pong": True},
            "status": lambda _: status(),
            "snapshot": self._snapshot,
        }

    def answer(self, request: bytes) -> bytes:
        """The reply to one command. Never raises."""
        self.counts["commands"] += 1
        identifier: str | int | None = None
        try:
            command = _unpacked(request)
            identifier = _identifier(command)
            reply: dict[str, Any] = {"ok": True, "result": self._result(command, identifier)}
            if reply["result"].pop("dup", False):
                reply["dup"] = True
            return self._packed(identifier, reply)
        except Refused as error:
            return self._refused(identifier, error)
        except Exception:
            self.counts["internalErrors"] += 1
            log.exception("a bug: the command below was answered with E_INTERNAL: %.500r", request[:2000])
            fault = "this is a bug in ibbridge; its log has the details. What became of the command is not known"
            return self._refused(identifier, Refused("E_INTERNAL", fault, outcome="unknown"))

    def refuse(self, reason: str) -> bytes:
        """The reply to something that is no command by its size or its frames."""
        self.counts["commands"] += 1
        return self._refused(None, Refused("E_ARG", reason))

    def _refused(self, identifier: str | int | None, error: Refused) -> bytes:
        self.counts["refused"] += 1
        return self._packed(identifier, {"ok": False, "error": error.as_map()})

    def _packed(self, identifier: str | int | None, reply: Mapping[str, Any]) -> bytes:
        whole = {"id": identifier, **reply, "epoch": self._streams.epoch, "gen": self._streams.gen}
        packed: bytes = msgpack.packb(whole, default=str)
        return packed

    def _result(self, command: dict[str, Any], identifier: str | int) -> dict[str, Any]:
        name, args = _name(command), command.get("args")
        args = {} if args is None else args
        if not isinstance(args, dict):
            raise Refused("E_ARG", f"args must be a map, not {type(args).__name__}")
        if name in self._own:
            _texts(name, args)
            return dict(self._own[name](args))
        if name not in self._requests:
            near = get_close_matches(name[:64], [*self._own, *REQUESTS, WHAT_IF], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Refused("E_PROTO", f"cmd: there is no command {_show(name)}{hint}")
        late, asking, key = _late(command), Asking(_client(command), identifier), command.get("key")
        # An order that was sent in time must not be called "not sent" to whoever asks again because the reply was lost.
        if late and not self._requests.carried_out(name, args, asking, key):
            raise Refused("E_DEADLINE", "not_after has passed; nothing was sent", outcome="not_sent")
        return self._requests.carry_out(name, args, asking, key)

    def _snapshot(self, args: dict[str, Any]) -> Mapping[str, Any]:
        """The state of every stream under `prefix`; `next` is to be given as `after` for the next page."""
        prefix, after = (args.get(name, "").encode("utf-8", "replace") for name in TAKES["snapshot"])
        streams, following = self._streams.snapshot(prefix, after, PAGE)
        return {"streams": streams, "next": following.decode() if following else None}


def _texts(name: str, args: dict[str, Any]) -> None:
    """Refuse what a command of the bridge's own does not take. It takes texts, and none must be given."""
    takes = TAKES[name]
    known = f"{name} takes {' and '.join(takes)}" if takes else "this command takes no arguments"
    faults = [f"{_show(given)} is unknown; {known}" for given in args if given not in takes][:10]
    faults += [f"{each} must be text" for each in takes if not isinstance(args.get(each, ""), str)]
    if faults:
        raise Refused("E_ARG", *faults)


def _unpacked(request: bytes) -> dict[str, Any]:
    try:
        command = msgpack.unpackb(request, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:  # TypeError: a map as the key of a map
        raise Refused("E_PROTO", f"this is not one msgpack value: {type(error).__name__}: {error}"[:300]) from None
    if not isinstance(command, dict):
        raise Refused("E_PROTO", f"a command is a map with id, cmd, args and client, not {type(command).__name__}")
    return command


def _identifier(command: dict[str, Any]) -> str | int:
    identifier = command.get("id")
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        return identifier
    if isinstance(identifier, str) and 0 < len(identifier) <= LONGEST_ID and identifier.isprintable():
        return identifier
    wanted = f"an integer or 1 to {LONGEST_ID} printable characters: your name for this command"
    raise Refused("E_PROTO", f"id must be {wanted}")


def _name(command: dict[str, Any]) -> str:
    unknown = [name for name in command if name not in _KEYS]
    if unknown:
        known = ", ".join(sorted(_KEYS))
        raise Refused("E_PROTO", *(f"{_show(name)} is unknown; a command has {known}" for name in unknown[:10]))
    name = command.get("cmd")
    if not isinstance(name, str):
        raise Refused("E_PROTO", "cmd is missing" if name is None else "cmd must be text: the command's name")
    return name


def _client(command: dict[str, Any]) -> str:
    client = command.get("client")
    if (
        not isinstance(client, str)
        or not 0 < len(client) <= LONGEST_CLIENT
        or not (client.isascii() and client.isprintable())
        or "/" in client
    ):
        raise Refused(
            "E_PROTO", f"client must be 1 to {LONGEST_CLIENT} printable ASCII characters without /: who is asking"
        )
    if (key := command.get("key")) is not None and not isinstance(key, str):
        raise Refused("E_ARG", "key must be text")
    return client


def _late(command: dict[str, Any]) -> bool:
    not_after = command.get("not_after")
    if not_after is None:
        return False
    if isinstance(not_after, bool) or not isinstance(not_after, int):
        raise Refused("E_ARG", "not_after must be an integer: microseconds since 1970 UTC")
    return time.time_ns() // 1000 > not_after


def _show(name: Any) -> str:
    """A name in a sentence that people read in a terminal: without control characters."""
    return ascii(name[:60])[1:-1] if isinstance(name, str) else ascii(name)[:60]
