from __future__ import annotations

import pytest

from ibbridge.sim import SimulatedTws
from ibbridge.sim.market.price_path import DAY
from tests.support.simulator_client import AAPL, CALL, EURUSD, Client, codes, names, only, story

LOW, HIGH = 1.0, 999.0
"""Prices that no market of these tests comes near."""


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


def last(client, contract=AAPL):
    world = client.host.context
    return world.market.quote(world.instrument(contract), world.now).last


def statuses(messages):
    return [data["status"] for data in only(messages, "orderStatus")]


# -- lives


def test_a_market_order_that_fills_at_once(client):
    assert story(client.market(1, 100)) == ["5 PreSubmitted", "3 PreSubmitted"]
    filled = client.wait()
    assert story(filled) == ["11", "5 Filled", "3 Filled", "59"]
    execution, report = filled[0][1]["execution"], filled[3][1]["commissionAndFeesReport"]
    assert filled[0][1]["reqId"] == -1
    assert (execution["side"], execution["shares"], execution["cumQty"]) == ("BOT", 100.0, 100.0)
    assert (report["execId"], report["commissionAndFees"]) == (execution["execId"], 1.0)
    assert report["realizedPNL"] is None
    assert report["yield"] is None


def test_a_fill_that_closes_has_a_realised_profit(client):
    client.market(1, 100)
    bought = client.wait()
    client.market(2, 40, "SELL")
    sold = client.wait()
    cost = bought[0][1]["execution"]["price"] + 1.0 / 100
    earned = 40 * (sold[0][1]["execution"]["price"] - cost) - 1.0
    assert sold[3][1]["commissionAndFeesReport"]["realizedPNL"] == pytest.approx(earned)


def test_a_large_order_fills_in_parts(client):
    client.market(1, 5000)
    told = client.wait(60)
    fills = only(told, "execDetails")
    assert len(fills) > 2
    assert sum(fill["execution"]["shares"] for fill in fills) == 5000
    assert story(told)[:4] == ["11", "5 Submitted", "3 Submitted", "59"]
    assert story(told)[-4:] == ["11", "5 Filled", "3 Filled", "59"]
    states = only(told, "orderStatus")
    assert all(state["filled"] + state["remaining"] == 5000 for state in states)
    fees = sum(row["commissionAndFeesReport"]["commissionAndFees"] for row in only(told, "commissionAndFeesReport"))
    assert fees == pytest.approx(25.0)
    assert len({fill["execution"]["execId"] for fill in fills}) == len(fills)


def test_a_limit_order_rests_and_is_cancelled(client):
    assert story(client.limit(1, LOW)) == ["5 PreSubmitted", "3 PreSubmitted"]
    assert story(client.wait(5)) == ["5 Submitted", "3 Submitted"]
    gone = client.ask("cancelOrder", orderId=1, orderCancel={})
    assert story(gone) == ["3 Cancelled", "4 202"]
    assert gone[0][1]["remaining"] == 100.0
    assert client.wait(5) == []


def test_a_limit_through_the_market_fills_at_the_market(client):
    client.limit(1, round(last(client) + 5, 2))
    price = only(client.wait(), "execDetails")[0]["execution"]["price"]
    assert price < last(client) + 1


def test_a_limit_order_fills_when_the_market_comes(client):
    client.limit(1, round(last(client) - 0.05, 2))
    told = client.wait(600)
    assert story(told)[:2] == ["5 Submitted", "3 Submitted"]
    assert "3 Filled" in story(told)


def test_a_stop_waits_for_its_trigger(client):
    placed = client.place(1, action="SELL", totalQuantity=100.0, orderType="STP", auxPrice=LOW)
    assert only(placed, "orderStatus")[0]["whyHeld"] == "trigger"
    assert client.wait(30) == []
    client.place(1, action="SELL", totalQuantity=100.0, orderType="STP", auxPrice=HIGH)
    told = client.wait(1)
    assert story(told)[-4:] == ["11", "5 Filled", "3 Filled", "59"]


def test_a_stop_limit_rests_at_its_limit_once_triggered(client):
    client.place(1, action="BUY", totalQuantity=100.0, orderType="STP LMT", auxPrice=LOW, lmtPrice=LOW)
    told = client.wait()
    assert story(told) == ["5 Submitted", "3 Submitted"]
    assert only(told, "orderStatus")[0]["whyHeld"] == ""


