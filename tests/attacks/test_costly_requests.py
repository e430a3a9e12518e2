"""A client sends the dearest requests there are, each as large as one may be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgpack
import pytest
import zmq

from tests.attacks.bystanders import Bystanders
from tests.integration.rig import Bridge, Market
from tests.support.costly_requests import requests

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.attack

MOST = 0.050
"""Seconds that a request may take, of those that the socket does not."""

TRIES = 7
PATIENCE_MS = 20_000


@pytest.mark.parametrize("names", [("timestamps as keys", "empty lists", "texts as keys", "symbol of 'a'")])
def test_costly_requests_hold_nobody_up(names: Iterable[str]) -> None:
    costly = dict(requests())
    with Market() as market, Bridge(market.port) as bridge:
        bridge.ready()
        with Bystanders(bridge), bridge.context.socket(zmq.REQ) as peer:
            peer.linger = 0
            peer.connect(bridge.rep)
            for name in tuple(names) * 3:
                assert took(peer, costly[name]) < 1.0, name


@pytest.mark.long
def test_no_request_takes_longer_than_it_may() -> None:
    """The least of several tries, less what the fastest refusal of as many bytes takes: the rest is this machine's."""
    slow = {}
    with Market() as market, Bridge(market.port, commands__allow="[replaceFA]") as bridge:
        bridge.ready()
        with Bystanders(bridge), bridge.context.socket(zmq.REQ) as peer:
            peer.linger = 0
            peer.connect(bridge.rep)
            for name, request in requests():
                least = min(took(peer, request) for _ in range(TRIES))
                bare = min(took(peer, b"\xc1" + bytes(len(request) - 1)) for _ in range(3))
                if least - bare > MOST:
                    slow[name] = least - bare
    assert not slow


def took(peer: zmq.Socket[bytes], request: bytes) -> float:
    """Return the seconds that the reply takes."""
    began = time.perf_counter()
    peer.send(request)
    assert peer.poll(PATIENCE_MS), "there is no reply"
    reply = msgpack.unpackb(peer.recv())
    assert reply["ok"] or reply["error"]["code"] != "E_INTERNAL"
    return time.perf_counter() - began
