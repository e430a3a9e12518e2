"""A TWS that says prebuilt frames: as fast as they are taken, or so many a second. Made and ended by whoever measures.

It greets with the codec's `Acceptor` and waits until all market data lines are asked for, so that its ticks belong to
subscriptions that the other side made, under the ids it chose. Then it does as it is told, one thing after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import time
import zlib
from collections import Counter
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from expected_messages import BLOCK, mix
from processes import PATIENCE, hear, say

from ibbridge.codec import Acceptor, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

BURST = 0.002
"""Seconds of messages that one write has, at a steady rate."""

LATE = 0.5
"""Seconds of messages that are sent at once, at most, after a time in which they could not be."""

# The id comes last: with it the connection is ready, and nothing else may be on its way then.
_WELCOME = (
    ("managedAccounts", {"accountsList": "DU1234567"}),
    (
        "error",
        {
            "reqId": -1,
            "errorTime": 0,
            "errorCode": 2104,
            "errorString": "Market data farm connection is OK:usfarm",
            "advancedOrderRejectJson": "",
        },
    ),
    ("nextValidId", {"orderId": 1}),
)


class Load:
    """Frames in a circle, and what a receiver can check them by."""

    def __init__(self, acceptor: Acceptor, block: Sequence[Message]) -> None:
        assert acceptor.dialect
        self.frames = [acceptor.dialect.put(name, data) for name, data in block]
        self._names = [name for name, _ in block]
        self._next = 0

    def take(self, count: int) -> list[bytes]:
        """The next `count` frames."""
        frames = self._around(self.frames, count)
        self._next = (self._next + count) % len(self.frames)
        return frames

    def about(self, count: int) -> dict[str, Any]:
        """What the next `count` are: how many of each type, and the checksum of all payloads."""
        crc = zlib.crc32(b"".join(frame[4:] for frame in self._around(self.frames, count)))
        return {"types": Counter(self._around(self._names, count)), "crc": crc}

    def _around(self, items: list[T], count: int) -> list[T]:
        whole = (self._next + count) // len(items) + 1
        return (items * whole)[self._next : self._next + count]


def greet(client: socket.socket, version: int, lines: int) -> tuple[Acceptor, list[int]]:
    """Everything up to the last market data request; the ids of all of them."""
    acceptor = Acceptor(newest=version)
    ids: list[int] = []
    while len(ids) < lines:
        data = client.recv(65536)
        if not data:
            raise ConnectionError("the client has gone")
        for message in acceptor.receive_data(data):
            assert isinstance(message, Message)
            assert acceptor.dialect
            if message.name == "startApi":
                client.sendall(b"".join(acceptor.dialect.put(name, about) for name, about in _WELCOME))
            elif message.name == "reqMktData":
                ids.append(message.data["reqId"])
        client.sendall(acceptor.data_to_send())
    return acceptor, ids


def burst(client: socket.socket, frames: list[bytes]) -> list[int]:
    """All frames as fast as they are taken. When that began (ns, monotonic)."""
    data = b"".join(frames)
    began = time.monotonic_ns()
    client.sendall(data)
    return [began]


def paced(client: socket.socket, frames: list[bytes], rate: float, each: int) -> list[int]:
    """`each` frames at a time, `rate` frames in a second. When they were sent (ns, monotonic).

    What is late goes out at once, each in a write of its own. A receiver that does not keep up shows, since what
    it is late by adds up.
    """
    stamps = []
    now = time.monotonic_ns
    began = now()
    for number in range(0, len(frames), each):
        due = began + int(number * 1e9 / rate)
        while (left := due - now()) > 0:
            time.sleep(left / 1e9)
        stamps.append(now())
        client.sendall(b"".join(frames[number : number + each]))
    return stamps


def steady(client: socket.socket, load: Load, rate: float, seconds: float) -> tuple[int, float]:
    """`rate` messages a second on average, in small bursts. How many were sent, and in how many seconds.

    What is late is made up for, by as much as `LATE`; what the receiver was slower for longer is not.
    """
    each = max(1, int(rate * BURST))
    began = due = time.monotonic()
    sent = 0
    while (now := time.monotonic()) < began + seconds:
        if now < due:
            time.sleep(due - now)
        client.sendall(b"".join(load.take(each)))
        sent += each
        due = max(due + each / rate, now - LATE)
    return sent, time.monotonic() - began


class Drain(Thread):
    """Reads what the client sends while it is fed, and drops it: a TWS takes what it is sent."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__(daemon=True)
        self._client = client

    def run(self) -> None:
        """Until the client goes."""
        with contextlib.suppress(OSError):
            while self._client.recv(65536):
                pass


def obey(client: socket.socket, load: Load, told: dict[str, Any]) -> dict[str, Any]:
    """Send what was asked for; what that was."""
    if "seconds" in told:
        sent, seconds = steady(client, load, told["rate"], told["seconds"])
        return {"sent": sent, "seconds": seconds}
    about, frames = load.about(told["messages"]), load.take(told["messages"])
    stamps = paced(client, frames, told["rate"], told["each"]) if told["rate"] else burst(client, frames)
    return {"stamps": stamps, **about}


def main() -> None:
    """Serve one client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", type=int, required=True, help="server version")
    parser.add_argument("--lines", type=int, required=True, help="market data requests to wait for")
    parser.add_argument("--durable", type=float, default=0, help="share of messages that go to disk")
    parser.add_argument("--block", type=int, default=BLOCK, help="messages before all begins anew")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        say(port=server.getsockname()[1])
        client, _ = server.accept()
    with client:
        client.settimeout(PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        acceptor, ids = greet(client, options.version, options.lines)
        load = Load(acceptor, mix(ids, options.block, options.durable, options.seed))
        say(version=acceptor.version, ids=ids, bytes=sum(map(len, load.frames)) / len(load.frames))
        Drain(client).start()
        while True:  # the connection stays until the parent has measured everything
            told = hear(patience=None)
            try:
                say(**obey(client, load, told))
            except ConnectionError:  # the parent knows why
                return


if __name__ == "__main__":
    main()
