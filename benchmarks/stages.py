"""Profile of the daemon's hot path by stages, in one process: each measurement adds one stage.

Frames pass in chunks, as the gateway reads them, through the daemon's own objects to a subscriber in another process.
The cost of a stage is the cost of the path with the stage less the cost of the path before. So the output shows the
cost of sequence numbers, state, ring and store. Times are CPU of this thread, and the fastest of several rounds counts,
so that other load shows little. The event loop and the read from the socket are left out.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from expected_messages import BLOCK, CLASSES, DURABLE, mix
from harness import CHUNK, LINES, SNDHWM, child, disk, free_ports, numbers, positive
from processes import InvalidError, end_cleanly
from ticks import contract

from ibbridge.codec import Dialect
from ibbridge.codec.framing import FrameBuffer
from ibbridge.codec.messages import REQUESTS
from ibbridge.config.loader import load
from ibbridge.daemon import Daemon
from ibbridge.inbound.publication_plan import PASSED_ON
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.requests.request import ActiveRequest
from ibbridge.storage.event_store import EventStore
from ibbridge.streams.history import MessageHistory
from ibbridge.streams.replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibbridge.requests.tracker import RequestTracker


class _NoRing(ReplayBuffer):
    """Ring that keeps nothing."""

    def extend(self, frames: list[bytes]) -> None:
        """Forget the frames."""


class Part:
    """Streams and router with some parts of a daemon, and without subscribers."""

    def __init__(self, *, state: bool = False, ring: bool = False, store: EventStore | None = None) -> None:
        config = load()
        history = MessageHistory(config.ring.messages, config.ring.bytes, store)
        if not ring:
            history.ring = _NoRing(1, 1)
        parts = Daemon(config).parts
        self.streams, self.router = parts.streams.publisher, parts.inbound.router
        self.streams._history, self.streams._send = history, lambda _: None  # noqa: SLF001 - a daemon has all of it
        if store:
            self.streams.restore(store.last(), ())
        ask(parts.requests.tracker)
        if not state:
            for plan in self.router._plans.values():  # noqa: SLF001 - a daemon always keeps state
                plan.identity = None


class Path:
    """Path of a message through the daemon, up to each stage."""

    def __init__(self, daemon: Daemon, version: int, store: EventStore, durable: float) -> None:
        server = Dialect.server(version)
        data = b"".join(server.put(*each) for each in mix(range(1, LINES + 1), BLOCK, durable))
        self.chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
        self.daemon = daemon
        self.dialect = Dialect.client(version, PASSED_ON)
        self.store = store

    def stages(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield the name of each stage, and the path up to that stage."""
        yield "split into frames", self._split
        yield "decode and pack", self._decode
        yield "route, number, envelope", self._through(Part())
        yield "state", self._through(Part(state=True))
        yield "ring", self._through(Part(state=True, ring=True))
        yield _STORE, self._through(Part(state=True, ring=True, store=self.store))
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

    def _through(self, part: Part) -> Callable[[], None]:
        streams, router = part.streams, part.router

        def other(message: Any, ts: int) -> None:
            if type(message) is tuple:
                router.pass_on(message, ts)
            else:
                router.publish(message.name, message.data, ts)

        def way() -> None:
            frames = FrameBuffer()
            for chunk in self.chunks:
                streams.begin_batch()
                streams.publish_all(map(self.dialect.read_packed, frames.feed(chunk)), 1, router.usual, other)
                streams.flush()

        return way

    def _deliver(self) -> None:
        frames = FrameBuffer()
        for chunk in self.chunks:
            self.daemon.parts.dispatcher.deliver(map(self.dialect.read_packed, frames.feed(chunk)), 1)


_STORE = "store"


def ask(tracker: RequestTracker) -> None:
    """Open the requests for all market data."""
    for line in range(LINES):
        place = _always("md", instrument_key(contract(line)))
        tracker.open(ActiveRequest(REQUESTS["reqMktData"], "benchmark", line, {}, place, None, req_id=line + 1))


def opened(children: ExitStack) -> tuple[EventStore, pathlib.Path]:
    """Open a store on a disk. Return the store, and a place for another. Both are deleted when `children` end."""
    place = pathlib.Path(children.enter_context(disk()))
    store = EventStore(place / "apart", days=1)
    store.open(1)
    children.callback(store.close)
    return store, place / "daemon"


def bridge(children: ExitStack, place: pathlib.Path) -> Daemon:
    """Make a daemon without TWS and event loop, with all market data requested and one subscriber."""
    pub, rep = (f"tcp://127.0.0.1:{port}" for port in free_ports())
    settings = {"bus.pub": pub, "bus.rep": rep, "bus.sndhwm": SNDHWM, "store.path": place}
    daemon = Daemon(load(None, [f"{key}={value}" for key, value in settings.items()]))
    daemon.store.open(1)
    children.callback(daemon.store.close)
    daemon.parts.bus.open()
    children.callback(daemon.parts.bus.close)
    ask(daemon.parts.requests.tracker)
    prefixes = [f"{each}." for each in CLASSES]
    sink = children.enter_context(child("subscriber_load", pub, *prefixes))
    late = time.monotonic() + 10
    while not sink.said():
        daemon.parts.bus.turn()
        time.sleep(0.01)
        if time.monotonic() > late:
            raise InvalidError("the subscriber does not come")
    return daemon


def _always(*components: str) -> Callable[[str], tuple[str, ...]]:
    return lambda _: components


def timed(way: Callable[[], None]) -> tuple[float, float]:
    """Return the CPU time for a message in µs: of this thread, and of ZeroMQ's threads meanwhile."""
    thread, process = time.thread_time(), time.process_time()
    way()
    thread, process = time.thread_time() - thread, time.process_time() - process
    time.sleep(0.02)  # the subscriber catches up
    return thread / BLOCK * 1e6, (process - thread) / BLOCK * 1e6


def show(stages: list[tuple[str, Callable[[], None]]], version: int, rounds: int, durable: float) -> None:
    """Measure all stages at one version in turns, and print their costs."""
    results = [[timed(way) for _, way in stages] for _ in range(rounds)]
    fastest = [min(result[number][0] for result in results) for number in range(len(stages))]
    others = min(result[-1][1] for result in results)
    print(f"\nserver version {version}, {durable:.1%} of it durable: µs for a message, and the share")
    for (name, _), so_far, before in zip(stages, fastest, [0.0, *fastest], strict=False):
        cost = so_far - before
        each = f", {cost / durable:.0f} µs for a durable one" if name == _STORE and durable else ""
        print(f"  {cost:5.2f}  {cost / fastest[-1]:4.0%}  {name}{each}")
    print(f"  {fastest[-1]:5.2f}        in all; beside it ZeroMQ's own thread, {others:.2f}")


def main() -> int:
    """Measure and print. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=30, help="of which the fastest counts (default %(default)s)")
    parser.add_argument("--versions", type=numbers, default="178,226", help="server versions (default %(default)s)")
    parser.add_argument("--durable", type=float, default=DURABLE, help="share of such messages (default %(default)s)")
    options = parser.parse_args()
    end_cleanly()
    with ExitStack() as children:
        store, place = opened(children)
        daemon = bridge(children, place)
        for version in options.versions:
            stages = list(Path(daemon, version, store, options.durable).stages())
            show(stages, version, options.rounds, options.durable)
    return 0


if __name__ == "__main__":
    sys.exit(main())
