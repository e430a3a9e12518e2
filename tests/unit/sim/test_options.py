from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.sim import SimulatedTws
from tests.support.simulator_client import CALL, PUT, Client, codes, names, only

STOCK = {"underlyingSymbol": "AAPL", "futFopExchange": "", "underlyingSecType": "STK", "underlyingConId": 265598}


@pytest.fixture(scope="module")
def client():
    return Client(SimulatedTws(seed=1))


def computed(client, name, **args):
    (found,) = only(client.ask(name, reqId=1, **args), "tickOptionComputation")
    assert (found["reqId"], found["tickType"]) == (1, 53)
    return found


# -- chains


def test_a_chain_comes_once_for_each_exchange_and_then_ends(client):
    answer = client.ask("reqSecDefOptParams", reqId=1, **STOCK)
    assert names(answer)[-1] == "securityDefinitionOptionParameterEnd"
    rows = only(answer, "securityDefinitionOptionParameter")
    details = only(client.ask("reqContractDetails", reqId=2, contract=CALL), "contractDetails")[0]["contractDetails"]
    assert [row["exchange"] for row in rows] == details["validExchanges"].split(",")
    assert len(rows[0]["strikes"]) == 21


@pytest.mark.parametrize("right", ["C", "P"])
def test_every_option_of_a_chain_has_details(client, right):
    row = client.ask("reqSecDefOptParams", reqId=1, **STOCK)[0][1]
    for expiry in row["expirations"]:
        for strike in row["strikes"]:
            option = CALL | {"lastTradeDateOrContractMonth": expiry, "strike": strike, "right": right}
            answer = client.ask("reqContractDetails", reqId=2, contract=option)
            assert names(answer) == ["contractDetails", "contractDetailsEnd"]


def test_options_on_a_future_expire_with_it(client):
    row = client.ask("reqSecDefOptParams", reqId=1, underlyingSymbol="ES", futFopExchange="CME")[0][1]
    assert (row["exchange"], row["expirations"], row["multiplier"]) == ("CME", ["20260320"], "50")


def test_what_has_no_options_has_only_an_end(client):
    answer = client.ask("reqSecDefOptParams", reqId=1, **STOCK | {"underlyingConId": 12087792})
    assert names(answer) == ["securityDefinitionOptionParameterEnd"]
    assert codes(client.ask("reqSecDefOptParams", reqId=1, **STOCK | {"underlyingConId": 1})) == [200]


# -- calculators


@given(volatility=st.floats(0.2, 5), moneyness=st.floats(0.9, 1.1), right=st.sampled_from([CALL, PUT]))
def test_the_volatility_of_a_price_is_the_one_it_was_made_from(client, volatility, moneyness, right):
    level = {"contract": right, "underPrice": 230.0 * moneyness}
    priced = computed(client, "calculateOptionPrice", volatility=volatility, **level)
    found = computed(client, "calculateImpliedVolatility", optionPrice=priced["optPrice"], **level)
    assert found["impliedVol"] == pytest.approx(volatility, rel=1e-6)
    for greek in ("delta", "gamma", "vega", "theta"):
        assert found[greek] == pytest.approx(priced[greek], rel=1e-5)


def test_a_call_and_a_put_are_worth_what_parity_says(client):
    both = [computed(client, "calculateOptionPrice", contract=x, volatility=0.3, underPrice=240.0) for x in (CALL, PUT)]
    years = (12 * 86_400 - 52_200) / (365 * 86_400)  # from 14:30 UTC on the 5th to the end of the 16th of January
    forward = 240.0 - 230.0 * math.exp(-0.04 * years)
    assert both[0]["optPrice"] - both[1]["optPrice"] == pytest.approx(forward, abs=1e-3)
    assert both[0]["delta"] - both[1]["delta"] == pytest.approx(1)
    assert both[0]["gamma"] == pytest.approx(both[1]["gamma"])


def test_the_model_of_a_quote_is_the_calculators(client):
    quotes = only(client.ask("reqMktData", reqId=7, contract=CALL, genericTickList=""), "tickOptionComputation")
    model = next(tick for tick in quotes if tick["tickType"] == 13)
    priced = computed(
        client, "calculateOptionPrice", contract=CALL, volatility=model["impliedVol"], underPrice=model["undPrice"]
    )
    # The model knows the underlying to more digits than it is quoted with.
    assert priced["optPrice"] == pytest.approx(model["optPrice"], abs=0.01)
    assert priced["delta"] == pytest.approx(model["delta"], abs=0.01)


def test_a_price_that_no_volatility_makes_is_not_computed(client):
    found = computed(client, "calculateImpliedVolatility", contract=CALL, optionPrice=1.0, underPrice=300.0)
    assert (found["impliedVol"], found["delta"], found["optPrice"]) == (None, None, 1.0)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("calculateOptionPrice", {"contract": CALL, "volatility": value, "underPrice": 230.0})
        for value in (None, 0.0, -1.0, math.nan, math.inf, 1e300)
    ]
    + [
        ("calculateImpliedVolatility", {"contract": CALL, "optionPrice": value, "underPrice": 230.0})
        for value in (None, 0.0, -1.0, math.nan, math.inf, 1e300)
    ]
    + [("calculateOptionPrice", {"contract": {"conId": 265598}, "volatility": 0.3, "underPrice": 230.0})],
)
def test_nonsense_is_not_calculated(client, name, args):
    assert codes(client.ask(name, reqId=1, **args)) == [321]


