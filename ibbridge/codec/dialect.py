"""Dialect of one server version: payloads to messages and back, by the declarations resolved for that version.

The id, not the version, says which encoding a payload has: above 200 the body is protobuf. A client reads messages and
writes requests, a server reads requests and writes messages; the rest is the same for both. Readers and writers are
made when first needed. This module must not know sockets, state or time.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from operator import attrgetter
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.codec import diagnosis, proto, speedups, text
from ibbridge.codec.diagnosis import UNREADABLE, Diagnosis
from ibbridge.codec.encoding import UTF_8, TextEncoding
from ibbridge.codec.framing import PROTOBUF_IDS, TooLargeError, frame
from ibbridge.codec.messages import INBOUND, OUTBOUND
from ibbridge.codec.passthrough import Packed, is_flat, packed_reader
from ibbridge.codec.row_limits import bounded
from ibbridge.codec.schema import Declaration, Field, Request
from ibbridge.codec.validation import NotCarried, checked
from ibbridge.codec.versions import raw_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

_ID = Struct(">I").unpack_from
_LONGEST_REASON = 200  # `float` quotes the whole text that it rejects: a reason is logged, a field may have megabytes


class Message(NamedTuple):
    """Decoded message, or a request with its arguments."""

    name: str
    data: dict[str, Any]


class Undecodable(NamedTuple):
    """Payload that could not be read. Framing is intact, and `raw` keeps the payload.

    `field` is the path of the first field at fault, or None. `known` has the values that could be read outside of
    lists, such as the request id.
    """

    id: int | None
    name: str | None
    reason: str
    raw: bytes
    field: str | None = None
    known: Mapping[str, Any] = MappingProxyType({})


_new = tuple.__new__  # what Message(...) does, in less than half the time

_Read: TypeAlias = "Callable[[Any], Any]"
"""Function from a body (text fields with the empty one at the end, or protobuf's bytes) to a `Message` or `Packed`."""


class _Readers(dict[Any, _Read]):
    """Readers by message id, each made when its id is first met. An unknown id is a `KeyError`."""

    def __init__(self, make: Callable[[Any], _Read]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, number: Any) -> _Read:
        read = self[number] = self._make(number)
        return read


class Dialect:
    """Readers and writers of one side of a connection at one server version.

    `packed` names the messages wanted as msgpack: `read_packed` packs those of them that are flat. `encoding` is the
    character encoding of text that is not ASCII (see `encoding.py`).
    """

    def __init__(
        self,
        version: int,
        readable: Iterable[Declaration],
        writable: Iterable[Declaration],
        packed: Collection[str] = (),
        encoding: str = UTF_8,
    ) -> None:
        self.version = version
        self._encoding = TextEncoding(encoding)
        self.surplus: Counter[str] = Counter()
        """Number of fields past the known end, by message name."""
        self._raw = raw_ids(version)
        self._by_id: dict[int, list[Declaration]] = {}
        for declaration in readable:
            self._by_id.setdefault(declaration.id, []).append(declaration)
        self._writable = {declaration.name: declaration for declaration in writable}
        self.read: Callable[[bytes], Message | Undecodable] = self._reader(frozenset())
        """Function from a payload (without its length) to its message. It never raises: an unreadable payload is
        `Undecodable`."""
        self.read_packed: Callable[[bytes], Message | Packed | Undecodable] = self._reader(frozenset(packed))
        """Function like `read`, but the messages named in `packed` come as msgpack."""
        self._writers: dict[str, Callable[[Mapping[str, Any]], bytes]] = {}

    @classmethod
    def client(cls, version: int, packed: Collection[str] = (), encoding: str = UTF_8) -> Dialect:
        """Return a dialect that reads messages and writes requests."""
        return cls(version, INBOUND, OUTBOUND, packed, encoding)

    @classmethod
    def server(cls, version: int) -> Dialect:
        """Return a dialect that reads requests and writes messages."""
        return cls(version, OUTBOUND, INBOUND)

    # -- reading

    def _reader(self, packed: Collection[str]) -> Callable[[bytes], Any]:
        """Return the function that reads payloads. It runs for every message, so the version is tested once, here."""
        texts = _Readers(partial(self._text_reading, packed))
        protos = _Readers(partial(self._proto_reading, packed))
        plain, fields_of = self._encoding.plain, self._encoding.fields

        def read_text(payload: bytes) -> Any:
            try:
                try:
                    fields = payload.decode(plain).split("\0")
                except UnicodeDecodeError:
                    fields = fields_of(payload)
                return texts[fields[0]](fields)
            except UNREADABLE as error:
                return self._undecodable(payload, error)

        def read_raw(payload: bytes) -> Any:
            try:
                (number,) = _ID(payload)
                if number > PROTOBUF_IDS:
                    return protos[number](payload[4:])
                body = payload[4:]
                try:
                    fields = body.decode(plain).split("\0")
                except UnicodeDecodeError:
                    fields = fields_of(body)
                return texts[number](fields)
            except UNREADABLE as error:
                return self._undecodable(payload, error)

        rest = read_raw if self._raw else read_text
        return speedups.reading(self.version, self._by_id, packed, rest, utf_8=self._encoding.is_utf_8)

    def _undecodable(self, payload: bytes, error: BaseException) -> Undecodable:
        number: int | None = None
        if not self._raw:
            head = payload[:10].partition(b"\0")[0]
            number = int(head) if head.isdigit() and len(head) <= 9 else None
        elif len(payload) >= 4:
            (number,) = _ID(payload)
            number -= PROTOBUF_IDS if number > PROTOBUF_IDS else 0
        found = self._by_id.get(number) if number is not None else None
        if not found:
            return Undecodable(number, None, "unknown message id", payload)
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
        message, about = self._diagnosed(found, payload)
        return Undecodable(number, message.name, reason, payload, about.field, about.known)

    def _diagnosed(self, found: Sequence[Declaration], payload: bytes) -> tuple[Declaration, Diagnosis]:
        """Return the declaration that a payload fits, of several with the same id, and the payload's diagnosis."""
        about = self._diagnosis(found[0], payload)
        for other in found[1:]:
            if other.kind and about.known.get(other.kind[0]) in other.kind[1]:
                return other, self._diagnosis(other, payload)
        return found[0], about

    def _diagnosis(self, message: Declaration, payload: bytes) -> Diagnosis:
        if not self._raw:
            return diagnosis.of_text(message, self.version, payload, self._encoding)
        if _ID(payload)[0] > PROTOBUF_IDS:
            return diagnosis.of_protobuf(message, payload[4:])
        return diagnosis.of_text(message, self.version, payload[4:], self._encoding)

    def _text_reading(self, packed: Collection[str], number: int | str) -> _Read:
        if isinstance(number, str) and not (number.isdecimal() and number == str(int(number))):
            raise KeyError(number)

        def reading(one: Declaration) -> _Read:
            return _reading(one, text.reader(one, self.version, partial(self._over, one.name)), packed)

        found = [declaration for declaration in self._by_id[int(number)] if declaration.layout is not None]
        return _one_of(found, reading, self._text_kind)

    def _proto_reading(self, packed: Collection[str], number: int) -> _Read:
        def reading(one: Declaration) -> _Read:
            return _reading(one, bounded(one, proto.reader(one)), packed)

        found = [
            declaration for declaration in self._by_id[number - PROTOBUF_IDS] if declaration.proto_since is not None
        ]
        return _one_of(found, reading, self._proto_kind)

    def _text_kind(self, declaration: Declaration) -> Callable[[list[str]], int]:
        place = text.place_of(declaration, self.version)
        return lambda fields: int(fields[place])

    @staticmethod
    def _proto_kind(declaration: Declaration) -> Callable[[bytes], int]:
        name = declaration.kind[0] if declaration.kind else ""
        field = next(member for member in declaration.fields if isinstance(member, Field) and member.name == name)
        parse, kind = proto.message_class(declaration).FromString, attrgetter(proto.attribute(field))
        return lambda body: kind(parse(body))

    def _over(self, name: str, fields: int) -> None:
        self.surplus[name] += fields

    # -- writing

    def check(
        self, name: str, args: Any, *, command: bool = False, listed: bool = False, order_types: Collection[str] = ()
    ) -> dict[str, Any]:
        """Return the arguments of a request as `put` takes them. Raise `NotCarried`, which names every fault.

        `command`, `listed` and `order_types` are those of `validation.checked`.
        """
        if name not in self._writable:
            raise NotCarried([f"no request that is known here is named {name}"])
        declaration = self._writable[name]
        return checked(declaration, self.version, args, command=command, listed=listed, order_types=order_types)

    def write(self, name: str, values: Any) -> bytes:
        """Return a request or message as bytes, length included.

        Raise `NotCarried` if the request is unknown or cannot be written as given. Messages, which only a server
        writes, are not checked: a fault in one is a `KeyError`, `TypeError` or `ValueError`.
        """
        declaration = self._writable.get(name)
        if declaration is not None and not isinstance(declaration, Request):
            return self.put(name, values)
        given = self.check(name, values)
        try:
            return self.put(name, given)
        except TooLargeError as error:
            raise NotCarried([f"{name} is {error}"]) from None

    def put(self, name: str, values: Mapping[str, Any]) -> bytes:
        """Return the bytes, length included, of values known to be right: checked arguments, or a server's message."""
        write = self._writers.get(name)
        if write is None:
            write = self._writers[name] = self._writer(self._writable[name])
        return frame(write(values))

    def _writer(self, declaration: Declaration) -> Callable[[Mapping[str, Any]], bytes]:
        if declaration.in_protobuf(self.version):
            body = proto.writer(declaration, self.version)
            head = (declaration.id + PROTOBUF_IDS).to_bytes(4, "big")
            return lambda values: head + body(values)
        fields = text.writer(declaration, self.version)
        head = declaration.id.to_bytes(4, "big") if self._raw else b"%d\0" % declaration.id
        return lambda values: head + _joined(fields(values))


def _reading(declaration: Declaration, read: Callable[[Any], dict[str, Any]], packed: Collection[str]) -> _Read:
    """Return the function from a body to a `Message`; to `Packed` if the message is flat, and named in `packed`."""
    name = declaration.name
    if name in packed and is_flat(declaration):
        return packed_reader(declaration, read)
    return lambda body: _new(Message, (name, read(body)))


def _one_of(
    found: list[Declaration],
    reading: Callable[[Declaration], _Read],
    kind_of: Callable[[Declaration], Callable[[Any], int]],
) -> _Read:
    """Return the reader for one id. Where several messages share the id, a field of the body selects the message."""
    if not found:
        raise LookupError("the message does not exist in this encoding")
    if found[0].kind is None:
        return reading(found[0])
    kinds = {value: reading(declaration) for declaration in found if declaration.kind for value in declaration.kind[1]}
    kind = kind_of(found[0])
    return lambda body: kinds[kind(body)](body)


def _joined(fields: list[str]) -> bytes:
    """Return the fields as bytes, each ended by a NUL.

    Raise `ValueError` on a field with a NUL inside, which would shift all fields that follow.
    """
    joined = "\0".join(fields) + "\0" if fields else ""
    if joined.count("\0") != len(fields):
        raise ValueError("a field has a NUL in it")
    return joined.encode()
