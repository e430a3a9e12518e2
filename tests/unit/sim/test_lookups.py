from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from ibbridge.sim import SimulatedTws
from ibbridge.sim.market.instruments import KNOWN, MARKET_RULES, PROFILES
from tests.support.simulator_client import AAPL, CALL, Client, codes, names, only


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


def test_matching_symbols_are_those_that_begin_so_or_are_called_so(client):
    (found,) = only(client.ask("reqMatchingSymbols", reqId=1, pattern="app"), "symbolSamples")
    (row,) = found["contractDescriptions"]
    assert row["contract"] == {
        "conId": 265598, "symbol": "AAPL", "secType": "STK", "currency": "USD", "primaryExchange": "NASDAQ",
        "description": "APPLE INC",
    }  # fmt: skip
    assert "OPT" in row["derivativeSecTypes"]


def test_matching_symbols_are_not_told_to_who_asks_again_within_a_second(client):
    other = Client(client.host, 2)
    assert client.ask("reqMatchingSymbols", reqId=1, pattern="IB")
    assert client.ask("reqMatchingSymbols", reqId=2, pattern="IB") == []
    assert other.ask("reqMatchingSymbols", reqId=2, pattern="IB"), "each client has a second of its own"
    client.wait(1)
    assert only(client.ask("reqMatchingSymbols", reqId=3, pattern="IB"), "symbolSamples")[0]["reqId"] == 3


def test_an_unknown_market_rule_is_322_and_a_known_one_its_increments(client):
    assert codes(client.ask("reqMarketRule", marketRuleId=99999)) == [322]
    rule = client.ask("reqMarketRule", marketRuleId=26)[0][1]
    assert rule == {"marketRuleId": 26, "priceIncrements": [{"lowEdge": 0.0, "increment": 0.01}]}


@pytest.mark.parametrize("contract", [*({"secType": k, "symbol": s, "currency": c} for k, s, c in KNOWN), CALL])
def test_contract_details_name_rules_that_say_what_their_least_increment_says(client, contract):
    for row in only(client.ask("reqContractDetails", reqId=1, contract=contract), "contractDetails"):
        details = row["contractDetails"]
        rules = details["marketRuleIds"].split(",")
        assert len(rules) == len(details["validExchanges"].split(","))
        for rule in rules:
            (found,) = only(client.ask("reqMarketRule", marketRuleId=int(rule)), "marketRule")
            assert min(step["increment"] for step in found["priceIncrements"]) == details["minTick"]


def test_every_type_has_a_rule_for_its_tick():
    ticks = {increments[0][1] for increments in MARKET_RULES.values()}
    used = {profile.tick for profile in PROFILES.values()} | {known.tick for known in KNOWN.values() if known.tick}
    assert used <= ticks


@pytest.mark.parametrize("contract", [AAPL, CALL, {"secType": "FUT", "symbol": "ES", "currency": "USD"}])
def test_the_key_in_a_quote_tells_what_its_letters_mean(client, contract):
    contract = client.ask("reqContractDetails", reqId=1, contract=contract)[0][1]["contractDetails"]["contract"]
    (first,) = only(client.ask("reqMktData", reqId=5, contract=contract, genericTickList=""), "tickReqParams")
    (found,) = only(client.ask("reqSmartComponents", reqId=6, bboExchange=first["bboExchange"]), "smartComponents")
    rows = found["smartComponentMap"]
    assert rows
    assert len({row["exchangeLetter"] for row in rows}) == len({row["bitNumber"] for row in rows}) == len(rows)
    assert codes(client.ask("reqSmartComponents", reqId=7, bboExchange="nonsense")) == [321]


def test_depth_exchanges_are_those_of_the_contracts(client):
    (found,) = only(client.ask("reqMktDepthExchanges"), "mktDepthExchanges")
    stocks = {row["exchange"] for row in found["depthMktDataDescriptions"] if row["secType"] == "STK"}
    assert stocks | {"SMART"} == set(PROFILES["STK"].exchanges.split(","))


def test_families_tiers_and_branding_of_a_plain_user(client):
    assert client.ask("reqFamilyCodes") == [("familyCodes", {"familyCodes": [{"accountID": "DU1234567"}]})]
    assert client.ask("reqSoftDollarTiers", reqId=4) == [("softDollarTiers", {"reqId": 4, "tiers": []})]
    assert client.ask("reqUserInfo", reqId=5) == [("userInfo", {"reqId": 5, "whiteBrandingId": ""})]


# -- reports


@pytest.mark.parametrize(
    "report",
    ["ReportSnapshot", "ReportsFinSummary", "ReportRatios", "ReportsFinStatements", "RESC", "ReportsOwnership",
     "CalendarReport"],
)  # fmt: skip
def test_there_are_reports_about_known_stocks(client, report):
    (found,) = only(client.ask("reqFundamentalData", reqId=1, contract=AAPL, reportType=report), "fundamentalData")
    assert found["data"].startswith("<?xml")
    bank = AAPL | {"symbol": "JPM"}  # whose name has an ampersand
    (other,) = only(client.ask("reqFundamentalData", reqId=2, contract=bank, reportType=report), "fundamentalData")
    assert [each.tag for each in ET.fromstring(found["data"]).iter()] == [
        each.tag for each in ET.fromstring(other["data"]).iter()
    ]
    again = Client(SimulatedTws(seed=1)).ask("reqFundamentalData", reqId=1, contract=AAPL, reportType=report)
    assert found == only(again, "fundamentalData")[0]


def test_there_are_none_about_others():
    client, other = Client(SimulatedTws(seed=1, made_up=True)), AAPL | {"symbol": "XYZ"}
    assert codes(client.ask("reqFundamentalData", reqId=1, contract=other, reportType="RESC")) == [430]
    assert codes(client.ask("reqFundamentalData", reqId=1, contract=CALL, reportType="RESC")) == [430]
    assert codes(client.ask("reqFundamentalData", reqId=1, contract=AAPL, reportType="Horoscope")) == [321]
    assert names(client.ask("cancelFundamentalData", reqId=1)) == []
