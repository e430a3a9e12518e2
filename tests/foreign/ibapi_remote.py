"""Trade with IB's own client as each line of standard input says, and answer with a line: `ibapi_remote.py PORT`."""

from __future__ import annotations

import json
import sys
import threading
import time
from decimal import Decimal
from typing import Any

from ibapi.contract import Contract
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel
from ibapi_trades import PATIENCE, App  # type: ignore[import-not-found] # beside this script


class Remote:
    """The commands: connect, place, cancel, cancel_all, disconnect."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._next = 0
        self._app = App()

    def connect(self, client_id: int) -> dict[str, Any]:
        """Connect, again while the client id is in use."""
        for _ in range(200):
            self._app = App()
            self._app.connect("127.0.0.1", self._port, clientId=client_id)
            threading.Thread(target=self._app.run, daemon=True).start()
            name, args = self._app.heard.get(timeout=PATIENCE)
            while name not in ("nextValidId", "connectionClosed") and not _refused(name, args):
                name, args = self._app.heard.get(timeout=PATIENCE)
            if name == "nextValidId":
                self._next = args[0]
                return {}
            self._app.disconnect()
            time.sleep(0.1)
        raise SystemExit("no connection")

    def place(self, symbol: str, ref: str, price: float | None, until: str, id: int | None) -> dict[str, Any]:  # noqa: A002
        """Place an order, and wait for its status."""
        contract = Contract()
        contract.symbol, contract.secType, contract.exchange, contract.currency = symbol, "STK", "SMART", "USD"
        order = Order()
        order.action, order.totalQuantity, order.tif, order.orderRef = "BUY", Decimal(1), "GTC", ref
        order.orderType = "MKT" if price is None else "LMT"
        if price is not None:
            order.lmtPrice = price
        number = id or self._next
        self._next = max(self._next, number + 1)
        self._app.placeOrder(number, contract, order)
        told = self._app.until("orderStatus", lambda of, status, *_: of == number and status == until)
        return {"orderId": number, "permId": told[5]}

    def cancel(self, orderId: int) -> dict[str, Any]:  # noqa: N803 - the API's name
        """Cancel an order of this client id, and wait until it is cancelled."""
        self._app.cancelOrder(orderId, OrderCancel())
        self._app.until("orderStatus", lambda of, status, *_: of == orderId and status == "Cancelled")
        return {}

    def cancel_all(self) -> dict[str, Any]:
        """Cancel every order of the account, without waiting."""
        self._app.reqGlobalCancel(OrderCancel())
        self._app.reqCurrentTime()
        self._app.until("currentTime")
        return {}

    def disconnect(self) -> dict[str, Any]:
        """End the connection."""
        self._app.disconnect()
        return {}


def _refused(name: str, args: tuple[Any, ...]) -> bool:
    return name == "error" and any(each in (326, 502, 504) for each in args if isinstance(each, int))


if __name__ == "__main__":
    remote = Remote(int(sys.argv[1]))
    for line in sys.stdin:
        given = json.loads(line)
        print(json.dumps(getattr(remote, given.pop("do"))(**given)), flush=True)
