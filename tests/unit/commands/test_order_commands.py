"""The commands about several orders: the list of a client's orders, cancels of several, and a reconciliation."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.commands import order_commands
from tests.support.daemon_core import CLIENT_ID, FIRST_ID, Middle


def call(middle: Middle, cmd: str, client: str = "a", **args: Any) -> dict[str, Any]:
    middle.clock.us += 1
    return middle.call({"id": middle.clock.us, "client": client, "cmd": cmd, "args": args})


def listed(middle: Middle, client: str = "a", **args: Any) -> list[tuple[str, str]]:
    found, after = [], ""
    while True:
        result = call(middle, "orders", client, **args, **({"after": after} if after else {}))["result"]
        found += [(each["key"], each["state"]) for each in result["orders"]]
        if result["next"] is None:
            return sorted(found)
        after = result["next"]


def test_a_client_sees_its_own_orders_with_what_is_known_of_each() -> None:
    middle = Middle()
    for client, key in (("a", "k1"), ("a", "k2"), ("ab", "k3"), ("b", "k4")):
        middle.place(key, client)
    middle.hear("orderStatus", orderId=FIRST_ID, clientId=CLIENT_ID, permId=7, status="Filled", filled=100.0)
    assert listed(middle) == [("k1", "done"), ("k2", "sent")]
    assert listed(middle, "b") == [("k4", "sent")]
    assert listed(middle, "nobody") == []
    assert listed(middle, state="done") == [("k1", "done")]
    assert listed(middle, since=middle.clock.us + 1) == []
    (order,) = call(middle, "orders", state="done")["result"]["orders"]
    assert (order["reason"], order["filled"], order["permId"], order["orderId"]) == ("filled", 100.0, 7, FIRST_ID)


def test_many_orders_come_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_commands, "LISTED", 7)
    middle = Middle()
    for number in range(30):
        middle.place(f"key {number}")
    assert [key for key, _ in listed(middle)] == sorted(f"key {number}" for number in range(30))


@pytest.mark.parametrize(
    ("cmd", "args"),
    [
        ("orders", {"state": "open"}), ("orders", {"since": "now"}), ("orders", {"keys": []}),
        ("cancelOrders", {}), ("cancelOrders", {"all": False}), ("cancelOrders", {"keys": ["k"], "all": True}),
        ("cancelOrders", {"keys": [1]}), ("cancelOrders", {"keys": "k"}), ("reconcile", {"now": True}),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(cmd: str, args: dict[str, Any]) -> None:
    error = call(Middle(), cmd, **args)["error"]
    assert (error["code"], error["outcome"]) == ("E_ARG", "refused")


def test_several_orders_are_cancelled_and_each_is_answered() -> None:
    middle = Middle()
    for key in ("k1", "k2", "k3"):
        middle.place(key)
    middle.place("k1", "b")
    middle.link.take()
    result = call(middle, "cancelOrders", keys=["k1", "no such", "k1"])["result"]["orders"]
    assert [(each["key"], each["ok"]) for each in result] == [("k1", True), ("no such", False)]
    assert result[1]["error"]["code"] == "E_ARG"
    assert [each.data["orderId"] for each in middle.link.take()] == [FIRST_ID]
    result = call(middle, "cancelOrders", all=True)["result"]["orders"]
    assert [(each["key"], each.get("dup", False)) for each in result] == [("k1", True), ("k2", False), ("k3", False)]
    assert [each.data["orderId"] for each in middle.link.take()] == [FIRST_ID + 1, FIRST_ID + 2]


def test_a_reconciliation_can_be_asked_for() -> None:
    middle = Middle(reconciles=True)
    middle.hear("openOrderEnd")
    middle.hear("execDetailsEnd", reqId=middle.link.sent[-1].data["reqId"])
    middle.hear("completedOrdersEnd")
    middle.pass_time(1.0)
    middle.link.take()
    assert call(middle, "reconcile")["ok"]
    middle.pass_time(1.0)
    assert [each.name for each in middle.link.take()] == ["reqAllOpenOrders"]
