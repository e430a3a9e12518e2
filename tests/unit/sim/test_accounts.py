from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.sim import SimulatedTws
from ibbridge.sim.accounts.ledger import Ledger
from ibbridge.sim.context import SimulationContext
from ibbridge.sim.engine import EPOCH
from ibbridge.sim.settings import HostSettings
from tests.support.simulator_client import AAPL, CALL, EURUSD, Client, codes, names, only

ACCOUNT = "DU1234567"


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


def values(messages):
    return {(row["key"], row["currency"]): row["val"] for row in only(messages, "updateAccountValue")}


def test_account_updates_begin_with_everything_and_an_end(client):
    answer = client.ask("reqAccountUpdates", subscribe=True, acctCode="")
    assert names(answer)[-2:] == ["updateAccountTime", "accountDownloadEnd"]
    assert answer[-2][1] == {"timeStamp": "09:30"}
    assert answer[-1][1] == {"accountName": ACCOUNT}
    rows = values(answer)
    assert rows["NetLiquidation", "USD"] == "1000000.00"
    assert rows["AccountCode", ""] == ACCOUNT
    assert ("CashBalance", "BASE") in rows


def test_account_updates_come_every_three_minutes_and_at_once_after_a_fill(client):
    client.ask("reqAccountUpdates", subscribe=True, acctCode=ACCOUNT)
    assert client.wait(179) == []
    assert ("NetLiquidation", "USD") in values(client.wait(1))
    client.market(1, 100)
    told = client.wait()
    assert only(told, "updatePortfolio")[0]["position"] == 100.0
    assert float(values(told)["TotalCashValue", "USD"]) < 980_000


def test_unsubscribing_is_answered_by_2100(client):
    client.ask("reqAccountUpdates", subscribe=True, acctCode=ACCOUNT)
    assert codes(client.ask("reqAccountUpdates", subscribe=False, acctCode=ACCOUNT)) == [2100]
    assert client.wait(400) == []


@pytest.mark.parametrize(
    ("request_name", "args"),
    [
        ("reqAccountUpdates", {"subscribe": True, "acctCode": "U0"}),
        ("reqAccountUpdatesMulti", {"reqId": 1, "account": "U0"}),
        ("reqPositionsMulti", {"reqId": 1, "account": "U0"}),
        ("reqPnL", {"reqId": 1, "account": "U0"}),
        ("reqPnL", {"reqId": 1, "account": ""}),
        ("reqPnLSingle", {"reqId": 1, "account": "", "conid": 1}),
        ("reqAccountSummary", {"reqId": 1, "groupName": "Some", "tags": "All"}),
        ("reqAccountSummary", {"reqId": 1, "groupName": "All", "tags": "Happiness"}),
    ],
)
def test_what_names_no_account_or_tag_is_refused(client, request_name, args):
    assert codes(client.ask(request_name, **args)) == [321]


def test_positions_come_once_and_then_as_they_change(client):
    assert names(client.ask("reqPositions")) == ["positionEnd"]
    client.market(1, 100)
    told = only(client.wait(), "position")
    assert [(row["contract"]["symbol"], row["position"]) for row in told] == [("AAPL", 100.0)]
    client.market(2, 100, "SELL")
    assert only(client.wait(), "position")[0]["position"] == 0.0
    client.ask("cancelPositions")
    client.market(3, 100)
    assert only(client.wait(), "position") == []


def test_the_cost_of_a_position_has_the_commission_in_it(client):
    client.market(1, 100)
    price = only(client.wait(), "execDetails")[0]["execution"]["price"]
    row = only(client.ask("reqPositions"), "position")[0]
    assert row["avgCost"] == pytest.approx(price + 0.01)


def test_a_summary_has_its_tags_and_an_end_and_then_only_changes(client):
    answer = client.ask("reqAccountSummary", reqId=4, groupName="All", tags="NetLiquidation,$LEDGER:USD,Cushion")
    rows = {(row["tag"], row["currency"]): row["value"] for row in only(answer, "accountSummary")}
    assert rows["NetLiquidation", "USD"] == "1000000.00"
    assert rows["CashBalance", "USD"] == "1000000.00"
    assert names(answer)[-1] == "accountSummaryEnd"
    assert client.wait(181) == []
    client.market(1, 100)
    assert client.wait(170) != []
    told = client.wait(20)
    assert {row["tag"] for row in only(told, "accountSummary")} >= {"NetLiquidation", "CashBalance"}
    assert "accountSummaryEnd" not in names(told)


def test_a_third_summary_is_one_too_many(client):
    for request in (1, 2):
        assert codes(client.ask("reqAccountSummary", reqId=request, groupName="All", tags="All")) == []
    assert codes(client.ask("reqAccountSummary", reqId=3, groupName="All", tags="All")) == [322]
    client.ask("cancelAccountSummary", reqId=1)
    assert codes(client.ask("reqAccountSummary", reqId=3, groupName="All", tags="All")) == []


