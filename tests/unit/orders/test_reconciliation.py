"""The comparison with TWS: what follows from the absence of an order, and when."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.orders.state_machine import OrderState, Reason
from tests.support.daemon_core import AAPL, CLIENT_ID, LIMIT, Middle


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
                case "reqPositions":
                    middle.hear("positionEnd")
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
    assert answered(middle) == ["reqAllOpenOrders", "reqExecutions", "reqCompletedOrders", "reqPositions"]
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


def test_a_comparison_that_an_outage_of_ib_interrupts_begins_again_when_ib_is_back() -> None:
    middle, _ = working()
    middle.reconnect()
    assert [each.name for each in middle.link.take()] == ["reqAllOpenOrders"], "TWS never answers it"
    middle.session.upstream_since += 1.0
    middle.pass_time(1.0)
    assert answered(middle)[:3] == ["reqAllOpenOrders", "reqExecutions", "reqCompletedOrders"]
    middle.pass_time(1.0)
    reconciled = [each.data["complete"] for each in middle.published if each.topic == "sys.bridge.reconciled."]
    assert reconciled[-1] is True


def test_an_execution_shows_that_tws_has_an_order_after_all() -> None:
    middle, number = working()
    middle.reconnect()
    answered(middle)
    pass_time(middle, 60)
    assert state(middle) == ("done", "not_at_tws")
    execution = {"execId": "E.01", "orderId": number, "clientId": CLIENT_ID, "permId": 100 + number, "cumQty": 5.0}
    middle.hear("execDetails", reqId=-1, execution=execution)
    assert state(middle) == ("working", None)


def reconciled(middle: Middle) -> list[dict[str, Any]]:
    return [each.data for each in middle.published if each.topic == "sys.bridge.reconciled."]


def test_positions_that_do_not_come_keep_no_order_waiting() -> None:
    middle = Middle(reconciles=True)
    middle.hear("openOrderEnd")
    middle.hear("execDetailsEnd", reqId=middle.link.sent[-1].data["reqId"])
    middle.hear("completedOrdersEnd")
    assert not middle.parts.orders.reconciliation._reconciliation.is_running
    for _ in range(11):
        middle.pass_time(1.0)
    assert [(each["complete"], each["positions"]) for each in reconciled(middle)] == [(True, False)]


def test_another_reconciliation_does_not_wait_for_positions() -> None:
    middle = Middle(reconciles=True)
    middle.hear("openOrderEnd")
    middle.hear("execDetailsEnd", reqId=middle.link.sent[-1].data["reqId"])
    middle.hear("completedOrdersEnd")
    middle.parts.orders.reconciliation.request()
    middle.pass_time(1.0)
    middle.pass_time(1.0)
    assert middle.link.sent[-1].name == "reqAllOpenOrders"
    answered(middle)
    middle.pass_time(1.0)
    middle.pass_time(1.0)
    assert [(each["complete"], each["positions"]) for each in reconciled(middle)] == [(True, False), (True, True)]


def test_the_daemon_stays_subscribed_to_positions_and_asks_again_itself() -> None:
    middle = Middle(reconciles=True)
    assert answered(middle)[-1] == "reqPositions"
    middle.ask("reqPositions", "a", 1)
    middle.ask("cancelPositions")
    assert [each.name for each in middle.link.take()] == ["reqPositions"], "the daemon still wants them"
    middle.reconnect()
    middle.pass_time(1.0)
    assert [each.name for each in middle.link.take()] == ["reqAllOpenOrders"], "positions come last"


def about_order(middle: Middle) -> list[tuple[str, Any, Any]]:
    """The messages of TWS about the order, with their flags."""
    return [
        (each.body["type"], each.body.get("flags"), each.data.get("status") or each.data["orderState"]["status"])
        for each in middle.published
        if each.topic.startswith("ord.a.k.") and each.body["type"] != "orderState"
    ]


def compare(middle: Middle, number: int, *messages: tuple[str, str]) -> None:
    """Reconcile, with these statuses of the order in TWS's list of open orders."""
    middle.parts.orders.reconciliation.request()
    middle.pass_time(1.0)
    middle.link.take()
    for name, status in messages:
        hear_status(middle, number, name, status)
    middle.hear("openOrderEnd")


