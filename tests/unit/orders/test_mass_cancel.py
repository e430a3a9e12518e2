"""Halts with cancels: each order is pursued until it is over, and the lists say of each what is known."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemon_core import AAPL, CLIENT_ID, LIMIT, Middle
from tests.support.outside import MemoryOrderStore, NoStore


class KeepingStore(NoStore):
    """Event store that keeps the values that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def put(self, key: str, value: bytes) -> bool:
        if self.keeps:
            self.values[key] = value
        return self.keeps


@pytest.fixture
def middle() -> Middle:
    return Middle(store=KeepingStore())


def command(middle: Middle, cmd: str, **args: Any) -> dict[str, Any]:
    """Return the result of a command of the desk."""
    reply = middle.call({"id": f"{cmd}{middle.clock.us}", "cmd": cmd, "client": "desk", "args": args})
    middle.clock.us += 1
    assert reply["ok"], reply
    result: dict[str, Any] = reply["result"]
    return result


def fault(middle: Middle, cmd: str, **args: Any) -> str:
    """Return why a command of the desk is refused."""
    reply = middle.call({"id": f"{cmd}{middle.clock.us}", "cmd": cmd, "client": "desk", "args": args})
    middle.clock.us += 1
    assert not reply["ok"], reply
    return f"{reply['error']['code']} {reply['error']['message']}"


