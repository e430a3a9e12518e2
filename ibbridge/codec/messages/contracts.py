"""Contracts and their details: the records, the requests for them and the answers."""

from __future__ import annotations

import re
from typing import Any

from ibbridge.codec import versions as v
from ibbridge.codec import words as w
from ibbridge.codec.schema import (
    Bool,
    Code,
    Decimal,
    Each,
    Escaped,
    Expiry,
    Float,
    Int,
    Kind,
    Layout,
    Of,
    Part,
    Present,
    Ratio,
    Record,
    Rows,
    Since,
    Split,
    Str,
    Swap,
    TagValues,
    Tick,
    Version,
    When,
    Whole,
    given,
    inbound,
    lacking,
    one_of,
    request,
)
from ibbridge.codec.types import join_date, split_date

CODE = 64
"""Most characters of a name or code at IB: a symbol, an exchange, an account, a date."""

DESCRIPTION = 4_096
"""Most characters of a text for people, which comes back with TWS's own data."""

# Attributes that identify a contract need not be carried if its conId or its symbol identifies it already. Only legs,
# and the stock behind a delta-neutral combination, are told by nothing else.
_NO_CON_ID = lacking("conId")
_NO_NAME = lacking("conId", "symbol", "localSymbol")


def _is_zero(amount: str) -> bool:
    return re.fullmatch(r"-?(0+\.?0*|\.0+)", amount) is not None


DELTA_NEUTRAL_CONTRACT = Record(
    "DeltaNeutralContract",
    (Int("conId", 1, always=True), Float("delta", 2, 0.0), Float("price", 3, 0.0)),
)

COMBO_LEG = Record(
    "ComboLeg",
    (
        Int("conId", 1),
        Int("ratio", 2, least=0),
        Str("action", 3, words=w.ACTIONS, longest=CODE),
        Str("exchange", 4, longest=CODE),
        Int("openClose", 5),
        Int("shortSaleSlot", 6),
        Str("designatedLocation", 7),
        Int("exemptCode", 8, -1),
        Float("perLegPrice", 9, None, hidden=True),  # published as order.orderComboLegs, where text has it
    ),
)

CONTRACT = Record(
    "Contract",
    (
        Int("conId", 1),
        Str("symbol", 2, longest=CODE, apart=_NO_CON_ID),
        Str("secType", 3, words=w.SECURITY_TYPES, longest=CODE, apart=_NO_CON_ID),
        Expiry("lastTradeDateOrContractMonth", 4, longest=CODE, apart=_NO_CON_ID),
        # An empty text field is 0; only protobuf can say unset.
        Float("strike", 5, None, nothing=lambda strike: strike == 0, apart=_NO_CON_ID),
        Str("right", 6, words=w.RIGHTS, longest=CODE, nothing=lambda right: right in ("0", "?"), apart=_NO_CON_ID),
        Ratio("multiplier", 7, nothing=_is_zero, apart=_NO_CON_ID),
        Str("exchange", 8, longest=CODE),
        Str("primaryExchange", 9, longest=CODE, apart=_NO_CON_ID),
        Str("currency", 10, longest=CODE, apart=_NO_CON_ID),
        Str("localSymbol", 11, longest=CODE, apart=_NO_CON_ID),
        Str("tradingClass", 12, longest=CODE, apart=_NO_CON_ID),
        Str("secIdType", 13, longest=CODE, apart=_NO_NAME),
        Str("secId", 14, longest=CODE, apart=_NO_NAME),
        Str("description", 15, longest=DESCRIPTION),
        Str("issuerId", 16, longest=CODE, apart=_NO_NAME),
        Part("deltaNeutralContract", DELTA_NEUTRAL_CONTRACT, 17, optional=True, apart=given("deltaNeutralContract")),
        Bool("includeExpired", 18),
        Str("comboLegsDescrip", 19, longest=DESCRIPTION),
        Rows("comboLegs", COMBO_LEG, 20, rows=100, apart=given("comboLegs")),
        Str("lastTradeDate", 21, answer=True),
    ),
    lenient=True,
)

# The runs of contract fields that layouts repeat, in wire order.
IDENTITY = "conId symbol secType lastTradeDateOrContractMonth strike right multiplier"
POSITION_CONTRACT = Of("contract", (f"{IDENTITY} exchange currency localSymbol tradingClass",))
REQUEST_IDENTITY = IDENTITY.replace("strike", "strike?")
REQUEST_CONTRACT = Of("contract", (f"{REQUEST_IDENTITY} exchange primaryExchange currency localSymbol tradingClass",))
REQUEST_CONTRACT_EXPIRED = Of(
    "contract", (f"{REQUEST_IDENTITY} exchange primaryExchange currency localSymbol tradingClass includeExpired",)
)
IS_COMBO = one_of("contract.secType", "BAG")
LEGS = When(IS_COMBO, (Each("contract.comboLegs", ("conId ratio action exchange",)),))
DELTA_NEUTRAL: Layout = (Present("contract.deltaNeutralContract", ("conId delta price",)),)
TheContract = Part("contract", CONTRACT, 2, required=True)

