"""What a client gives for a request of IB's: its arguments without the numbers, which are the daemon's.

Where IB has a request id or an order id, a command has nothing, or a name that the client chose itself: an order's
`key`, the command `id` of the request that is cancelled. Knows declarations; nothing of who asks or what is under way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.codec.schema import Kind, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.codec.schema import Field, Path, Request


DAEMON_ONLY = frozenset(("startApi",))
"""Requests that nobody but the daemon sends."""

WHAT_IF = "whatIfOrder"
"""The one command beside IB's requests: `placeOrder` that only asks what the order would cost."""


def number(request: Request) -> Path | None:
    """Where the request carries a number that the daemon gives."""
    return tuple(request.key.split(".")) if request.key else None


def name(request: Request) -> str | None:
    """The argument that stands for the number: `key` of an order, `id` of another command; None if none does."""
    if request.does is Kind.ORDER:
        return "key"
    if request.target is None or request.key is None:
        return None
    return "key" if REQUESTS[request.target].does is Kind.ORDER else "id"


def fields(request: Request) -> tuple[Field, ...]:
    """The arguments beside that name. What a cancel repeats of the request it cancels is the daemon's to repeat."""
    if name(request) == "id" and request.cancels:
        return ()
    head, *rest = number(request) or ("",)
    return tuple(found for each in request.shape.fields if (found := each if each.name != head else _less(each, rest)))


def _less(field: Field, path: Sequence[str]) -> Field | None:
    """The field without the number within it; None if there is nothing else."""
    if not path or not isinstance(field.type, Record):
        return None
    left = tuple(each for each in field.type.fields if each.name != path[0])
    return replace(field, type=replace(field.type, fields=left)) if left else None


def numbered(args: Mapping[str, Any], path: Path, given: int) -> dict[str, Any]:
    """The arguments with the daemon's number in its place. What is no map is left for the checks to complain of."""
    head, *rest = path
    inner = args.get(head)
    if not rest:
        return {**args, head: given}
    if inner is not None and not isinstance(inner, dict):
        return dict(args)
    return {**args, head: numbered(inner or {}, tuple(rest), given)}


def has_number(args: Mapping[str, Any], path: Path) -> bool:
    """Whether a client gave the number itself."""
    head, *rest = path
    inner = args.get(head)
    return head in args if not rest else isinstance(inner, dict) and has_number(inner, tuple(rest))


def canonical(value: Any) -> str:
    """The same text for the same arguments, in whatever order their keys were given."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return repr(value)
