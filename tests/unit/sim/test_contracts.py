from __future__ import annotations

from datetime import date

import pytest

from ibbridge.sim import SimulatedTws
from ibbridge.sim.market.contract_resolver import ContractResolver
from ibbridge.sim.rejections import RequestRejected
from tests.support.simulator_client import AAPL, CALL, Client, codes, names, only

TODAY = date(2026, 1, 5)


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


def test_details_of_a_stock_are_one_message_and_the_end(client):
    answer = client.ask("reqContractDetails", reqId=3, contract=AAPL)
    assert names(answer) == ["contractDetails", "contractDetailsEnd"]
    details = answer[0][1]["contractDetails"]
    assert details["contract"]["conId"] == 265598
    assert details["longName"] == "APPLE INC"
    assert details["minTick"] == 0.01
    assert "20260105:0930-20260105:1600" in details["liquidHours"]
    assert "20260110:CLOSED" in details["liquidHours"]


@pytest.mark.parametrize("symbol", ["NOSUCH", "NOSUCHTHING", "", "a/b", "UNKNOWN"])
def test_a_name_that_nobody_has_is_200_and_no_end(client, symbol):
    answer = client.ask("reqContractDetails", reqId=3, contract=AAPL | {"symbol": symbol})
    assert names(answer) == ["error"]
    assert answer[0][1]["errorString"] == "No security definition has been found for the request"
    assert (answer[0][1]["reqId"], codes(answer)) == (3, [200])


def test_a_future_without_its_month_is_a_chain_and_for_data_ambiguous(client):
    future = {"symbol": "ES", "secType": "FUT", "exchange": "CME", "currency": "USD"}
    chain = only(client.ask("reqContractDetails", reqId=1, contract=future), "contractDetails")
    assert [row["contractDetails"]["contract"]["localSymbol"] for row in chain] == ["ESH6", "ESM6", "ESU6", "ESZ6"]
    answer = client.ask("reqMktData", reqId=2, contract=future)
    assert codes(answer) == [200]
    assert "ambiguous" in answer[0][1]["errorString"]


def test_an_option_chain_has_both_rights_of_every_strike(client):
    asked = {"symbol": "AAPL", "secType": "OPT", "currency": "USD", "lastTradeDateOrContractMonth": "20260116"}
    rows = only(client.ask("reqContractDetails", reqId=1, contract=asked), "contractDetails")
    rights = [row["contractDetails"]["contract"]["right"] for row in rows]
    assert rights.count("C") == rights.count("P") == 21


@pytest.mark.parametrize(
    ("asked", "symbol"),
    [
        ({"secType": "FUT", "localSymbol": "ESH6"}, "ESH6"),
        ({"secType": "CASH", "localSymbol": "EUR.USD"}, "EUR.USD"),
        ({"secType": "OPT", "localSymbol": "AAPL  260116C00230000"}, "AAPL  260116C00230000"),
        ({"secType": "STK", "localSymbol": "MSFT"}, "MSFT"),
        ({"secType": "STK", "symbol": "aapl"}, "AAPL"),
        ({"conId": 756733}, "SPY"),
    ],
)
def test_a_contract_is_found_by_what_names_it(asked, symbol):
    assert ContractResolver(1).one(asked, TODAY).local_symbol == symbol


def test_a_con_id_is_found_once_it_was_given_out():
    catalogue = ContractResolver(1)
    made = ContractResolver(2).one(CALL, TODAY)
    with pytest.raises(RequestRejected, match="200"):
        catalogue.by_id(made.con_id)
    assert catalogue.one(CALL, TODAY).con_id == made.con_id
    assert catalogue.by_id(made.con_id).strike == 230.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"secType": "FUT", "symbol": "ES", "lastTradeDateOrContractMonth": "202512"},
        {"secType": "FUT", "symbol": "ES", "lastTradeDateOrContractMonth": "20260305"},
        {"secType": "FUT", "symbol": "ES", "lastTradeDateOrContractMonth": "299912"},
        {"secType": "FUT", "symbol": "ES", "lastTradeDateOrContractMonth": "soon"},
        {"secType": "FUT", "symbol": "ES", "multiplier": "7"},
        CALL | {"strike": 1e9},
        {"secType": "STK", "localSymbol": "NOSUCH"},
        {"secType": "BAG", "symbol": "AAPL", "comboLegs": [{"conId": 1}, {"conId": 2}]},
        CALL | {"lastTradeDateOrContractMonth": "20200117"},
    ],
)
def test_a_derivative_that_cannot_exist_is_not_found(wrong):
    with pytest.raises(RequestRejected, match="200"):
        ContractResolver(1).one(wrong, TODAY)


@pytest.mark.parametrize("wrong", [{"symbol": "AAPL"}, {"symbol": "AAPL", "secType": "XYZ"}, {}])
def test_a_contract_without_a_type_of_ibs_is_invalid(client, wrong):
    assert codes(client.ask("reqContractDetails", reqId=1, contract=wrong)) == [321]


def test_a_bond_is_a_message_of_its_own(client):
    answer = client.ask("reqContractDetails", reqId=1, contract={"symbol": "T", "secType": "BOND", "currency": "USD"})
    assert names(answer) == ["bondContractDetails", "contractDetailsEnd"]


@pytest.mark.parametrize(
    ("contract", "code"),
    [
        ({"secType": "BAG", "symbol": "AAPL", "comboLegs": [{"conId": 265598}]}, 314),
        ({"secType": "BAG", "symbol": "AAPL", "comboLegs": [{"conId": 265598}, {"conId": 272093}]}, 200),
        (CALL | {"right": "X"}, 321),
    ],
)
def test_what_has_no_details_is_refused(client, contract, code):
    assert codes(client.ask("reqContractDetails", reqId=1, contract=contract)) == [code]
