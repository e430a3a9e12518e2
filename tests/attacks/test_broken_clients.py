"""Clients that break the rules of the command socket, or use all that the rules allow: nobody else waits for them."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq

from tests.attacks.bystanders import Bystanders
from tests.integration.rig import AAPL, PATIENCE, Bridge, Market, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.attack

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def bridge() -> Iterator[Bridge]:
    places = {name: f"tcp://127.0.0.1:{free_port()}" for name in ("pub", "rep")}
    with Market() as market, Bridge(market.port, **places) as bridge:
        bridge.ready()
        yield bridge


@contextlib.contextmanager
def peer(bridge: Bridge, kind: int, **options: int | bytes) -> Iterator[zmq.Socket[bytes]]:
    with bridge.context.socket(kind) as socket:
        socket.linger = 0
        for name, value in options.items():
            socket.set(getattr(zmq, name), value)
        socket.connect(bridge.rep)
        yield socket


def command(name: str, client: str, args: dict[str, Any], key: str | None = None) -> bytes:
    return bytes(msgpack.packb({"id": next(numbers), "cmd": name, "args": args, "client": client, "key": key}))


def order(client: str) -> bytes:
    args = {"contract": AAPL, "order": {"action": "BUY", "orderType": "MKT", "totalQuantity": 1}}
    return command("placeOrder", client, args, f"k{next(numbers)}")


def replied(socket: zmq.Socket[bytes]) -> dict[str, Any]:
    assert socket.poll(int(PATIENCE * 1000)), "no reply came"
    reply: dict[str, Any] = msgpack.unpackb(socket.recv_multipart()[-1])
    return reply


def test_a_peer_that_sends_no_empty_frame_and_goes_takes_nobodys_reply(bridge: Bridge) -> None:
    with Bystanders(bridge):
        for number in range(20):
            with peer(bridge, zmq.DEALER, LINGER=1000) as broken:
                for _ in range(5):
                    broken.send_multipart([b"no", b"request"])
            with peer(bridge, zmq.REQ) as stranger:
                stranger.send(order(f"stranger{number}"))
                assert replied(stranger)["ok"]


def test_two_peers_of_one_identity_are_both_answered(bridge: Bridge) -> None:
    with peer(bridge, zmq.REQ, IDENTITY=b"strategy") as one, peer(bridge, zmq.REQ, IDENTITY=b"strategy") as other:
        for _ in range(10):
            one.send(order("one"))
            other.send(order("other"))
            assert replied(one)["ok"]
            assert replied(other)["ok"]


def test_one_peer_with_thousands_of_commands_under_way_delays_nobody(bridge: Bridge) -> None:
    with Bystanders(bridge), peer(bridge, zmq.DEALER, SNDHWM=0, RCVHWM=0) as greedy:
        for _ in range(20_000):
            greedy.send_multipart([b"", command("ping", "greedy", {})])
        for _ in range(20_000):
            assert replied(greedy)["ok"]


@pytest.mark.long
def test_large_legal_commands_hold_up_no_heartbeat(bridge: Bridge) -> None:
    values: list[Any] = [{"a": 1}] * 24_900
    large = command("ping", "large", {"values": values, "pad": "x" * 800_000})
    with Bystanders(bridge), contextlib.ExitStack() as stack:
        greedy = [stack.enter_context(peer(bridge, zmq.DEALER, SNDHWM=0, RCVHWM=0)) for _ in range(4)]
        until = time.monotonic() + 15
        for each in greedy:
            for _ in range(4):
                each.send_multipart([b"", large])
        while time.monotonic() < until:
            for each in greedy:
                while each.poll(0):
                    assert not replied(each)["ok"]
                    each.send_multipart([b"", large])
            greedy[0].poll(1)
