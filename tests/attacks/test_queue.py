"""Clients that ask for more than TWS takes: what waits for them must not keep others waiting."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq

from ibbridge.codec import Message
from tests.attacks.bystanders import Bystanders
from tests.integration.rig import AAPL, Bridge, Guest, Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

pytestmark = pytest.mark.attack

RATE = 45
LIMIT = {"action": "BUY", "totalQuantity": 1, "orderType": "LMT", "lmtPrice": 1.0}
WITHIN = 1.5
"""Seconds in which an honest order, and its cancel, must reach TWS beside a flood: about a second."""


class Tws:
    """A TWS that reads all that comes, says nothing of it, and notes when it came."""

    def __init__(self, guest: Guest) -> None:
        self.came: list[tuple[float, str, dict[str, Any]]] = []
        self._guest = guest
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the test is over, and has closed it
            while data := self._guest._socket.recv(65_536):
                for each in self._guest.acceptor.receive_data(data):
                    assert isinstance(each, Message)
                    self.came.append((time.monotonic(), each.name, each.data))

    def when(self, wanted: Callable[[str, dict[str, Any]], bool], since: float) -> float:
        """The seconds after `since` in which the first such request came."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            for at, name, data in [*self.came]:
                if at >= since and wanted(name, data):
                    return at - since
            time.sleep(0.01)
        raise AssertionError("it never came")


class Flood:
    """Commands of DEALERs, so many a second, while the block lasts. Replies are read and counted."""

    def __init__(
        self, bridge: Bridge, commands: Iterator[dict[str, Any]], a_second: float, connections: int = 1
    ) -> None:
        self._bridge, self._commands, self._a_second = bridge, commands, a_second
        self._connections = connections
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.replies: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _send(self) -> None:
        peers = []
        for _ in range(self._connections):
            peer = self._bridge.context.socket(zmq.DEALER)
            peer.linger, peer.sndhwm = 0, 10_000
            peer.connect(self._bridge.rep)
            peers.append(peer)
        began, sent = time.monotonic(), 0
        while not self._over.wait(0.01):
            for _ in range(round((time.monotonic() - began) * self._a_second) - sent):
                peers[sent % len(peers)].send_multipart([b"", msgpack.packb(next(self._commands))])
                sent += 1
            self._receive(peers)
        for peer in peers:
            peer.close()

    def _receive(self, peers: list[zmq.Socket[bytes]]) -> None:
        for peer in peers:
            while peer.poll(0):
                self.replies.append(msgpack.unpackb(peer.recv_multipart()[1]))


