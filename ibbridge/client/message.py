"""One message as a strategy sees it: the envelope, and the data with IB's own names as attributes.

Knows the body's shape (docs: the protocol), and asks the codec's declarations only for defaults: in IB's records an
attribute equal to its default is left out of what is published, and reading it shall not be an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.client.errors import BridgeError
from ibbridge.codec import schema
from ibbridge.codec.messages import MESSAGES

if TYPE_CHECKING:
    from ibbridge.client.request import Request

OWN_TYPES = frozenset(
    ["alarm", "bye", "connection", "decodeError", "decodeErrors", "farm", "gap", "halt", "heartbeat", "held", "store"]
) | frozenset(["down", "lost", "restart", "up"])  # this library's
"""Messages that are not IB's: the daemon's own, and this library's."""


class Message:
    """What the daemon published, or (flag `synthetic`, no `offset`) what this library has to say itself.

    `type` is IB's callback name, `data` its arguments, each of them an attribute too: `message.price` is
    `message.data["price"]`, and inside records `message.contract.symbol`. A field of the message's own name wins.

    `topic` is where it was published; `seq` its number in its stream and `offset` among all messages; `epoch` changes
    when the daemon restarts, `gen` counts its connections to TWS; `ts` is when the daemon read it from TWS, in
    microseconds since 1970 UTC; `ref` says what it is about, where topic and data do not: an order's owner and key, a
    request's client and id; `flags` are some of replayed, stale, synthetic.
    """

    __slots__ = ("data", "epoch", "flags", "gen", "offset", "ref", "seq", "topic", "ts", "type")

    def __init__(self, topic: str, body: Mapping[str, Any]) -> None:
        get = body.get
        self.topic = topic
        self.type: str = body["type"]
        self.data: dict[str, Any] = get("data") or {}
        self.seq: int = get("seq", 0)
        self.offset: int = get("offset", 0)
        self.epoch: int = get("epoch", 0)
        self.gen: int = get("gen", 0)
        self.ts: int = get("ts", 0)
        self.ref: dict[str, Any] = get("ref") or {}
        self.flags: tuple[str, ...] = tuple(get("flags") or ())

    @property
    def received(self) -> datetime:
        """When the daemon read it from TWS."""
        return datetime.fromtimestamp(self.ts / 1e6, UTC)

    @property
    def error_class(self) -> str:
        """What kind of error an error is: its `class`, which is a word of Python's and no attribute.

        One of connectivity, data, order, warning and system; `ends` says whether what it is about is over.
        """
        found: str = _attribute(self.data, "class", None, self.type)
        return found

    def concerns(self, request: Request) -> bool:
        """Whether this is an answer to the request: its data, its errors, or its order's fills."""
        if request.takes_in(self.topic):
            return True
        if request.key is not None:
            return self.ref.get("key") == request.key and self.ref.get("owner") == request.client
        return self.ref.get("id") == request.id and self.ref.get("client") == request.client

    def __getattr__(self, name: str) -> Any:
        if name in Message.__slots__ or name.startswith("__"):  # not made yet: being copied, say
            raise AttributeError(name)
        return _attribute(self.data, name, _declared(self.type), self.type)

    def __str__(self) -> str:
        return " ".join([self.type, *(f"{name}={value!r}" for name, value in self.data.items())])

    def __repr__(self) -> str:
        return f"<{self} [{self.topic} #{self.seq}]>"


class Record(Mapping[str, Any]):
    """An object of IB's (contract, order, execution) inside a message: `contract.symbol`, or `contract["symbol"]`.

    An attribute that is not there has the default that IB's class has. As a mapping it is what was published.
    """

    __slots__ = ("_declared", "_values")

    def __init__(self, values: Mapping[str, Any], declared: schema.Record | None = None) -> None:
        self._values = values
        self._declared = declared

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _attribute(self._values, name, self._declared, self._declared.name if self._declared else "this record")

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        name = self._declared.name if self._declared else "Record"
        return f"{name}({', '.join(f'{key}={value!r}' for key, value in self._values.items())})"


def _attribute(values: Mapping[str, Any], name: str, declared: schema.Record | None, of: str) -> Any:
    field = next((each for each in declared.fields if each.name == name), None) if declared else None
    if name not in values:
        if field is None:
            known = {*values, *(each.name for each in (declared.fields if declared else ()))}
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(known)) or 'no fields'}"
            raise AttributeError(f"{of} has no {name}{hint}")
        value = field.default
    else:
        value = values[name]
    return _wrapped(value, field)


def _wrapped(value: Any, field: schema.Field | None) -> Any:
    if isinstance(value, dict):
        return Record(value, _record(field))
    if isinstance(value, list):
        return [Record(each, _record(field)) if isinstance(each, dict) else each for each in value]
    return value


def _record(field: schema.Field | None) -> schema.Record | None:
    return field.type if field and isinstance(field.type, schema.Record) else None


@cache
def _declared(kind: str) -> schema.Record | None:
    """The declaration of a message of IB's; None for the bridge's own."""
    declaration = MESSAGES.get(kind)
    return declaration.shape if declaration else None


def known_types() -> list[str]:
    """The types of message there are."""
    return sorted(MESSAGES.keys() | OWN_TYPES)


def parse(topic: bytes, packed: bytes) -> Message:
    """The message of a topic and a packed body. BridgeError if whoever published it is no ibbridge."""
    try:
        return Message(topic.decode("ascii"), msgpack.unpackb(packed, strict_map_key=False))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise BridgeError(
            f"what was published on {topic!r} is no message of ibbridge's: is pub= the bus.pub of its configuration?"
        ) from error
