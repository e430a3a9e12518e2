"""A client that nobody here wrote is recorded on its way to the simulator, and trades again on the recording."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

ib_async = pytest.importorskip("ib_async")

from ibbridge.recording.player import Playback, Player, Script  # noqa: E402 - only of use with the client
from ibbridge.recording.proxy import RecordingProxy  # noqa: E402
from ibbridge.recording.writer import OneFile, Recorder  # noqa: E402
from ibbridge.sim import Simulator  # noqa: E402

PATIENCE = 20
"""Seconds after which a test that waits has failed; nothing depends on how soon it is."""


async def happens(event: Any, holds: Any) -> None:
    while not holds():
        await event


async def traded(port: int, client_id: int) -> dict[str, Any]:
    """Buy, have another order cancelled, and return what the client saw of both."""
    ib = ib_async.IB()
    await ib.connectAsync("127.0.0.1", port, clientId=client_id, timeout=PATIENCE)
    with contextlib.ExitStack() as stack:
        stack.callback(ib.disconnect)
        apple = ib_async.Stock("AAPL", "SMART", "USD")
        details = await ib.reqContractDetailsAsync(apple)
        bought = ib.placeOrder(apple, ib_async.MarketOrder("BUY", 100))
        await happens(bought.statusEvent, bought.isDone)
        await happens(ib.commissionReportEvent, lambda: bought.fills[0].commissionReport.commission > 0)
        rested = ib.placeOrder(apple, ib_async.LimitOrder("BUY", 100, 1.0))
        await happens(rested.statusEvent, lambda: rested.orderStatus.status == "Submitted")
        ib.cancelOrder(rested.order)
        await happens(rested.statusEvent, rested.isDone)
        return {
            "found": [row.contract.conId for row in details],
            "orders": [(trade.order.orderId, trade.orderStatus.status) for trade in (bought, rested)],
            "fills": [(fill.execution.execId, fill.execution.price) for fill in bought.fills],
            "clients": {fill.execution.clientId for fill in bought.fills} - {client_id},
            "held": [(each.contract.symbol, each.position, each.avgCost) for each in ib.positions()],
        }


def test_it_sees_the_same_under_another_client_id_as_well(tmp_path):
    path = tmp_path / "r.ibrec"

    async def recorded() -> dict[str, Any]:
        with contextlib.closing(Recorder(OneFile(path))) as recorder:
            async with Simulator(seed=1, tick=0.005) as tws, RecordingProxy(recorder, "127.0.0.1", tws.port) as tap:
                return await traded(tap.port, 7)

    async def played(client_id: int) -> dict[str, Any]:
        async with Player(Script([path]), Playback(speed=float("inf"), patience=PATIENCE)) as player:
            return await traded(player.port, client_id)

    async def run() -> None:
        wanted = await recorded()
        assert [status for _, status in wanted["orders"]] == ["Filled", "Cancelled"]
        for client_id in (7, 8):
            assert await played(client_id) == wanted

    asyncio.run(asyncio.wait_for(run(), 4 * PATIENCE))
