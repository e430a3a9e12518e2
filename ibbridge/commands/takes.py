"""The daemon's own commands: their arguments, with kinds and limits, and the check of given ones. Pure."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.protocol.errors import CommandRefused, shown
from ibbridge.protocol.topics import LONGEST_STREAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Takes(NamedTuple):
    """An argument of a kind. Text may have at most `longest` characters, and a list has `items` of one kind."""

    name: str
    kind: type[str | int | float | bool | list[Any] | dict[str, Any]]
    note: str
    required: bool = False
    longest: int = 2 * LONGEST_STREAM
    items: type[str | dict[str, Any]] | None = None


LONGEST_REASON = 500

_SCOPED = (
    Takes("scope", str, "`all` (the default), `account` or `client`"),
    Takes("name", str, "the account or the client"),
)

TAKES: Mapping[str, tuple[Takes, ...]] = {
    "ping": (),
    "status": (),
    "snapshot": (
        Takes("prefix", str, "prefix of the wanted topics; all topics if left out"),
        Takes("after", str, "the `next` of the page before"),
    ),
    "replay": (
        Takes("stream", str, "the stream: the first two components of its topics, such as `ord.me.`", required=True),
        Takes("from", int, "the first sequence number", required=True),
        Takes("to", int, "the last sequence number; the newest one if left out"),
    ),
    "halt": (
        *_SCOPED,
        Takes("state", str, "`halted` (the default): no order passes; `reducing`: those that only reduce positions do"),
        Takes("cancel", bool, "true: also cancel all open orders of the scope, and go on until each is over"),
        Takes("deadline", float, "seconds after which that ends, and an alarm is raised; 60 if left out"),
        Takes(
            "reason",
            str,
            f"a text for people, up to {LONGEST_REASON} characters, which every heartbeat repeats",
            longest=sys.maxsize,  # a longer text is cut off, and not refused
        ),
    ),
    "resume": _SCOPED,
    "haltStatus": (Takes("cancel", str, "the `id` of a mass cancel, to see what has become of its orders"),),
    "hello": (
        Takes("ttl", float, "seconds without a command of this client after which it is lost; as configured (15)"),
        Takes(
            "cancel_on_disconnect", str, "what cancels its orders: `never`, `loss`, `logout` or `both`; as configured"
        ),
        Takes("window", float, "seconds from the loss until its orders are cancelled; as configured (5)"),
        Takes("run", str, "a name for this run of your program: another one ends the leases of the run before"),
    ),
    "riskExplain": (
        Takes("decision", str, "the `decision` in a refusal, or in a message about limits"),
        Takes("key", str, "the name of an order of this client, instead: the last decision about it"),
    ),
    "alive": (),
    "logout": (),
    "leases": (
        Takes("client", str, "only the leases of this client"),
        Takes("after", int, "the `next` of the page before"),
    ),
    "release": (
        Takes("client", str, "the client whose leases end", required=True),
        Takes("id", str, "only the lease that this command of the client made; all of its leases if left out"),
    ),
    "acceptJournal": (),
    "reload": (),
}
"""Arguments of each of the daemon's own commands, by command name."""

ANEW = frozenset(
    (
        "ping",
        "status",
        "snapshot",
        "replay",
        "halt",
        "haltStatus",
        "hello",
        "alive",
        "logout",
        "orders",
        "reconcile",
        "leases",
        "riskExplain",
        "reload",
    )
)
"""Commands that are executed anew when a client repeats them. Their results describe the moment, and a client that
repeats `halt` means `halt`."""

NAMED = frozenset(("halt", "resume", "hello", "alive", "logout", "acceptJournal", "reload", "riskExplain"))
"""Commands that require the client's name."""

ORDER_TAKES: Mapping[str, tuple[Takes, ...]] = {
    "modifyOrder": (
        Takes("key", str, "the order's name", required=True),
        Takes("rev", int, "the revision: a number above that of the last change", required=True),
        Takes("order", dict, "the attributes that change, or all of the order", required=True),
    ),
    "placeOrders": (
        Takes(
            "orders",
            list,
            "up to 10 orders, each `{key, contract, order, parent?, cancel_on_disconnect?}`",
            required=True,
            items=dict,
        ),
        Takes("on_partial", str, "if TWS refuses one: `cancel` the others (the default), or `keep` them"),
    ),
    "cancelOrders": (
        Takes("keys", list, "the names of the orders", items=str),
        Takes("all", bool, "true for all open orders of this client"),
    ),
    "orders": (
        Takes("state", str, "only orders in this state"),
        Takes("since", int, "only orders that have changed since then, in µs since 1970 UTC"),
        Takes("after", str, "the `next` of the page before"),
    ),
    "reconcile": (),
}
"""Arguments of each of the daemon's commands about orders, by command name."""


def check(name: str, takes: Sequence[Takes], args: Mapping[str, Any]) -> None:
    """Refuse arguments that a command does not take, lacks, or takes with another type or length."""
    known = " and ".join(argument.name for argument in takes)
    faults = [
        f"{shown(given)} is unknown; " + (f"{name} takes {known}" if takes else "this command takes no arguments")
        for given in args
        if given not in {argument.name for argument in takes}
    ][:10]
    for argument in takes:
        faults += _faults(argument, argument.name in args, args.get(argument.name))
    if faults:
        raise CommandRefused("E_ARG", *faults)


def _faults(argument: Takes, is_given: bool, given: Any) -> list[str]:  # noqa: FBT001 - whether the name is there
    if given is None:
        if argument.required:
            return [f"{argument.name} is missing"]
        return [f"{argument.name} must be {_WORD[argument.kind]}"] if is_given else []
    kind = (int, float) if argument.kind is float else argument.kind
    if not isinstance(given, kind) or (isinstance(given, bool) and argument.kind is not bool):
        return [f"{argument.name} must be {_WORD[argument.kind]}"]
    if isinstance(given, list) and argument.items and not all(isinstance(each, argument.items) for each in given):
        return [f"{argument.name} must be a list in which each is {_WORD[argument.items]}"]
    if isinstance(given, str) and len(given) > argument.longest:
        return [f"{argument.name} must have at most {argument.longest} characters, not {len(given)}"]
    return []


_WORD: Mapping[type, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a map",
}
