"""Peers that take what they can get of memory and descriptors: each is cut off, and nobody else notices."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from tests.attacks import zmtp
from tests.attacks.bystanders import Bystanders, memory
from tests.integration.rig import Bridge, Market, free_port

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from typing import Self

pytestmark = [pytest.mark.attack, pytest.mark.long]

MOST = 400 * 2**20
"""Bytes by which the daemon may grow while one peer does its worst."""

ENOUGH = 3 * 2**30
"""Bytes after which an attack gives up."""

LIMITED = ("bash", "-c", 'ulimit -n 1024; exec "$@"', "--")


class Peak:
    """The most memory of a process while the block lasts, beyond what it had before."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = memory(pid)
        self.grown = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.grown = max(self.grown, memory(self._pid) - self._before)


@contextlib.contextmanager
def running(transport: str, *within: str, **settings: Any) -> Iterator[tuple[Bridge, Market]]:
    places = {name: f"tcp://127.0.0.1:{free_port()}" for name in ("pub", "rep")} if transport == "tcp" else {}
    with Market() as market, Bridge(market.port, within=within, **places, **settings) as bridge:
        bridge.ready()
        yield bridge, market


def flood(peer: socket.socket, chunks: Iterator[bytes], seconds: float = 20.0) -> int:
    """Send until the daemon closes; how many bytes. Fails if it does not."""
    sent, until = 0, time.monotonic() + seconds
    peer.settimeout(seconds)
    try:
        for chunk in chunks:
            peer.sendall(chunk)
            sent += len(chunk)
            assert sent < ENOUGH, "it takes whatever comes"
            assert time.monotonic() < until, "it was not cut off"
    except ConnectionError:
        return sent
    raise AssertionError("unreachable")


def tiny_frames() -> Iterator[bytes]:
    """A message without end, of frames of a byte: libzmq keeps 64 for each."""
    return itertools.repeat(zmtp.frame(b"x", zmtp.MORE) * 20_000)


def large_frames(size: int) -> Iterator[bytes]:
    return itertools.repeat(zmtp.frame(bytes(size), zmtp.MORE))


def subscriptions() -> Iterator[bytes]:
    for start in itertools.count(0, 1000):
        yield b"".join(zmtp.frame(b"\x01md.%d." % number) for number in range(start, start + 1000))


def long_subscriptions() -> Iterator[bytes]:
    for number in itertools.count():
        yield zmtp.frame(b"\x01" + b"%d" % number + b"x" * 900)


ENDLESS: dict[str, tuple[str, bytes, Callable[[], Iterator[bytes]]]] = {
    "tiny frames for rep": ("rep", b"DEALER", tiny_frames),
    "large frames for rep": ("rep", b"DEALER", lambda: large_frames(2_000_000)),
    "tiny frames for pub": ("pub", b"SUB", tiny_frames),
    "large frames for pub": ("pub", b"SUB", lambda: large_frames(1_000)),
    "subscriptions": ("pub", b"SUB", subscriptions),
    "long subscriptions": ("pub", b"SUB", long_subscriptions),
}


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("attack", ENDLESS)
def test_a_peer_that_sends_without_end_is_cut_off(transport: str, attack: str) -> None:
    port, kind, chunks = ENDLESS[attack]
    with running(transport) as (bridge, _), Bystanders(bridge), Peak(bridge.process.pid) as peak:
        peer = zmtp.handshake(getattr(bridge, port), kind)
        with peer:
            flood(peer, chunks())
    assert peak.grown < MOST, f"{peak.grown / 2**20:.0f} MiB"


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_peer_that_reads_no_reply_is_cut_off_or_read_no_further(transport: str) -> None:
    numbers = itertools.count()

    def requests() -> Iterator[bytes]:
        while True:
            number = next(numbers)
            command = {"id": number, "cmd": "x" * 900_000, "client": "greedy"}
            yield zmtp.frame(b"", zmtp.MORE) + zmtp.frame(msgpack.packb(command))
            for _ in range(200):
                command = {"id": next(numbers), "cmd": "snapshot", "client": "greedy"}
                yield zmtp.frame(b"", zmtp.MORE) + zmtp.frame(msgpack.packb(command))

    with running(transport) as (bridge, _), Bystanders(bridge), Peak(bridge.process.pid) as peak:
        peer = zmtp.handshake(bridge.rep, b"DEALER")
        with peer:
            flood(peer, requests(), 60)
    assert peak.grown < MOST, f"{peak.grown / 2**20:.0f} MiB"


def test_leaked_subscribers_are_refused_and_tws_can_still_be_reached() -> None:
    with running("tcp", *LIMITED) as (bridge, market), contextlib.ExitStack() as stack:
        with Bystanders(bridge, link=False):
            for _ in range(1_100):
                with contextlib.suppress(OSError):
                    leaked = stack.enter_context(zmtp.connect(bridge.pub))
                    leaked.sendall(zmtp.greeting() + zmtp.ready(b"SUB"))
            until = time.monotonic() + 20
            while not (refused := bridge.do("status")["counts"]["refusedPeers"]):
                assert time.monotonic() < until
            for _ in range(3):
                gen = bridge.call("ping")["gen"]
                market.fault(do="drop", bytes=0)
                while bridge.call("ping")["gen"] == gen or bridge.do("status")["tws"]["stage"] != "ready":
                    assert time.monotonic() < until, "TWS is not reached any more"
        assert refused >= 100
        stack.close()
        bridge.sub("sys.")  # there is room again
