"""One connection to TWS, or one that a TWS accepts, without the socket: bytes in, messages out.

Knows the greeting, the negotiation of the version, START_API and when a connection is ready; nothing of sockets, time
or reconnecting. A connection is used once. Sources: IB's client (`connect`, `startApi`); a client is ready when it
has both its account list and its next valid id, in either order.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ibbridge.codec.dialect import Dialect, Message, Undecodable
from ibbridge.codec.encoding import UTF_8, TextEncoding
from ibbridge.codec.framing import FrameBuffer, FramingError, frame
from ibbridge.codec.versions import NEWEST, OLDEST

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ibbridge.codec.passthrough import Packed

SIGN = b"API\0"
"""What a client sends first, without a length."""

_LONGEST_GREETING = 4096


class HandshakeError(Exception):
    """The two sides cannot talk to each other. The connection must be closed; the text says what to do."""


class State(Enum):
    """Where a client's connection is."""

    GREETING = "greeting"
    STARTING = "starting"
    NUMBERED = "numbered"
    NAMED = "named"
    READY = "ready"


TRANSITIONS = {
    (State.GREETING, "serverVersion"): State.STARTING,
    (State.STARTING, "nextValidId"): State.NUMBERED,
    (State.STARTING, "managedAccounts"): State.NAMED,
    (State.NUMBERED, "managedAccounts"): State.READY,
    (State.NAMED, "nextValidId"): State.READY,
}
"""What moves a connection on. Any other message, in any state, leaves it where it is."""


class Connection:
    """The client's side.

    `receive_data` gives messages; `data_to_send` gives what the connection itself has to say (the greeting, then
    START_API). `serverVersion` is the one message that IB does not have: `{version, connectionTime}`. `packed` names
    the messages that nobody looks into and the bus wants as msgpack. `encoding` is what text of the host is in.
    """

    def __init__(
        self,
        client_id: int,
        *,
        oldest: int = OLDEST,
        newest: int = NEWEST,
        connect_options: str = "",
        optional_capabilities: str = "",
        packed: Collection[str] = (),
        encoding: str = UTF_8,
    ) -> None:
        self.client_id = client_id
        self.state = State.GREETING
        self.dialect: Dialect | None = None
        self._oldest, self._newest = oldest, newest
        self._capabilities = optional_capabilities
        self._packed = packed
        self._encoding = encoding
        self._frames = FrameBuffer()
        offer = f"v{oldest}..{newest}" + (f" {connect_options}" if connect_options else "")
        self._out = SIGN + frame(offer.encode("ascii"))

    @property
    def version(self) -> int | None:
        """The negotiated server version."""
        return self.dialect.version if self.dialect else None

    def data_to_send(self) -> bytes:
        """Bytes to write now; each is given once."""
        out, self._out = self._out, b""
        return out

    def receive_data(self, data: bytes) -> Iterator[Message | Packed | Undecodable]:
        """The messages that `data` completes. On `FramingError` and `HandshakeError` the connection is over.

        Once the connection is ready, messages that were wanted packed come so.
        """
        if self.state is State.READY and self.dialect is not None:  # the hot path: nothing is looked for any more
            return map(self.dialect.read_packed, self._frames.feed(data))
        return self._starting(data)

    def _starting(self, data: bytes) -> Iterator[Message | Undecodable]:
        for payload in self._frames.feed(data):
            message = self._greeted(payload) if self.dialect is None else self.dialect.read(payload)
            if self.state is not State.READY and isinstance(message, Message):
                self.state = TRANSITIONS.get((self.state, message.name), self.state)
            yield message

    def _greeted(self, payload: bytes) -> Message | Undecodable:
        """The host's version and time. Anything else that comes before it is kept, not understood."""
        fields = payload.split(b"\0")
        too_long = len(payload) > _LONGEST_GREETING  # the time is kept, and a redirect is shown to people
        if too_long or len(fields) != 3 or fields[2] or not fields[0].removeprefix(b"-").isdigit():
            return Undecodable(None, None, "before the server version", payload)
        version, time = int(fields[0][:9]), TextEncoding(self._encoding).text(fields[1])
        if version < 0:
            raise HandshakeError(f"the host redirects to {time[:100]!r}: set tws.host and tws.port to it")
        if not self._oldest <= version <= self._newest:
            raise HandshakeError(
                f"the host speaks server version {version}; {self._oldest} to {self._newest} were offered"
            )
        self.dialect = Dialect.client(version, self._packed, self._encoding)
        start = {"clientId": self.client_id, "optionalCapabilities": self._capabilities}
        self._out += self.dialect.put("startApi", start)
        return Message("serverVersion", {"version": version, "connectionTime": time})


class Acceptor:
    """The host's side, for the simulator: gives requests; `data_to_send` gives the answer to the greeting."""

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
        """The negotiated server version."""
        return self.dialect.version if self.dialect else None

    def data_to_send(self) -> bytes:
        """Bytes to write now; each is given once."""
        out, self._out = self._out, b""
        return out

    def receive_data(self, data: bytes) -> Iterator[Message | Undecodable]:
        """The requests that `data` completes. Raises `FramingError` or `HandshakeError`."""
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
        """`v100..226` or `v178`, then options that nobody needs."""
        text = payload[:_LONGEST_GREETING].decode("ascii", "replace").split(" ")[0]
        low, _, high = text.removeprefix("v").partition("..")
        high = high or low
        if not (text.startswith("v") and low.isdecimal() and high.isdecimal() and len(high) < 9):
            raise FramingError(f"a greeting of {text[:60]!r}")
        version = min(self._newest, int(high))
        if version < max(self._oldest, int(low[:9])):
            raise HandshakeError(f"no common version: the client speaks {low} to {high}")
        self.dialect = Dialect.server(version)
        self._out += frame(f"{version}\0{self._time}\0".encode())