def lists(about: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Return the keys in the three lists."""
    keys = [[each["key"] for each in about[name]] for name in ("cancelled", "refused", "unknown")]
    return keys[0], keys[1], keys[2]


def look(middle: Middle, about: dict[str, Any]) -> dict[str, Any]:
    """Return what has become of a mass cancel."""
    found: dict[str, Any] = command(middle, "haltStatus", cancel=about["id"])["cancel"]
    return found


def report(middle: Middle, number: int, status: str, filled: float = 0.0) -> None:
    middle.hear(
        "orderStatus", orderId=number, status=status, permId=9000 + number, clientId=CLIENT_ID, filled=filled,
        remaining=100.0 - filled,
    )  # fmt: skip


def working(middle: Middle, key: str, client: str = "a", **order: Any) -> int:
    number = middle.place(key, client, **order)
    report(middle, number, "Submitted")
    return number


def cancels(middle: Middle) -> list[int]:
    """Return the ids in the cancels that were sent since the last call."""
    return [each.data["orderId"] for each in middle.link.take() if each.name == "cancelOrder"]


def causes(middle: Middle, client: str = "a") -> dict[str, Any]:
    found = {}
    for each in middle.published:
        if each.body["type"] == "orderState" and each.topic.startswith(f"ord.{client}."):
            found[each.topic.split(".")[2]] = each.data["cause"]
    return found


def test_all_open_orders_are_cancelled_and_the_lists_say_what_is_known(middle: Middle) -> None:
    one, two, three = working(middle, "one"), working(middle, "two", "b"), working(middle, "three")
    middle.link.take()
    about = command(middle, "halt", cancel=True, reason="news")["cancel"]
    assert cancels(middle) == [one, three, two] or {one, two, three}
    assert lists(about) == ([], [], ["one", "two", "three"])
    report(middle, one, "Cancelled")
    report(middle, three, "Filled", filled=100.0)
    middle.pass_time(1.0)
    about = look(middle, about)
    assert lists(about) == (["one"], ["three"], ["two"])
    assert about["refused"][0]["reason"] == "filled"
    assert not about["over"]
    report(middle, two, "Cancelled")
    middle.pass_time(1.0)
    about = look(middle, about)
    assert lists(about) == (["one", "two"], ["three"], [])
    assert about["over"]
    assert causes(middle)["one"] == "halt"
    assert causes(middle, "b")["two"] == "halt"


def test_an_order_that_waits_is_withdrawn_and_none_leaves_later() -> None:
    slow = Middle(rate=10, store=KeepingStore())
    for number in range(30):
        slow.ask("placeOrder", key=f"k{number}", contract=AAPL, order=LIMIT)
    left = [each.data["orderId"] for each in slow.link.take() if each.name == "placeOrder"]
    about = command(slow, "halt", cancel=True)["cancel"]
    assert len(about["cancelled"]) == 30 - len(left)
    assert {each["reason"] for each in about["cancelled"]} == {"not_sent"}
    slow.pass_time(20.0)
    assert not [each for each in slow.link.sent if each.name == "placeOrder"]


def test_a_cancel_is_sent_once_while_tws_is_silent_and_again_after_a_reconnect(middle: Middle) -> None:
    number = working(middle, "k")
    middle.link.take()
    about = command(middle, "halt", cancel=True, deadline=120.0)["cancel"]
    assert cancels(middle) == [number]
    for _ in range(20):
        middle.pass_time(1.0)
    assert cancels(middle) == [], "it is under way"
    middle.reconnect()
    middle.pass_time(1.0)
    assert cancels(middle) == [number]
    report(middle, number, "PendingCancel")
    middle.reconnect()
    middle.pass_time(1.0)
    assert cancels(middle) == [], "TWS has acknowledged it"
    report(middle, number, "Cancelled")
    middle.pass_time(1.0)
    assert look(middle, about)["over"]


def test_without_a_connection_the_orders_are_unknown_and_cancelled_when_tws_is_back(middle: Middle) -> None:
    number = working(middle, "k")
    middle.lost()
    about = command(middle, "halt", cancel=True)["cancel"]
    assert lists(about) == ([], [], ["k"])
    assert "no connection" in about["unknown"][0]["fault"]
    middle.link.take()
    middle.connect()
    assert cancels(middle) == [number]


def test_a_cancel_goes_out_although_neither_store_can_be_written(middle: Middle) -> None:
    number = working(middle, "k")
    middle.link.take()
    middle.store.keeps, middle.store.fault, middle.order_store.fault = False, "full", "full"
    result = command(middle, "halt", cancel=True)
    assert not result["kept"]
    assert cancels(middle) == [number]
    assert fault(middle, "haltStatus", cancel="7").startswith("E_ARG")


def test_at_the_deadline_it_ends_with_an_alarm_that_names_the_orders_until_they_are_over(middle: Middle) -> None:
    number = working(middle, "k")
    about = command(middle, "halt", cancel=True, deadline=5.0)["cancel"]
    for _ in range(6):
        middle.pass_time(1.0)
    middle.parts.heartbeat.beat()
    about = look(middle, about)
    assert (about["over"], lists(about)) == (True, ([], [], ["k"]))
    alarms = {each["alarm"]: each["why"] for each in middle.parts.streams.alarms.raised}
    assert "a/k" in alarms["haltCancel"]
    report(middle, number, "Cancelled")
    middle.parts.heartbeat.beat()
    assert "haltCancel" not in {each["alarm"] for each in middle.parts.streams.alarms.raised}


def test_tws_refuses_a_cancel_and_the_order_works_on(middle: Middle) -> None:
    number = working(middle, "k")
    about = command(middle, "halt", cancel=True, deadline=3.0)["cancel"]
    middle.error(number, 161, "Cancel attempted when order is not in a cancellable state.")
    report(middle, number, "Submitted")
    for _ in range(5):
        middle.pass_time(1.0)
    about = look(middle, about)
    assert lists(about) == ([], ["k"], [])
    assert about["refused"][0]["fault"].startswith("TWS: 161")


def test_a_restart_goes_on_with_it() -> None:
    store, journal = KeepingStore(), MemoryOrderStore()
    first = Middle(store=store, order_store=journal)
    number = working(first, "k")
    about = command(first, "halt", cancel=True)["cancel"]
    first.parts.streams.journal.tick()
    second = Middle(store=store, order_store=journal, clock=first.clock, ready=False)
    for order in second.orders.journal.open_orders():
        second.orders.add(order)
    second.halts.load()
    second.parts.mass_cancels.load()
    assert lists(look(second, about)) == ([], [], ["k"])
    second.connect()
    assert cancels(second) == [number]
    report(second, number, "Cancelled")
    second.pass_time(1.0)
    about = look(second, about)
    assert (lists(about), about["over"]) == ((["k"], [], []), True)


def test_orders_of_others_are_cancelled_where_tws_lets_us_and_named_with_the_reason_where_not(middle: Middle) -> None:
    middle.hear("openOrder", orderId=7, order={"clientId": CLIENT_ID, "permId": 70, "account": "DU1"}, contract=AAPL)
    middle.hear("openOrder", orderId=8, order={"clientId": 9, "permId": 80, "account": "DU1"}, contract=AAPL)
    middle.hear("openOrder", orderId=0, order={"clientId": 0, "permId": 90, "account": "DU1"}, contract=AAPL)
    about = command(middle, "halt", cancel=True)["cancel"]
    assert lists(about) == ([], ["~80", "~90"], ["~70"])
    assert "client id 9 has placed the order" in about["refused"][0]["fault"]
    assert cancels(middle) == [7]
    middle.hear("orderStatus", orderId=7, status="Cancelled", permId=70, clientId=CLIENT_ID)
    middle.pass_time(1.0)
    assert lists(look(middle, about)) == (["~70"], ["~80", "~90"], [])


def test_only_the_orders_of_the_scope_are_cancelled(middle: Middle) -> None:
    middle.session.named("DU1,DU2")
    one, two = working(middle, "one", account="DU1"), working(middle, "two", "b", account="DU2")
    middle.link.take()
    assert lists(command(middle, "halt", scope="client", name="b", cancel=True)["cancel"]) == ([], [], ["two"])
    assert cancels(middle) == [two]
    assert lists(command(middle, "halt", scope="account", name="DU1", cancel=True)["cancel"]) == ([], [], ["one"])
    assert cancels(middle) == [one]


def test_a_halt_that_is_repeated_goes_on_with_the_same_cancel(middle: Middle) -> None:
    working(middle, "k")
    middle.link.take()
    first = command(middle, "halt", cancel=True, deadline=5.0)["cancel"]
    again = command(middle, "halt", cancel=True, deadline=50.0)["cancel"]
    assert again["id"] == first["id"]
    assert again["left"] > 40.0
    assert len(cancels(middle)) == 1


def test_an_order_that_comes_after_resume_is_not_cancelled(middle: Middle) -> None:
    working(middle, "k")
    about = command(middle, "halt", cancel=True)["cancel"]
    command(middle, "resume")
    working(middle, "later")
    middle.pass_time(1.0)
    assert lists(look(middle, about)) == ([], [], ["k"])


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"scope": "world"}, "scope must be one of all, account, client"),
        ({"scope": "client"}, "name is missing: the client"),
        ({"name": "a"}, "name is for the scopes"),
        ({"state": "off"}, "state must be reducing or halted"),
        ({"cancel": True, "deadline": 0.0}, "deadline must be above 0"),
        ({"scope": "account", "name": "DU9"}, "TWS manages DU1, and not DU9"),
    ],
)
def test_a_halt_that_means_nothing_is_refused_and_halts_nothing(middle: Middle, args: dict[str, Any], why: str) -> None:
    middle.session.named("DU1")
    assert why in fault(middle, "halt", **args)
    assert not middle.halts
