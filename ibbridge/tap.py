"""A line between any client of IB's API and a TWS, recorded: bytes pass through as they come, both ways.

Whoever is slow holds up the other side, as if there were nothing between them; ends, halves of them and resets pass
through, too. Knows sockets, and nothing of what the bytes mean. That the recording fails is for `recorder` to say;
the line stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ibbridge.recorder import Recorder

log = logging.getLogger(__name__)

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all: closing sends RST


class Tap:
    """Listens while it is entered (`async with`), and connects each client to the TWS at `host` and `port`.

    `listen` 0 takes a free port; afterwards it says which. Only this machine is let in. Raises `OSError` on entering
    if the port cannot be had.
    """

    def __init__(self, recorder: Recorder, host: str, port: int, listen: int = 0) -> None:
        self.listen = listen
        self._recorder = recorder
        self._host = host
        self._port = port
        self._tasks = asyncio.TaskGroup()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        try:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.listen)
        except OSError:
            await self._tasks.__aexit__(None, None, None)
            raise
        self.listen = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        # What was raised inside goes on as it is, but for the cancellation by which a failed task ended the block.
        cancelled = isinstance(error, asyncio.CancelledError)
        await self._tasks.__aexit__(kind if cancelled else None, error if cancelled else None, trace)
        if self._server is not None:
            await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._tasks.create_task(self._connect(reader, writer))

    async def _connect(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            from_tws, tws = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            log.warning("TWS at %s:%d: %s; the client is sent away", self._host, self._port, error)
            _reset(client)
        else:
            self._writers.add(tws)
            await self._join(reader, client, from_tws, tws)
            self._writers.discard(tws)
        finally:
            self._writers.discard(client)

    async def _join(
        self,
        from_client: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        from_tws: asyncio.StreamReader,
        tws: asyncio.StreamWriter,
    ) -> None:
        tape = self._recorder.opened(host=self._host, port=self._port)
        log.info("a client is connected to TWS at %s:%d", self._host, self._port)
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