INELIGIBILITY_REASON = Record("IneligibilityReason", (Str("id", 1), Str("description", 2)))

CONTRACT_DETAILS = Record(
    "ContractDetails",
    (
        Part("contract", CONTRACT),
        Str("marketName", 1),
        Tick("minTick", 2),
        Str("orderTypes", 3),
        Str("validExchanges", 4),
        Int("priceMagnifier", 5),
        Int("underConId", 6),
        Escaped("longName", 7),
        Str("contractMonth", 8),
        Str("industry", 9),
        Str("category", 10),
        Str("subcategory", 11),
        Str("timeZoneId", 12),
        Str("tradingHours", 13),
        Str("liquidHours", 14),
        Str("evRule", 15),
        Whole("evMultiplier", 16),
        TagValues("secIdList", 17),
        Int("aggGroup", 18),
        Str("underSymbol", 19),
        Str("underSecType", 20),
        Str("marketRuleIds", 21),
        Str("realExpirationDate", 22),
        Str("stockType", 23),
        Decimal("minSize", 24),
        Decimal("sizeIncrement", 25),
        Decimal("suggestedSizeIncrement", 26),
        Str("fundName", 27),
        Str("fundFamily", 28),
        Str("fundType", 29),
        Str("fundFrontLoad", 30),
        Str("fundBackLoad", 31),
        Str("fundBackLoadTimeInterval", 32),
        Str("fundManagementFee", 33),
        Bool("fundClosed", 34),
        Bool("fundClosedForNewInvestors", 35),
        Bool("fundClosedForNewMoney", 36),
        Str("fundNotifyAmount", 37),
        Str("fundMinimumInitialPurchase", 38),
        Str("fundSubsequentMinimumPurchase", 39),
        Str("fundBlueSkyStates", 40),
        Str("fundBlueSkyTerritories", 41),
        Code("fundDistributionPolicyIndicator", 42, "N", "Y"),
        Code("fundAssetType", 43, "000", "001", "002", "003", "004", "005", "006", "007"),
        Str("cusip", 44),
        Str("issueDate", 45),
        Str("ratings", 46),
        Str("bondType", 47),
        Float("coupon", 48, 0.0),
        Str("couponType", 49),
        Bool("convertible", 50),
        Bool("callable", 51),
        Bool("putable", 52),
        Str("descAppend", 53),
        Str("nextOptionDate", 54),
        Str("nextOptionType", 55),
        Bool("nextOptionPartial", 56),
        Str("notes", 57),
        Rows("ineligibilityReasonList", INELIGIBILITY_REASON, 58),
        Str("eventContract1", 59),
        Str("eventContractDescription1", 60),
        Str("eventContractDescription2", 61),
        Decimal("minAlgoSize", 62),
        Decimal("lastPricePrecision", 63),
        Decimal("lastSizePrecision", 64),
        Str("settlementMethod", 65),
        Str("lastTradeTime"),
        Str("maturity"),
    ),
)

_FUND = (
    "fundName fundFamily fundType fundFrontLoad fundBackLoad fundBackLoadTimeInterval fundManagementFee fundClosed "
    "fundClosedForNewInvestors fundClosedForNewMoney fundNotifyAmount fundMinimumInitialPurchase "
    "fundSubsequentMinimumPurchase fundBlueSkyStates fundBlueSkyTerritories fundDistributionPolicyIndicator "
    "fundAssetType"
)


def _split_date(data: dict[str, Any]) -> None:
    """Split the contract's last trade date into date and time.

    Protobuf has both in one field, as text has (`20251219 08:30:00 US/Central`).
    """
    details = data["contractDetails"]
    contract = details.get("contract", {})
    date, time = split_date(contract.pop("lastTradeDateOrContractMonth", ""), 2)
    contract.update({"lastTradeDateOrContractMonth": date} if date else {})
    details.update({"lastTradeTime": time} if time else {})
    if not contract:
        details.pop("contract", None)


