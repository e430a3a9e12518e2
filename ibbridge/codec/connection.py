"""Sans-I/O connection to TWS, and its host's side for the simulator: bytes in, messages out.

This module knows the greeting, the negotiation of the version, START_API and when a connection is ready. It must not
know sockets, time or reconnecting. A connection object serves one connection. Sources: IB's client (`connect`,
`startApi`); a client is ready when it has both its account list and its next valid id, in either order.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.codec.dialect import Dialect, Message, Undecodable
from ibbridge.codec.encoding import UTF_8, TextEncoding
from ibbridge.codec.framing import FrameBuffer, FramingError, frame
from ibbridge.codec.versions import NEWEST, OLDEST

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ibbridge.codec.passthrough import Packed

SIGN = b"API\0"
"""First bytes that a client sends, without a length."""

_LONGEST_GREETING = 4096


class HandshakeError(Exception):
    """Failed handshake: the two sides cannot talk to each other, and the caller must close the connection."""


class HandshakeState(Enum):
    """Stage of a client's connection."""

    GREETING = "greeting"
    STARTING = "starting"
    NUMBERED = "numbered"
    NAMED = "named"
    READY = "ready"


TRANSITIONS = {
    (HandshakeState.GREETING, "serverVersion"): HandshakeState.STARTING,
    (HandshakeState.STARTING, "nextValidId"): HandshakeState.NUMBERED,
    (HandshakeState.STARTING, "managedAccounts"): HandshakeState.NAMED,
    (HandshakeState.NUMBERED, "managedAccounts"): HandshakeState.READY,
    (HandshakeState.NAMED, "nextValidId"): HandshakeState.READY,
}
"""Next stage by stage and message name. Any other message, at any stage, changes nothing."""


class Greeting(NamedTuple):
    """Greeting of a client: the server versions that it offers, and two texts that IB's client sends when asked to.

    `connect_options` are part of the greeting itself, `optional_capabilities` of START_API, which follows.
    """

    newest: int = NEWEST
    oldest: int = OLDEST
    connect_options: str = ""
    optional_capabilities: str = ""

    def offer(self) -> bytes:
        """Return the offer as it is sent, without its length."""
        versions = f"v{self.oldest}..{self.newest}"
        return (f"{versions} {self.connect_options}" if self.connect_options else versions).encode("ascii")


EVERY_VERSION = Greeting()
"""Greeting that offers every version that is known here."""