def hear_status(middle: Middle, number: int, name: str, status: str) -> None:
    ids: dict[str, Any] = {"clientId": CLIENT_ID, "permId": 9}
    if name == "orderStatus":
        middle.hear(name, orderId=number, status=status, **ids)
    else:
        middle.hear(name, orderId=number, order=ids, orderState={"status": status})


def traded() -> tuple[Middle, int]:
    middle = Middle(reconciles=True)
    answered(middle)
    number = middle.place("k")
    for name in ("openOrder", "orderStatus"):
        hear_status(middle, number, name, "Submitted")
    middle.pass_time(1.0)
    return middle, number


def test_a_comparison_publishes_only_differences_flagged_synthetic() -> None:
    middle, number = traded()
    compare(middle, number, ("openOrder", "Submitted"), ("orderStatus", "PreSubmitted"))
    assert about_order(middle) == [
        ("openOrder", None, "Submitted"),
        ("orderStatus", None, "Submitted"),
        ("orderStatus", ["synthetic"], "PreSubmitted"),
    ]
    shown = {each.body["type"]: each.body.get("flags") for each in middle.state("ord.a.k.")["ord.a."]}
    assert shown == {"openOrder": None, "orderStatus": ["synthetic"], "orderState": None}


def test_state_that_a_comparison_has_published_can_become_stale() -> None:
    middle, number = traded()
    compare(middle, number, ("orderStatus", "PreSubmitted"))
    middle.reconnect()
    shown = {each.body["type"]: each.body.get("flags") for each in middle.state("ord.a.k.")["ord.a."]}
    assert shown == {"openOrder": ["stale"], "orderStatus": ["synthetic", "stale"], "orderState": ["stale"]}


def test_a_list_that_a_client_has_asked_for_is_published_whole() -> None:
    middle, number = traded()
    middle.ask("reqOpenOrders")
    compare(middle, number, ("openOrder", "Submitted"), ("orderStatus", "Submitted"))
    assert about_order(middle)[2:] == [("openOrder", None, "Submitted"), ("orderStatus", None, "Submitted")]


def test_outside_of_a_comparison_repeats_of_tws_are_published() -> None:
    middle, number = traded()
    compare(middle, number)
    answered(middle)
    hear_status(middle, number, "orderStatus", "Submitted")
    assert about_order(middle)[2:] == [("orderStatus", None, "Submitted")]


def test_what_was_stale_is_confirmed_by_a_comparison() -> None:
    middle, number = traded()
    middle.reconnect()
    middle.pass_time(1.0)
    hear_status(middle, number, "orderStatus", "Submitted")
    assert about_order(middle)[2:] == [("orderStatus", ["synthetic"], "Submitted")]


def test_a_what_if_beside_a_comparison_is_answered() -> None:
    middle, _ = traded()
    middle.ask("whatIfOrder", "a", 7, contract=AAPL, order=LIMIT)
    number = middle.last_id()
    middle.parts.orders.reconciliation.request()
    middle.pass_time(1.0)
    heard = middle.hear("openOrder", orderId=number, order={"clientId": CLIENT_ID}, orderState={"initMarginAfter": "1"})
    assert heard is not None
    assert (heard.topic, heard.body.get("flags")) == ("req.a.7.openOrder.", None)


@pytest.mark.parametrize("code", [1101, 1102])
def test_an_outage_during_a_reconciliation_has_another_follow_at_once(code: int) -> None:
    """TWS may drop the request that was under way, and does not repeat what has happened meanwhile."""
    middle, number = working()
    middle.reconnect()
    assert [each.name for each in middle.link.take() if each.name.startswith("req")] == ["reqAllOpenOrders"]
    for each in (1100, code):
        middle.session.apply_notice(each, "", middle.clock.now)
        middle.pass_time(1.0)
    for _ in range(31):  # the request is given up
        middle.pass_time(1.0)
    assert answered(middle, listed=(number,))[0] == "reqAllOpenOrders"