@pytest.mark.parametrize(("kind", "near", "far"), [("MIT", HIGH, LOW), ("LIT", HIGH, LOW)])
def test_an_if_touched_order_waits_for_the_other_side(client, kind, near, far):
    client.place(1, action="BUY", totalQuantity=10.0, orderType=kind, auxPrice=far, lmtPrice=HIGH)
    assert client.wait(10) == []
    client.place(2, action="BUY", totalQuantity=10.0, orderType=kind, auxPrice=near, lmtPrice=HIGH)
    assert "3 Filled" in story(client.wait(10))


def test_a_trailing_stop_follows_and_then_sells(client):
    client.market(1, 100)
    client.wait()
    client.place(2, action="SELL", totalQuantity=100.0, orderType="TRAIL", auxPrice=0.3)
    told = client.wait(3600)
    assert "3 Filled" in story(told)
    stop = only(told, "openOrder")[-1]["order"]["trailStopPrice"]
    assert only(told, "execDetails")[0]["execution"]["price"] == pytest.approx(stop, abs=0.2)


def test_a_trailing_stop_may_trail_by_a_part_of_the_price_and_have_a_limit(client):
    trailing = {"action": "BUY", "totalQuantity": 10.0, "trailingPercent": 0.1, "lmtPriceOffset": 5.0}
    client.place(1, orderType="TRAIL LIMIT", **trailing)
    assert "3 Filled" in story(client.wait(3600))


def test_a_fill_or_kill_that_cannot_be_filled_is_inactive(client):
    client.limit(1, LOW, tif="FOK")
    assert story(client.wait()) == ["3 Inactive"]


def test_an_immediate_or_cancel_takes_what_it_gets(client):
    client.limit(1, LOW, tif="IOC")
    assert story(client.wait()) == ["3 PendingCancel", "3 Cancelled"]
    client.limit(2, HIGH, 100_0.0, tif="IOC")
    told = client.wait()
    assert story(told)[:2] == ["11", "5 Submitted"]
    assert statuses(told)[-2:] == ["PendingCancel", "Cancelled"]


@pytest.fixture
def late(monkeypatch):
    """A client one minute before the exchange's day ends."""
    monkeypatch.setattr("ibbridge.sim.market.prices.OPENED", DAY - 60)
    return Client(SimulatedTws(seed=1))


def test_a_day_order_ends_with_the_day_and_a_good_till_cancelled_does_not(late):
    late.limit(1, LOW)
    late.limit(2, LOW, tif="GTC")
    told = late.wait(61)
    assert [(data["reqId"], data["errorCode"]) for data in only(told, "error")] == [(1, 202)]


def test_a_good_till_date_order_ends_then(client):
    client.limit(1, LOW, tif="GTD", goodTillDate="20260105 09:31:00 America/New_York")
    assert codes(client.wait(59)) == []
    assert codes(client.wait(2)) == [202]


def test_an_order_may_wait_for_its_time(client):
    client.market(1, 10, goodAfterTime="20260105 09:31:00 US/Eastern")
    assert client.wait(59) == []
    assert "3 Filled" in story(client.wait(2))


@pytest.mark.parametrize(("more", "fills"), [(True, False), (False, True)])
def test_a_price_condition_holds_an_order(client, more, fills):
    condition = {"condType": 1, "isMore": more, "conId": 265598, "exchange": "SMART", "price": HIGH}
    client.market(1, 10, conditions=[condition])
    assert ("3 Filled" in story(client.wait(5))) is fills


@pytest.mark.parametrize(("more", "at"), [(True, 60), (False, 0)])
def test_a_time_condition_holds_an_order(client, more, at):
    condition = {"condType": 3, "isMore": more, "time": "20260105 09:31:00 America/New_York"}
    client.market(1, 10, conditions=[condition])
    told = client.wait(59)
    assert ("3 Filled" in story(told)) is (at == 0)
    assert "3 Filled" in story(told + client.wait(2))


