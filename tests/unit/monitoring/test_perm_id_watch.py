"""The alarm for an order with two permIds, from the message that brings the second one to its end."""

from __future__ import annotations

import pytest

from ibbridge.monitoring import perm_id_watch
from tests.support.daemon_core import Middle


@pytest.fixture
def middle() -> Middle:
    return Middle()


def said(middle: Middle) -> list[tuple[bool, str]]:
    return [
        (heard.data["raised"], heard.data["why"].split(": ")[0])
        for heard in middle.published
        if heard.topic == "sys.bridge.alarm." and heard.data["alarm"] == perm_id_watch.NAME
    ]


def report(middle: Middle, number: int, perm_id: int) -> str:
    return middle.topic_of("orderStatus", orderId=number, clientId=1, permId=perm_id, status="Submitted")


def test_each_further_perm_id_of_an_order_is_an_alarm_once(middle: Middle) -> None:
    number = middle.place("k")
    for perm_id in (7, 7, 8, 7, 8, 9, 9):
        assert report(middle, number, perm_id) == "ord.a.k.orderStatus."
    second, third = "TWS has given order 'k' of a permId 8 after 7", "TWS has given order 'k' of a permId 9 after 7, 8"
    assert said(middle) == [(True, second), (False, second), (True, third)]
    watch = middle.parts.streams.perm_ids
    middle.clock.pass_time(perm_id_watch.HOLDS - 1)
    watch.tick()
    assert said(middle)[3:] == []
    middle.clock.pass_time(1)
    watch.tick()
    watch.tick()
    assert said(middle)[3:] == [(False, third)]


def test_orders_with_one_perm_id_each_are_no_alarm(middle: Middle) -> None:
    for count in range(3):
        report(middle, middle.place(f"k{count}"), 7 + count)
    assert said(middle) == []
