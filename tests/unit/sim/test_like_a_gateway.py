"""Strictness of a gateway: requests that it refuses and takes, and messages that a kinder simulator would not send."""

from __future__ import annotations

import pytest

from ibbridge.sim import SimulatedTws
from tests.support.simulator_client import AAPL, CALL, EURUSD, Client, codes, names, only, story

MARKET = {"action": "BUY", "totalQuantity": 1.0, "orderType": "MKT"}
ES = {"symbol": "ES", "secType": "FUT", "exchange": "CME", "lastTradeDateOrContractMonth": "202603"}


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


# -- what exists


def without(contract, *names):
    return {name: value for name, value in contract.items() if name not in names}


@pytest.mark.parametrize(
    ("contract", "code", "text"),
    [
        (without(AAPL, "exchange"), 321, "Please enter exchange"),
        ({"conId": 265598}, 321, "Please enter exchange"),
        (AAPL | {"exchange": "NOWHERE"}, 200, "No security definition"),
        (AAPL | {"exchange": "CME"}, 200, "No security definition"),
        (ES | {"exchange": "SMART"}, 200, "No security definition"),
        (without(AAPL, "currency"), 200, "No security definition"),
        (AAPL | {"currency": "EUR"}, 200, "No security definition"),
        (AAPL | {"conId": 272093}, 200, "No security definition"),
        ({"conId": 265598, "exchange": "SMART", "secType": "OPT"}, 200, "No security definition"),
        ({"conId": 265598, "exchange": "SMART", "currency": "EUR"}, 200, "No security definition"),
        (AAPL | {"symbol": "XXX"}, 200, "No security definition"),
        (AAPL | {"symbol": "ZZZZNONE"}, 200, "No security definition"),
        (CALL | {"symbol": "XXX"}, 200, "No security definition"),
        (EURUSD | {"symbol": "XXX"}, 200, "No security definition"),
        (ES | {"symbol": "XXX"}, 200, "No security definition"),
    ],
)
def test_an_order_and_a_line_need_a_contract_that_exists(client, contract, code, text):
    for answer in (
        client.place(1, contract, **MARKET),
        client.ask("reqMktData", reqId=2, contract=contract, genericTickList=""),
    ):
        assert codes(answer) == [code]
        assert text in answer[0][1]["errorString"]


@pytest.mark.parametrize(
    "contract",
    [
        AAPL,
        {"conId": 265598, "exchange": "SMART"},
        AAPL | {"exchange": "NASDAQ"},
        AAPL | {"exchange": "ISLAND"},
        AAPL | {"exchange": "IBKRATS"},
        ES,
        {"secType": "FUT", "localSymbol": "ESH6", "exchange": "CME"},
        EURUSD,
        CALL | {"exchange": "CBOE"},
    ],
)
def test_a_contract_that_says_enough_is_traded(client, contract):
    assert story(client.place(1, contract, **MARKET)) == ["5 PreSubmitted", "3 PreSubmitted"]


def test_names_may_be_made_up_where_that_is_wanted():
    client = Client(SimulatedTws(seed=1, made_up=True))
    assert story(client.place(1, AAPL | {"symbol": "XXX"}, **MARKET))[0] == "5 PreSubmitted"
    assert codes(client.place(2, AAPL | {"symbol": "NOSUCH"}, **MARKET)) == [200]


def test_details_are_looked_up_with_less_than_an_order_needs(client):
    found = only(client.ask("reqContractDetails", reqId=1, contract=without(AAPL, "exchange")), "contractDetails")
    assert [row["contractDetails"]["contract"]["conId"] for row in found] == [265598]
    index = {"secType": "IND", "symbol": "DAX"}
    found = only(client.ask("reqContractDetails", reqId=2, contract=index), "contractDetails")
    assert [row["contractDetails"]["contract"]["currency"] for row in found] == ["EUR"]
    assert codes(client.ask("reqContractDetails", reqId=3, contract=AAPL | {"exchange": "NOWHERE"})) == [200]


