"""Raw relay, the yardstick: splits TWS's bytes into frames and forwards the frames. Started and ended by `harness`.

The relay does the least that a bridge in Python can do, in the daemon's way: a `BufferedProtocol` with the same chunk,
a plain XPUB written at once through the compiled socket, the same queue for slow subscribers. There is no decoding, no
topics, no sequence numbers, no state, and no function call but the necessary. The relay shares only the greeting with
the daemon's code.
"""

from __future__ import annotations

import argparse
import asyncio

import zmq
import zmq.backend
from ticks import contract

from ibbridge.codec import Connection
from ibbridge.codec.connection import HandshakeState

TOPIC = b"md.AAPL-STK-SMART-USD.tickPrice."
_FIRST = int(zmq.SNDMORE | zmq.NOBLOCK)
_LAST = int(zmq.NOBLOCK)


class Relay(asyncio.BufferedProtocol):
    """Protocol that greets TWS, requests market data as the daemon does, and then forwards frames."""

    def __init__(self, pub: zmq.Socket[bytes], chunk: int, lines: int) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put = zmq.backend.Socket.send.__get__(pub)
        self._buffer = memoryview(bytearray(chunk))
        self._rest = b""
        self._connection = Connection(1)
        self._forwarding = False
        self._lines = lines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._connection.data_to_send())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Split the bytes read into frames, and forward the complete ones."""
        if not self._forwarding:
            self._greet(bytes(self._buffer[:nbytes]))
            return
        put, from_bytes = self._put, int.from_bytes
        data = self._rest + self._buffer[:nbytes]
        start, end = 0, len(data)
        while end - start >= 4:
            body = start + 4
            stop = body + from_bytes(data[start:body], "big")
            if stop > end:
                break
            put(TOPIC, _FIRST)
            put(data[body:stop], _LAST)
            start = stop
        self._rest = data[start:]

    def connection_lost(self, exc: Exception | None) -> None:
        """End the relay: the feeder has gone."""
        self.over.set_result(None)

    def _greet(self, data: bytes) -> None:
        connection = self._connection
        for _ in connection.receive_data(data):
            self._transport.write(connection.data_to_send())
        if connection.state is HandshakeState.READY and connection.dialect:
            for line in range(self._lines):
                asked = {"reqId": line + 1, "contract": contract(line)}
                self._transport.write(connection.dialect.write("reqMktData", asked))
            self._forwarding = True


def welcome(pub: zmq.Socket[bytes]) -> None:
    """Confirm subscriptions, as the daemon does."""
    while int(pub.get(zmq.EVENTS)) & zmq.POLLIN:
        frame = pub.recv()
        if frame[:1] == b"\x01":
            pub.send_multipart([frame[1:], b"welcome"])


async def relay(port: int, pub: zmq.Socket[bytes], chunk: int, lines: int) -> None:
    """Forward until the feeder is gone."""
    loop = asyncio.get_running_loop()
    loop.add_reader(pub.FD, welcome, pub)
    loop.call_soon(welcome, pub)
    _, protocol = await loop.create_connection(lambda: Relay(pub, chunk, lines), "127.0.0.1", port)
    await protocol.over
    loop.remove_reader(pub.FD)


def main() -> None:
    """Open the socket and relay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pub", required=True)
    parser.add_argument("--chunk", type=int, required=True)
    parser.add_argument("--sndhwm", type=int, required=True)
    parser.add_argument("--lines", type=int, required=True)
    options = parser.parse_args()
    with zmq.Context() as context, context.socket(zmq.XPUB) as pub:
        pub.set(zmq.SNDHWM, options.sndhwm)
        pub.set(zmq.LINGER, 0)
        pub.bind(options.pub)
        asyncio.run(relay(options.port, pub, options.chunk, options.lines))


if __name__ == "__main__":
    main()
