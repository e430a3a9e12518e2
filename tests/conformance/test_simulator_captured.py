"""Every message that the simulator sends, laid beside a frame of its kind that a gateway sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ibbridge.codec import Dialect
from ibbridge.codec.messages import MESSAGES
from ibbridge.sim.encoding import Encoder
from tests.conformance import situations as s
from tests.conformance.captured import FRAMES, Frame
from tests.conformance.frame_shapes import PROTOBUF_IDS, RAW_IDS, differences, name_of, shape_of
from tests.support.simulator_client import AAPL, CALL

SITUATIONS: dict[str, Any] = {
    "bond, two ids": s.details(s.BOND),
    "bond, one id": s.details(s.BOND),
    "bond with reasons": s.details(s.BOND),
    "fund": s.details(s.FUND),
    "fund details": s.details(s.FUND),
    "option details": s.details(CALL),
    "future details": s.details(s.ES),
    "stock details": s.details(AAPL),
    "details end": s.details(AAPL),
    "time in ms": s.asked("reqCurrentTimeInMillis"),
    "time": s.asked("reqCurrentTime"),
    "family codes": s.asked("reqFamilyCodes"),
    "families": s.asked("reqFamilyCodes"),
    "news providers": s.asked("reqNewsProviders"),
    "position multi end": s.held("reqPositionsMulti", reqId=1, account="DU1234567", modelCode=""),
    "position multi, text body behind a raw id": s.held("reqPositionsMulti", reqId=1, account="", modelCode=""),
    "position multi": s.held("reqPositionsMulti", reqId=1, account="DU1234567", modelCode=""),
    "pnl": s.opened("reqPnL", 2, reqId=1, account="DU1234567", modelCode=""),
    "200 pnl: pnl": s.held("reqPnL", 2, reqId=1, account="DU1234567", modelCode=""),
    "206 tickOptionComputation: option computation": s.asked("reqMktData", reqId=1, contract=CALL, genericTickList=""),
    "200 tickOptionComputation: option computation": s.asked(
        "calculateOptionPrice", reqId=1, contract=CALL, volatility=0.3, underPrice=230.0
    ),
    "pnl single": s.opened("reqPnLSingle", 2, reqId=1, account="DU1234567", modelCode="", conid=265598),
    "200 orderStatus: order status": s.by_hand,
    "order status": s.plain_limit,
    "order status, pre-submitted": s.plain_limit,
    "order status, cancelled": s.cancelled,
    "account value": s.asked("reqAccountUpdates", subscribe=True, acctCode=""),
    "200 updatePortfolio: portfolio": s.held("reqAccountUpdates", subscribe=True, acctCode=""),
    "portfolio": s.opened("reqAccountUpdates", contract=s.HYNIX, subscribe=True, acctCode=""),
    "account time": s.asked("reqAccountUpdates", subscribe=True, acctCode=""),
    "account end": s.asked("reqAccountUpdates", subscribe=True, acctCode=""),
    "account multi": s.asked("reqAccountUpdatesMulti", reqId=1, account="DU1234567", modelCode="", ledgerAndNLV=True),
    "account multi end": s.asked("reqAccountUpdatesMulti", reqId=1, account="", modelCode="", ledgerAndNLV=True),
    "account summary": s.asked("reqAccountSummary", reqId=1, groupName="All", tags="NetLiquidation"),
    "account summary end": s.asked("reqAccountSummary", reqId=1, groupName="All", tags="NetLiquidation"),
    "display groups": s.asked("queryDisplayGroups", reqId=1),
    "groups": s.asked("queryDisplayGroups", reqId=1),
    "display group": s.asked("subscribeToGroupEvents", reqId=1, groupId=1),
    "group": s.asked("subscribeToGroupEvents", reqId=1, groupId=1),
    "no tiers": s.asked("reqSoftDollarTiers", reqId=1),
    "article": s.article,
    "headline": s.asked("reqHistoricalNews", reqId=1, **s.NEWS),
    "headlines end": s.asked("reqHistoricalNews", reqId=1, **s.NEWS),
    "head timestamp": s.asked("reqHeadTimeStamp", reqId=1, contract=AAPL, whatToShow="TRADES", useRTH=0, formatDate=1),
    "bulletin": s.asked("reqNewsBulletins", allMsgs=True),
    "completed orders end": s.asked("reqCompletedOrders", apiOnly=False),
    "commission": s.filled("SELL"),
    "commission with a profit": s.filled("SELL"),
    "commission of an opening": s.filled(),
    "executions end": s.asked("reqExecutions", reqId=1, execFilter={}),
    "200 execDetails: execution": s.filled(),
    "execution": s.filled(orderRef="ref"),
    "completed TRAIL LIMIT": s.completed(**s.TRAILING),
    "completed order, cancelled by the system": s.completed(**s.RESTING),
    "chain": s.asked("reqSecDefOptParams", reqId=1, **s.CHAIN),
    "odd chain": s.asked("reqSecDefOptParams", reqId=1, **s.CHAIN),
    "chain end": s.asked("reqSecDefOptParams", reqId=1, **s.CHAIN),
    "generic": s.asked("reqMktData", reqId=1, contract=AAPL, genericTickList="236"),
    "206 tickString: string": s.asked("reqMktData", reqId=1, contract=AAPL, genericTickList="456"),
    "string": s.asked("reqMktData", reqId=1, contract=AAPL, genericTickList=""),
    "request parameters": s.asked("reqMktData", reqId=1, contract=AAPL, genericTickList=""),
    "price": s.asked("reqMktData", reqId=1, contract=AAPL, genericTickList="221"),
    "size": s.asked("reqMktData", reqId=1, contract=AAPL, genericTickList="236"),
    "data type": s.delayed,
    "delayed bid": s.delayed,
    "delayed volume": s.delayed,
    "delayed last": s.delayed,
    "snapshot end": s.asked("reqMktData", 12, reqId=1, contract=AAPL, snapshot=True),
    "open order with a price condition": s.conditional(s.PRICE),
    "open order with an execution condition": s.conditional(s.EXECUTION),
    "open order of a bracket's child": s.bracket_child,
    "open order, plain limit order": s.plain_limit,
    "open order, combination with prices of its legs": s.combination,
    "open order of another client": s.by_hand,
    "open orders end": s.asked("reqOpenOrders"),
    "user info": s.asked("reqUserInfo", reqId=1),
    "market rule": s.asked("reqMarketRule", marketRuleId=26),
    "bars": s.asked("reqHistoricalData", reqId=1, contract=AAPL, **s.HISTORY),
    "bars end": s.asked("reqHistoricalData", reqId=1, contract=AAPL, **s.HISTORY),
    "schedule": s.asked(
        "reqHistoricalData",
        reqId=1,
        contract=AAPL,
        **s.HISTORY | {"durationStr": "1 M", "barSizeSetting": "1 day", "whatToShow": "SCHEDULE", "useRTH": 1},
    ),
    "reroute, data": s.asked("reqMktData", reqId=1, contract=s.CFD, genericTickList=""),
    "reroute, data, protobuf": s.asked("reqMktData", reqId=1, contract=s.CFD, genericTickList=""),
    "reroute, depth": s.asked("reqMktDepth", reqId=1, contract=s.CFD, numRows=5, isSmartDepth=False),
    "managed accounts": s.welcome,
    "accounts": s.welcome,
    "next id": s.welcome,
    "notice": s.welcome,
    "notice, text": s.welcome,
    "position": s.held("reqPositions"),
    "position end": s.held("reqPositions"),
    "position that was closed": s.closed_position,
    "depth": s.asked("reqMktDepth", reqId=1, contract=s.EURUSD, numRows=5, isSmartDepth=False),
    "scan": s.asked("reqScannerSubscription", reqId=1, subscription=s.SCAN),
    "scan of 20 rows, text body behind a raw id": s.asked(
        "reqScannerSubscription", reqId=1, subscription=s.SCAN | {"numberOfRows": 20}
    ),
    "symbols": s.asked("reqMatchingSymbols", reqId=1, pattern="AAPL"),
    "components": s.asked("reqSmartComponents", reqId=1, bboExchange="a60001"),
    "depth exchanges": s.asked("reqMktDepthExchanges"),
    "not subscribed": s.unsubscribed,
    "cancelled": s.cancelled,
    "cancel of an order that was over": s.cancelled_twice,
}


EXCEPTIONS: dict[tuple[str, str], str] = {
    ("open order with a price condition", "order.submitter"): "later gateways say who sent an order",
    ("open order with an execution condition", "order.submitter"): "later gateways say who sent an order",
    ("open order of another client", "order.submitter"): "later gateways say who sent an order",
    ("completed order, cancelled by the system", "order.submitter"): "later gateways say who sent an order",
    ("open order of another client", "order.percentOffset"): "a preset of that user's",
    ("completed order, cancelled by the system", "order.rule80A"): "a preset of that user's",
    ("completed order, cancelled by the system", "order.autoCancelDate"): "orders of the simulator end with their time",
    ("completed order, cancelled by the system", "order.parentPermId"): "a child of a bracket",
    ("bond with reasons", "contractDetails.ineligibilityReasonList[]"): "bonds of the simulator are not redeemed",
    ("bond with reasons", "contractDetails.ineligibilityReasonList[].id"): "bonds of the simulator are not redeemed",
    ("bond with reasons", "contractDetails.ineligibilityReasonList[].description"): (
        "bonds of the simulator are not redeemed"
    ),
    ("commission", "surplus[0]"): "an empty field that the daemon would count and no client reads",
    ("open orders end", "(0)"): "a gateway has been ahead of IB's client, for which this is text until 204",
    ("depth exchanges", "depthMktDataDescriptions[].aggGroup"): "cut by hand to a row without",
}
"""Places, by the frame, where the simulator differs, and why it does."""


def said_in(frame: Frame) -> list[bytes]:
    """The payloads of the frame's kind that the simulator sends in its situation, at its version."""
    kind = name_of(frame.payload, frame.version)
    encoder = Encoder(Dialect.server(frame.version))
    situation = SITUATIONS.get(frame.id) or SITUATIONS[frame.name]
    return [encoder.put(name, data)[4:] for name, data in situation() if name == kind]


