"""Arguments of clients, as the daemon takes them: words of IB's, bounded texts, orders that can be right."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ibbridge.config.model import CommandsConfig
from ibbridge.orders.order import LONGEST_REF
from ibbridge.protocol.topics import LONGEST_STREAM
from tests.support.daemon_core import AAPL, DAY, LIMIT, Middle, refusal

TAPE = {"symbol": "BZ:BZ_ALL", "secType": "News", "exchange": "NEWS"}
COMBO: dict[str, Any] = {
    **AAPL,
    "secType": "BAG",
    "comboLegs": [{"conId": 1, "ratio": 1, "action": "BUY", "exchange": "SMART"}],
}


@pytest.fixture(params=[200, 226])
def middle(request: pytest.FixtureRequest) -> Middle:
    return Middle(request.param)


def ordered(**changed: Any) -> dict[str, Any]:
    return {"contract": AAPL, "order": {**LIMIT, **changed}}


# -- words


@pytest.mark.parametrize("command", ["placeOrder", "whatIfOrder"])
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"action": "BYE"}, "order.action"),
        ({"orderType": "BYE"}, "order.orderType"),
        ({"tif": "BYE"}, "order.tif"),
        ({"totalQuantity": -100}, "order.totalQuantity"),
    ],
)
def test_an_order_that_can_never_be_right_is_refused_by_name(
    middle: Middle, command: str, changed: dict[str, Any], named: str
) -> None:
    key = "k" if command == "placeOrder" else None
    error = refusal("E_ARG", middle.ask, command, key=key, **ordered(**changed))
    assert [fault.split()[0] for fault in error.faults] == [named]
    assert error.outcome == "refused"
    assert not middle.link.sent
    assert len(middle.orders) == 0


def test_all_that_is_wrong_with_an_order_is_named_at_once(middle: Middle) -> None:
    wrong = ordered(action="BYE", orderType="LIMT", tif="DAYS", totalQuantity=0)
    error = refusal("E_ARG", middle.ask, "placeOrder", key="k", **wrong)
    names = {fault.split()[0] for fault in error.faults}
    assert names == {"order.action", "order.orderType", "order.tif", "order.totalQuantity"}


def test_a_misspelt_word_takes_no_place_in_any_queue(middle: Middle) -> None:
    for kind in ("alllast", "Allast", "ALLLAST"):
        error = refusal("E_ARG", middle.ask, "reqTickByTickData", contract=AAPL, tickType=kind)
        assert "did you mean AllLast?" in str(error)
    for changed in ({"barSizeSetting": "1 sec"}, {"formatDate": 0}, {"durationStr": "1 day"}, {"whatToShow": "TRADE"}):
        asked: dict[str, Any] = {"contract": AAPL, **DAY, **changed}
        refusal("E_ARG", middle.ask, "reqHistoricalData", **asked)
    assert not middle.link.sent
    assert middle.ask("reqTickByTickData", contract=AAPL, tickType="AllLast")["topic"].endswith("+tbt-AllLast.")


def test_a_word_that_ib_has_given_somebody_can_be_let_pass() -> None:
    assert CommandsConfig().unknown_words == "refuse"
    middle = Middle(unknown_words="pass")
    middle.ask("placeOrder", key="k", **ordered(orderType="NEW TYPE", tif="EVER"))
    (placed,) = middle.link.take()
    assert (placed.data["order"]["orderType"], placed.data["order"]["tif"]) == ("NEW TYPE", "EVER")
    asked: dict[str, Any] = {"contract": AAPL, **DAY, "barSizeSetting": "1 sec", "formatDate": 4}
    middle.ask("reqHistoricalData", **asked)
    assert len(middle.link.take()) == 1
    refusal("E_ARG", middle.ask, "placeOrder", key="l", **ordered(totalQuantity=-1))
    refusal("E_ARG", middle.ask, "placeOrder", key="l", **ordered(orderType="x" * 65))


def test_an_order_type_that_ib_has_added_can_be_added_to_the_list() -> None:
    assert CommandsConfig().order_types == ()
    middle = Middle(order_types=("RPI", "NEW TYPE"))
    added = {"orderType": "RPI", "adjustedOrderType": "NEW TYPE", "deltaNeutralOrderType": "NEW TYPE"}
    middle.ask("placeOrder", key="k", **ordered(**added))
    (placed,) = middle.link.take()
    assert placed.data["order"].items() >= added.items()
    for wrong, near in (("NEWTYPE", "NEW TYPE"), ("new type", "NEW TYPE"), ("LIMT", "LIMIT")):
        error = refusal("E_ARG", middle.ask, "placeOrder", key="l", **ordered(orderType=wrong))
        assert str(error) == f"order.orderType must be one of IB's order types, not '{wrong}', did you mean {near}?"
    refusal("E_ARG", middle.ask, "placeOrder", key="l", **ordered(tif="NEW TYPE"))
    refusal("E_ARG", middle.ask, "placeOrder", key="l", **ordered(action="NEW TYPE"))
    refusal("E_ARG", Middle().ask, "placeOrder", key="l", **ordered(orderType="NEW TYPE"))


# -- quantities


@pytest.mark.parametrize("quantity", [None, 0, 0.0, -0.0, "0", "0.00", "-0", "+0", "0E5", "", -1, "-3", "-1e-9"])
def test_an_order_has_a_quantity(middle: Middle, quantity: Any) -> None:
    for command, key in (("placeOrder", "k"), ("whatIfOrder", None)):
        error = refusal("E_ARG", middle.ask, command, key=key, **ordered(totalQuantity=quantity))
        assert error.faults[0].startswith("order.totalQuantity must be ")
    assert not middle.link.sent


@pytest.mark.parametrize("quantity", [math.nan, math.inf, -math.inf, "nan", "inf", "many", "1,5", "1e31", True, [1]])
def test_a_quantity_is_a_number(middle: Middle, quantity: Any) -> None:
    for command, key in (("placeOrder", "k"), ("whatIfOrder", None)):
        error = refusal("E_ARG", middle.ask, command, key=key, **ordered(totalQuantity=quantity))
        (fault,) = error.faults
        assert fault.startswith("order.totalQuantity must be a number or decimal text, not ")
    assert not middle.link.sent


@pytest.mark.parametrize("price", [math.inf, -math.inf, "Infinity", "-Infinity"])
@pytest.mark.parametrize("name", ["lmtPrice", "auxPrice", "trailStopPrice", "percentOffset", "cashQty"])
def test_a_price_is_finite(middle: Middle, name: str, price: Any) -> None:
    error = refusal("E_ARG", middle.ask, "placeOrder", key="k", **ordered(**{name: price}))
    assert f"order.{name} must be a finite number" in error.faults
    assert not middle.link.sent


def test_the_offset_that_ib_reads_as_infinite_may_be_infinite(middle: Middle) -> None:
    for number, offset in enumerate((math.inf, "Infinity")):
        pegged = ordered(orderType="PEG BEST", competeAgainstBestOffset=offset)
        middle.ask("placeOrder", key=f"k{number}", **pegged)
    assert [sent.data["order"]["competeAgainstBestOffset"] for sent in middle.link.take()] == [math.inf, math.inf]


@pytest.mark.parametrize(
    "instead",
    [
        {"cashQty": 1_000.0},
        {"hedgeType": "F"},
        {"hedgeType": "P", "hedgeParam": "1.5"},
        {"faGroup": "all", "faMethod": "PctChange", "faPercentage": "50"},
    ],
)
@pytest.mark.parametrize("quantity", [None, 0, "0"])
def test_but_for_those_of_which_ib_finds_it(instead: dict[str, Any], quantity: Any) -> None:
    middle = Middle(226)
    middle.ask("placeOrder", key="k", **ordered(totalQuantity=quantity, **instead))
    assert len(middle.link.sent) == 1


@pytest.mark.parametrize("quantity", [1, 0.5, "0.00000001", 1e9])
def test_any_quantity_above_nothing_is_taken(middle: Middle, quantity: Any) -> None:
    middle.ask("placeOrder", key="k", **ordered(totalQuantity=quantity))
    assert len(middle.link.sent) == 1


# -- what is not a client's to give


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("slOrderId", 2, "parentId"),
        ("slOrderType", "PRESET", "parentId"),
        ("ptOrderId", 3, "parentId"),
        ("ptOrderType", "PRESET", "parentId"),
        ("parentPermId", 4, "parentId"),
        ("orderId", 5, "key"),
        ("clientId", 6, "key"),
        ("permId", 7, "key"),
        ("orderRef", "mine", "key"),
    ],
)
@pytest.mark.parametrize("version", [176, 200, 217, 218, 226])
def test_what_the_daemon_or_ib_gives_is_refused_with_what_to_use(
    version: int, name: str, value: Any, instead: str
) -> None:
    middle = Middle(version)
    for command, key in (("placeOrder", "k"), ("whatIfOrder", None)):
        error = refusal("E_ARG", middle.ask, command, key=key, **ordered(**{name: value}))
        (fault,) = error.faults
        assert fault.startswith(f"order.{name} ")
        assert instead in fault
    assert not middle.link.sent
    assert len(middle.orders) == 0


def test_both_attached_orders_are_refused_beside_all_other_faults(middle: Middle) -> None:
    wrong = ordered(slOrderId=2, ptOrderId=3, action="BYE", totalQuantity=-1, lmtPrice=math.inf)
    error = refusal("E_ARG", middle.ask, "placeOrder", key="k", **wrong)
    named = sorted(fault.split()[0] for fault in error.faults)
    assert named == [f"order.{name}" for name in ("action", "lmtPrice", "ptOrderId", "slOrderId", "totalQuantity")]


def test_an_order_may_be_copied_from_one_that_lacks_them(middle: Middle) -> None:
    none = {"slOrderId": None, "slOrderType": "None", "ptOrderId": None, "ptOrderType": "", "orderRef": "", "permId": 0}
    middle.ask("placeOrder", key="k", **ordered(**none, orderId=0, clientId=0, parentPermId=None))
    (placed,) = middle.link.take()
    assert not {"slOrderType", "ptOrderType"} & {name for name, value in placed.data["order"].items() if value}


def test_a_child_names_its_parent_and_may_cancel_it(middle: Middle) -> None:
    parent = middle.ask("placeOrder", key="parent", **ordered(transmit=False))
    middle.ask("placeOrder", key="stop", **ordered(parentId=parent["orderId"], autoCancelParent=True))
    assert [sent.data["order"].get("parentId") or 0 for sent in middle.link.take()] == [0, parent["orderId"]]


# -- bounds


def test_a_symbol_is_a_symbol_and_no_megabyte(middle: Middle) -> None:
    for number in range(60):
        contract = {**AAPL, "symbol": f"{number}" + "x" * 900_000}
        error = refusal("E_ARG", middle.ask, "reqMktData", contract=contract)
        assert str(error) == f"contract.symbol must have at most 64 characters, not {len(contract['symbol'])}"
    assert not middle.link.sent
    assert middle.ask("reqMktData", contract={**AAPL, "symbol": "x" * 64})["topic"].startswith("md.xxx")


def test_the_name_of_a_stream_is_bounded_whatever_it_is_made_of() -> None:
    middle = Middle(226)
    long = {"symbol": "\N{SNOWMAN}" * 64, "localSymbol": "\N{SNOWMAN}" * 64, "tradingClass": "-" * 64}
    error = refusal("E_ARG", middle.ask, "reqMktData", contract={**AAPL, **long})
    assert str(error).startswith("contract: the topic of the responses would have 1")
    assert not middle.link.sent
    for contract in ({**AAPL, "symbol": "\N{SNOWMAN}" * 64}, dict.fromkeys(AAPL, "x" * 64) | {"secType": "STK"}):
        assert len(middle.ask("reqMktData", contract=contract)["topic"]) <= LONGEST_STREAM
    topic = middle.ask("reqContractDetails", "c" * 32, "\N{GRINNING FACE}" * 64, contract=AAPL)["topic"]
    assert len(topic) <= LONGEST_STREAM


def test_a_key_is_no_longer_than_what_carries_it(middle: Middle) -> None:
    for key in ("k" * (LONGEST_REF + 1), "k" * 1_000_000):
        for command, args in (("placeOrder", ordered()), ("cancelOrder", {})):
            error = refusal("E_ARG", middle.ask, command, key=key, **args)
            assert str(error) == "key must be 1 to 40 printable ASCII characters without /"


# -- what tells one contract from another


def test_depth_of_a_combination_is_refused_where_its_legs_do_not_travel() -> None:
    error = refusal("E_ARG", Middle(200).ask, "reqMktDepth", contract=COMBO)
    assert str(error) == "contract.comboLegs needs server version 206; this connection has 200"
    middle = Middle(206)
    other = {**COMBO, "comboLegs": [{**COMBO["comboLegs"][0], "conId": 2}]}
    topics = {middle.ask("reqMktDepth", contract=each)["topic"] for each in (COMBO, other)}
    assert len(topics) == 2
    assert [sent.data["contract"]["comboLegs"][0]["conId"] for sent in middle.link.take()] == [1, 2]


def test_a_strike_of_nothing_is_no_strike(middle: Middle) -> None:
    plain = middle.ask("reqMktData", contract=AAPL)
    asked = {**AAPL, "strike": 0, "right": "?", "multiplier": "0"}
    assert middle.ask("reqMktData", "b", contract=asked)["topic"] == plain["topic"]
    middle.ask("reqContractDetails", contract=asked)
    contract = middle.link.take()[-1].data["contract"]
    assert not contract.get("strike")
    assert contract.keys() == AAPL.keys() | ({"strike"} & contract.keys())


def test_a_tape_is_the_providers_however_it_is_spelt(middle: Middle) -> None:
    assert middle.ask("reqMktData", contract=TAPE, genericTickList="mdoff,292")["topic"] == "news.BZ."
    assert middle.topic_of("tickNews", tickerId=middle.last_id()) == "news.BZ.tickNews."
