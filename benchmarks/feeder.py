"""A TWS that says prebuilt frames: as fast as they are taken, or so many a second. Made and ended by `trial`.

It greets with the codec's `Acceptor` and waits until all market data lines are asked for, so that its ticks belong to
subscriptions that the other side made, under the ids it chose. Then it waits for the word to begin.
"""

from __future__ import annotations

import argparse
import socket
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from child import PATIENCE, hear, say
from ticks import ticks

from ibbridge.codec import Acceptor, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK = 20_000
"""Different frames; a longer burst repeats them."""

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


@dataclass
class Load:
    """Frames, and what a receiver can check them by."""

    frames: list[bytes]
    types: Counter[str]
    crc: int

    @classmethod
    def of(cls, acceptor: Acceptor, ids: Sequence[int], count: int) -> Load:
        """`count` ticks for the requests `ids`, as this connection has them."""
        assert acceptor.dialect
        put = acceptor.dialect.put
        block = list(ticks(ids, min(count, BLOCK)))
        whole, rest = divmod(count, len(block))
        frames = [put(name, data) for name, data in block]
        frames = frames * whole + frames[:rest]
        names = Counter(name for name, _ in block)
        types = Counter({name: number * whole for name, number in names.items()})
        types.update(name for name, _ in block[:rest])
        return cls(frames, types, zlib.crc32(b"".join(frame[4:] for frame in frames)))


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


def paced(client: socket.socket, frames: list[bytes], rate: float) -> list[int]:
    """One frame after the other, `rate` in a second. When each was sent (ns, monotonic).

    Frames that are late go out at once, each in a write of its own. A receiver that does not keep up shows, since what
    it is late by adds up.
    """
    stamps = []
    now = time.monotonic_ns
    began = now()
    for number, frame in enumerate(frames):
        due = began + int(number * 1e9 / rate)
        while (left := due - now()) > 0:
            time.sleep(left / 1e9)
        stamps.append(now())
        client.sendall(frame)
    return stamps


def main() -> None:
    """Serve one client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", type=int, required=True, help="server version")
    parser.add_argument("--lines", type=int, required=True, help="market data requests to wait for")
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0, help="messages a second; 0 for as fast as possible")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        say(port=server.getsockname()[1])
        client, _ = server.accept()
    with client:
        client.settimeout(PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        acceptor, ids = greet(client, options.version, options.lines)
        load = Load.of(acceptor, ids, options.messages)
        say(version=acceptor.version, bytes=sum(map(len, load.frames)) / len(load.frames))
        hear()
        stamps = paced(client, load.frames, options.rate) if options.rate else burst(client, load.frames)
        sent: dict[str, Any] = {"stamps": stamps, "types": load.types, "crc": load.crc}
        say(**sent)
        hear()  # the connection stays until everything is measured


if __name__ == "__main__":
    main()