def test_conditions_are_joined_as_they_say(client):
    never = {"condType": 5, "secType": "STK", "symbol": "AAPL", "exchange": "SMART"}
    now = {"condType": 1, "isMore": False, "conId": 265598, "exchange": "SMART", "price": HIGH}
    client.market(1, 10, conditions=[never | {"isConjunctionConnection": True}, now])
    assert client.wait(5) == []
    client.market(2, 10, conditions=[never | {"isConjunctionConnection": False}, now])
    assert "3 Filled" in story(client.wait(5))
    client.market(3, 10, conditions=[now | {"conId": 4}])
    client.market(4, 10, conditions=[{"condType": 3, "isMore": True, "time": "noon"}])
    assert "3 Filled" not in story(client.wait(5))


@pytest.mark.parametrize(
    ("contract", "quantity", "fee"),
    [
        (AAPL, 1000.0, 5.0),
        (CALL, 2.0, 1.3),
        ({"symbol": "ES", "secType": "FUT", "exchange": "CME", "lastTradeDateOrContractMonth": "202603"}, 2.0, 4.5),
        (EURUSD, 20_000.0, 2.0),
    ],
)
def test_commissions_are_by_type_and_the_same_in_parts(client, contract, quantity, fee):
    client.place(1, contract, action="BUY", totalQuantity=quantity, orderType="MKT")
    reports = only(client.wait(30), "commissionAndFeesReport")
    assert sum(row["commissionAndFeesReport"]["commissionAndFees"] for row in reports) == pytest.approx(fee)


def test_a_fund_is_dealt_in_whole_at_its_price(client):
    fund = {"symbol": "VFIAX", "secType": "FUND", "exchange": "FUNDSERV"}
    client.place(1, fund, action="BUY", totalQuantity=500.0, orderType="MKT")
    assert story(client.wait()) == ["11", "5 Filled", "3 Filled", "59"]


def test_what_was_not_transmitted_is_silent_until_it_is(client):
    assert client.limit(1, LOW, transmit=False) == []
    assert client.wait(5) == []
    assert names(client.ask("reqOpenOrders")) == ["openOrderEnd"]
    assert story(client.limit(1, LOW)) == ["5 PreSubmitted", "3 PreSubmitted"]


def test_a_modification_is_told_twice_and_counts(client):
    client.limit(1, LOW)
    client.wait()
    changed = client.limit(1, 2.0, 50.0)
    assert story(changed) == ["5 Submitted", "3 Submitted"] * 2
    assert changed[0][1]["order"]["lmtPrice"] == 2.0
    assert changed[1][1]["remaining"] == 50.0
    client.limit(1, HIGH, 50.0)
    assert "3 Filled" in story(client.wait())


# -- families


def bracket(client):
    assert client.limit(1, HIGH, transmit=False) == []
    assert client.limit(2, HIGH, action="SELL", parentId=1, transmit=False) == []
    return client.place(3, action="SELL", totalQuantity=100.0, orderType="STP", auxPrice=LOW, parentId=1)


def test_a_bracket_starts_with_its_last_member_and_the_children_wait(client):
    placed = bracket(client)
    assert [data["orderId"] for data in only(placed, "orderStatus")] == [1, 2, 3]
    assert [data["whyHeld"] for data in only(placed, "orderStatus")] == ["", "child", "child"]
    told = client.wait(1)
    held = {data["orderId"]: (data["status"], data["whyHeld"]) for data in only(told, "orderStatus")}
    assert held == {1: ("Filled", ""), 2: ("Submitted", ""), 3: ("PreSubmitted", "trigger")}


def test_when_one_child_fills_the_other_is_cancelled(client):
    bracket(client)
    client.wait(1)
    client.limit(2, LOW, action="SELL", parentId=1)
    told = client.wait(5)
    assert {data["orderId"]: data["status"] for data in only(told, "orderStatus")} == {2: "Filled", 3: "Cancelled"}
    assert [(data["reqId"], data["errorCode"]) for data in only(told, "error")] == [(3, 202)]


def test_cancelling_the_parent_cancels_its_children(client):
    client.limit(1, LOW, transmit=False)
    client.limit(2, HIGH, action="SELL", parentId=1)
    told = client.ask("cancelOrder", orderId=1, orderCancel={})
    assert story(told) == ["3 Cancelled", "4 202"] * 2