def test_a_reconciliation_that_is_requested_during_another_follows_it() -> None:
    middle, number = working()
    middle.reconnect()
    middle.parts.orders.reconciliation.request()
    middle.pass_time(1.0)
    assert len(answered(middle, listed=(number,))) == 4
    middle.pass_time(1.0)
    assert len(answered(middle, listed=(number,))) == 4
    pass_time(middle, 60)
    assert [each for each in middle.link.take() if each.name.startswith("req")] == []


def group() -> Middle:
    """Return a daemon after the loss of a connection on which a group left whose last order transmits it."""
    middle = Middle(reconciles=True)
    answered(middle)
    orders = [{"key": "k", "contract": AAPL, "order": {**LIMIT}}]
    orders += [{"key": each, "contract": AAPL, "order": {**LIMIT}, "parent": "k"} for each in ("target", "stop")]
    assert middle.call({"id": 1, "client": "a", "cmd": "placeOrders", "args": {"orders": orders}})["ok"]
    middle.reconnect()
    return middle


def test_orders_that_wait_for_the_last_of_their_group_are_not_over_because_no_list_has_them() -> None:
    """TWS has them, if only the last one was lost, and would transmit them by hand."""
    middle = group()
    *kept, last = middle.orders.open_orders()
    for _ in range(60):
        if last.ended:
            break
        middle.pass_time(1.0)
        answered(middle)
    assert (last.state, last.reason) == (OrderState.DONE, Reason.NOT_AT_TWS)
    assert {each.state for each in kept} == {OrderState.UNKNOWN}
    middle.pass_time(1.0)
    cancelled = [each.data["orderId"] for each in middle.link.take() if each.name == "cancelOrder"]
    assert cancelled == [each.order_id for each in kept]
    middle.error(cancelled[0], 10147, "OrderId that needs to be cancelled is not found.")
    middle.hear("orderStatus", orderId=cancelled[1], clientId=CLIENT_ID, permId=0, status="ApiCancelled")
    assert [each.state for each in kept] == [OrderState.UNKNOWN, OrderState.DONE]
    pass_time(middle, 150)
    assert [each.reason for each in kept] == [Reason.NOT_AT_TWS, Reason.CANCELLED]


def test_the_cancel_of_a_group_that_is_lost_too_is_repeated_and_an_order_that_is_over_is_looked_up() -> None:
    middle = group()
    *kept, last = middle.orders.open_orders()
    while not last.ended:
        pass_time(middle, 1)
    middle.pass_time(1.0)
    assert [each.state for each in kept] == [OrderState.CANCELLING] * 2
    middle.reconnect()
    middle.link.take()
    middle.pass_time(1.0)
    assert [each.data["orderId"] for each in middle.link.take() if each.name == "cancelOrder"] == [
        each.order_id for each in kept
    ]
    for each in kept:
        middle.error(
            each.order_id, 10148, "OrderId that needs to be cancelled can not be cancelled, state: ApiCancelled."
        )
    assert [each.state for each in kept] == [OrderState.UNKNOWN] * 2
    pass_time(middle, 120)
    assert [each.reason for each in kept] == [Reason.NOT_AT_TWS] * 2
    assert not [each for each in middle.link.take() if each.name == "cancelOrder"]


def test_messages_of_a_tws_that_never_lists_its_orders_are_published_as_they_come() -> None:
    middle = Middle(reconciles=True)
    number = middle.place("k")
    for _ in range(2):
        for _ in range(3):
            hear_status(middle, number, "orderStatus", "Submitted")
        middle.reconnect()
    assert about_order(middle) == [("orderStatus", None, "Submitted")] * 6
