"""Buses for tests, and the sockets of their peers: plain SUB, XSUB, REQ and DEALER, over tcp and ipc."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zmq

from ibbridge.bus import Bus
from ibbridge.config.model import BusConfig
from ibbridge.zeromq.subscription_socket import Admission

if TYPE_CHECKING:
    import pathlib
    from contextlib import ExitStack


PATIENCE = 20_000  # milliseconds after which a test gives up on a message that must come


def welcome(prefix: bytes) -> bytes:
    return b"welcome " + prefix


def bus_config(pub: str, rep: str, **changes: Any) -> BusConfig:
    """Settings of a bus with one endpoint for each socket."""
    return BusConfig((pub,), (rep,), **changes)


class Welcoming:
    """Decision to admit every subscription."""

    def subscribed(self, peer: bytes, prefix: bytes) -> Admission:
        return Admission((prefix,), welcome(prefix))

    def unsubscribed(self, peer: bytes, prefix: bytes) -> tuple[bytes, ...]:
        return (prefix,)


class Echo:
    """Answers with what was asked, and counts."""

    def __init__(self) -> None:
        self.answered = 0

    def answer(self, request: bytes, peer: bytes) -> bytes:
        self.answered += 1
        return b"to " + request

    def refuse(self, reason: str) -> bytes:
        return b"refused: " + reason.encode()


class Broken(Echo):
    """Has a bug."""

    def answer(self, request: bytes, peer: bytes) -> bytes:
        if request == b"crash":
            raise ZeroDivisionError
        return super().answer(request, peer)


class Peers:
    """Opens buses and the sockets of their peers, and closes them all at the end."""

    def __init__(self, stack: ExitStack, directory: pathlib.Path, transport: str) -> None:
        self._stack = stack
        self._context = stack.enter_context(zmq.Context())
        self._directory = directory
        self._transport = transport

    def config(self, **changes: Any) -> BusConfig:
        if self._transport == "tcp":
            places = {"pub": "tcp://127.0.0.1:*", "rep": "tcp://127.0.0.1:*"}
        else:
            places = {name: f"ipc://{self._directory / name}" for name in ("pub", "rep")}
        return bus_config(**{**places, **changes})

    def bus(self, answering: Any = None, **changes: Any) -> Bus:
        bus = Bus(self.config(**changes), answering or Echo(), Welcoming())
        bus.open()
        self._stack.callback(bus.close)
        return bus

    def peer(self, kind: int, endpoint: str, *prefixes: bytes, **options: int | str) -> zmq.Socket[bytes]:
        peer = self._stack.enter_context(self._context.socket(kind))
        peer.linger = 0
        for name, value in options.items():
            peer.set(getattr(zmq, name), value.encode() if isinstance(value, str) else value)
        peer.connect(endpoint)
        for prefix in prefixes:
            peer.subscribe(prefix)
        return peer

    def sub(self, bus: Bus, *prefixes: bytes, **options: int) -> zmq.Socket[bytes]:
        """A subscriber that has been welcomed to each of its prefixes."""
        peer = self.peer(zmq.SUB, bus.endpoints.pub[0], *prefixes, **options)
        for prefix in prefixes:
            assert receive(bus, peer) == [prefix, welcome(prefix)]
        return peer

    def xsub(self, bus: Bus, *frames: bytes) -> zmq.Socket[bytes]:
        """A subscriber that does not filter, so that it shows what is sent to it, and that can send any frame."""
        peer = self.peer(zmq.XSUB, bus.endpoints.pub[0])
        for frame in frames:
            peer.send(frame)
        return peer


def receive(bus: Bus, peer: zmq.Socket[bytes]) -> list[bytes]:
    """The next message of this peer, while the bus takes its turns."""
    for _ in range(PATIENCE):
        bus.turn()
        if peer.poll(1):
            return peer.recv_multipart()
    raise AssertionError("no message came")


def until_strays(bus: Bus, count: int) -> None:
    """Give the bus its turns until it has met that many frames that are no subscription."""
    for _ in range(PATIENCE):
        bus.turn()
        if bus.strays == count:
            return
        bus._pub.poll(1)
    raise AssertionError("it never came to that")


def next_but_welcomes(bus: Bus, peer: zmq.Socket[bytes]) -> list[bytes]:
    """The next message that is not a welcome."""
    while (message := receive(bus, peer))[1].startswith(b"welcome"):
        pass
    return message
