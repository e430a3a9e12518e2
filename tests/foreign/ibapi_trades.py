"""Trade with IB's own client for Python, of any version from 10.37 on: `python ibapi_trades.py PORT`."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from decimal import Decimal
from itertools import pairwise
from typing import Any

from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel
from ibapi.wrapper import EWrapper

PATIENCE = 30


def say(step: str, **about: Any) -> None:
    """Print one step that went well."""
    print(json.dumps({"step": step, **about}, default=str), flush=True)


def recording(name: str) -> Any:
    """Return a callback that puts its arguments into the queue."""

    def callback(self: Any, *args: Any) -> None:
        self.heard.put((name, args))

    return callback


class App(EWrapper, EClient):
    """The client, with everything it is told in a queue."""

    def __init__(self) -> None:
        self.heard: queue.Queue[tuple[str, tuple[Any, ...]]] = queue.Queue()
        self.errors: list[tuple[int, str]] = []
        EClient.__init__(self, wrapper=self)

    def until(self, name: str, holds: Any = lambda *_: True) -> tuple[Any, ...]:
        """Return the arguments of the next call of this name for which something holds."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                called, args = self.heard.get(timeout=max(end - time.monotonic(), 0.01))
            except queue.Empty:
                raise SystemExit(f"{name} did not come; errors: {self.errors}") from None
            if called == "error":
                code, text = next((a, b) for a, b in pairwise(args) if isinstance(a, int) and isinstance(b, str))
                if code < 2000 and code != 202:
                    self.errors.append((code, text))
            if called == name and holds(*args):
                return args

    def all(self, name: str, end: str) -> list[tuple[Any, ...]]:
        """Return the arguments of the calls of one name until another comes."""
        found: list[tuple[Any, ...]] = []
        until = time.monotonic() + PATIENCE
        while True:
            called, args = self.heard.get(timeout=max(until - time.monotonic(), 0.01))
            if called == end:
                return found
            if called == name:
                found.append(args)


for each in [name for name in vars(EWrapper) if not name.startswith("_") and not name.endswith("ProtoBuf")]:
    setattr(App, each, recording(each))


def connect(port: int) -> tuple[App, int]:
    """Connect, and return the client with its first order id; again while the id of the last connection is in use."""
    for _ in range(20):
        app = App()
        app.connect("127.0.0.1", port, clientId=22)
        threading.Thread(target=app.run, daemon=True).start()
        name, args = app.heard.get(timeout=PATIENCE)
        while name not in ("nextValidId", "connectionClosed"):
            name, args = app.heard.get(timeout=PATIENCE)
        if name == "nextValidId":
            return app, args[0]
        time.sleep(0.25)
    raise SystemExit("the client id stays in use")


def apple() -> Contract:
    """Return the contract as a person writes it."""
    contract = Contract()
    contract.symbol, contract.secType, contract.exchange, contract.currency = "AAPL", "STK", "SMART", "USD"
    return contract


def order(action: str, quantity: int, kind: str, price: float, parent: int = 0, *, transmit: bool = True) -> Order:
    """Return an order of a bracket."""
    made = Order()
    made.action, made.orderType, made.totalQuantity, made.tif = action, kind, Decimal(quantity), "GTC"
    made.parentId, made.transmit = parent, transmit
    if kind == "STP":
        made.auxPrice = price
    else:
        made.lmtPrice = price
    return made


def working(order_id: int) -> Any:
    """Return a test of orderStatus: this order works."""
    return lambda number, status, *_: number == order_id and status in ("Submitted", "PreSubmitted")


def trade(port: int) -> None:
    """Look up, watch, trade, change, cancel; then connect again and find it all."""
    app, first = connect(port)
    app.reqContractDetails(1, apple())
    details = app.until("contractDetails")[1]
    isin = {each.tag: each.value for each in details.secIdList or []}.get("ISIN")
    say(
        "contract",
        conId=details.contract.conId,
        minTick=details.minTick,
        isin=isin,
        industry=details.industry,
        version=app.serverVersion(),
    )

    app.reqMktData(2, apple(), "", False, False, [])
    bid = app.until("tickPrice", lambda _, kind, price, *__: kind == 1 and price > 0)[2]
    ask = app.until("tickPrice", lambda _, kind, price, *__: kind == 2 and price > 0)[2]
    say("data", bid=bid, ask=ask)
    app.reqHistoricalData(3, apple(), "", "1 D", "5 mins", "TRADES", 1, 1, False, [])
    say("history", bars=len(app.all("historicalData", "historicalDataEnd")))

    parent, profit, stop = first, first + 1, first + 2
    app.placeOrder(parent, apple(), order("BUY", 100, "LMT", round(ask * 1.01, 2), transmit=False))
    app.placeOrder(profit, apple(), order("SELL", 100, "LMT", round(ask * 1.2, 2), parent, transmit=False))
    app.placeOrder(stop, apple(), order("SELL", 100, "STP", round(ask * 0.8, 2), parent))
    execution = app.until("execDetails", lambda _, __, each: each.orderId == parent)[2]
    report = "commissionAndFeesReport" if hasattr(EWrapper, "commissionAndFeesReport") else "commissionReport"
    commission = app.until(report, lambda each: each.execId == execution.execId)[0]
    paid = getattr(commission, "commissionAndFees", None) or getattr(commission, "commission", None)
    say("bracket", filled=execution.shares, commission=paid)

    wanted = round(ask * 1.21, 2)
    app.placeOrder(profit, apple(), order("SELL", 100, "LMT", wanted, parent))
    changed = app.until("openOrder", lambda number, _, each, __: number == profit and each.lmtPrice == wanted)[2]
    say("change", price=changed.lmtPrice, wanted=wanted)

    app.cancelOrder(profit, OrderCancel())
    status = app.until("orderStatus", lambda number, status, *_: number == profit and status == "Cancelled")[1]
    app.placeOrder(first + 3, apple(), order("BUY", 7, "LMT", round(bid * 0.7, 2)))
    app.until("orderStatus", working(first + 3))
    say("cancel", status=status)
    app.disconnect()

    app, following = connect(port)
    app.reqPositions()
    positions = {each[1].symbol: each[2] for each in app.all("position", "positionEnd")}
    app.reqOpenOrders()
    orders = app.all("openOrder", "openOrderEnd")
    app.reqExecutions(9, ExecutionFilter())
    executions = app.all("execDetails", "execDetailsEnd")
    say("reconcile", position=positions.get("AAPL"), open=len(orders), executions=len(executions), nextId=following)
    app.cancelOrder(orders[0][0], OrderCancel())
    app.until("orderStatus", lambda number, status, *_: number == orders[0][0] and status == "Cancelled")
    say("errors", errors=app.errors)
    app.disconnect()
    say("done")


if __name__ == "__main__":
    trade(int(sys.argv[1]))
