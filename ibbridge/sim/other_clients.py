"""Requests in forms that only some of IB's clients write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.codec import Message, Undecodable
from ibbridge.codec.versions import raw_ids

if TYPE_CHECKING:
    from ibbridge.codec import Dialect

_ID = 4


def read_again(dialect: Dialect, found: Undecodable) -> Message | Undecodable:
    """Return the request that an unreadable payload holds in another form; the payload itself if there is none.

    IB's Java and C++ clients write the options of reqFundamentalData as one field. The Python client writes the number
    of options before the options, and that form is declared.
    """
    if found.name != "reqFundamentalData":
        return found
    ends = _ID if raw_ids(dialect.version) else found.raw.find(b"\0") + 1
    *fields, options = found.raw[ends:].split(b"\0")[:-1] or [b""]
    number = b"%d" % options.count(b"=")
    again = dialect.read(found.raw[:ends] + b"\0".join([*fields, number, options]) + b"\0")
    return again if isinstance(again, Message) else found