def _split_maturity(data: dict[str, Any]) -> None:
    """Split a bond's last trade date into maturity, time and time zone.

    The contract keeps the whole text.
    """
    details = data["contractDetails"]
    parts = split_date(details.get("contract", {}).get("lastTradeDateOrContractMonth", ""), 3)
    named = zip(("maturity", "lastTradeTime", "timeZoneId"), parts, strict=True)
    details.update((name, part) for name, part in named if part)


def _join_date(data: dict[str, Any]) -> dict[str, Any]:
    details = data.get("contractDetails") or {}
    contract = details.get("contract") or {}
    date = contract.get("lastTradeDateOrContractMonth") or details.get("maturity") or ""
    time = details.get("lastTradeTime")
    joined = join_date(date, time) if time and time not in date else date
    return {
        **data,
        "contractDetails": {**details, "contract": {**contract, "lastTradeDateOrContractMonth": joined}},
    }


_DETAILS = (
    Int("reqId", 1, absent=-1),
    Part("contractDetails", CONTRACT_DETAILS, 3),
    Part("contractDetails.contract", CONTRACT, 2),
)

DECLARATIONS = (
    request(
        9,
        "reqContractDetails",
        Int("reqId", 1, required=True),
        TheContract,
        doc="Asks for all contracts that match a description.",
        text=(
            Version(8),
            "reqId",
            REQUEST_CONTRACT_EXPIRED,
            "contract.secIdType contract.secId contract.issuerId",
        ),
        proto=v.PROTOBUF_CONTRACT_DATA,
        answers=("contractDetails", "bondContractDetails", "contractDetailsEnd"),
        ends=("contractDetailsEnd",),
        deadline=60.0,
        throttled=True,
    ),
    inbound(
        10,
        "contractDetails",
        *_DETAILS,
        doc="A contract that matches the description.",
        text=(
            "reqId",
            Of(
                "contractDetails",
                (
                    "contract.symbol contract.secType",
                    Split(("contract.lastTradeDateOrContractMonth", "lastTradeTime")),
                    Since(v.LAST_TRADE_DATE, "contract.lastTradeDate"),
                    "contract.strike contract.right contract.exchange contract.currency contract.localSymbol "
                    "marketName contract.tradingClass contract.conId minTick contract.multiplier orderTypes "
                    "validExchanges priceMagnifier underConId longName contract.primaryExchange contractMonth industry "
                    "category subcategory timeZoneId tradingHours liquidHours evRule evMultiplier",
                    Each("secIdList"),
                    "aggGroup underSymbol underSecType marketRuleIds realExpirationDate stockType minSize "
                    "sizeIncrement suggestedSizeIncrement",
                ),
            ),
            Since(
                v.FUND_DATA_FIELDS,
                When(one_of("contractDetails.contract.secType", "FUND"), (Of("contractDetails", (_FUND,)),)),
            ),
            Since(v.INELIGIBILITY_REASONS, Each("contractDetails.ineligibilityReasonList", ("id description",))),
        ),
        proto=v.PROTOBUF_CONTRACT_DATA,
        swap=Swap(_split_date, _join_date, ("contractDetails.lastTradeTime",)),
    ),
    inbound(
        18,
        "bondContractDetails",
        *_DETAILS,
        doc="A bond that matches the description.",
        text=(
            "reqId",
            Of(
                "contractDetails",
                (
                    "contract.symbol contract.secType cusip coupon",
                    Split(("maturity", "lastTradeTime", "timeZoneId")),
                    "issueDate ratings bondType couponType convertible callable putable descAppend contract.exchange "
                    "contract.currency marketName contract.tradingClass contract.conId minTick orderTypes "
                    "validExchanges nextOptionDate nextOptionType nextOptionPartial notes",
                    "longName!",  # the one long name without escapes
                    Since(v.BOND_TRADING_HOURS, "timeZoneId tradingHours liquidHours"),
                    "evRule evMultiplier",
                    Each("secIdList"),
                    "aggGroup marketRuleIds minSize sizeIncrement suggestedSizeIncrement",
                ),
            ),
        ),
        proto=v.PROTOBUF_CONTRACT_DATA,
        swap=Swap(_split_maturity, _join_date, ("contractDetails.maturity", "contractDetails.lastTradeTime")),
    ),
    inbound(
        52,
        "contractDetailsEnd",
        Int("reqId", 1, absent=-1),
        doc="End of the contracts that match.",
        text=(Version(1), "reqId"),
        proto=v.PROTOBUF_CONTRACT_DATA,
    ),
    request(
        106,
        "cancelContractData",
        Int("reqId", 1, required=True),
        text=None,
        proto=v.CANCEL_CONTRACT_DATA,
        does=Kind.FORGET,
        cancels="reqContractDetails",
    ),
)
