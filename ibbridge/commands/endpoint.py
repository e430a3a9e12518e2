"""The command border: bytes of a command in, bytes of exactly one reply out.

Every fault of a client ends here. The reply says what is wrong, where, and whether a retry is safe. This module knows
msgpack and the form of commands. `builtin` executes the daemon's own commands, `ib_requests` executes IB's requests.
"""

from __future__ import annotations

import logging
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.commands.bug_report import report
from ibbridge.commands.ib_requests import unknown
from ibbridge.commands.reply_cache import ReplyCache, digest, repeated
from ibbridge.commands.takes import ANEW, NAMED, TAKES
from ibbridge.commands.unpacking import TooMuchError, UnpackingError, unpacked
from ibbridge.protocol.errors import CommandRefused, shown
from ibbridge.requests.request import CommandId
from ibbridge.subscriptions.lines import NoLineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.clock import Clock
    from ibbridge.commands.builtin import BuiltinCommands
    from ibbridge.commands.ib_requests import IbRequests
    from ibbridge.commands.permissions import Caller, Permissions
    from ibbridge.streams.publisher import Publisher

log = logging.getLogger(__name__)

LONGEST_CLIENT = 32
LONGEST_ID = 64
MOST_REFUSALS = 10_000
"""Remembered replies to commands that were refused and that no retry can make valid."""

MOST_QUESTIONS = 10_000
"""Remembered commands of the kind that is executed anew when it is repeated (`takes.ANEW`)."""

EXPIRED_AT_ONCE = 2_000
"""Most replies of each kind that one call of `CommandEndpoint.tick` forgets, which takes about two milliseconds."""

_NEW_ID = "take an id that no run of this client has used, such as one made from the time"
_ANEW = [*ANEW]  # a list, because `cmd` may have any type, also one without a hash
_OF_RIGHTS = ("E_AUTH", "E_PERM")
_KEYS = frozenset(("id", "cmd", "args", "client", "key", "not_after", "epoch"))


class _Asked:
    """The known parts of a command: connection, sender, id, and the key under which the reply is remembered."""

    def __init__(self, peer: bytes) -> None:
        self.peer = peer
        self.caller: Caller | None = None
        self.command: dict[str, Any] = {}
        self.identifier: str | int | None = None
        self.memory: tuple[CommandId, bytes] | None = None
        self.anew = False


