"""The declarations against tables of the protocol: nothing is missing, nothing is made up, names and defaults are IB's.

What differs and is no fault stands below, each with its reason, and must still be found: an exception that is no longer
needed is a fault of this file.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.codec import versions
from ibbridge.codec.messages import INBOUND, MESSAGES, OUTBOUND, REQUESTS
from ibbridge.codec.messages.contracts import CONTRACT
from ibbridge.codec.messages.orders import ORDER
from ibbridge.codec.schema import Const, Declaration, Field, Int, Member, Record
from ibbridge.codec.versions import NEWEST
from tests.conformance.golden import OriginError
from tests.conformance.table_differences import (
    VERSIONS,
    availability_faults,
    by_plain_name,
    called,
    class_faults,
    code_faults,
    condition_faults,
    gates,
    gating_faults,
    id_faults,
    level_faults,
    name_faults,
    number_faults,
    protobuf_faults,
    reported,
    signature_faults,
    table,
    text_faults,
    their_items,
    version_faults,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# -- what is no fault -------------------------------------------------------------------------------------------------

LEGACY = "fundamental data: gone from the newest client, of which the tables are, but servers take it"
JOINED = "several callbacks are one message here"
LOCAL = "the client's own, nothing that travels"
PUBLISHED_TOO = "travels in protobuf; the client gives it to nobody, we do"
EMPTY_OF_A_BAR = "the client reads what is empty as zero, a price at which nobody traded; here it is nil"
ONE_OF_THREE = "one id for three messages, each of which has one of the three ticks"

EXCEPTIONS = {
    # signatures
    "connectAck is not declared": LOCAL,
    "connectionClosed is not declared": LOCAL,
    "winError is not declared": LOCAL,
    "scannerDataEnd is not declared": JOINED,
    "historicalData.bar is not declared": JOINED,
    "historicalData.bars is made up": JOINED,
    "historicalData.start is made up": JOINED,
    "historicalData.end is made up": JOINED,
    "scannerData.rows is made up": JOINED,
    **{
        f"scannerData.{name} is not declared": JOINED
        for name in ("rank", "contractDetails", "distance", "benchmark", "projection", "legsStr")
    },
    "tickPrice.size is made up": JOINED,
    "tickReqParams.lastPricePrecision is made up": PUBLISHED_TOO,
    "tickReqParams.lastSizePrecision is made up": PUBLISHED_TOO,
    "fundamentalData is made up": LEGACY,
    "reqFundamentalData is made up": LEGACY,
    "cancelFundamentalData is made up": LEGACY,
    "startApi is made up": "part of the handshake, which the client makes by itself",
    "histogramData.items is a list, not a HistogramData": "the client annotates the list with what is in it",
    "smartComponents.smartComponentMap is a list, not a dict": "a list in text: see test_encodings.py",
    # classes
    "class RealTimeBar is not declared": "its attributes are parameters of realtimeBar, one by one",
    "class TagValue is not declared": "its two attributes are a type of their own, as protobuf has a map for them",
    "IneligibilityReason.id is '' by default, not 'None'": "the class makes text of None",
    "IneligibilityReason.description is '' by default, not 'None'": "the class makes text of None",
    # protobuf
    "protobuf of fundamentalData is made up": LEGACY,
    "protobuf of reqFundamentalData is made up": LEGACY,
    "protobuf of cancelFundamentalData is made up": LEGACY,
    "updateMktDepth: MarketDepthData.marketMaker (6) is not declared": "no market makers below level 2",
    "updateMktDepth: MarketDepthData.isSmartDepth (7) is not declared": "no market makers below level 2",
    "tickByTickAllLast: TickByTickData.historicalTickBidAsk (4) is not declared": ONE_OF_THREE,
    "tickByTickAllLast: TickByTickData.historicalTickMidPoint (5) is not declared": ONE_OF_THREE,
    "tickByTickBidAsk: TickByTickData.historicalTickLast (3) is not declared": ONE_OF_THREE,
    "tickByTickBidAsk: TickByTickData.historicalTickMidPoint (5) is not declared": ONE_OF_THREE,
    "tickByTickMidPoint: TickByTickData.historicalTickLast (3) is not declared": ONE_OF_THREE,
    "tickByTickMidPoint: TickByTickData.historicalTickBidAsk (4) is not declared": ONE_OF_THREE,
    "tickByTickMidPoint: HistoricalTick.size (3) is not declared": "a price between bid and ask has no size",
    # text
    "text of fundamentalData is made up": LEGACY,
    "text of reqFundamentalData is made up": LEGACY,
    "text of cancelFundamentalData is made up": LEGACY,
    "text of startApi is made up": "part of the handshake, which the tables of requests leave out",
    **{
        f"text of {name} at {version}: {value} has another word for unset": EMPTY_OF_A_BAR
        for name in ("historicalData", "historicalDataUpdate")
        for value in ("open", "high", "low", "close", "barCount")
        for version in VERSIONS
    },
    # gating
    "fundamentalData is protobuf since 211, not None": LEGACY,
    "reqFundamentalData is protobuf since 210, not None": LEGACY,
    "cancelFundamentalData is protobuf since 210, not None": LEGACY,
    # versions
    "version BOND_ISSUERID is not declared": "the oldest: everything has it, so no declaration needs its name",
}

IN_PROTOBUF = """
    CurrentTime.currentTime=time CurrentTimeInMillis.currentTimeInMillis=timeInMillis ErrorMessage.id=reqId
    ErrorMessage.errorMsg=errorString TickPrice.attrMask=attrib TickNews.reqId=tickerId TickNews.timestamp=timeStamp
    TickReqParams.reqId=tickerId HistoricalTickBidAsk.priceBid=bidPrice HistoricalTickBidAsk.priceAsk=askPrice
    HistoricalTickBidAsk.sizeBid=bidSize HistoricalTickBidAsk.sizeAsk=askSize HistoricalTick.price=midPoint
    RealTimeBarTick.WAP=wap Contract.primaryExch=primaryExchange ComboLeg.shortSalesSlot=shortSaleSlot
    OrderCondition.type=condType SoftDollarTier.value=val Execution.isLiquidation=liquidation
    Execution.isPriceRevisionPending=pendingPriceRevision CommissionAndFeesReport.bondYield=yield
    AccountValue.value=val PositionMulti.position=pos PnLSingle.position=pos
    ContractDetails.fundMinimumSubsequentPurchase=fundSubsequentMinimumPurchase ContractDetails.puttable=putable
    ContractDetails.bondNotes=notes MarketDepthExchanges.depthMarketDataDescriptions=depthMktDataDescriptions
    SmartComponents.smartComponents=smartComponentMap HistoricalData.historicalDataBars=bars HistoricalDataBar.WAP=wap
    HistoricalDataEnd.startDateStr=start HistoricalDataEnd.endDateStr=end HistoricalDataUpdate.historicalDataBar=bar
    HistoricalSchedule.historicalSessions=sessions HistogramData.histogramDataEntries=items
    HistoricalTicks.historicalTicks=ticks HistoricalTicks.isDone=done HistoricalTicksBidAsk.historicalTicksBidAsk=ticks
    HistoricalTicksBidAsk.isDone=done HistoricalTicksLast.historicalTicksLast=ticks HistoricalTicksLast.isDone=done
    NewsBulletin.newsMsgId=msgId NewsBulletin.newsMsgType=msgType NewsBulletin.originatingExch=originExch
    NewsProvider.providerCode=code NewsProvider.providerName=name NewsArticle.reqId=requestId
    HistoricalNews.reqId=requestId HistoricalNewsEnd.reqId=requestId ScannerData.scannerDataElement=rows
    ScannerDataElement.comboKey=legsStr ReceiveFA.faDataType=faData ReceiveFA.xml=cxml
    SoftDollarTiers.softDollarTiers=tiers FamilyCode.accountId=accountID FamilyCode.familyCode=familyCodeStr
    MarketDataRequest.marketDataOptions=mktDataOptions MarketDepthRequest.marketDepthOptions=mktDepthOptions
    AutoOpenOrdersRequest.autoBind=bAutoBind ExecutionRequest.executionFilter=execFilter
    AccountSummaryRequest.group=groupName PnLSingleRequest.conId=conid
    CalculateImpliedVolatilityRequest.impliedVolatilityOptions=implVolOptions
    CalculateOptionPriceRequest.optionPriceOptions=optPrcOptions ExerciseOptionsRequest.orderId=reqId
    HistoricalDataRequest.duration=durationStr HistogramDataRequest.reqId=tickerId CancelHistogramData.reqId=tickerId
    HistoricalTicksRequest.useRTH=useRth NewsBulletinsRequest.allMessages=allMsgs FARequest.faDataType=faData
    FAReplace.faDataType=faData FAReplace.xml=cxml
