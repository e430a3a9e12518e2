"""Message class of the client library: the envelope, and the data with IB's own names as attributes.

This module knows the shape of the body (docs: the protocol), and uses the codec's declarations only for defaults. The
daemon leaves an attribute of an IB record out if its value is the default, and reading the attribute must not fail.
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

OWN_TYPES = (
    frozenset(["alarm", "bye", "connection", "decodeError", "decodeErrors", "farm", "gap", "halt", "heartbeat", "held"])
    | frozenset(["orderState", "store"])
    | frozenset(["down", "lost", "refused", "restart", "up"])  # this library's
)
"""Types of messages that are not IB's: those of the daemon and of this library."""


class Message:
    """Message that the daemon published, or an event of this library (flag `synthetic`, `offset` 0).

    `type` is IB's callback name, `data` the callback's arguments. Each argument is an attribute, too: `message.price`
    is `message.data["price"]`, and inside records `message.contract.symbol`. An envelope field of the same name wins.

    `topic` is the topic of the message. `seq` is its sequence number in its stream, `offset` its number among all
    messages. `epoch` changes when the daemon restarts, `gen` counts the daemon's connections to TWS. `ts` is the time
    when the daemon read the message from TWS, in microseconds since 1970 UTC. `ref` names the subject where topic and
    data do not: an order's owner and key, a request's client and id. `flags` are some of replayed, stale, synthetic.
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
        """Time when the daemon read the message from TWS, in UTC."""
        return datetime.fromtimestamp(self.ts / 1e6, UTC)

    @property
    def error_class(self) -> str:
        """Class of an error: its field `class`, which as a Python keyword cannot be an attribute.

        The class is connectivity, data, order, warning or system. The field `ends` says whether the error ends its
        request or order.
        """
        found: str = _attribute(self.data, "class", None, self.type)
        return found

    def concerns(self, request: Request) -> bool:
        """Return True if the message belongs to the request: its data, its errors, or its order's fills."""
        if request.takes_in(self.topic):
            return True
        if request.key is not None:
            return self.ref.get("key") == request.key and self.ref.get("owner") == request.client
        return self.ref.get("id") == request.id and self.ref.get("client") == request.client

    def __getattr__(self, name: str) -> Any:
        if name in Message.__slots__ or name.startswith("__"):  # not set yet, as during a copy
            raise AttributeError(name)
        return _attribute(self.data, name, _declared(self.type), self.type)

    def __str__(self) -> str:
        return " ".join([self.type, *(f"{name}={value!r}" for name, value in self.data.items())])

    def __repr__(self) -> str:
        return f"<{self} [{self.topic} #{self.seq}]>"


class Record(Mapping[str, Any]):
    """IB object (contract, order, execution) inside a message: `contract.symbol`, or `contract["symbol"]`.

    A missing attribute has the default of IB's class. The mapping has only the published attributes.
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
    field = next((field for field in declared.fields if field.name == name), None) if declared else None
    if name not in values:
        if field is None:
            known = {*values, *(field.name for field in (declared.fields if declared else ()))}
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
    """Return the declaration of an IB message type; None for the daemon's own types."""
    declaration = MESSAGES.get(kind)
    return declaration.shape if declaration else None


def known_types() -> list[str]:
    """Return all message types, sorted."""
    return sorted(MESSAGES.keys() | OWN_TYPES)


def parse(topic: bytes, packed: bytes) -> Message:
    """Return the message decoded from a topic and a packed body. Raise BridgeError if ibbridge did not publish it."""
    try:
        return Message(topic.decode("ascii"), msgpack.unpackb(packed, strict_map_key=False))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise BridgeError(
            f"the message on topic {topic!r} is not from ibbridge: is pub= the bus.pub of its configuration?"
        ) from error
