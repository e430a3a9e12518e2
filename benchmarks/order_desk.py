"""TWS stand-in that takes orders while it sends ticks, and lists orders and executions. Started by `orders`.

The stand-in notes the time at which it has read each order, and reports the order as submitted with its next ticks. On
`{rate, seconds}` it sends ticks, and answers with the orders that came meanwhile.
"""

from __future__ import annotations

import argparse
import socket
import time
from collections import deque
from threading import Thread
from typing import TYPE_CHECKING, Any

from durable_messages import ACCOUNT
from expected_messages import mix
from feeder import Load, greet, steady
from processes import PATIENCE, hear, say

from ibbridge.codec import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ibbridge.codec import Acceptor

BLOCK = 5_000
"""Ticks before all begins anew."""

TIME = "20261122 10:00:00 US/Eastern"


class Desk(Thread):
    """Thread that reads what the client sends. `came` has the id of each order, and when it was read (ns, monotonic).

    `executions` is how many executions are listed for each order. `earlier` are the requests that were read before.
    """

    def __init__(self, client: socket.socket, acceptor: Acceptor, executions: int, earlier: Sequence[Message]) -> None:
        super().__init__(daemon=True)
        assert acceptor.dialect
        self.came: list[tuple[int, int]] = []
        self._client = client
        self._acceptor = acceptor
        self._put = acceptor.dialect.put
        self._executions = executions
        self._orders: dict[int, dict[str, Any]] = {}
        self._answers: deque[bytes] = deque()
        for message in earlier:
            self._take(message, 0)

    def run(self) -> None:
        """Read until the client goes."""
        try:
            while data := self._client.recv(65536):
                now = time.monotonic_ns()
                for message in self._acceptor.receive_data(data):
                    if isinstance(message, Message):
                        self._take(message, now)
        except OSError:
            pass

    def answers(self) -> bytes:
        """Return the bytes of all answers that wait."""
        found = []
        while self._answers:
            found.append(self._answers.popleft())
        return b"".join(found)

    def _take(self, message: Message, now: int) -> None:
        name, data = message
        if name == "placeOrder":
            number = data["orderId"]
            self.came.append((number, now))
            self._orders[number] = data
            self._answer("orderStatus", self._status(number))
        elif name == "reqAllOpenOrders":
            for number in self._orders:
                self._answer("openOrder", self._open(number))
                self._answer("orderStatus", self._status(number))
            self._answer("openOrderEnd", {})
        elif name == "reqExecutions":
            for execution, commission in self._executed(data["reqId"]):
                self._answer("execDetails", execution)
                self._answer("commissionAndFeesReport", commission)
            self._answer("execDetailsEnd", {"reqId": data["reqId"]})
        elif name == "reqCompletedOrders":
            self._answer("completedOrdersEnd", {})

    def _answer(self, name: str, data: dict[str, Any]) -> None:
        self._answers.append(self._put(name, data))

    def _status(self, number: int) -> dict[str, Any]:
        filled = float(self._executions)
        about = {"orderId": number, "permId": _perm_id(number), "clientId": 1, "parentId": 0, "status": "Submitted"}
        done = {"filled": filled, "remaining": 1000 - filled, "avgFillPrice": 10.0, "lastFillPrice": 10.0}
        return {**about, **done, "whyHeld": "", "mktCapPrice": 0.0}

    def _open(self, number: int) -> dict[str, Any]:
        data = self._orders[number]
        order = {**data["order"], "orderId": number, "clientId": 1, "permId": _perm_id(number), "account": ACCOUNT}
        about = {"contract": {**data["contract"], "conId": 265598}, "orderState": {"status": "Submitted"}}
        return {"orderId": number, "order": order, **about}

    def _executed(self, req_id: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for number, data in self._orders.items():
            contract, ref = {**data["contract"], "conId": 265598}, data["order"].get("orderRef", "")
            for count in range(1, self._executions + 1):
                exec_id = f"0000e0d5.{number:08x}.{count:02x}.01"
                ids = {"orderId": number, "clientId": 1, "permId": _perm_id(number), "execId": exec_id, "orderRef": ref}
                what = {"time": TIME, "acctNumber": ACCOUNT, "exchange": "ISLAND", "side": "BOT", "shares": 1.0}
                execution = {**ids, **what, "price": 10.0, "cumQty": float(count), "avgPrice": 10.0}
                charge = {"execId": exec_id, "commissionAndFees": 1.0, "currency": "USD"}
                yield (
                    {"reqId": req_id, "contract": contract, "execution": execution},
                    {"commissionAndFeesReport": charge},
                )


def _perm_id(number: int) -> int:
    return 1_000_000 + number


def main() -> None:
    """Serve one client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", type=int, required=True, help="server version")
    parser.add_argument("--lines", type=int, required=True, help="market data requests to wait for")
    parser.add_argument("--executions", type=int, default=0, help="listed for each order")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        say(port=server.getsockname()[1])
        client, _ = server.accept()
    with client:
        client.settimeout(None)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        earlier: list[Message] = []
        acceptor, ids = greet(client, options.version, options.lines, earlier)
        load = Load(acceptor, mix(ids, BLOCK, 0))
        desk = Desk(client, acceptor, options.executions, earlier)
        desk.start()
        say(version=acceptor.version)
        while True:
            told = hear(patience=None)
            try:
                sent, seconds = steady(client, load, told["rate"], told["seconds"], desk.answers)
            except ConnectionError:  # the parent has ended the other side
                return
            came, desk.came = desk.came, []
            say(sent=sent, seconds=seconds, came=came)


if __name__ == "__main__":
    main()
