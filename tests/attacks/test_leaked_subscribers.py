"""More subscribers than the process may have descriptors, who never go: TWS is reached all the same."""

from __future__ import annotations

import contextlib
import resource
import socket
from typing import TYPE_CHECKING

import pytest

from tests.attacks import zmtp
from tests.attacks.bystanders import Bystanders
from tests.integration.rig import Bridge, Host, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.attack

SUBSCRIBER = zmtp.greeting() + zmtp.ready(b"SUB")
SUBSCRIPTION = zmtp.frame(b"\x01")


@contextlib.contextmanager
def leaked(port: int, count: int) -> Iterator[None]:
    """Connect `count` subscribers that never read, for the time of the block."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(socket.socket()) for _ in range(count)]
        for words in (SUBSCRIBER, SUBSCRIPTION):
            for peer in peers:
                peer.settimeout(0.01)
                with contextlib.suppress(OSError):  # the listener's backlog is full, or it has been sent away
                    if words is SUBSCRIBER:
                        peer.connect(("127.0.0.1", port))
                    peer.send(words)
        yield


def limited(port: int, soft: int, hard: int, places: dict[str, str]) -> Bridge:
    return Bridge(port, within=["prlimit", f"--nofile={soft}:{hard}", "--"], **places)


@pytest.mark.parametrize("limit", [200, pytest.param(1_024, marks=pytest.mark.long)])
def test_with_all_descriptors_taken_each_reconnect_to_tws_works_and_it_is_an_alarm(limit):
    pub = free_port()
    places = {"pub": f"tcp://127.0.0.1:{pub}"}
    with Host() as host, limited(host.port, limit, limit, places) as bridge:
        guest = host.accept()
        guest.start()
        sub = bridge.ready()
        with Bystanders(bridge, link=False), leaked(pub, 3 * limit):
            sub.until("alarm", lambda data: data["alarm"] == "descriptors" and data["raised"])
            for _ in range(5):
                with guest:
                    pass
                guest = host.accept()
                guest.start()
                sub.stage("ready")
        with guest:
            sub.until("alarm", lambda data: data["alarm"] == "descriptors" and not data["raised"])


def test_the_soft_limit_is_raised_to_the_hard_one():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with Host() as host, limited(host.port, 128, hard, {}) as bridge:
        bridge.sub("")
        assert resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