def test_a_child_without_its_parent_is_refused(client):
    assert codes(client.limit(2, LOW, parentId=1)) == [10006]


def test_one_cancels_all(client):
    client.limit(1, LOW, ocaGroup="one", ocaType=1)
    client.limit(2, LOW, ocaGroup="other", ocaType=1)
    client.market(3, 10, ocaGroup="one", ocaType=1)
    told = client.wait()
    assert {data["orderId"]: data["status"] for data in only(told, "orderStatus")} == {
        1: "Cancelled",
        2: "Submitted",
        3: "Filled",
    }


def test_a_reducing_group_gets_smaller(client):
    client.limit(1, LOW, ocaGroup="one", ocaType=2)
    client.market(2, 30, ocaGroup="one", ocaType=2)
    told = [data for data in only(client.wait(), "orderStatus") if data["orderId"] == 1]
    assert told[-1]["remaining"] == 70.0


def test_a_what_if_is_answered_and_not_placed(client):
    answer = client.market(1, 100, whatIf=True)
    assert names(answer) == ["openOrder"]
    state = answer[0][1]["orderState"]
    assert answer[0][1]["order"]["whatIf"] is True
    assert float(state["initMarginAfter"]) > float(state["initMarginBefore"]) == 0.0
    assert state["commissionAndFees"] == 1.0
    assert client.wait(5) == []
    assert story(client.market(1, 100)) == ["5 PreSubmitted", "3 PreSubmitted"], "its id is not used"


def test_a_combination_fills_leg_by_leg_in_the_account(client):
    world = client.host.context
    call, higher = (world.instrument(CALL | {"strike": strike}).con_id for strike in (230.0, 240.0))
    legs = [
        {"conId": call, "ratio": 1, "action": "BUY", "exchange": "SMART"},
        {"conId": higher, "ratio": 1, "action": "SELL", "exchange": "SMART"},
    ]
    spread = {"symbol": "AAPL", "secType": "BAG", "currency": "USD", "exchange": "SMART", "comboLegs": legs}
    client.place(1, spread, action="BUY", totalQuantity=2.0, orderType="MKT")
    assert "3 Filled" in story(client.wait())
    held = {row["contract"]["conId"]: row["position"] for row in only(client.ask("reqPositions"), "position")}
    assert held == {call: 2.0, higher: -2.0}


# -- refusals


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"action": "HOLD"}, 303),
        ({"orderType": "WISH"}, 321),
        ({"totalQuantity": 0.0}, 434),
        ({"totalQuantity": None}, 434),
        ({"totalQuantity": -5.0}, 321),
        ({"totalQuantity": float("nan")}, 321),
        ({"totalQuantity": 0.5}, 10243),
        ({"totalQuantity": None, "cashQty": 100.0}, 10244),
        ({"orderType": "LMT"}, 107),
        ({"orderType": "STP"}, 107),
        ({"orderType": "TRAIL"}, 107),
        ({"orderType": "LMT", "lmtPrice": 100.001}, 110),
        ({"orderType": "LMT", "lmtPrice": float("inf")}, 321),
        ({"orderType": "LMT", "lmtPrice": -3.0}, 321),
        ({"tif": "EVER"}, 321),
        ({"tif": "GTD"}, 334),
        ({"tif": "GTD", "goodTillDate": "soon"}, 334),
        ({"goodAfterTime": "later"}, 336),
        ({"orderType": "MOC", "tif": "GTC"}, 113),
        ({"orderType": "STP", "auxPrice": 5.0, "tif": "IOC"}, 111),
        ({"account": "U0000000"}, 321),
        ({"totalQuantity": 1_000_000.0}, 201),
    ],
)
def test_a_wrong_order_gets_ibs_code_and_burns_its_id(client, order, code):
    usual = {"action": "BUY", "totalQuantity": 10.0, "orderType": "MKT"}
    refused = client.place(1, **(usual | order))
    assert [(data["reqId"], data["errorCode"]) for data in only(refused, "error")] == [(1, code)]
    assert codes(client.market(1, 10)) == [103]
    assert client.wait(5) == []


