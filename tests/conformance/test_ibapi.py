"""IB's own client, unchanged, against the simulator: server version 226, nearly all in protobuf."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from decimal import Decimal

import pytest

pytest.importorskip("ibapi")

from ibapi.client import EClient
from ibapi.common import WshEventData
from ibapi.contract import Contract
from ibapi.order import Order
from ibapi.protobuf.ConfigRequest_pb2 import ConfigRequest
from ibapi.protobuf.UpdateConfigRequest_pb2 import UpdateConfigRequest
from ibapi.scanner import ScannerSubscription
from ibapi.wrapper import EWrapper

from ibbridge.sim import Simulator

PATIENCE = 20
"""Seconds after which a test that waits has failed; nothing depends on how soon it is."""
CALLBACKS = [name for name in vars(EWrapper) if not name.startswith("_")]


def recording(name):
    def callback(self, *args):
        self.heard.put((name, args))

    return callback


class Recorder(EWrapper, EClient):  # type: ignore[misc]
    """The client, with what it is told in a queue."""

    def __init__(self):
        self.heard: queue.Queue = queue.Queue()
        EClient.__init__(self, wrapper=self)

    def until(self, name, holds=lambda *_: True):
        """The arguments of the next call of this name for which it holds. A refusal in between fails the test."""
        end = time.monotonic() + PATIENCE
        while True:
            called, args = self.heard.get(timeout=max(end - time.monotonic(), 0.01))
            if called == name and holds(*args):
                return args
            if called == "error" and name != "error":
                assert args[2] > 2000, args  # farms and the like


for each in CALLBACKS:
    setattr(Recorder, each, recording(each))


def connected(script):
    """Run a script with a connected client in a thread of its own, the simulator in this one."""

    def talk(port):
        app = Recorder()
        app.connect("127.0.0.1", port, clientId=5)
        reading = threading.Thread(target=app.run, daemon=True)
        reading.start()
        try:
            app.until("nextValidId")
            script(app)
        finally:
            app.disconnect()
            reading.join(PATIENCE)

    async def serve():
        async with Simulator(seed=1, tick=0.005) as tws:
            await asyncio.to_thread(talk, tws.port)

    asyncio.run(asyncio.wait_for(serve(), 3 * PATIENCE))


def contract(symbol="AAPL", sec_type="STK", **more):
    made = Contract()
    made.symbol, made.secType, made.exchange, made.currency = symbol, sec_type, "SMART", "USD"
    for name, value in more.items():
        setattr(made, name, value)
    return made


def market_order(action, quantity):
    order = Order()
    order.action, order.orderType, order.totalQuantity = action, "MKT", Decimal(quantity)
    return order


def test_it_speaks_the_newest_version_and_trades():
    def script(app):
        assert app.serverVersion() == 226
        app.placeOrder(10, contract(), market_order("BUY", 100))
        _, _, execution = app.until("execDetails")
        assert (execution.orderId, execution.shares) == (10, Decimal(100))
        assert app.until("orderStatus", lambda _, status, *__: status == "Filled")[2] == Decimal(100)
        assert app.until("commissionAndFeesReport")[0].commissionAndFees == 1.0
        app.reqPositions()
        assert app.until("position")[1].symbol == "AAPL"

    connected(script)


def test_it_looks_up():
    def script(app):
        app.reqContractDetails(1, contract())
        details = app.until("contractDetails")[1]
        assert details.contract.conId == 265598
        app.reqMarketRule(int(details.marketRuleIds.split(",")[0]))
        assert app.until("marketRule")[1][0].increment == details.minTick
        app.reqMktData(2, contract(), "292", False, False, [])
        key = app.until("tickReqParams")[2]
        assert app.until("tickNews")[0] == 2
        app.reqSmartComponents(3, key)
        assert len(app.until("smartComponents")[1]) > 10
        app.reqMatchingSymbols(4, "AAPL")
        assert app.until("symbolSamples")[1][0].contract.conId == 265598
        app.reqSecDefOptParams(5, "AAPL", "", "STK", 265598)
        assert app.until("securityDefinitionOptionParameter")[1] == "SMART"
        app.until("securityDefinitionOptionParameterEnd")
        app.reqMktDepthExchanges()
        assert len(app.until("mktDepthExchanges")[0]) > 20
        app.reqFamilyCodes()
        assert app.until("familyCodes")[0][0].accountID == "DU1234567"
        app.reqSoftDollarTiers(6)
        assert app.until("softDollarTiers") == (6, [])
        app.reqUserInfo(7)
        assert app.until("userInfo") == (7, "")
        app.queryDisplayGroups(8)
        assert app.until("displayGroupList")[1].startswith("1|2")
        app.subscribeToGroupEvents(9, 1)
        assert app.until("displayGroupUpdated")[1] == "none"
        app.updateDisplayGroup(9, "265598@SMART")
        assert app.until("displayGroupUpdated")[1] == "265598@SMART"

    connected(script)


def test_it_computes_and_exercises_options():
    def script(app):
        app.reqSecDefOptParams(1, "AAPL", "", "STK", 265598)
        _, _, _, _, _, expirations, strikes = app.until("securityDefinitionOptionParameter")
        option = contract(sec_type="OPT", lastTradeDateOrContractMonth=max(expirations), strike=min(strikes), right="C")
        app.calculateOptionPrice(2, option, 0.3, min(strikes), [])
        price = app.until("tickOptionComputation")[5]
        app.calculateImpliedVolatility(3, option, price, min(strikes), [])
        assert app.until("tickOptionComputation")[3] == pytest.approx(0.3)
        app.placeOrder(10, option, market_order("BUY", 1))
        app.until("orderStatus", lambda _, status, *__: status == "Filled")
        app.exerciseOptions(11, option, 1, 1, "DU1234567", 0, "", "", False)
        assert app.until("execDetails", lambda _, what, __: what.secType == "STK")[2].shares == Decimal(100)
        app.until("orderStatus", lambda number, status, *_: (number, status) == (11, "Filled"))

    connected(script)


def test_it_looks_back():
    def script(app):
        app.reqHeadTimeStamp(1, contract(), "TRADES", 1, 2)
        assert int(app.until("headTimestamp")[1]) > 0
        app.reqHistogramData(2, contract(), False, "3 days")
        assert app.until("histogramData")[1]
        app.reqHistoricalTicks(3, contract(), "", "20260105 12:00:00 US/Eastern", 20, "BID_ASK", 0, False, [])
        assert len(app.until("historicalTicksBidAsk")[1]) >= 20
        app.reqHistoricalData(4, contract(), "", "1 D", "1 hour", "TRADES", 0, 1, False, [])
        app.until("historicalDataEnd")
        app.reqHistoricalData(5, contract(), "", "5 D", "1 day", "SCHEDULE", 0, 1, False, [])
        assert app.until("historicalSchedule")[4]

    connected(script)


def test_it_reads_the_news_and_the_calendar():
    def script(app):
        app.reqNewsProviders()
        assert app.until("newsProviders")[0][0].code == "BRFG"
        app.reqHistoricalNews(1, 265598, "BRFG", "", "", 2, [])
        _, _, provider, article, _ = app.until("historicalNews")
        assert app.until("historicalNewsEnd") == (1, True)
        app.reqNewsArticle(2, provider, article, [])
        assert app.until("newsArticle")[2]
        app.reqNewsBulletins(True)
        assert app.until("updateNewsBulletin")[2]
        app.reqWshMetaData(3)
        assert json.loads(app.until("wshMetaData")[1])["meta_data"]["event_types"]
        wanted = WshEventData()
        wanted.conId = 265598
        app.reqWshEventData(4, wanted)
        assert all(event["conids"] == ["265598"] for event in json.loads(app.until("wshEventData")[1]))

    connected(script)


def test_it_scans():
    def script(app):
        app.reqScannerParameters()
        assert app.until("scannerParameters")[0].startswith("<?xml")
        wanted = ScannerSubscription()
        wanted.instrument, wanted.locationCode, wanted.scanCode = "STK", "STK.US", "MOST_ACTIVE"
        app.reqScannerSubscription(1, wanted, [], [])
        assert app.until("scannerData")[1] == 0
        app.until("scannerDataEnd")
        app.cancelScannerSubscription(1)
        assert app.until("error", lambda _, __, code, *___: code == 162)[0] == 1

    connected(script)


def test_it_reads_and_changes_the_configuration():
    def script(app):
        app.reqConfigProtoBuf(ConfigRequest(reqId=1))
        before = app.until("configResponseProtoBuf")[0]
        assert (before.reqId, before.api.settings.bulkDataTimeout) == (1, 30)
        wanted = UpdateConfigRequest(reqId=2)
        wanted.api.settings.bulkDataTimeout = 60
        wanted.api.precautions.bypassOrderPrecautions = True
        app.updateConfigProtoBuf(wanted)
        first = app.until("updateConfigResponseProtoBuf")[0]
        assert (first.status, len(first.warnings)) == ("Warning", 1)
        wanted.acceptedWarnings.extend(first.warnings)
        app.updateConfigProtoBuf(wanted)
        second = app.until("updateConfigResponseProtoBuf")[0]
        assert (second.status, len(second.changedFields)) == ("Success", 2)
        app.reqConfigProtoBuf(ConfigRequest(reqId=3))
        assert app.until("configResponseProtoBuf")[0].api.settings.bulkDataTimeout == 60

    connected(script)


def test_who_is_no_advisor_is_told_so():
    def script(app):
        app.requestFA(1)
        assert app.until("error", lambda _, __, code, *___: code == 321)[0] == 2147483647
        app.reqCurrentTime()
        app.until("currentTime")

    connected(script)
