"""A client that nobody here wrote, unchanged, against the simulator: server version 178, as it offers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math

import pytest

ib_async = pytest.importorskip("ib_async")

from ibbridge.sim import Simulator  # noqa: E402 - only of use with the client

PATIENCE = 20
"""Seconds after which a test that waits has failed; nothing depends on how soon it is."""


@contextlib.asynccontextmanager
async def trading(client_id=7):
    async with Simulator(seed=1, tick=0.005) as tws:
        ib = ib_async.IB()
        await ib.connectAsync("127.0.0.1", tws.port, clientId=client_id, timeout=PATIENCE)
        try:
            yield ib
        finally:
            ib.disconnect()


def with_patience(test):
    @functools.wraps(test)
    def run():
        asyncio.run(asyncio.wait_for(test(), PATIENCE))

    return run


async def happens(event, holds):
    """Wait for an event of the library's until what we wait for holds."""
    while not holds():
        await event


def apple():
    return ib_async.Stock("AAPL", "SMART", "USD", conId=265598)


@with_patience
async def test_it_connects_and_synchronises():
    async with trading() as ib:
        assert ib.client.serverVersion() == 178
        assert ib.managedAccounts() == ["DU1234567"]
        values = {value.tag: value.value for value in ib.accountValues() if value.currency == "USD"}
        assert values["NetLiquidation"] == "1000000.00"


@with_patience
async def test_it_finds_a_contract():
    async with trading() as ib:
        details = await ib.reqContractDetailsAsync(ib_async.Stock("AAPL", "SMART", "USD"))
        assert [row.contract.conId for row in details] == [265598]
        assert details[0].longName == "APPLE INC"
        assert await ib.reqContractDetailsAsync(ib_async.Stock("NOSUCH", "SMART", "USD")) == []


@with_patience
async def test_it_gets_ticks():
    async with trading() as ib:
        ticker = ib.reqMktData(apple(), "233")
        await happens(ticker.updateEvent, lambda: ticker.bid > 0 and ticker.last > 0)
        assert ticker.bid < ticker.ask
        assert ticker.marketDataType == 1
        before = ticker.bidSize, ticker.askSize
        await happens(ticker.updateEvent, lambda: (ticker.bidSize, ticker.askSize) != before)


@with_patience
async def test_it_buys_at_the_market_and_has_a_position():
    async with trading() as ib:
        trade = ib.placeOrder(apple(), ib_async.MarketOrder("BUY", 100))
        await happens(trade.statusEvent, trade.isDone)
        assert trade.orderStatus.status == "Filled"
        assert trade.filled() == 100
        await happens(ib.commissionReportEvent, lambda: trade.fills[0].commissionReport.commission > 0)
        assert trade.fills[0].commissionReport.commission == 1.0
        assert [(held.contract.symbol, held.position) for held in ib.positions()] == [("AAPL", 100.0)]
        assert ib.portfolio()[0].marketValue > 0


@with_patience
async def test_it_rests_a_limit_order_changes_it_and_cancels_it():
    async with trading() as ib:
        trade = ib.placeOrder(apple(), ib_async.LimitOrder("BUY", 100, 1.0))
        await happens(trade.statusEvent, lambda: trade.orderStatus.status == "Submitted")
        assert ib.openTrades() == [trade]
        trade.order.lmtPrice = 2.0
        ib.placeOrder(trade.contract, trade.order)
        await happens(ib.openOrderEvent, lambda: trade.order.lmtPrice == 2.0)
        ib.cancelOrder(trade.order)
        await happens(trade.statusEvent, trade.isDone)
        assert trade.orderStatus.status == "Cancelled"
        assert (trade.orderStatus.filled, trade.orderStatus.remaining) == (0, 100)


@with_patience
async def test_it_places_a_bracket():
    async with trading() as ib:
        bracket = ib.bracketOrder("BUY", 10, 999.0, 1000.0, 1.0)
        trades = [ib.placeOrder(apple(), order) for order in bracket]
        await happens(trades[0].statusEvent, trades[0].isDone)
        await happens(trades[1].statusEvent, lambda: trades[1].orderStatus.status == "Submitted")
        ib.cancelOrder(trades[1].order)
        await happens(trades[2].statusEvent, trades[2].isDone)
        assert [trade.orderStatus.status for trade in trades] == ["Filled", "Cancelled", "Cancelled"]


