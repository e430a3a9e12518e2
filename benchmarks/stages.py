"""Where the daemon's time goes: its hot path in one process, one stage more at a time.

Frames in chunks as the gateway reads them, through the daemon's own objects, to a subscriber in another process. A
stage costs what the path as far as it costs more than the path before. Seconds of CPU of this thread, the fastest of
several rounds: what else the machine does shows little. Left out are the event loop and the read from the socket.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from child import Child, InvalidError, end_cleanly
from ticks import contract, ticks
from trial import CHUNK, LINES, SNDHWM, free_ports, numbers, positive

from ibbridge.codec import Dialect
from ibbridge.codec.framing import FrameBuffer
from ibbridge.codec.messages import REQUESTS
from ibbridge.config import load
from ibbridge.daemon import Daemon
from ibbridge.routing import PASSED_ON, Route
from ibbridge.topics import instrument_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICKS = 20_000

_SINK = """
import sys, zmq
with zmq.Context() as context, context.socket(zmq.SUB) as socket:
    socket.set(zmq.RCVHWM, 0)
    socket.connect(sys.argv[1])
    socket.subscribe(b"md.")
    socket.recv_multipart()
    print("{}", flush=True)
    while True:
        socket.recv()
"""


class Path:
    """The way of a message as far as one stage or the next."""

    def __init__(self, daemon: Daemon, version: int) -> None:
        server = Dialect.server(version)
        data = b"".join(server.put(*tick) for tick in ticks(range(1, LINES + 1), TICKS))
        self.chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
        self.daemon = daemon
        self.dialect = Dialect.client(version, PASSED_ON)

    def stages(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Each way and what its last stage is."""
        yield "split into frames", self._split
        yield "decode and pack", self._decode
        yield "route, number, envelope, state", self._route
        yield "watch, hand to ZeroMQ", self._deliver

    def _split(self) -> None:
        frames = FrameBuffer()
        for chunk in self.chunks:
            for _ in frames.feed(chunk):
                pass

    def _decode(self) -> None:
        frames = FrameBuffer()
        for chunk in self.chunks:
            for _ in map(self.dialect.read_packed, frames.feed(chunk)):
                pass

    def _route(self) -> None:
        frames, publish, streams, bus = FrameBuffer(), self.daemon.router.pass_on, self.daemon.streams, self.daemon.bus
        send, bus.send = bus.send, lambda _topic, _body: None
        for chunk in self.chunks:
            streams.hold()
            for message in map(self.dialect.read_packed, frames.feed(chunk)):
                publish(message, 1)  # type: ignore[arg-type]
            streams.release()
        bus.send = send

    def _deliver(self) -> None:
        frames = FrameBuffer()
        for chunk in self.chunks:
            self.daemon.deliver(map(self.dialect.read_packed, frames.feed(chunk)), 1)


def bridge(children: ExitStack) -> Daemon:
    """A daemon without TWS and without a loop: market data is asked for, and one subscriber listens."""
    pub, rep = (f"tcp://127.0.0.1:{port}" for port in free_ports())
    daemon = Daemon(load(None, [f"bus.pub={pub}", f"bus.rep={rep}", f"bus.sndhwm={SNDHWM}"]))
    daemon.bus.open()
    children.callback(daemon.bus.close)
    for line in range(LINES):
        place = _always("md", instrument_key(contract(line)))
        daemon.router.open(Route(REQUESTS["reqMktData"], "benchmark", line, {}, place, None, req_id=line + 1))
    sink = children.enter_context(Child("sink", [sys.executable, "-c", _SINK, pub]))
    late = time.monotonic() + 10
    while not sink.said():
        daemon.bus.turn()
        time.sleep(0.01)
        if time.monotonic() > late:
            raise InvalidError("the subscriber does not come")
    return daemon


def _always(*components: str) -> Callable[[str], tuple[str, ...]]:
    return lambda _: components


def timed(way: Callable[[], None]) -> tuple[float, float]:
    """µs of this thread for a message, and of ZeroMQ's threads meanwhile."""
    thread, process = time.thread_time(), time.process_time()
    way()
    thread, process = time.thread_time() - thread, time.process_time() - process
    time.sleep(0.02)  # the subscriber catches up
    return thread / TICKS * 1e6, (process - thread) / TICKS * 1e6


def show(daemon: Daemon, version: int, rounds: int) -> None:
    """All stages at one version, in turns."""
    stages = list(Path(daemon, version).stages())
    results = [[timed(way) for _, way in stages] for _ in range(rounds)]
    fastest = [min(result[number][0] for result in results) for number in range(len(stages))]
    others = min(result[-1][1] for result in results)
    print(f"\nserver version {version}, µs for a message")
    for (name, _), so_far, before in zip(stages, fastest, [0.0, *fastest], strict=False):
        print(f"  {so_far - before:5.2f}  {name}")
    print(f"  {fastest[-1]:5.2f}  in all; beside it ZeroMQ's own thread, {others:.2f}")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=30, help="of which the fastest counts (default %(default)s)")
    parser.add_argument("--versions", type=numbers, default="178,226", help="server versions (default %(default)s)")
    options = parser.parse_args()
    end_cleanly()
    with ExitStack() as children:
        daemon = bridge(children)
        for version in options.versions:
            show(daemon, version, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
