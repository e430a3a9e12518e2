"""Orders while a scope may only reduce positions: what cannot increase one passes, with all working orders counted."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.risk.halt import Halt, Scope, TradingState
from tests.support.daemon_core import AAPL, CLIENT_ID, LIMIT, MSFT, Middle, refusal

ACCOUNT = "DU1"
HELD = {"conId": 265598, "symbol": "AAPL", "secType": "STK", "currency": "USD", "exchange": "IEX"}


@pytest.fixture
def middle() -> Middle:
    """A daemon of which the client `a` has bought 100 AAPL."""
    made = Middle()
    made.session.named(ACCOUNT)
    trade(made, "bought", "BUY")
    made.link.take()
    return made


def trade(middle: Middle, key: str, action: str, client: str = "a") -> None:
    """Trade 100 AAPL."""
    number = middle.place(key, client, action=action)
    execute(middle, f"{client}/{key}", number, 100.0, action)
    middle.hear(
        "orderStatus", orderId=number, status="Filled", permId=number, clientId=CLIENT_ID, filled=100.0, remaining=0.0
    )


def execute(middle: Middle, ref: str, number: int, quantity: float, action: str) -> None:
    execution = {
        "execId": f"0001.{number}.01", "orderRef": ref, "clientId": CLIENT_ID, "orderId": number, "permId": number,
        "acctNumber": ACCOUNT, "side": "BOT" if action == "BUY" else "SLD", "shares": quantity, "price": 10.0,
        "cumQty": quantity, "avgPrice": 10.0,
    }  # fmt: skip
    middle.hear("execDetails", reqId=-1, contract=HELD, execution=execution)


def reduce(
    middle: Middle, scope: Scope = Scope.ALL, name: str = "", state: TradingState = TradingState.REDUCING
) -> None:
    middle.halts.set(Halt(scope, name, state, 1, "desk", "calm down"))


def sell(middle: Middle, key: str, quantity: float, client: str = "a", **order: Any) -> int:
    return middle.place(key, client, action="SELL", totalQuantity=quantity, **order)


def refused(middle: Middle, key: str, client: str = "a", **order: Any) -> str:
    return str(refusal("E_HALTED", middle.place, key, client, **order))


@pytest.mark.parametrize(("scope", "name"), [(Scope.ALL, ""), (Scope.ACCOUNT, ACCOUNT), (Scope.CLIENT, "a")])
def test_a_sale_up_to_the_position_passes_and_nothing_more(middle: Middle, scope: Scope, name: str) -> None:
    reduce(middle, scope, name)
    why = refused(middle, "more", action="SELL", totalQuantity=101)
    assert "with a position of 100 AAPL a sale of 101 may increase it" in why
    assert "may only reduce positions, by order of desk: calm down" in why
    refused(middle, "buy")
    sell(middle, "all", 100)


def test_a_refusal_names_scope_name_state_and_what_ends_it(middle: Middle) -> None:
    reduce(middle, Scope.CLIENT, "a")
    error = refusal("E_HALTED", middle.place, "buy")
    assert error.more == {"scope": "client", "name": "a", "state": "reducing"}
    assert "`ibbridge resume --client a` ends the halt" in str(error)
    middle.place("of others", "b")


def test_working_orders_count(middle: Middle) -> None:
    sell(middle, "stop", 60)
    reduce(middle)
    assert "beside working ones of 60" in refused(middle, "k", action="SELL", totalQuantity=41)
    sell(middle, "rest", 40)
    refused(middle, "one more", action="SELL", totalQuantity=1)


def test_what_has_filled_of_a_working_order_counts_once(middle: Middle) -> None:
    number = sell(middle, "stop", 60)
    execute(middle, "a/stop", number, 30.0, "SELL")
    reduce(middle)
    refused(middle, "k", action="SELL", totalQuantity=41)
    sell(middle, "rest", 40)


def test_of_a_client_its_own_position_counts_and_of_an_account_that_of_all(middle: Middle) -> None:
    trade(middle, "sold", "SELL", "b")
    reduce(middle, Scope.CLIENT, "a")
    sell(middle, "own", 100)
    reduce(middle, Scope.ALL)
    refused(middle, "k", "b", action="BUY", totalQuantity=1)


@pytest.mark.parametrize(
    "order",
    [
        {"totalQuantity": 0, "cashQty": 100.0},
        {"faGroup": "all"},
        {"account": "DU2"},
    ],
)
def test_what_cannot_be_judged_does_not_pass(middle: Middle, order: dict[str, Any]) -> None:
    reduce(middle)
    refused(middle, "k", **{"action": "SELL", "totalQuantity": 1, **order})


def test_an_order_for_something_else_does_not_pass(middle: Middle) -> None:
    reduce(middle)
    order = {**LIMIT, "action": "SELL", "totalQuantity": 1}
    assert "no position in MSFT" in str(
        refusal("E_HALTED", middle.ask, "placeOrder", key="k", contract=MSFT, order=order)
    )


def test_of_a_group_all_pass_together_or_none(middle: Middle) -> None:
    reduce(middle)
    order = {**LIMIT, "action": "SELL", "totalQuantity": 60}
    members = [{"key": key, "contract": AAPL, "order": order} for key in ("one", "two")]
    refusal("E_HALTED", middle.ask, "placeOrders", orders=members)
    members[1] = {**members[1], "order": {**order, "totalQuantity": 40}}
    middle.ask("placeOrders", orders=members)


def working(middle: Middle, key: str, **order: Any) -> int:
    number = middle.place(key, **order)
    middle.hear("orderStatus", orderId=number, status="Submitted", permId=number, clientId=CLIENT_ID)
    return number


def test_a_change_is_checked_as_the_order_that_it_becomes(middle: Middle) -> None:
    working(middle, "sale", action="SELL", totalQuantity=60)
    working(middle, "purchase")
    reduce(middle)
    refusal("E_HALTED", middle.ask, "modifyOrder", key="sale", rev=1, order={"totalQuantity": 101})
    middle.ask("modifyOrder", key="sale", rev=1, order={"totalQuantity": 100})
    refusal("E_HALTED", middle.ask, "modifyOrder", key="purchase", rev=1, order={"lmtPrice": 1.0})
    refusal("E_HALTED", middle.ask, "modifyOrder", key="purchase", rev=1, order={"totalQuantity": 200})
    middle.ask("modifyOrder", key="purchase", rev=1, order={"totalQuantity": 50})


def test_while_halted_no_change_passes(middle: Middle) -> None:
    working(middle, "purchase")
    for scope, name in ((Scope.CLIENT, "a"), (Scope.ACCOUNT, ACCOUNT)):
        reduce(middle, scope, name, TradingState.HALTED)
        refusal("E_HALTED", middle.ask, "modifyOrder", key="purchase", rev=1, order={"totalQuantity": 50})
        middle.halts.clear(scope, name, "desk", 2)


def test_the_strictest_halt_counts(middle: Middle) -> None:
    reduce(middle)
    reduce(middle, Scope.ACCOUNT, ACCOUNT, TradingState.HALTED)
    error = refusal("E_HALTED", sell, middle, "k", 1)
    assert error.more == {"scope": "account", "name": ACCOUNT, "state": "halted"}


def test_an_order_that_waits_when_positions_may_only_be_reduced_leaves_if_it_reduces_one() -> None:
    slow = Middle(rate=10)
    slow.session.named(ACCOUNT)
    trade(slow, "bought", "BUY")
    for number in range(12):
        slow.place(f"before {number}")
    slow.ask("placeOrder", key="buy", contract=AAPL, order=LIMIT)
    slow.ask("placeOrder", key="sell", contract=AAPL, order={**LIMIT, "action": "SELL", "totalQuantity": 10})
    slow.link.take()
    reduce(slow)
    slow.pass_time(5.0)
    assert [each.data["order"]["action"] for each in slow.link.sent if each.name == "placeOrder"] == ["SELL"]


def test_cancels_pass_in_every_scope_and_state(middle: Middle) -> None:
    for number, state in enumerate((TradingState.REDUCING, TradingState.HALTED)):
        for scope, name in ((Scope.ALL, ""), (Scope.ACCOUNT, ACCOUNT), (Scope.CLIENT, "a")):
            key = f"{scope.value}{number}"
            working(middle, key)
            reduce(middle, scope, name, state)
            middle.ask("cancelOrder", key=key)
            assert middle.link.sent[-1].name == "cancelOrder"
            middle.halts.clear(scope, name, "desk", 2)


def test_the_listed_position_of_an_account_counts_where_it_is_smaller(middle: Middle) -> None:
    middle.ask("reqPositions")
    middle.hear("position", account=ACCOUNT, contract=HELD, position=40.0, avgCost=10.0)
    middle.hear("positionEnd")
    reduce(middle)
    refused(middle, "k", action="SELL", totalQuantity=41)
    sell(middle, "rest", 40)
