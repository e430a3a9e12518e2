"""Look-ups about instruments: symbols, price increments, exchanges, fundamentals."""

from __future__ import annotations

from typing import Any

from ibbridge.codec import versions as v
from ibbridge.codec.messages.contracts import CONTRACT
from ibbridge.codec.messages.market import AskedId, ReqId
from ibbridge.codec.schema import (
    Each,
    Float,
    Int,
    Kind,
    Limit,
    Of,
    Part,
    Record,
    Rows,
    Size,
    Str,
    Swap,
    TagValues,
    Topic,
    Version,
    inbound,
    request,
)
from ibbridge.codec.types import STR

DESCRIPTION = Record(
    "ContractDescription",
    (Part("contract", CONTRACT, 1), Rows("derivativeSecTypes", STR, 2)),
)
DEPTH_EXCHANGE = Record(
    "DepthMktDataDescription",
    (
        Str("exchange", 1),
        Str("secType", 2),
        Str("listingExch", 3),
        Str("serviceDataType", 4),
        Int("aggGroup", 5, None),
    ),
)
PRICE_INCREMENT = Record("PriceIncrement", (Float("lowEdge", 1), Float("increment", 2)), full=True)

SMART_COMPONENT = Record(
    "SmartComponent",
    (
        Int("bitNumber", 1),
        Str("exchange", 2),
        Str("exchangeLetter", 3, absent=" ", always=True),  # IB's client gives a blank where protobuf has none
    ),
    full=True,
)


def _by_bit(data: dict[str, Any]) -> None:
    """Replace the rows by a map from bit number.

    IB's client gives a list if the rows came as text, and a map by bit number if they came as protobuf.
    """
    rows = data["smartComponentMap"]
    data["smartComponentMap"] = {str(row["bitNumber"] or 0): [row["exchange"], row["exchangeLetter"]] for row in rows}


def _in_rows(data: dict[str, Any]) -> dict[str, Any]:
    found = data.get("smartComponentMap") or []
    if isinstance(found, dict):
        rows = ((int(bit), *names) for bit, names in found.items())
        found = [dict(zip(("bitNumber", "exchange", "exchangeLetter"), row, strict=True)) for row in rows]
    return {**data, "smartComponentMap": found}


DECLARATIONS = (
    request(
        81,
        "reqMatchingSymbols",
        AskedId,
        Str("pattern", 2, required=True),
        doc="Searches for stocks by a part of their symbol or name.",
        text="reqId pattern",
        proto=v.PROTOBUF_REST_MESSAGES_2,
        answers=("symbolSamples",),
        ends=("symbolSamples",),
        limits=(Limit("matching symbols", 1, 1.0),),
    ),
    inbound(
        79,
        "symbolSamples",
        ReqId,
        Rows("contractDescriptions", DESCRIPTION, 2),
        doc="The stocks that match, with the types of derivatives on each.",
        text=(
            "reqId",
            Each(
                "contractDescriptions",
                (
                    Of("contract", ("conId symbol secType primaryExchange currency",)),
                    Each("derivativeSecTypes"),
                    "contract.description contract.issuerId",
                ),
            ),
        ),
        proto=v.PROTOBUF_REST_MESSAGES_2,
    ),
    request(
        82,
        "reqMktDepthExchanges",
        doc="Asks which exchanges give depth of market.",
        text=(),
        proto=v.PROTOBUF_REST_MESSAGES_3,
        answers=("mktDepthExchanges",),
        ends=("mktDepthExchanges",),
    ),
    inbound(
        80,
        "mktDepthExchanges",
        Rows("depthMktDataDescriptions", DEPTH_EXCHANGE, 1),
        doc="The exchanges that give depth of market.",
        text=(Each("depthMktDataDescriptions", ("exchange secType listingExch serviceDataType aggGroup",)),),
        proto=v.PROTOBUF_REST_MESSAGES_3,
        topic=Topic.SYSTEM,
    ),
    request(
        91,
        "reqMarketRule",
        Int("marketRuleId", 1, required=True),
        doc="Asks for the price steps of a rule that `contractDetails` names.",
        text="marketRuleId",
        proto=v.PROTOBUF_REST_MESSAGES_2,
        answers=("marketRule",),
        ends=("marketRule",),
        repeats=("marketRuleId",),
    ),
    inbound(
        93,
        "marketRule",
        Int("marketRuleId", 1),
        Rows("priceIncrements", PRICE_INCREMENT, 2),
        doc="The price steps of a rule: each applies from the price `lowEdge` upwards.",
        text=("marketRuleId", Each("priceIncrements", ("lowEdge increment",))),
        proto=v.PROTOBUF_REST_MESSAGES_2,
        topic=Topic.SYSTEM,
    ),
    request(
        83,
        "reqSmartComponents",
        AskedId,
        Str("bboExchange", 2, required=True),
        doc="Asks which exchanges the letters in quotes stand for; `tickReqParams` gives the key (`bboExchange`).",
        text="reqId bboExchange",
        proto=v.PROTOBUF_REST_MESSAGES_2,
        answers=("smartComponents",),
        ends=("smartComponents",),
    ),
    inbound(
        82,
        "smartComponents",
        ReqId,
        Rows("smartComponentMap", SMART_COMPONENT, 2),
        doc="The exchanges that the letters in quotes stand for, by bit number.",
        text=("reqId", Each("smartComponentMap", ("bitNumber exchange exchangeLetter",))),
        proto=v.PROTOBUF_REST_MESSAGES_2,
        swap=Swap(_by_bit, _in_rows, maps=("smartComponentMap",)),
    ),
    # -- fundamental data: gone from the newest client of IB's, while servers still take it
    request(
        52,
        "reqFundamentalData",
        AskedId,
        Part("contract", CONTRACT, 2, required=True),
        Str("reportType", 3, required=True),
        TagValues("fundamentalDataOptions", 4),
        doc="Asks for a report on a company.",
        text=(
            Version(2),
            "reqId",
            Of("contract", ("conId symbol secType exchange primaryExchange currency localSymbol",)),
            "reportType",
            Size("fundamentalDataOptions"),
            "fundamentalDataOptions",
        ),
        proto=v.PROTOBUF_SCAN_DATA,
        answers=("fundamentalData",),
        ends=("fundamentalData",),
    ),
    request(
        53,
        "cancelFundamentalData",
        AskedId,
        text=(Version(1), "reqId"),
        proto=v.PROTOBUF_SCAN_DATA,
        does=Kind.FORGET,
        cancels="reqFundamentalData",
    ),
    inbound(
        51,
        "fundamentalData",
        ReqId,
        Str("data", 2),
        doc="A report on a company, in XML.",
        text=(Version(1), "reqId data"),
        proto=v.PROTOBUF_REST_MESSAGES_1,
    ),
)