@pytest.mark.parametrize(
    ("kind", "number", "symbol"),
    [
        ("ISIN", "US0378331005", "AAPL"),
        ("CUSIP", "037833100", "AAPL"),
        ("ISIN", "DE0007164600", "SAP"),
        ("ISIN", "US9229087286", "VTSAX"),
    ],
)
def test_a_security_is_found_by_its_number(client, kind, number, symbol):
    asked = {"secIdType": kind, "secId": number, "exchange": "SMART" if symbol != "VTSAX" else "FUNDSERV"}
    found = only(client.ask("reqContractDetails", reqId=1, contract=asked), "contractDetails")
    assert [row["contractDetails"]["contract"]["symbol"] for row in found] == [symbol]
    if kind == "ISIN":
        assert {"tag": "ISIN", "value": number} in found[0]["contractDetails"]["secIdList"]


def test_a_number_that_no_security_has_is_200(client):
    asked = {"secIdType": "ISIN", "secId": "US0000000000", "exchange": "SMART"}
    assert codes(client.ask("reqContractDetails", reqId=1, contract=asked)) == [200]


def test_a_stock_is_described_as_at_a_gateway(client):
    details = client.ask("reqContractDetails", reqId=1, contract=AAPL)[0][1]["contractDetails"]
    trade = ("Technology", "Computers", "Computers")
    assert (details["industry"], details["category"], details["subcategory"]) == trade
    assert (details["minSize"], details["sizeIncrement"], details["suggestedSizeIncrement"]) == (0.0001, 0.0001, 100.0)
    assert details["timeZoneId"] == "US/Eastern"


# -- orders


def spread(client, **legs):
    found = [client.ask("reqContractDetails", reqId=9, contract=CALL | {"strike": x})[0][1] for x in (230.0, 240.0)]
    ids = [each["contractDetails"]["contract"] for each in found]
    rows = [
        {"conId": each["conId"], "ratio": ratio, "action": action, "exchange": "SMART"}
        for each, ratio, action in zip(ids, (1, 2), ("BUY", "SELL"), strict=True)
    ]
    return {"symbol": "AAPL", "secType": "BAG", "currency": "USD", "exchange": "SMART", "comboLegs": rows} | legs


def test_a_combination_is_executed_as_a_whole_and_leg_by_leg(client):
    combination = spread(client)
    client.place(1, combination, **MARKET | {"totalQuantity": 3.0})
    told = client.wait()
    assert story(told) == ["11", "11", "11", "5 Filled", "3 Filled", "59", "59", "59"]
    fills = only(told, "execDetails")
    assert [fill["contract"]["secType"] for fill in fills] == ["BAG", "OPT", "OPT"]
    assert [fill["execution"]["side"] for fill in fills] == ["BOT", "BOT", "SLD"]
    assert [fill["execution"]["shares"] for fill in fills] == [3.0, 3.0, 6.0]
    whole, first, second = (fill["execution"] for fill in fills)
    assert whole["price"] == pytest.approx(first["price"] - 2 * second["price"])
    assert {each["permId"] for each in (whole, first, second)} == {whole["permId"]}
    assert [len(each["execId"].split(".")) for each in (whole, first, second)] == [4, 5, 5]
    reports = [row["commissionAndFeesReport"] for row in only(told, "commissionAndFeesReport")]
    assert [row["execId"] for row in reports] == [each["execId"] for each in (whole, first, second)]
    assert sum(row["commissionAndFees"] for row in reports) == pytest.approx(1.95)
    assert reports[0]["commissionAndFees"] == 0.0
    assert min(row["commissionAndFees"] for row in reports[1:]) > 0
    again = only(client.ask("reqExecutions", reqId=5, execFilter={}), "execDetails")
    assert [each["execution"]["execId"] for each in again] == [each["execution"]["execId"] for each in fills]


