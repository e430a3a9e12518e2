"""Benchmark of a restart: how soon a daemon that was killed takes orders again, and has compared those it had.

The simulated TWS has 100 open orders and 1,000 executions of a daemon that is ended by SIGKILL. Then the next daemon is
started on the same store. A client sends the same new order until it is accepted and has left for TWS. The figures are
the medians of some rounds. The clock starts when `status` says that TWS is ready.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from harness import Caller, disk, free_ports, positive
from processes import InvalidError, end_cleanly

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN, FILLED = 100, 1_000
READY = 5.0
"""Aim, in seconds, from a TWS that is ready to a new order that has left."""

RESTED = ("MSFT", "IBM", "TSLA", "NVDA", "AMZN", "GOOG")
"""Symbols of the open orders: TWS takes 20 on one side of a contract."""

TRADED = "AAPL"
RESTING = {"action": "BUY", "orderType": "LMT", "totalQuantity": 1, "lmtPrice": 1.0}
MARKET = {"action": "BUY", "orderType": "MKT", "totalQuantity": 1}
PATIENCE = 120.0


class Processes:
    """The simulated TWS, and the daemons that are started on one store, one after the other."""

    def __init__(self, children: ExitStack) -> None:
        self._children = children
        port, place = free_ports()[0], children.enter_context(disk())
        settings = {
            "tws.port": port,
            "bus.pub": f"ipc://{place}/pub",
            "bus.rep": f"ipc://{place}/rep",
            "store.path": f"{place}/store",
            "log.level": "error",
        }
        self._given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self._start("sim", "--port", str(port))
        self.daemon = self.begin()
        self.caller = children.enter_context(Caller(f"ipc://{place}/rep"))

    def begin(self) -> subprocess.Popen[bytes]:
        """Start a daemon."""
        self.daemon = self._start("run", *self._given)
        return self.daemon

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", "ibbridge", *arguments], stdout=subprocess.DEVNULL)
        self._children.callback(process.wait)
        self._children.callback(process.kill)
        return process

    def kill(self) -> None:
        """End the daemon as a fault of the machine does."""
        self.daemon.kill()
        self.daemon.wait()

    def place(self, key: str, symbol: str, order: dict[str, Any]) -> dict[str, Any]:
        """Send an order. Return the reply."""
        contract = {"symbol": symbol, "secType": "STK", "exchange": "SMART", "currency": "USD"}
        return self.caller.ask("placeOrder", client="bench", key=key, contract=contract, order=order)


def _attempts(what: str) -> Iterator[None]:
    late = time.monotonic() + PATIENCE
    while time.monotonic() < late:
        yield
        time.sleep(0.005)
    raise InvalidError(f"{what} within {PATIENCE:g} s")


def _ready(processes: Processes) -> bool:
    reply = processes.caller.ask("status")
    return bool(reply["ok"] and reply["result"]["tws"]["stage"] == "ready")


def _order(number: int) -> tuple[str, dict[str, Any]]:
    return (RESTED[number % len(RESTED)], RESTING) if number < OPEN else (TRADED, MARKET)


def _fill(processes: Processes) -> None:
    """Have 100 orders open at TWS, and 1,000 filled."""
    for _ in _attempts("TWS was not ready"):
        if _ready(processes):
            break
    for number in range(OPEN + FILLED):
        for _ in _attempts("the orders were not placed"):
            reply = processes.place(f"o{number}", *_order(number))
            if reply["ok"]:
                break
            if reply["error"]["code"] != "E_PACING":
                raise InvalidError(str(reply["error"]))
    for _ in _attempts("the orders were not filled"):
        reasons = Counter(order["reason"] for order in _orders(processes.caller))
        if reasons["filled"] == FILLED and reasons[None] == OPEN:
            return
        time.sleep(0.2)


def _orders(caller: Caller) -> Iterator[dict[str, Any]]:
    """Yield all orders of the client, page by page."""
    after: str | None = ""
    while after is not None:
        page = caller.result("orders", client="bench", **({"after": after} if after else {}))
        yield from page["orders"]
        after = page["next"]


def _round(processes: Processes, number: int) -> dict[str, float]:
    """Kill the daemon and start the next. Return the seconds of each step."""
    processes.kill()
    began = time.monotonic()
    processes.begin()
    for _ in _attempts("TWS was not ready"):
        if _ready(processes):
            break
    ready = time.monotonic()
    for _ in _attempts("the order was not accepted"):
        reply = processes.place(f"r{number}", TRADED, RESTING)
        if reply["ok"] and reply["result"]["orderId"]:
            break
    placed = time.monotonic()
    for _ in _attempts("the orders were not compared"):
        streams = processes.caller.result("snapshot", prefix="sys.bridge.reconciled.")["streams"]
        if any(stream["messages"] for stream in streams):
            break
    return {"ready": ready - began, "placed": placed - ready, "compared": time.monotonic() - ready}


def main() -> int:
    """Measure and print. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=5, help="(default %(default)s)")
    given = parser.parse_args()
    end_cleanly()
    try:
        with ExitStack() as children:
            processes = Processes(children)
            _fill(processes)
            found = [_round(processes, number) for number in range(given.rounds)]
    except InvalidError as error:
        print(f"no measurement: {error}", file=sys.stderr)
        return 1
    middle = {name: statistics.median(each[name] for each in found) for name in found[0]}
    print(f"after SIGKILL, with {OPEN} open orders and {FILLED:,} executions; load {os.getloadavg()[0]:.1f}")
    print(f"  TWS is ready {middle['ready']:.2f} s after the start of the daemon")
    print(f"  a new order has left {middle['placed']:.3f} s later (aim: less than {READY:g} s)")
    print(f"  the orders are compared with TWS {middle['compared']:.2f} s after TWS was ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
