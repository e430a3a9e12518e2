"""Families of orders: what TWS keeps, what it is told to transmit, and of what a report is due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.orders.state_machine import OrderState
from tests.support.daemon_core import AAPL, LIMIT, Middle
from tests.support.order_lives import (
    STOP,
    TARGET,
    Command,
    Said,
    Stage,
    changed,
    failed,
    grouped,
    opened,
    placed,
    status,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibbridge.orders.order import Order

KEPT = {**LIMIT, "transmit": False}


def child(key: str, parent: str = "k", **order: Any) -> dict[str, Any]:
    return {"key": key, "contract": AAPL, "order": {**STOP, **order}, "parent": parent}


def transmits(stage: Stage, command: Command) -> list[bool]:
    """Execute a command. Return whether TWS is to transmit each order that it sends."""
    stage.command(command)
    return [each.data["order"].get("transmit", True) for each in stage.middle.link.take()]


def state(stage: Stage, *keys: str) -> list[str]:
    return [stage.shown(key).split()[0] for key in keys]


def report(stage: Stage, key: str) -> None:
    """Have TWS report an order, and a second pass."""
    stage.do(opened("PreSubmitted", key))
    stage.middle.pass_time(1.0)


def later(stage: Stage, seconds: int, opened: Iterable[Said] = ()) -> None:
    """Let time pass, and answer the daemon's questions with these open orders alone."""
    for _ in range(seconds):
        stage.middle.pass_time(1.0)
        stage.lists(opened=opened)


# -- one by one


def test_children_that_are_placed_one_by_one_are_transmitted_as_their_client_says() -> None:
    stage = Stage()
    assert transmits(stage, placed(KEPT)) == [False]
    assert transmits(stage, placed({**TARGET, "transmit": False}, "target", parent="k")) == [False]
    assert state(stage, "k", "target") == ["held", "held"]
    assert transmits(stage, placed(STOP, "stop", parent="k")) == [True]
    assert state(stage, "k", "target", "stop") == ["held", "held", "sent"], "nobody knows yet whether that arrives"
    report(stage, "stop")
    assert state(stage, "k", "target", "stop") == ["sent", "sent", "working"], "TWS has transmitted all"


def test_the_reports_of_what_tws_has_transmitted_are_due() -> None:
    stage = Stage()
    stage.do(placed(KEPT))
    stage.do(placed(STOP, "stop", parent="k"))
    report(stage, "stop")
    later(stage, 32)
    assert state(stage, "k", "stop") == ["unknown", "working"]
    later(stage, 30, opened=[opened("Submitted"), opened("PreSubmitted", "stop")])
    assert state(stage, "k", "stop") == ["working", "working"]


def test_what_tws_keeps_stays_held_if_the_child_that_was_to_transmit_it_is_lost() -> None:
    stage = Stage()
    stage.do(placed(KEPT))
    stage.do(placed(STOP, "stop", parent="k"))
    stage.middle.reconnect()
    later(stage, 60)
    assert state(stage, "k", "stop") == ["held", "done"]


def test_a_sibling_that_came_after_the_child_is_not_transmitted_with_it() -> None:
    stage = Stage()
    stage.do(placed(KEPT))
    stage.do(placed(STOP, "stop", parent="k"))
    stage.do(placed({**TARGET, "transmit": False}, "target", parent="k"))
    report(stage, "stop")
    assert state(stage, "k", "target", "stop") == ["sent", "held", "working"]


def test_a_family_that_tws_keeps_is_not_given_up_however_long_no_list_has_it() -> None:
    stage = Stage()
    stage.do(placed(KEPT))
    stage.do(placed({**STOP, "transmit": False}, "stop", parent="k"))
    for _ in range(2000):
        stage.middle.pass_time(1.0)
        stage.lists()
    assert state(stage, "k", "stop") == ["held", "held"]


def test_a_child_of_an_order_that_works_is_transmitted_and_takes_no_held_sibling_along() -> None:
    stage = Stage()
    stage.do(placed())
    stage.do(status("Submitted"))
    stage.do(placed({**TARGET, "transmit": False}, "target", parent="k"))
    stage.do(placed(STOP, "stop", parent="k"))
    assert state(stage, "k", "target", "stop") == ["working", "held", "sent"], "nobody knows what TWS does with it"
    stage.do(opened("PreSubmitted", "target"))
    assert state(stage, "target") == ["working"]


def test_orders_of_other_families_stay_held() -> None:
    stage = Stage()
    for key in ("k", "other"):
        stage.do(placed(KEPT, key))
    stage.do(placed({**STOP, "transmit": False}, "others", parent="other"))
    stage.do(placed(STOP, "stop", parent="k"))
    report(stage, "stop")
    assert state(stage, "k", "other", "others") == ["sent", "held", "held"]


def test_a_parent_may_be_named_by_its_order_id() -> None:
    stage = Stage()
    stage.do(placed(KEPT))
    stage.do(placed({**STOP, "parentId": stage.order_id("k")}, "stop"))
    report(stage, "stop")
    assert state(stage, "k", "stop") == ["sent", "working"]


def test_a_change_of_a_child_transmits_its_family_too() -> None:
    stage = Stage()
    stage.do(placed(KEPT))
    stage.do(placed({**STOP, "transmit": False}, "stop", parent="k"))
    assert transmits(stage, changed(1, "stop", auxPrice=139.0)) == [False]
    assert state(stage, "k", "stop") == ["held", "held"]
    assert transmits(stage, changed(2, "stop", transmit=True)) == [True]
    report(stage, "stop")
    assert state(stage, "k", "stop") == ["sent", "working"]


