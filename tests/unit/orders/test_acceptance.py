"""A journal that was restored from a backup: no order is placed twice, before and after an operator accepts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.codec import Dialect, Message
from ibbridge.orders.order import Order
from ibbridge.orders.order_arguments import order_digest
from ibbridge.orders.reconciliation import SETTLED
from ibbridge.storage.backup import back_up
from ibbridge.storage.journal_schema import SKIPPED
from ibbridge.tws.session import Stage
from tests.support.daemon_core import AAPL, LIMIT, _blank
from tests.unit.test_daemon import ACCOUNTS, NEXT, Published, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORDER = {"contract": AAPL, "order": LIMIT}
HELD = {"contract": AAPL, "order": {**LIMIT, "transmit": False}}
HOST = Dialect.server(226)

Answers = dict[str, list[tuple[str, dict[str, Any]]]]
"""Messages that TWS sends before the end of each list, by the request."""

ENDS = {
    "reqAllOpenOrders": "openOrderEnd", "reqExecutions": "execDetailsEnd", "reqCompletedOrders": "completedOrdersEnd",
    "reqPositions": "positionEnd",
}  # fmt: skip


def working(key: str, order_id: int, perm_id: int) -> tuple[str, dict[str, Any]]:
    order = {"orderId": order_id, "clientId": 1, "permId": perm_id, "orderRef": f"a/{key}"}
    return "openOrder", {
        "orderId": order_id, "contract": AAPL, "order": order, "orderState": {"status": "Submitted"}
    }  # fmt: skip


def filled(key: str, order_id: int, perm_id: int) -> tuple[str, dict[str, Any]]:
    execution = {
        **_blank("execDetails").get("execution", {}), "execId": f"E{order_id}", "orderId": order_id, "clientId": 1,
        "permId": perm_id, "orderRef": f"a/{key}",
    }  # fmt: skip
    return "execDetails", {"reqId": 0, "contract": AAPL, "execution": execution}


def cancelled(key: str, perm_id: int) -> tuple[str, dict[str, Any]]:
    order = {"permId": perm_id, "orderRef": f"a/{key}"}
    return "completedOrder", {"contract": AAPL, "order": order, "orderState": {"status": "Cancelled"}}


class Life:
    """Life of a daemon on a store, with a TWS that answers when it is told to."""

    def __init__(self, store: Path) -> None:
        self.published = Published(str(store))
        self.daemon = self.published.daemon
        self.daemon._open_and_take_up()
        self.daemon._report_start()
        self.connect()

    def connect(self, first_id: int = NEXT[1]["orderId"]) -> None:
        self.daemon.parts.tws.session.stage = Stage.HANDSHAKING
        self.wire = Wire(self.daemon, 226)
        self.wire.say(ACCOUNTS, ("nextValidId", {"orderId": first_id}))

    def end(self) -> None:
        self.daemon._close_store()

    def sent(self) -> list[Message]:
        """Return the requests that were sent since the last call."""
        data, found = b"".join(self.wire.written), []
        self.wire.written.clear()
        if data.startswith(b"API\0"):
            data = data[8 + int.from_bytes(data[4:8], "big") :]
        while data:
            end = 4 + int.from_bytes(data[:4], "big")
            message = HOST.read(data[4:end])
            assert isinstance(message, Message)
            found.append(message)
            data = data[end:]
        return found

    def compare(self, answers: Answers) -> None:
        """Answer the questions about orders, and let the time pass until the next."""
        for _ in range(round(SETTLED) + 4):
            self.beat(answers)

    def beat(self, answers: Answers) -> None:
        while asked := [each for each in self.sent() if each.name in ENDS]:
            for each in asked:
                number = {"reqId": each.data["reqId"]} if each.name == "reqExecutions" else {}
                said = [(name, {**data, **(number if name == "execDetails" else {})})
                        for name, data in answers.get(each.name, [])]  # fmt: skip
                self.wire.say(*said, (ENDS[each.name], number))
        self.published.clock.pass_time(1.0)
        self.daemon.publish_heartbeat()

    def place(self, key: str, args: dict[str, Any] = ORDER) -> str:
        """Place an order. Return the code of the refusal, or `placed`, or `dup` for the first order again."""
        reply = self.published.ask("placeOrder", key=key, args=args)
        if not reply["ok"]:
            return str(reply["error"]["code"])
        return "dup" if reply.get("dup") else "placed"

    def state(self, key: str) -> tuple[str, str | None]:
        shown = [each.data for each in self.published.heard if each.topic == f"ord.a.{key}.orderState."][-1]
        return shown["state"], shown["reason"]

    def accept(self) -> Any:
        reply = self.published.ask("acceptJournal")
        return reply["result"] if reply["ok"] else reply["error"]["code"]

    def alarms(self) -> list[str]:
        return [each["alarm"] for each in self.daemon.parts.streams.alarms.raised]


class Lives:
    """A store that is backed up, and daemons on the store and on its backup."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.life = Life(place / "store")

    def back_up(self) -> None:
        back_up(self.place / "store", self.place / "backup", 1_767_225_600_000_000)

    def begin(self, name: str = "backup") -> Life:
        self.life.end()
        self.life = Life(self.place / name)
        return self.life


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path)
    yield lives
    lives.life.end()


