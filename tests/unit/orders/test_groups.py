"""Groups of orders: all leave in one write or none does, and a member that TWS refuses takes the others with it."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.orders.groups import MOST
from tests.support.daemon_core import AAPL, CLIENT_ID, FIRST_ID, LIMIT, Middle

STOP = {**LIMIT, "action": "SELL", "orderType": "STP", "auxPrice": 140.0}
TARGET = {**LIMIT, "action": "SELL", "lmtPrice": 160.0}


def bracket(**entry: Any) -> list[dict[str, Any]]:
    return [
        {"key": "entry", "contract": AAPL, "order": {**LIMIT, **entry}},
        {"key": "target", "contract": AAPL, "order": TARGET, "parent": "entry"},
        {"key": "stop", "contract": AAPL, "order": STOP, "parent": "entry"},
    ]


def place(middle: Middle, orders: list[Any], client: str = "a", **args: Any) -> dict[str, Any]:
    middle.clock.us += 1
    return middle.call(
        {"id": middle.clock.us, "client": client, "cmd": "placeOrders", "args": {"orders": orders, **args}}
    )


def states(middle: Middle, key: str, client: str = "a") -> list[tuple[str, str | None]]:
    topic = f"ord.{client}.{key}.orderState."
    return [(each.data["state"], each.data["reason"]) for each in middle.published if each.topic == topic]


def sent(middle: Middle) -> list[dict[str, Any]]:
    return [each.data for each in middle.link.take() if each.name == "placeOrder"]


def test_a_bracket_leaves_in_one_write_with_rising_ids_and_its_last_order_transmits_it() -> None:
    middle = Middle()
    reply = place(middle, bracket())
    assert reply["ok"], reply
    assert [(each["key"], each["orderId"]) for each in reply["result"]["orders"]] == [
        ("entry", FIRST_ID), ("target", FIRST_ID + 1), ("stop", FIRST_ID + 2),
    ]  # fmt: skip
    placed = sent(middle)
    assert [each["orderId"] for each in placed] == [FIRST_ID, FIRST_ID + 1, FIRST_ID + 2]
    assert [each["order"].get("parentId", 0) for each in placed] == [0, FIRST_ID, FIRST_ID]
    assert [each["order"].get("transmit", True) for each in placed] == [False, False, True]
    assert [states(middle, key)[-1][0] for key in ("entry", "target", "stop")] == ["sent", "sent", "sent"]
    assert middle.parts.tws.send_queue.metrics(middle.clock.now)["queued"] == 0


def test_orders_that_do_not_belong_together_are_each_transmitted() -> None:
    middle = Middle()
    oca = [{"key": f"k{n}", "contract": AAPL, "order": {**LIMIT, "ocaGroup": "g", "ocaType": 1}} for n in range(3)]
    assert place(middle, oca)["ok"]
    assert [each["order"].get("transmit", True) for each in sent(middle)] == [True, True, True]


def test_the_same_group_again_is_the_same_and_another_under_one_of_its_keys_is_refused() -> None:
    middle = Middle()
    first = place(middle, bracket())
    sent(middle)
    again = place(middle, bracket())
    assert (again["ok"], again["dup"]) == (True, True)
    assert again["result"]["orders"] == first["result"]["orders"]
    for other in (bracket(lmtPrice=1.0), bracket()[:2], [{"key": "stop", "contract": AAPL, "order": STOP}]):
        assert place(middle, other)["error"]["code"] == "E_KEY_REUSED"
    single = {"id": "x", "client": "a", "cmd": "placeOrder", "key": "entry", "args": {"contract": AAPL, "order": LIMIT}}
    assert middle.call(single)["error"]["code"] == "E_KEY_REUSED"
    assert sent(middle) == []


@pytest.mark.parametrize(
    ("orders", "fault"),
    [
        ([], "orders must have 1 to"),
        ([{"key": f"k{n}", "contract": AAPL, "order": LIMIT} for n in range(MOST + 1)], "orders must have 1 to"),
        ([*bracket()[:2], {"key": "stop", "contract": AAPL, "order": {**STOP, "orderType": "STPP"}}], "orders[2]: "),
        ([*bracket()[:2], {**bracket()[2], "key": "entry"}], "orders[2]: the key 'entry' is given twice"),
        ([bracket()[1], bracket()[0]], "orders[0]: its parent must stand before it"),
        ([bracket()[1]], "orders[0]: parent: a has no order with the key 'entry'"),
        (["entry"], "orders must be a list in which each is a map"),
        ([{**bracket()[0], "price": 1}], "orders[0]: 'price' is unknown"),
        ([{"contract": AAPL, "order": LIMIT}], "orders[0]: key is missing"),
    ],
)
def test_a_fault_in_one_refuses_all_before_a_byte_leaves(orders: list[Any], fault: str) -> None:
    middle = Middle()
    error = place(middle, orders)["error"]
    assert (error["code"], error["outcome"]) == ("E_ARG", "refused")
    assert fault in error["message"]
    assert sent(middle) == []
    assert place(middle, bracket())["ok"], "the keys are free"


def test_all_faults_are_told_at_once() -> None:
    orders = [{**each, "order": {**each["order"], "action": "BYE"}} for each in bracket()]
    error = place(Middle(), orders)["error"]
    assert [fault.partition(":")[0] for fault in error["faults"]] == ["orders[0]", "orders[1]", "orders[2]"]


def test_nobodys_message_comes_between_and_a_group_that_waits_leaves_whole() -> None:
    middle = Middle(rate=10)
    for number in range(6):
        middle.place(f"x{number}", "b")
    reply = place(middle, bracket())
    assert [each["orderId"] for each in reply["result"]["orders"]] == [None] * 3
    for number in range(6, 9):
        middle.place(f"x{number}", "b")
    middle.link.go_on(30)
    refs = [each["order"]["orderRef"] for each in sent(middle)]
    begins = refs.index("a/entry")
    assert refs[begins : begins + 3] == ["a/entry", "a/target", "a/stop"]
    assert begins < len(refs) - 3, "and the others do not wait for ever"


def test_a_group_counts_as_many_messages_as_it_has() -> None:
    middle = Middle(rate=9)
    middle.clock.pass_time(10)
    place(middle, bracket())
    before = len(middle.link.sent)
    middle.place("k", "b")
    middle.clock.pass_time(0.3)
    assert len(middle.link.sent) == before, "TWS counts three"
    middle.clock.pass_time(1)
    assert len(middle.link.sent) == before + 1


def test_cancelling_one_of_a_group_that_waits_withdraws_all_and_each_owner_is_told() -> None:
    middle = Middle(rate=5)
    for number in range(5):
        middle.place(f"x{number}", "b")
    place(middle, bracket())
    middle.ask("cancelOrder", key="stop")
    for key in ("entry", "target", "stop"):
        assert states(middle, key)[-1] == ("done", "not_sent")
    middle.link.go_on(30)
    assert not [each for each in sent(middle) if each["order"]["orderRef"].startswith("a/")]


@pytest.mark.parametrize(("policy", "cancels"), [("cancel", 2), ("keep", 0)])
def test_if_tws_refuses_one_the_others_are_cancelled_or_kept(policy: str, cancels: int) -> None:
    middle = Middle()
    place(middle, bracket(), on_partial=policy)
    middle.link.take()
    for number in (0, 1):
        middle.hear(
            "openOrder", orderId=FIRST_ID + number, orderState={"status": "PreSubmitted"},
            order={"clientId": CLIENT_ID, "permId": 7 + number, "orderRef": f"a/{('entry', 'target')[number]}"},
        )  # fmt: skip
    middle.error(FIRST_ID + 2, 110, "The price does not conform to the minimum price variation.")
    assert states(middle, "stop")[-1] == ("done", "rejected")
    left = [each for _ in range(3) for each in middle.pass_time(1.0)]
    assert [each.name for each in left] == ["cancelOrder"] * cancels
    if cancels:
        middle.hear("orderStatus", orderId=FIRST_ID, clientId=CLIENT_ID, permId=7, status="Cancelled")
        state = [each.data for each in middle.published if each.topic == "ord.a.entry.orderState."][-1]
        assert (state["reason"], state["cause"]) == ("cancelled", "group")


def test_a_journal_that_cannot_be_written_lets_nothing_leave() -> None:
    middle = Middle()
    middle.parts.streams.journal._store.commit = lambda records: False  # type: ignore[method-assign]
    error = place(middle, bracket())["error"]
    assert (error["code"], error["outcome"]) == ("E_STORE", "not_sent")
    assert sent(middle) == []
