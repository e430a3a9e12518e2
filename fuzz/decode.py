"""Invariants of the codec for arbitrary bytes. `check` takes any bytes; an assertion fails if one is broken.

The first three bytes choose the server version, the invariant and a variation of its check; the rest is the input. This
module must not know the fuzzer, so that tests can run it too, or single messages: a new one is checked by being
declared.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.codec import (
    Acceptor,
    Connection,
    Dialect,
    FrameBuffer,
    FramingError,
    HandshakeError,
    Message,
    NotCarried,
    Undecodable,
    frame,
)
from ibbridge.codec.framing import MAX_LENGTH, PROTOBUF_IDS
from ibbridge.codec.layout import SplitSlot, resolve
from ibbridge.codec.messages import INBOUND, MESSAGES, REQUESTS
from ibbridge.codec.passthrough import is_flat
from ibbridge.codec.versions import NEWEST, OLDEST, PROTOBUF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibbridge.codec.schema import Declaration

DECLARED: dict[str, Declaration] = {**MESSAGES, **REQUESTS}
FLAT = frozenset(each.name for each in INBOUND if is_flat(each))
HEAD = 3
"""Bytes before the input proper."""


def check(data: bytes) -> None:
    """Raise AssertionError, or an error that the codec must not raise, if `data` shows a fault."""
    if len(data) < HEAD:
        return
    version = OLDEST + data[0] % (NEWEST - OLDEST + 1)
    look = LOOKS[data[1] % len(LOOKS)]
    look(version, data[2], data[HEAD:])


def seed(look: Callable[[int, int, bytes], None], version: int, choice: int, rest: bytes) -> bytes:
    """Return the bytes with which `check` runs `look` on `rest`."""
    return bytes((version - OLDEST, LOOKS.index(look), choice)) + rest


# -- one payload -----------------------------------------------------------------------------------------------------


@cache
def _sides(version: int) -> tuple[Dialect, Dialect]:
    return Dialect.client(version, FLAT), Dialect.server(version)


def messages(version: int, _: int, payload: bytes) -> None:
    """Check the messages that a client reads: equal packed or not, fit for the bus, and stable when written again."""
    client, server = _sides(version)
    got = client.read(payload)
    _is_read_or_kept(got, payload)
    body = None
    if isinstance(got, Message):
        body = _packed(got.data)
        if _is_own(DECLARED[got.name], version, payload):
            _is_stable(got, server, client)
    _is_the_same(client.read_packed(payload), got, body, payload)


def requests(version: int, _: int, payload: bytes) -> None:
    """Check the requests that a server reads: read or kept whole, and stable when written again."""
    client, server = _sides(version)
    got = server.read(payload)
    _is_read_or_kept(got, payload)
    if isinstance(got, Message) and _is_own(DECLARED[got.name], version, payload):
        _is_stable(got, client, server)


def _is_read_or_kept(got: Any, payload: bytes) -> None:
    assert type(got) in (Message, Undecodable), got
    if isinstance(got, Undecodable):
        assert got.raw == payload
        assert 0 < len(got.reason) <= 200, got.reason
        assert got.name is None or got.name in DECLARED
    else:
        assert got.name in DECLARED


def _packed(data: Any) -> bytes | None:
    """Return data as on the bus.

    Return None for an integer that msgpack has no room for: the daemon publishes such a message as undecodable.
    """
    try:
        body: bytes = msgpack.packb(data)
    except OverflowError:
        return None
    return body


def _is_own(declaration: Declaration, version: int, payload: bytes) -> bool:
    """Return True if the payload's encoding is the one that is written: values need not fit from one to the other."""
    in_protobuf = version >= PROTOBUF and int.from_bytes(payload[:4], "big") > PROTOBUF_IDS
    return declaration.in_protobuf(version) == in_protobuf


def _is_stable(got: Message, writer: Dialect, reader: Dialect) -> None:
    """Check that a message can be written, and that reading and writing it once more changes nothing.

    The first reading may have a value for which its encoding has two forms, or none: a decimal that comes as the
    sentinel for unset, an empty text that is present. Writing the message once removes such values.
    """
    once = reader.read(writer.put(got.name, got.data)[4:])
    assert isinstance(once, Message), (got, once)
    assert once.name == got.name
    if _has_an_odd_date(once, writer.version):
        return
    twice = reader.read(writer.put(once.name, once.data)[4:])
    assert isinstance(twice, Message), (once, twice)
    assert _same(once.data, twice.data), (once, twice)


def _has_an_odd_date(message: Message, version: int) -> bool:
    """Return True if a part of a date that text joins could be several, such as the zone `Etc/GMT-5`."""
    declaration = DECLARED[message.name]
    if declaration.layout is None:
        return False
    for step in resolve(declaration, version):
        for slot in step.slots if isinstance(step, SplitSlot) else ():
            value: Any = message.data
            for name in slot.path:
                value = value.get(name) or {}
            if value and len(value.replace("-", " ").split(" ")) > 1:
                return True
    return False


