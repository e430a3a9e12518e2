"""Flat messages, passed on as msgpack: the messages that no part of the daemon looks into, such as ticks.

Ticks are nearly all of the traffic. Compiled code reads flat messages (scalars and masks, keyed by a request id)
straight to msgpack (`speedups.py`). Where none is in use, and for payloads that it leaves, the ordinary reader reads a
message and its data is packed: the same bytes, more slowly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgpack

from ibbridge.codec.schema import Mask
from ibbridge.codec.types import Scalar

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.codec.schema import Declaration

pack: Callable[[Any], bytes] = msgpack.Packer().pack


Packed: TypeAlias = "tuple[str, int | None, Any, bytes]"
"""Message that is packed already: its name, its key, the value of its identity (`()`: it has a single value; None: it
is an event), and its data. A plain tuple, because making any other object would cost as much as a field."""


def is_flat(message: Declaration) -> bool:
    """Return True if compiled code may read the message, unless it finds a field that is not plain."""
    single = message.identity is None or len(message.identity) <= 1
    scalars = all(isinstance(field.type, Scalar | Mask) and not field.many for field in message.shape.shape)
    return message.key is not None and scalars and single and message.swap is None


def packed_reader(message: Declaration, read: Callable[[Any], dict[str, Any]]) -> Callable[[Any], Packed]:
    """Return a function from a body to a packed message, given the flat message's reader. It raises as `read` does."""
    name, key, identity = message.name, message.key or "", message.identity

    def packed(body: Any) -> Packed:
        data = read(body)
        return name, data[key], data[identity[0]] if identity else identity, pack(data)

    return packed
