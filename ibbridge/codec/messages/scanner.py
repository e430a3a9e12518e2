"""Market scanners."""

from __future__ import annotations

from ibbridge.codec import versions as v
from ibbridge.codec.messages.contracts import CONTRACT, CONTRACT_DETAILS
from ibbridge.codec.messages.market import AskedId, ReqId
from ibbridge.codec.schema import (
    Bool,
    Each,
    Float,
    Inline,
    Int,
    Kind,
    Long,
    Of,
    Part,
    Record,
    Rows,
    Spread,
    Str,
    TagValues,
    Topic,
    Version,
    inbound,
    request,
)

SUBSCRIPTION = Record(
    "ScannerSubscription",
    (
        Int("numberOfRows", 1, -1),
        Str("instrument", 2),
        Str("locationCode", 3),
        Str("scanCode", 4),
        Float("abovePrice", 5, None),
        Float("belowPrice", 6, None),
        Long("aboveVolume", 7, None),
        Float("marketCapAbove", 8, None),
        Float("marketCapBelow", 9, None),
        Str("moodyRatingAbove", 10),
        Str("moodyRatingBelow", 11),
        Str("spRatingAbove", 12),
        Str("spRatingBelow", 13),
        Str("maturityDateAbove", 14),
        Str("maturityDateBelow", 15),
        Float("couponRateAbove", 16, None),
        Float("couponRateBelow", 17, None),
        Bool("excludeConvertible", 18),
        Long("averageOptionVolumeAbove", 19, None),
        Str("scannerSettingPairs", 20, longest=4_096),
        Str("stockTypeFilter", 21),
    ),
)

ROW = Record(
    "ScannerDataElement",
    (
        Int("rank", 1),
        Part("contractDetails", CONTRACT_DETAILS),
        Part("contractDetails.contract", CONTRACT, 2),
        Str("contractDetails.marketName", 3),
        Str("distance", 4),
        Str("benchmark", 5),
        Str("projection", 6),
        Str("legsStr", 7),
    ),
    full=True,
)

DECLARATIONS = (
    request(
        24,
        "reqScannerParameters",
        doc="Asks for the available market scans.",
        text=(Version(1),),
        proto=v.PROTOBUF_SCAN_DATA,
        answers=("scannerParameters",),
        ends=("scannerParameters",),
    ),
    inbound(
        19,
        "scannerParameters",
        Str("xml", 1),
        doc="The available scans, with their filters and locations, in XML: one or two megabytes.",
        text=(Version(1), "xml"),
        proto=v.PROTOBUF_SCAN_DATA,
        topic=Topic.SYSTEM,
    ),
    request(
        22,
        "reqScannerSubscription",
        AskedId,
        Inline(
            2,
            (
                Spread("subscription", SUBSCRIPTION, required=True),
                TagValues("scannerSubscriptionOptions", 23),
                TagValues("scannerSubscriptionFilterOptions", 22),
            ),
        ),
        doc="Runs a market scan, and asks for its result again after each update.",
        text=(
            "reqId",
            Of(
                "subscription",
                (
                    "numberOfRows? instrument locationCode scanCode abovePrice? belowPrice? aboveVolume? "
                    "marketCapAbove? marketCapBelow? moodyRatingAbove moodyRatingBelow spRatingAbove spRatingBelow "
                    "maturityDateAbove maturityDateBelow couponRateAbove? couponRateBelow? excludeConvertible "
                    "averageOptionVolumeAbove? "
                    "scannerSettingPairs stockTypeFilter",
                ),
            ),
            "scannerSubscriptionFilterOptions scannerSubscriptionOptions",
        ),
        proto=v.PROTOBUF_SCAN_DATA,
        does=Kind.SUBSCRIPTION,
        answers=("scannerData",),
        deadline=60.0,
    ),
    request(
        23,
        "cancelScannerSubscription",
        AskedId,
        text=(Version(1), "reqId"),
        proto=v.PROTOBUF_SCAN_DATA,
        does=Kind.FORGET,
        cancels="reqScannerSubscription",
    ),
    inbound(
        20,
        "scannerData",
        ReqId,
        Rows("rows", ROW, 2),
        doc="The whole result of a scan, best instrument first.",
        text=(
            Version(3),
            "reqId",
            Each(
                "rows",
                (
                    "rank",
                    Of(
                        "contractDetails.contract",
                        (
                            "conId symbol secType lastTradeDateOrContractMonth strike right exchange currency "
                            "localSymbol",
                        ),
                    ),
                    "contractDetails.marketName contractDetails.contract.tradingClass distance benchmark projection "
                    "legsStr",
                ),
            ),
        ),
        proto=v.PROTOBUF_SCAN_DATA,
        identity=(),
    ),
)