def _is_the_same(packed: Any, plain: Message | Undecodable, body: bytes | None, payload: bytes) -> None:
    if type(packed) is tuple:
        assert isinstance(plain, Message)
        name, key, identity, data = packed
        assert name == plain.name
        assert name in FLAT
        assert body is not None
        assert _same(msgpack.unpackb(data), msgpack.unpackb(body)), (data, body)
        declaration = DECLARED[name]
        assert key == plain.data[declaration.key or ""]
        if declaration.identity:
            assert _same(identity, plain.data[declaration.identity[0]])
    elif isinstance(packed, Undecodable):
        _is_read_or_kept(packed, payload)
        if isinstance(plain, Undecodable):  # the two may meet different faults first
            assert (packed.id, packed.name) == (plain.id, plain.name)
        else:
            assert plain.name in FLAT
            assert body is None
    else:
        assert isinstance(packed, Message)
        assert isinstance(plain, Message)
        assert packed.name == plain.name not in FLAT
        assert _same(packed.data, plain.data)


def _same(one: Any, other: Any) -> bool:
    """Return True if the two are equal in value and type; a NaN equals itself."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))  # noqa: PLR0124 - NaN


# -- a stream --------------------------------------------------------------------------------------------------------


def _pieces(stream: bytes, choice: int) -> Iterator[bytes]:
    """Yield the stream in pieces: in one for a `choice` of 0, else in steps that vary with `choice`."""
    if not choice:
        yield stream
        return
    at, step = 0, choice
    while at < len(stream):
        yield stream[at : at + step]
        at += step
        step = step * 5 % 23 + 1


def _framed(stream: bytes) -> tuple[list[bytes], bool]:
    """Return the payloads in a stream, and True if its framing breaks: framing in its plainest form."""
    found: list[bytes] = []
    at = 0
    while len(stream) - at >= 4:
        length = int.from_bytes(stream[at : at + 4], "big")
        if length > MAX_LENGTH:
            return found, True
        if len(stream) - at - 4 < length:
            break
        found.append(stream[at + 4 : at + 4 + length])
        at += 4 + length
    return found, False


def frames(_: int, choice: int, stream: bytes) -> None:
    """Check that a stream gives the same payloads, and breaks at the same place, wherever it is cut."""
    buffer, broken = FrameBuffer(), False
    found: list[bytes] = []
    try:
        for piece in _pieces(stream, choice):
            found += buffer.feed(piece)
    except FramingError:
        broken = True
    assert (found, broken) == _framed(stream)
    if not broken:
        assert b"".join(map(frame, found)) + stream[len(stream) - len(buffer) :] == stream


def host(_: int, choice: int, stream: bytes) -> None:
    """Check that a client reads a host's stream until its framing or handshake fails, and sends well-framed bytes."""
    connection = Connection(1, packed=FLAT)
    said = connection.data_to_send()
    try:
        for piece in _pieces(stream, choice):
            for got in connection.receive_data(piece):
                assert type(got) in (Message, Undecodable, tuple), got
    except (FramingError, HandshakeError) as error:
        assert len(str(error)) < 1000
    said += connection.data_to_send()
    assert said.startswith(b"API\0")
    sent, broken = _framed(said[4:])
    assert len(sent) == (1 if connection.version is None else 2)
    assert not broken


def guest(_: int, choice: int, stream: bytes) -> None:
    """Check that a host reads a client's stream until its framing or handshake fails."""
    acceptor = Acceptor()
    try:
        for piece in _pieces(stream, choice):
            for got in acceptor.receive_data(piece):
                assert type(got) in (Message, Undecodable), got
    except (FramingError, HandshakeError) as error:
        assert len(str(error)) < 10_000
    assert len(_framed(acceptor.data_to_send())[0]) == (acceptor.version is not None)


# -- a command -------------------------------------------------------------------------------------------------------

_NAMES = tuple(REQUESTS)


def arguments(version: int, choice: int, packed: bytes) -> None:
    """Check that arguments are refused with sentences, or give a request that a server reads as it was meant."""
    try:
        given = msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):  # TypeError: a map as a key
        return
    client, server = _sides(version)
    name = _NAMES[choice % len(_NAMES)]
    surplus = server.surplus.total()
    try:
        sent = client.write(name, given)
    except NotCarried as refused:
        assert refused.faults
        assert all(len(fault) < 1000 for fault in refused.faults)
        return
    got = server.read(sent[4:])
    assert isinstance(got, Message), got
    assert got.name == name
    assert server.surplus.total() == surplus


LOOKS: tuple[Callable[[int, int, bytes], None], ...] = (messages, requests, frames, host, guest, arguments)