@pytest.mark.parametrize(("prices", "fills"), [((90.0, 0.05), True), ((0.05, 90.0), False)])
def test_prices_of_the_legs_are_a_limit(client, prices, fills):
    order = MARKET | {"orderType": "LMT", "orderComboLegs": [{"price": price} for price in prices]}
    assert codes(client.place(1, spread(client), **order)) == []
    assert ("3 Filled" in story(client.wait(2))) is fills
    assert codes(client.place(2, spread(client), **order | {"orderComboLegs": [{"price": 1.0}, {}]})) == [107]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("VOL", {"volatility": 0.3}), ("BOX TOP", {}), ("PEG STK", {"delta": 0.5}), ("PASSV REL", {}),
        ("PEG BENCH", {"startingPrice": 1.0}), ("PEG BEST", {"lmtPrice": 900.0}), ("PEG PRIM", {}),
    ],
)  # fmt: skip
def test_order_types_that_ib_lists_are_taken(client, kind, more):
    placed = client.place(1, AAPL, action="BUY", totalQuantity=1.0, orderType=kind, **more)
    assert story(placed + client.wait(2))[-1:] == ["59"]


def test_a_volatility_order_needs_one(client):
    assert codes(client.place(1, AAPL, **MARKET | {"orderType": "VOL"})) == [107]


def test_a_currency_hedge_is_as_large_as_its_parent_makes_it(client):
    sap = {"symbol": "SAP", "secType": "STK", "exchange": "SMART", "currency": "EUR"}
    client.place(1, sap, **MARKET | {"totalQuantity": 10.0, "transmit": False})
    hedge = {"action": "SELL", "totalQuantity": 0.0, "orderType": "MKT", "hedgeType": "F", "parentId": 1}
    assert codes(client.place(2, EURUSD, **hedge)) == []
    told = client.wait(10)
    fills = {row["contract"]["symbol"]: row["execution"] for row in only(told, "execDetails")}
    assert fills["EUR"]["shares"] == pytest.approx(10 * fills["SAP"]["price"], abs=1)
    assert codes(client.place(3, EURUSD, **MARKET | {"totalQuantity": 0.0})) == [434]


# -- data


@pytest.mark.parametrize("number", [576, 577, 578, 586, 614, 623, 787])
def test_generic_ticks_of_funds_and_odd_lots_are_legal(client, number):
    spy = AAPL | {"symbol": "SPY"}
    assert codes(client.ask("reqMktData", reqId=1, contract=spy, genericTickList=f"{number}")) == []


@pytest.mark.parametrize(
    ("subscription", "filters"),
    [
        (("STK", "STK.US.MAJOR", "HOT_BY_VOLUME"), {"usdMarketCapAbove": "10000", "optVolumeAbove": "1000"}),
        (("STOCK.EU", "STK.EU.IBIS", "TOP_PRICE_RANGE"), {}),
        (("FUT.EU", "FUT.EU.EUREX", "MOST_ACTIVE"), {}),
        (("IND.US", "IND.US", "HIGH_OPT_VOLUME_PUT_CALL_RATIO"), {}),
        (("NATCOMB", "NATCOMB.OPT.US", "COMBO_LATEST_TRADE"), {"underConID": "265598"}),
    ],
)
def test_the_scans_of_ibs_sample_have_rows(client, subscription, filters):
    instrument, place, code = subscription
    answer = client.ask(
        "reqScannerSubscription",
        reqId=1,
        subscription={"instrument": instrument, "locationCode": place, "scanCode": code},
        scannerSubscriptionFilterOptions=[{"tag": tag, "value": value} for tag, value in filters.items()],
    )
    assert names(answer) == ["scannerData"]
    if code == "COMBO_LATEST_TRADE":
        (row,) = answer[0][1]["rows"]
        assert (row["contractDetails"]["contract"]["secType"], row["legsStr"].count("|")) == ("BAG", 2)