def test_profit_and_loss_comes_every_second(client):
    client.market(1, 100)
    client.wait(1)
    client.ask("reqPnL", reqId=1, account=ACCOUNT, modelCode="")
    client.ask("reqPnLSingle", reqId=2, account=ACCOUNT, modelCode="", conid=265598)
    told = client.wait(3)
    assert names(told) == ["pnl", "pnlSingle"] * 3
    whole, single = told[0][1], told[1][1]
    assert single["pos"] == 100.0
    assert whole["unrealizedPnL"] == pytest.approx(single["unrealizedPnL"])
    assert codes(client.ask("reqPnL", reqId=1, account=ACCOUNT, modelCode="")) == [322]
    client.ask("cancelPnL", reqId=1)
    client.ask("cancelPnLSingle", reqId=2)
    assert client.wait(3) == []


def test_the_profit_of_a_contract_never_held_is_silence(client):
    assert client.ask("reqPnLSingle", reqId=2, account=ACCOUNT, modelCode="", conid=1) == []
    assert client.wait(3) == []


def test_the_multi_forms_are_keyed_and_have_ends(client):
    client.market(1, 100)
    client.wait()
    positions = client.ask("reqPositionsMulti", reqId=1, account=ACCOUNT, modelCode="")
    assert names(positions) == ["positionMulti", "positionMultiEnd"]
    updates = client.ask("reqAccountUpdatesMulti", reqId=2, account=ACCOUNT, modelCode="", ledgerAndNLV=False)
    assert names(updates)[-1] == "accountUpdateMultiEnd"
    assert {row["reqId"] for row in only(updates, "accountUpdateMulti")} == {2}
    client.market(2, 100)
    told = client.wait()
    assert only(told, "positionMulti")[0]["pos"] == 200.0
    assert only(told, "accountUpdateMulti")


def test_with_several_accounts_an_order_must_name_one():
    client = Client(SimulatedTws(seed=1, accounts=("DU1", "DU2")))
    assert client.welcome[0] == ("managedAccounts", {"accountsList": "DU1,DU2"})
    assert codes(client.market(1, 10)) == [435]
    client.market(2, 10, account="DU2")
    client.wait()
    assert [row["account"] for row in only(client.ask("reqPositions"), "position")] == ["DU2"]


def test_trading_a_currency_moves_cash_in_both(client):
    client.place(1, EURUSD, action="BUY", totalQuantity=20_000.0, orderType="MKT")
    client.wait()
    rows = values(client.ask("reqAccountUpdates", subscribe=True, acctCode=ACCOUNT))
    assert float(rows["CashBalance", "EUR"]) == 20_000
    assert float(rows["CashBalance", "USD"]) < 980_000
    assert float(rows["NetLiquidation", "USD"]) == pytest.approx(1_000_000, abs=100)


FUTURE = {"symbol": "ES", "secType": "FUT", "exchange": "CME", "lastTradeDateOrContractMonth": "202603"}
quantities, prices = st.integers(-500, 500).filter(bool), st.integers(1, 40_000).map(lambda n: n / 100)


def test_margins_are_for_what_is_at_risk():
    world = SimulationContext(1, EPOCH, HostSettings())
    ledger = Ledger(world, ACCOUNT)
    call = world.instrument(CALL)
    assert ledger.margin(call, 5) == (0.0, 0.0), "a bought option is paid for"
    assert ledger.margin(call, -5)[0] > ledger.margin(call, -5)[1] > 0
    assert ledger.margin(world.instrument(AAPL), -100) == ledger.margin(world.instrument(AAPL), 100)


def test_other_currencies_are_worth_what_they_trade_at():
    ledger = Ledger(SimulationContext(1, EPOCH, HostSettings()), ACCOUNT)
    assert ledger.rate("EUR") == pytest.approx(1.14, rel=0.05)
    assert ledger.rate("JPY") == pytest.approx(1 / 147, rel=0.05)
    assert ledger.rate("XXX") == 1.0


@settings(max_examples=100)
@given(
    trades=st.lists(st.tuples(quantities, prices), min_size=1, max_size=12), contract=st.sampled_from([AAPL, FUTURE])
)
def test_what_was_earned_is_what_was_paid_less_what_is_held(trades, contract):
    world = SimulationContext(1, EPOCH, HostSettings())
    ledger, instrument = Ledger(world, ACCOUNT), world.instrument(contract)
    for quantity, price in trades:
        ledger.fill(instrument, quantity, price, 1.0)
    position = ledger.positions[instrument.con_id]
    paid = sum(quantity * price * instrument.size for quantity, price in trades) + len(trades)
    value = ledger.value(position)
    assert position.quantity == sum(quantity for quantity, _ in trades)
    assert position.realised + value.unrealised == pytest.approx(value.value - paid, abs=0.02)
    assert ledger.figures().net_liquidation == pytest.approx(1_000_000 + value.value - paid, abs=0.02)
