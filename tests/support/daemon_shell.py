"""The assembled daemon without sockets, in time that passes when told, and the connection between it and a host.

The host is called where a connection has a socket.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

import msgpack

from ibbridge.codec import Dialect, HandshakeError, Message
from ibbridge.config.model import Config
from ibbridge.wiring import assemble
from tests.support.daemon_core import UNLIMITED, Heard, _blank, payloads
from tests.support.outside import ListBus, ManualClock, outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ibbridge.requests.request import CommandId
    from ibbridge.tws.outbound import OutboundMessage

BEAT = 1.0
VERSION = 226


class Host(Protocol):
    """Other end of the connection, and observer of the daemon."""

    def asked_for_name(self) -> None:
        """Its addresses are looked up."""

    def knocked(self) -> None:
        """Somebody connects."""

    def greeted(self) -> None:
        """Note the greeting of the daemon."""

    def told_to_start(self) -> None:
        """Note startApi, which follows the exchange of versions."""

    def left(self) -> None:
        """The connection was closed by the daemon, or is known to be over."""

    def given(self, message: OutboundMessage) -> None:
        """The queue has taken a message, which may wait."""

    def withdrawn(self, message: OutboundMessage) -> None:
        """The queue has given it back."""

    def written(self, name: str, data: dict[str, Any]) -> None:
        """A message has arrived."""

    def moved_on(self) -> None:
        """The session has changed."""


class Wire:
    """Connection to the host. TCP has connected when it is `open`; TWS takes nothing while it is `full`."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.dialect: Dialect | None = None
        self.open = self.full = self.ready = False
        self.bytes = 0
        self.leaves = b""  # what was written last
        self.heard: set[str] = set()  # of what TWS must say first
        self._greeted = False
        self._reads = Dialect.server(VERSION)

    def flush(self) -> None:
        """Say hello, and start the API once the version is known."""
        if not self._greeted:
            self._greeted = True
            self.host.greeted()

    def note(self, *, read: bool) -> bool:
        return read

    def write(self, data: bytes) -> None:
        self.leaves, self.bytes = data, self.bytes + len(data)
        for payload in payloads(data):
            read = self._reads.read(payload)
            assert isinstance(read, Message), read
            self.host.written(read.name, read.data)

    def closing(self) -> bool:
        return False

    def unsent(self) -> int:
        return 2**30 if self.full else 0

    def taken(self) -> int:
        return self.bytes

    def close(self) -> None:
        self.open = False

    def abort(self) -> None:
        self.open = False


