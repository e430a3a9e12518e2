"""Recording proxy between any client of IB's API and TWS: bytes pass through unchanged, both ways.

A slow side holds up the other side, as on a direct connection. Ends of one direction and resets pass through, too. This
module knows sockets, and must not know the meaning of the bytes. If the recording fails, `writer` reports the failure,
and the connection stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from typing import TYPE_CHECKING

from ibbridge.tcp_server import TcpServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.recording.writer import Recorder

log = logging.getLogger(__name__)

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all: closing sends RST


class RecordingProxy(TcpServer):
    """Proxy server that connects each client to the TWS at `host` and `port`. `listen` is its port on 127.0.0.1."""

    def __init__(self, recorder: Recorder, host: str, port: int, listen: int = 0) -> None:
        super().__init__("127.0.0.1", listen)
        self._recorder = recorder
        self._tws = (host, port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_tws, tws = await asyncio.open_connection(*self._tws)
        except OSError as error:
            log.warning("TWS at %s:%d: %s; client rejected", *self._tws, error)
            _reset(writer)
            return
        self._writers.add(tws)
        await self._join(reader, writer, from_tws, tws)
        self._writers.discard(tws)

    async def _join(
        self,
        from_client: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        from_tws: asyncio.StreamReader,
        tws: asyncio.StreamWriter,
    ) -> None:
        tape = self._recorder.opened(host=self._tws[0], port=self._tws[1])
        log.info("client connected to TWS at %s:%d", *self._tws)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(from_client, tws, tape.outbound))
                both.create_task(_pass_on(from_tws, client, tape.inbound))
        except* OSError as errors:
            why = str(errors.exceptions[0])
            _reset(client)
            _reset(tws)
        else:
            why = "both sides had ended"
            client.close()
            tws.close()
        tape.closed(why)
        log.info("client's connection to TWS ended: %s", why)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], None]) -> None:
    """Copy one direction up to its end, and then end it on the other side. Wait while the other side is blocked."""
    while data := await reader.read(_CHUNK):
        note(data)
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection, as after a refusal or a reset on the other side."""
    with contextlib.suppress(OSError):  # the connection has ended already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