def test_a_grandchild_transmits_all_above_it() -> None:
    stage = Stage()
    stage.do(placed(KEPT))
    stage.do(placed({**STOP, "transmit": False}, "child", parent="k"))
    stage.do(placed(STOP, "grandchild", parent="child"))
    report(stage, "grandchild")
    assert state(stage, "k", "child", "grandchild") == ["sent", "sent", "working"]


# -- in groups


def test_a_group_of_children_of_a_parent_that_tws_keeps_is_transmitted_by_the_last() -> None:
    stage = Stage()
    stage.do(placed(KEPT))
    assert transmits(stage, grouped([child("target"), child("stop")])) == [False, True]
    assert state(stage, "k", "target", "stop") == ["held", "sent", "sent"]
    report(stage, "stop")
    assert state(stage, "k", "target", "stop") == ["sent", "sent", "working"]


def test_each_of_a_group_of_children_of_a_parent_that_works_is_transmitted() -> None:
    stage = Stage()
    stage.do(placed())
    stage.do(status("Submitted"))
    assert transmits(stage, grouped([child("target"), child("stop")])) == [True, True]


def test_children_of_a_parent_that_waits_and_will_be_kept_are_kept_too() -> None:
    middle = Middle(rate=4)
    for number in range(6):
        middle.place(f"x{number}", "b")
    middle.place("k", transmit=False)
    asked = {"id": 1, "client": "a", "cmd": "placeOrders", "args": {"orders": [child("target"), child("stop")]}}
    assert middle.call(asked)["ok"]
    middle.link.take()
    middle.link.go_on(30)
    sent = [each.data["order"] for each in middle.link.take()]
    assert [(each["orderRef"], each.get("transmit", True)) for each in sent if each["orderRef"][0] == "a"] == [
        ("a/k", False), ("a/target", False), ("a/stop", True)
    ]  # fmt: skip


@pytest.mark.parametrize("last", [True, False])
def test_a_group_whose_last_order_is_not_to_be_transmitted_is_held(last: bool) -> None:
    stage = Stage()
    orders = [{"key": "k", "contract": AAPL, "order": LIMIT}, child("target"), child("stop", transmit=last)]
    assert transmits(stage, grouped(orders)) == [False, False, last]
    expected = "sent" if last else "held"
    assert state(stage, "k", "target", "stop") == [expected] * 3
    if not last:
        for _ in range(60):
            stage.middle.pass_time(1.0)
            stage.lists()
        assert state(stage, "k", "target", "stop") == ["held"] * 3, "and no list says anything of it"
        assert transmits(stage, changed(1, "target", auxPrice=139.0)) == [False]
        assert transmits(stage, changed(1, "stop", transmit=True)) == [True]
        report(stage, "stop")
        assert state(stage, "k", "target", "stop") == ["sent", "sent", "working"]


def test_an_order_of_a_group_that_is_not_to_be_transmitted_is_held_and_the_others_are_not() -> None:
    stage = Stage()
    orders = [{"key": key, "contract": AAPL, "order": LIMIT if key != "two" else KEPT} for key in ("one", "two", "six")]
    assert transmits(stage, grouped(orders)) == [True, False, True]
    assert state(stage, "one", "two", "six") == ["sent", "held", "sent"]


def test_a_child_whose_parent_tws_has_lost_transmits_nothing() -> None:
    stage = Stage()
    stage.do(placed(KEPT))
    stage.do(placed(STOP, "stop", parent="k"))
    stage.do(failed(10006, "Missing parent order.", key="stop"))
    later(stage, 70)
    assert stage.shown() == "held"
    assert stage.shown("stop") == "done rejected !10006"


# -- changes of what TWS keeps


def held(stage: Stage) -> Order:
    stage.do(placed(KEPT))
    order = stage.middle.orders.keyed("a", "k")
    assert order is not None
    return order


def test_a_held_order_whose_transmission_could_not_be_recorded_is_still_held() -> None:
    stage = Stage()
    order = held(stage)
    store = stage.middle.parts.streams.journal._store
    commit, store.commit = store.commit, lambda records: False  # type: ignore[method-assign]
    asked = {"id": 1, "client": "a", "cmd": "modifyOrder", "args": {"key": "k", "rev": 1, "order": {"transmit": True}}}
    assert stage.middle.call(asked)["error"]["code"] == "E_STORE"
    store.commit = commit  # type: ignore[method-assign]
    assert (order.state, order.kept, order.has_followup) == (OrderState.HELD, True, False)
    assert stage.middle.link.take() == []
    for _ in range(60):
        stage.middle.pass_time(1.0)
        stage.lists()
    stage.hear(failed(399, "warning"))
    for _ in range(60):
        stage.middle.pass_time(1.0)
        stage.lists()
    assert not order.ended, "TWS lists nothing that it keeps"


def test_a_change_of_a_held_order_that_was_transmitted_meanwhile_does_not_leave() -> None:
    middle = Middle(rate=4)
    middle.place("k", transmit=False)
    for number in range(6):
        middle.place(f"x{number}", "b")
    middle.link.take()
    asked = {"id": 1, "client": "a", "cmd": "modifyOrder", "args": {"key": "k", "rev": 1, "order": {"lmtPrice": 1.0}}}
    assert middle.call(asked)["ok"]
    order = middle.orders.keyed("a", "k")
    assert order is not None
    middle.hear("orderStatus", orderId=order.order_id, clientId=1, permId=7, status="Submitted")
    middle.link.go_on(30)
    assert not [each for each in middle.link.take() if each.data["order"]["orderRef"] == "a/k"]
    assert order.error is not None
    assert "was not sent: the order is working meanwhile" in order.error["text"]