# -- exercise


class Holder(Client):
    """A client with two calls in the money and two puts out of it."""

    call = CALL
    put = PUT


@pytest.fixture
def holder():
    client = Holder(SimulatedTws(seed=1))
    stock = {"conId": 265598, "exchange": "SMART"}
    price = only(client.ask("reqMktData", reqId=1, contract=stock, genericTickList=""), "tickPrice")[0]
    strike = 5.0 * round(price["price"] / 5) - 20.0
    client.call, client.put = CALL | {"strike": strike}, PUT | {"strike": strike}
    for number, option in enumerate((client.call, client.put), 1):
        client.place(number, option, action="BUY", totalQuantity=2.0, orderType="MKT")
    client.wait(2)
    return client


def exercise(client, number, option, action, quantity, **more):
    return client.ask(
        "exerciseOptions", reqId=number, contract=option, exerciseAction=action, exerciseQuantity=quantity, **more
    )


def positions(client):
    rows = only(client.ask("reqPositions"), "position")
    client.ask("cancelPositions")
    return {(row["contract"]["secType"], row["contract"].get("right")): row["position"] for row in rows}


def cash(client):
    rows = only(client.ask("reqAccountSummary", reqId=99, groupName="All", tags="TotalCashValue"), "accountSummary")
    client.ask("cancelAccountSummary", reqId=99)
    return float(rows[0]["value"])


def test_an_exercised_call_becomes_stock_at_the_strike(holder):
    before = cash(holder)
    told = exercise(holder, 10, holder.call, 1, 2)
    assert names(told) == [
        "openOrder", "orderStatus", "execDetails", "commissionAndFeesReport", "execDetails", "commissionAndFeesReport",
        "openOrder", "orderStatus",
    ]  # fmt: skip
    fills = only(told, "execDetails")
    sides = [(fill["contract"]["secType"], fill["execution"]["side"]) for fill in fills]
    assert sides == [("OPT", "SLD"), ("STK", "BOT")]
    assert (fills[1]["execution"]["shares"], fills[1]["execution"]["price"]) == (200.0, holder.call["strike"])
    assert only(told, "orderStatus")[-1]["status"] == "Filled"
    assert positions(holder) == {("OPT", "P"): 2.0, ("STK", None): 200.0}
    assert cash(holder) == pytest.approx(before - 200 * holder.call["strike"])


def test_what_lapses_is_gone_and_nothing_comes_for_it(holder):
    before = cash(holder)
    told = exercise(holder, 10, holder.put, 2, 1)
    assert len(only(told, "execDetails")) == 1
    assert positions(holder) == {("OPT", "C"): 2.0, ("OPT", "P"): 1.0}
    assert cash(holder) == before


@pytest.mark.parametrize(("option", "action"), [("put", 1), ("call", 2)])
def test_what_is_against_nature_needs_an_override(holder, option, action):
    contract = getattr(holder, option)
    assert codes(exercise(holder, 10, contract, action, 1)) == [322]
    assert only(exercise(holder, 10, contract, action, 1, override=1), "execDetails")


def test_who_does_not_hold_the_option_is_refused_under_the_requests_id(holder):
    for option, quantity in ((holder.call, 3), (CALL | {"strike": 100.0}, 1)):
        (refused,) = only(exercise(holder, 10, option, 1, quantity), "error")
        assert (refused["reqId"], refused["errorCode"]) == (10, 322)
        assert "No unlapsed position exists" in refused["errorString"]


def test_an_exercise_uses_an_order_id_up(holder):
    exercise(holder, 10, holder.call, 1, 1)
    assert holder.ask("reqIds") == [("nextValidId", {"orderId": 11})]
    assert codes(exercise(holder, 10, holder.call, 1, 1)) == [103]


def test_an_index_option_is_settled_in_cash():
    client = Client(SimulatedTws(seed=1))
    chain = {"underlyingSymbol": "SPX", "underlyingSecType": "IND", "underlyingConId": 416904}
    row = client.ask("reqSecDefOptParams", reqId=1, **chain)[0][1]
    expiry = {"lastTradeDateOrContractMonth": row["expirations"][-1]}
    option = CALL | {"symbol": "SPX", "strike": row["strikes"][0]} | expiry
    client.place(1, option, action="BUY", totalQuantity=1.0, orderType="MKT")
    client.wait(2)
    before = cash(client)
    (fill,) = only(exercise(client, 2, option, 1, 1), "execDetails")
    assert fill["execution"]["price"] > 0
    assert cash(client) == pytest.approx(before + 100 * fill["execution"]["price"], abs=0.01)
    assert set(positions(client)) <= {("OPT", "C")}
