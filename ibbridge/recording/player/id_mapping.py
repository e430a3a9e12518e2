"""Where the numbers stand that a client gives anew in each session, and what a request is apart from them.

Those numbers are request ids, order ids and the client's own id. Derived from the declarations; knows no session.
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
    """What a number names."""

    REQUEST = "the request that a message answers"
    ORDER = "the order that a message is about"
    EITHER = "one or the other: an error does not say which"
    RELATED = "another order"
    CLIENT = "who placed an order"


class Place(NamedTuple):
    """Where a number stands in a message."""

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
_OFFERED = "nextValidId"  # its orderId is nobody's yet, and goes out as it was recorded


def _places(declaration: Declaration) -> tuple[Place, ...]:
    if declaration.name == _OFFERED:
        return ()
    found = [Place(path, _USES[path[-1]]) for path in _paths(declaration.shape, ()) if path[-1] in _USES]
    return (Place(found[0].path, Use.EITHER),) if declaration.name == "error" else tuple(found)


def _paths(record: Record, under: Path) -> Iterator[Path]:
    for each in record.shape:
        path = (*under, each.name)
        yield path
        if isinstance(each.type, Record) and not each.many:
            yield from _paths(each.type, path)


SAID: Mapping[str, tuple[Place, ...]] = {name: _places(each) for name, each in MESSAGES.items()}
"""By message of TWS's."""

ASKED: Mapping[str, tuple[Place, ...]] = {name: _places(each) for name, each in REQUESTS.items()}
"""By request."""

Key: TypeAlias = tuple[str, str]
"""What a request asks for, apart from its own number: the same for the same question."""


def number_of(request: Message) -> int | None:
    """A request's own number, that of an order included."""
    key = REQUESTS[request.name].key
    return at(request.data, tuple(key.split("."))) if key else None


def key_of(request: Message, client: int | None, recorded: Callable[[Use, int], int], *, again: bool = False) -> Key:
    """What `request` of `client` asks for, where `recorded` gives the number that another one was recorded under.

    The number itself counts where it names something that is there already: in a cancel, and in an order that is
    changed (`again`).
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
    """Among which numbers a request's own is: an exercise of options is an order by another name."""
    order = is_order(request) or REQUESTS[request.name].key == "orderId"
    return Use.ORDER if order else Use.REQUEST


def is_order(request: Message) -> bool:
    """Whether it places or changes an order."""
    return REQUESTS[request.name].does is Kind.ORDER


def declared(request: Message) -> Request:
    """What is known of such requests."""
    return REQUESTS[request.name]


def at(data: Any, path: Path) -> Any:
    """The value at `path`, or None."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def put(data: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """`data` with another value at `path`; `data` itself is left as it is."""
    name, *rest = path
    return {**data, name: put(data[name], tuple(rest), value) if rest else value}
