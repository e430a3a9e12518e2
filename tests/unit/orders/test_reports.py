"""Reports of TWS about an order: what they change, and that no value in them can break the daemon."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.orders.order import Order
from ibbridge.orders.order_states import shown
from ibbridge.orders.reports import take_report
from ibbridge.orders.state_machine import OrderState, Reason
from tests.support.daemon_core import CLIENT_ID, Middle

ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.floats(), st.integers(), st.sampled_from(["", "5", "x", 2**200, -(2**64), float("nan")])
)


def sent() -> Order:
    args = {"contract": {}, "order": {"totalQuantity": 100, "lmtPrice": 1.0}}
    return Order("me", "k", 1, args, state=OrderState.SENT)


@given(ODD, ODD, ODD, st.sampled_from(["orderStatus", "openOrder", "completedOrder", "execDetails"]))
def test_whatever_quantities_are_reported_can_be_published(one: Any, two: Any, three: Any, name: str) -> None:
    order = sent()
    order.pending = {**order.args, "order": {"totalQuantity": 50, "lmtPrice": 2.0}}
    for filled in (one, two):
        take_report(order, "orderStatus", {"filled": filled, "remaining": two, "avgFillPrice": three})
        take_report(
            order, name,
            {
                "filled": filled, "execution": {"cumQty": two, "avgPrice": three},
                "order": {"filledQuantity": filled, "totalQuantity": two, "lmtPrice": three}, "orderState": None,
            },
        )  # fmt: skip
    assert msgpack.packb(shown(order))


def test_executions_count_up_and_what_is_left_goes_down() -> None:
    order = sent()
    take_report(order, "orderStatus", {"filled": 10.0, "remaining": 90.0, "avgFillPrice": 1.0})
    take_report(order, "execDetails", {"execution": {"cumQty": 30.0, "avgPrice": 1.5}})
    assert (order.filled, order.remaining, order.average, order.state) == (30.0, 70.0, 1.5, OrderState.WORKING)
    take_report(order, "execDetails", {"execution": {"cumQty": 20.0, "avgPrice": 1.2}})
    assert (order.filled, order.remaining) == (30.0, 70.0), "an older one that comes late"


@pytest.mark.parametrize(
    ("completed", "status", "reason"),
    [
        ("Expired at the end of the day", "", Reason.EXPIRED),
        ("Rejected: no", "", Reason.REJECTED),
        ("", "Inactive", Reason.REJECTED),
        ("Filled Size: 100", "", Reason.FILLED),
    ],
)
def test_a_completed_order_says_why_it_is_over(completed: str, status: str, reason: Reason | None) -> None:
    order = sent()
    take_report(order, "completedOrder", {"orderState": {"completedStatus": completed, "status": status}})
    assert order.reason is reason


@pytest.mark.parametrize(("code", "state"), [(999, "unknown"), (399, "acked"), (201, "done"), (10147, "unknown")])
def test_an_error_that_says_nothing_of_an_order_is_no_acknowledgement_and_has_it_looked_up(
    code: int, state: str
) -> None:
    middle = Middle()
    middle.error(middle.place("k"), code)
    found = [each.data["state"] for each in middle.published if each.topic == "ord.a.k.orderState."]
    assert found[-1] == state


def test_a_cancel_that_comes_too_late_does_not_hide_why_an_order_was_refused() -> None:
    middle = Middle()
    number = middle.place("k")
    middle.error(number, 200, "No security definition has been found")
    middle.error(number, 10147, "OrderId that needs to be cancelled is not found.")
    order = middle.orders.keyed("a", "k")
    assert order is not None
    assert (order.state, order.reason) == (OrderState.DONE, Reason.REJECTED)
    assert shown(order)["lastError"]["code"] == 200


def test_a_perm_id_without_room_in_64_bits_is_no_perm_id() -> None:
    middle = Middle()
    number = middle.place("k")
    middle.orders.whose(client_id=CLIENT_ID, order_id=number, perm_id=2**70)
    order = middle.orders.keyed("a", "k")
    assert order is not None
    assert order.perm_ids == ()
    assert middle.parts.streams.journal.commit()


# -- who has ended an order


def cause(middle: Middle, client: str = "a") -> tuple[str | None, str | None]:
    shown = [each.data for each in middle.published if each.topic == f"ord.{client}.k.orderState."][-1]
    return shown["reason"], shown["cause"]


def working_order(**order: Any) -> tuple[Middle, int]:
    middle = Middle(allowed=("reqGlobalCancel",))
    number = middle.place("k", **order)
    middle.hear("orderStatus", orderId=number, clientId=CLIENT_ID, permId=9, status="Submitted")
    return middle, number


def cancelled(middle: Middle, number: int) -> None:
    middle.hear("orderStatus", orderId=number, clientId=CLIENT_ID, permId=9, status="Cancelled")


def completed(middle: Middle, why: str) -> None:
    state = {"status": "Cancelled", "completedStatus": why}
    middle.hear("completedOrder", order={"permId": 9, "orderRef": "a/k"}, orderState=state)


@pytest.mark.parametrize(("client", "expected"), [("a", "own"), ("b", "other_client")])
def test_a_cancel_of_all_orders_is_the_owners_own_or_another_clients(client: str, expected: str) -> None:
    middle, number = working_order()
    middle.ask("reqGlobalCancel", client)
    cancelled(middle, number)
    completed(middle, "Cancelled by Trader")
    assert cause(middle) == ("cancelled", expected)


def test_the_first_who_cancels_is_the_cause() -> None:
    middle, number = working_order()
    middle.ask("cancelOrder", "a", key="k")
    middle.ask("reqGlobalCancel", "b")
    cancelled(middle, number)
    assert cause(middle) == ("cancelled", "own")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Order Canceled - reason:", None),
        ("Order Canceled", None),
        ("Order Canceled - reason:Your order is too large", "broker"),
    ],
)
def test_ib_says_why_it_cancels(text: str, expected: str | None) -> None:
    middle, number = working_order()
    middle.error(number, 202, text)
    assert cause(middle) == ("cancelled", expected)


def test_ib_refuses() -> None:
    middle, number = working_order()
    middle.error(number, 201, "Order rejected - reason:no")
    assert cause(middle) == ("rejected", "broker")


def test_a_refusal_of_tws_has_no_cause() -> None:
    middle = Middle()
    middle.error(middle.place("k"), 321, "Error validating request")
    assert cause(middle) == ("rejected", None)


@pytest.mark.parametrize(
    ("why", "expected"), [("Cancelled by Trader", "by_hand"), ("Cancelled by System:\n", "broker"), ("Cancelled", None)]
)
def test_completed_orders_say_who_has_cancelled_them(why: str, expected: str | None) -> None:
    middle, number = working_order()
    cancelled(middle, number)
    assert cause(middle) == ("cancelled", None)
    completed(middle, why)
    assert cause(middle) == ("cancelled", expected)


@pytest.mark.parametrize("more", [{"ocaGroup": "g"}, {"parentId": 3}])
def test_who_has_cancelled_a_member_of_a_family_is_not_guessed(more: dict[str, Any]) -> None:
    middle, number = working_order(**more)
    cancelled(middle, number)
    completed(middle, "Cancelled by Trader")
    assert cause(middle) == ("cancelled", None)
