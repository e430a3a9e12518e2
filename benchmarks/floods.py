"""Benchmark of the time that an order and its cancel take to TWS, while another client floods the daemon.

The set-up: a TWS stand-in that reads and sends nothing, the daemon at the usual 45 messages a second, and one honest
client that places an order, cancels the order and pings, five times a second. Rounds take turns: alone, beside 500
cancels a second, beside 500 requests a second. A time runs from the send of a command to the end of TWS's read. The
ratio is to the rounds without a flood.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import socket
import statistics
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any

from flooder import CONTRACT, ORDER, ORDERS, RATE
from harness import Caller, bridge, child, free_ports, positive
from processes import InvalidError, end_cleanly
from snapshots import quantiles

from ibbridge.codec import Acceptor, Message

KINDS = {"alone": "", "beside cancels": "cancels", "beside requests": "details"}
PAUSE = 0.2
"""Seconds between two orders."""

PATIENCE = 30.0


class Tws:
    """TWS stand-in in a thread, which reads everything and notes the time of each order and cancel."""

    def __init__(self, version: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._came: dict[tuple[str, int], float] = {}
        self._orders = 0
        self._heard = threading.Condition()
        threading.Thread(target=self._serve, args=(version,), daemon=True).start()

    def _serve(self, version: int) -> None:
        connection, _ = self._listener.accept()
        acceptor = Acceptor(newest=version)
        while data := connection.recv(65_536):
            now = time.monotonic()
            for each in acceptor.receive_data(data):
                if isinstance(each, Message):
                    self._note(each, now)
                    if each.name == "reqCurrentTime" and acceptor.dialect is not None:
                        connection.sendall(acceptor.dialect.put("currentTime", {"time": int(time.time())}))
                    if each.name == "startApi" and acceptor.dialect is not None:
                        connection.sendall(acceptor.dialect.put("managedAccounts", {"accountsList": "DU1"}))
                        connection.sendall(acceptor.dialect.put("nextValidId", {"orderId": 1}))
            connection.sendall(acceptor.data_to_send())

    def _note(self, message: Message, now: float) -> None:
        with self._heard:
            if message.name in ("placeOrder", "cancelOrder"):
                self._came[message.name, message.data["orderId"]] = now
                self._orders += message.name == "placeOrder"
                self._heard.notify_all()

    def came(self, name: str, number: int) -> float:
        """Wait for an order or a cancel, and return the time at which TWS read it."""
        with self._heard:
            if not self._heard.wait_for(lambda: (name, number) in self._came, PATIENCE):
                raise InvalidError(f"{name} of order {number} never came")
            return self._came[name, number]

    def has(self, orders: int) -> None:
        """Wait until `orders` orders have come."""
        with self._heard:
            if not self._heard.wait_for(lambda: self._orders >= orders, PATIENCE):
                raise InvalidError(f"{self._orders} of {orders} orders have come")


def honest(caller: Caller, tws: Tws, seconds: float) -> dict[str, list[float]]:
    """Send orders, cancels and pings, and return the seconds that each took."""
    times: dict[str, list[float]] = {"order": [], "cancel": [], "ping": []}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        key = f"h{time.time_ns()}"
        sent = time.monotonic()
        number = caller.result("placeOrder", "honest", key=key, contract=CONTRACT, order=ORDER)["orderId"]
        times["order"].append(tws.came("placeOrder", number) - sent)
        sent = time.monotonic()
        caller.result("cancelOrder", "honest", key=key)
        times["cancel"].append(tws.came("cancelOrder", number) - sent)
        sent = time.monotonic()
        caller.result("ping")
        times["ping"].append(time.monotonic() - sent)
        time.sleep(PAUSE)
    return times


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure all rounds. Return the quantiles of the times in ms."""
    found: dict[str, dict[str, list[float]]] = {name: {"order": [], "cancel": [], "ping": []} for name in KINDS}
    with ExitStack() as children:
        tws = Tws(given.version)
        pub, rep = (f"tcp://127.0.0.1:{port}" for port in free_ports())
        bridge(children, tws.port, pub, rep, {"pacing.rate": 45})
        flooder = children.enter_context(child("flooder", rep))
        with Caller(rep) as caller:
            while caller.result("status")["tws"]["stage"] != "ready":
                time.sleep(0.1)
            flooder.tell(kind="orders", seconds=ORDERS / RATE)
            tws.has(flooder.hear(60)["accepted"])
            for number in range(given.rounds * len(KINDS)):
                name = [*KINDS][number % len(KINDS)]
                if KINDS[name]:
                    flooder.tell(kind=KINDS[name], seconds=given.seconds + 1)
                    time.sleep(1)
                for what, times in honest(caller, tws, given.seconds).items():
                    found[name][what] += times
                if KINDS[name]:
                    flooder.hear(120)
    return {name: {what: quantiles(times) for what, times in each.items()} for name, each in found.items()}


def show(about: dict[str, Any]) -> None:
    """Print the results as a table."""
    print("ms: p50 / p99 / longest, and the ratio of p50 to that alone")
    for name, each in about.items():
        shown = []
        for what, values in each.items():
            ratio = values["p50"] / max(about["alone"][what]["p50"], 1e-6)
            shown.append(f"{what} {values['p50']:.1f} / {values['p99']:.1f} / {values['max']:.1f} ({ratio:.1f})")
        print(f"  {name:16} {'   '.join(shown)}")
    longest = statistics.mean(about[name][what]["max"] for name in about for what in ("order", "cancel"))
    print(f"  the longest order or cancel of each, on average: {longest:.0f} ms")


def main() -> int:
    """Measure and print. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=3, help="of each, in turns (default %(default)s)")
    parser.add_argument("--seconds", type=positive, default=5, help="of each round (default %(default)s)")
    parser.add_argument("--version", type=int, default=226, help="server version (default %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args()
    end_cleanly()
    try:
        about = measure(given)
    except InvalidError as error:
        print(f"no measurement: {error}", file=sys.stderr)
        return 1
    show(about)
    if given.json:
        given.json.write_text(json.dumps(about, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
