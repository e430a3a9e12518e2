"""Changes of orders: revisions that rise, retries that are safe, and states in which nothing may be changed."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.orders.state_machine import OrderState
from tests.support.daemon_core import AAPL, CLIENT_ID, LIMIT, Middle, halt_all


def modify(middle: Middle, rev: int = 1, key: str = "k", client: str = "a", **order: Any) -> dict[str, Any]:
    middle.clock.us += 1
    args = {"key": key, "rev": rev, "order": order or {"lmtPrice": 151.0}}
    return middle.call({"id": middle.clock.us, "client": client, "cmd": "modifyOrder", "args": args})


def opened(middle: Middle, number: int, **order: Any) -> None:
    about = {"clientId": CLIENT_ID, "permId": 7, "orderRef": "a/k", **LIMIT, **order}
    middle.hear("openOrder", orderId=number, order=about, orderState={"status": "Submitted"})


def state(middle: Middle, key: str = "k") -> dict[str, Any]:
    data: dict[str, Any] = [each.data for each in middle.published if each.topic == f"ord.a.{key}.orderState."][-1]
    return data


@pytest.fixture
def middle() -> Middle:
    middle = Middle()
    opened(middle, middle.place("k"))
    middle.link.take()
    return middle


def test_a_change_is_the_whole_order_under_its_id_and_is_taken_when_tws_reports_it(middle: Middle) -> None:
    reply = modify(middle)
    assert reply["ok"], reply
    number = reply["result"]["orderId"]
    (sent,) = middle.link.take()
    assert (sent.name, sent.data["orderId"]) == ("placeOrder", number)
    assert (sent.data["order"]["lmtPrice"], sent.data["order"]["orderRef"]) == (151.0, "a/k")
    assert (state(middle)["state"], state(middle)["rev"]) == ("modifying", 1)
    opened(middle, number)
    assert state(middle)["state"] == "modifying", "that may have been said before"
    opened(middle, number, lmtPrice=151.0)
    assert (state(middle)["state"], state(middle)["rev"]) == ("working", 1)
    assert modify(middle, 2, totalQuantity=50)["ok"]
    assert middle.link.take()[0].data["order"]["lmtPrice"] == 151.0, "the changes before stay"


def test_the_same_change_again_is_the_same_and_a_lower_or_other_revision_is_refused(middle: Middle) -> None:
    first = modify(middle, 3)
    middle.link.take()
    again = modify(middle, 3)
    assert (again["ok"], again["dup"], again["result"]) == (True, True, first["result"])
    for rev, price in ((3, 152.0), (2, 151.0)):
        error = modify(middle, rev, lmtPrice=price)["error"]
        assert (error["code"], error["outcome"], error["rev"]) == ("E_ARG", "refused", 3)
    assert middle.link.take() == []


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (OrderState.QUEUED, "not_sent"), (OrderState.SENT, "not_sent"), (OrderState.MODIFYING, "not_sent"),
        (OrderState.CANCELLING, "not_sent"), (OrderState.UNKNOWN, "not_sent"), (OrderState.DONE, "refused"),
        (OrderState.HELD, ""), (OrderState.ACKED, ""), (OrderState.WORKING, ""),
    ],
)  # fmt: skip
def test_an_order_whose_state_is_not_known_is_not_changed(middle: Middle, given: OrderState, outcome: str) -> None:
    order = middle.orders.keyed("a", "k")
    assert order is not None
    order.state = given
    reply = modify(middle)
    assert reply["ok"] == (not outcome)
    if outcome:
        error = reply["error"]
        assert (error["code"], error["outcome"], error["state"]) == ("E_STATE", outcome, given.value)
        assert middle.link.take() == []


def test_a_refused_change_leaves_the_order_as_it_was(middle: Middle) -> None:
    number = modify(middle)["result"]["orderId"]
    heard = middle.error(number, 110, "The price does not conform to the minimum price variation.")
    assert heard.data["ends"] is not True
    assert (state(middle)["state"], state(middle)["lastError"]["code"]) == ("working", 110)
    middle.link.take()
    assert modify(middle, 2, totalQuantity=50)["ok"]
    assert middle.link.take()[0].data["order"]["lmtPrice"] == LIMIT["lmtPrice"]


def test_a_change_of_which_tws_says_nothing_leaves_the_order_unknown(middle: Middle) -> None:
    modify(middle)
    for _ in range(29):
        middle.pass_time(1)
    assert state(middle)["state"] == "modifying"
    middle.pass_time(2)
    assert state(middle)["state"] == "unknown"


def test_a_lost_connection_leaves_the_order_unknown_and_the_revision_known(middle: Middle) -> None:
    modify(middle)
    middle.reconnect()
    assert state(middle)["state"] == "unknown"
    again = modify(middle)
    assert (again["ok"], again["dup"]) == (True, True)


def test_changes_need_a_known_order_a_revision_and_attributes(middle: Middle) -> None:
    assert "has no order with the key 'other'" in modify(middle, key="other")["error"]["message"]
    assert modify(middle, client="b")["error"]["code"] == "E_ARG"
    assert "rev must be 1 or more" in modify(middle, 0)["error"]["message"]
    assert "action" in modify(middle, action="BYE")["error"]["message"]
    ask = {"client": "a", "cmd": "modifyOrder"}
    assert middle.call({**ask, "id": 1, "args": {"key": "k", "rev": 1, "order": {}}})["error"]["code"] == "E_ARG"
    assert middle.call({**ask, "id": 2, "args": {"key": "k", "order": {"lmtPrice": 1.0}}})["error"]["code"] == "E_ARG"
    twice = {**ask, "id": 3, "key": "j", "args": {"key": "k", "rev": 1, "order": {"lmtPrice": 1.0}}}
    assert "twice, and differently" in middle.call(twice)["error"]["message"]
    halt_all(middle)
    assert modify(middle)["error"]["code"] == "E_HALTED"
    assert middle.link.take() == []


def test_a_journal_that_cannot_be_written_lets_no_change_leave(middle: Middle) -> None:
    store = middle.parts.streams.journal._store
    commit, store.commit = store.commit, lambda records: False  # type: ignore[method-assign]
    error = modify(middle)["error"]
    assert (error["code"], error["outcome"]) == ("E_STORE", "not_sent")
    assert (state(middle)["state"], middle.link.take()) == ("working", [])
    store.commit = commit  # type: ignore[method-assign]
    assert modify(middle)["ok"]
    assert len(middle.link.take()) == 1


def test_a_change_that_waits_is_replaced_by_a_later_one() -> None:
    middle = Middle(rate=4)
    opened(middle, middle.place("k"))
    for number in range(6):
        middle.place(f"x{number}")
    middle.link.take()
    assert modify(middle, 1)["ok"]
    assert modify(middle, 1)["dup"]
    assert modify(middle, 2, lmtPrice=155.0)["ok"]
    middle.link.go_on(30)
    changes = [each.data["order"]["lmtPrice"] for each in middle.link.take() if each.data["order"]["orderRef"] == "a/k"]
    assert changes == [155.0]


def test_an_order_that_ends_while_its_change_waits_is_not_changed() -> None:
    middle = Middle(rate=4)
    number = middle.place("k")
    opened(middle, number)
    for each in range(6):
        middle.place(f"x{each}")
    modify(middle)
    middle.hear("orderStatus", orderId=number, clientId=CLIENT_ID, permId=7, status="Filled")
    middle.link.take()
    middle.link.go_on(30)
    assert "a/k" not in [each.data["order"]["orderRef"] for each in middle.link.take()]
    assert "was not sent" in state(middle)["lastError"]["text"]


def test_of_a_placed_order_the_first_command_stays_the_same_after_a_change(middle: Middle) -> None:
    modify(middle)
    middle.link.take()
    again = middle.ask("placeOrder", key="k", contract=AAPL, order=LIMIT)
    assert again["dup"]
    assert middle.link.take() == []


# -- what other orders, lists and refusals do to a change


def test_the_change_of_a_bracket_is_transmitted() -> None:
    middle = Middle()
    orders = [
        {"key": "k", "contract": AAPL, "order": LIMIT},
        {"key": "stop", "contract": AAPL, "order": {**LIMIT, "action": "SELL"}, "parent": "k"},
    ]
    ids = [
        each["orderId"]
        for each in middle.call(
            {"id": 1, "client": "a", "cmd": "placeOrders", "args": {"orders": orders}}
        )["result"]["orders"]
    ]  # fmt: skip
    opened(middle, ids[0])
    middle.link.take()
    assert modify(middle)["ok"]
    assert middle.link.take()[0].data["order"].get("transmit", True)


def test_two_changes_that_wait_both_leave_and_no_lower_revision_takes_their_place() -> None:
    middle = Middle(rate=4)
    opened(middle, middle.place("k"))
    for number in range(6):
        middle.place(f"x{number}")
    middle.link.take()
    assert modify(middle, 5, lmtPrice=155.0)["ok"]
    assert modify(middle, 3, lmtPrice=153.0)["error"]["rev"] == 5
    assert modify(middle, 6, totalQuantity=50)["ok"]
    middle.link.go_on(30)
    (left,) = [each.data["order"] for each in middle.link.take() if each.data["order"]["orderRef"] == "a/k"]
    assert (left["lmtPrice"], left["totalQuantity"]) == (155.0, 50.0)


def test_a_value_that_tws_writes_otherwise_is_taken_and_the_next_change_has_it(middle: Middle) -> None:
    number = modify(middle, 1, tif="GTD", goodTillDate="20261231 15:00:00 US/Eastern")["result"]["orderId"]
    opened(middle, number, tif="GTD", goodTillDate="20261231 20:00:00 GMT")
    assert state(middle)["state"] == "working"
    middle.link.take()
    modify(middle, 2, totalQuantity=50)
    assert middle.link.take()[0].data["order"]["tif"] == "GTD"


def test_a_report_without_the_changed_attributes_says_nothing(middle: Middle) -> None:
    number = modify(middle, 1, outsideRth=True, minQty=10)["result"]["orderId"]
    opened(middle, number)
    assert state(middle)["state"] == "modifying"
    middle.error(number, 110, "no")
    middle.link.take()
    modify(middle, 2, totalQuantity=50)
    assert not middle.link.take()[0].data["order"].get("outsideRth")


def test_what_a_library_sends_back_is_no_change(middle: Middle) -> None:
    whole: dict[str, Any] = {**LIMIT, "clientId": 0, "orderId": 0, "permId": 0, "orderRef": "", "lmtPrice": 140.0}
    number = modify(middle, 1, **whole)["result"]["orderId"]
    opened(middle, number, lmtPrice=140.0)
    assert state(middle)["state"] == "working"


@pytest.mark.parametrize(("code", "after"), [(2102, "working"), (110, "working"), (201, "unknown")])
def test_a_change_may_be_refused_in_many_ways(middle: Middle, code: int, after: str) -> None:
    middle.error(modify(middle)["result"]["orderId"], code, "no")
    assert state(middle)["state"] == after


def test_a_change_is_no_question_for_margins(middle: Middle) -> None:
    assert "whatIf" in modify(middle, 1, whatIf=True)["error"]["message"]
    assert middle.link.take() == []


def test_after_a_change_of_which_nothing_is_known_no_other_leaves(middle: Middle) -> None:
    modify(middle)
    middle.reconnect()
    middle.hear("orderStatus", orderId=1, clientId=CLIENT_ID, permId=7, status="Submitted")
    assert modify(middle, 2, totalQuantity=50)["error"]["code"] == "E_STATE"


def test_an_order_that_tws_keeps_back_can_be_changed_and_transmitted() -> None:
    middle = Middle()
    middle.place("k", transmit=False)
    middle.link.take()
    assert modify(middle)["ok"]
    assert state(middle)["state"] == "held"
    assert modify(middle, 2, transmit=True)["ok"]
    assert state(middle)["state"] == "sent"
    assert [each.data["order"].get("transmit", True) for each in middle.link.take()] == [False, True]


def test_a_refused_change_of_an_order_that_tws_keeps_back_does_not_end_it() -> None:
    """TWS goes on keeping the order as it was, and reports nothing of it."""
    middle = Middle()
    number = middle.place("k", transmit=False)
    modify(middle)
    middle.error(number, 110, "The price does not conform to the minimum price variation.")
    assert state(middle)["state"] == "held"


def test_an_order_that_tws_was_to_transmit_and_has_refused_may_still_be_kept_there() -> None:
    middle = Middle(reconciles=True)
    number = middle.place("k", transmit=False)
    modify(middle, transmit=True)
    middle.error(number, 110, "The price does not conform to the minimum price variation.")
    assert state(middle)["state"] == "unknown"
    assert middle.orders.open_orders()[0].may_be_kept