"""
"""Fields that protobuf calls otherwise than IB's callbacks and classes do, whose names are ours."""

IN_TEXT = """
    bondContractDetails.lastTradeDateOrContractMonth=maturity completedOrder.conditionType=condType
    completedOrder.connector=isConjunctionConnection historicalData.endDateStr=end historicalData.startDateStr=start
    historicalDataEnd.endDateStr=end historicalDataEnd.startDateStr=start historicalNewsEnd.reqId=requestId
    historicalTicksBidAsk.mask=tickAttribBidAsk historicalTicksLast.mask=tickAttribLast newsArticle.reqId=requestId
    openOrder.conditionType=condType openOrder.connector=isConjunctionConnection openOrder.value=val
    positionMulti.position=pos securityDefinitionOptionParameter.expiration=expirations
    securityDefinitionOptionParameter.strike=strikes symbolSamples.derivSecType=derivativeSecTypes
    tickByTickAllLast.mask=tickAttribLast tickByTickBidAsk.mask=tickAttribBidAsk
    tickOptionComputation.tickTypeInt=tickType tickPrice.attrMask=attrib tickSize.sizeTickType=tickType
    placeOrder.conditionType=condType placeOrder.miscOptionsStr=orderMiscOptions placeOrder.value=price
    reqExecutions.specificDate=specificDates reqHistoricalData.chartOptionsStr=chartOptions
    reqHistoricalNews.historicalNewsOptionsStr=historicalNewsOptions reqHistoricalTicks.miscOptionsString=miscOptions
    reqNewsArticle.newsArticleOptionsStr=newsArticleOptions reqRealTimeBars.realTimeBarsOptionsStr=realTimeBarsOptions
    reqScannerSubscription.scannerSubscriptionFilterOptionsStr=scannerSubscriptionFilterOptions
    reqScannerSubscription.scannerSubscriptionOptionsStr=scannerSubscriptionOptions
"""
"""The same for the variables into which the client reads text."""


