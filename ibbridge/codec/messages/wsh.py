"""Wall Street Horizon: the calendar of corporate events."""

from __future__ import annotations

from ibbridge.codec import versions as v
from ibbridge.codec.messages.market import AskedId, ReqId
from ibbridge.codec.schema import (
    Bool,
    Int,
    Kind,
    Of,
    Record,
    Spread,
    Str,
    inbound,
    request,
)

EVENT_DATA = Record(
    "WshEventData",
    (
        Int("conId", 2, None),
        Str("filter", 3, longest=65_536),
        Bool("fillWatchlist", 4),
        Bool("fillPortfolio", 5),
        Bool("fillCompetitors", 6),
        Str("startDate", 7),
        Str("endDate", 8),
        Int("totalLimit", 9, None),
    ),
)

DECLARATIONS = (
    request(
        100,
        "reqWshMetaData",
        AskedId,
        doc="Asks for the kinds of events in the calendar of Wall Street Horizon. Must precede any request for events.",
        text="reqId",
        proto=v.PROTOBUF_NEWS_DATA,
        answers=("wshMetaData",),
        ends=("wshMetaData",),
    ),
    request(
        101,
        "cancelWshMetaData",
        AskedId,
        text="reqId",
        proto=v.PROTOBUF_NEWS_DATA,
        does=Kind.FORGET,
        cancels="reqWshMetaData",
    ),
    inbound(
        104,
        "wshMetaData",
        ReqId,
        Str("dataJson", 2),
        doc="The kinds of events and filters in the calendar of Wall Street Horizon, in JSON.",
        text="reqId dataJson",
        proto=v.PROTOBUF_NEWS_DATA,
    ),
    request(
        102,
        "reqWshEventData",
        AskedId,
        Spread("wshEventData", EVENT_DATA),
        doc="Asks for events in the calendar of Wall Street Horizon.",
        text=(
            "reqId",
            Of(
                "wshEventData",
                ("conId filter fillWatchlist fillPortfolio fillCompetitors startDate endDate totalLimit",),
            ),
        ),
        proto=v.PROTOBUF_NEWS_DATA,
        answers=("wshEventData",),
        ends=("wshEventData",),
    ),
    request(
        103,
        "cancelWshEventData",
        AskedId,
        text="reqId",
        proto=v.PROTOBUF_NEWS_DATA,
        does=Kind.FORGET,
        cancels="reqWshEventData",
    ),
    inbound(
        105,
        "wshEventData",
        ReqId,
        Str("dataJson", 2),
        doc="Events in the calendar of Wall Street Horizon, in JSON.",
        text="reqId dataJson",
        proto=v.PROTOBUF_NEWS_DATA,
    ),
)