def test_the_broker_rejects_what_the_money_does_not_reach_for(client):
    assert story(client.market(1, 1_000_000)) == ["3 Inactive", "4 201", "3 Inactive"]


@pytest.mark.parametrize(
    ("contract", "code"),
    [({"symbol": "SPX", "secType": "IND", "exchange": "CBOE"}, 412), (AAPL | {"symbol": "NOSUCH"}, 200)],
)
def test_what_cannot_be_traded_is_refused(client, contract, code):
    assert codes(client.place(1, contract, action="BUY", totalQuantity=1.0, orderType="MKT")) == [code]


def test_an_id_must_be_above_every_earlier_one(client):
    client.limit(10, LOW)
    assert codes(client.limit(9, LOW)) == [103]
    assert codes(client.limit(0, LOW)) == [103]
    assert client.ask("reqIds", numIds=1) == [("nextValidId", {"orderId": 11})]


def test_a_filled_order_cannot_be_changed_or_cancelled(client):
    client.market(1, 10)
    client.wait()
    assert codes(client.market(1, 20)) == [104]
    refused = client.ask("cancelOrder", orderId=1, orderCancel={})
    assert codes(refused) == [10148]
    assert "state: Filled" in refused[0][1]["errorString"]


@pytest.mark.parametrize("other", [{"contract": EURUSD}, {"action": "SELL"}])
def test_a_change_must_be_of_the_same_order(client, other):
    client.limit(1, LOW)
    contract = other.pop("contract", AAPL)
    order = {"action": "BUY", "totalQuantity": 100.0, "orderType": "LMT", "lmtPrice": 2.0} | other
    assert codes(client.place(1, contract, **order)) == [105]
    assert "3 Submitted" in story(client.wait())


def test_cancelling_what_is_not_there_is_10147(client):
    assert codes(client.ask("cancelOrder", orderId=77, orderCancel={})) == [10147]


def test_twenty_working_orders_on_a_side_are_enough(client):
    for order_id in range(1, 21):
        client.limit(order_id, LOW, 1.0)
    assert codes(client.limit(21, LOW, 1.0)) == [201]
    assert codes(client.limit(22, HIGH, 1.0, "SELL")) == []


def test_crypto_may_be_bought_for_an_amount_of_cash(client):
    contract = {"symbol": "BTC", "secType": "CRYPTO", "exchange": "PAXOS", "currency": "USD"}
    client.place(1, contract, action="BUY", cashQty=1000.0, orderType="MKT", tif="IOC")
    shares = only(client.wait(), "execDetails")[0]["execution"]["shares"]
    assert shares == pytest.approx(1000 / last(client, contract), rel=0.02)


# -- who hears of what


def test_orders_are_heard_of_by_who_placed_them_and_by_the_master():
    host = SimulatedTws(seed=1, master=9)
    placer, other, zero, master = (Client(host, number) for number in (1, 2, 0, 9))
    placer.market(1, 10)
    placer.wait()
    assert other.session.take() == []
    assert zero.session.take() == []
    assert story(master.session.take()) == ["5 PreSubmitted", "3 PreSubmitted", "11", "5 Filled", "3 Filled", "59"]


def test_open_orders_are_ones_own_and_all_of_them_everybodys():
    host = SimulatedTws(seed=1)
    one, two = Client(host, 1), Client(host, 2)
    one.limit(1, LOW)
    two.limit(1, LOW)
    assert [row["order"]["clientId"] for row in only(one.ask("reqOpenOrders"), "openOrder")] == [1]
    everything = one.ask("reqAllOpenOrders")
    assert names(everything) == ["openOrder", "orderStatus"] * 2 + ["openOrderEnd"]
    assert [row["clientId"] for row in only(everything, "orderStatus")] == [1, 2]


def test_the_orders_of_another_client_can_be_cancelled_only_where_that_is_allowed():
    for allowed, code in ((False, 10147), (True, 202)):
        host = SimulatedTws(seed=1, foreign_cancel=allowed)
        one, two = Client(host, 1), Client(host, 2)
        one.limit(5, LOW)
        assert codes(two.ask("cancelOrder", orderId=5, orderCancel={})) == [code]


