"""An event loop whose time jumps to whatever is next, and TCP in memory: days of a daemon's life in seconds.

What is tested is the real thing, shell and all: it opens connections and servers on this loop as on any other. Only
names of hosts are not resolved, and a socket has no buffer but the other side's: what is written is there at once, but
for a side that does not read.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ROOM = 256 * 1024
"""Bytes that the kernel would take for a side that does not read, before they pile up at the writer's."""


class Idle(Exception):  # noqa: N818 - said by the world, not by what is tested
    """Nothing will ever happen any more."""


class _Jump(selectors.DefaultSelector):
    """Instead of waiting, it is later."""

    loop: Loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise Idle
        if not ready and timeout is not None:
            self.loop.now += max(0.0, timeout)
        return ready


class Loop(asyncio.SelectorEventLoop):
    """Time begins at `now`; connections are made to servers of the same loop."""

    def __init__(self, now: float = 1000.0) -> None:
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)
        self.now = now
        self._clock_resolution = 1e-6  # after days a double has no room for the real one
        self.listening: dict[int, Server] = {}
        self.raised: list[dict[str, Any]] = []
        """What callbacks raised, which nobody else would hear of."""
        self.set_exception_handler(lambda _, context: self.raised.append(context))
        self.tried: list[tuple[float, int]] = []
        """When somebody tried to connect, and to which port."""

    def time(self) -> float:
        return self.now

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        return [(2, 1, 6, "", (host, port))]

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        self.tried.append((self.now, port))
        await asyncio.sleep(0.0005)
        server = self.listening.get(port)
        if server is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")
        ours, theirs = _pair(self)
        protocol = protocol_factory()
        theirs.begin(server.factory())
        ours.begin(protocol)
        made = self.create_future()
        self.call_soon(made.set_result, None)  # behind the protocol's connection_made, as asyncio has it
        await made
        return ours, protocol

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        port = port or next(each for each in range(40_000, 65_536) if each not in self.listening)
        if port in self.listening:
            raise OSError(errno.EADDRINUSE, "address already in use")
        self.listening[port] = server = Server(self, protocol_factory, port)
        return server


class Server:
    """Server that listens on a port of the loop."""

    def __init__(self, loop: Loop, factory: Callable[[], Any], port: int) -> None:
        self.factory = factory
        self._loop = loop
        self._port = port
        self.sockets = [self]

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def close(self) -> None:
        if self._loop.listening.get(self._port) is self:
            del self._loop.listening[self._port]

    async def wait_closed(self) -> None:
        return

    def is_serving(self) -> bool:
        return self._loop.listening.get(self._port) is self


class _Socket:
    """Takes all options."""

    def setsockopt(self, *_: Any) -> None:
        return


class Pipe(asyncio.Transport):
    """Transport at one end of a connection."""

    other: Pipe

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop
        self._protocol: Any = None
        self._arrived: deque[bytes] = deque()  # what the other side has sent, and we have not read
        self._unread = 0
        self._backlog = bytearray()  # what we have written, and there is no room for
        self._reading = True
        self._closing = False
        self._gone = False  # no byte goes out any more
        self._ended = False  # the other side has closed its end
        self._lost = False
        self._planned = False
        self._paused = False
        self._most = 64 * 1024
        self._frozen = False

    def freeze(self) -> None:
        """Nothing gets through any more, either way, nor that this end is closed; until it thaws."""
        for end in (self, self.other):
            end._frozen = True

    def thaw(self) -> None:
        for end in (self, self.other):
            end._frozen = False
            end._plan()
            end._push()

    def begin(self, protocol: Any) -> None:
        self._protocol = protocol
        self._loop.call_soon(protocol.connection_made, self)
        self._plan()

    # -- what protocols ask

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": _Socket(), "peername": ("127.0.0.1", 1)}.get(name, default)

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._plan()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._most = 64 * 1024 if high is None else high

    def get_write_buffer_size(self) -> int:
        return len(self._backlog)

    def can_write_eof(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        if self._closing or not data:
            return
        self._backlog += data
        self._push()
        if len(self._backlog) > self._most and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def close(self) -> None:
        """Close the connection after everything written has gone out."""
        if not self._closing:
            self._closing = True
            self._push()

    def abort(self) -> None:
        self._closing = True
        self._backlog.clear()
        self._finish(None)

    # -- bytes

    def _push(self) -> None:
        """Pass as much of the backlog to the other side as it has room for."""
        other = self.other
        if other._lost and self._backlog:
            self._backlog.clear()
            self._finish(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
            return
        room = ROOM - other._unread
        if self._backlog and room > 0:
            data = bytes(self._backlog[:room])
            del self._backlog[:room]
            other._arrived.append(data)
            other._unread += len(data)
            other._plan()
        if self._paused and not self._backlog:
            self._paused = False
            self._protocol.resume_writing()
        if self._closing and not self._backlog:
            self._finish(None)

    def _finish(self, error: OSError | None) -> None:
        """Our end is closed."""
        if self._gone:
            return
        self._gone = self._closing = True
        self.other._ended = True
        self.other._plan()
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: OSError | None) -> None:
        if not self._lost:
            self._lost = True
            self._arrived.clear()
            self._protocol.connection_lost(error)

    def _plan(self) -> None:
        if not self._planned and self._protocol is not None:
            self._planned = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._planned = False
        if not self._reading or self._closing or self._frozen:
            return
        if self._arrived:
            self._deliver()
            self._plan()
        elif self._ended:
            self._ended = False
            if not self._protocol.eof_received():
                self.close()

    def _deliver(self) -> None:
        data = self._arrived.popleft()
        if isinstance(self._protocol, asyncio.BufferedProtocol):
            buffer = self._protocol.get_buffer(-1)
            assert isinstance(buffer, memoryview)
            taken = min(len(buffer), len(data))
            buffer[:taken] = data[:taken]
            if taken < len(data):
                self._arrived.appendleft(data[taken:])
            self._unread -= taken
            self.other._push()
            self._protocol.buffer_updated(taken)
        else:
            self._unread -= len(data)
            self.other._push()
            self._protocol.data_received(data)


def _pair(loop: Loop) -> tuple[Pipe, Pipe]:
    one, other = Pipe(loop), Pipe(loop)
    one.other, other.other = other, one
    return one, other


def run(main: Callable[[Loop], Coroutine[Any, Any, Any]], now: float = 1000.0) -> Any:
    """Run it to its end, on a loop of its own; whatever it left behind is cancelled."""
    loop = Loop(now)
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main(loop))
        assert not loop.raised, loop.raised
        return result
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
