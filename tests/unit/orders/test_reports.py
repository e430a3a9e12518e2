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


def test_a_perm_id_without_room_in_64_bits_is_no_perm_id() -> None:
    middle = Middle()
    number = middle.place("k")
    middle.orders.whose(client_id=CLIENT_ID, order_id=number, perm_id=2**70)
    order = middle.orders.keyed("a", "k")
    assert order is not None
    assert order.perm_ids == ()
    assert middle.parts.streams.journal.commit()