LISTED: Answers = {
    "reqAllOpenOrders": [working("before", 4711, 11), working("works", 4713, 13)],
    "reqExecutions": [filled("fills", 4714, 14)],
    "reqCompletedOrders": [cancelled("ends", 15)],
}


def placed(lives: Lives) -> None:
    """Place an order before a backup, and others after it."""
    assert lives.life.place("before") == "placed"
    lives.back_up()
    for key in ("lost", "works", "fills", "ends"):
        assert lives.life.place(key) == "placed"


def test_no_order_is_placed_before_it_is_accepted_and_none_twice_after_it(lives: Lives) -> None:
    placed(lives)
    life = lives.begin()
    keys = ("before", "works", "fills", "ends", "lost", "new")
    assert [life.place(key) for key in keys] == ["dup", *["E_STORE"] * 5]
    life.beat(LISTED)
    assert life.alarms() == ["journal"]
    assert [life.place(key) for key in keys] == ["dup", *["E_KEY_REUSED"] * 3, "E_STORE", "E_STORE"]
    assert life.published.ask("cancelOrder", key="works")["result"] == {"key": "works", "orderId": 4713}
    assert life.accept() == "E_STATE"
    life.compare(LISTED)
    assert life.accept() == {"accepted": True}
    assert life.accept() == {"accepted": False}
    life.beat(LISTED)
    assert life.alarms() == []
    life.sent()
    assert [life.place(key) for key in keys[:4]] == ["dup", *["E_KEY_REUSED"] * 3]
    assert life.sent() == []
    assert life.place("new") == "placed"
    (order,) = life.sent()
    assert order.data["orderId"] > SKIPPED


def test_what_was_accepted_stays_accepted_and_the_keys_stay_used(lives: Lives) -> None:
    placed(lives)
    life = lives.begin()
    life.compare(LISTED)
    life.compare(LISTED)
    assert life.accept() == {"accepted": True}
    life.beat({})
    assert life.place("new") == "placed"
    life = lives.begin()
    assert (life.alarms(), life.accept()) == ([], {"accepted": False})
    assert [life.place(key) for key in ("before", "works", "fills", "ends", "new")] == [
        "dup", *["E_KEY_REUSED"] * 3, "dup",
    ]  # fmt: skip


def test_a_restart_does_not_end_the_doubt(lives: Lives) -> None:
    placed(lives)
    for _ in range(3):
        life = lives.begin()
        life.compare(LISTED)
        assert life.place("new") == "E_STORE"
    life = lives.begin()
    assert life.accept() == "E_STATE", "each process compares anew"