@pytest.mark.parametrize("number", [0, -1, None])
def test_a_scan_that_does_not_say_how_many_rows_has_rows(client, number):
    wanted = {"instrument": "STK", "locationCode": "STK.US", "scanCode": "MOST_ACTIVE", "numberOfRows": number}
    (found,) = only(client.ask("reqScannerSubscription", reqId=1, subscription=wanted), "scannerData")
    assert len(found["rows"]) == 50


HISTORY = {"endDateTime": "", "durationStr": "2 D", "barSizeSetting": "1 hour", "useRTH": 0, "formatDate": 1}


@pytest.mark.parametrize("shows", ["HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY"])
def test_bars_of_volatility_are_parts_of_one(client, shows):
    answer = client.ask("reqHistoricalData", reqId=1, contract=AAPL, whatToShow=shows, keepUpToDate=False, **HISTORY)
    bars = only(answer, "historicalData")[0]["bars"]
    assert all(0.05 < bar["low"] <= min(bar["open"], bar["close"]) for bar in bars)
    assert all(max(bar["open"], bar["close"]) <= bar["high"] < 1 for bar in bars)
    answer = client.ask("reqHistoricalData", reqId=2, contract=EURUSD, whatToShow=shows, keepUpToDate=False, **HISTORY)
    assert codes(answer) == [162]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Last", "historicalTicksLast"),
        ("AllLast", "historicalTicksLast"),
        ("BidAsk", "historicalTicksBidAsk"),
        ("MidPoint", "historicalTicks"),
    ],
)
def test_tick_by_tick_data_begins_with_the_past_that_was_asked_for(client, kind, message):
    client.wait(5)
    answer = client.ask("reqTickByTickData", reqId=7, contract=AAPL, tickType=kind, numberOfTicks=25, ignoreSize=False)
    assert names(answer)[0] == message
    (past,) = only(answer, message)
    assert (past["reqId"], past["done"], len(past["ticks"])) == (7, True, 25)
    times = [tick["time"] for tick in past["ticks"]]
    assert times == sorted(times)
    assert times[-1] <= client.host.now
    assert any("tickByTick" in name for name in names(client.wait(60)))


def test_more_past_than_there_may_be_is_refused(client):
    asked = {"contract": AAPL, "tickType": "Last", "ignoreSize": False}
    assert codes(client.ask("reqTickByTickData", reqId=1, numberOfTicks=1001, **asked)) == [321]
    assert codes(client.ask("reqTickByTickData", reqId=1, numberOfTicks=-1, **asked)) == [321]


@pytest.mark.parametrize("rule", [26, 32, 109, 635, 1388, 2806])
def test_market_rules_that_contracts_name_are_there(client, rule):
    (found,) = only(client.ask("reqMarketRule", marketRuleId=rule), "marketRule")
    assert found["priceIncrements"][0]["increment"] <= 0.01


@pytest.mark.parametrize(
    ("start", "same"),
    [
        ("2026-01-04 12:00:00 US/Eastern", "2026-01-04 17:00:00.0"),
        ("2026-01-04 12:00:00 UTC", "2026-01-04 12:00:00"),
        ("2026-01-04 12:00:00.0 Europe/Berlin", "20260104 11:00:00 UTC"),
    ],
)
def test_headlines_are_asked_for_in_a_zone(start, same):
    def headlines(text):
        client = Client(SimulatedTws(seed=1))
        asked = {"conId": 265598, "providerCodes": "BRFG+DJNL+FLY", "totalResults": 300}
        return only(client.ask("reqHistoricalNews", reqId=1, startDateTime=text, **asked), "historicalNews")

    assert headlines(start) == headlines(same) != headlines("")


def test_depth_of_a_cfd_is_sent_elsewhere(client):
    answer = client.ask("reqMktDepth", reqId=3, contract=AAPL | {"secType": "CFD"}, numRows=5, isSmartDepth=False)
    assert answer == [("rerouteMktDepthReq", {"reqId": 3, "conId": 265598, "exchange": "SMART"})]
