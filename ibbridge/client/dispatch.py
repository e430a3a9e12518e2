"""Callbacks and pending requests of a client, and the prefixes that each request subscribes to.

The threaded and the asyncio client share this module. It computes the prefixes to subscribe to before a request is sent
and after its reply; the client subscribes. This module must not know sockets or waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.client import request as requests
from ibbridge.client.commands import Command, Names, Reply
from ibbridge.client.errors import NoAnswer
from ibbridge.client.message import Message, known_types
from ibbridge.client.order_state import TYPE as STATES_TYPE
from ibbridge.client.request import Request
from ibbridge.client.stream_state import Mode
from ibbridge.protocol import topics

if TYPE_CHECKING:
    from ibbridge.client.order_state import KnownOrder
    from ibbridge.client.request import AnswerTopics

POLL_STATUS = 1.0
"""Seconds after which `wait_for_tws` asks the daemon again: another thread or task may have taken the message."""

Callback = Callable[[Message], object]


class PreparedRequest(NamedTuple):
    """Request before it is sent: the command, and the topic prefixes where its responses may come."""

    command: Command
    args: Mapping[str, Any]
    places: AnswerTopics

    @property
    def before(self) -> list[tuple[Mode, list[str]]]:
        """Prefixes to subscribe to before the command is sent, by mode."""
        lasting, wide, passing = self.places
        return [(Mode.STATE, [*lasting]), (Mode.HOLD, [*wide]), (Mode.LIVE, [*passing])]


class Dispatch:
    """Base class of both clients: all that needs no waiting."""

    def __init__(self, client: str, *, prefix: str, timeout: float) -> None:
        if not (1 <= len(client) <= 32 and client.isascii() and client.isprintable() and "/" not in client):
            raise ValueError(f"client={client!r}: a name has 1 to 32 printable ASCII characters, and no /")
        self.name = client
        self.timeout = timeout
        self._head = f"{prefix}." if prefix else ""
        self._names = Names()
        self._callbacks: dict[str, list[Callback]] = {}
        self._passing: dict[str, Request] = {}
        self._stopped = False
        self._greeted = False
        self._instruments: dict[str, str] = {}  # the daemon's own names for contracts, by instrument key

    # -- callbacks

    def register(self, kind: str, callback: Callback) -> None:
        """Have `callback(message)` called for every message of this type, such as "tickPrice"; "*" is every type.

        Callbacks are called in the order of their registration. Raise ValueError for an unknown type.
        """
        if kind != "*" and kind not in known_types():
            near = get_close_matches(kind, known_types(), 1)
            raise ValueError(f"there is no message {kind!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        self._callbacks[kind] = [*self._callbacks.get(kind, ()), callback]

    def unregister(self, kind: str, callback: Callback) -> None:
        """Stop calling this callback for messages of this type. Raise ValueError if the callback was not registered."""
        callbacks = self._callbacks.get(kind, [])
        if callback not in callbacks:
            raise ValueError(f"{callback!r} is not registered for {kind!r}")
        self._callbacks[kind] = [other for other in callbacks if other is not callback and other != callback]

    def _called(self, message: Message) -> list[Callback]:
        """Return the callbacks for a message."""
        return [*self._callbacks.get(message.type, ()), *self._callbacks.get("*", ())]

    def stop(self) -> None:
        """End `run` or iteration after the current message. A callback or a signal handler may call this method."""
        self._stopped = True

    # -- requests

    def _checked(self, name: str) -> str:
        """Return the name of a request. Raise AttributeError, with the nearest name, if there is no such request."""
        if name.startswith("_") or not requests.known(name):
            near = [] if name.startswith("_") else get_close_matches(name, dir(self), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise AttributeError(f"no request that is known here is named {name}{hint}")
        return name

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *requests.names()})

    def _by_name(self, cmd: str, args: Mapping[str, Any]) -> Command:
        """Return a command that the program sends by name.

        Raise ValueError for a hello after `connect`: the client says hello itself, also to a daemon that was restarted,
        and would undo what the program has said.
        """
        if cmd == "hello" and self._greeted:
            raise ValueError("give ttl, window and cancel_on_disconnect to connect(), which says hello with them")
        return self._command(cmd, args)

    def _command(self, cmd: str, args: Mapping[str, Any], key: str | None = None, epoch: int | None = None) -> Command:
        plain = {name: requests.plain(value) for name, value in args.items()}
        return Command(self.name, self._names.new(), cmd, plain, key=key, epoch=epoch)

    def _asking(
        self, name: str, args: dict[str, Any], key: str | None, identifier: str | None, epoch: int | None
    ) -> PreparedRequest:
        """Return a request to be sent. An order names the epoch: the daemon of another epoch could execute it twice."""
        if requests.is_order(name):
            key = key or args.get("key")
        if name == "placeOrder":
            key = key or self._names.new()
        meant = epoch if requests.is_order(name) else None
        command = Command(self.name, identifier or self._names.new(), name, args, key=key, epoch=meant)
        return PreparedRequest(command, args, requests.places(name, args, self._head, self._instruments))

    def _expected(self, prepared: PreparedRequest) -> Request | None:
        """Return a one-shot request before its reply, because its first responses may overtake the reply; else None."""
        if not requests.one_shot(prepared.command.cmd, prepared.args):
            return None
        topic = self._head + topics.topic("req", self.name, prepared.command.id).decode("ascii")
        return Request(prepared.command.cmd, prepared.command.id, self.name, topic, one_shot=True)

    def _made(self, prepared: PreparedRequest, reply: Reply) -> Request:
        """Return the accepted request, made from the command and its reply."""
        name, key = prepared.command.cmd, prepared.command.key
        one_shot = requests.one_shot(name, prepared.args)
        made = self._request(name, reply.id, key, reply.result, one_shot=one_shot, dup=reply.dup)
        if prepared.places.passing:
            self._passing[made.id] = made
        return made

    def _request(
        self,
        cmd: str,
        identifier: str,
        key: str | None,
        result: dict[str, Any],
        *,
        one_shot: bool = False,
        dup: bool = False,
    ) -> Request:
        topic = self._headed(str(result.get("topic", "")))
        topics = tuple(self._headed(str(prefix)) for prefix in result.get("topics") or ([topic] if topic else []))
        return Request(cmd, identifier, self.name, topic, key, one_shot, topics, result, dup)

    def _missing(self, made: Sequence[Request], prefixes: frozenset[str], wide: Sequence[str] = ()) -> list[str]:
        """Return the topics named in the reply that no subscription covers; the wide prefixes are about to end."""
        others = tuple(prefixes - {*wide})
        named = dict.fromkeys(topic for each in made for topic in each.topics)
        return [topic for topic in named if not topic.startswith(others)]

    def _headed(self, topic: str) -> str:
        return topic if not topic or topic.startswith(self._head) else self._head + topic

    def _ended_by(self, prepared: PreparedRequest) -> str | None:
        """Return the id of the request that this cancel has ended; None if it is no cancel by id."""
        cancels = prepared.command.cmd.startswith("cancel")
        return str(prepared.args["id"]) if cancels and "id" in prepared.args else None

    def _passed(self, message: Message) -> str | None:
        """Return the id of the request that this message ends, if a subscription exists only for its responses."""
        made = self._passing.get(message.ref.get("id", ""))
        if made is None or not message.concerns(made):
            return None
        return self._passing.pop(made.id).id

    # -- orders

    def _order_topic(self, key: str) -> str:
        """Return the prefix of the messages about the order of this key."""
        return self._head + topics.topic("ord", self.name, key).decode("ascii")

    def _states_topic(self, key: str) -> str:
        """Return the topic of the states of the order of this key."""
        return f"{self._order_topic(key)}{STATES_TYPE}."

    def _track(self, key: str) -> KnownOrder:
        """Return what is known of the order of this key. From here on the states that come are noted."""
        raise NotImplementedError

    def _order_of(self, command: Command) -> KnownOrder | None:
        """Return what is known of the order that a command makes or cancels; None if it does neither."""
        named = requests.is_order(command.cmd) or command.cmd == "cancelOrder"
        if not named or not isinstance(command.key, str):
            return None
        known = self._track(command.key)
        if command.cmd == "cancelOrder":
            known.expect_cancel()
        return known

    def _listed(self, row: dict[str, Any]) -> Request:
        """Return the request that made an order which the daemon has listed."""
        places = [self._order_topic(row["key"]), self._own[2]]
        about = {**row, "topic": places[0], "topics": places}
        return self._request(row["command"], "", row["key"], about)

    @property
    def _heartbeats(self) -> str:
        return f"{self._head}sys.bridge.heartbeat."

    @property
    def _own(self) -> list[str]:
        """Topic prefixes of this client's requests, orders and executions, and of the daemon's own messages."""
        own = (topics.topic(kind, self.name).decode("ascii") for kind in ("req", "ord", "exec"))
        return [*(self._head + prefix for prefix in own), f"{self._head}sys."]


class Patience:
    """Time to wait for the next response to a request: `timeout` seconds after an IB limit no longer holds it back."""

    def __init__(self, request: Request, timeout: float) -> None:
        self._request = request
        self._timeout = timeout
        self._about: Mapping[str, Any] = request.result

    def left(self) -> float:
        """Return the seconds to wait from now."""
        until = self._about.get("held_until")
        return self._timeout + (0.0 if until is None else max(0.0, until / 1e6 - time.time()))

    def is_news(self, message: Message) -> bool:
        """Note the time until which a `held` message says that the request is held back. Return True if it is one."""
        if message.type != "held":
            return False
        self._about = message.data
        return True

    def error(self) -> NoAnswer:
        """Return the error for a response that did not come in that time."""
        held = self._about.get("held_by")
        why = f"; it was held back by {held}" if held else ""
        return NoAnswer(f"{self._request.cmd}: TWS has not answered for {self._timeout:g} s{why}", "unknown")


def no_tws(about: Mapping[str, Any]) -> str:
    """Return what an error says if the connection to TWS, as `status` describes it in "tws", is not ready in time."""
    why = f": {about['lastError']}" if about.get("lastError") else ""
    return f"the daemon has no connection to TWS ({about['stage']}{why})"


def is_failure(message: Message) -> bool:
    """Return True if this message ends its request without the rest of its responses.

    Such a message is an IB error that is no warning, or a response that could not be decoded and is the last one.
    """
    return message.type in ("error", "decodeError") and bool(message.data.get("ends"))


def is_final(request: Request, message: Message) -> bool:
    """Return True if no message follows this response to a one-shot request."""
    if is_failure(message):
        return True
    if message.type == "decodeError":  # its data is unknown, and with it whether it announced that more follow
        return requests.is_last(request.cmd, str(message.data.get("name")), {})
    return requests.is_last(request.cmd, message.type, message.data)
