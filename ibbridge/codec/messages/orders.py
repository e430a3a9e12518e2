"""Orders and executions: the records, what is sent, what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec import versions as v
from ibbridge.codec import words as w
from ibbridge.codec.messages.contracts import (
    CODE,
    CONTRACT,
    DELTA_NEUTRAL,
    DESCRIPTION,
    IS_COMBO,
    POSITION_CONTRACT,
    REQUEST_CONTRACT,
)
from ibbridge.codec.messages.market import AskedId, ReqId
from ibbridge.codec.schema import (
    Amount,
    Between,
    Bool,
    Connector,
    Const,
    Date,
    Decimal,
    Each,
    Flag,
    Float,
    Inline,
    Int,
    Kind,
    Long,
    Of,
    Pace,
    Part,
    Percent,
    Record,
    Rows,
    Same,
    Since,
    Spread,
    Str,
    Swap,
    TagValues,
    Topic,
    Truth,
    Union,
    Until,
    Version,
    When,
    both,
    either,
    given,
    inbound,
    one_of,
    positive,
    request,
)
from ibbridge.codec.types import INT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibbridge.codec.schema import Path

# -- conditions, one record per kind, fields in wire order ------------------------------------------------------------

_JOINED = Connector("isConjunctionConnection", 2, True, absent=False, untold=True, always=True)
_MORE = Bool("isMore", 3, None, absent=False, always=True, required=True)
_CON_ID = Int("conId", 4, None, absent=0, required=True)
_EXCHANGE = Str("exchange", 5, None, absent="", required=True, longest=CODE)

CONDITION = Union(
    "OrderCondition",
    Int("condType", 1),
    {
        1: Record(
            "PriceCondition",
            (
                _JOINED,
                _MORE,
                Float("price", 10, None, absent=0.0, required=True),
                _CON_ID,
                _EXCHANGE,
                Int("triggerMethod", 11, None, absent=0, required=True),
            ),
        ),
        3: Record("TimeCondition", (_JOINED, _MORE, Str("time", 12, None, absent="", required=True))),
        4: Record("MarginCondition", (_JOINED, _MORE, Percent("percent", 8, None, absent=0.0, required=True))),
        5: Record(
            "ExecutionCondition",
            (
                _JOINED,
                Str("secType", 7, None, absent="", required=True, words=w.SECURITY_TYPES, longest=CODE),
                _EXCHANGE,
                Str("symbol", 6, None, absent="", required=True, longest=CODE),
            ),
        ),
        6: Record(
            "VolumeCondition",
            (_JOINED, _MORE, Int("volume", 13, None, absent=0, required=True), _CON_ID, _EXCHANGE),
        ),
        7: Record(
            "PercentChangeCondition",
            (_JOINED, _MORE, Float("changePercent", 9, None, required=True), _CON_ID, _EXCHANGE),
        ),
    },
)

# -- the order --------------------------------------------------------------------------------------------------------

SOFT_DOLLAR_TIER = Record(
    "SoftDollarTier",
    (Str("name", 1), Str("val", 2), Str("displayName", 3)),
    lenient=True,  # a tier is copied whole from softDollarTiers, whose display name no request carries
)
ORDER_COMBO_LEG = Record("OrderComboLeg", (Float("price", 0, None),))

ORDER = Record(
    "Order",
    (
        Int("clientId", 1),
        Int("orderId", 2, answer=True),
        Long("permId", 3),
        Int("parentId", 4),
        Str("action", 5, words=w.ACTIONS, longest=CODE),
        Decimal("totalQuantity", 6, least=0),
        Int("displaySize", 7),
        Str("orderType", 8, words=w.ORDER_TYPES, longest=CODE),
        Float("lmtPrice", 9, None),
        Float("auxPrice", 10, None),
        Str("tif", 11, words=w.TIMES_IN_FORCE, longest=CODE),
        Str("account", 12, longest=CODE),
        Str("settlingFirm", 13),
        Str("clearingAccount", 14),
        Str("clearingIntent", 15),
        Bool("allOrNone", 16),
        Bool("blockOrder", 17),
        Bool("hidden", 18),
        Bool("outsideRth", 19),
        Bool("sweepToFill", 20),
        Float("percentOffset", 21, None),
        Float("trailingPercent", 22, None),
        Float("trailStopPrice", 23, None),
        Int("minQty", 24, None),
        Str("goodAfterTime", 25),
        Str("goodTillDate", 26),
        Str("ocaGroup", 27),
        Str("orderRef", 28),
        Str("rule80A", 29),
        Int("ocaType", 30),
        Int("triggerMethod", 31),
        Str("activeStartTime", 32),
        Str("activeStopTime", 33),
        Str("faGroup", 34),
        Str("faMethod", 35),
        Str("faPercentage", 36),
        Float("volatility", 37, None),
        Int("volatilityType", 38, None),
        Bool("continuousUpdate", 39),
        Int("referencePriceType", 40, None),
        Str("deltaNeutralOrderType", 41, words=w.ORDER_TYPES_OR_NONE, longest=CODE),
        Float("deltaNeutralAuxPrice", 42, None),
        Int("deltaNeutralConId", 43),
        Str("deltaNeutralOpenClose", 44),
        Bool("deltaNeutralShortSale", 45),
        Int("deltaNeutralShortSaleSlot", 46),
        Str("deltaNeutralDesignatedLocation", 47),
        Int("scaleInitLevelSize", 48, None),
        Int("scaleSubsLevelSize", 49, None),
        Float("scalePriceIncrement", 50, None),
        Float("scalePriceAdjustValue", 51, None),
        Int("scalePriceAdjustInterval", 52, None),
        Float("scaleProfitOffset", 53, None),
        Bool("scaleAutoReset", 54),
        Int("scaleInitPosition", 55, None),
        Int("scaleInitFillQty", 56, None),
        Bool("scaleRandomPercent", 57),
        Str("scaleTable", 58, longest=DESCRIPTION),
        Str("hedgeType", 59),
        Str("hedgeParam", 60),
        Str("algoStrategy", 61),
        TagValues("algoParams", 62),
        Str("algoId", 63),
        TagValues("smartComboRoutingParams", 64),
        Bool("whatIf", 65),
        Bool("transmit", 66, True, absent=False, untold=True),  # TWS never sends it
        Bool("overridePercentageConstraints", 67),
        Str("openClose", 68),
        Int("origin", 69),
        Int("shortSaleSlot", 70),
        Str("designatedLocation", 71),
        Int("exemptCode", 72, -1),
        Str("deltaNeutralSettlingFirm", 73),
        Str("deltaNeutralClearingAccount", 74),
        Str("deltaNeutralClearingIntent", 75),
        Float("discretionaryAmt", 76, 0.0),
        Bool("optOutSmartRouting", 77),
        Float("startingPrice", 78, None),
        Float("stockRefPrice", 79, None),
        Float("delta", 80, None),
        Float("stockRangeLower", 81, None),
        Float("stockRangeUpper", 82, None),
        Bool("notHeld", 83),
        TagValues("orderMiscOptions", 84),
        Bool("solicited", 85),
        Bool("randomizeSize", 86),
        Bool("randomizePrice", 87),
        Int("referenceContractId", 88),
        Float("peggedChangeAmount", 89, 0.0),
        Bool("isPeggedChangeAmountDecrease", 90),
        Float("referenceChangeAmount", 91, 0.0),
        Str("referenceExchangeId", 92),
        Str("adjustedOrderType", 93, words=w.ORDER_TYPES_OR_NONE, longest=CODE),
        Float("triggerPrice", 94, None),
        Float("adjustedStopPrice", 95, None),
        Float("adjustedStopLimitPrice", 96, None),
        Float("adjustedTrailingAmount", 97, None),
        Int("adjustableTrailingUnit", 98),
        Float("lmtPriceOffset", 99, None),
        Rows("conditions", CONDITION, 100, rows=100),
        Bool("conditionsCancelOrder", 101),
        Bool("conditionsIgnoreRth", 102),
        Str("modelCode", 103),
        Str("extOperator", 104),
        Part("softDollarTier", SOFT_DOLLAR_TIER, 105),
        Float("cashQty", 106, None, least=0),
        Str("mifid2DecisionMaker", 107),
        Str("mifid2DecisionAlgo", 108),
        Str("mifid2ExecutionTrader", 109),
        Str("mifid2ExecutionAlgo", 110),
        Bool("dontUseAutoPriceForHedge", 111),
        Bool("isOmsContainer", 112),
        Bool("discretionaryUpToLimitPrice", 113),
        Str("autoCancelDate", 114, answer=True),
        Decimal("filledQuantity", 115, answer=True),
        Int("refFuturesConId", 116, answer=True),
        Bool("autoCancelParent", 117),
        Str("shareholder", 118, answer=True),
        Bool("imbalanceOnly", 119),
        Truth("routeMarketableToBbo", 120, None, since=v.ADDITIONAL_ORDER_PARAMS_2),
        Long("parentPermId", 121, answer=True),
        Truth("usePriceMgmtAlgo", 122, None),
        Int("duration", 123, None),
        Int("postToAts", 124, None),
        Str("advancedErrorOverride", 125, longest=DESCRIPTION),
        Str("manualOrderTime", 126),
        Int("minTradeQty", 127, None),
        Int("minCompeteSize", 128, None),
        Float("competeAgainstBestOffset", 129, None),
        Float("midOffsetAtWhole", 130, None),
        Float("midOffsetAtHalf", 131, None),
        Str("customerAccount", 132),
        Bool("professionalCustomer", 133),
        Str("bondAccruedInterest", 134),
        Bool("includeOvernight", 135),
        Int("manualOrderIndicator", 136, None),
        Str("submitter", 137),
        Bool("deactivate", 138, since=v.ADDITIONAL_ORDER_PARAMS_1),
        Bool("postOnly", 139, since=v.ADDITIONAL_ORDER_PARAMS_1),
        Bool("allowPreOpen", 140, since=v.ADDITIONAL_ORDER_PARAMS_1),
        Bool("ignoreOpenAuction", 141, since=v.ADDITIONAL_ORDER_PARAMS_1),
        Truth("seekPriceImprovement", 142, None, since=v.ADDITIONAL_ORDER_PARAMS_2),
        Int("whatIfType", 143, None, since=v.ADDITIONAL_ORDER_PARAMS_2),
        Int("hedgeMaxSize", 144, None, since=v.HEDGE_MAX_SIZE),
        Bool("conditionsIncludeOvernight", 145, since=v.COND_ORDER_WITH_OVERNIGHT_PARAM),
        # Text only:
        Int("auctionStrategy"),
        Float("basisPoints", 0, None),
        Int("basisPointsType", 0, None),
        Rows("orderComboLegs", ORDER_COMBO_LEG, rows=100),
        # Attached orders, in protobuf beside the order:
        Int("slOrderId", 0, None),
        Str("slOrderType", words=w.ATTACHED_ORDER_TYPES, longest=CODE),
        Int("ptOrderId", 0, None),
        Str("ptOrderType", words=w.ATTACHED_ORDER_TYPES, longest=CODE),
    ),
)

ORDER_ALLOCATION = Record(
    "OrderAllocation",
    (
        Str("account", 1),
        Decimal("position", 2),
        Decimal("positionDesired", 3),
        Decimal("positionAfter", 4),
        Decimal("desiredAllocQty", 5),
        Decimal("allowedAllocQty", 6),
        Bool("isMonetary", 7),
    ),
)

_MARGINS = "BeforeOutsideRTH ChangeOutsideRTH AfterOutsideRTH"
_OUTSIDE_RTH = " ".join(
    f"{margin}{when}?" for when in _MARGINS.split() for margin in ("initMargin", "maintMargin", "equityWithLoan")
)

ORDER_STATE = Record(
    "OrderState",
    (
        Str("status", 1),
        *(
            Amount(f"{margin}{when}", 2 + 3 * i + j)
            for i, when in enumerate(("Before", "Change", "After"))
            for j, margin in enumerate(("initMargin", "maintMargin", "equityWithLoan"))
        ),
        Float("commissionAndFees", 11, None),
        Float("minCommissionAndFees", 12, None),
        Float("maxCommissionAndFees", 13, None),
        Str("commissionAndFeesCurrency", 14),
        Str("marginCurrency", 15),
        *(
            Float(f"{margin}{when}", 16 + 3 * i + j, None)
            for i, when in enumerate(_MARGINS.split())
            for j, margin in enumerate(("initMargin", "maintMargin", "equityWithLoan"))
        ),
        Decimal("suggestedSize", 25),
        Str("rejectReason", 26),
        Rows("orderAllocations", ORDER_ALLOCATION, 27),
        Str("warningText", 28),
        Str("completedTime", 29),
        Str("completedStatus", 30),
    ),
)

EXECUTION = Record(
    "Execution",
    (
        Int("orderId", 1),
        Str("execId", 2),
        Str("time", 3),
        Str("acctNumber", 4),
        Str("exchange", 5),
        Str("side", 6),
        Decimal("shares", 7),
        Float("price", 8, 0.0),
        Long("permId", 9),
        Int("clientId", 10),
        Flag("liquidation", 11),
        Decimal("cumQty", 12),
        Float("avgPrice", 13, 0.0),
        Str("orderRef", 14),
        Str("evRule", 15),
        Float("evMultiplier", 16, 0.0),
        Str("modelCode", 17),
        Int("lastLiquidity", 18),
        Bool("pendingPriceRevision", 19),
        Str("submitter", 20),
        Int("optExerciseOrLapseType", 21, -1),
    ),
)

EXECUTION_FILTER = Record(
    "ExecutionFilter",
    (
        Int("clientId", 1),
        Str("acctCode", 2, longest=CODE),
        Str("time", 3, longest=CODE),
        Str("symbol", 4, longest=CODE),
        Str("secType", 5, words=w.SECURITY_TYPES, longest=CODE),
        Str("exchange", 6, longest=CODE),
        Str("side", 7, longest=CODE),
        Int("lastNDays", 8, None),
        Rows("specificDates", INT, 9),
    ),
)

COMMISSION_AND_FEES_REPORT = Record(
    "CommissionAndFeesReport",
    (
        Str("execId", 1),
        Float("commissionAndFees", 2, 0.0),
        Str("currency", 3),
        Float("realizedPNL", 4, 0.0, absent=None),  # an opening execution has none; text has the sentinel then
        Float("yield", 5, 0.0, absent=None),
        Date("yieldRedemptionDate", 6),
    ),
)

ORDER_CANCEL = Record(
    "OrderCancel",
    (Str("manualOrderCancelTime", 1), Str("extOperator", 2), Int("manualOrderIndicator", 3, None)),
)

# -- blocks that layouts share ----------------------------------------------------------------------------------------

_HAS_DELTA_NEUTRAL = given("order.deltaNeutralOrderType")
_HAS_SCALE = positive("order.scalePriceIncrement")
_IS_PEG_BENCH = one_of("order.orderType", "PEG BENCH", "PEGBENCH")
_IS_PEG_BEST = one_of("order.orderType", "PEG BEST", "PEGBEST")
_HAS_MID_OFFSETS = either(
    one_of("order.orderType", "PEG MID", "PEGMID"),
    both(_IS_PEG_BEST, one_of("order.competeAgainstBestOffset", float("inf"))),
)

_COMBO_LEGS = Each(
    "contract.comboLegs", ("conId ratio action exchange openClose shortSaleSlot designatedLocation exemptCode",)
)
_SCALE_BLOCK = When(
    _HAS_SCALE,
    (
        Of(
            "order",
            (
                "scalePriceAdjustValue? scalePriceAdjustInterval? scaleProfitOffset? scaleAutoReset scaleInitPosition? "
                "scaleInitFillQty? scaleRandomPercent",
            ),
        ),
    ),
)
_HEDGE = ("order.hedgeType", When(given("order.hedgeType"), ("order.hedgeParam",)))
_ALGO = ("order.algoStrategy", When(given("order.algoStrategy"), (Each("order.algoParams"),)))
_PEG_BENCH = When(
    _IS_PEG_BENCH,
    (
        Of(
            "order",
            (
                "referenceContractId isPeggedChangeAmountDecrease peggedChangeAmount referenceChangeAmount "
                "referenceExchangeId",
            ),
        ),
    ),
)
_CONDITIONS = (
    Each("order.conditions"),
    When(given("order.conditions"), ("order.conditionsIgnoreRth order.conditionsCancelOrder",)),
)
_MARGIN_TEXTS = (
    "initMarginBefore maintMarginBefore equityWithLoanBefore initMarginChange maintMarginChange equityWithLoanChange "
    "initMarginAfter maintMarginAfter equityWithLoanAfter"
)


def _leg_prices_out(data: dict[str, Any]) -> None:
    """Move the prices of combo legs from the legs to the order.

    Protobuf has each price in its leg, text has them in a list of their own, which IB's classes follow.
    """
    if legs := data["contract"].get("comboLegs"):
        data["order"]["orderComboLegs"] = [
            {"price": leg.pop("perLegPrice")} if "perLegPrice" in leg else {} for leg in legs
        ]


def _open_order_out(data: dict[str, Any]) -> None:
    """Fill in the order's own id, which may be absent where the message has it."""
    _leg_prices_out(data)
    if data["orderId"]:
        data["order"].setdefault("orderId", data["orderId"])


