"""Requests of clients through real sockets, to a TWS that the test plays."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgpack

from ibbridge.client import aio, connect, stock
from tests.integration.rig import AAPL, PATIENCE, Bridge, Guest, Host, Market


def started(host: Host) -> Guest:
    """The daemon's next connection, when it has been told what each must be told."""
    guest = host.accept()
    guest.start()
    return guest


def test_the_type_of_market_data_that_a_client_has_set_outlives_the_connection_and_is_state() -> None:
    with Host() as host, Bridge(host.port, commands__allow="[reqMarketDataType]", tws__market_data_type=1) as bridge:
        with started(host) as guest:
            assert guest.request("reqMarketDataType")["marketDataType"] == 1
            sub = bridge.ready()
            assert bridge.do("status")["tws"]["marketDataType"] == 1
            bridge.do("reqMarketDataType", "a", marketDataType=3)
            assert guest.request("reqMarketDataType")["marketDataType"] == 3
            sub.until("connection", lambda data: data["marketDataType"] == 3)
        with started(host) as guest:
            assert guest.request("reqMarketDataType")["marketDataType"] == 3
            sub.until("heartbeat", lambda data: data["tws"]["stage"] == "ready" and data["tws"]["marketDataType"] == 3)
            assert bridge.do("status")["tws"]["marketDataType"] == 3
            (stream,) = bridge.do("snapshot", prefix="sys.tws.connection.")["streams"]
            assert [msgpack.unpackb(body)["data"]["marketDataType"] for _, body in stream["messages"]] == [3]
        bridge.says("market data type set to 3 by a")


BARS: dict[str, Any] = {
    "contract": stock("AAPL"), "durationStr": "3600 S", "barSizeSetting": "5 secs", "whatToShow": "TRADES",
    "keepUpToDate": True,
}  # fmt: skip


def test_bars_are_kept_up_to_date_in_the_loop_of_the_python_client() -> None:
    with Market() as tws, Bridge(tws.port) as bridge, connect("me", bridge.pub, bridge.rep, timeout=PATIENCE) as ib:
        made = ib.reqHistoricalData(**BARS)
        kinds = []
        for message in ib.messages(PATIENCE):
            if message.concerns(made):
                kinds.append(message.type)
            if kinds.count("historicalDataUpdate") == 3:
                break
        assert {*kinds} == {"historicalData", "historicalDataEnd", "historicalDataUpdate"}
        ib.cancelHistoricalData(made)


def test_bars_are_kept_up_to_date_in_the_loop_of_the_client_for_asyncio() -> None:
    async def go(bridge: Bridge) -> list[str]:
        kinds: list[str] = []
        async with aio.connect("me", bridge.pub, bridge.rep, timeout=PATIENCE) as ib:
            made = await ib.reqHistoricalData(**BARS)
            async for message in ib.messages(PATIENCE):
                if message.concerns(made):
                    kinds.append(message.type)
                if kinds.count("historicalDataUpdate") == 3:
                    break
        return kinds

    with Market() as tws, Bridge(tws.port) as bridge:
        kinds = asyncio.run(go(bridge))
    assert {*kinds} == {"historicalData", "historicalDataEnd", "historicalDataUpdate"}


def test_the_same_bars_again_are_held_back_and_the_reply_says_until_when() -> None:
    asked: dict[str, Any] = {"contract": AAPL, "durationStr": "600 S", "whatToShow": "TRADES"}
    asked["barSizeSetting"] = "30 secs"
    with Market() as tws, Bridge(tws.port) as bridge:
        sub = bridge.ready()
        assert "held_until" not in bridge.do("reqHistoricalData", "a", **asked)
        sub.until("historicalDataEnd")
        begin = time.time()
        held = bridge.do("reqHistoricalData", "b", **asked)
        assert 0 < held["held_until"] / 1e6 - begin <= 15.3
        assert held["held_by"] == "IB's limit 'same history': 1 in 15 s"
