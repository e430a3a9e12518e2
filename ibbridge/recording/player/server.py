"""Recordings on a TCP port: each client that connects gets the next recorded connection, at its pace or faster.

What TWS said goes out in its order. Before what was said after a recorded request the client must have sent that
request too, or a while must have passed: so answers never come before their questions, however fast it goes. Sockets
and a clock around `Performance`, which says what a request means.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING

from ibbridge.codec import Acceptor, FramingError, HandshakeError, Message, Undecodable, frame
from ibbridge.recording.player.session import Performance
from ibbridge.tcp_server import Listener

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibbridge.recording.player.script import Part, Score

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds to wait for a request that was recorded."""

_CHUNK = 65_536

_clock, _sleep = time.monotonic, asyncio.sleep


class Playback(Listener):
    """A gateway that plays a score.

    `speed` is how many recorded seconds pass in one, infinity for as fast as the client takes it, and `begin` (µs since
    1970 UTC) where that speed begins: what is before goes as fast as it can. `patience` are seconds.
    """

    def __init__(
        self,
        score: Score,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        speed: float = 1.0,
        begin: int = 0,
        patience: float = PATIENCE,
        stay: bool = True,
    ) -> None:
        super().__init__(host, port)
        self.over = asyncio.Event()
        """Set once every connection has been played to its end, or left by its client."""
        self._patience = patience
        self._stay = stay
        self._speed = speed
        self._begin = begin
        self._score = score
        self._to_come = list(score.parts)
        self._left = len(score.parts)
        self._orders: dict[int | None, dict[int, int]] = {}  # by client id: what became of its order ids

    # -- connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self._to_come:
                log.warning("a client is sent away: every connection has been played; start again to play them again")
                return
            part = self._to_come[0]
            greeted = await _greeted(reader, writer, part)
            if greeted is not None and self._to_come[:1] == [part]:  # nobody else has taken it meanwhile
                del self._to_come[0]
                await self._perform(part, reader, writer, *greeted)
        except (FramingError, HandshakeError) as error:
            log.warning("a client is sent away: %s", error)
        except ConnectionError:
            pass  # gone without a goodbye, which is how clients go
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
        stage = _Stage(part, Performance(part, orders), writer, self._speed, self._begin)
        stage.heard(requests)
        try:
            async with asyncio.TaskGroup() as tasks:
                playing = tasks.create_task(self._play(stage))
                await _hear(stage, reader, acceptor)
                playing.cancel()
        finally:
            self._left -= 1
            if not self._left:
                self.over.set()

    async def _play(self, stage: _Stage) -> None:
        """All that was recorded of one connection, and its end. The last one stays open, unless told otherwise."""
        with contextlib.suppress(ConnectionError):
            await stage.play(self._score, self._patience)
        last = not self._to_come
        log.info("a connection has been played to its end%s", "" if last else "; the client may connect to the next")
        if not (last and self._stay):
            stage.writer.close()


async def _greeted(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, part: Part
) -> tuple[Acceptor, list[Message | Undecodable]] | None:
    """A client that has offered the recorded version and started the API, with what it has asked; None if it has gone.

    Nothing is taken by whoever only looks whether somebody answers.
    """
    acceptor = Acceptor(newest=part.version, oldest=part.version)
    while data := await reader.read(_CHUNK):
        try:
            requests = list(acceptor.receive_data(data))
        except HandshakeError as error:
            raise HandshakeError(
                f"the recording is of server version {part.version}, and there is {error}; let it offer that version "
                "(ibbridge: tws.max_version)"
            ) from None
        if acceptor.data_to_send():
            writer.write(frame(part.greeting))  # as it was recorded, and not as it would be said now
        if requests:
            return acceptor, requests
    return None


async def _hear(stage: _Stage, reader: asyncio.StreamReader, acceptor: Acceptor) -> None:
    """What the client asks, until it leaves."""
    try:
        while data := await reader.read(_CHUNK):
            stage.heard(acceptor.receive_data(data))
    except FramingError as error:
        log.warning("a connection is closed: %s", error)
    except ConnectionError:
        pass  # gone without a goodbye, which is how clients go


class _Stage:
    """One client, and the recorded connection that is played to it."""

    def __init__(
        self, part: Part, performance: Performance, writer: asyncio.StreamWriter, speed: float, begin: int
    ) -> None:
        self.writer = writer
        self._part = part
        self._performance = performance
        self._speed = speed
        self._begin = begin
        self._ts = 0  # where the recording is now
        self._zero: float | None = None  # the loop's time at which the recorded time 0 would have been
        self._news = asyncio.Event()

    def heard(self, requests: Iterable[Message | Undecodable]) -> None:
        """What the client asks."""
        for request in requests:
            answer = self._performance.asked(request, self._ts)
            if answer.remark:
                log.warning("%s", answer.remark)
            self.writer.write(answer.data)
        self._news.set()

    async def play(self, score: Score, patience: float) -> None:
        """All steps, each when it is its turn and its time."""
        index, out = 0, bytearray()
        for step in score.steps(self._part):
            if len(out) >= _CHUNK or (out and (step.payload is None or self._wait(step.ts) > 0)):
                self.writer.write(bytes(out))
                out.clear()
                await self.writer.drain()
                await asyncio.sleep(0)  # a client that takes everything at once must be heard, too
            if step.payload is None:
                await self._reach(index, step.ts, patience)
                index += 1
            else:
                if (wait := self._wait(step.ts)) > 0:
                    await _sleep(wait)
                out += self._performance.said(step.payload) or b""
            self._ts = step.ts
        self.writer.write(bytes(out))
        await self.writer.drain()

    async def _reach(self, index: int, ts: int, patience: float) -> None:
        """Wait for a recorded request, or long enough. What was said after it comes as much later as it does."""
        starts = index == 0  # START_API, without which there is nothing
        try:
            async with asyncio.timeout(None if starts else max(0.0, self._wait(ts)) + patience):
                while not self._performance.has(index):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            log.warning(
                "a recorded request has not come for %g s and is passed over, with what TWS said to it: %s", patience,
                self._part.requests[index].request,
            )  # fmt: skip
        self._performance.reached(index)
        if (late := -self._wait(ts)) > 0 and self._zero is not None:
            self._zero += late

    def _wait(self, ts: int) -> float:
        """Seconds until it is time for what was recorded at `ts`; below zero if it is late."""
        if ts < self._begin or math.isinf(self._speed):
            return 0.0
        now, played = _clock(), ts / 1e6 / self._speed
        if self._zero is None:
            self._zero = now - played
        return self._zero + played - now