def spelt_otherwise(encoding: str, names: str) -> Iterator[str]:
    for each in names.split():
        theirs, ours = each.split("=")
        yield f"{encoding}: {theirs} is declared as {ours}"


KNOWN = {*EXCEPTIONS, *spelt_otherwise("protobuf", IN_PROTOBUF), *spelt_otherwise("text", IN_TEXT)}

# -- the tests --------------------------------------------------------------------------------------------------------

CHECKS: dict[str, Callable[[], Iterator[str]]] = {
    "ids of messages": lambda: id_faults(INBOUND, "inbound"),
    "ids of requests": lambda: id_faults(OUTBOUND, "outbound"),
    "names of messages": lambda: name_faults(INBOUND, reported()),
    "names of requests": lambda: name_faults(OUTBOUND, called()),
    "callbacks": lambda: signature_faults(INBOUND, table("callbacks")),
    "requests": lambda: signature_faults(OUTBOUND, table("requests")),
    "classes": lambda: class_faults((*INBOUND, *OUTBOUND), table("class_defaults")),
    "messages in protobuf": lambda: protobuf_faults(INBOUND, "inbound", table("proto_messages")),
    "requests in protobuf": lambda: protobuf_faults(OUTBOUND, "outbound", table("proto_messages")),
    "messages in text": lambda: text_faults(INBOUND, table("in_layouts")),
    "requests in text": lambda: text_faults(OUTBOUND, table("out_layouts")),
    "conditions": lambda: condition_faults((*INBOUND, *OUTBOUND), table("order_condition_layouts")),
    "from text to protobuf, messages": lambda: gating_faults(INBOUND, gates("inbound")),
    "from text to protobuf, requests": lambda: gating_faults(OUTBOUND, gates("outbound")),
    "availability": lambda: availability_faults(OUTBOUND, table("request_availability")),
    "versions": lambda: number_faults(vars(versions), table("server_versions")),
    "codes": lambda: code_faults(table("enums")),
}


@cache
def faults(check: str) -> frozenset[str]:
    return frozenset(CHECKS[check]())


@pytest.mark.parametrize("check", CHECKS)
def test_the_declarations_are_what_the_tables_say(check: str) -> None:
    assert sorted(faults(check) - KNOWN) == []


def test_every_exception_is_still_needed() -> None:
    assert sorted(KNOWN - frozenset().union(*map(faults, CHECKS))) == []


# -- that they would fail ---------------------------------------------------------------------------------------------


def without(declaration: Declaration, name: str) -> Declaration:
    """The same without one of its fields, which its layout may still name."""
    fields = tuple(each for each in declaration.fields if getattr(each, "name", "") != name)
    assert len(fields) < len(declaration.fields)
    return replace(declaration, fields=fields)


