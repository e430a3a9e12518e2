"""Trade with ib_insync, or with ib_async, its successor: `python ib_insync_trades.py MODULE PORT`."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any

PATIENCE = 30


def say(step: str, **about: Any) -> None:
    """Print one step that went well."""
    print(json.dumps({"step": step, **about}), flush=True)


async def until(ib: Any, holds: Any, what: str) -> None:
    """Wait until something holds, as the library hears of more."""
    for _ in range(PATIENCE * 50):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise SystemExit(f"{what} did not come")


async def trade(lib: Any, port: int) -> None:
    """Look up, watch, trade, change, cancel; then connect again and find it all."""
    ib = lib.IB()
    errors: list[tuple[int, str]] = []
    ib.errorEvent += lambda _req_id, code, text, _contract: errors.append((code, text))
    await ib.connectAsync("127.0.0.1", port, clientId=21, timeout=PATIENCE)
    contract = lib.Stock("AAPL", "SMART", "USD")
    details = await ib.reqContractDetailsAsync(contract)
    isin = {each.tag: each.value for each in details[0].secIdList or []}.get("ISIN")
    contract = details[0].contract
    say("contract", conId=contract.conId, minTick=details[0].minTick, isin=isin, industry=details[0].industry)

    ticker = ib.reqMktData(contract)
    await until(ib, lambda: ticker.bid > 0 and ticker.ask > 0, "a quote")
    say("data", bid=ticker.bid, ask=ticker.ask)
    bars = await ib.reqHistoricalDataAsync(contract, "", "1 D", "5 mins", "TRADES", useRTH=True)
    say("history", bars=len(bars))

    prices = [round(ticker.ask * factor, 2) for factor in (1.01, 1.2, 0.8)]
    bracket = ib.bracketOrder("BUY", 100, *prices)
    parent, profit, loss = [ib.placeOrder(contract, order) for order in bracket]
    await until(ib, lambda: parent.orderStatus.status == "Filled", "the fill of the parent")
    await until(ib, lambda: profit.orderStatus.status in ("Submitted", "PreSubmitted"), "the profit taker")
    await until(ib, lambda: loss.orderStatus.status in ("Submitted", "PreSubmitted"), "the stop")
    await until(ib, lambda: bool(parent.fills) and bool(parent.fills[0].commissionReport.execId), "the commission")
    say("bracket", filled=parent.orderStatus.filled, commission=parent.fills[0].commissionReport.commission)

    profit.order.lmtPrice = round(profit.order.lmtPrice + 1, 2)
    wanted = profit.order.lmtPrice
    ib.placeOrder(contract, profit.order)
    await until(ib, lambda: any(entry.message == "Modify" for entry in profit.log), "the change")
    await asyncio.sleep(0.2)
    trades = await ib.reqOpenOrdersAsync() if hasattr(ib, "reqOpenOrdersAsync") else []
    found = [each.order.lmtPrice for each in trades if each.order.permId == profit.order.permId]
    say("change", price=found[0], wanted=wanted)

    ib.cancelOrder(profit.order)
    await until(ib, lambda: profit.orderStatus.status == "Cancelled", "the cancel")
    await until(ib, lambda: loss.orderStatus.status == "Cancelled", "the cancel of its sibling")
    resting = ib.placeOrder(contract, lib.LimitOrder("BUY", 7, round(ticker.bid * 0.7, 2)))
    await until(ib, lambda: resting.orderStatus.status in ("Submitted", "PreSubmitted"), "a resting order")
    say("cancel", status=profit.orderStatus.status)
    ib.disconnect()

    ib = lib.IB()
    await ib.connectAsync("127.0.0.1", port, clientId=21, timeout=PATIENCE)
    positions = {each.contract.symbol: each.position for each in ib.positions()}
    say("reconcile", position=positions.get("AAPL"), open=len(ib.openTrades()), executions=len(ib.fills()))
    ib.cancelOrder(ib.openTrades()[0].order)
    await until(ib, lambda: not ib.openTrades(), "the cancel of an order of the connection before")
    say("errors", errors=[each for each in errors if each[0] < 2000 and each[0] != 202])
    ib.disconnect()
    say("done")


if __name__ == "__main__":
    asyncio.run(trade(importlib.import_module(sys.argv[1]), int(sys.argv[2])))