def compared(frame: Frame) -> list[str]:
    """Return the differences between a frame and the simulator's payload that is most like it."""
    theirs = shape_of(frame.payload, frame.version)
    said = said_in(frame)
    assert said, "the simulator does not send this message in this situation"
    return min((differences(theirs, shape_of(payload, frame.version)) for payload in said), key=len)


def excepted(frame: Frame) -> set[str]:
    return {place for name, place in EXCEPTIONS if name in (frame.id, frame.name)}


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.id)
def test_the_simulator_fills_the_fields_that_a_gateway_fills(frame: Frame) -> None:
    found = compared(frame)
    assert [line for line in found if line.partition(": ")[0] not in excepted(frame)] == []


def test_every_exception_is_still_needed() -> None:
    lines = [(frame, line.partition(": ")[0]) for frame in FRAMES for line in compared(frame)]
    named = {(name, place) for frame, place in lines for name in (frame.id, frame.name)}
    assert EXCEPTIONS.keys() <= named


def test_every_situation_is_of_a_frame() -> None:
    assert SITUATIONS.keys() <= {name for frame in FRAMES for name in (frame.id, frame.name)}


# -- what was not captured

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"
BEGIN, END = "<!-- begin: not captured -->\n", "<!-- end: not captured -->"


def in_protobuf(frame: Frame) -> bool:
    return frame.version >= RAW_IDS and int.from_bytes(frame.payload[:4], "big") > PROTOBUF_IDS


