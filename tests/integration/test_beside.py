"""A client that nobody here wrote, beside the daemon at the same TWS, while that misbehaves to the daemon alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

ib_async = pytest.importorskip("ib_async")

from tests.integration.rig import AAPL, PATIENCE, Bridge, Market  # noqa: E402 - only of use with the client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

OURS, THEIRS = 1, 7

FAULTS: tuple[dict[str, Any], ...] = (
    {"do": "half-open"}, {"do": "stall", "stage": "ready"}, {"do": "split"}, {"do": "slow", "rate": 50},
    {"do": "1100"}, {"do": "1101"}, {"do": "farm", "code": 2103, "farm": "usfarm"}, {"do": "competing"},
    {"do": "reject"}, {"do": "read-only"}, {"do": "order-events", "how": "lose"}, {"do": "pace", "rate": 1},
    {"do": "ignore", "requests": ["reqMktData", "placeOrder"]}, {"do": "lose", "messages": ["tickPrice"]},
    {"do": "garbage", "kind": "length"}, {"do": "1300"}, {"do": "id-in-use"}, {"do": "drop"}, {"do": "close"},
)  # fmt: skip


async def _until(event: Any, holds: Callable[[], bool]) -> None:
    while not holds():
        await event


async def _flowing(ticker: Any) -> AsyncIterator[None]:
    """Goes on whenever sizes have changed."""

    def sizes() -> tuple[float, float]:
        return ticker.bidSize, ticker.askSize

    while True:
        before = sizes()
        while sizes() == before:
            await ticker.updateEvent
        yield


async def _trades(market: Market, lost: Callable[[], object]) -> None:
    apple = ib_async.Stock("AAPL", "SMART", "USD", conId=265598)
    ib = ib_async.IB()
    await ib.connectAsync("127.0.0.1", market.port, clientId=THEIRS, timeout=PATIENCE)
    try:
        flow = _flowing(ib.reqMktData(apple))
        for each in FAULTS:
            market.fault(**each, client=OURS)
            await anext(flow)
        trade = ib.placeOrder(apple, ib_async.MarketOrder("BUY", 100))
        await _until(trade.statusEvent, trade.isDone)
        assert trade.orderStatus.status == "Filled"
        assert sum(fill.execution.shares for fill in trade.fills) == 100
        assert len(await ib.reqContractDetailsAsync(apple)) == 1
        await asyncio.to_thread(lost)
        await anext(flow)
        assert ib.isConnected()
        assert THEIRS not in market.fault(do="figures")["figures"]["violations"]
    finally:
        ib.disconnect()


def test_ib_async_trades_at_the_same_tws_while_the_daemon_has_every_trouble_there_is():
    soon: dict[str, Any] = {"tws__silence_timeout": 2, "tws__probe_after": 1, "tws__start_timeout": 1}
    with Market(pace=1000) as market, Bridge(market.port, **soon, tws__client_id_retry=0.2) as bridge:
        sub = bridge.ready()
        bridge.do("reqMktData", contract=AAPL)
        sub.until("tickPrice", topic="md.AAPL-")
        asyncio.run(asyncio.wait_for(_trades(market, lambda: sub.until("connection", _down)), 2 * PATIENCE))
        market.fault(do="off")
        market.fault(do="close", client=OURS)
        bridge.sub("sys.").until("heartbeat", lambda data: data["tws"]["stage"] == "ready")
        assert bridge.sub("md.").until("tickPrice", topic="md.AAPL-").body["gen"] > 1


def _down(data: dict[str, Any]) -> bool:
    return bool(data["stage"] == "down")