@with_patience
async def test_it_asks_what_an_order_would_cost():
    async with trading() as ib:
        state = await ib.whatIfOrderAsync(apple(), ib_async.MarketOrder("BUY", 100))
        assert state.commission == 1.0
        assert float(state.initMarginChange) > 0


@with_patience
async def test_it_gets_history():
    async with trading() as ib:
        bars = await ib.reqHistoricalDataAsync(apple(), "", "1 D", "5 mins", "TRADES", useRTH=False)
        assert len(bars) >= 288
        assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in bars)
        forex = await ib.reqHistoricalDataAsync(ib_async.Forex("EURUSD"), "", "1 M", "1 day", "MIDPOINT", useRTH=True)
        assert len(forex) > 15


@with_patience
async def test_it_gets_the_summary_and_the_profit():
    async with trading() as ib:
        summary = {row.tag: row.value for row in await ib.accountSummaryAsync()}
        assert summary["NetLiquidation"] == "1000000.00"
        profit = ib.reqPnL("DU1234567")
        await happens(ib.pnlEvent, lambda: not math.isnan(profit.dailyPnL))
        assert profit.dailyPnL == 0.0


@with_patience
async def test_it_sees_depth_and_every_tick():
    async with trading() as ib:
        book = ib.reqMktDepth(apple(), numRows=5, isSmartDepth=True)
        await happens(book.updateEvent, lambda: len(book.domBids) == len(book.domAsks) == 5)
        tape = ib.reqTickByTickData(apple(), "BidAsk")
        await happens(tape.updateEvent, lambda: bool(tape.tickByTicks))


# -- calls that ask rather than trade


@with_patience
async def test_it_reads_the_news():
    async with trading() as ib:
        providers = await ib.reqNewsProvidersAsync()
        assert "BRFG" in [provider.code for provider in providers]
        news = await ib.reqHistoricalNewsAsync(265598, "BRFG+DJNL", "", "", 3)
        assert [article.providerCode in ("BRFG", "DJNL") for article in news] == [True] * 3
        article = await ib.reqNewsArticleAsync(news[0].providerCode, news[0].articleId)
        assert article.articleText
        ib.reqNewsBulletins(allMessages=True)
        await happens(ib.newsBulletinEvent, lambda: bool(ib.newsBulletins()))
        ib.reqMktData(apple(), "mdoff,292:BRFG+DJNL+FLY+BRFUPDN")
        await happens(ib.tickNewsEvent, lambda: bool(ib.newsTicks()))


@with_patience
async def test_it_scans():
    async with trading() as ib:
        assert (await ib.reqScannerParametersAsync()).startswith("<?xml")
        wanted = ib_async.ScannerSubscription(
            instrument="STK", locationCode="STK.US.MAJOR", scanCode="MOST_ACTIVE", abovePrice=100, numberOfRows=5
        )
        rows = await ib.reqScannerDataAsync(wanted)
        assert [row.rank for row in rows] == [0, 1, 2, 3, 4]
        assert rows[0].contractDetails.contract.conId > 0


@with_patience
async def test_it_finds_options_and_computes_them():
    async with trading() as ib:
        chains = await ib.reqSecDefOptParamsAsync("AAPL", "", "STK", 265598)
        chain = next(chain for chain in chains if chain.exchange == "SMART")
        option = ib_async.Option("AAPL", chain.expirations[-1], chain.strikes[10], "C", "SMART", currency="USD")
        assert (await ib.qualifyContractsAsync(option))[0].conId > 0
        priced = await ib.calculateOptionPriceAsync(option, 0.3, chain.strikes[10])
        implied = await ib.calculateImpliedVolatilityAsync(option, priced.optPrice, chain.strikes[10])
        assert implied.impliedVol == pytest.approx(0.3)


@with_patience
async def test_it_exercises_an_option():
    async with trading() as ib:
        chains = await ib.reqSecDefOptParamsAsync("AAPL", "", "STK", 265598)
        option = ib_async.Option("AAPL", chains[0].expirations[-1], chains[0].strikes[0], "C", "SMART", currency="USD")
        await ib.qualifyContractsAsync(option)
        bought = ib.placeOrder(option, ib_async.MarketOrder("BUY", 2))
        await happens(bought.statusEvent, bought.isDone)
        ib.exerciseOptions(option, 1, 2, "DU1234567", 0)
        await happens(ib.positionEvent, lambda: any(held.contract.symbol == "AAPL" for held in stocks(ib)))
        assert [held.position for held in stocks(ib)] == [200]


