"""IB requests as methods: their signatures, the binding of arguments, and the topics of the responses.

This module reads the codec's declarations, so that no request is written down a second time. Parameters are IB's, in
IB's order, without reqId and orderId: the daemon assigns those. A cancel takes the request or order to cancel instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ibbridge.codec.messages import MESSAGES, REQUESTS
from ibbridge.codec.schema import Kind, Topic
from ibbridge.protocol import answer_topics, arguments, topics
from ibbridge.protocol.arguments import DAEMON_ONLY, WHAT_IF
from ibbridge.protocol.instrument_key import instrument_key

if TYPE_CHECKING:
    from ibbridge.codec import schema

Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Request:
    """Request that the daemon has accepted, but TWS may not have answered yet.

    `topic` is the prefix of most or all of its responses, `topics` are the prefixes of all messages about the request.
    `key` is an order's key. Pass the request itself to a cancel: `cancelMktData(request)`, `cancelOrder(order)`.
    `one_shot`: its responses come to an end. `result` is the result in the daemon's reply. `dup` is True if the daemon
    had executed the same command, or had the same order, before.
    """

    cmd: str
    id: str
    client: str
    topic: str = ""
    key: str | None = None
    one_shot: bool = False
    topics: tuple[str, ...] = ()
    result: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    dup: bool = field(default=False, compare=False, repr=False)

    def takes_in(self, topic: str) -> bool:
        """Return True if messages on this topic can only belong to the request, or to one that shares its topic."""
        prefixes = (self.topic,) if self.one_shot or self.key is not None else self.topics or (self.topic,)
        return topic.startswith(prefixes)


class AnswerTopics(NamedTuple):
    """Prefixes to subscribe to before a request is sent, so that no response is missed.

    `lasting` prefixes stay subscribed. `wide` prefixes cover more than the responses, and end when the reply has named
    the topic. `passing` prefixes end with the last response.
    """

    lasting: Sequence[str] = ()
    wide: Sequence[str] = ()
    passing: Sequence[str] = ()


def names() -> list[str]:
    """Return the names of all requests that a client may send, sorted."""
    return sorted({*REQUESTS, WHAT_IF} - DAEMON_ONLY)


def known(name: str) -> bool:
    """Return True if there is a request of this name."""
    return name in REQUESTS or name == WHAT_IF


def parameters(name: str) -> list[str]:
    """Return the parameter names of a request, in IB's order, as a client passes them."""
    declared = _declared(name)
    given = [field.name for field in arguments.fields(declared)]
    named = arguments.name(declared)
    if named is None or name == WHAT_IF:
        return given
    return [*given, named] if name == "placeOrder" else [named, *given]


def signature(name: str) -> inspect.Signature:
    """Return the signature of a request's method, for help() and editors."""
    declared = _declared(name)
    needed = {field.name for field in declared.shape.fields if field.required} | {"id"}
    if name != "placeOrder":  # placeOrder makes a key if none is given
        needed.add("key")
    listed = parameters(name)
    last = max((place for place, each in enumerate(listed) if each in needed), default=-1)
    return inspect.Signature(
        [
            inspect.Parameter(
                each,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if place <= last else None,
            )
            for place, each in enumerate(listed)
        ],
        return_annotation=Request,
    )


def described(method: Method, name: str) -> Method:
    """Return the method with the name, docstring and signature of a request."""
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"IB's {name}."
    method.__signature__ = signature(name)  # type: ignore[attr-defined] # functions have none declared
    return method