class CommandEndpoint:
    """Command endpoint: validates commands, dispatches them, and answers repeated commands from memory."""

    def __init__(
        self,
        publisher: Publisher,
        requests: IbRequests,
        builtin: BuiltinCommands,
        clock: Clock,
        permissions: Permissions,
    ) -> None:
        self._permissions = permissions
        self._publisher = publisher
        self._requests = requests
        self._builtin = builtin
        self._clock = clock
        self._done = ReplyCache()
        # Refusals and questions are many. In their own memories they cannot displace the replies that matter.
        self._refusals = ReplyCache(MOST_REFUSALS)
        self._questions = ReplyCache(MOST_QUESTIONS)
        # A command that was not sent is not remembered: its repetition is executed, if that is possible by then.
        self._of_refused = {"refused": self._refusals, "not_sent": None, "unknown": self._done}
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> Counter[str]:
        """Counts of commands received, refused, repeated and failed, and of replies forgotten early."""
        return self._counts + Counter(forgottenReplies=self._done.forgotten)

    def answer(self, request: bytes, peer: bytes = b"") -> bytes:
        """Return the reply to one command that came over the connection `peer`. Never raises."""
        self._counts["commands"] += 1
        asked = _Asked(peer)
        replies: ReplyCache | None = self._done
        try:
            reply = self._answer(request, asked)
        except CommandRefused as error:
            reply = self._refused(asked.identifier, error)
            replies = self._of_refused[error.outcome]
            if error.code in _OF_RIGHTS:
                replies = None  # other rights may hold when the command is repeated
                self._permissions.refused(asked.caller, peer, asked.command, error)
        except Exception as error:  # noqa: BLE001 - the one place: a bug costs one command, and not the daemon
            self._counts["internalErrors"] += 1
            log.error("bug in ibbridge: command answered with E_INTERNAL: %s", report(request, error))  # noqa: TRY400
            fault = "this is a bug in ibbridge; its log has the details. The command may or may not have been executed"
            reply = self._refused(asked.identifier, CommandRefused("E_INTERNAL", fault, outcome="unknown"))
        if asked.memory and asked.anew:
            self._questions.keep(*asked.memory, b"", self._clock.monotonic(), peer)
        elif asked.memory and replies is not None:
            replies.keep(*asked.memory, reply, self._clock.monotonic(), peer)
        return reply

    def tick(self) -> None:
        """Forget expired replies, at most `EXPIRED_AT_ONCE` of each kind. Call this about every second."""
        for replies in (self._done, self._refusals, self._questions):
            replies.expire(self._clock.monotonic(), EXPIRED_AT_ONCE)

    def _answer(self, request: bytes, asked: _Asked) -> bytes:
        self._publisher.flush()  # no reply may show what is not committed yet: a snapshot holds durable messages
        command = _unpacked(request)
        asked.command = command
        asked.identifier = identifier = _identifier(command)
        asked.caller = caller = self._permissions.caller(asked.peer, command.get("client"))
        self._builtin.words.word(caller.speaks_for, asked.peer, trades=caller.rights.trades)
        memory = _memory(command, identifier, caller.origin)
        first = self._first_reply(identifier, *memory) if memory else None
        if first:
            return repeated(first)
        asked.memory = memory if first is None else None
        asked.anew = command.get("cmd") in _ANEW
        self._is_meant(command.get("epoch"))
        if caller.client:
            command = {**command, "client": caller.client}
        result = self._result(command, identifier, asked.peer, caller)
        dup = {"dup": True} if result.pop("dup", False) or first is not None else {}
        return self._packed(identifier, {"ok": True, "result": result}, dup)

    def _is_meant(self, epoch: Any) -> None:
        """Refuse a command for an earlier daemon process, which may have executed the command already."""
        if epoch is None:
            return
        if isinstance(epoch, bool) or not isinstance(epoch, int):
            raise CommandRefused(
                "E_ARG", "epoch must be an integer: the daemon's, from a welcome, a heartbeat or a reply"
            )
        if epoch != self._publisher.epoch:
            gone = f"the daemon with epoch {epoch} has ended, and this one has epoch {self._publisher.epoch}"
            fault = f"{gone}: this one has not executed the command, and the other may or may not have done so"
            raise CommandRefused("E_NOT_SYNCED", fault, outcome="unknown")

    def _first_reply(self, identifier: str | int, command_id: CommandId, content: bytes) -> bytes | None:
        """Return the first reply to this command; empty bytes if a repetition is executed anew; None for a new one.

        Raises `CommandRefused` if the id belongs to another command, or to a request that the client has cancelled.
        """
        now = self._clock.monotonic()
        memories = (self._done, self._refusals, self._questions)
        found = next((found for each in memories if (found := each.find(command_id, content, now))), None)
        if found is None:
            return None
        same, reply = found
        if not same:
            fault = f"id {identifier!a} was given to another command in the last ten minutes"
            raise CommandRefused("E_ID_REUSED", f"{fault}; {_NEW_ID}")
        if cancelled := self._requests.cancelled(command_id):
            fault = f"id {identifier!a} belongs to a {cancelled} that was cancelled, and is not requested again"
            raise CommandRefused("E_ID_REUSED", f"{fault}; {_NEW_ID}")
        self._counts["repeated"] += 1
        return reply

    def refuse(self, reason: str) -> bytes:
        """Return the refusal of a message that is no command because of its size or its frames."""
        self._counts["commands"] += 1
        return self._refused(None, CommandRefused("E_ARG", reason))

    def _refused(self, identifier: str | int | None, error: CommandRefused) -> bytes:
        self._counts["refused"] += 1
        return self._packed(identifier, {"ok": False, "error": error.as_map()})

    def _packed(
        self, identifier: str | int | None, reply: Mapping[str, Any], dup: Mapping[str, bool] = MappingProxyType({})
    ) -> bytes:
        whole = {"id": identifier, **reply, "epoch": self._publisher.epoch, "gen": self._publisher.gen, **dup}
        packed: bytes = msgpack.packb(whole, default=str)
        return packed

    def _result(self, command: dict[str, Any], identifier: str | int, peer: bytes, caller: Caller) -> dict[str, Any]:
        name, args = _name(command), command.get("args")
        args = {} if args is None else args
        if not isinstance(args, dict):
            raise CommandRefused("E_ARG", f"args must be a map, not {type(args).__name__}")
        if name in TAKES:
            client = _client(command) if name in NAMED else ""
            self._permissions.check(caller, name, args, None)
            self._in_time(command)
            return self._builtin.execute(name, args, client, caller.rights)
        if name not in self._requests:
            raise unknown(name)
        command_id, key = CommandId(_client(command), identifier), command.get("key")
        self._permissions.check(caller, name, args, key)
        # A client that lost the reply repeats the command. An order that left in time must not be called "not sent".
        if command.get("not_after") is not None and not self._requests.is_repeat(name, args, command_id, key):
            self._in_time(command)
        try:
            return self._requests.execute(name, args, command_id, key, command.get("not_after"), peer=peer)
        except NoLineError as refused:
            raise refused.told_to(caller.knows) from None

    def _in_time(self, command: dict[str, Any]) -> None:
        """Refuse a command whose `not_after` has passed."""
        not_after = command.get("not_after")
        if not_after is None:
            return
        if isinstance(not_after, bool) or not isinstance(not_after, int):
            raise CommandRefused("E_ARG", "not_after must be an integer: microseconds since 1970 UTC")
        if (late := self._clock.utc_us() - not_after) > 0:
            fault = f"not_after was {late / 1e6:.6g} s ago, in microseconds since 1970 UTC; nothing was sent"
            raise CommandRefused("E_DEADLINE", fault, outcome="not_sent")


