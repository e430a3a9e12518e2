"""All declarations, resolved for one server version: payloads to messages and back.

The id, not the version, says which encoding a payload has: above 200 it is protobuf. A client reads messages and
writes requests, a server the other way round; everything else is the same. Readers and writers are made when first
needed. Knows nothing of sockets, state or time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from ibbridge.codec import proto, text
from ibbridge.codec.framing import frame
from ibbridge.codec.messages import INBOUND, OUTBOUND
from ibbridge.codec.refusals import NotCarried, checked
from ibbridge.codec.schema import Declaration, Request
from ibbridge.codec.versions import PROTOBUF

PROTOBUF_IDS = 200
"""Added to the id of a message whose body is protobuf."""

_UNREADABLE = (ValueError, LookupError, TypeError, OverflowError, proto.DecodeError)
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


class _Entry(NamedTuple):
    """How a payload with one id is read. `kinds` is for ids that several declarations share."""

    name: str
    read: Callable[[Any], dict[str, Any]]
    kinds: Mapping[int, _Entry] | None = None
    kind_of: Callable[[Any], int] | None = None


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
            if self._raw:
                number = int.from_bytes(payload[:4], "big")
                if number > PROTOBUF_IDS:
                    entry, body = self._protos[number], payload[4:]
                else:
                    entry, body = self._texts[number], payload[4:].decode("utf-8", "backslashreplace").split("\0")
            else:
                body = payload.decode("utf-8", "backslashreplace").split("\0")
                entry = self._texts[body[0]]
            if entry.kinds is not None and entry.kind_of is not None:
                entry = entry.kinds[entry.kind_of(body)]
            return Message(entry.name, entry.read(body))
        except _UNREADABLE as error:
            return self._undecodable(payload, error)

    def _undecodable(self, payload: bytes, error: BaseException) -> Undecodable:
        number: int | None
        if self._raw:
            number = int.from_bytes(payload[:4], "big")
            number -= PROTOBUF_IDS if number > PROTOBUF_IDS else 0
        else:
            head = payload.partition(b"\0")[0]
            number = int(head) if head.isdigit() and len(head) <= 9 else None  # noqa: PLR2004 - no id is longer
        known = self._by_id.get(number) if number is not None else None
        reason = f"{type(error).__name__}: {error}" if known else "unknown message id"
        return Undecodable(number, known[0].name if known else None, reason, payload)

    def _text_entry(self, number: int | str) -> _Entry:
        if isinstance(number, str) and not (number.isdecimal() and number == str(int(number))):
            raise KeyError(number)
        found = self._declared(int(number))
        return self._entry(found, lambda one: text.reader(one, self.version, partial(self._over, one.name)), self._text_kind)

    def _proto_entry(self, number: int) -> _Entry:
        return self._entry(self._declared(number - PROTOBUF_IDS), proto.reader, self._proto_kind)

    def _declared(self, number: int) -> list[Declaration]:
        return self._by_id[number]

    @staticmethod
    def _entry(
        found: list[Declaration],
        reader: Callable[[Declaration], Callable[[Any], dict[str, Any]]],
        kind_of: Callable[[Declaration], Callable[[Any], int]],
    ) -> _Entry:
        first = found[0]
        if first.kind is None:
            return _Entry(first.name, reader(first))
        kinds = {
            value: _Entry(each.name, reader(each)) for each in found if each.kind is not None for value in each.kind[1]
        }
        return _Entry(first.name, reader(first), kinds, kind_of(first))

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
        """A request or message as bytes, length included. Raises `NotCarried` if a request cannot be written as given."""
        request = isinstance(self._writable.get(name), Request)
        return self.put(name, self.check(name, values) if request else values)

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
