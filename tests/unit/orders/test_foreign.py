"""Orders that no client here has placed: those that can be cancelled by permId, and why others cannot."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemon_core import CLIENT_ID, Middle


def cancel(middle: Middle, **args: Any) -> dict[str, Any]:
    middle.clock.us += 1
    return middle.call({"id": middle.clock.us, "client": "a", "cmd": "cancelOrder", "args": args})


def opened(middle: Middle, client_id: int, order_id: int, perm_id: int) -> None:
    order = {"clientId": client_id, "permId": perm_id, "orderId": order_id}
    middle.hear("openOrder", orderId=order_id, order=order, orderState={"status": "Submitted"})


def test_an_order_of_this_client_id_that_nobody_here_has_placed_can_be_cancelled() -> None:
    middle = Middle()
    opened(middle, CLIENT_ID, 77, 9)
    assert cancel(middle, permId=9)["result"] == {"permId": 9, "orderId": 77}
    assert [(each.name, each.data["orderId"]) for each in middle.link.take()] == [("cancelOrder", 77)]


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ({"permId": 8}, "reqAllOpenOrders asks TWS"),
        ({"permId": 9}, "client id 5 has placed it"),
        ({"permId": 10}, "made by hand"),
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
