"""The comparison with TWS: what follows from the absence of an order, and when."""

from __future__ import annotations

import pytest

from tests.support.daemon_core import CLIENT_ID, Middle


def answered(middle: Middle, *, listed: tuple[int, ...] = ()) -> list[str]:
    """Answer the daemon's questions about orders; return them."""
    asked = []
    for _ in range(10):
        sent = [each for each in middle.link.take() if each.name.startswith("req")]
        for each in sent:
            asked.append(each.name)
            match each.name:
                case "reqAllOpenOrders":
                    for number in listed:
                        order = {"clientId": CLIENT_ID, "permId": 100 + number, "orderRef": "a/k"}
                        middle.hear("openOrder", orderId=number, order=order, orderState={"status": "Submitted"})
                    middle.hear("openOrderEnd")
                case "reqExecutions":
                    middle.hear("execDetailsEnd", reqId=each.data["reqId"])
                case "reqCompletedOrders":
                    middle.hear("completedOrdersEnd")
        if not sent:
            break
    return asked


def state(middle: Middle) -> tuple[str, str | None]:
    data = [each.data for each in middle.published if each.topic == "ord.a.k.orderState."][-1]
    return data["state"], data["reason"]


def working() -> tuple[Middle, int]:
    middle = Middle(reconciles=True)
    answered(middle)
    number = middle.place("k")
    middle.hear("orderStatus", orderId=number, clientId=CLIENT_ID, permId=100 + number, status="Submitted")
    for _ in range(60):
        middle.pass_time(1.0)
    answered(middle, listed=(number,))
    return middle, number


def pass_time(middle: Middle, seconds: int) -> None:
    for _ in range(seconds):
        middle.pass_time(1.0)
        answered(middle)


def test_an_order_that_is_missing_twice_and_long_enough_is_not_at_tws() -> None:
    middle, _ = working()
    middle.reconnect()
    assert answered(middle) == ["reqAllOpenOrders", "reqExecutions", "reqCompletedOrders"]
    pass_time(middle, 8)
    assert state(middle) == ("working", None)
    pass_time(middle, 40)
    assert state(middle) == ("done", "not_at_tws")
    reconciled = [each.data for each in middle.published if each.topic == "sys.bridge.reconciled."]
    assert ["a/k"] in [each["not_at_tws"] for each in reconciled]


@pytest.mark.parametrize("again", ["reconnect", "command", "1102"])
def test_two_absences_shortly_after_each_other_are_one(again: str) -> None:
    middle, _ = working()
    middle.reconnect()
    answered(middle)
    for _ in range(5):
        if again == "reconnect":
            middle.reconnect()
        elif again == "command":
            middle.parts.orders.reconciliation.request()
        else:
            middle.session.upstream_since += 1.0
        pass_time(middle, 1)
    assert state(middle) == ("working", None)


def test_lists_during_an_outage_of_ib_say_nothing() -> None:
    middle, _ = working()
    middle.reconnect()
    middle.session.upstream_since += 1.0  # 1100 comes while TWS answers
    answered(middle)
    assert [order.absences for order in middle.orders.open_orders()] == [0]


def test_an_execution_shows_that_tws_has_an_order_after_all() -> None:
    middle, number = working()
    middle.reconnect()
    answered(middle)
    pass_time(middle, 60)
    assert state(middle) == ("done", "not_at_tws")
    execution = {"execId": "E.01", "orderId": number, "clientId": CLIENT_ID, "permId": 100 + number, "cumQty": 5.0}
    middle.hear("execDetails", reqId=-1, execution=execution)
    assert state(middle) == ("working", None)
