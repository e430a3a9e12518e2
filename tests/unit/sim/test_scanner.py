from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from ibbridge.sim import SimulatedTws
from ibbridge.sim.market_data.scanner_codes import FILTERS, INSTRUMENTS, LOCATIONS, SCANS
from tests.support.simulator_client import Client, codes, names, only

ACTIVE = {"instrument": "STK", "locationCode": "STK.US", "scanCode": "MOST_ACTIVE"}


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


def scan(client, request=1, filters=(), **more):
    return client.ask(
        "reqScannerSubscription",
        reqId=request,
        subscription=ACTIVE | more,
        scannerSubscriptionFilterOptions=[{"tag": tag, "value": value} for tag, value in filters],
    )


def symbols(answer):
    (found,) = only(answer, "scannerData")
    assert [row["rank"] for row in found["rows"]] == list(range(len(found["rows"])))
    return [row["contractDetails"]["contract"]["symbol"] for row in found["rows"]]


def last(client, symbol):
    contract = {"secType": "STK", "symbol": symbol, "currency": "USD", "exchange": "SMART"}
    ticks = only(client.ask("reqMktData", reqId=70, contract=contract, genericTickList=""), "tickPrice")
    client.ask("cancelMktData", reqId=70)
    return {tick["tickType"]: tick["price"] for tick in ticks}


def test_the_list_is_ranked_by_what_was_asked_for(client):
    gainers = symbols(scan(client, scanCode="TOP_PERC_GAIN"))
    losers = symbols(scan(client, 2, scanCode="TOP_PERC_LOSE"))
    changes = [last(client, symbol)[4] / last(client, symbol)[9] - 1 for symbol in [*gainers, *reversed(losers)]]
    assert changes == sorted(changes, reverse=True)
    assert not set(gainers) & set(losers)


def test_the_whole_list_comes_again_every_half_minute_until_cancelled(client):
    scan(client, numberOfRows=4)
    assert names(client.wait(29.75)) == []
    assert len(symbols(client.wait(0.25))) == 4
    assert names(client.wait(60)) == ["scannerData"] * 2
    (end,) = only(client.ask("cancelScannerSubscription", reqId=1), "error")
    assert (end["reqId"], end["errorCode"]) == (1, 162)
    assert "API scanner subscription cancelled: 1" in end["errorString"]
    assert client.wait(60) == []


@pytest.mark.parametrize(
    "bounds",
    [{"abovePrice": 200.0}, {"belowPrice": 200.0}, {"abovePrice": 100.0, "belowPrice": 300.0}],
)
def test_prices_are_bounded_in_either_way_of_asking(client, bounds):
    place = {"locationCode": "STK.NASDAQ"}
    every = symbols(scan(client, **place))
    found = symbols(scan(client, 2, **place, **bounds))
    low, high = bounds.get("abovePrice", 0), bounds.get("belowPrice", 1e9)
    assert found == [symbol for symbol in every if low <= last(client, symbol)[4] <= high]
    assert 0 < len(found) < len(every)
    tags = {"abovePrice": "priceAbove", "belowPrice": "priceBelow"}
    assert symbols(scan(client, 3, [(tags[name], str(value)) for name, value in bounds.items()], **place)) == found


@pytest.mark.parametrize("code", FILTERS)
def test_every_filter_can_be_set(client, code):
    answer = scan(client, filters=[(code, "0")])
    assert names(answer) == ["scannerData"] or codes(answer) == [165]


def test_funds_and_companies_are_told_apart(client):
    assert set(symbols(scan(client, stockTypeFilter="ETF"))) > {"SPY", "QQQ", "IWM"}
    assert not {"SPY", "QQQ", "IWM"} & set(symbols(scan(client, 2, stockTypeFilter="CORP")))


def test_places_and_kinds_are_kept_apart(client):
    assert set(symbols(scan(client, 1, locationCode="STK.NYSE"))) > {"IBM", "GE", "KO", "JPM"}
    assert set(symbols(scan(client, 2, instrument="STOCK.EU", locationCode="STK.EU"))) > {"SAP", "SIE"}
    assert "ES" in symbols(scan(client, 3, instrument="FUT.US", locationCode="FUT.CME"))
    change = {"scanCode": "TOP_PRICE_RANGE"}
    assert "SPX" in symbols(scan(client, 4, instrument="IND.US", locationCode="IND.US", **change))


def test_what_is_in_a_list_can_be_asked_for_by_its_number(client):
    (found,) = only(scan(client, instrument="FUT.US", locationCode="FUT.US"), "scannerData")
    for row in found["rows"]:
        contract = {"conId": row["contractDetails"]["contract"]["conId"]}
        assert names(client.ask("reqContractDetails", reqId=5, contract=contract))[-1] == "contractDetailsEnd"


def test_an_empty_list_is_165_and_stays_subscribed(client):
    assert codes(scan(client, scanCode="HALTED")) == [165]
    assert client.wait(60) == []
    assert codes(client.ask("cancelScannerSubscription", reqId=1)) == [162]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"scanCode": "TOP_SECRET"}, 162),
        ({"instrument": "MOON"}, 321),
        ({"locationCode": "STK.MOON"}, 321),
        ({"locationCode": "FUT.US"}, 162),
        ({"filters": [("colour", "1")]}, 162),
        ({"filters": [("priceAbove", "much")]}, 162),
    ],
)
def test_wrong_scans_are_refused_and_leave_nothing(client, wrong, code):
    assert codes(scan(client, **wrong)) == [code]
    assert codes(client.ask("cancelScannerSubscription", reqId=1)) == [365]


def test_ten_scans_at_once_and_no_id_twice(client):
    for request in range(10):
        symbols(scan(client, request))
    assert codes(scan(client, 5)) == [385]
    assert codes(scan(client, 10)) == [322]
    client.ask("cancelScannerSubscription", reqId=3)
    assert symbols(scan(client, 10))


# -- the parameters


def test_the_document_names_what_can_be_asked_and_all_of_it_works(client):
    (found,) = only(client.ask("reqScannerParameters"), "scannerParameters")
    assert 100_000 < len(found["xml"]) < 300_000
    root = ET.fromstring(found["xml"])
    assert {each.text for each in root.iter("locationCode")} == set(LOCATIONS)
    assert {each.findtext("type") for each in root.iter("Instrument")} == set(INSTRUMENTS)
    assert {each.findtext("id") for each in root.iter("SimpleFilter")} == set(FILTERS)
    kinds = {each.findtext("scanCode"): each.findtext("instruments", "").split(",") for each in root.iter("ScanType")}
    assert set(kinds) == set(SCANS)
    for code, instruments in kinds.items():
        for instrument in instruments:
            for place, location in LOCATIONS.items():
                if instrument in location.instruments:
                    answer = scan(client, scanCode=code, instrument=instrument, locationCode=place)
                    assert names(answer) == ["scannerData"] or codes(answer) == [165]
                    client.ask("cancelScannerSubscription", reqId=1)