def stocks(ib):
    return [held for held in ib.positions() if held.contract.secType == "STK"]


@with_patience
async def test_it_looks_names_and_exchanges_up():
    async with trading() as ib:
        samples = await ib.reqMatchingSymbolsAsync("AAPL")
        assert (samples[0].contract.conId, "OPT" in samples[0].derivativeSecTypes) == (265598, True)
        (details,) = await ib.reqContractDetailsAsync(apple())
        rules = [await ib.reqMarketRuleAsync(int(rule)) for rule in set(details.marketRuleIds.split(","))]
        assert rules[0][0].increment == details.minTick
        ticker = ib.reqMktData(apple())
        await happens(ticker.updateEvent, lambda: bool(ticker.bboExchange))
        components = await ib.reqSmartComponentsAsync(ticker.bboExchange)
        assert {component.exchange for component in components} < set(details.validExchanges.split(","))
        assert {each.exchange for each in await ib.reqMktDepthExchangesAsync()} > {"ISLAND", "CME"}


@with_patience
async def test_it_looks_back():
    async with trading() as ib:
        head = await ib.reqHeadTimeStampAsync(apple(), "TRADES", useRTH=True, formatDate=1)
        assert head.year < 2020
        histogram = await ib.reqHistogramDataAsync(apple(), useRTH=False, period="3 days")
        assert sum(row.count for row in histogram) > 0
        end = "20260105 12:00:00 US/Eastern"
        ticks = await ib.reqHistoricalTicksAsync(apple(), "", end, 50, "TRADES", useRth=False)
        assert len(ticks) >= 50
        schedule = await ib.reqHistoricalScheduleAsync(apple(), 5)
        assert schedule.sessions


@with_patience
async def test_it_asks_for_the_calendar_and_for_reports():
    async with trading() as ib:
        assert "wshe_ed" in await ib.getWshMetaDataAsync()
        events = await ib.getWshEventDataAsync(ib_async.WshEventData(conId=265598))
        assert events.startswith("[")
        assert "APPLE INC" in await ib.reqFundamentalDataAsync(apple(), "ReportSnapshot")


FOR_ANOTHER = (
    {"do": "stall", "stage": "ready"}, {"do": "half-open"}, {"do": "split"}, {"do": "merge"}, {"do": "slow", "rate": 5},
    {"do": "1100"}, {"do": "farm", "code": 2103, "farm": "usfarm"}, {"do": "farm", "code": 2157, "farm": "secdefnj"},
    {"do": "10182"}, {"do": "competing"}, {"do": "reject"}, {"do": "read-only"}, {"do": "order-events", "how": "lose"},
    {"do": "ignore", "requests": ["reqMktData", "placeOrder"]}, {"do": "lose", "messages": ["tickPrice"]},
    {"do": "delay", "seconds": 100}, {"do": "pace", "rate": 1}, {"do": "garbage", "kind": "length"}, {"do": "1300"},
    {"do": "id-in-use"}, {"do": "drop"}, {"do": "close"},
)  # fmt: skip


@with_patience
async def test_faults_of_another_client_do_not_concern_it():
    async with Simulator(seed=1, tick=0.005, pace=50) as tws:
        ib, other = ib_async.IB(), ib_async.IB()
        await ib.connectAsync("127.0.0.1", tws.port, clientId=7, timeout=PATIENCE)
        await other.connectAsync("127.0.0.1", tws.port, clientId=1, timeout=PATIENCE)
        gone = asyncio.Event()
        other.disconnectedEvent += gone.set
        ticker = ib.reqMktData(apple())
        for each in FOR_ANOTHER:
            tws.fault({**each, "client": 1})
            if each["do"] not in ("drop", "close", "1300"):
                await happens(ticker.updateEvent, lambda: ticker.bid > 0)
        trade = ib.placeOrder(apple(), ib_async.MarketOrder("BUY", 100))
        await happens(trade.statusEvent, trade.isDone)
        assert trade.orderStatus.status == "Filled"
        before = ticker.bidSize, ticker.askSize
        await happens(ticker.updateEvent, lambda: (ticker.bidSize, ticker.askSize) != before)
        assert len(await ib.reqContractDetailsAsync(ib_async.Stock("AAPL", "SMART", "USD"))) == 1
        await gone.wait()
        assert ib.isConnected()
        assert 7 not in tws.figures()["violations"]
        ib.disconnect()
