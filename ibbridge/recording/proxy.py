"""A line between any client of IB's API and a TWS, recorded: bytes pass through as they come, both ways.

Whoever is slow holds up the other side, as if there were nothing between them; ends, halves of them and resets pass
through, too. Knows sockets, and nothing of what the bytes mean. That the recording fails is for `writer` to say;
the line stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from typing import TYPE_CHECKING

from ibbridge.tcp_server import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.recording.writer import Recorder

log = logging.getLogger(__name__)

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all: closing sends RST


class Tap(Listener):
    """Connects each client to the TWS at `host` and `port`. `listen` is the port for clients: only of this machine."""

    def __init__(self, recorder: Recorder, host: str, port: int, listen: int = 0) -> None:
        super().__init__("127.0.0.1", listen)
        self._recorder = recorder
        self._tws = (host, port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_tws, tws = await asyncio.open_connection(*self._tws)
        except OSError as error:
            log.warning("TWS at %s:%d: %s; the client is sent away", *self._tws, error)
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
        log.info("a client is connected to TWS at %s:%d", *self._tws)
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
        log.info("a client's connection to TWS is over: %s", why)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], None]) -> None:
    """One direction, up to its end, which is passed on, too. Waits while the other side takes nothing."""
    while data := await reader.read(_CHUNK):
        note(data)
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as one that was refused, or was reset on its other side."""
    with contextlib.suppress(OSError):  # it is over already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
