"""Orders made by hand in TWS: how they are bound to client id 0, and what cancels them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemon_core import Middle

BIND = ("reqAutoOpenOrders", {"bAutoBind": True})


def sent(middle: Middle) -> list[tuple[str, dict[str, Any]]]:
    return [(each.name, each.data) for each in middle.link.take()]


def cancel(middle: Middle, perm_id: int) -> dict[str, Any]:
    middle.clock.us += 1
    return middle.call({"id": middle.clock.us, "client": "a", "cmd": "cancelOrder", "args": {"permId": perm_id}})


def opened(middle: Middle, order_id: int, perm_id: int) -> str:
    order = {"clientId": 0, "permId": perm_id, "orderId": order_id}
    return middle.topic_of("openOrder", orderId=order_id, order=order, orderState={"status": "Submitted"})


def bound(middle: Middle, order_id: int, perm_id: int) -> str:
    return middle.topic_of("orderBound", permId=perm_id, clientId=0, orderId=order_id)


def test_each_connection_binds_orders_made_by_hand_from_then_on_and_those_from_before() -> None:
    middle = Middle(client_id=0, bind_manual=True, reconciles=True)
    for _ in range(2):
        assert BIND in (first := sent(middle))
        assert [name for name, _ in first if name.endswith("OpenOrders")] == ["reqAutoOpenOrders", "reqOpenOrders"]
        middle.hear("openOrderEnd")
        assert [name for name, _ in sent(middle)] == ["reqAllOpenOrders"]
        middle.reconnect()


def test_nothing_is_bound_unless_the_configuration_says_so() -> None:
    middle = Middle(client_id=0, reconciles=True)
    assert [name for name, _ in sent(middle)] == ["reqAllOpenOrders"]


def test_a_bound_order_is_published_as_nobodys_and_cancelled_by_its_perm_id() -> None:
    middle = Middle(client_id=0, bind_manual=True)
    sent(middle)
    assert bound(middle, -2, 9) == "ord.ext.~9.orderBound."
    assert opened(middle, -2, 9) == "ord.ext.~9.openOrder."
    assert cancel(middle, 9)["result"] == {"permId": 9, "orderId": -2, "topic": "ord.ext.~9."}
    assert [(name, data["orderId"]) for name, data in sent(middle)] == [("cancelOrder", -2)]
    assert middle.error(-2, 202, "Order Canceled - reason:").topic == "ord.ext.~9.error."


def test_an_error_with_the_id_minus_one_is_about_the_order_of_that_id_if_it_is_about_an_order() -> None:
    middle = Middle(client_id=0, bind_manual=True)
    assert middle.error(-1, 202, "Order Canceled - reason:").topic == "sys.tws.error."
    bound(middle, -1, 9)
    assert middle.error(-1, 202, "Order Canceled - reason:").topic == "ord.ext.~9.error."
    assert middle.error(-1, 2104, "Market data farm connection is OK:usfarm").topic == "sys.tws.error."


def test_an_order_that_is_not_bound_yet_can_be_cancelled_when_it_is() -> None:
    middle = Middle(client_id=0, bind_manual=True)
    opened(middle, 0, 9)
    error = cancel(middle, 9)["error"]
    assert (error["code"], error["outcome"], error["retry_after"]) == ("E_STATE", "not_sent", 1.0)
    assert "to client id 0 yet; reconcile asks for that" in error["message"]
    bound(middle, -1, 9)
    assert cancel(middle, 9)["ok"]


@pytest.mark.parametrize(
    ("client_id", "way"),
    [(0, "; set orders.bind_manual: true"), (1, "; run a daemon with tws.client_id: 0 and orders")],
)
def test_without_binding_the_refusal_says_what_to_set(client_id: int, way: str) -> None:
    middle = Middle(client_id=client_id)
    opened(middle, 0, 9)
    error = cancel(middle, 9)["error"]
    assert error["code"] == "E_ARG"
    assert way in error["message"]
    assert "or cancel it in TWS" in error["message"]


def test_an_order_that_another_program_has_bound_is_said_to_be_that_client_ids() -> None:
    middle = Middle(client_id=1)
    opened(middle, -1, 9)
    assert "client id 0 has placed the order" in cancel(middle, 9)["error"]["message"]


# -- a TWS that binds to positive numbers


def test_no_order_of_ours_takes_the_id_of_an_order_made_by_hand() -> None:
    middle = Middle(client_id=0, bind_manual=True)
    number = middle.place("k")
    middle.parts.dispatcher._connection.handlers["orderBound"]({"clientId": None, "orderId": number + 1}, 0)
    assert middle.place("l") == number + 2


def test_an_order_made_by_hand_is_not_ours_although_it_is_bound_to_an_order_id_of_ours() -> None:
    middle = Middle(client_id=0, bind_manual=True)
    number = middle.place("k")
    assert bound(middle, number, 9) == "ord.ext.~9.orderBound."
    assert opened(middle, number, 9) == "ord.ext.~9.openOrder."
    assert middle.error(number, 103, "Duplicate order id").topic == "ord.a.k.error."


def test_an_order_made_by_hand_that_is_bound_to_the_id_of_a_request_does_not_end_the_request() -> None:
    middle = Middle(client_id=0, bind_manual=True)
    number = middle.subscribe()
    bound(middle, number, 9)
    assert middle.error(number, 202, "Order Canceled - reason:").topic == "ord.ext.~9.error."
    assert middle.tick(number).topic.startswith("md.AAPL-")
    assert middle.error(number, 354, "not subscribed").topic.startswith("md.AAPL-")


def test_an_order_made_by_hand_is_no_answer_to_a_what_if_with_its_number() -> None:
    middle = Middle(client_id=0, bind_manual=True)
    contract = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
    order = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}
    middle.ask("whatIfOrder", contract=contract, order=order)
    number = middle.last_id()
    bound(middle, number, 9)
    assert opened(middle, number, 9) == "ord.ext.~9.openOrder."
