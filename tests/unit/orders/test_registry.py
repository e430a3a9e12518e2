"""Whose order a message of TWS is about, when its ids and its orderRef say the same, and when they do not."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ibbridge.orders import journal, registry
from ibbridge.orders.journal import OrderJournal
from ibbridge.orders.order import Order
from ibbridge.orders.order_keys import OrderKeys
from ibbridge.orders.order_states import OrderStates
from ibbridge.orders.registry import OrderRegistry
from ibbridge.orders.state_machine import OrderState, Reason
from ibbridge.streams.publisher import Publisher
from tests.support.outside import EPOCH, ManualClock, MemoryOrderStore, NoStore

UNSET = 2147483647


class Desk:
    """A registry of client id 1, and what it says. `recorded` are orderId and permId by owner and key."""

    def __init__(self, recorded: dict[tuple[str, str], tuple[int, int]] | None = None, client_id: int = 1) -> None:
        self.alarms: list[tuple[str, tuple[int, ...]]] = []
        publisher = Publisher(EPOCH, lambda _: None)
        self.orders = OrderRegistry(
            client_id,
            OrderStates(OrderJournal(MemoryOrderStore()), OrderKeys(client_id, NoStore()), publisher, ManualClock()),
            lambda owner, key: (recorded or {}).get((owner, key)),
            lambda order: self.alarms.append((order.key, order.perm_ids)),
        )

    def place(self, key: str, order_id: int) -> Order:
        order = Order("me", key, order_id, {}, state=OrderState.SENT)
        self.orders.add(order)
        return order

    def hear(
        self, order_id: Any = 0, perm_id: Any = 0, ref: str = "", status: str = "", *, client_id: Any = 1
    ) -> tuple[str, str]:
        """Return owner and key of the order."""
        return self.orders.whose(client_id=client_id, order_id=order_id, perm_id=perm_id, order_ref=ref, status=status)[
            :2
        ]

    def complete(self, perm_id: int, ref: str, status: str = "Filled") -> tuple[str, str]:
        """Hear a completedOrder, which has neither client id nor order id."""
        return self.hear(0, perm_id, ref, status, client_id=0)


ENTRY, STOP = ("me", "entry"), ("me", "stop")


# -- the orderRef decides


def test_an_order_that_was_read_from_the_journal_is_found_by_each_of_its_perm_ids() -> None:
    desk = Desk()
    desk.orders.add(Order("me", "entry", 7, {}, state=OrderState.WORKING, perm_id=9001, perm_ids=(9001, 9002)))
    assert [desk.hear(0, perm_id) for perm_id in (9001, 9002)] == [ENTRY, ENTRY]


def test_an_order_id_that_is_given_twice_joins_no_two_orders() -> None:
    desk = Desk()
    stop = desk.place("stop", 1514)
    assert desk.hear(1514, 9001, "me/entry") == ENTRY
    assert not stop.heard
    assert desk.hear(1514, 9444, "me/stop", "PreSubmitted") == STOP
    assert desk.complete(9001, "me/entry") == ENTRY
    assert (stop.perm_ids, stop.ended) == ((9444,), False)
    entry = desk.orders.former("me", "entry")
    assert entry is not None
    assert (entry.order_id, entry.perm_ids, entry.ended) == (1514, (9001,), True)
    assert desk.hear(1514, 9001) == ENTRY
    assert desk.hear(1514, 9444) == STOP
    assert desk.hear(1514) == STOP
    assert desk.alarms == []


SAID: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "the entry's fill": (ENTRY, {"order_id": 1514, "perm_id": 9001, "ref": "me/entry"}),
    "the stop's openOrder": (STOP, {"order_id": 1514, "perm_id": 9444, "ref": "me/stop", "status": "PreSubmitted"}),
    "the stop's status": (STOP, {"order_id": 1514, "perm_id": 9444, "status": "PreSubmitted"}),
    "the entry's end": (ENTRY, {"client_id": 0, "perm_id": 9001, "ref": "me/entry", "status": "Filled"}),
}
"""Messages about two orders, and whose each is."""


@pytest.mark.parametrize("order", [*itertools.permutations(SAID)])
def test_two_orders_of_one_order_id_are_told_apart_in_whatever_order_tws_reports_them(order: tuple[str, ...]) -> None:
    desk = Desk({ENTRY: (1514, 0)})
    stop = desk.place("stop", 1514)
    assert [desk.hear(**SAID[name][1]) for name in order] == [SAID[name][0] for name in order]
    assert (stop.perm_ids, stop.ended) == ((9444,), False)
    assert desk.alarms == []


def test_a_perm_id_that_was_joined_by_a_reused_order_id_goes_to_the_order_that_the_ref_names() -> None:
    desk = Desk()
    stop = desk.place("stop", 1514)
    assert desk.hear(1514, 9001) == STOP, "nothing says otherwise"
    assert desk.hear(1514, 9001, "me/entry") == ENTRY
    assert not stop.perm_ids
    assert desk.hear(1514, 9001) == ENTRY
    assert desk.hear(1514, 9444) == STOP
    assert (stop.perm_id, stop.perm_ids) == (9444, (9444,))
    assert desk.alarms == []


@pytest.mark.parametrize(("client_id", "order_id"), [(1, 0), (1, None), (1, UNSET), (0, 0), (None, None), (0, UNSET)])
def test_the_ref_decides_against_the_perm_id_too(client_id: Any, order_id: Any) -> None:
    desk = Desk()
    stop, entry = desk.place("stop", 2), desk.place("entry", 1)
    desk.hear(2, 9)
    assert desk.hear(order_id, 9, "me/entry", "Filled", client_id=client_id) == ENTRY
    assert not stop.perm_ids
    assert not stop.ended
    assert (entry.perm_ids, entry.ended) == ((9,), True)


@pytest.mark.parametrize("client_id", [0, 9])
def test_the_ref_of_an_order_of_another_client_id_says_nothing(client_id: int) -> None:
    desk = Desk()
    stop = desk.place("stop", 1514)
    assert desk.hear(1514, 9001, "me/stop", client_id=client_id) == ("ext", "~9001")
    assert not stop.heard
    assert not stop.perm_ids


def test_an_order_id_of_an_earlier_order_is_not_overwritten() -> None:
    desk = Desk({ENTRY: (17, 9)})
    assert desk.hear(12, 8, "me/entry") == ENTRY, "an order before a store was lost"
    assert desk.hear(0, 9, "me/entry") == ENTRY
    assert desk.hear(12, 0) == ENTRY
    entry = desk.orders.former("me", "entry")
    assert entry is not None
    assert (entry.order_id, entry.perm_ids) == (17, (9,))
    assert desk.alarms == []


def test_an_order_id_that_was_not_known_is_learned() -> None:
    desk = Desk()
    assert desk.hear(0, 9, "me/entry") == ENTRY
    assert desk.hear(17, 0, "me/entry") == ENTRY
    entry = desk.orders.former("me", "entry")
    assert entry is not None
    assert entry.order_id == 17


@pytest.mark.parametrize("client_id", [0, None])
def test_client_id_0_may_be_left_out(client_id: int | None) -> None:
    desk = Desk(client_id=0)
    desk.place("k", 5)
    assert desk.hear(5, 9, client_id=client_id) == ("me", "k")
    assert Desk().hear(5, 9, client_id=client_id) == ("ext", "~9")


# -- several permIds


def test_a_second_perm_id_is_the_orders_and_an_alarm() -> None:
    desk = Desk()
    order = desk.place("k", 1)
    for _ in range(2):
        assert desk.hear(1, 7, "me/k", "Submitted") == ("me", "k")
        assert desk.hear(1, 8, "", "Filled") == ("me", "k")
        assert desk.complete(8, "me/k") == ("me", "k")
        assert desk.complete(7, "me/k") == ("me", "k")
    assert (order.perm_id, order.perm_ids, order.ended) == (7, (7, 8), True)
    assert desk.alarms == [("k", (7, 8))], "once"
    desk.hear(1, 9)
    assert desk.alarms[1:] == [("k", (7, 8, 9))]


def test_what_is_restored_is_no_alarm() -> None:
    desk = Desk()
    for perm_id in (7, 8):
        desk.orders.recall({"owner": "me", "key": "k", "orderId": 5}, {"permId": perm_id, "clientId": 1})
    former = desk.orders.former("me", "k")
    assert former is not None
    assert (former.perm_id, former.perm_ids) == (7, (7, 8))
    assert desk.alarms == []


# -- completed orders


def test_a_completed_order_is_the_unheard_orders_that_its_ref_names() -> None:
    desk = Desk()
    order = desk.place("k", 1)
    desk.orders.unheard()
    assert desk.complete(7, "me/k") == ("me", "k")
    assert (order.perm_ids, order.ended) == ((7,), True)
    assert desk.complete(8, "me/k") == ("ext", "~8"), "of another daemon, whose clients have the same names"
    assert desk.hear(1, 7) == ("me", "k")


def test_an_order_that_was_over_before_ours_was_placed_is_not_ours() -> None:
    desk = Desk()
    assert desk.complete(7, "me/k") == ("ext", "~7"), "of another daemon, whose clients have the same names"
    order = desk.place("k", 1)
    assert desk.complete(7, "me/k") == ("ext", "~7")
    assert order.state is OrderState.SENT
    assert desk.complete(8, "me/k") == ("me", "k")


@pytest.mark.parametrize(("state", "reason"), [(OrderState.QUEUED, None), (OrderState.DONE, Reason.NOT_SENT)])
def test_a_completed_order_is_not_an_order_that_has_not_left(state: OrderState, reason: Reason | None) -> None:
    desk = Desk()
    order = desk.place("k", 1)
    order.state, order.reason = state, reason
    order.number(0)
    assert desk.complete(7, "me/k") == ("ext", "~7"), "of another daemon, whose clients have the same names"
    assert order.state is state


@pytest.mark.parametrize("taken_up", [True, False])
def test_a_completed_order_is_that_of_an_earlier_process(taken_up: bool) -> None:
    desk = Desk({("me", "k"): (5, 0)})
    if taken_up:
        desk.orders.take_up("me", "k", 5, 0)
    assert desk.complete(7, "me/k") == ("me", "k")
    former = desk.orders.former("me", "k")
    assert former is not None
    assert (former.order_id, former.perm_ids, former.ended) == (5, (7,), True)
    assert desk.complete(8, "me/k") == ("ext", "~8")


@pytest.mark.parametrize("recorded", [None, (0, 0), (5, 6)], ids=["unknown", "of another client id", "another's"])
@pytest.mark.parametrize("client_id", [1, 0])
def test_a_completed_order_that_nothing_ties_to_this_daemon_is_foreign(
    recorded: tuple[int, int] | None, client_id: int
) -> None:
    desk = Desk({("me", "k"): recorded} if recorded else {}, client_id)
    assert desk.complete(7, "me/k") == ("ext", "~7")
    assert desk.complete(7, "") == ("ext", "~7")
    assert desk.alarms == []


# -- the journal keeps the record of a key


def journaled(desk: Desk, order_id: int) -> Order:
    """Return an order that is over, and only in the journal."""
    order = Order("me", "entry", order_id, {}, digest=b"same", state=OrderState.DONE, reason=Reason.FILLED)
    desk.orders.journal.note(order)
    assert desk.orders.journal.commit()
    return order


def test_a_report_of_an_order_that_only_the_journal_has_leaves_its_digest() -> None:
    desk = Desk()
    journaled(desk, 7)
    desk.orders.recall({"owner": "me", "key": "entry", "orderId": 7}, {"clientId": 1, "permId": 70})
    assert desk.complete(70, "me/entry") == ENTRY
    desk.orders.states.publish()
    assert desk.orders.journal.commit()
    found = desk.orders.journal.find("me", "entry")
    assert found is not None
    assert (found.digest, found.reason) == (b"same", Reason.FILLED)


def test_another_order_with_the_orderref_of_a_key_takes_neither_its_record_nor_its_state() -> None:
    desk = Desk()
    journaled(desk, 7)
    assert desk.hear(99, 990, "me/entry", "Submitted") == ENTRY
    assert not desk.orders.states.changed
    found = desk.orders.find("me", "entry")
    assert found is not None
    assert (found.order_id, found.digest, found.state) == (7, b"same", OrderState.DONE)


# -- many orders


def test_of_many_orders_that_ended_long_ago_the_oldest_are_in_the_journal_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "MOST_FINISHED", 3)
    desk = Desk()
    orders = [desk.place(f"k{number}", number) for number in range(1, 7)]
    for number, order in enumerate(orders, 1):
        desk.hear(number, 100 + number, status="Filled" if number < 6 else "Submitted")
        desk.orders.journal.note(order)
    for _ in range(journal.SETTLED + 1):
        desk.orders.journal.tick()
        desk.orders.trim()
    assert [desk.orders.keyed("me", f"k{number}") is not None for number in range(1, 7)] == [False] * 2 + [True] * 4
    found = desk.orders.find("me", "k1")
    assert found is not None
    assert (found.order_id, found.perm_ids, found.ended) == (1, (101,), True)
    desk.orders.trim()
    assert desk.orders.keyed("me", "k3") is None, "the one that was looked up counts"
    assert [order.key for order in desk.orders.open_orders()] == ["k6"]
