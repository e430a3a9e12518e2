"""Orders as the gate reads them from IB's arguments."""

from __future__ import annotations

import math

import pytest

from ibbridge.risk.order import EXERCISE, exercise, proposed

CONTRACT = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD", "conId": 265598}
ORDER = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 50.0, "account": "DU1"}


def read(contract=None, **order):
    return proposed("alpha", "k1", {"contract": {**CONTRACT, **(contract or {})}, "order": {**ORDER, **order}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("totalQuantity", math.nan),
        ("totalQuantity", math.inf),
        ("totalQuantity", -1),
        ("totalQuantity", 0),
        ("totalQuantity", 1e300),
        ("totalQuantity", "many"),
        ("totalQuantity", 10**400),
        ("lmtPrice", math.nan),
        ("auxPrice", -math.inf),
        ("cashQty", -5.0),
        ("action", "KEEP"),
        ("action", None),
    ],
)
def test_values_that_are_none_are_faults(name, value):
    assert read(**{name: value}).fault


def test_what_is_right_has_no_fault():
    assert read() == read(trailStopPrice=1.7976931348623157e308, percentOffset="", cashQty=None)
    assert not read().fault
    assert not read(totalQuantity=0, cashQty=100.0).fault
    assert not read(totalQuantity="0.5", lmtPrice=-37.0).fault


@pytest.mark.parametrize(("action", "side"), [("BUY", 1), ("SLONG", 1), ("SELL", -1), ("SSHORT", -1), ("sell", -1)])
def test_sides(action, side):
    assert read(action=action).side == side


@pytest.mark.parametrize(
    ("kind", "limit", "found"),
    [("LMT", 0.0, 0.0), ("MKT", 0.0, None), ("STP", 0.0, None), ("REL", 0.0, None), ("MIDPRICE", 0.0, None),
     ("REL", 51.0, 51.0), ("STP LMT", 49.0, 49.0), ("MARKET", 49.0, None)],
)  # fmt: skip
def test_only_a_limit_order_has_a_limit_of_zero(kind, limit, found):
    assert read(orderType=kind, lmtPrice=limit).limit_price == found


def test_a_discretionary_amount_makes_the_limit_worse():
    assert read(discretionaryAmt=0.5).limit_price == 50.5
    assert read(discretionaryAmt=0.5, action="SELL").limit_price == 49.5


@pytest.mark.parametrize("name", ["faPercentage", "faMethod", "hedgeType"])
def test_a_quantity_that_tws_computes_is_not_known(name):
    assert read(**{name: "1"}).quantity is None


@pytest.mark.parametrize(
    ("contract", "multiplier"),
    [({}, 1.0), ({"secType": "FUT"}, None), ({"secType": "FUT", "multiplier": "50"}, 50.0), ({"secType": "CASH"}, 1.0),
     ({"secType": ""}, None), ({"multiplier": "none"}, None), ({"secType": "OPT", "multiplier": 100}, 100.0)],
)  # fmt: skip
def test_multipliers(contract, multiplier):
    assert read(contract).multiplier == multiplier


def test_legs_of_a_combination():
    leg = {"conId": 1, "ratio": 2, "action": "SELL", "exchange": "SMART"}
    order = read({"secType": "BAG", "conId": 0, "comboLegs": [leg, {**leg, "conId": 2, "action": "BUY"}]})
    assert [(each.con_id, each.ratio, each.side, each.multiplier) for each in order.legs] == [
        (1, 2.0, -1, None),
        (2, 2.0, 1, None),
    ]
    assert not order.fault
    assert read({"secType": "BAG", "comboLegs": [leg, leg]}).fault
    assert read({"secType": "BAG"}).fault
    assert read({"secType": "BAG", "comboLegs": [17]}).fault == ""  # the codec refuses it; nothing is known of its leg


def test_an_exercise_is_a_sale_of_the_options_at_the_strike():
    contract = {**CONTRACT, "secType": "OPT", "strike": 200.0, "multiplier": "100"}
    order = exercise("alpha", "k1", {"contract": contract, "exerciseQuantity": 3, "account": "DU1"})
    assert (order.side, order.quantity, order.limit_price, order.order_type) == (-1, 3.0, 200.0, EXERCISE)
    assert exercise("alpha", "k1", {"contract": contract, "exerciseQuantity": 0}).fault