def poorer(record: Record, name: str) -> Record:
    return replace(record, fields=tuple(each for each in record.fields if each.name != name))


def with_record(declaration: Declaration, name: str, record: Record) -> Declaration:
    fields = [replace(m, type=record) if isinstance(m, Field) and m.name == name else m for m in declaration.fields]
    return replace(declaration, fields=tuple(fields))


POSITION, POSITION_END = MESSAGES["position"], MESSAGES["positionEnd"]
TICK_SIZE, EXECUTIONS = MESSAGES["tickSize"], REQUESTS["reqExecutions"]
OTHERS = tuple(each for each in INBOUND if each is not POSITION)


def test_a_message_that_is_not_declared_is_noticed() -> None:
    assert "POSITION_DATA (61) is not declared" in set(id_faults(OTHERS, "inbound"))
    assert "position is not declared" in set(signature_faults(OTHERS, table("callbacks")))
    assert "position is not declared on the id 61" in set(name_faults(OTHERS, reported()))
    assert "protobuf of Position (61) is not declared" in set(
        protobuf_faults(OTHERS, "inbound", table("proto_messages"))
    )
    assert "text of 61 is not declared" in set(text_faults(OTHERS, table("in_layouts")))


def test_a_message_that_is_made_up_is_noticed() -> None:
    odd = replace(POSITION, id=60, name="odd")
    assert list(id_faults([*INBOUND, odd], "inbound")) == ["odd has the id 60, which is none"]
    assert "odd is made up" in set(signature_faults([odd], table("callbacks")))
    assert (
        list(protobuf_faults([*INBOUND, odd], "inbound", table("proto_messages")))[-1] == "protobuf of odd is made up"
    )
    assert "text of odd is made up" in set(text_faults([*INBOUND, odd], table("in_layouts")))


def test_two_messages_that_changed_ids_are_noticed() -> None:
    swapped = [replace(POSITION, id=POSITION_END.id), replace(POSITION_END, id=POSITION.id)]
    named = [(POSITION.id, "position"), (POSITION_END.id, "positionEnd")]
    assert len(list(name_faults(swapped, named))) == 2


def test_a_parameter_that_is_missing_or_made_up_or_of_another_type_is_noticed() -> None:
    signatures = {"position": table("callbacks")["position"]}
    assert list(signature_faults([POSITION], signatures)) == []
    assert list(signature_faults([without(POSITION, "avgCost")], signatures)) == ["position.avgCost is not declared"]
    more = replace(POSITION, fields=(*POSITION.fields, Int("more")))
    assert list(signature_faults([more], signatures)) == ["position.more is made up"]
    other = replace(without(POSITION, "avgCost"), fields=(*without(POSITION, "avgCost").fields, Int("avgCost")))
    assert list(signature_faults([other], signatures)) == ["position.avgCost is a int, not a float"]


def test_an_attribute_that_is_missing_or_has_another_default_is_noticed() -> None:
    classes = {"Contract": table("class_defaults")["Contract"]}

    def found(record: Record) -> set[str]:
        return {
            each for each in class_faults([with_record(POSITION, "contract", record)], classes) if "Contract." in each
        }

    assert found(CONTRACT) == set()
    assert found(poorer(CONTRACT, "issuerId")) == {"Contract.issuerId is not declared"}
    assert found(replace(CONTRACT, fields=(*CONTRACT.fields, Int("more")))) == {"Contract.more is made up"}
    strike = replace(CONTRACT.field("strike"), default=0.0)
    altered = replace(CONTRACT, fields=(*poorer(CONTRACT, "strike").fields, strike))
    assert found(altered) == {"Contract.strike is 0.0 by default, not None"}


def test_every_attribute_of_an_order_is_compared() -> None:
    """Whichever is left out of the largest class, it is noticed."""
    classes = {"Order": table("class_defaults")["Order"]}
    order = REQUESTS["placeOrder"]
    for name in by_plain_name(classes["Order"]):
        less = with_record(order, "order", poorer(ORDER, name))
        assert f"Order.{name} is not declared" in set(class_faults([less], classes))


def test_a_protobuf_field_that_is_missing_or_made_up_or_moved_is_noticed() -> None:
    def found(*fields: Member) -> set[str]:
        return set(level_faults("tickSize", "TickSize", fields, table("proto_messages"), set()))

    req_id, tick_type, size = TICK_SIZE.fields
    assert found(req_id, tick_type, size) == set()
    assert found(req_id, tick_type) == {"tickSize: TickSize.size (3) is not declared"}
    assert found(req_id, tick_type, size, Int("more", 4)) == {"tickSize: TickSize has no field 4"}
    assert found(req_id, tick_type, Int("size", 3)) == {"tickSize: TickSize.size is declared as int32, not string"}
    assert found(Int("tickType", 1), Int("reqId", 2), size) == {
        "protobuf: TickSize.reqId is declared as tickType",
        "protobuf: TickSize.tickType is declared as reqId",
    }


