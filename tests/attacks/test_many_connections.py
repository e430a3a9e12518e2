"""Ten thousand connections to an endpoint, silent or not: most have to go, and others who come are let in."""

from __future__ import annotations

import contextlib
import resource
import selectors
import shutil
import socket
import tempfile
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgpack
import pytest

from tests.attacks import zmtp
from tests.attacks.bystanders import Bystanders, memory
from tests.integration.rig import Bridge, Market, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.attack

CONNECTIONS = 10_000
MOST = 1_000
"""Connections that the daemon keeps at each endpoint (`bus.max_peers`)."""

GROWN = 200 * 2**20
"""Bytes by which the daemon may grow while they are there."""

PING = zmtp.frame(b"", zmtp.MORE) + zmtp.frame(msgpack.packb({"id": 1, "cmd": "ping", "client": "many"}))
SAID = {
    "nothing": b"",
    "a handshake": zmtp.greeting() + zmtp.ready(b"DEALER"),
    "a command": zmtp.greeting() + zmtp.ready(b"DEALER") + PING,
}


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    """Allow this process so many descriptors, as far as the system does; the daemon has its own limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + 1_000:
        pytest.skip(f"this system allows {hard} descriptors, and the attack needs {CONNECTIONS + 1_000}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def place() -> Iterator[tuple[Bridge, dict[str, str]]]:
    """Run a daemon whose sockets have two endpoints each. The honest use ipc. The endpoints are those for commands."""
    directory = tempfile.mkdtemp(prefix="ib")
    ipc = {name: f"ipc://{directory}/{name}" for name in ("pub", "rep")}
    tcp = {name: f"tcp://127.0.0.1:{free_port()}" for name in ipc}
    both = {f"bus__{name}": f"[{ipc[name]}, {tcp[name]}]" for name in ipc}
    try:
        with Market() as market, Bridge(market.port, **ipc, **both) as running:
            running.ready()
            yield running, {"ipc": ipc["rep"], "tcp": tcp["rep"]}
    finally:
        shutil.rmtree(directory)


def opened(endpoint: str, words: bytes, stack: contextlib.ExitStack) -> int:
    """Open the connections, all at once; say these words over each that is there. Return how many were."""
    where, came = urlsplit(endpoint), 0
    local = where.scheme == "ipc"
    with selectors.DefaultSelector() as selector:
        for _ in range(CONNECTIONS):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX if local else socket.AF_INET))
            peer.setblocking(local)  # a local socket for which there is no room now is not tried again by the kernel
            with contextlib.suppress(BlockingIOError):
                peer.connect(where.path if local else (where.hostname, where.port))
            selector.register(peer, selectors.EVENT_WRITE, peer)
        while ready := selector.select(3):
            for key, _ in ready:
                selector.unregister(key.fileobj)
                came += 1
                with contextlib.suppress(OSError):  # it has been sent away already
                    key.data.sendall(words)
    return came


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_ten_thousand_connections_to_an_endpoint_keep_nobody_out_who_has_something_to_say(place, transport, said):
    if transport == "ipc" and said == "a command":
        pytest.skip("the honest come to this endpoint: of those who speak it takes a thousand, and no more")
    bridge, endpoints = place
    before = memory(bridge.process.pid)
    with Bystanders(bridge), contextlib.ExitStack() as stack:
        came = opened(endpoints[transport], SAID[said], stack)
        assert came > 2 * MOST
        # Of tcp's some are lost on the way, in a backlog that is full, and the system does not tell who opened them.
        while bridge.do("status")["counts"]["refusedPeers"] < MOST:
            assert bridge.process.poll() is None
        assert bridge.do("ping", client="new")["pong"], "who comes now is let in"
        assert memory(bridge.process.pid) - before < GROWN
    bridge.sub("sys.")
