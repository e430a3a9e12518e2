"""All declarations, resolved for one server version: payloads to messages and back.

The id, not the version, says which encoding a payload has: above 200 it is protobuf. A client reads messages and
writes requests, a server the other way round; everything else is the same. Readers and writers are made when first
needed. Knows nothing of sockets, state or time.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from struct import Struct
from struct import error as StructError  # noqa: N812 - `error` says too little
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.codec import proto, text
from ibbridge.codec.framing import TooLargeError, frame
from ibbridge.codec.messages import INBOUND, OUTBOUND
from ibbridge.codec.refusals import NotCarried, checked
from ibbridge.codec.schema import Declaration, Request
from ibbridge.codec.versions import PROTOBUF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PROTOBUF_IDS = 200
"""Added to the id of a message whose body is protobuf."""

_ID = Struct(">I").unpack_from
_UNREADABLE = (ValueError, LookupError, TypeError, OverflowError, StructError, proto.DecodeError)
"""What readers raise on a body that is not what the declaration says."""


class Message(NamedTuple):
    """A decoded message, or a request with its arguments."""

    name: str
    data: dict[str, Any]


class Undecodable(NamedTuple):
    """A payload that could not be read. The stream is intact; the payload is kept."""

    id: int | None
    name: str | None
    reason: str
    raw: bytes


_Entry: TypeAlias = "tuple[str, Callable[[Any], Any]]"
"""A message's name and its reader. Where several messages share an id the name is empty, and the function takes the
body and gives the entry of the one it is."""

_message = partial(tuple.__new__, Message)  # what Message(...) does, in half the time


class _Readers(dict[Any, _Entry]):
    """Entries by id, made when first met. An unknown id is a KeyError."""

    def __init__(self, make: Callable[[Any], _Entry]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, number: Any) -> _Entry:
        entry = self[number] = self._make(number)
        return entry


class Dialect:
    """What one side of a connection can read and write at one server version."""

    def __init__(self, version: int, readable: Iterable[Declaration], writable: Iterable[Declaration]) -> None:
        self.version = version
        self.surplus: Counter[str] = Counter()
        """Fields past the known end, by message name."""
        self._raw = version >= PROTOBUF
        self._by_id: dict[int, list[Declaration]] = {}
        for declaration in readable:
            self._by_id.setdefault(declaration.id, []).append(declaration)
        self._writable = {declaration.name: declaration for declaration in writable}
        self._texts = _Readers(self._text_entry)
        self._protos = _Readers(self._proto_entry)
        self._writers: dict[str, Callable[[Mapping[str, Any]], bytes]] = {}

    @classmethod
    def client(cls, version: int) -> Dialect:
        """Reads messages, writes requests."""
        return cls(version, INBOUND, OUTBOUND)

    @classmethod
    def server(cls, version: int) -> Dialect:
        """Reads requests, writes messages."""
        return cls(version, OUTBOUND, INBOUND)

    # -- reading

    def read(self, payload: bytes) -> Message | Undecodable:
        """The message in `payload` (without its length). Never raises: what cannot be read is `Undecodable`."""
        try:
            body: Any
            if self._raw:
                (number,) = _ID(payload)
                if number > PROTOBUF_IDS:
                    name, read = self._protos[number]
                    body = payload[4:]
                else:
                    name, read = self._texts[number]
                    body = payload[4:].decode("utf-8", "backslashreplace").split("\0")
            else:
                body = payload.decode("utf-8", "backslashreplace").split("\0")
                name, read = self._texts[body[0]]
            if not name:
                name, read = read(body)
            return _message((name, read(body)))
        except _UNREADABLE as error:
            return self._undecodable(payload, error)

    def _undecodable(self, payload: bytes, error: BaseException) -> Undecodable:
        number: int | None = None
        if not self._raw:
            head = payload[:10].partition(b"\0")[0]
            number = int(head) if head.isdigit() and len(head) <= 9 else None
        elif len(payload) >= 4:
            (number,) = _ID(payload)
            number -= PROTOBUF_IDS if number > PROTOBUF_IDS else 0
        known = self._by_id.get(number) if number is not None else None
        reason = f"{type(error).__name__}: {error}" if known else "unknown message id"
        return Undecodable(number, known[0].name if known else None, reason, payload)

    def _text_entry(self, number: int | str) -> _Entry:
        if isinstance(number, str) and not (number.isdecimal() and number == str(int(number))):
            raise KeyError(number)
        found = [each for each in self._by_id[int(number)] if each.layout is not None]
        return self._entry(found, self._text_reader, self._text_kind)

    def _text_reader(self, declaration: Declaration) -> Callable[[list[str]], dict[str, Any]]:
        return text.reader(declaration, self.version, partial(self._over, declaration.name))

    def _proto_entry(self, number: int) -> _Entry:
        found = [each for each in self._by_id[number - PROTOBUF_IDS] if each.proto_since is not None]
        return self._entry(found, proto.reader, self._proto_kind)

    @staticmethod
    def _entry(
        found: list[Declaration],
        reader: Callable[[Declaration], Callable[[Any], dict[str, Any]]],
        kind_of: Callable[[Declaration], Callable[[Any], int]],
    ) -> _Entry:
        if not found:
            raise LookupError("the message does not exist in this encoding")
        first = found[0]
        if first.kind is None:
            return first.name, reader(first)
        kinds = {value: (each.name, reader(each)) for each in found if each.kind for value in each.kind[1]}
        kind = kind_of(first)
        return "", lambda body: kinds[kind(body)]

    def _text_kind(self, declaration: Declaration) -> Callable[[list[str]], int]:
        place = text.place_of(declaration, self.version)
        return lambda fields: int(fields[place])

    @staticmethod
    def _proto_kind(declaration: Declaration) -> Callable[[bytes], int]:
        read, name = proto.reader(declaration), declaration.kind[0] if declaration.kind else ""
        return lambda body: int(read(body)[name])

    def _over(self, name: str, fields: int) -> None:
        self.surplus[name] += fields

    # -- writing

    def check(self, name: str, args: Any) -> dict[str, Any]:
        """`args` of a request as `put` takes them. Raises `NotCarried`, naming every fault."""
        if name not in self._writable:
            raise NotCarried([f"{name} is no request of IB's"])
        return checked(self._writable[name], self.version, args)

    def write(self, name: str, values: Any) -> bytes:
        """A request or message as bytes, length included.

        Raises `NotCarried` if a request cannot be written as given, or is none. A message, which only a server writes,
        is not checked: what is wrong with it is a `KeyError`, `TypeError` or `ValueError`.
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
        """The same for values that are known to be right: checked arguments, or what a server says."""
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


def _joined(fields: list[str]) -> bytes:
    """Fields behind one another, each ended by a NUL; one inside a field would shift all that follow."""
    joined = "\0".join(fields) + "\0" if fields else ""
    if joined.count("\0") != len(fields):
        raise ValueError("a field has a NUL in it")
    return joined.encode()