class Connection:
    """Client's side of one connection.

    `receive_data` returns messages; `data_to_send` returns the bytes that the connection itself must send (the
    greeting, then START_API). The message `serverVersion` (`{version, connectionTime}`) is not IB's: the connection
    makes it from the host's greeting. `packed` names the messages that the daemon never looks into and the bus takes as
    msgpack. `encoding` is the character encoding of the host's text.
    """

    def __init__(
        self,
        client_id: int,
        greeting: Greeting = EVERY_VERSION,
        *,
        packed: Collection[str] = (),
        encoding: str = UTF_8,
    ) -> None:
        self.client_id = client_id
        self.state = HandshakeState.GREETING
        self.dialect: Dialect | None = None
        self._greeting = greeting
        self._packed = packed
        self._encoding = encoding
        self._frames = FrameBuffer()
        self._out = SIGN + frame(greeting.offer())

    @property
    def version(self) -> int | None:
        """Negotiated server version; None before the host's greeting."""
        return self.dialect.version if self.dialect else None

    def data_to_send(self) -> bytes:
        """Return the bytes to write now. Each byte is returned once."""
        out, self._out = self._out, b""
        return out

    def receive_data(self, data: bytes) -> Iterator[Message | Packed | Undecodable]:
        """Return an iterator over the messages that `data` completes.

        The iterator raises `FramingError` or `HandshakeError`: the connection is over then. Once the connection is
        ready, messages named in `packed` come as msgpack.
        """
        if (
            self.state is HandshakeState.READY and self.dialect is not None
        ):  # hot path: no message changes the stage any more
            return map(self.dialect.read_packed, self._frames.feed(data))
        return self._starting(data)

    def _starting(self, data: bytes) -> Iterator[Message | Undecodable]:
        for payload in self._frames.feed(data):
            message = self._greeted(payload) if self.dialect is None else self.dialect.read(payload)
            if self.state is not HandshakeState.READY and isinstance(message, Message):
                self.state = TRANSITIONS.get((self.state, message.name), self.state)
            yield message

    def _greeted(self, payload: bytes) -> Message | Undecodable:
        """Read the host's greeting: its version and time. Any other payload before it is `Undecodable`."""
        fields = payload.split(b"\0")
        too_long = len(payload) > _LONGEST_GREETING  # the time is kept, and people see a redirect's address
        if too_long or len(fields) != 3 or fields[2] or not fields[0].removeprefix(b"-").isdigit():
            return Undecodable(None, None, "before the server version", payload)
        version, time = int(fields[0][:9]), TextEncoding(self._encoding).text(fields[1])
        if version < 0:
            raise HandshakeError(f"the host redirects to {time[:100]!r}: set tws.host and tws.port to it")
        offered = self._greeting
        if not offered.oldest <= version <= offered.newest:
            raise HandshakeError(
                f"the host speaks server version {version}; {offered.oldest} to {offered.newest} were offered"
            )
        self.dialect = Dialect.client(version, self._packed, self._encoding)
        start = {"clientId": self.client_id, "optionalCapabilities": offered.optional_capabilities}
        self._out += self.dialect.put("startApi", start)
        return Message("serverVersion", {"version": version, "connectionTime": time})


class Acceptor:
    """Host's side of one connection, for the simulator. `data_to_send` returns the reply to the client's greeting."""

    def __init__(
        self, newest: int = NEWEST, oldest: int = OLDEST, connection_time: str = "20260101 12:00:00 US/Eastern"
    ) -> None:
        self.dialect: Dialect | None = None
        self._newest, self._oldest = newest, oldest
        self._time = connection_time
        self._sign = b""
        self._frames = FrameBuffer()
        self._out = b""

    @property
    def version(self) -> int | None:
        """Negotiated server version; None before the client's greeting."""
        return self.dialect.version if self.dialect else None

    def data_to_send(self) -> bytes:
        """Return the bytes to write now. Each byte is returned once."""
        out, self._out = self._out, b""
        return out

    def receive_data(self, data: bytes) -> Iterator[Message | Undecodable]:
        """Yield the requests that `data` completes. Raise `FramingError` or `HandshakeError`."""
        if len(self._sign) < len(SIGN):
            missing = len(SIGN) - len(self._sign)
            self._sign, data = self._sign + data[:missing], data[missing:]
            if not SIGN.startswith(self._sign):
                raise FramingError("this is no client of TWS: it did not begin with API")
        for payload in self._frames.feed(data):
            if self.dialect is None:
                self._negotiate(payload)
            else:
                yield self.dialect.read(payload)

    def _negotiate(self, payload: bytes) -> None:
        """Choose a version from the client's offer (`v100..226` or `v178`), and ignore the options behind it."""
        text = payload[:_LONGEST_GREETING].decode("ascii", "replace").split(" ")[0]
        low, _, high = text.removeprefix("v").partition("..")
        high = high or low
        if not (text.startswith("v") and low.isdecimal() and high.isdecimal() and len(high) < 9):
            raise FramingError(f"a greeting of {text[:60]!r}, not v<low>..<high>")
        version = min(self._newest, int(high))
        if version < max(self._oldest, int(low[:9])):
            raise HandshakeError(f"no common version: the client speaks {low} to {high}")
        self.dialect = Dialect.server(version)
        self._out += frame(f"{version}\0{self._time}\0".encode())
