"""Historical data: bars and their updates, ticks, schedules, the head time stamp, histograms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ibbridge.codec import versions as v
from ibbridge.codec import words as w
from ibbridge.codec.messages.contracts import CODE, CONTRACT, LEGS, REQUEST_CONTRACT_EXPIRED
from ibbridge.codec.messages.market import BID_ASK_ATTRIB, LAST_ATTRIB, AskedId, ReqId
from ibbridge.codec.schema import (
    Bool,
    Const,
    Decimal,
    Each,
    Flag,
    Float,
    Int,
    Kind,
    Limit,
    Long,
    Mask,
    Masked,
    Of,
    Pace,
    Part,
    Record,
    Rows,
    Str,
    TagValues,
    Until,
    Version,
    inbound,
    request,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def _quotes_twice(args: Mapping[str, Any]) -> int:
    return 2 if args["whatToShow"] == "BID_ASK" else 1


def _small(args: Mapping[str, Any]) -> int:
    """Return 1 for bars of 30 seconds and less (all whose size IB gives in seconds), else 0."""
    return int(args["barSizeSetting"].lstrip("0123456789 ").lower().startswith("s"))


def _small_quotes_twice(args: Mapping[str, Any]) -> int:
    return _small(args) * _quotes_twice(args)


_TWICE = "BID_ASK counts twice"
_OF_SMALL = "bars of 30 seconds and less"

# IB's three rules for small bars: no identical request within 15 seconds, no six for the same contract, exchange and
# type of data within two seconds, no more than sixty within any ten minutes. And fifty open at once, of any size.
_OPEN = Limit("open history", 50, None)
_SAME = Limit("same history", 1, 15.0, alike=None)
_INSTRUMENT = Limit("history of an instrument", 5, 2.0, ("contract", "whatToShow"), _quotes_twice, _TWICE)
_ALL = Limit("history", 60, 600.0, counts=_quotes_twice, note=_TWICE)

_OF_BARS = (
    _OPEN,
    replace(_SAME, counts=_small, note=_OF_SMALL),
    replace(_INSTRUMENT, counts=_small_quotes_twice, note=f"{_OF_SMALL}; {_TWICE}"),
    replace(_ALL, counts=_small_quotes_twice, note=f"{_OF_SMALL}; {_TWICE}"),
)

# IB does not say whether ticks count as bars do. The sixty in ten minutes are documented for bars alone, and would make
# a day's ticks, a thousand at a time, take hours. The two rules with short periods are kept for ticks as well.
_OF_TICKS = (_OPEN, _SAME, _INSTRUMENT)

# A field of a bar that TWS leaves empty is unset, because zero is a valid price. A volume, average or count of -1 is a
# value: TWS says with it that bars of this kind have none.
BAR = Record(
    "BarData",
    (
        Str("date", 1),
        Float("open", 2, absent=None),
        Float("high", 3, absent=None),
        Float("low", 4, absent=None),
        Float("close", 5, absent=None),
        Decimal("volume", 6),
        Decimal("wap", 7),
        Int("barCount", 8, absent=None),
    ),
    full=True,
)

TICK = Record("HistoricalTick", (Long("time", 1), Float("price", 2), Decimal("size", 3)), full=True)

# Historical bid/ask ticks have their bits in the opposite order of live ones.
_HISTORICAL_BID_ASK = Mask("TickAttribBidAsk", BID_ASK_ATTRIB.bits[::-1], message=BID_ASK_ATTRIB.message)

TICK_BID_ASK = Record(
    "HistoricalTickBidAsk",
    (
        Long("time", 1),
        Masked("tickAttribBidAsk", _HISTORICAL_BID_ASK, 2),
        Float("priceBid", 3),
        Float("priceAsk", 4),
        Decimal("sizeBid", 5),
        Decimal("sizeAsk", 6),
    ),
    full=True,
)

TICK_LAST = Record(
    "HistoricalTickLast",
    (
        Long("time", 1),
        Masked("tickAttribLast", LAST_ATTRIB, 2),
        Float("price", 3),
        Decimal("size", 4),
        Str("exchange", 5),
        Str("specialConditions", 6),
    ),
    full=True,
)

SESSION = Record("HistoricalSession", (Str("startDateTime", 1), Str("endDateTime", 2), Str("refDate", 3)), full=True)
HISTOGRAM_ENTRY = Record("HistogramData", (Float("price", 1), Decimal("size", 2)), full=True)

DECLARATIONS = (
    request(
        20,
        "reqHistoricalData",
        AskedId,
        Part("contract", CONTRACT, 2, required=True),
        Str("endDateTime", 3, longest=CODE),
        Str("durationStr", 5, required=True, words=w.DURATIONS, longest=CODE),
        Str("barSizeSetting", 4, required=True, words=w.BAR_SIZES, longest=CODE),
        Str("whatToShow", 7, required=True, words=w.WHAT_TO_SHOW, longest=CODE),
        Flag("useRTH", 6, 1, absent=0),
        Int("formatDate", 8, 1, words=w.DATE_FORMATS),
        Bool("keepUpToDate", 9),
        TagValues("chartOptions", 10),
        doc="Asks for historical bars, and with `keepUpToDate` for updates of the unfinished bar.",
        text=(
            "reqId",
            REQUEST_CONTRACT_EXPIRED,
            "endDateTime barSizeSetting durationStr useRTH whatToShow formatDate",
            LEGS,
            "keepUpToDate chartOptions",
        ),
        proto=v.PROTOBUF_HISTORICAL_DATA,
        pace=Pace.HISTORY,
        limits=_OF_BARS,
        answers=("historicalData", "historicalDataUpdate", "historicalSchedule", "historicalDataEnd"),
        ends=("historicalDataEnd", "historicalData", "historicalSchedule"),
        turns=("keepUpToDate",),
        flows=True,
    ),
    request(
        25,
        "cancelHistoricalData",
        AskedId,
        text=(Version(1), "reqId"),
        proto=v.PROTOBUF_HISTORICAL_DATA,
        does=Kind.FORGET,
        cancels="reqHistoricalData",
    ),
    inbound(
        17,
        "historicalData",
        ReqId,
        Rows("bars", BAR, 2),
        Str("start", default=None),
        Str("end", default=None),
        doc="The historical bars; up to version 195 with `start` and `end`. A field that TWS leaves empty is nil.",
        text=(
            "reqId",
            Until(v.HISTORICAL_DATA_END, "start end"),
            Each("bars", ("date open? high? low? close? volume wap barCount?",)),
        ),
        proto=v.PROTOBUF_HISTORICAL_DATA,
        last="end",  # from version 196 on the end is a message of its own
    ),
    inbound(
        108,
        "historicalDataEnd",
        ReqId,
        Str("start", 2),
        Str("end", 3),
        doc="End of the historical bars, with the time that they cover.",
        text="reqId start end",
        proto=v.PROTOBUF_HISTORICAL_DATA,
        since=v.HISTORICAL_DATA_END,
    ),
    inbound(
        90,
        "historicalDataUpdate",
        ReqId,
        Part("bar", BAR, 2),
        doc="The unfinished bar, as it is now. A field that TWS leaves empty is nil.",
        text=("reqId", Of("bar", ("barCount? date open? close? high? low? wap volume",))),
        proto=v.PROTOBUF_HISTORICAL_DATA,
        identity=(),
    ),
    inbound(
        106,
        "historicalSchedule",
        ReqId,
        Str("startDateTime", 2),
        Str("endDateTime", 3),
        Str("timeZone", 4),
        Rows("sessions", SESSION, 5),
        doc="The trading sessions of an instrument, where `whatToShow` is SCHEDULE.",
        text=(
            "reqId startDateTime endDateTime timeZone",
            Each("sessions", ("startDateTime endDateTime refDate",)),
        ),
        proto=v.PROTOBUF_REST_MESSAGES_1,
    ),
    request(
        87,
        "reqHeadTimeStamp",
        AskedId,
        Part("contract", CONTRACT, 2, required=True),
        Str("whatToShow", 4, required=True, words=w.WHAT_TO_SHOW, longest=CODE),
        Flag("useRTH", 3, 1, absent=0),
        Int("formatDate", 5, 1, words=w.HEAD_DATE_FORMATS),
        doc="Asks for the time of the earliest data of an instrument.",
        text=("reqId", REQUEST_CONTRACT_EXPIRED, "useRTH whatToShow formatDate"),
        proto=v.PROTOBUF_HISTORICAL_DATA,
        pace=Pace.HISTORY,
        limits=(_OPEN, _SAME, _INSTRUMENT, _ALL),
        answers=("headTimestamp",),
        ends=("headTimestamp",),
        lingers=True,
    ),
    request(
        90,
        "cancelHeadTimeStamp",
        AskedId,
        text="reqId",
        proto=v.PROTOBUF_HISTORICAL_DATA,
        does=Kind.FORGET,
        cancels="reqHeadTimeStamp",
    ),
    inbound(
        88,
        "headTimestamp",
        ReqId,
        Str("headTimestamp", 2),
        doc="Time of the earliest data of an instrument.",
        text="reqId headTimestamp",
        proto=v.PROTOBUF_HISTORICAL_DATA,
    ),
    request(
        88,
        "reqHistogramData",
        Int("tickerId", 1, required=True),
        Part("contract", CONTRACT, 2, required=True),
        Bool("useRTH", 3),
        Str("timePeriod", 4, required=True, longest=CODE),
        doc="Asks for a histogram: how much of an instrument was traded at each price.",
        text=("tickerId", REQUEST_CONTRACT_EXPIRED, "useRTH timePeriod"),
        proto=v.PROTOBUF_HISTORICAL_DATA,
        pace=Pace.HISTORY,
        answers=("histogramData",),
        ends=("histogramData",),
    ),
    request(
        89,
        "cancelHistogramData",
        Int("tickerId", 1, required=True),
        text="tickerId",
        proto=v.PROTOBUF_HISTORICAL_DATA,
        does=Kind.FORGET,
        cancels="reqHistogramData",
    ),
    inbound(
        89,
        "histogramData",
        ReqId,
        Rows("items", HISTOGRAM_ENTRY, 2),
        doc="A histogram: prices, with the size traded at each.",
        text=("reqId", Each("items", ("price size",))),
        proto=v.PROTOBUF_HISTORICAL_DATA,
    ),
    # -- ticks
    request(
        96,
        "reqHistoricalTicks",
        AskedId,
        Part("contract", CONTRACT, 2, required=True),
        Str("startDateTime", 3, longest=CODE),
        Str("endDateTime", 4, longest=CODE),
        Int("numberOfTicks", 5, required=True),
        Str("whatToShow", 6, required=True, words=w.WHAT_TO_SHOW, longest=CODE),
        Flag("useRth", 7, 1, absent=0),
        Bool("ignoreSize", 8),
        TagValues("miscOptions", 9),
        doc="Asks for historical ticks, a thousand at most.",
        text=(
            "reqId",
            REQUEST_CONTRACT_EXPIRED,
            "startDateTime endDateTime numberOfTicks whatToShow useRth ignoreSize miscOptions",
        ),
        proto=v.PROTOBUF_HISTORICAL_DATA,
        pace=Pace.HISTORY,
        limits=_OF_TICKS,
        answers=("historicalTicks", "historicalTicksBidAsk", "historicalTicksLast"),
        ends=("historicalTicks", "historicalTicksBidAsk", "historicalTicksLast"),
    ),
    request(
        107,
        "cancelHistoricalTicks",
        AskedId,
        text=None,
        proto=v.CANCEL_CONTRACT_DATA,
        does=Kind.FORGET,
        cancels="reqHistoricalTicks",
    ),
    inbound(
        96,
        "historicalTicks",
        ReqId,
        Rows("ticks", TICK, 2),
        Bool("done", 3),
        doc="Historical mid points.",
        text=("reqId", Each("ticks", ("time", Const("0"), "price size")), "done"),
        proto=v.PROTOBUF_HISTORICAL_DATA,
        last="done",
    ),
    inbound(
        97,
        "historicalTicksBidAsk",
        ReqId,
        Rows("ticks", TICK_BID_ASK, 2),
        Bool("done", 3),
        doc="Historical quotes.",
        text=("reqId", Each("ticks", ("time tickAttribBidAsk priceBid priceAsk sizeBid sizeAsk",)), "done"),
        proto=v.PROTOBUF_HISTORICAL_DATA,
        last="done",
    ),
    inbound(
        98,
        "historicalTicksLast",
        ReqId,
        Rows("ticks", TICK_LAST, 2),
        Bool("done", 3),
        doc="Historical trades.",
        text=("reqId", Each("ticks", ("time tickAttribLast price size exchange specialConditions",)), "done"),
        proto=v.PROTOBUF_HISTORICAL_DATA,
        last="done",
    ),
)
