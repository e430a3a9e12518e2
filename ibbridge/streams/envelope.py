"""The envelope of a published message: all bytes around its data, and how they are read back.

An envelope is a msgpack map whose keys have a fixed order: `type`, `epoch`, `gen`, `ref` and `flags` if there are any,
`seq`, `offset`, `ts`, `data`. The last three numbers have nine bytes each. So a channel packs the constant part once
(`head`), and sealing a message is one join. `envelope.pxd` has `seal` for compiled code; a test compares the two.

Only these two files know the bytes. The module must not know streams, or what a message means.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

import msgpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROTO = 1
"""Version of the bus protocol, in every heartbeat, welcome and `status`."""

SYNTHETIC = "synthetic"
"""Flag of messages that the bridge has made, or that TWS has sent only because the bridge compared its orders."""

WITHHELD = "withheld"
"""Type of the message that stands in a replay for one that the client may not see."""

STALE = "stale"
"""Flag of state from an earlier connection or process."""

pack: Callable[[Any], bytes] = msgpack.Packer().pack

_MARK = b"\xa5flags" + pack((SYNTHETIC,))
_LAYOUT = Struct(">Q8sQ4sQ5s")
_NUMBERS = _LAYOUT.pack
_OFFSET, _TS, _DATA = b"\xa6offset\xcf", b"\xa2ts\xcf", b"\xa4data"
_KEYS = 7  # in each envelope: all but `ref` and `flags`


def head(kind: str, epoch: int, gen: int, ref: bytes = b"", flags: Sequence[str] = ()) -> bytes:
    """Return an envelope up to the mark of its sequence number. `ref` is packed."""
    size = bytes([0x80 | _KEYS + bool(ref) + bool(flags)])
    more = b"\xa3ref" + ref if ref else b""
    more += b"\xa5flags" + pack(flags) if flags else b""
    own = b"\xa5epoch" + pack(epoch) + b"\xa3gen" + pack(gen)
    return size + b"\xa4type" + pack(kind) + own + more + b"\xa3seq\xcf"


def seal(head: bytes, seq: int, offset: int, ts: int, data: bytes) -> bytes:
    """Return a body: the head, the numbers (of 64 bits, unsigned), and the packed data."""
    return head + _NUMBERS(seq, _OFFSET, offset, _TS, ts, _DATA) + data


def with_flags(body: bytes, *flags: str) -> bytes:
    """Return a body with flags, behind its data. The body must have no flags yet, but for those of `marked`."""
    if body.endswith(_MARK):
        return body[: -len(_MARK)] + b"\xa5flags" + pack((SYNTHETIC, *flags))
    return bytes([body[0] + 1]) + body[1:] + b"\xa5flags" + pack(flags)


def marked(head: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Return a head and data that make a body flagged `synthetic`, behind its data. The head must have no flags yet.

    So the numbers of the body are where they are in all others that are sealed with `head`.
    """
    return bytes([head[0] + 1]) + head[1:], data + _MARK


def sequence_of(body: bytes, head: bytes) -> int:
    """Return the sequence number of a body that was sealed with `head`."""
    return int.from_bytes(body[len(head) : len(head) + 8])


def offset_of(body: bytes, head: bytes) -> int:
    """Return the offset of a body that was sealed with `head`."""
    start = len(head) + 8 + len(_OFFSET)
    return int.from_bytes(body[start : start + 8])


def ts_of(body: bytes, head: bytes) -> int:
    """Return the time in µs since 1970 UTC of a body that was sealed with `head`."""
    start = len(head) + 8 + len(_OFFSET) + 8 + len(_TS)
    return int.from_bytes(body[start : start + 8])


def data_of(body: bytes, head: bytes) -> bytes:
    """Return the packed data of a body that was sealed with `head`, `marked` or not."""
    return body[len(head) + _LAYOUT.size :].removesuffix(_MARK)


def unpack(body: bytes) -> dict[str, Any]:
    """Return an envelope with its data, as the clients see it."""
    unpacked: dict[str, Any] = msgpack.unpackb(body, strict_map_key=False)
    return unpacked


def withheld(body: bytes) -> bytes:
    """Return a body without what it says: with its numbers, so that a stream has no hole, and the type `withheld`."""
    whole = unpack(body)
    kept = {name: whole[name] for name in ("epoch", "gen", "seq", "offset", "ts")}
    return pack({"type": WITHHELD, **kept, "data": {}})


def unsequenced(kind: str, epoch: int, gen: int, ts: int, data: Mapping[str, Any]) -> bytes:
    """Return the body of a message outside all sequences: a heartbeat."""
    return pack({"type": kind, "epoch": epoch, "gen": gen, "ts": ts, "data": data})


def welcome(epoch: int, gen: int, offset: int, **more: Any) -> bytes:
    """Return the body of a welcome, which has no time and no data; `more` is what it tells the subscriber beside."""
    return pack({"type": "welcome", "proto": PROTO, "epoch": epoch, "gen": gen, "offset": offset, **more})