def test_comparisons_count_in_a_row_on_one_connection_and_not_shortly_after_each_other(lives: Lives) -> None:
    placed(lives)
    life = lives.begin()
    for _ in range(4):
        life.beat(LISTED)
        life.published.ask("reconcile")
    assert life.accept() == "E_STATE"
    life.compare(LISTED)
    assert life.accept() == {"accepted": True}
    life = lives.begin()
    life.compare(LISTED)


def test_a_lost_connection_begins_the_comparisons_anew(lives: Lives) -> None:
    placed(lives)
    life = lives.begin()
    life.compare(LISTED)
    life.daemon.parts.dispatcher.connection_lost()
    life.connect()
    life.beat(LISTED)
    assert life.accept() == "E_STATE"
    life.compare(LISTED)
    life.compare(LISTED)
    assert life.accept() == {"accepted": True}


def test_changes_are_refused_until_it_is_accepted(lives: Lives) -> None:
    placed(lives)
    life = lives.begin()
    life.compare(LISTED)
    change = {"key": "before", "rev": 1, "order": {"lmtPrice": 99.0}}
    assert life.published.ask("modifyOrder", args=change)["error"]["code"] == "E_STORE"
    life.compare(LISTED)
    assert life.accept() == {"accepted": True}
    assert life.published.ask("modifyOrder", args=change)["ok"]


def test_an_order_that_was_held_may_have_left_since(lives: Lives) -> None:
    assert lives.life.place("held", HELD) == "placed"
    lives.back_up()
    life = lives.begin()
    assert life.state("held") == ("unknown", None)
    life.compare({"reqAllOpenOrders": [working("held", 4711, 11)]})
    assert life.state("held") == ("working", None)


WAITED: dict[str, tuple[Answers, tuple[str, str | None]]] = {
    "works": ({"reqAllOpenOrders": [working("waits", 4790, 11)]}, ("working", None)),
    "was cancelled": ({"reqCompletedOrders": [cancelled("waits", 11)]}, ("done", "cancelled")),
    "is nowhere": ({}, ("done", "not_at_tws")),
}


@pytest.mark.parametrize("became", WAITED)
def test_an_order_that_waited_may_have_left_since(lives: Lives, became: str) -> None:
    answers, expected = WAITED[became]
    registry = lives.life.daemon.parts.orders.registry
    registry.journal.note(Order("a", "waits", 0, ORDER, digest=order_digest("placeOrder", ORDER)))
    assert registry.journal.commit()
    lives.back_up()
    life = lives.begin()
    assert life.state("waits") == ("unknown", None)
    assert life.published.ask("cancelOrder", key="waits")["error"]["code"] == "E_STATE"
    told = [each.data for each in life.published.of("error") if each.topic == "ord.a.waits.error."]
    assert [(each["errorCode"], each["ends"]) for each in told] == [(504, None)]
    life.compare(answers)
    life.compare(answers)
    assert life.state("waits") == expected
    assert life.accept() == {"accepted": True}
    assert life.place("waits") == "dup"
    if became == "works":
        assert life.published.ask("cancelOrder", key="waits")["result"] == {"key": "waits", "orderId": 4790}
    life = lives.begin("store")
    assert life.state("waits") == ("done", "not_sent"), "and without a restored journal it never left"


def test_an_order_that_waited_before_midnight_may_have_left_and_is_closed_by_a_cancel(lives: Lives) -> None:
    registry = lives.life.daemon.parts.orders.registry
    registry.journal.note(Order("a", "waits", 0, ORDER, digest=order_digest("placeOrder", ORDER), heard_at=1))
    assert registry.journal.commit()
    lives.back_up()
    life = lives.begin()
    life.compare({})
    life.compare({})
    assert life.state("waits") == ("unknown", None)
    assert life.published.ask("cancelOrder", key="waits")["result"] == {"key": "waits", "orderId": None}
    assert life.state("waits") == ("done", "not_at_tws")
    assert "cancelOrder" not in [each.name for each in life.sent()]
