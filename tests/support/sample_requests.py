"""A sensible request of every kind: what a client that knows what it wants would ask."""

from __future__ import annotations

from typing import Any

from ibbridge.codec.messages import REQUESTS
from tests.support.simulator_client import AAPL, CALL

HISTORY = {
    "endDateTime": "", "durationStr": "1 D", "barSizeSetting": "1 hour", "whatToShow": "TRADES", "useRTH": 0,
    "formatDate": 1, "keepUpToDate": False,
}  # fmt: skip
SCAN = {"instrument": "STK", "locationCode": "STK.US.MAJOR", "scanCode": "MOST_ACTIVE", "numberOfRows": 5}
ORDER = {"action": "BUY", "totalQuantity": 1.0, "orderType": "LMT", "lmtPrice": 1.0}

SOUND: dict[str, dict[str, Any]] = {
    "startApi": {"clientId": 1, "optionalCapabilities": ""},
    "reqIds": {"numIds": 1},
    "reqManagedAccts": {},
    "reqCurrentTime": {},
    "reqCurrentTimeInMillis": {},
    "setServerLogLevel": {"logLevel": 2},
    "verifyRequest": {"apiName": "name", "apiVersion": "1"},
    "verifyMessage": {"apiData": "data"},
    "verifyAndAuthRequest": {"apiName": "name", "apiVersion": "1", "opaqueIsvKey": "key"},
    "verifyAndAuthMessage": {"apiData": "data", "xyzResponse": "answer"},
    "reqMktData": {"reqId": 1, "contract": AAPL, "genericTickList": "233,292", "snapshot": False},
    "cancelMktData": {"reqId": 1},
    "reqMarketDataType": {"marketDataType": 3},
    "reqMktDepth": {"reqId": 2, "contract": AAPL, "numRows": 3, "isSmartDepth": True},
    "cancelMktDepth": {"reqId": 2, "isSmartDepth": True},
    "reqTickByTickData": {
        "reqId": 3, "contract": AAPL, "tickType": "BidAsk", "numberOfTicks": 0, "ignoreSize": False
    },
    "cancelTickByTickData": {"reqId": 3},
    "reqRealTimeBars": {"reqId": 4, "contract": AAPL, "barSize": 5, "whatToShow": "TRADES", "useRTH": 0},
    "cancelRealTimeBars": {"reqId": 4},
    "reqMktDepthExchanges": {},
    "reqSmartComponents": {"reqId": 5, "bboExchange": "a60001"},
    "reqMarketRule": {"marketRuleId": 26},
    "reqMatchingSymbols": {"reqId": 6, "pattern": "app"},
    "reqFundamentalData": {"reqId": 7, "contract": AAPL, "reportType": "ReportSnapshot"},
    "cancelFundamentalData": {"reqId": 7},
    "calculateImpliedVolatility": {"reqId": 8, "contract": CALL, "optionPrice": 10.0, "underPrice": 230.0},
    "cancelCalculateImpliedVolatility": {"reqId": 8},
    "calculateOptionPrice": {"reqId": 9, "contract": CALL, "volatility": 0.3, "underPrice": 230.0},
    "cancelCalculateOptionPrice": {"reqId": 9},
    "exerciseOptions": {"reqId": 900, "contract": CALL, "exerciseAction": 1, "exerciseQuantity": 1, "override": 1},
    "placeOrder": {"orderId": 901, "contract": AAPL, "order": ORDER},
    "cancelOrder": {"orderId": 901, "orderCancel": {}},
    "reqGlobalCancel": {"orderCancel": {}},
    "reqOpenOrders": {},
    "reqAllOpenOrders": {},
    "reqAutoOpenOrders": {"bAutoBind": True},
    "reqCompletedOrders": {"apiOnly": False},
    "reqExecutions": {"reqId": 10, "execFilter": {}},
    "reqAccountUpdates": {"subscribe": True, "acctCode": ""},
    "reqAccountSummary": {"reqId": 11, "groupName": "All", "tags": "NetLiquidation"},
    "cancelAccountSummary": {"reqId": 11},
    "reqPositions": {},
    "cancelPositions": {},
    "reqPositionsMulti": {"reqId": 12, "account": "DU1234567", "modelCode": ""},
    "cancelPositionsMulti": {"reqId": 12},
    "reqAccountUpdatesMulti": {"reqId": 13, "account": "DU1234567", "modelCode": "", "ledgerAndNLV": False},
    "cancelAccountUpdatesMulti": {"reqId": 13},
    "reqPnL": {"reqId": 14, "account": "DU1234567", "modelCode": ""},
    "cancelPnL": {"reqId": 14},
    "reqPnLSingle": {"reqId": 15, "account": "DU1234567", "modelCode": "", "conid": 265598},
    "cancelPnLSingle": {"reqId": 15},
    "reqContractDetails": {"reqId": 16, "contract": AAPL},
    "cancelContractData": {"reqId": 16},
    "reqSecDefOptParams": {
        "reqId": 17, "underlyingSymbol": "AAPL", "futFopExchange": "", "underlyingSecType": "STK",
        "underlyingConId": 265598,
    },
    "reqHistoricalData": {"reqId": 18, "contract": AAPL, **HISTORY},
    "cancelHistoricalData": {"reqId": 18},
    "reqHeadTimeStamp": {"reqId": 19, "contract": AAPL, "whatToShow": "TRADES"},
    "cancelHeadTimeStamp": {"reqId": 19},
    "reqHistogramData": {"tickerId": 20, "contract": AAPL, "useRTH": False, "timePeriod": "3 days"},
    "cancelHistogramData": {"tickerId": 20},
    "reqHistoricalTicks": {
        "reqId": 21, "contract": AAPL, "endDateTime": "20260105 09:30:00 US/Eastern", "numberOfTicks": 10,
        "whatToShow": "TRADES",
    },
    "cancelHistoricalTicks": {"reqId": 21},
    "reqNewsBulletins": {"allMsgs": True},
    "cancelNewsBulletins": {},
    "reqNewsProviders": {},
    "reqNewsArticle": {"reqId": 22, "providerCode": "BRFG", "articleId": "BRFG$0"},
    "reqHistoricalNews": {"reqId": 23, "conId": 265598, "providerCodes": "BRFG+DJNL", "totalResults": 5},
    "reqScannerParameters": {},
    "reqScannerSubscription": {"reqId": 24, "subscription": SCAN},
    "cancelScannerSubscription": {"reqId": 24},
    "reqWshMetaData": {"reqId": 25},
    "cancelWshMetaData": {"reqId": 25},
    "reqWshEventData": {"reqId": 26, "wshEventData": {"conId": 265598}},
    "cancelWshEventData": {"reqId": 26},
    "requestFA": {"faData": 1},
    "replaceFA": {"reqId": 27, "faData": 1, "cxml": "<ListOfGroups/>"},
    "reqSoftDollarTiers": {"reqId": 28},
    "reqFamilyCodes": {},
    "reqUserInfo": {"reqId": 29},
    "queryDisplayGroups": {"reqId": 30},
    "subscribeToGroupEvents": {"reqId": 31, "groupId": 1},
    "updateDisplayGroup": {"reqId": 31, "contractInfo": "265598@SMART"},
    "unsubscribeFromGroupEvents": {"reqId": 31},
    "reqConfig": {"configRequestProto": {"reqId": 32}},
    "updateConfig": {"updateConfigRequestProto": {"reqId": 33, "lockAndExit": {"autoLogoffTime": "10:00"}}},
}  # fmt: skip

SETTINGS_REFUSED = {"startApi": 321, "reqAutoOpenOrders": 327}
"""Settings that are refused as they are asked for here: a second start, and binding for a client that is not 0."""


def usual(version: int) -> list[tuple[str, dict[str, Any]]]:
    """Every request that there is at a version, in the order of the declarations, cancels after what they cancel."""
    return [(name, SOUND[name]) for name, request in REQUESTS.items() if request.exists(version)]
