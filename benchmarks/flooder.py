"""Client process that sends far more commands than TWS takes. Started and ended by `floods`.

On `{kind, seconds}` the flooder sends `RATE` commands a second, under 20 client names, over one connection: cancels of
orders that the flooder has placed before, or requests for contract details. The answer counts accepted and refused
commands.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

import msgpack
import zmq
from processes import hear, say

RATE = 500
NAMES = 20
ORDERS = 200

CONTRACT = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
ORDER = {"action": "BUY", "totalQuantity": 1, "orderType": "LMT", "lmtPrice": 1.0}


def command(kind: str, number: int) -> dict[str, Any]:
    """Return a command of this kind."""
    about = {"id": f"{kind}{time.time_ns()}", "client": f"flood{number % NAMES}"}
    if kind == "details":
        return {**about, "cmd": "reqContractDetails", "args": {"contract": CONTRACT}}
    key = f"k{number % ORDERS}"
    if kind == "orders":
        return {**about, "cmd": "placeOrder", "key": key, "args": {"contract": CONTRACT, "order": ORDER}}
    return {**about, "cmd": "cancelOrder", "key": key, "args": {}}


def flood(peer: zmq.Socket[bytes], kind: str, seconds: float, rate: float = RATE) -> dict[str, Any]:
    """Send commands for `seconds`, wait for all replies, and return their counts."""
    counts: Counter[str] = Counter()
    began, sent, answered = time.monotonic(), 0, 0
    while (now := time.monotonic() - began) < seconds or answered < sent:
        for _ in range(round(now * rate) - sent if now < seconds else 0):
            peer.send_multipart([b"", msgpack.packb(command(kind, sent))])
            sent += 1
        while peer.poll(5):
            counts["accepted" if msgpack.unpackb(peer.recv_multipart()[1])["ok"] else "refused"] += 1
            answered += 1
            if answered % 64 == 0:
                break
    return dict(counts)


def main() -> None:
    """Execute the parent's orders until the parent is gone."""
    peer = zmq.Context().socket(zmq.DEALER)
    peer.set(zmq.LINGER, 0)
    peer.set(zmq.SNDHWM, 100_000)
    peer.connect(sys.argv[1])
    while True:
        told = hear(patience=None)
        say(**flood(peer, told["kind"], told["seconds"]))


if __name__ == "__main__":
    main()
