"""Connection of one client to the simulator: its bytes, its dialect, and its session with the host.

The module writes to a socket and never waits for it. The server owns the socket and the clock, and passes the time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ibbridge.codec import Message, Undecodable, frame
from ibbridge.codec.messages import MESSAGES, REQUESTS
from ibbridge.sim.encoding import Encoder
from ibbridge.sim.faults.byte_pipe import BytePipe
from ibbridge.sim.faults.corrupt_frames import garbled
from ibbridge.sim.other_clients import read_again

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from ibbridge.codec import Acceptor
    from ibbridge.sim.context import ClientSession
    from ibbridge.sim.engine import SimulatedTws
    from ibbridge.sim.faults.injector import FaultInjector
    from ibbridge.sim.faults.script import FaultStep

log = logging.getLogger(__name__)

BARE_CLOSE = 0.5
"""Seconds until a client whose client id is taken is disconnected without a message."""


class ClientConnection:
    """Connection of one client: its bytes, its dialect, and its session once the client has sent START_API."""

    def __init__(self, writer: asyncio.StreamWriter, acceptor: Acceptor, injector: FaultInjector) -> None:
        self.writer = writer
        self.acceptor = acceptor
        self.session: ClientSession | None = None
        self.client: int | None = None
        self.pipe = BytePipe()
        self.mute = False
        self._closes: float | None = None
        self._welcomed = False
        self._injector = injector

    def receive(self, data: bytes, now: float) -> Iterator[Message | Undecodable]:
        """Yield the client's messages in these bytes; none while the connection is mute.

        Raise `FramingError` or `HandshakeError` for bytes that no client sends.
        """
        for message in self.acceptor.receive_data(data):
            self._greet(now)
            if not self.mute:
                yield self._read_again(message)
        self._greet(now)

    def _read_again(self, message: Message | Undecodable) -> Message | Undecodable:
        if isinstance(message, Undecodable) and self.acceptor.dialect is not None:
            return read_again(self.acceptor.dialect, message)
        return message

    def _greet(self, now: float) -> None:
        """Queue the acceptor's response to the greeting, or what a fault makes of the response."""
        out = self.acceptor.data_to_send()
        if out and self._injector.schedule.stalled("accepted", None):
            self.mute = True
        if out and (found := self._injector.schedule.use("greet", None)):
            args = found.step.args
            fields = (str(self.acceptor.version if args["announce"] is None else args["announce"]), args["time"])
            out = frame(b"".join(field.encode(args["encoding"], "replace") + b"\0" for field in fields))
        if not self.mute:
            self.pipe.put(out, now)

    def flush(self, now: float) -> None:
        """Write the bytes for this client that may go out now."""
        if self.writer.is_closing():
            return
        self._encode(now)
        self._shape()
        for piece in self.pipe.take(now):
            self.writer.write(piece)
        over = self.session is not None and self.session.closed and not self.pipe
        if self.pipe.cut or (over and not self.pipe.held) or (self._closes is not None and now >= self._closes):
            self.writer.close()

    def _encode(self, now: float) -> None:
        dialect = self.acceptor.dialect
        if self.session is None or dialect is None:
            return
        encoder = Encoder(dialect)
        frames = []
        for name, data in self._injector.said(self.session, self.session.take(), now):
            message = MESSAGES.get(name)
            if message is None or not message.exists(dialect.version):
                log.warning("message %s does not exist at server version %d; not sent", name, dialect.version)
                continue
            frames.append(encoder.put(name, data))
        if not self.mute and not (self._welcomed and self._injector.schedule.stalled("ready", self.client)):
            self.pipe.put(b"".join(frames), now)
        self._welcomed = True

    def _shape(self) -> None:
        """Set the pipe's limits from the active faults."""
        pipe, find = self.pipe, self._injector.schedule.active
        pipe.held = find("half-open", self.client) is not None
        pipe.piece = found.step.args["bytes"] if (found := find("split", self.client)) else 0
        pipe.gather = found.step.args["seconds"] if (found := find("merge", self.client)) else 0.0
        pipe.rate = found.step.args["rate"] if (found := find("slow", self.client)) else 0

    @property
    def waiting(self) -> int:
        """Bytes that the client has not taken."""
        return self.writer.transport.get_write_buffer_size() + len(self.pipe)

    def start(self, core: SimulatedTws, client: int, now: float) -> None:
        """Process START_API, by which a client gives its client id: open a session, or what a fault makes of it."""
        self.client = client
        if self._injector.schedule.stalled("version", None):
            self.mute = True
            return
        in_use = self._injector.schedule.use("id-in-use", client)
        if in_use is not None and in_use.step.args["how"] == "close":
            self.mute, self._closes = True, now + BARE_CLOSE
            return
        ends = MESSAGES["historicalDataEnd"].exists(self.acceptor.version or 0)
        self.session = core.connect(client, history_end=ends, taken=in_use is not None)
        self.mute = self._injector.schedule.stalled("start", client)
        if not self.session.closed:
            self._injector.joined(self.session)

    def knows(self, message: Message | Undecodable) -> bool:
        """Return True if a message is a request that exists at the client's server version."""
        return isinstance(message, Message) and REQUESTS[message.name].exists(self.acceptor.version or 0)

    def spoil(self, step: FaultStep, second: int, now: float) -> None:
        """Apply the immediate effect of a fault to the connection, at the simulated time `second`."""
        match step.do:
            case "drop":
                self.pipe.left = step.args["bytes"]
            case "close" if step.args["abort"]:
                self.writer.transport.abort()
            case "close" | "restart":
                self.writer.close()
            case "garbage" if self.session is not None and self.acceptor.dialect is not None:
                whole = self.acceptor.dialect.put("currentTime", {"time": second})
                self.pipe.put(garbled(whole, step.args["kind"]), now)


def hand_over(core: SimulatedTws, session: ClientSession, version: int, message: Message | Undecodable) -> None:
    """Pass a client's message to the host.

    A request that does not exist at the client's server version counts as unreadable, like garbage.
    """
    if isinstance(message, Undecodable):
        known = message.name or message.id
        core.unreadable(session, message.reason if known is None else f"{known}: {message.reason}")
    elif REQUESTS[message.name].exists(version):
        core.request(session, message.name, message.data)
    else:
        core.unreadable(session, f"{REQUESTS[message.name].id}: unknown message id")
