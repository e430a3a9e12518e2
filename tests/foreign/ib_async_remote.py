"""Trade with ib_async as each line of standard input says, and answer each with a line: `ib_async_remote.py PORT`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import ib_async

PATIENCE = 30


class Remote:
    """The commands: connect, place, cancel, cancel_all, disconnect."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ib = ib_async.IB()
        self._trades: dict[int, Any] = {}

    async def connect(self, client_id: int) -> dict[str, Any]:
        """Connect, again while the client id is in use."""
        for _ in range(200):
            try:
                await self._ib.connectAsync("127.0.0.1", self._port, clientId=client_id, timeout=PATIENCE)
            except (OSError, TimeoutError):
                await asyncio.sleep(0.1)
            else:
                return {}
        raise SystemExit("no connection")

    async def place(self, symbol: str, ref: str, price: float | None, until: str, id: int | None) -> dict[str, Any]:  # noqa: A002
        """Place an order, and wait for its status."""
        contract = ib_async.Stock(symbol, "SMART", "USD")
        kind = ib_async.MarketOrder("BUY", 1) if price is None else ib_async.LimitOrder("BUY", 1, price)
        kind.orderRef, kind.tif = ref, "GTC"
        kind.orderId = id or 0
        trade = self._ib.placeOrder(contract, kind)
        await self._until(lambda: trade.orderStatus.status == until and trade.orderStatus.permId, until)
        self._trades[trade.order.orderId] = trade
        return {"orderId": trade.order.orderId, "permId": trade.orderStatus.permId}

    async def cancel(self, orderId: int) -> dict[str, Any]:  # noqa: N803 - the API's name
        """Cancel an order of this client id, and wait until it is cancelled."""
        trades = {each.order.orderId: each for each in self._ib.trades()}
        trade = trades[orderId]
        self._ib.cancelOrder(trade.order)
        await self._until(lambda: trade.orderStatus.status == "Cancelled", "the cancel")
        return {}

    async def cancel_all(self) -> dict[str, Any]:
        """Cancel every order of the account, without waiting."""
        self._ib.reqGlobalCancel()
        await self._ib.reqCurrentTimeAsync()
        return {}

    async def disconnect(self) -> dict[str, Any]:
        """End the connection."""
        self._ib.disconnect()
        self._ib = ib_async.IB()
        return {}

    async def _until(self, holds: Any, what: str) -> None:
        for _ in range(PATIENCE * 50):
            if holds():
                return
            await asyncio.sleep(0.02)
        raise SystemExit(f"{what} did not come")


async def serve(remote: Remote) -> None:
    """Do what each line says until there are no more."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        given = json.loads(line)
        print(json.dumps(await getattr(remote, given.pop("do"))(**given)), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Remote(int(sys.argv[1]))))
