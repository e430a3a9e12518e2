"""TWS stand-in that sends prebuilt frames, as fast as possible or at a rate. Started and ended by the benchmarks.

The feeder greets with the codec's `Acceptor` and waits for all market data requests, so that its ticks carry the
request ids that the other side has chosen. Then the feeder executes the parent's orders, one after another.
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
    from collections.abc import Callable, Sequence

T = TypeVar("T")

BURST = 0.002
"""Seconds' worth of messages in one write, at a steady rate."""

LATE = 0.5
"""Most seconds' worth of messages that are sent at once after a time in which none could be sent."""

# nextValidId comes last: it makes the connection ready, and no other message may be on its way then.
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
    """Endless frames from a repeated block, with the counts and the checksum for the receiver's check."""

    def __init__(self, acceptor: Acceptor, block: Sequence[Message]) -> None:
        assert acceptor.dialect
        self.frames = [acceptor.dialect.put(name, data) for name, data in block]
        self._names = [name for name, _ in block]
        self._next = 0

    def take(self, count: int) -> list[bytes]:
        """Take the next `count` frames."""
        frames = self._around(self.frames, count)
        self._next = (self._next + count) % len(self.frames)
        return frames

    def about(self, count: int) -> dict[str, Any]:
        """Return the number of each type in the next `count` frames, and the checksum of their payloads."""
        crc = zlib.crc32(b"".join(frame[4:] for frame in self._around(self.frames, count)))
        return {"types": Counter(self._around(self._names, count)), "crc": crc}

    def _around(self, items: list[T], count: int) -> list[T]:
        whole = (self._next + count) // len(items) + 1
        return (items * whole)[self._next : self._next + count]


def greet(
    client: socket.socket, version: int, lines: int, others: list[Message] | None = None
) -> tuple[Acceptor, list[int]]:
    """Greet the client and wait for its market data requests. Return the acceptor and the request ids.

    Add the other requests to `others`. Raises ConnectionError if the client goes.
    """
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
            elif others is not None:
                others.append(message)
        client.sendall(acceptor.data_to_send())
    return acceptor, ids


def burst(client: socket.socket, frames: list[bytes]) -> list[int]:
    """Send all frames as fast as possible. Return the time of the first one (ns, monotonic)."""
    data = b"".join(frames)
    began = time.monotonic_ns()
    client.sendall(data)
    return [began]


def paced(client: socket.socket, frames: list[bytes], rate: float, each: int) -> list[int]:
    """Send `each` frames at a time, `rate` frames a second. Return the times of the writes (ns, monotonic).

    Late frames go out at once, each write on its own. The delays of a receiver that does not keep up add up, and so
    show in the latencies.
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


def steady(
    client: socket.socket, load: Load, rate: float, seconds: float, more: Callable[[], bytes] = bytes
) -> tuple[int, float]:
    """Send `rate` messages a second on average, in small bursts. Return the number of messages and the seconds.

    Late messages are made up for, up to `LATE` seconds' worth. A longer delay lowers the rate. Behind each burst go the
    bytes that `more` returns.
    """
    each = max(1, int(rate * BURST))
    began = due = time.monotonic()
    sent = 0
    while (now := time.monotonic()) < began + seconds:
        if now < due:
            time.sleep(due - now)
        client.sendall(b"".join(load.take(each)) + more())
        sent += each
        due = max(due + each / rate, now - LATE)
    return sent, time.monotonic() - began


class Drain(Thread):
    """Thread that reads and drops the messages of the client while the client is fed, as a TWS would read them."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__(daemon=True)
        self._client = client

    def run(self) -> None:
        """Read until the client goes."""
        with contextlib.suppress(OSError):
            while self._client.recv(65536):
                pass


def obey(client: socket.socket, load: Load, told: dict[str, Any]) -> dict[str, Any]:
    """Execute one order of the parent. Return what was sent."""
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
        while True:  # the connection must stay until the parent has finished measuring
            told = hear(patience=None)
            try:
                say(**obey(client, load, told))
            except ConnectionError:  # the parent has ended the other side
                return


if __name__ == "__main__":
    main()
