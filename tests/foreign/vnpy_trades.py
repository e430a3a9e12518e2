"""Trade with vnpy_ib, VeighNa's gateway, which has no brackets and no changes: `python vnpy_trades.py PORT`."""

from __future__ import annotations

import json
import queue
import sys
import time
from typing import Any

from vnpy.event import Event, EventEngine
from vnpy.trader.constant import Direction, Exchange, Offset, OrderType, Status
from vnpy.trader.event import EVENT_CONTRACT, EVENT_LOG, EVENT_ORDER, EVENT_POSITION, EVENT_TICK, EVENT_TRADE
from vnpy.trader.object import CancelRequest, OrderRequest, SubscribeRequest
from vnpy_ib import IbGateway

PATIENCE = 30
SYMBOL = "AAPL-USD-STK"


def say(step: str, **about: Any) -> None:
    """Print one step that went well."""
    print(json.dumps({"step": step, **about}, default=str), flush=True)


class Desk:
    """Connection through the gateway. Its events go into a queue."""

    def __init__(self, port: int) -> None:
        self.heard: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.log: list[str] = []
        self.engine = EventEngine()
        for kind in (EVENT_CONTRACT, EVENT_LOG, EVENT_ORDER, EVENT_POSITION, EVENT_TICK, EVENT_TRADE):
            self.engine.register(kind, self.hear)
        self.engine.start()
        self.gateway = IbGateway(self.engine, "IB")
        self.gateway.connect({"TWS地址": "127.0.0.1", "TWS端口": port, "客户号": 23, "交易账户": ""})

    def hear(self, event: Event) -> None:
        """Keep one event."""
        if event.type == EVENT_LOG:
            self.log.append(event.data.msg)
        self.heard.put((event.type, event.data))

    def until(self, kind: str, holds: Any = lambda _: True) -> Any:
        """Return the next event of a kind for which something holds."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                found, data = self.heard.get(timeout=max(end - time.monotonic(), 0.01))
            except queue.Empty:
                raise SystemExit(f"{kind} did not come; log: {self.log}") from None
            if found == kind and holds(data):
                return data

    def close(self) -> None:
        """End the connection."""
        self.gateway.close()
        self.engine.stop()


def order(direction: Direction, kind: OrderType, price: float, volume: float) -> OrderRequest:
    """Return a request for an order."""
    return OrderRequest(SYMBOL, Exchange.SMART, direction, kind, volume, price, Offset.NONE)


def trade(port: int) -> None:
    """Look up, watch, trade, cancel; then connect again and find it all."""
    desk = Desk(port)
    desk.until(EVENT_LOG, lambda log: "成功" in log.msg)
    desk.gateway.subscribe(SubscribeRequest(SYMBOL, Exchange.SMART))
    contract = desk.until(EVENT_CONTRACT)
    say("contract", symbol=contract.symbol, minTick=contract.pricetick, name=contract.name)
    tick = desk.until(EVENT_TICK, lambda each: each.bid_price_1 > 0 and each.ask_price_1 > 0)
    say("data", bid=tick.bid_price_1, ask=tick.ask_price_1)
    buy = desk.gateway.send_order(order(Direction.LONG, OrderType.LIMIT, round(tick.ask_price_1 * 1.01, 2), 100))
    fill = desk.until(EVENT_TRADE, lambda each: each.vt_orderid == buy)
    say("order", filled=fill.volume)
    rest = desk.gateway.send_order(order(Direction.LONG, OrderType.LIMIT, round(tick.bid_price_1 * 0.7, 2), 7))
    working = desk.until(EVENT_ORDER, lambda each: each.vt_orderid == rest and each.status is Status.NOTTRADED)
    desk.gateway.cancel_order(working.create_cancel_request())
    cancelled = desk.until(EVENT_ORDER, lambda each: each.vt_orderid == rest and each.status is Status.CANCELLED)
    say("cancel", status=cancelled.status.name)
    rest = desk.gateway.send_order(order(Direction.LONG, OrderType.LIMIT, round(tick.bid_price_1 * 0.7, 2), 7))
    desk.until(EVENT_ORDER, lambda each: each.vt_orderid == rest and each.status is Status.NOTTRADED)
    desk.close()

    time.sleep(1)  # the gateway has no event for the end of its connection
    desk = Desk(port)
    position = desk.until(EVENT_POSITION, lambda each: each.volume > 0)
    desk.gateway.subscribe(SubscribeRequest(SYMBOL, Exchange.SMART))
    desk.until(EVENT_TICK)
    desk.gateway.cancel_order(CancelRequest(rest.split(".")[1], SYMBOL, Exchange.SMART))
    say("reconcile", position=position.volume)
    desk.close()
    say("done")


if __name__ == "__main__":
    trade(int(sys.argv[1]))
