"""Orders that no client here has placed: which they are, and which of them can be cancelled by permId."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemon_core import AAPL, CLIENT_ID, FIRST_ID, Middle


def cancel(middle: Middle, **args: Any) -> dict[str, Any]:
    middle.clock.us += 1
    return middle.call({"id": middle.clock.us, "client": "a", "cmd": "cancelOrder", "args": args})


def opened(  # noqa: PLR0917 - the ids of an order
    middle: Middle, client_id: int, order_id: int, perm_id: int, ref: str = "", status: str = "Submitted"
) -> str:
    """Return the topic of the openOrder."""
    order = {"clientId": client_id, "permId": perm_id, "orderId": order_id, **({"orderRef": ref} if ref else {})}
    return middle.topic_of("openOrder", orderId=order_id, order=order, orderState={"status": status})


def reported(middle: Middle, order_id: int, perm_id: int, status: str, client_id: int = CLIENT_ID) -> str:
    """Return the topic of the orderStatus."""
    return middle.topic_of("orderStatus", orderId=order_id, permId=perm_id, clientId=client_id, status=status)


def state(middle: Middle, key: str) -> tuple[str, str | None]:
    order = middle.orders.keyed("a", key)
    assert order is not None
    return order.state.value, order.reason.value if order.reason else None


def left(middle: Middle, key: str = "k") -> int:
    """Place an order and lose the connection before TWS says anything of it. Return its id."""
    number = middle.place(key)
    middle.reconnect()
    middle.link.take()
    return number


# -- the order ids of this client id, in other hands


@pytest.mark.parametrize("ref", ["", "theirs", "a/other"])
def test_an_order_of_another_program_under_an_order_id_of_ours_is_not_ours(ref: str) -> None:
    middle = Middle()
    number = left(middle)
    owner, part = ("a", "other") if ref == "a/other" else ("ext", "~9")
    assert opened(middle, CLIENT_ID, number, 9, ref) == f"ord.{owner}.{part}.openOrder."
    assert reported(middle, number, 9, "Filled") == f"ord.{owner}.{part}.orderStatus."
    order = middle.orders.keyed("a", "k")
    assert order is not None
    assert state(middle, "k") == ("unknown", None)
    assert not order.perm_ids


def test_an_execution_of_another_program_under_an_order_id_of_ours_is_not_ours() -> None:
    middle = Middle()
    number = left(middle)
    execution = {"orderId": number, "clientId": CLIENT_ID, "permId": 9, "execId": "1.1", "shares": 5.0, "cumQty": 5.0}
    assert middle.topic_of("execDetails", reqId=-1, execution=execution) == "exec.ext.execDetails."
    assert state(middle, "k") == ("unknown", None)


def test_the_order_that_carries_our_ref_is_ours_although_another_program_had_the_order_id() -> None:
    middle = Middle()
    number = left(middle)
    opened(middle, CLIENT_ID, number, 9)
    assert opened(middle, CLIENT_ID, number, 8, "a/k") == "ord.a.k.openOrder."
    assert reported(middle, number, 8, "Submitted") == "ord.a.k.orderStatus."
    assert reported(middle, number, 9, "Cancelled") == "ord.ext.~9.orderStatus."
    assert state(middle, "k") == ("working", None)


def test_a_status_that_may_be_another_programs_is_no_evidence_until_a_message_has_the_ref() -> None:
    middle = Middle()
    number = left(middle)
    assert reported(middle, number, 9, "Filled") == "ord.a.k.orderStatus."
    assert state(middle, "k") == ("unknown", None)
    assert opened(middle, CLIENT_ID, number, 9, "a/k", "Filled") == "ord.a.k.openOrder."
    assert state(middle, "k") == ("done", "filled")


def test_on_the_connection_on_which_an_order_left_its_id_is_enough() -> None:
    middle = Middle()
    number = middle.place("k")
    assert reported(middle, number, 9, "Submitted") == "ord.a.k.orderStatus."
    assert state(middle, "k") == ("working", None)


def test_an_exercise_is_known_by_its_id_on_later_connections_too() -> None:
    middle = Middle()
    option = {**AAPL, "secType": "OPT", "right": "C", "strike": 150.0, "lastTradeDateOrContractMonth": "20270115"}
    args: dict[str, Any] = {"exerciseAction": 1, "exerciseQuantity": 1, "account": "DU1", "override": 0}
    number = middle.ask("exerciseOptions", "a", key="x", contract=option, **args)["orderId"]
    middle.reconnect()
    assert opened(middle, CLIENT_ID, number, 9) == "ord.a.x.openOrder."


def test_an_error_about_another_programs_order_reaches_no_order_of_ours() -> None:
    middle = Middle()
    number = left(middle)
    opened(middle, CLIENT_ID, number, 9)
    heard = middle.error(number, 202, "Order Canceled - reason:")
    assert (heard.topic, heard.data["ends"]) == ("ord.ext.~9.error.", True)
    assert state(middle, "k") == ("unknown", None)


def test_nothing_is_sent_under_an_order_id_that_another_program_has() -> None:
    middle = Middle()
    number = left(middle)
    held = middle.place("held", transmit=False)
    middle.reconnect()
    middle.link.take()
    for perm_id, order_id in enumerate((number, held), 9):
        opened(middle, CLIENT_ID, order_id, perm_id)
    about = {"id": 7, "client": "a", "args": {"key": "held", "rev": 1, "order": {"transmit": True}}}
    for reply in (cancel(middle, key="k"), middle.call({**about, "cmd": "modifyOrder"})):
        assert reply["error"]["code"] == "E_STATE"
        assert "an order of another program" in reply["error"]["message"]
    assert middle.link.take() == []


@pytest.mark.parametrize(("said", "after"), [(FIRST_ID + 3, 1), (FIRST_ID + 4, 1002), (FIRST_ID - 2, 1001)])
def test_ids_that_other_programs_may_have_used_meanwhile_are_left_out(said: int, after: int) -> None:
    middle = Middle()
    for key in ("k1", "k2", "k3"):
        middle.place(key)
    middle.lost()
    middle.begin()
    handlers = middle.parts.dispatcher._connection.handlers
    handlers["serverVersion"]({}, 0)
    handlers["nextValidId"]({"orderId": said}, 0)
    handlers["nextValidId"]({"orderId": said}, 0)
    middle.ready()
    assert middle.place("k4") == FIRST_ID + 2 + after


# -- orders of other client ids with an order id of ours


@pytest.mark.parametrize(("code", "status", "reason"), [(201, "Inactive", "rejected"), (202, "Cancelled", "cancelled")])
def test_an_error_that_may_be_about_an_order_of_another_client_has_ours_looked_up(
    code: int, status: str, reason: str
) -> None:
    middle = Middle()
    number = middle.place("k")
    opened(middle, CLIENT_ID, number, 8, "a/k")
    opened(middle, 5, number, 9)
    reported(middle, number, 9, "Cancelled", client_id=5)
    assert middle.error(number, code, "Order Canceled - reason:").data["ends"] is None
    assert state(middle, "k") == ("unknown", None)
    reported(middle, number, 8, status)
    assert middle.error(number, code, "Order Canceled - reason:").data["ends"] is True
    assert state(middle, "k") == ("done", reason)


# -- cancels by permId


def test_an_order_of_this_client_id_that_nobody_here_has_placed_can_be_cancelled() -> None:
    middle = Middle()
    opened(middle, CLIENT_ID, 77, 9)
    assert cancel(middle, permId=9)["result"] == {"permId": 9, "orderId": 77, "topic": "ord.ext.~9."}
    assert [(each.name, each.data["orderId"]) for each in middle.link.take()] == [("cancelOrder", 77)]
    heard = middle.error(77, 10148, "cannot be cancelled")
    assert (heard.topic, heard.data["ends"]) == ("ord.ext.~9.error.", False)


def test_a_completed_order_keeps_the_ids_that_are_known_of_it() -> None:
    middle = Middle()
    opened(middle, CLIENT_ID, 77, 9)
    middle.hear("completedOrder", order={"permId": 9}, orderState={"status": "Cancelled"})
    error = cancel(middle, permId=9)["error"]
    assert (error["code"], error["message"]) == ("E_STATE", "the order is over (Cancelled)")


def test_a_cancel_that_never_left_is_told() -> None:
    middle = Middle(rate=4)
    opened(middle, CLIENT_ID, 77, 9)
    for number in range(9):
        middle.place(f"k{number}")
    cancel(middle, permId=9)
    before = len(middle.published)
    middle.lost()
    told = [each for each in middle.published[before:] if each.topic == "ord.ext.~9.error."]
    assert [(each.data["errorCode"], each.data["ends"], each.data["reqId"]) for each in told] == [(504, False, 77)]


def test_an_order_that_turns_out_to_be_ours_is_cancelled_by_its_key() -> None:
    middle = Middle()
    number = left(middle)
    middle.hear("completedOrder", order={"permId": 9}, orderState={"status": "Filled"})
    opened(middle, CLIENT_ID, number, 9, "a/k")
    assert "cancel the order by its key, 'k'" in cancel(middle, permId=9)["error"]["message"]


def test_of_many_foreign_orders_the_newest_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibbridge.orders.foreign_orders.MOST_FOREIGN", 2)
    middle = Middle()
    for number in (1, 2, 3):
        opened(middle, CLIENT_ID, number, 10 + number)
    known = middle.orders.foreign
    assert [perm_id in known for perm_id in (11, 12, 13)] == [False, True, True]
    assert [known.under(number) is not None for number in (1, 2, 3)] == [False, True, True]
    assert not known.has_namesake(1)


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ({"permId": 8}, "reconcile asks TWS"),
        ({"permId": 9}, "client id 5 has placed the order"),
        ({"permId": 10}, "made by hand in TWS, and the API has no order id for it; run a daemon with tws.client_id: 0"),
        ({"permId": "9"}, "permId must be an integer"),
        ({"permId": True}, "permId must be an integer"),
        ({"permId": 9, "key": "k"}, "give one of them"),
    ],
)
def test_an_order_that_cannot_be_cancelled_is_refused_with_the_reason(args: dict[str, Any], fault: str) -> None:
    middle = Middle()
    opened(middle, 5, 3, 9)
    opened(middle, 0, 0, 10)
    error = cancel(middle, **args)["error"]
    assert (error["code"], error["outcome"]) == ("E_ARG", "refused")
    assert fault in error["message"]
    assert middle.link.take() == []