def cancels(orders: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    number = 0
    while True:
        client, key = orders[number % len(orders)]
        yield {"id": f"f{number}", "cmd": "cancelOrder", "client": client, "args": {"key": key}}
        number += 1


@pytest.mark.parametrize(
    ("orders", "names", "a_second"),
    [
        pytest.param(1, 1, 50, id="of one order"),
        pytest.param(500, 1, 200, id="of 500 orders", marks=pytest.mark.long),
        pytest.param(200, 200, 200, id="under 200 names", marks=pytest.mark.long),
    ],
)
def test_a_flood_of_cancels_keeps_nobodys_order_and_nobodys_cancel_waiting(orders, names, a_second):
    with Host() as host, Bridge(host.port, pacing__rate=RATE) as bridge, host.accept() as guest:
        guest.start()
        bridge.ready()
        tws = Tws(guest)
        placed = [(f"evil{number % names}", f"k{number}") for number in range(orders)]
        for number, (client, _) in enumerate(placed):
            assert bridge.call("placeOrder", client, f"k{number}", contract=AAPL, order=LIMIT)["ok"]
        tws.when(lambda name, data: name == "placeOrder" and data["order"]["orderRef"].endswith(placed[-1][1]), 0)
        with Bystanders(bridge), Flood(bridge, cancels(placed), a_second) as flood:
            until = time.monotonic() + 2
            while time.monotonic() < until or not flood.replies:
                time.sleep(0.05)
            waits = [_round_trip(bridge, tws, number) for number in range(5)]
        assert all(each["ok"] or each["error"]["code"] == "E_PACING" for each in flood.replies)
        assert max(map(max, waits)) < WITHIN, waits
        assert orders > 1 or any(each.get("dup") for each in flood.replies)


def _round_trip(bridge: Bridge, tws: Tws, number: int) -> tuple[float, float]:
    """The seconds in which an honest order reaches TWS, and then its cancel."""
    since = time.monotonic()
    key = f"h{number}"
    bridge.do("placeOrder", "honest", key, contract=AAPL, order=LIMIT)
    ref = f"honest/{key}"
    first = tws.when(lambda name, data: name == "placeOrder" and data["order"]["orderRef"] == ref, since)
    placed = [data for _, name, data in tws.came if name == "placeOrder"]
    (order_id,) = [data["orderId"] for data in placed if data["order"]["orderRef"] == ref]
    since = time.monotonic()
    bridge.do("cancelOrder", "honest", key)
    return first, tws.when(lambda name, data: name == "cancelOrder" and data["orderId"] == order_id, since)


def requests(cmd: str, names: int, **args: Any) -> Iterator[dict[str, Any]]:
    number = 0
    while True:
        command = {"id": f"f{number}", "cmd": cmd, "client": f"evil{number % names}", "args": args}
        yield {**command, "key": f"f{number}"} if "order" in args else command
        number += 1


@pytest.mark.parametrize(
    ("cmd", "names", "connections", "args"),
    [
        ("placeOrder", 200, 1, {"contract": AAPL, "order": LIMIT}),
        pytest.param("placeOrder", 200, 20, {"contract": AAPL, "order": LIMIT}, marks=pytest.mark.long),
        pytest.param("reqContractDetails", 100_000, 1, {"contract": AAPL}, marks=pytest.mark.long),
    ],
)
def test_names_without_number_keep_nobody_waiting_and_queue_no_more_than_may_wait(cmd, names, connections, args):
    with (
        Host() as host,
        Bridge(host.port, pacing__rate=RATE, pacing__most=2000) as bridge,
        host.accept() as guest,
    ):
        guest.start()
        bridge.ready()
        tws = Tws(guest)
        with Bystanders(bridge), Flood(bridge, requests(cmd, names, **args), 1000, connections) as flood:
            until = time.monotonic() + 60
            while not any(not each["ok"] for each in flood.replies):
                assert time.monotonic() < until
                time.sleep(0.05)
            waits = [_round_trip(bridge, tws, number) for number in range(3)]
            queued = bridge.do("status")["pacing"]
        refused = [each["error"] for each in flood.replies if not each["ok"]]
        assert {(each["code"], each["outcome"]) for each in refused} == {("E_PACING", "not_sent")}
        assert queued["queued"] <= 2000
        assert len(queued["clients"]) <= 20
        assert max(map(max, waits)) < WITHIN, waits


@pytest.mark.long
def test_junk_of_one_pushes_out_no_reply_of_another():
    with Host() as host, Bridge(host.port) as bridge, host.accept() as guest:
        guest.start()
        bridge.ready()
        order = {"id": "mine", "cmd": "placeOrder", "client": "honest", "key": "k"}
        packed = msgpack.packb({**order, "args": {"contract": AAPL, "order": LIMIT}})
        first = msgpack.unpackb(bridge.ask(packed))
        assert first["ok"]
        junk = {"cmd": "cancelOrder", "args": {}}
        many = ({**junk, "id": number, "client": f"c{number % 1000}"} for number in range(10**9))
        with Bystanders(bridge), Flood(bridge, many, 4000) as flood:
            until = time.monotonic() + 100
            while len(flood.replies) < 110_000:
                assert time.monotonic() < until, len(flood.replies)
                time.sleep(0.1)
        assert msgpack.unpackb(bridge.ask(packed)) == {**first, "dup": True}


MANY = 40_000
"""Requests after the first 30,000."""


@pytest.mark.long
@pytest.mark.parametrize("what", ["cancelled", "refused", "names"])
def test_memory_is_as_before_after_many_requests_refused_symbols_and_names(what):
    """Run the core in a process of its own, without time, with the daemon's garbage collection."""
    command = [sys.executable, "-m", "tests.attacks.grown", what, str(MANY)]
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=500, check=True)
    before, after = json.loads(done.stdout)
    assert after < before * 1.2, (before, after)
