"""Roles: the policies that a configuration begins with, spelt out as a configuration would spell them.

Pure. The module has tables and nothing else: `policy_terms` reads a policy, and `rights` applies one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OBSERVING = ("ping", "status", "snapshot", "replay", "hello", "alive", "logout", "orders")
"""Commands that change nothing and ask TWS for nothing."""

ASKING = (
    "calculateImpliedVolatility",
    "calculateOptionPrice",
    "cancelCalculateImpliedVolatility",
    "cancelCalculateOptionPrice",
    "cancelContractData",
    "cancelFundamentalData",
    "cancelHeadTimeStamp",
    "cancelHistogramData",
    "cancelHistoricalData",
    "cancelHistoricalTicks",
    "cancelMktData",
    "cancelMktDepth",
    "cancelNewsBulletins",
    "cancelRealTimeBars",
    "cancelScannerSubscription",
    "cancelTickByTickData",
    "cancelWshEventData",
    "cancelWshMetaData",
    "leases",
    "release",
    "reqContractDetails",
    "reqCurrentTime",
    "reqCurrentTimeInMillis",
    "reqFundamentalData",
    "reqHeadTimeStamp",
    "reqHistogramData",
    "reqHistoricalData",
    "reqHistoricalNews",
    "reqHistoricalTicks",
    "reqMarketRule",
    "reqMatchingSymbols",
    "reqMktData",
    "reqMktDepth",
    "reqMktDepthExchanges",
    "reqNewsArticle",
    "reqNewsBulletins",
    "reqNewsProviders",
    "reqRealTimeBars",
    "reqScannerParameters",
    "reqScannerSubscription",
    "reqSecDefOptParams",
    "reqSmartComponents",
    "reqTickByTickData",
    "reqWshEventData",
    "reqWshMetaData",
)
"""Requests for data that is no account's, and the commands about the leases of that data: only the client's own."""

TRADING = (
    "cancelAccountSummary",
    "cancelAccountUpdatesMulti",
    "cancelOrder",
    "cancelOrders",
    "cancelPnL",
    "cancelPnLSingle",
    "cancelPositions",
    "cancelPositionsMulti",
    "exerciseOptions",
    "modifyOrder",
    "placeOrder",
    "placeOrders",
    "reconcile",
    "reqAccountSummary",
    "reqAccountUpdates",
    "reqAccountUpdatesMulti",
    "reqManagedAccts",
    "reqPnL",
    "reqPnLSingle",
    "reqPositions",
    "reqPositionsMulti",
    "reqSoftDollarTiers",
    "reqUserInfo",
    "riskExplain",
    "whatIfOrder",
)
"""Commands about the client's own orders, and requests for data of accounts. Requests whose responses show the orders
of everybody (`reqExecutions`, `reqAllOpenOrders`, `reqCompletedOrders`, `reqOpenOrders`) are not among them."""

_INSTRUMENTS: Mapping[str, tuple[str, ...]] = {
    "symbols": ("*",),
    "security_types": ("*",),
    "exchanges": ("*",),
    "currencies": ("*",),
}
_OWN = ("ord.{name}.", "exec.{name}.", "req.{name}.")

ROLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "observer": {
        "commands": OBSERVING,
        "topics": ("md.", "sys.tws.", "sys.bridge.", *_OWN),
        **_INSTRUMENTS,
    },
    "data": {
        "commands": (*OBSERVING, *ASKING),
        "topics": ("md.", "news.", "sys.tws.", "sys.bridge.", *_OWN),
        **_INSTRUMENTS,
    },
    "trader": {
        "commands": (*OBSERVING, *ASKING, *TRADING),
        "topics": ("md.", "news.", "sys.tws.", "sys.bridge.", *_OWN, "acct."),
        "accounts": ("*",),
        **_INSTRUMENTS,
    },
    "admin": {
        "commands": ("*",),
        "topics": ("*",),
        "accounts": ("*",),
        **_INSTRUMENTS,
    },
}
"""Roles that are there without configuration, by name. `{name}` is the client's name."""
