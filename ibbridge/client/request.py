"""IB's requests as methods: how positional arguments become names, and where the answers will come.

Reads the codec's declarations, so that no request is written down a second time. Parameters are IB's, in IB's order,
but for reqId and orderId: those are the daemon's. In a cancel, what is to be cancelled stands in their place.
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
from ibbridge.protocol import arguments, topics
from ibbridge.protocol.arguments import DAEMON_ONLY, WHAT_IF

if TYPE_CHECKING:
    from ibbridge.codec import schema

Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the daemon has accepted: not done, on its way.

    `topic` is the prefix under which its answers come, or most of them, `topics` are all prefixes under which something
    about it is published. `key` is an order's key. Cancels take it: `cancelMktData(request)`, `cancelOrder(order)`.
    `one_shot`: its answers come to an end. `result` is the daemon's whole answer.
    """

    cmd: str
    id: str
    client: str
    topic: str = ""
    key: str | None = None
    one_shot: bool = False
    topics: tuple[str, ...] = ()
    result: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def takes_in(self, topic: str) -> bool:
        """Return True if what is published there can only be an answer to the request, or to one that shares it."""
        prefixes = (self.topic,) if self.one_shot or self.key is not None else self.topics or (self.topic,)
        return topic.startswith(prefixes)


class Places(NamedTuple):
    """Prefixes to subscribe to before a request goes out, so that nothing of its answers is missed.

    `lasting` ones stay. `wide` ones take in more than the answers and go when the reply has named the topic, `passing`
    ones when the last answer has come.
    """

    lasting: Sequence[str] = ()
    wide: Sequence[str] = ()
    passing: Sequence[str] = ()


def names() -> list[str]:
    """The requests there are."""
    return sorted({*REQUESTS, WHAT_IF} - DAEMON_ONLY)


def known(name: str) -> bool:
    """Whether there is such a request."""
    return name in REQUESTS or name == WHAT_IF


def parameters(name: str) -> list[str]:
    """The parameters of a request in IB's order, as a client gives them."""
    declared = _declared(name)
    given = [each.name for each in arguments.fields(declared)]
    named = arguments.name(declared)
    if named is None or name == WHAT_IF:
        return given
    return [*given, named] if name == "placeOrder" else [named, *given]


def signature(name: str) -> inspect.Signature:
    """The signature of a request's method, for help() and editors."""
    declared = _declared(name)
    needed = {each.name for each in declared.shape.fields if each.required} | {"id"}
    if name != "placeOrder":  # which gives an order a key of its own
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
    """A request's method with its name and signature."""
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"IB's {name}."
    method.__signature__ = signature(name)  # type: ignore[attr-defined] # functions have none declared
    return method


def bind(name: str, given: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call as plain values under IB's names. TypeError where they do not fit the signature."""
    listed = parameters(name)
    shown = f"{name}({', '.join(listed)})"
    if given and listed and _is_number(given[0]) and listed[0] == "contract":
        raise TypeError(f"{shown} takes no id of IB's, the daemon gives it: begin with the contract")
    if len(given) > len(listed):
        raise TypeError(f"{shown} takes {len(listed)} positional arguments, and {len(given)} were given")
    args = dict(zip(listed, given, strict=False))
    if twice := args.keys() & named.keys():
        raise TypeError(f"{shown} was given {', '.join(sorted(twice))} twice")
    return {each: _argument(each, value) for each, value in {**args, **named}.items() if value is not None}


def places(name: str, args: Mapping[str, Any], head: str, names: Mapping[str, str] = MappingProxyType({})) -> Places:
    """Where the answers to a request will come, as far as that is known.

    `head` stands before every topic; `names` are those that the daemon's configuration gives to instruments, by key.
    """
    declared = _declared(name)
    contract = args.get("contract")
    if Topic.NEWS in {MESSAGES[each].topic for each in declared.answers}:
        return Places(lasting=[head + topics.topic(*topics.BULLETINS).decode()])
    if isinstance(contract, Mapping) and declared.streams(args):
        if tape := topics.tape(contract):
            return Places(lasting=[head + topics.topic(*tape).decode()])
        key = topics.instrument_key(contract)
        market = f"{head}md.{names.get(key, key)}"
        return Places(lasting=[f"{market}."]) if name == "reqMktData" else Places(wide=[f"{market}+"])
    kinds = {MESSAGES[each].topic for each in declared.answers if each in MESSAGES}
    if Topic.ACCOUNT in kinds:
        return Places(lasting=[f"{head}acct."])
    if Topic.ORDER in kinds and declared.does is Kind.ONE_SHOT:
        return Places(passing=[f"{head}ord."])
    return Places()


def is_order(name: str) -> bool:
    """Whether it makes an order, which has a key."""
    return name in REQUESTS and REQUESTS[name].does is Kind.ORDER


def one_shot(name: str, args: Mapping[str, Any]) -> bool:
    """Whether the answers to a request come to an end."""
    if name == WHAT_IF:
        return True
    return name in REQUESTS and bool(REQUESTS[name].ends) and not REQUESTS[name].streams(args)


def answered_by(name: str, kind: str) -> bool:
    """Whether messages of this type answer the request where they always are: orders, under their owner and key."""
    return name in REQUESTS and kind in REQUESTS[name].answers and MESSAGES[kind].topic is Topic.ORDER


def is_last(name: str, kind: str, data: Mapping[str, Any]) -> bool:
    """Whether a message of this type and data is the last answer to a one-shot request."""
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
    """A value as msgpack has it. An object of IB's classes (ibapi's, ib_async's) becomes a map of what is set in it."""
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
    """Whether an object's attribute says something: it is not as its class makes it, or tells which kind it is."""
    if name.startswith("_"):
        return False
    return name == "condType" or bool(value != _defaults(holder.__class__).get(name))


@cache
def _defaults(kind: Callable[[], Any]) -> Mapping[str, Any]:
    """The attributes of an object of this class that nobody has set; subclasses, such as ib_async's Stock, set some."""
    if is_dataclass(kind):
        return {
            each.name: each.default if each.default_factory is MISSING else each.default_factory()
            for each in fields(kind)
        }
    made: Mapping[str, Any] = vars(kind())
    return made


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
