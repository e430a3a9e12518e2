"""Words and texts: a client's are bounded and, where IB lists words, one of them; those of TWS are not checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.codec import Dialect, Message, NotCarried
from ibbridge.codec import words as w
from ibbridge.codec.messages import OUTBOUND
from ibbridge.codec.schema import MOST_ROWS, Field, Record, Tags, Union
from ibbridge.codec.types import Scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT, PROTOBUF = 200, 226
STOCK = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
ORDER = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 1.5}


def faults(name: str, args: Any, version: int = PROTOBUF, *, listed: bool = True) -> list[str]:
    try:
        Dialect.client(version).check(name, args, command=True, listed=listed)
    except NotCarried as refusal:
        return list(refusal.faults)
    return []


def order(**changed: Any) -> dict[str, Any]:
    return {"orderId": 1, "contract": STOCK, "order": {**ORDER, **changed}}


def history(**changed: Any) -> dict[str, Any]:
    plain = {"reqId": 1, "contract": STOCK, "durationStr": "1 D", "barSizeSetting": "1 min", "whatToShow": "TRADES"}
    return {**plain, **changed}


def ticks(kind: str) -> dict[str, Any]:
    return {"reqId": 1, "contract": STOCK, "tickType": kind}


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TEXT, PROTOBUF])
@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("placeOrder", order(action="BYE"), "order.action must be one of IB's actions (BUY, SELL, SSHORT, SLONG), not"),
        ("placeOrder", order(action="buy"), "did you mean BUY?"),
        ("placeOrder", order(orderType="STPLIMIT"), "order.orderType must be one of IB's order types, not 'STPLIMIT'"),
        ("placeOrder", order(orderType="Limit"), "did you mean LIMIT?"),
        ("placeOrder", order(orderType="lmt"), "did you mean LMT?"),
        ("placeOrder", order(tif="GTD "), "did you mean GTD?"),
        ("placeOrder", order(tif="DAYS"), "did you mean DAY?"),
        ("placeOrder", order(adjustedOrderType="STOPS"), "order.adjustedOrderType must be one of IB's order types"),
        ("placeOrder", {**order(), "contract": {**STOCK, "secType": "STOCK"}}, "did you mean STK?"),
        ("placeOrder", {**order(), "contract": {**STOCK, "right": "Cal"}}, "did you mean CALL?"),
        ("reqTickByTickData", ticks("alllast"), "did you mean AllLast?"),
        ("reqTickByTickData", ticks(""), "tickType is missing"),
        ("reqHistoricalData", history(barSizeSetting="1 sec"), "did you mean 1 secs?"),
        ("reqHistoricalData", history(barSizeSetting="5 min"), "did you mean 5 mins?"),
        ("reqHistoricalData", history(durationStr="1 day"), "did you mean 1 D?"),
        ("reqHistoricalData", history(durationStr="1D"), "did you mean 1 D?"),
        ("reqHistoricalData", history(durationStr="D"), "durationStr must be one of IB's durations"),
        ("reqHistoricalData", history(durationStr="-1 D"), "durationStr must be one of IB's durations"),
        ("reqHistoricalData", history(durationStr="1 D\n"), "durationStr must be one of IB's durations"),
        ("reqHistoricalData", history(whatToShow="TRADE"), "did you mean TRADES?"),
        ("reqHistoricalData", history(formatDate=0), "formatDate must be one of IB's date formats (1, 2, 3), not 0"),
        ("reqHeadTimeStamp", {"reqId": 1, "contract": STOCK, "whatToShow": "TRADES", "formatDate": 4}, "(1, 2), not 4"),
        ("reqRealTimeBars", {"reqId": 1, "contract": STOCK, "whatToShow": "LAST"}, "whatToShow must be one of"),
        ("reqExecutions", {"reqId": 1, "execFilter": {"secType": "STOCKS"}}, "execFilter.secType must be one of"),
    ],
)
def test_a_word_that_ib_does_not_list_is_refused_with_the_nearest(
    name: str, args: dict[str, Any], said: str, version: int
) -> None:
    (fault,) = faults(name, args, version)
    assert said in fault
    if "missing" not in said:
        assert not faults(name, args, version, listed=False), "whoever has a new word of IB's may send it"


@pytest.mark.parametrize(
    "kind",
    [
        *("MKT", "LMT", "STP", "STP LMT", "STPLMT", "TRAIL", "TRAIL LIMIT", "TRAILLIMIT", "TRAILLMT", "MIT", "LIT"),
        *("MOC", "LOC", "MTL", "MKT PRT", "STP PRT", "REL", "PEG MKT", "PEGMKT", "PEG MID", "PEGMID", "PEG BEST"),
        *("PEGBEST", "PEG BENCH", "PEGBENCH", "PEG STK", "PEG PRIM", "MIDPRICE", "SNAP MKT", "SNAP MID", "SNAP PRIM"),
        *("VOL", "BOX TOP", "PASSV REL", "REL + LMT", "REL + MKT", "LMT + MKT", "TRAIL LIT", "TRAIL MIT", "QUOTE"),
        *("TRAIL LMT + MKT", "TRAIL REL + MKT", "FIX PEGGED", "VWAP", "AUC", "PPV", "PDV", "PMV", "PSV"),
    ],
)
def test_the_order_types_of_ibs_clients_are_taken(kind: str) -> None:
    assert w.ORDER_TYPES.has(kind)
    assert not faults("placeOrder", order(orderType=kind))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        *(("placeOrder", order(action=each)) for each in ("BUY", "SELL", "SSHORT", "SLONG")),
        *(("placeOrder", order(tif=each)) for each in ("", "DAY", "GTC", "IOC", "GTD", "OPG", "FOK", "DTC", "AUC")),
        *(("placeOrder", order(tif=each)) for each in ("GTX", "GTT", "Minutes", "OVERNIGHT + DAY")),
        *(("placeOrder", order(adjustedOrderType=each)) for each in ("", "None", "STP", "STP LMT", "TRAIL")),
        *(("placeOrder", order(deltaNeutralOrderType=each)) for each in ("NONE", "MKT", "None")),
        *(("placeOrder", order(slOrderType=each)) for each in ("PRESET", "STP")),
        *(
            ("placeOrder", {**order(), "contract": {**STOCK, "secType": each}})
            for each in (
                *("STK", "OPT", "FUT", "CONTFUT", "FUT+CONTFUT", "IND", "FOP", "CASH", "BAG", "WAR", "BOND"),
                *("CMDTY", "NEWS", "FUND", "CFD", "CRYPTO"),
            )
        ),
        *(("placeOrder", {**order(), "contract": {**STOCK, "secType": each}}) for each in ("stk", "News", "")),
        *(("placeOrder", {**order(), "contract": {**STOCK, "right": each}}) for each in ("C", "put", "Call", "0", "?")),
        *(("reqTickByTickData", ticks(each)) for each in ("Last", "AllLast", "BidAsk", "MidPoint")),
        *(("reqHistoricalData", history(whatToShow=each)) for each in ("TRADES", "Bid_Ask", "SCHEDULE", "AGGTRADES")),
        *(("reqHistoricalData", history(durationStr=each)) for each in ("60 S", "300", "10 D", "13 W", "6 M", "10 Y")),
        *(("reqHistoricalData", history(barSizeSetting=each)) for each in ("1 secs", "30 secs", "1 min", "8 hours")),
        *(("reqHistoricalData", history(barSizeSetting=each)) for each in ("1 day", "1 week", "1W", "1 month", "1M")),
        *(("reqHistoricalData", history(formatDate=each)) for each in (1, 2, 3, None)),
    ],
    ids=str,
)
def test_words_that_ib_lists_are_taken(name: str, args: dict[str, Any]) -> None:
    assert not faults(name, args)


def test_what_tws_says_is_not_checked() -> None:
    contract = {**STOCK, "secType": "NOVELTY", "right": "Z", "symbol": "x" * 1_000}
    said = {"orderId": 1, "contract": contract, "order": {"action": "LEND", "orderType": "y" * 1_000, "tif": "EVER"}}
    for version in (TEXT, PROTOBUF):
        frame = Dialect.server(version).write("openOrder", {**said, "orderState": {}})
        heard = Dialect.client(version).read(frame[4:])
        assert isinstance(heard, Message)
        assert heard.data["contract"]["symbol"] == contract["symbol"]
        assert heard.data["order"]["action"] == "LEND"


def test_every_list_is_used_and_takes_its_own_words() -> None:
    used = {each.words for _, each in sent() if each.words}
    assert used == {*w.LISTS}
    for each in w.LISTS:
        assert all(each.has(word) for word in each.listed)
        assert not each.has("BYE BYE")


@pytest.mark.parametrize("name", ["x" * 65, "y" * 1_000_000])
def test_what_is_too_long_is_a_misspelling_of_nothing(name: str) -> None:
    assert w.nearest(name, [name[:60]]) is None


# -- bounds -----------------------------------------------------------------------------------------------------------


def sent() -> Iterator[tuple[str, Field]]:
    """Every value that a client may send, by its path."""
    for request in OUTBOUND:
        yield from _within(request.shape, request.name)


def _within(record: Record, path: str) -> Iterator[tuple[str, Field]]:
    for each in record.shape:
        kind, where = each.type, f"{path}.{each.name}"
        if isinstance(kind, Record):
            yield from _within(kind, where)
        elif isinstance(kind, Union):
            for row in kind.kinds.values():
                yield from _within(row, where)
        elif isinstance(kind, Tags):
            yield from ((f"{where}.{inner.name}", inner) for inner in kind.pair)
        elif isinstance(kind, Scalar):
            yield where, each


def test_every_text_that_a_client_sends_has_a_longest_length() -> None:
    texts = {path: each for path, each in sent() if each.type.proto == "string"}  # type: ignore[union-attr]
    assert len(texts) > 100
    numbers = {"placeOrder.order.totalQuantity"}
    assert {path for path, each in texts.items() if not 0 < each.most <= 65_536} == {"replaceFA.cxml"}
    assert all(texts[path].most == 64 for path in numbers)


@pytest.mark.parametrize("version", [TEXT, PROTOBUF])
@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("reqMktData", {"reqId": 1, "contract": {**STOCK, "symbol": "x" * 65}}, "contract.symbol"),
        ("reqMktData", {"reqId": 1, "contract": {**STOCK, "multiplier": "9" * 65}}, "contract.multiplier"),
        ("reqMktData", {"reqId": 1, "contract": {**STOCK, "description": "x" * 4_097}}, "contract.description"),
        ("reqMktData", {"reqId": 1, "contract": STOCK, "genericTickList": "1" * 1_025}, "genericTickList"),
        ("placeOrder", order(account="x" * 65), "order.account"),
        ("placeOrder", order(ocaGroup="x" * 257), "order.ocaGroup"),
        ("placeOrder", order(orderType="x" * 65), "order.orderType"),
        ("placeOrder", order(algoParams=[{"tag": "x" * 65, "value": ""}], algoStrategy="x"), "order.algoParams.tag"),
        ("placeOrder", order(orderMiscOptions=[{"tag": "x", "value": "y" * 1_025}]), "order.orderMiscOptions.value"),
        ("reqHistoricalData", history(endDateTime="2" * 65), "endDateTime"),
        ("reqNewsArticle", {"reqId": 1, "providerCode": "BZ", "articleId": "x" * 257}, "articleId"),
        ("replaceFA", {"reqId": 1, "faData": 1, "cxml": "x" * 1_000_001}, "cxml"),
    ],
)
def test_what_is_too_long_is_refused_by_name(name: str, args: dict[str, Any], said: str, version: int) -> None:
    (fault,) = faults(name, args, version)
    assert fault.startswith(f"{said} must have at most ")
    assert len(fault) < 120


def test_a_list_has_a_longest_length() -> None:
    (fault,) = faults("placeOrder", order(orderMiscOptions=[{"tag": "x", "value": ""}] * (MOST_ROWS + 1)))
    assert fault == "order.orderMiscOptions has 1001 rows; 1000 at most"
    legs = {**COMBO, "comboLegs": COMBO["comboLegs"] * 101}
    assert faults("reqMktData", {"reqId": 1, "contract": legs}) == ["contract.comboLegs has 101 rows; 100 at most"]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"totalQuantity": -100}, "order.totalQuantity must be at least 0, not -100"),
        ({"totalQuantity": "-0.5"}, "order.totalQuantity must be at least 0, not -0.5"),
        ({"cashQty": -1}, "order.cashQty must be at least 0, not -1.0"),
    ],
)
def test_a_number_that_can_never_be_right_is_refused(changed: dict[str, Any], fault: str) -> None:
    assert faults("placeOrder", order(**changed), listed=False) == [fault]


# -- what tells a contract from another --------------------------------------------------------------------------------

COMBO: dict[str, Any] = {
    **STOCK,
    "secType": "BAG",
    "comboLegs": [{"conId": 1, "ratio": 1, "action": "BUY", "exchange": "SMART"}],
}


@pytest.mark.parametrize(
    ("name", "more", "version", "fault"),
    [
        ("reqMktDepth", {}, 200, "contract.comboLegs needs server version 206; this connection has 200"),
        ("reqMktDepth", {}, 206, ""),
        ("reqTickByTickData", {"tickType": "Last"}, 200, "contract.comboLegs needs server version 208"),
        ("reqRealTimeBars", {"whatToShow": "TRADES"}, 207, "contract.comboLegs needs server version 208"),
        ("reqContractDetails", {}, 204, "contract.comboLegs needs server version 205"),
        ("reqMktData", {}, 176, ""),
    ],
)
def test_legs_that_are_not_carried_are_refused(name: str, more: dict[str, Any], version: int, fault: str) -> None:
    found = faults(name, {"reqId": 1, "contract": COMBO, **more}, version)
    assert [each[: len(fault)] for each in found] == ([fault] if fault else [])


def test_what_a_leg_says_beside_what_tells_it_apart_is_left_aside() -> None:
    whole = {**COMBO, "comboLegs": [{**COMBO["comboLegs"][0], "openClose": 1, "exemptCode": 0, "shortSaleSlot": 1}]}
    assert not faults("reqMktData", {"reqId": 1, "contract": whole}, 176)
    got = Dialect.client(176).check("reqMktData", {"reqId": 1, "contract": whole}, command=True)
    assert got["contract"]["comboLegs"] == COMBO["comboLegs"]


@pytest.mark.parametrize(
    ("contract", "fault"),
    [
        ({**STOCK, "tradingClass": "NMS"}, "contract.tradingClass needs server version 210; this connection has 200"),
        ({**STOCK, "tradingClass": "NMS", "conId": 265598}, ""),
        ({"secIdType": "ISIN", "secId": "US0378331005", "exchange": "SMART"}, "contract.secIdType needs server"),
        ({**STOCK, "secIdType": "ISIN", "secId": "US0378331005"}, ""),
        ({**STOCK, "includeExpired": True, "description": "Apple", "comboLegsDescrip": "x"}, ""),
    ],
)
def test_what_the_request_does_not_carry_is_left_aside_only_if_something_else_says_it(
    contract: dict[str, Any], fault: str
) -> None:
    found = faults("reqFundamentalData", {"reqId": 1, "contract": contract, "reportType": "ReportSnapshot"}, 200)
    assert [each[: len(fault)] for each in found[:1]] == ([fault] if fault else [])


@pytest.mark.parametrize("version", [TEXT, PROTOBUF])
def test_what_means_nothing_is_left_out_on_the_wire(version: int) -> None:
    client = Dialect.client(version)

    def written(**contract: Any) -> bytes:
        given = {**order(), "contract": {**STOCK, **contract}}
        return client.put("placeOrder", client.check("placeOrder", given, command=True))

    plain = written()
    nothings: tuple[tuple[str, Any], ...] = (
        *(("strike", 0), ("strike", 0.0), ("right", "?"), ("right", "0"), ("multiplier", "0.0"), ("multiplier", 0)),
    )
    for nothing in ({name: value} for name, value in nothings):
        assert written(**nothing) == plain, nothing
    for something in ({"strike": 0.5}, {"right": "C"}, {"multiplier": "0.1"}, {"multiplier": 100}):
        assert written(**something) != plain, something