def _leg_prices_in(data: dict[str, Any]) -> dict[str, Any]:
    prices = (data.get("order") or {}).get("orderComboLegs")
    legs = (data.get("contract") or {}).get("comboLegs")
    if not prices or not legs:
        return data
    priced = [{**leg, "perLegPrice": each.get("price")} for leg, each in zip(legs, prices, strict=False)]
    return {**data, "contract": {**data["contract"], "comboLegs": priced + list(legs[len(priced) :])}}


def _prices_without_legs(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield a fault if the order has more leg prices than legs: protobuf has a price only inside its leg."""
    prices = (data.get("order") or {}).get("orderComboLegs") or ()
    legs = (data.get("contract") or {}).get("comboLegs") or ()
    if len(prices) > len(legs):
        yield ("order", "orderComboLegs"), f"has {len(prices)} rows for {len(legs)} in contract.comboLegs"


_PRICES = ("order.orderComboLegs", "order.orderComboLegs.price")
_LEG_PRICES = Swap(_leg_prices_out, _leg_prices_in, _PRICES, _prices_without_legs)
_OPEN_ORDER = Swap(_open_order_out, _leg_prices_in, _PRICES)

DECLARATIONS = (
    request(
        3,
        "placeOrder",
        Int("orderId", 1, required=True),
        Part("contract", CONTRACT, 2, required=True),
        Part("order", ORDER, 3, required=True),
        Inline(
            4,
            (
                Int("order.slOrderId", 1, None, since=v.ATTACHED_ORDERS),
                Str("order.slOrderType", 2, since=v.ATTACHED_ORDERS, words=w.ATTACHED_ORDER_TYPES, longest=CODE),
                Int("order.ptOrderId", 3, None, since=v.ATTACHED_ORDERS),
                Str("order.ptOrderType", 4, since=v.ATTACHED_ORDERS, words=w.ATTACHED_ORDER_TYPES, longest=CODE),
            ),
        ),
        doc="Places an order, or changes the order with the same order id.",
        text=(
            "orderId",
            REQUEST_CONTRACT,
            "contract.secIdType contract.secId",
            Of(
                "order",
                (
                    "action totalQuantity orderType lmtPrice? auxPrice? tif ocaGroup account openClose origin orderRef "
                    "transmit parentId blockOrder sweepToFill displaySize triggerMethod outsideRth hidden",
                ),
            ),
            When(
                IS_COMBO,
                (_COMBO_LEGS, Each("order.orderComboLegs", ("price?",)), Each("order.smartComboRoutingParams")),
            ),
            Const(""),  # sharesAllocation
            Of("order", ("discretionaryAmt goodAfterTime goodTillDate faGroup faMethod faPercentage",)),
            Until(v.FA_PROFILE_DESUPPORT, Const("")),
            Of(
                "order",
                (
                    "modelCode shortSaleSlot designatedLocation exemptCode ocaType rule80A settlingFirm allOrNone "
                    "minQty? percentOffset?",
                ),
            ),
            Const("0"),  # eTradeOnly
            Const("0"),  # firmQuoteOnly
            Const(""),  # nbboPriceCap
            Of(
                "order",
                (
                    "auctionStrategy startingPrice? stockRefPrice? delta? stockRangeLower? stockRangeUpper? "
                    "overridePercentageConstraints volatility? volatilityType? deltaNeutralOrderType "
                    "deltaNeutralAuxPrice?",
                ),
            ),
            When(
                _HAS_DELTA_NEUTRAL,
                (
                    Of(
                        "order",
                        (
                            "deltaNeutralConId deltaNeutralSettlingFirm deltaNeutralClearingAccount "
                            "deltaNeutralClearingIntent deltaNeutralOpenClose deltaNeutralShortSale "
                            "deltaNeutralShortSaleSlot deltaNeutralDesignatedLocation",
                        ),
                    ),
                ),
            ),
            Of(
                "order",
                (
                    "continuousUpdate referencePriceType? trailStopPrice? trailingPercent? scaleInitLevelSize? "
                    "scaleSubsLevelSize? scalePriceIncrement?",
                ),
            ),
            _SCALE_BLOCK,
            Of("order", ("scaleTable activeStartTime activeStopTime",)),
            *_HEDGE,
            Of("order", ("optOutSmartRouting clearingAccount clearingIntent notHeld",)),
            *DELTA_NEUTRAL,
            *_ALGO,
            Of("order", ("algoId whatIf orderMiscOptions solicited randomizeSize randomizePrice",)),
            _PEG_BENCH,
            *_CONDITIONS,
            Of(
                "order",
                (
                    "adjustedOrderType triggerPrice lmtPriceOffset adjustedStopPrice adjustedStopLimitPrice "
                    "adjustedTrailingAmount adjustableTrailingUnit extOperator softDollarTier.name softDollarTier.val "
                    "cashQty mifid2DecisionMaker mifid2DecisionAlgo mifid2ExecutionTrader mifid2ExecutionAlgo "
                    "dontUseAutoPriceForHedge isOmsContainer discretionaryUpToLimitPrice usePriceMgmtAlgo? duration "
                    "postToAts autoCancelParent advancedErrorOverride manualOrderTime",
                ),
            ),
            When(one_of("contract.exchange", "IBKRATS"), ("order.minTradeQty?",)),
            When(_IS_PEG_BEST, ("order.minCompeteSize? order.competeAgainstBestOffset?",)),
            When(_HAS_MID_OFFSETS, ("order.midOffsetAtWhole? order.midOffsetAtHalf?",)),
            Since(v.CUSTOMER_ACCOUNT, "order.customerAccount"),
            Since(v.PROFESSIONAL_CUSTOMER, "order.professionalCustomer"),
            Between(v.RFQ_FIELDS, v.UNDO_RFQ_FIELDS, (Const(""), Const("2147483647"))),
            Since(v.INCLUDE_OVERNIGHT, "order.includeOvernight"),
            Since(v.CME_TAGGING_FIELDS, "order.manualOrderIndicator"),
            Since(v.IMBALANCE_ONLY, "order.imbalanceOnly"),
        ),
        proto=v.PROTOBUF_PLACE_ORDER,
        key="orderId",
        does=Kind.ORDER,
        pace=Pace.ORDER,
        answers=("openOrder", "orderStatus", "execDetails", "commissionAndFeesReport"),
        swap=_LEG_PRICES,
    ),
    request(
        4,
        "cancelOrder",
        Int("orderId", 1, required=True),
        Part("orderCancel", ORDER_CANCEL, 2),
        doc="Cancels an order.",
        text=(
            Until(v.CME_TAGGING_FIELDS, Version(1)),
            "orderId orderCancel.manualOrderCancelTime",
            Between(v.RFQ_FIELDS, v.UNDO_RFQ_FIELDS, (Const(""), Const(""), Const("2147483647"))),
            Since(v.CME_TAGGING_FIELDS, "orderCancel.extOperator orderCancel.manualOrderIndicator"),
        ),
        proto=v.PROTOBUF_PLACE_ORDER,
        key="orderId",
        does=Kind.FORGET,
        cancels="placeOrder",
        pace=Pace.CANCEL,
        answers=("orderStatus",),
    ),
    request(
        58,
        "reqGlobalCancel",
        Part("orderCancel", ORDER_CANCEL, 1),
        doc="Cancels every open order: those of every client, and those made by hand in TWS.",
        text=(
            Until(v.CME_TAGGING_FIELDS, Version(1)),
            Since(v.CME_TAGGING_FIELDS, "orderCancel.extOperator orderCancel.manualOrderIndicator"),
        ),
        proto=v.PROTOBUF_PLACE_ORDER,
        does=Kind.FORGET,
        pace=Pace.CANCEL,
    ),
    inbound(
        3,
        "orderStatus",
        Int("orderId", 1, absent=None),
        Str("status", 2),
        Decimal("filled", 3),
        Decimal("remaining", 4),
        Float("avgFillPrice", 5, absent=None),
        Long("permId", 6, absent=None),
        Int("parentId", 7, absent=None),
        Float("lastFillPrice", 8, absent=None),
        Int("clientId", 9, absent=None),
        Str("whyHeld", 10),
        Float("mktCapPrice", 11, absent=None),
        doc="The status of an order. TWS may repeat a status unchanged, and does not report every change.",
        text=(
            "orderId status filled remaining avgFillPrice permId parentId lastFillPrice clientId whyHeld mktCapPrice"
        ),
        proto=v.PROTOBUF_PLACE_ORDER,
        topic=Topic.ORDER,
        identity=(),
    ),
    inbound(
        5,
        "openOrder",
        Int("orderId", 1, absent=0),
        Part("contract", CONTRACT, 2),
        Part("order", ORDER, 3),
        Part("orderState", ORDER_STATE, 4),
        doc="An order as TWS has it, sent when TWS accepts the order, when the order changes, and on request.",
        text=(
            Same(("orderId", "order.orderId")),
            POSITION_CONTRACT,
            Of(
                "order",
                (
                    "action totalQuantity orderType lmtPrice? auxPrice? tif ocaGroup account openClose origin orderRef "
                    "clientId permId outsideRth hidden discretionaryAmt goodAfterTime",
                ),
            ),
            Const(""),  # sharesAllocation
            Of("order", ("faGroup faMethod faPercentage",)),
            Until(v.FA_PROFILE_DESUPPORT, Const("")),
            Of(
                "order",
                (
                    "modelCode goodTillDate rule80A percentOffset? settlingFirm shortSaleSlot designatedLocation "
                    "exemptCode auctionStrategy startingPrice? stockRefPrice? delta? stockRangeLower? stockRangeUpper? "
                    "displaySize? blockOrder sweepToFill allOrNone minQty? ocaType",
                ),
            ),
            Const("0"),  # eTradeOnly
            Const("0"),  # firmQuoteOnly
            Const(""),  # nbboPriceCap
            Of(
                "order",
                (
                    "parentId triggerMethod volatility? volatilityType deltaNeutralOrderType deltaNeutralAuxPrice?",
                    When(
                        _HAS_DELTA_NEUTRAL,
                        (
                            "deltaNeutralConId deltaNeutralSettlingFirm deltaNeutralClearingAccount "
                            "deltaNeutralClearingIntent deltaNeutralOpenClose deltaNeutralShortSale "
                            "deltaNeutralShortSaleSlot deltaNeutralDesignatedLocation",
                        ),
                    ),
                    "continuousUpdate referencePriceType trailStopPrice? trailingPercent? basisPoints? "
                    "basisPointsType?",
                ),
            ),
            "contract.comboLegsDescrip",
            _COMBO_LEGS,
            Each("order.orderComboLegs", ("price?",)),
            Each("order.smartComboRoutingParams"),
            Of("order", ("scaleInitLevelSize? scaleSubsLevelSize? scalePriceIncrement?",)),
            _SCALE_BLOCK,
            *_HEDGE,
            Of("order", ("optOutSmartRouting clearingAccount clearingIntent notHeld",)),
            *DELTA_NEUTRAL,
            *_ALGO,
            Of("order", ("solicited whatIf",)),
            Of(
                "orderState",
                (
                    f"status {_MARGIN_TEXTS} commissionAndFees? minCommissionAndFees? maxCommissionAndFees? "
                    "commissionAndFeesCurrency",
                    Since(
                        v.FULL_ORDER_PREVIEW_FIELDS,
                        f"marginCurrency {_OUTSIDE_RTH} suggestedSize rejectReason",
                        Each(
                            "orderAllocations",
                            (
                                "account position positionDesired positionAfter desiredAllocQty allowedAllocQty "
                                "isMonetary",
                            ),
                        ),
                    ),
                    "warningText",
                ),
            ),
            Of("order", ("randomizeSize randomizePrice",)),
            _PEG_BENCH,
            *_CONDITIONS,
            Of(
                "order",
                (
                    "adjustedOrderType triggerPrice trailStopPrice lmtPriceOffset adjustedStopPrice "
                    "adjustedStopLimitPrice adjustedTrailingAmount adjustableTrailingUnit softDollarTier.name "
                    "softDollarTier.val softDollarTier.displayName cashQty dontUseAutoPriceForHedge isOmsContainer "
                    "discretionaryUpToLimitPrice usePriceMgmtAlgo duration? postToAts? autoCancelParent minTradeQty? "
                    "minCompeteSize? competeAgainstBestOffset? midOffsetAtWhole? midOffsetAtHalf?",
                    Since(v.CUSTOMER_ACCOUNT, "customerAccount"),
                    Since(v.PROFESSIONAL_CUSTOMER, "professionalCustomer"),
                    Since(v.BOND_ACCRUED_INTEREST, "bondAccruedInterest"),
                    Since(v.INCLUDE_OVERNIGHT, "includeOvernight"),
                    Since(v.CME_TAGGING_FIELDS_IN_OPEN_ORDER, "extOperator manualOrderIndicator?"),
                    Since(v.SUBMITTER, "submitter"),
                    Since(v.IMBALANCE_ONLY, "imbalanceOnly"),
                ),
            ),
        ),
        proto=v.PROTOBUF_PLACE_ORDER,
        topic=Topic.ORDER,
        identity=(),
        swap=_OPEN_ORDER,
    ),
    request(
        5,
        "reqOpenOrders",
        doc="Asks for the open orders of this connection's client id.",
        text=(Version(1),),
        proto=v.PROTOBUF_COMPLETED_ORDER,
        answers=("openOrder", "orderStatus", "openOrderEnd"),
        ends=("openOrderEnd",),
        fresh=True,
    ),
    request(
        16,
        "reqAllOpenOrders",
        doc="Asks for the open orders of all clients, and of those made by hand in TWS.",
        text=(Version(1),),
        proto=v.PROTOBUF_COMPLETED_ORDER,
        answers=("openOrder", "orderStatus", "openOrderEnd"),
        ends=("openOrderEnd",),
        fresh=True,
    ),
    request(
        15,
        "reqAutoOpenOrders",
        Bool("bAutoBind", 1, required=True),
        doc="Makes TWS bind orders made by hand to client id 0 from now on.",
        text=(Version(1), "bAutoBind"),
        proto=v.PROTOBUF_COMPLETED_ORDER,
        does=Kind.SETTING,
    ),
    inbound(
        53,
        "openOrderEnd",
        doc="End of the open orders.",
        text=(Version(1),),
        proto=v.PROTOBUF_COMPLETED_ORDER,
        topic=Topic.SYSTEM,
    ),
    inbound(
        100,
        "orderBound",
        Long("permId", 1, absent=None),
        Int("clientId", 2, absent=None),
        Int("orderId", 3, absent=None),
        doc="Reports that TWS has bound an order made by hand to an API order id.",
        text="permId clientId orderId",
        proto=v.PROTOBUF_COMPLETED_ORDER,
        topic=Topic.ORDER,
    ),
    request(
        99,
        "reqCompletedOrders",
        Bool("apiOnly", 1),
        doc="Asks for completed orders: filled, cancelled or rejected.",
        text="apiOnly",
        proto=v.PROTOBUF_COMPLETED_ORDER,
        answers=("completedOrder", "completedOrdersEnd"),
        ends=("completedOrdersEnd",),
        fresh=True,
    ),
    inbound(
        101,
        "completedOrder",
        Part("contract", CONTRACT, 1),
        Part("order", ORDER, 2),
        Part("orderState", ORDER_STATE, 3),
        doc="A completed order. The message has no order id: `order.permId` tells the order from others.",
        text=(
            POSITION_CONTRACT,
            Of(
                "order",
                (
                    "action totalQuantity orderType lmtPrice? auxPrice? tif ocaGroup account openClose origin orderRef "
                    "permId outsideRth hidden discretionaryAmt goodAfterTime faGroup faMethod faPercentage",
                ),
            ),
            Until(v.FA_PROFILE_DESUPPORT, Const("")),
            Of(
                "order",
                (
                    "modelCode goodTillDate rule80A percentOffset? settlingFirm shortSaleSlot designatedLocation "
                    "exemptCode startingPrice? stockRefPrice? delta? stockRangeLower? stockRangeUpper? displaySize? "
                    "sweepToFill allOrNone minQty? ocaType triggerMethod volatility? volatilityType "
                    "deltaNeutralOrderType deltaNeutralAuxPrice?",
                    When(
                        _HAS_DELTA_NEUTRAL,
                        (
                            "deltaNeutralConId deltaNeutralShortSale deltaNeutralShortSaleSlot "
                            "deltaNeutralDesignatedLocation",
                        ),
                    ),
                    "continuousUpdate referencePriceType trailStopPrice? trailingPercent?",
                ),
            ),
            "contract.comboLegsDescrip",
            _COMBO_LEGS,
            Each("order.orderComboLegs", ("price?",)),
            Each("order.smartComboRoutingParams"),
            Of("order", ("scaleInitLevelSize? scaleSubsLevelSize? scalePriceIncrement?",)),
            _SCALE_BLOCK,
            *_HEDGE,
            Of("order", ("clearingAccount clearingIntent notHeld",)),
            *DELTA_NEUTRAL,
            *_ALGO,
            "order.solicited orderState.status order.randomizeSize order.randomizePrice",
            _PEG_BENCH,
            *_CONDITIONS,
            Of(
                "order",
                (
                    "trailStopPrice lmtPriceOffset cashQty dontUseAutoPriceForHedge isOmsContainer autoCancelDate "
                    "filledQuantity refFuturesConId autoCancelParent shareholder imbalanceOnly routeMarketableToBbo "
                    "parentPermId",
                ),
            ),
            "orderState.completedTime orderState.completedStatus",
            Of(
                "order",
                (
                    "minTradeQty? minCompeteSize? competeAgainstBestOffset? midOffsetAtWhole? midOffsetAtHalf?",
                    Since(v.CUSTOMER_ACCOUNT, "customerAccount"),
                    Since(v.PROFESSIONAL_CUSTOMER, "professionalCustomer"),
                    Since(v.SUBMITTER, "submitter"),
                ),
            ),
        ),
        proto=v.PROTOBUF_COMPLETED_ORDER,
        topic=Topic.ORDER,
        identity=(),
        swap=_LEG_PRICES,
    ),
    inbound(
        102,
        "completedOrdersEnd",
        doc="End of the completed orders.",
        text=(),
        proto=v.PROTOBUF_COMPLETED_ORDER,
        topic=Topic.SYSTEM,
    ),
    # -- executions
    request(
        7,
        "reqExecutions",
        AskedId,
        Part("execFilter", EXECUTION_FILTER, 2),
        doc="Asks for the executions that match the filter, by default of those since midnight.",
        text=(
            Version(3),
            "reqId",
            Of("execFilter", ("clientId acctCode time symbol secType exchange side",)),
            Since(
                v.PARAMETRIZED_DAYS_OF_EXECUTIONS,
                "execFilter.lastNDays",
                Each("execFilter.specificDates"),
            ),
        ),
        proto=v.PROTOBUF,
        answers=("execDetails", "commissionAndFeesReport", "execDetailsEnd"),
        ends=("execDetailsEnd",),
    ),
    inbound(
        11,
        "execDetails",
        ReqId,
        Part("contract", CONTRACT, 2),
        Part("execution", EXECUTION, 3),
        doc="An execution, sent when it happens, and on request. `execution.execId` tells it from others.",
        text=(
            "reqId execution.orderId",
            POSITION_CONTRACT,
            Of(
                "execution",
                (
                    "execId time acctNumber exchange side shares price permId clientId liquidation cumQty avgPrice "
                    "orderRef evRule evMultiplier modelCode lastLiquidity",
                    Since(v.PENDING_PRICE_REVISION, "pendingPriceRevision"),
                    Since(v.SUBMITTER, "submitter"),
                ),
            ),
        ),
        proto=v.PROTOBUF,
        topic=Topic.EXECUTION,
    ),
    inbound(
        55,
        "execDetailsEnd",
        ReqId,
        doc="End of the executions.",
        text=(Version(1), "reqId"),
        proto=v.PROTOBUF,
    ),
    inbound(
        59,
        "commissionAndFeesReport",
        Spread("commissionAndFeesReport", COMMISSION_AND_FEES_REPORT),
        doc="The commission and fees of the execution that `execId` names.",
        text=(
            Version(1),
            Of(
                "commissionAndFeesReport",
                ("execId commissionAndFees currency realizedPNL yield yieldRedemptionDate",),
            ),
        ),
        proto=v.PROTOBUF_REST_MESSAGES_1,
        topic=Topic.EXECUTION,
    ),
)
