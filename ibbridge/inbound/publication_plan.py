"""Publication of a type of message, as far as its declaration decides it, worked out once.

Pure. This module knows declarations and channels. It must not know requests under way, or orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import INBOUND, OUTBOUND
from ibbridge.codec.schema import Kind, Topic
from ibbridge.protocol import topics
from ibbridge.protocol.instrument_key import contract_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from ibbridge.codec.schema import Declaration
    from ibbridge.streams.sequencer import Channel


@dataclass(slots=True, eq=False)
class PublicationPlan:
    """Rules for publishing the messages of one type, and the channels in use.

    `unknown` is the class of topics for messages with a request id that nobody has. `place` are the components of the
    topic of a type that is published at one place.
    """

    declaration: Declaration
    channels: dict[Any, Channel]
    number: Callable[[Mapping[str, Any]], int | None] | None = None
    identity: Callable[[Mapping[str, Any]], Hashable] | None = None
    unknown: str = "req"
    place: tuple[str, ...] = ()
    ends: bool = False
    counted: bool = False


def publication_plan(declaration: Declaration, channels: dict[Any, Channel]) -> PublicationPlan:
    """Return the rules for publishing a message type that follow from its declaration."""
    asked = [request for request in OUTBOUND if declaration.name in request.answers]
    streams = any(r.does is Kind.SUBSCRIPTION and any(f.name == "contract" for f in r.shape.fields) for r in asked)
    return PublicationPlan(
        declaration,
        channels,
        _number(declaration),
        identity=_identity(declaration.identity),
        unknown="md" if streams else "req",
        place=_PLACES.get(declaration.topic, ()),
        ends=any(declaration.name in request.ends for request in asked),
        counted=any(request.throttled for request in asked),
    )


_PLACES: Mapping[Topic, tuple[str, ...]] = {Topic.SYSTEM: ("sys", "tws"), Topic.NEWS: topics.BULLETINS}


def _number(declaration: Declaration) -> Callable[[Mapping[str, Any]], int | None] | None:
    """Return a getter of the request id or order id of a message; None for a type without an id."""
    if declaration.key is None:
        return None
    path = declaration.key.split(".")
    if len(path) == 1:
        return itemgetter(declaration.key)
    return lambda data: reduce(lambda found, name: found.get(name) or {}, path[:-1], data).get(path[-1])


def _identity(fields: tuple[str, ...] | None) -> Callable[[Mapping[str, Any]], Hashable] | None:
    """Return a getter of the identity by which one topic holds several values; a contract counts by its instrument."""
    if fields is None:
        return None
    if not fields:
        return lambda _: ()
    if fields == ("contract",):
        return lambda data: contract_identity(data["contract"])
    if "contract" not in fields:
        return itemgetter(*fields)
    return lambda data: tuple(contract_identity(data[f]) if f == "contract" else data[f] for f in fields)


PASSED_ON = frozenset(
    name
    for name, plan in ((declaration.name, publication_plan(declaration, {})) for declaration in INBOUND)
    if plan.declaration.topic is Topic.REQUEST and plan.number and name != "error"
    if not (plan.declaration.last or plan.declaration.book)
)
"""Types of message that go to the requester without a look at their fields: the codec may hand them over packed."""