def test_a_text_field_that_is_missing_or_moved_is_noticed() -> None:
    layout = next(each for each in table("in_layouts") if each["msg"] == "TICK_SIZE")["layouts"][0]["fields"]
    theirs = list(their_items(layout))

    def found(*text: Any) -> list[str]:
        return sorted(version_faults(replace(TICK_SIZE, layout=text), NEWEST, theirs))

    spelt = "text: tickSize.sizeTickType is declared as tickType"
    assert found(Const("6"), "reqId tickType size") == [spelt]
    assert found(Const("6"), "reqId tickType") == ["text of tickSize at 226 has 3 fields, not 4", spelt]
    assert f"text of tickSize at {NEWEST}: reqId is left out" in found("reqId", Const("6"), "tickType size")
    assert "text: tickSize.size is declared as reqId" in found(Const("6"), "size tickType reqId")
    assert f"text of tickSize at {NEWEST}: reqId has another word for unset" in found(
        Const("6"), "reqId? tickType size"
    )


@pytest.mark.parametrize("name", ["placeOrder", "openOrder", "completedOrder", "contractDetails"])
def test_every_text_field_of_the_long_messages_is_compared(name: str) -> None:
    """Leaving out any one field of the longest layouts is noticed, at the oldest version and at the newest."""
    direction, declaration = ("out", REQUESTS[name]) if name in REQUESTS else ("in", MESSAGES[name])
    entries = [each for each in table(f"{direction}_layouts") if each["msg_id"] == declaration.id]
    for entry in entries:
        for layout in (entry["layouts"][0], entry["layouts"][-1]):
            theirs = list(their_items(layout["fields"]))
            before = set(version_faults(declaration, layout["from"], theirs, entry["variant"]))
            for index in range(len(theirs)):
                fewer = theirs[:index] + theirs[index + 1 :]
                assert set(version_faults(declaration, layout["from"], fewer, entry["variant"])) - before


def test_a_layout_is_compared_at_every_version() -> None:
    """At all of them, whether the table has a range for it or the last one goes on."""
    seen: set[int] = set()
    layouts = [each for each in table("in_layouts") if each["msg"] == "OPEN_ORDER"]
    altered = [
        {**entry, "layouts": [{**each, "fields": each["fields"][:-1]} for each in entry["layouts"]]}
        for entry in layouts
    ]
    for fault in text_faults([MESSAGES["openOrder"]], altered):
        seen.update(int(number) for number in re.findall(r"at (\d+) has", fault))
    assert seen == set(VERSIONS)


def test_another_version_for_protobuf_is_noticed() -> None:
    later = replace(TICK_SIZE, proto_since=207)
    assert list(gating_faults([later], gates("inbound"))) == ["tickSize is protobuf since 207, not 206"]
    assert "reqExecutions at 176 is refused, not text" in set(
        availability_faults(
            [replace(EXECUTIONS, since=177)], {"reqExecutions": table("request_availability")["reqExecutions"]}
        )
    )


def test_another_number_or_code_is_noticed() -> None:
    constants = {"MIN_SERVER_VER_SUBMITTER": 198}
    assert list(number_faults({"SUBMITTER": 199}, constants)) == ["version SUBMITTER is not 198"]
    assert list(number_faults({}, constants)) == ["version SUBMITTER is not declared"]
    codes = table("enums")
    assert next(code_faults({**codes, "price_tick_to_size_tick": {"1": 0}})).startswith("ticks with a size")
    masks = {**codes["masks"], "TICK_PRICE.attrMask": {"1": "pastLimit"}}
    assert list(code_faults({**codes, "masks": masks})) == ["mask TICK_PRICE.attrMask has other bits"]
    fewer = {key: value for key, value in codes["order_condition_type"].items() if key != "7"}
    assert list(code_faults({**codes, "order_condition_type": fewer}))
    assert list(condition_faults([MESSAGES["openOrder"]], {**table("order_condition_layouts"), "9": {}}))


def test_a_table_without_an_origin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.json.gz").write_bytes(gzip.compress(b'{"table": {}}'))
    monkeypatch.setattr("tests.conformance.table_differences.FOLDER", tmp_path)
    with pytest.raises(OriginError):
        table("own")
