"""A TCP server with a task for each connection, used as a context manager.

The module knows sockets and tasks. It must not know the protocol spoken on them. An exception in one connection ends
the server, so that the code that entered the server sees the bug.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class TcpServer(ABC):
    """TCP server that listens inside `async with`. Port 0 takes a free port; `port` then has its number.

    The task that enters the server must also leave it; leaving aborts all connections. Entering raises `OSError` if the
    port cannot be bound.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._tasks = asyncio.TaskGroup()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end, and close it."""

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        try:
            self._server = await asyncio.start_server(self._accept, self.host, self.port)
        except OSError:
            await self._tasks.__aexit__(None, None, None)
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        # An exception of the block is raised as it is, except the cancellation by which a failed task ended the block.
        cancelled = isinstance(error, asyncio.CancelledError)
        await self._tasks.__aexit__(kind if cancelled else None, error if cancelled else None, trace)
        if self._server is not None:
            await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._tasks.create_task(self._connected(reader, writer))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        finally:
            self._writers.discard(writer)