def test_a_global_cancel_ends_everybodys_orders():
    host = SimulatedTws(seed=1)
    one, two = Client(host, 1), Client(host, 2)
    one.limit(1, LOW)
    host.enter_order(AAPL, {"action": "BUY", "totalQuantity": 1.0, "orderType": "LMT", "lmtPrice": LOW})
    two.ask("reqGlobalCancel", orderCancel={})
    assert codes(one.session.take()) == [202]
    assert names(two.ask("reqAllOpenOrders")) == ["openOrderEnd"]


def test_manual_orders_belong_to_client_0_and_asking_binds_them():
    host = SimulatedTws(seed=1)
    zero, one = Client(host, 0), Client(host, 1)
    host.enter_order(AAPL, {"action": "BUY", "totalQuantity": 1.0, "orderType": "LMT", "lmtPrice": LOW})
    told = zero.session.take()
    assert (told[0][1]["orderId"], told[1][1]["clientId"]) == (0, 0)
    assert one.session.take() == []
    bound = zero.ask("reqOpenOrders")
    assert names(bound) == ["orderBound", "openOrder", "orderStatus", "openOrderEnd"]
    assert (bound[0][1]["orderId"], bound[1][1]["orderId"]) == (-1, -1)
    assert codes(zero.ask("cancelOrder", orderId=-1, orderCancel={})) == [202]


def test_only_client_0_may_bind_and_then_manual_orders_come_bound():
    host = SimulatedTws(seed=1)
    zero, one = Client(host, 0), Client(host, 1)
    assert codes(one.ask("reqAutoOpenOrders", bAutoBind=True)) == [327]
    assert zero.ask("reqAutoOpenOrders", bAutoBind=True) == []
    host.enter_order(AAPL, {"action": "BUY", "totalQuantity": 1.0, "orderType": "LMT", "lmtPrice": LOW})
    assert names(zero.session.take()) == ["orderBound", "openOrder", "orderStatus"]


def test_orders_live_on_while_their_client_is_away(client):
    host = client.host
    client.limit(1, round(last(client) - 0.05, 2))
    host.disconnect(client.session)
    host.advance(host.now + 600)
    back = Client(host, 1)
    assert dict(back.welcome)["nextValidId"] == {"orderId": 2}
    executed = back.ask("reqExecutions", reqId=7, execFilter={})
    assert names(executed) == ["execDetails", "commissionAndFeesReport", "execDetailsEnd"]
    assert executed[0][1]["reqId"] == 7
    completed = back.ask("reqCompletedOrders", apiOnly=False)
    assert names(completed) == ["completedOrder", "completedOrdersEnd"]
    assert completed[0][1]["orderState"]["status"] == "Filled"
    assert "orderId" not in completed[0][1]["order"]


def test_a_new_day_has_forgotten_what_was_over(late):
    late.market(1, 10)
    late.limit(2, LOW, tif="GTC")
    late.wait(61)
    assert names(late.ask("reqExecutions", reqId=7, execFilter={})) == ["execDetailsEnd"]
    assert names(late.ask("reqCompletedOrders", apiOnly=False)) == ["completedOrdersEnd"]
    assert codes(late.ask("cancelOrder", orderId=1, orderCancel={})) == [10147]
    assert codes(late.ask("cancelOrder", orderId=2, orderCancel={})) == [202]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({}, 2),
        ({"side": "BUY"}, 1),
        ({"side": "SLD"}, 1),
        ({"symbol": "MSFT"}, 0),
        ({"secType": "STK", "acctCode": "DU1234567", "clientId": 1}, 2),
        ({"clientId": 3}, 0),
        ({"time": "20260105 09:30:30 America/New_York"}, 1),
    ],
)
def test_executions_are_filtered(client, wanted, count):
    client.market(1, 10)
    client.wait(60)
    client.market(2, 10, "SELL")
    client.wait()
    answer = client.ask("reqExecutions", reqId=7, execFilter=wanted)
    assert len(only(answer, "execDetails")) == count
    assert names(answer)[-1] == "execDetailsEnd"


def test_a_filter_with_a_bad_time_is_refused(client):
    assert codes(client.ask("reqExecutions", reqId=7, execFilter={"time": "noon"})) == [321]