def uncaptured() -> str:
    """The part of the page that says what there is no captured frame of."""
    seen = {(name_of(frame.payload, frame.version), in_protobuf(frame)) for frame in FRAMES}
    texts = {message.name for message in MESSAGES.values() if message.layout is not None}
    protos = {message.name for message in MESSAGES.values() if message.proto_since is not None}
    text = sorted(name for name in texts if (name, False) not in seen)
    proto = sorted(name for name in protos if (name, True) not in seen)
    neither = sorted(name for name in MESSAGES if not seen & {(name, False), (name, True)})
    groups = {
        "neither in text nor in protobuf": neither,
        "not in text, only in protobuf": [name for name in text if name not in neither],
        "not in protobuf, only in text": [name for name in proto if name not in neither],
    }
    return "".join(f"* {title}: {', '.join(f'`{name}`' for name in names)}\n" for title, names in groups.items())


def test_the_page_says_what_was_not_captured() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0] == uncaptured()


def test_nothing_that_was_captured_is_said_not_to_have_been() -> None:
    captured = {name_of(frame.payload, frame.version) for frame in FRAMES}
    assert not any(f"`{name}`" in uncaptured().splitlines()[0] for name in captured)


@pytest.mark.parametrize("version", [203, 204, 225, 226])
@pytest.mark.parametrize("transmit", [True, False])
def test_an_order_in_protobuf_has_no_transmit(version: int, transmit: bool) -> None:
    encoder, order = Encoder(Dialect.server(version)), {"orderId": 1, "transmit": transmit}
    data = {"orderId": 1, "contract": {"secType": "STK"}, "order": order, "orderState": {"status": "Submitted"}}
    for name in ("openOrder", "completedOrder"):
        if MESSAGES[name].in_protobuf(version):
            assert "order.transmit" not in shape_of(encoder.put(name, data)[4:], version)
