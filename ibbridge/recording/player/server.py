"""TCP server that plays recordings: each client gets the next recorded connection, at the recorded pace or faster.

The recorded messages of TWS are sent in their order. A message recorded after a request is sent only after the client
has sent that request, too, or after a timeout. So a response never comes before its request, at any speed. This module
has the sockets and the clock; `PlayerSession` interprets the requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ibbridge.codec import Acceptor, FramingError, HandshakeError, Message, Undecodable, frame
from ibbridge.recording.player.session import PlayerSession
from ibbridge.tcp_server import TcpServer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibbridge.recording.player.script import Part, Script

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds to wait for a recorded request."""

_CHUNK = 65_536

_clock, _sleep = time.monotonic, asyncio.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Playback:
    """Pace of a playback, and its end."""

    speed: float = 1.0
    """Recorded seconds that pass in one second; infinity is as fast as the client reads."""
    begin: int = 0
    """Recorded time (µs since 1970 UTC) before which everything is played as fast as possible."""
    patience: float = PATIENCE
    """Seconds to wait for a recorded request."""
    stay: bool = True
    """Keeps the last connection open at its end."""


AS_RECORDED = Playback()
"""Playback at the recorded pace."""


class Player(TcpServer):
    """TCP server that plays the connections of a script of recordings."""

    def __init__(
        self, script: Script, playback: Playback = AS_RECORDED, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__(host, port)
        self.over = asyncio.Event()
        """Event that is set once every connection has been played to its end, or left by its client."""
        self._script = script
        self._playback = playback
        self._to_come = list(script.parts)
        self._left = len(script.parts)
        self._orders: dict[int | None, dict[int, int]] = {}  # by client id: its order ids and the recorded ones

    # -- connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self._to_come:
                log.warning("client rejected: every connection has been played; restart to play them again")
                return
            part = self._to_come[0]
            greeted = await _greeted(reader, writer, part)
            if greeted is not None and self._to_come[:1] == [part]:  # no other client has taken it meanwhile
                del self._to_come[0]
                await self._perform(part, reader, writer, *greeted)
        except (FramingError, HandshakeError) as error:
            log.warning("client rejected: %s", error)
        except ConnectionError:
            pass  # clients usually leave by a reset
        finally:
            writer.close()

    async def _perform(
        self,
        part: Part,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        acceptor: Acceptor,
        requests: list[Message | Undecodable],
    ) -> None:
        orders = self._orders.setdefault(part.client, {})
        connection = _PlayedConnection(part, PlayerSession(part, orders), writer, self._playback)
        connection.heard(requests)
        try:
            async with asyncio.TaskGroup() as tasks:
                playing = tasks.create_task(self._play(connection))
                await _hear(connection, reader, acceptor)
                playing.cancel()
        finally:
            self._left -= 1
            if not self._left:
                self.over.set()

    async def _play(self, connection: _PlayedConnection) -> None:
        """Play one connection to its end, and close it; but keep the last connection open if `stay` is set."""
        with contextlib.suppress(ConnectionError):
            await connection.play(self._script)
        last = not self._to_come
        log.info("connection played to its end%s", "" if last else "; the next client gets the next connection")
        if not (last and self._playback.stay):
            connection.writer.close()


async def _greeted(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, part: Part
) -> tuple[Acceptor, list[Message | Undecodable]] | None:
    """Return the handshake state and the first requests of a client that offers the recorded version; None if it left.

    A client that leaves before its first request, such as a port check, takes no recorded connection.
    """
    acceptor = Acceptor(newest=part.version, oldest=part.version)
    while data := await reader.read(_CHUNK):
        try:
            requests = list(acceptor.receive_data(data))
        except HandshakeError as error:
            raise HandshakeError(
                f"the recording has server version {part.version}, but: {error}; make the client offer that version "
                "(ibbridge: tws.max_version)"
            ) from None
        if acceptor.data_to_send():
            writer.write(frame(part.greeting))  # the recorded greeting, with its version and time
        if requests:
            return acceptor, requests
    return None


async def _hear(connection: _PlayedConnection, reader: asyncio.StreamReader, acceptor: Acceptor) -> None:
    """Pass on the client's requests until the client leaves."""
    try:
        while data := await reader.read(_CHUNK):
            connection.heard(acceptor.receive_data(data))
    except FramingError as error:
        log.warning("connection closed: %s", error)
    except ConnectionError:
        pass  # clients usually leave by a reset


class _PlayedConnection:
    """Connection of one client, with the recorded connection that is played on it."""

    def __init__(self, part: Part, session: PlayerSession, writer: asyncio.StreamWriter, playback: Playback) -> None:
        self.writer = writer
        self._part = part
        self._session = session
        self._playback = playback
        self._ts = 0  # recorded time of the last step played
        self._zero: float | None = None  # the loop's time at which the recorded time 0 would have been
        self._news = asyncio.Event()

    def heard(self, requests: Iterable[Message | Undecodable]) -> None:
        """Process requests of the client, and send the immediate responses."""
        for request in requests:
            answer = self._session.asked(request, self._ts)
            if answer.remark:
                log.warning("%s", answer.remark)
            self.writer.write(answer.data)
        self._news.set()

    async def play(self, script: Script) -> None:
        """Play all steps in order, each at its time."""
        index, out = 0, bytearray()
        for step in script.steps(self._part):
            if len(out) >= _CHUNK or (out and (step.payload is None or self._wait(step.ts) > 0)):
                self.writer.write(bytes(out))
                out.clear()
                await self.writer.drain()
                await asyncio.sleep(0)  # let the client's requests be read even if it never blocks us
            if step.payload is None:
                await self._reach(index, step.ts)
                index += 1
            else:
                if (wait := self._wait(step.ts)) > 0:
                    await _sleep(wait)
                out += self._session.said(step.payload) or b""
            self._ts = step.ts
        self.writer.write(bytes(out))
        await self.writer.drain()

    async def _reach(self, index: int, ts: int) -> None:
        """Wait for a recorded request until the timeout. If the request is late, all later steps are late as much."""
        patience = self._playback.patience
        starts = index == 0  # START_API: without it nothing is played, so there is no timeout
        try:
            async with asyncio.timeout(None if starts else max(0.0, self._wait(ts)) + patience):
                while not self._session.has(index):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            log.warning(
                "a recorded request did not come within %g s; its responses are left out: %s", patience,
                self._part.requests[index].request,
            )  # fmt: skip
        self._session.reached(index)
        if (late := -self._wait(ts)) > 0 and self._zero is not None:
            self._zero += late

    def _wait(self, ts: int) -> float:
        """Return the seconds until the step recorded at `ts` is due; below zero if it is late."""
        if ts < self._playback.begin or math.isinf(self._playback.speed):
            return 0.0
        now, played = _clock(), ts / 1e6 / self._playback.speed
        if self._zero is None:
            self._zero = now - played
        return self._zero + played - now
