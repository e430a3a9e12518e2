"""Places of session-specific ids in messages, and keys that compare requests without those ids.

A client assigns request ids, order ids and its own client id anew in each session. This module derives their places
from the codec's declarations. It knows no session.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.codec.messages import MESSAGES, REQUESTS
from ibbridge.codec.schema import REQUEST_IDS, Kind, Record, Request
from ibbridge.protocol.arguments import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ibbridge.codec import Message
    from ibbridge.codec.schema import Declaration, Path


class Use(Enum):
    """Meaning of an id in a message."""

    REQUEST = "the request that a message answers"
    ORDER = "the order that a message is about"
    EITHER = "one or the other: an error does not say which"
    RELATED = "another order"
    CLIENT = "who placed an order"


class Place(NamedTuple):
    """Path of an id in a message, and the meaning of the id."""

    path: Path
    use: Use


_USES = {
    **dict.fromkeys(REQUEST_IDS, Use.REQUEST),
    "orderId": Use.ORDER,
    "parentId": Use.RELATED,
    "slOrderId": Use.RELATED,
    "ptOrderId": Use.RELATED,
    "clientId": Use.CLIENT,
}
_OFFERED = "nextValidId"  # its orderId belongs to no order yet, and is played as recorded


def _places(declaration: Declaration) -> tuple[Place, ...]:
    if declaration.name == _OFFERED:
        return ()
    found = [Place(path, _USES[path[-1]]) for path in _paths(declaration.shape, ()) if path[-1] in _USES]
    return (Place(found[0].path, Use.EITHER),) if declaration.name == "error" else tuple(found)


def _paths(record: Record, under: Path) -> Iterator[Path]:
    for field in record.shape:
        path = (*under, field.name)
        yield path
        if isinstance(field.type, Record) and not field.many:
            yield from _paths(field.type, path)


SAID: Mapping[str, tuple[Place, ...]] = {name: _places(declaration) for name, declaration in MESSAGES.items()}
"""Places of ids in each message of TWS."""

ASKED: Mapping[str, tuple[Place, ...]] = {name: _places(declaration) for name, declaration in REQUESTS.items()}
"""Places of ids in each request."""

Key: TypeAlias = tuple[str, str]
"""Content of a request without its own id: equal for requests that ask for the same."""


def number_of(request: Message) -> int | None:
    """Return the request id or order id of a request; None if it has none."""
    key = REQUESTS[request.name].key
    return at(request.data, tuple(key.split("."))) if key else None


def key_of(request: Message, client: int | None, recorded: Callable[[Use, int], int], *, again: bool = False) -> Key:
    """Return the key of a request of `client`. `recorded` maps an id of today to the recorded id.

    The request's own id is part of the key only if the id refers to an earlier request or order: in a cancel, and in
    the change of an order (`again`).
    """
    declaration = REQUESTS[request.name]
    if request.name == "startApi":
        return request.name, ""
    data = request.data
    own = tuple(declaration.key.split(".")) if declaration.key else None
    named = bool(declaration.target) or again
    for path, use in ASKED[request.name]:
        value = at(data, path)
        if not isinstance(value, int):
            continue
        if path == own or use is Use.ORDER:
            data = put(data, path, recorded(space(request), value) if named else None)
        elif use is Use.RELATED and value:
            data = put(data, path, recorded(Use.ORDER, value))
        elif use is Use.CLIENT and value == client:
            data = put(data, path, None)
    return request.name, canonical(data)


def space(request: Message) -> Use:
    """Return the id space of a request's own id: order ids for orders and option exercises, else request ids."""
    order = is_order(request) or REQUESTS[request.name].key == "orderId"
    return Use.ORDER if order else Use.REQUEST


def is_order(request: Message) -> bool:
    """Return True if the request places or changes an order."""
    return REQUESTS[request.name].does is Kind.ORDER


def declared(request: Message) -> Request:
    """Return the declaration of a request."""
    return REQUESTS[request.name]


def at(data: Any, path: Path) -> Any:
    """Return the value at `path`, or None."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def put(data: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """Return a copy of `data` with another value at `path`."""
    name, *rest = path
    return {**data, name: put(data[name], tuple(rest), value) if rest else value}