class Wires:
    """The transports: they ask the host, and it answers when it likes."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.events: Any = None
        self.last: Wire | None = None

    def resolve(self, host: str, port: int, events: Any) -> None:
        self.events = events
        self._host.asked_for_name()

    def open(self, address: tuple[Any, ...], events: Any) -> Wire:
        self.last = Wire(self._host)
        self._host.knocked()
        return self.last

    def stop_trying(self) -> None:
        """Do nothing: what the host does later concerns a connection that is over."""

    def restock(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Shell:
    """The daemon's parts, and the host's hands on them."""

    def __init__(self, host: Host, *, rate: int, share: int, jitter: float = 0.0, allowed: Iterable[str] = ()) -> None:
        self.host = host
        self.clock = ManualClock(1000.0)
        self.published: list[Heard] = []
        default = Config()
        config = dataclasses.replace(
            default,
            commands=dataclasses.replace(default.commands, allow=tuple(allowed)),
            pacing=dataclasses.replace(default.pacing, rate=rate, share=share),
            tws=dataclasses.replace(default.tws, client_id=1),
            risk=UNLIMITED,
        )
        self._wires = Wires(host)
        bus = ListBus(self._keep, host.moved_on)
        self.parts = assemble(
            config, outside(self.clock, bus, transports=lambda *_: self._wires, jitter=lambda: jitter)
        )
        self.session = self.parts.tws.session
        self.connector = self.parts.connector
        self._observe(self.parts.tws.send_queue)
        self._beat = self.clock.now
        self._connection = 0
        self._drop, self.connector._drop = self.connector._drop, self._dropped  # type: ignore[method-assign]

    def _keep(self, topic: bytes, body: bytes) -> None:
        self.published.append(Heard(topic.decode("ascii"), msgpack.unpackb(body)))

    def _observe(self, queue: Any) -> None:
        """Tell the host what the queue takes, gives back and drops."""
        put, withdraw, drop = queue.put, queue.withdraw, queue.drop
        queue.next_messages = self._leaving(queue.next_messages)

        def putting(message: OutboundMessage, now: float) -> None:
            needless = [*message.instead_of]
            put(message, now)
            for each in needless:
                self.host.withdrawn(each)
            self.host.given(message)

        def withdrawing(message: OutboundMessage) -> bool:
            if done := bool(withdraw(message)):
                self.host.withdrawn(message)
            return done

        def dropping() -> list[OutboundMessage]:
            dropped: list[OutboundMessage] = drop()
            for each in dropped:
                self.host.withdrawn(each)
            return dropped

        queue.put, queue.withdraw, queue.drop = putting, withdrawing, dropping

    def _leaving(
        self, following: Callable[[float], list[OutboundMessage]]
    ) -> Callable[[float], Iterator[OutboundMessage]]:
        """Tell the host of messages that are dropped just before they would be written."""

        def observed(on_send: Callable[[OutboundMessage], bool]) -> Callable[[OutboundMessage], bool]:
            def leaves(message: OutboundMessage) -> bool:
                if not (goes := on_send(message)):
                    self.host.withdrawn(message)
                return goes

            return leaves

        def leaving(now: float) -> Iterator[OutboundMessage]:
            for message in following(now):
                message.on_send = observed(message.on_send)
                yield message

        return leaving

    @property
    def wire(self) -> Wire:
        wire = self._wires.last
        assert wire is not None
        return wire

    @property
    def wire_open(self) -> bool:
        wire = self._wires.last
        return wire is not None and wire.open

    # -- time

    @property
    def now(self) -> float:
        return self.clock.now

    @property
    def _now(self) -> int:
        return self.clock.us

    def begin(self) -> None:
        """The daemon starts."""
        self.connector.begin()

    def soon(self, seconds: float, what: Callable[[], None], *, always: bool = False) -> None:
        """The host does something then, if this connection is still there."""
        which = 0 if always else self._connection
        self.clock.call_later(seconds, lambda: what() if which in (0, self._connection) else None)

    def pass_on(self, seconds: float) -> None:
        """Let time pass, with everything that happens meanwhile."""
        until = self.clock.now + seconds
        while (at := self._beat + BEAT) <= until:
            self.clock.pass_to(at)
            self._beat = at
            for listener in self.parts.listeners:
                listener.tick(self.clock.now)
        self.clock.pass_to(until)

    # -- clients

    def execute(
        self, command: str, args: dict[str, Any], command_id: CommandId, key: str | None, not_after: int | None = None
    ) -> dict[str, Any]:
        """Execute a command of a client. Raises `CommandRefused`."""
        return self.parts.ib_requests.execute(command, args, command_id, key, not_after)

    # -- what the host does

    def _dropped(self) -> None:
        self._connection += 1
        self._drop()
        self.host.left()

    def resolved(self, addresses: list[tuple[Any, ...]]) -> None:
        self.connector.resolved(addresses)

    def refused(self) -> None:
        self.connector.refused(self.connector._link, ConnectionRefusedError("refused"))

    def opened(self) -> None:
        self.wire.open = True
        self.connector.made(self.wire)  # type: ignore[arg-type]

    def closed(self, *, unfit: bool = False) -> None:
        error = HandshakeError("no TWS") if unfit else ConnectionResetError("TWS closed the connection")
        self.connector.ended(self.wire, error)  # type: ignore[arg-type]

    def blocked(self, *, full: bool) -> None:
        """TWS does not take what is written any more."""
        self.wire.full = full
        self.connector.blocked(self.wire, blocked=True)  # type: ignore[arg-type]

    def drained(self) -> None:
        self.wire.full = False
        self.connector.blocked(self.wire, blocked=False)  # type: ignore[arg-type]

    def greet(self) -> None:
        """The host says its version, and is told to start."""
        self.wire.dialect = Dialect.client(VERSION)
        self._read(Message("serverVersion", {"version": VERSION, "connectionTime": ""}))
        self.host.told_to_start()

    def say(self, name: str, **data: Any) -> None:
        """The host says something, in a read of its own."""
        self.wire.heard |= {name} & {"nextValidId", "managedAccounts"}
        self.wire.ready = len(self.wire.heard) == 2
        self._read(Message(name, {**_blank(name), **data}))

    def _read(self, message: Message) -> None:
        self.clock.us += 1
        self.connector.received(self.wire, iter([message]), self.clock.us, more=False)  # type: ignore[arg-type]