def bind(name: str, given: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call as plain values under IB's names. Raise TypeError if they do not fit."""
    listed = parameters(name)
    shown = f"{name}({', '.join(listed)})"
    if given and listed and _is_number(given[0]) and listed[0] == "contract":
        raise TypeError(f"{shown} takes no IB request id or order id, the daemon assigns it: begin with the contract")
    if len(given) > len(listed):
        raise TypeError(f"{shown} takes {len(listed)} positional arguments, and {len(given)} were given")
    args = dict(zip(listed, given, strict=False))
    if twice := args.keys() & named.keys():
        raise TypeError(f"{shown} was given {', '.join(sorted(twice))} twice")
    return {each: _argument(each, value) for each, value in {**args, **named}.items() if value is not None}


def places(
    name: str, args: Mapping[str, Any], head: str, names: Mapping[str, str] = MappingProxyType({})
) -> AnswerTopics:
    """Return the prefixes of the responses to a request, as far as they are known before the reply.

    `head` is the prefix of every topic. `names` are the names of instruments in the daemon's configuration, by
    instrument key.
    """

    def instrument(contract: Mapping[str, Any]) -> str:
        key = instrument_key(contract)
        return names.get(key, key)

    def spelt(components: tuple[str, ...]) -> str:
        return head + topics.topic(*components).decode()

    found = answer_topics.expected(_declared(name), args, instrument)
    wide = [spelt(components).removesuffix(".") + "+" for components in found.wide]
    return AnswerTopics([*map(spelt, found.lasting)], wide, [*map(spelt, found.passing)])


def is_order(name: str) -> bool:
    """Return True if the request makes an order, and so has a key."""
    return name in REQUESTS and REQUESTS[name].does is Kind.ORDER


def one_shot(name: str, args: Mapping[str, Any]) -> bool:
    """Return True if the responses to a request come to an end."""
    if name == WHAT_IF:
        return True
    return name in REQUESTS and bool(REQUESTS[name].ends) and not REQUESTS[name].subscribes(args)


def subscribes(name: str, args: Mapping[str, Any]) -> bool:
    """Return True if a request begins a subscription, which ends with its client, or with a cancel."""
    return name in REQUESTS and REQUESTS[name].subscribes(args) and bool(args.get("subscribe", True))


def cancel_of(name: str, identifier: str) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the arguments of the cancel of a request with this id; None if there is none."""
    for each in REQUESTS.values():
        if each.cancels == name:
            return each.name, {"id": identifier} if arguments.name(each) == "id" else {}
    return None


def answered_by(name: str, kind: str) -> bool:
    """Return True if messages of this type answer the request on order topics, under their owner and key."""
    return name in REQUESTS and kind in REQUESTS[name].answers and MESSAGES[kind].topic is Topic.ORDER


def is_last(name: str, kind: str, data: Mapping[str, Any]) -> bool:
    """Return True if a message of this type and data is the last response to a one-shot request."""
    if name == WHAT_IF:
        return kind == "openOrder"
    last = MESSAGES[kind].last if kind in MESSAGES else None
    return kind in REQUESTS[name].ends and (last is None or bool(data.get(last)))


def _declared(name: str) -> schema.Request:
    return REQUESTS["placeOrder" if name == WHAT_IF else name]


def _argument(name: str, value: Any) -> Any:
    if isinstance(value, Request):
        if name not in ("key", "id"):
            raise TypeError(f"{name} cannot be a request")
        return value.key if name == "key" else value.id
    return plain(value)


def plain(value: Any) -> Any:
    """Return a value as msgpack encodes it. An object of ibapi or ib_async becomes a map of its changed attributes."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, Decimal):
        return format(value, "f")
    if hasattr(value, "item") and not hasattr(value, "__len__"):  # a number of numpy's
        return value.item()
    if hasattr(value, "__dict__") and not isinstance(value, type):
        return {name: plain(each) for name, each in vars(value).items() if _is_set(value, name, each)}
    raise TypeError(f"{value!r} cannot be sent: give numbers, text, lists and maps")


def _is_set(holder: Any, name: str, value: Any) -> bool:
    """Return True if an attribute must be sent: it differs from its class's default, or names the condition's type."""
    if name.startswith("_"):
        return False
    return name == "condType" or bool(value != _defaults(holder.__class__).get(name))


@cache
def _defaults(kind: Callable[[], Any]) -> Mapping[str, Any]:
    """Return the attributes of a new object of this class. Subclasses, such as ib_async's Stock, have their own."""
    if is_dataclass(kind):
        return {
            field.name: field.default if field.default_factory is MISSING else field.default_factory()
            for field in fields(kind)
        }
    made: Mapping[str, Any] = vars(kind())
    return made


def key_of(order: Request | str) -> str:
    """Return the key of an order, which is given as its key or as the request that made it."""
    key = order.key if isinstance(order, Request) else order
    if not isinstance(key, str) or not key:
        raise TypeError(f"{order!r} is no order: give its key, or what placeOrder returned")
    return key


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
