"""Legal traffic that costs the daemon much: large commands, snapshots, replays. No heartbeat is late for it."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq

from ibbridge.commands.unpacking import MOST_VALUES, UnpackingError, unpacked
from tests.attacks.bystanders import Bystanders
from tests.integration.rig import AAPL, Bridge, Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.rig import Guest, Subscriber

pytestmark = [pytest.mark.attack, pytest.mark.long]

ATTACKERS = 12
SECONDS = 6.0
MANY = {f"attribute{number}": "x" * 200 for number in range(MOST_VALUES // 2 - 30)}
"""About a megabyte of arguments that no request has, as many as may be in one."""

LEGS = [{"conId": number, "ratio": 1, "action": "BUY", "exchange": "SMART"} for number in range(MOST_VALUES // 9 - 10)]

REQUESTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "unknown-arguments": lambda _: {"cmd": "placeOrder", "args": {"contract": AAPL, "order": MANY}, "key": "k"},
    "many-legs": lambda _: {"cmd": "reqMktData", "args": {"contract": {**AAPL, "secType": "BAG", "comboLegs": LEGS}}},
    "long-text": lambda _: {"cmd": "halt", "args": {"reason": "x" * 1_000_000}},
    "too-many": lambda _: {"cmd": "placeOrder", "args": {str(number): number for number in range(100_000)}, "key": "k"},
    "snapshots": lambda _: {"cmd": "snapshot", "args": {"prefix": ""}},
    "replays from the disk": lambda _: {"cmd": "replay", "args": {"stream": "acct.DU1.", "from": 1}},
    "replays from memory": lambda _: {"cmd": "replay", "args": {"stream": "md.AAPL-STK-SMART-USD.", "from": 1}},
    "contracts of their own": lambda number: {
        "cmd": "reqMktData",
        "args": {"contract": {**AAPL, "symbol": f"S{number}", "comboLegsDescrip": "x" * 50_000}},
    },
}


@contextlib.contextmanager
def asking(bridge: Bridge, made: Callable[[int], dict[str, Any]]) -> Iterator[None]:
    """Clients that each ask as fast as they are answered."""
    over, numbers = threading.Event(), itertools.count()

    def ask(client: int) -> None:
        with bridge.context.socket(zmq.REQ) as peer:
            peer.linger = 0
            peer.connect(bridge.rep)
            while not over.is_set():
                number = next(numbers)
                peer.send(msgpack.packb({"id": f"{client}-{number}", "client": f"c{client}", **made(number)}))
                while not over.is_set() and not peer.poll(100):
                    pass
                if not over.is_set():
                    peer.recv()

    threads = [threading.Thread(target=ask, args=(each,), daemon=True) for each in range(ATTACKERS)]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in threads:
            each.join(10)


@pytest.mark.parametrize("kind", REQUESTS)
def test_no_legal_traffic_makes_a_heartbeat_late(kind):
    with Host() as host, Bridge(host.port) as bridge, host.accept() as guest:
        guest.start()
        filled(bridge, guest, bridge.ready())
        with Bystanders(bridge), asking(bridge, REQUESTS[kind]):
            time.sleep(SECONDS)


def filled(bridge: Bridge, guest: Guest, sub: Subscriber) -> None:
    """State and history: 3,000 values of an account, and as many ticks."""
    bridge.do("reqMktData", contract=AAPL)
    ticker = guest.request("reqMktData")["reqId"]
    for number in range(3_000):
        guest.say("tickString", reqId=ticker, tickType=45, value=str(number))
        guest.say("updateAccountValue", key=f"Key{number}", value="1", currency="USD", accountName="DU1")
    sub.until("updateAccountValue", lambda data: data["key"] == "Key2999")
    for stream in ("acct.DU1.", "md.AAPL-STK-SMART-USD."):
        assert bridge.replay(stream, 1)


def test_a_key_that_stands_twice_among_thousands_costs_no_more_than_any_request():
    pairs = [(f"key{number}", number) for number in range(MOST_VALUES // 2 - 3)] + [("last", 1), ("last", 2)]
    packed = b"".join(msgpack.packb(part) for pair in pairs for part in pair)
    raw = b"\xde" + len(pairs).to_bytes(2, "big") + packed
    times = []
    for _ in range(3):
        began = time.perf_counter()
        with pytest.raises(UnpackingError, match="'last' is given twice"):
            unpacked(raw)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.05
