"""Arguments of commands that are requests of IB's: IB's fields without request ids and order ids.

The daemon assigns request ids and order ids. In their place a command has nothing, or a name that the client has
chosen: the `key` of an order, or the command `id` of the request to cancel. This module knows declarations. It must not
know clients, or requests that are under way.
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
"""Requests that only the daemon sends."""

WHAT_IF = "whatIfOrder"
"""Name of the command that asks for the margin and commission of an order by `placeOrder` with `whatIf`."""


def number(request: Request) -> Path | None:
    """Return the path of the request id or order id in the request; None if the request carries neither."""
    return tuple(request.key.split(".")) if request.key else None


def name(request: Request) -> str | None:
    """Return the argument that replaces the id: `key` for orders, `id` for other requests; None if none does."""
    if request.does is Kind.ORDER:
        return "key"
    if request.target is None or request.key is None:
        return None
    return "key" if REQUESTS[request.target].does is Kind.ORDER else "id"


def fields(request: Request) -> tuple[Field, ...]:
    """Return the arguments beside `name`. The daemon fills in the fields that a cancel repeats from its request."""
    if name(request) == "id" and request.cancels:
        return ()
    head, *rest = number(request) or ("",)
    shape = request.shape.fields
    return tuple(found for field in shape if (found := field if field.name != head else _less(field, rest)))


def _less(field: Field, path: Sequence[str]) -> Field | None:
    """Return the field without the id at `path` within the field; None if nothing else is left."""
    if not path or not isinstance(field.type, Record):
        return None
    left = tuple(each for each in field.type.fields if each.name != path[0])
    return replace(field, type=replace(field.type, fields=left)) if left else None


def numbered(args: Mapping[str, Any], path: Path, given: int) -> dict[str, Any]:
    """Return the arguments with the daemon's id at `path`. A value that should be a map is left for later checks."""
    head, *rest = path
    inner = args.get(head)
    if not rest:
        return {**args, head: given}
    if inner is not None and not isinstance(inner, dict):
        return dict(args)
    return {**args, head: numbered(inner or {}, tuple(rest), given)}


def has_number(args: Mapping[str, Any], path: Path) -> bool:
    """Return True if a client has given the id itself."""
    head, *rest = path
    inner = args.get(head)
    return head in args if not rest else isinstance(inner, dict) and has_number(inner, tuple(rest))


def canonical(value: Any) -> str:
    """Return a text that is the same for equal arguments, whatever the order of their keys."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return repr(value)