def _memory(command: dict[str, Any], identifier: str | int, origin: bytes) -> tuple[CommandId, bytes] | None:
    """Return the key and digest under which a command is remembered; None if the command names no valid client.

    The same command of another origin has another digest, so that it never gets the reply to this one.
    """
    client = command.get("client")
    if not isinstance(client, str) or len(client) > LONGEST_CLIENT:
        return None
    return CommandId(client, identifier).named, origin + digest(command)


def _unpacked(request: bytes) -> dict[str, Any]:
    try:
        command = unpacked(request)
    except TooMuchError as error:
        raise CommandRefused("E_ARG", str(error)) from None
    except UnpackingError as error:
        raise CommandRefused("E_PROTO", f"a command must be a msgpack map of plain values: {error}") from None
    if not isinstance(command, dict):
        raise CommandRefused(
            "E_PROTO", f"a command is a map with id, cmd, args and client, not {type(command).__name__}"
        )
    return command


def _identifier(command: dict[str, Any]) -> str | int:
    identifier = command.get("id")
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        return identifier
    if isinstance(identifier, str) and 0 < len(identifier) <= LONGEST_ID and identifier.isprintable():
        return identifier
    wanted = f"an integer or 1 to {LONGEST_ID} printable characters: your name for this command"
    raise CommandRefused("E_PROTO", f"id must be {wanted}")


def _name(command: dict[str, Any]) -> str:
    unknown = [name for name in command if name not in _KEYS]
    if unknown:
        known = ", ".join(sorted(_KEYS))
        raise CommandRefused("E_PROTO", *(f"{shown(name)} is unknown; a command has {known}" for name in unknown[:10]))
    name = command.get("cmd")
    if not isinstance(name, str):
        raise CommandRefused("E_PROTO", "cmd is missing" if name is None else "cmd must be text: the command's name")
    return name


def _client(command: dict[str, Any]) -> str:
    client = command.get("client")
    if (
        not isinstance(client, str)
        or not 0 < len(client) <= LONGEST_CLIENT
        or not (client.isascii() and client.isprintable())
        or "/" in client
    ):
        raise CommandRefused(
            "E_PROTO", f"client must be 1 to {LONGEST_CLIENT} printable ASCII characters without /: who is asking"
        )
    if (key := command.get("key")) is not None and not isinstance(key, str):
        raise CommandRefused("E_ARG", "key must be text")
    return client
