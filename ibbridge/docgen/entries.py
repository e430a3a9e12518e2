"""Messages and commands as clients see them, which is not quite how TWS does.

A command is a request without the id that the daemon assigns: orders are named by a `key`, and a cancel names the
command that it cancels. The daemon's own tables say which order attributes a client must give and which it must not;
this module only applies them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ibbridge.codec.layout import lifetime
from ibbridge.codec.messages import DOMAINS, MESSAGES, OUTBOUND, REQUESTS
from ibbridge.codec.schema import Declaration, Field, Kind, Path, Request, Topic
from ibbridge.codec.types import Scalar
from ibbridge.commands.endpoint import LONGEST_ID
from ibbridge.commands.takes import ORDER_TAKES, TAKES
from ibbridge.config.model import RESTRICTED
from ibbridge.ib import CLASSES
from ibbridge.orders.order import LONGEST_REF
from ibbridge.orders.order_arguments import NOT_OF_AN_ORDER, OF_EVERY_ORDER
from ibbridge.protocol import answer_topics, arguments
from ibbridge.protocol.arguments import DAEMON_ONLY, WHAT_IF

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ibbridge.commands.takes import Takes

_PLACES = {topic: ".".join((*components, "")) for topic, components in answer_topics.UNREQUESTED.items()}
_CLIENT = answer_topics.own("<client>", "<id>")
_OWN = ".".join((*_CLIENT, ""))

BRIDGE = "bridge"
"""Domain of the commands that are no requests of IB's."""


@dataclass(frozen=True, slots=True)
class Own:
    """Argument or field that is the bridge's and not IB's."""

    name: str
    word: str
    schema: Mapping[str, Any]
    note: str = ""
    required: bool = False


_KEY = Own(
    "key",
    "text",
    {"type": "string", "pattern": "^[ -.0-~]+$", "maxLength": LONGEST_REF},
    "the order's name, printable ASCII without `/`: needed here or beside `args`",
)
_ID = Own(
    "id",
    "integer or text",
    {"type": ["integer", "string"], "minLength": 1, "maxLength": LONGEST_ID},
    "the command id under which the request was made",
    required=True,
)
_PARENT = Own(
    "parent",
    "text",
    {"type": "string", "minLength": 1, "maxLength": LONGEST_REF},
    "the key of the parent order, of the same client: the daemon fills in `order.parentId`",
)
_PERM_ID = Own(
    "permId",
    "integer",
    {"type": "integer"},
    "in place of `key`: the permId of an order that no client here has placed, as messages under `ord.ext.` have it",
)
_ENDS = "from the bridge: true if the request or order is over; nil if that depends"
_ADDED = {
    "error": (
        Own("class", "text", {"enum": [*CLASSES]}, "from the bridge: " + ", ".join(f"`{each}`" for each in CLASSES)),
        Own("ends", "flag", {"type": ["boolean", "null"]}, _ENDS),
        Own("source", "text", {"enum": ["tws", "bridge"]}, "from the bridge: who says it, TWS or the bridge itself"),
    )
}
"""Fields that the daemon adds to messages of IB's."""

_NAMES = {each.name: each for each in (_KEY, _ID)}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Entry:
    """Message with the fields of its `data`, or command with the arguments in its `args`.

    `lives` gives the server versions (first, last) at which each field is carried. `needed` are attributes that must be
    given though their declaration does not say so. `declaration` is None for a command that is no request of IB's.
    """

    name: str
    domain: str
    fields: tuple[Field, ...]
    declaration: Declaration | None
    own: tuple[Own, ...] = ()
    lives: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    needed: frozenset[Path] = frozenset()

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def is_command(self) -> bool:
        """True if clients send it."""
        return self.declaration is None or isinstance(self.declaration, Request)

    @property
    def usable(self) -> bool:
        """True if clients can send or receive it at all."""
        return self.name not in DAEMON_ONLY

    @property
    def restricted(self) -> bool:
        """True if the configuration must allow it."""
        return self.name in RESTRICTED

    def maps(self, path: Path) -> bool:
        """Return True if the list at `path` is published as a map where it came as protobuf."""
        swap = self.declaration.swap if self.declaration else None
        return swap is not None and ".".join(path) in swap.maps

    def required(self, path: Path, field: Field) -> bool:
        """Return True if a command must give the field at `path`."""
        return field.required or path in self.needed


@cache
def entries() -> tuple[Entry, ...]:
    """Return all entries: messages and requests in the order of declaration, then the bridge's own commands."""
    declared = [
        entry
        for domain in DOMAINS
        for each in domain.DECLARATIONS
        for entry in _entries(each, domain.__name__.rpartition(".")[2])
    ]
    own = {name: tuple(_own(each) for each in takes) for name, takes in {**TAKES, **ORDER_TAKES}.items()}
    return (*declared, *(Entry(name, BRIDGE, (), None, arguments) for name, arguments in own.items()))


_KINDS: Mapping[type, tuple[str, str]] = {
    str: ("text", "string"),
    int: ("integer", "integer"),
    float: ("number", "number"),
    bool: ("flag", "boolean"),
    list: ("list", "array"),
    dict: ("map", "object"),
}


def _own(takes: Takes) -> Own:
    word, kind = _KINDS[takes.kind]
    most = {"maxLength": takes.longest} if kind == "string" and takes.longest < sys.maxsize else {}
    items = {"items": {"type": _KINDS[takes.items][1]}} if takes.items else {}
    return Own(takes.name, word, {"type": kind, **most, **items}, takes.note, takes.required)


@cache
def messages() -> tuple[Entry, ...]:
    """Return every message."""
    return tuple(entry for entry in entries() if not entry.is_command)


@cache
def commands() -> tuple[Entry, ...]:
    """Return every command."""
    return tuple(entry for entry in entries() if entry.is_command)


def _entries(declaration: Declaration, domain: str) -> Iterator[Entry]:
    if not isinstance(declaration, Request):
        own = _ADDED.get(declaration.name, ())
        yield Entry(declaration.name, domain, declaration.shape.shape, declaration, own, lives=lifetime(declaration))
        return
    yield _command(declaration, domain)
    if declaration is REQUESTS["placeOrder"]:
        yield _what_if(declaration, domain)


def _what_if(order: Request, domain: str) -> Entry:
    """Return the what-if command: it has the order's arguments but no key, places nothing, and gets one message."""
    answer = ("openOrder",)
    doc = "Asks what an order would cost: margin and commission. Nothing is placed."
    asked = replace(order, name=WHAT_IF, does=Kind.ONE_SHOT, answers=answer, ends=answer, doc=doc)
    return replace(_command(order, domain), name=WHAT_IF, declaration=asked, own=())


def _command(request: Request, domain: str) -> Entry:
    lives, needed = dict(lifetime(request)), frozenset[Path]()
    if request.name == "placeOrder":
        needed = frozenset(("order", name) for name in OF_EVERY_ORDER)
        lives = {path: life for path, life in lives.items() if path not in {("order", n) for n in NOT_OF_AN_ORDER}}
    named = arguments.name(request)
    own = [_NAMES[named]] if named else []
    if request.name == "placeOrder":
        own.append(_PARENT)
    if request.name == "cancelOrder":
        own.append(_PERM_ID)
    return Entry(request.name, domain, arguments.fields(request), request, tuple(own), lives, needed)


# -- requests, messages and topics -----------------------------------------------------------------------------------


def asking(message: Declaration) -> list[Request]:
    """Return the commands that `message` answers."""
    requests = (entry.declaration for entry in commands())
    return [
        declaration
        for declaration in requests
        if isinstance(declaration, Request) and message.name in declaration.answers
    ]


def cancelling(request: Request) -> list[Request]:
    """Return the commands that cancel `request`."""
    return [cancel for cancel in OUTBOUND if cancel.cancels == request.name]


class _Arguments(dict[str, Any]):
    """Arguments of an imaginary request: each argument is its own name, except for the flags that are set."""

    def __init__(self, request: Request, *flags: str) -> None:
        named = (field for field in request.shape.fields if not _is_flag(field))
        super().__init__({field.name: f"<{field.name}>" if isinstance(field.type, Scalar) else {} for field in named})
        self.update(dict.fromkeys(flags, 1))


def _is_flag(field: Field) -> bool:
    return isinstance(field.type, Scalar) and field.type.name in ("bool", "flag")


def topics(request: Request) -> dict[str, str]:
    """Return the topics on which data of this request is published, each with the flag that selects it, or ''."""
    return _joined(_where(request, MESSAGES[answer]) for answer in request.answers)


def places(message: Declaration) -> dict[str, str]:
    """Return the topics on which this message is published, requested or not, each with the flag that selects it."""
    unasked = {} if message.topic is Topic.REQUEST else {_PLACES[message.topic]: ""}
    return _joined((*(_where(request, message) for request in asking(message)), unasked))


def _where(request: Request, message: Declaration) -> dict[str, str]:
    """Return the topics on which `message` is published as a response to `request`, as `topics` does."""
    asked = request.does is Kind.ONE_SHOT and message.topic is Topic.EXECUTION
    if asked or (message.key is None and message.name in request.ends and request.does is Kind.ONE_SHOT):
        return {_OWN: ""}
    if message.topic is not Topic.REQUEST:
        return {_PLACES[message.topic]: ""}
    found: dict[str, str] = {}
    for flag in ("", *(each.name for each in request.shape.fields if _is_flag(each))):
        args = _Arguments(request, *([flag] if flag else []))
        components = answer_topics.response_topic(request, args, _CLIENT, lambda _: "<instrument>")(message.name)
        found.setdefault(".".join((*components, "")), flag)
    return found


def _joined(found: Iterable[Mapping[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for topic, flag in (pair for mapping in found for pair in mapping.items()):
        joined[topic] = flag and joined.get(topic, flag)
    return joined
