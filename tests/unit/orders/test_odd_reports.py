"""Odd reports of TWS about orders: numbers beyond all that is traded, messages that cannot be read, contradictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.codec import Message, Undecodable
from ibbridge.orders.journal import SETTLED as CLOSED
from ibbridge.orders.journal import OrderJournal
from ibbridge.orders.order import Order
from ibbridge.orders.state_machine import OrderState, Reason
from tests.support.daemon_core import CLIENT_ID, FIRST_ID, Middle, Sent
from tests.support.outside import MemoryOrderStore
from tests.unit.orders.test_owner_positions import ACCOUNT, CONTRACT, OPTION, execute, published

if TYPE_CHECKING:
    from collections.abc import Callable

TOO_LARGE = 2**70
DIGITS = "E." + "9" * 5000


def deliver(middle: Middle, *messages: Message | Undecodable) -> None:
    """Deliver messages as a read does: nothing may be raised there."""
    middle.clock.us += 1
    middle.parts.dispatcher.deliver(messages, middle.clock.us)


def execution(exec_id: str = "E1.01", **more: Any) -> dict[str, Any]:
    about = {"execId": exec_id, "orderRef": "a/k", "clientId": CLIENT_ID, "acctNumber": ACCOUNT, "side": "BOT"}
    return {**about, "shares": 100.0, "price": 10.0, **more}


def executed(contract: dict[str, Any] = CONTRACT, **more: Any) -> Message:
    return Message("execDetails", {"reqId": -1, "contract": contract, "execution": execution(**more)})


def status(order_id: int, name: str) -> Message:
    quantities = {"filled": 0.0, "remaining": 100.0, "avgFillPrice": 0.0}
    return Message(
        "orderStatus", {"orderId": order_id, "clientId": CLIENT_ID, "permId": 7, "status": name, **quantities}
    )


# -- numbers


@pytest.mark.parametrize("multiplier", ["1E999999", "-1E999999", "1E-999999", "sNaN", "Infinity"])
def test_a_multiplier_beyond_all_that_is_traded_is_1(multiplier: str) -> None:
    middle = Middle()
    deliver(middle, executed({**OPTION, "multiplier": multiplier}))
    deliver(middle, executed({**OPTION, "multiplier": multiplier}, exec_id="E2.01", side="SLD", price=11.0))
    assert published(middle)[-1]["realizedPNL"] in (0.0, 100.0)


def test_prices_and_quantities_beyond_all_that_is_traded_count_for_nothing() -> None:
    middle = Middle()
    order_id = middle.place("k")
    for shares, price in ((1.7e308, 1.7e308), (1.7e308, -1.7e308), (1e-300, 1e-300)):
        for revision in ("01", "02", "03"):
            exec_id = f"{shares}{price}.{revision}"
            deliver(middle, executed(exec_id=exec_id, orderId=order_id, shares=shares, price=price, cumQty=shares))
    assert [heard.body["type"] for heard in middle.published].count("execDetails") == 9
    assert not [heard for heard in middle.published if heard.body["type"] == "decodeError"]


@pytest.mark.parametrize("revisions", [(DIGITS,), ("E.01", DIGITS)])
def test_an_exec_id_may_end_in_any_number_of_digits(revisions: tuple[str, ...]) -> None:
    middle = Middle()
    report = {"execId": DIGITS, "commissionAndFees": 1.0, "currency": "USD"}
    deliver(middle, Message("commissionAndFeesReport", {"commissionAndFeesReport": report}))
    for exec_id in revisions:
        deliver(middle, executed(exec_id=exec_id))
    assert published(middle)[-1]["position"] == 100.0 * len(revisions)


@pytest.mark.parametrize("key", ["k", "of an earlier process"])
def test_an_order_id_that_no_order_can_have_names_none(key: str) -> None:
    middle = Middle()
    middle.place("k")
    order = {"clientId": CLIENT_ID, "permId": 7, "orderRef": f"a/{key}"}
    state = {"status": "Submitted"}
    deliver(middle, Message("openOrder", {"orderId": TOO_LARGE, "order": order, "orderState": state}))
    assert middle.published[-1].body["type"] == "decodeError"
    assert middle.parts.streams.journal.commit()
    assert middle.orders.highest == FIRST_ID
    assert middle.orders.owner_of(7) is None


# -- cancels


def test_an_execution_is_no_answer_to_a_cancel() -> None:
    middle = Middle()
    order_id = middle.place("k")
    deliver(middle, status(order_id, "Submitted"))
    middle.ask("cancelOrder", key="k")
    deliver(middle, executed(orderId=order_id, permId=7, cumQty=100.0, shares=10.0))
    middle.lost()
    order = middle.orders.keyed("a", "k")
    assert order is not None
    assert order.state is OrderState.UNKNOWN, "TWS has said nothing of the cancel"


# -- lists


def compare(middle: Middle, answer: Callable[[Sent], None], seconds: int) -> int:
    """Have TWS answer the lists for so many seconds. Return how many requests came."""
    requests = 0
    ends = {
        "reqAllOpenOrders": "openOrderEnd",
        "reqCompletedOrders": "completedOrdersEnd",
        "reqPositions": "positionEnd",
    }
    for _ in range(seconds):
        middle.pass_time(1.0)
        while asked := middle.link.take():
            requests += len(asked)
            for sent in asked:
                answer(sent)
                if sent.name == "reqExecutions":
                    middle.hear("execDetailsEnd", reqId=sent.data["reqId"])
                elif sent.name in ends:
                    middle.hear(ends[sent.name])
    return requests


@pytest.fixture
def compared() -> Middle:
    """A daemon that compares its one order, which works, with a TWS that has answered nothing yet."""
    middle = Middle(reconciles=True)
    deliver(middle, status(middle.place("k"), "Submitted"))
    middle.lost()
    middle.link.take()
    middle.connect()
    return middle


@pytest.mark.parametrize(("request_name", "row"), [
    ("reqAllOpenOrders", "openOrder"), ("reqAllOpenOrders", None), ("reqCompletedOrders", "completedOrder"),
])  # fmt: skip
def test_a_list_with_a_message_that_cannot_be_read_says_nothing_of_what_is_missing(
    compared: Middle, request_name: str, row: str | None
) -> None:
    def answer(sent: Sent) -> None:
        if sent.name == request_name:
            deliver(compared, Undecodable(None, row, "bad", b""))

    compare(compared, answer, 120)
    order = compared.orders.keyed("a", "k")
    assert order is not None
    assert not order.ended


@pytest.mark.parametrize("known", [{"orderId": FIRST_ID}, {"order": {"permId": 7}}])
def test_an_unreadable_message_of_a_list_that_names_its_order_shows_that_tws_has_it(
    compared: Middle, known: dict[str, Any]
) -> None:
    def answer(sent: Sent) -> None:
        if sent.name == "reqAllOpenOrders":
            deliver(compared, Undecodable(None, "openOrder", "bad", b"", known=known))

    compare(compared, answer, 120)
    order = compared.orders.keyed("a", "k")
    assert order is not None
    assert not order.ended
    comparisons = [heard.data for heard in compared.published if heard.body["type"] == "reconciled"]
    assert len(comparisons) > 1
    assert comparisons[-1]["complete"]


def test_the_orders_of_a_list_with_an_unreadable_order_of_others_are_all_known(compared: Middle) -> None:
    def answer(sent: Sent) -> None:
        if sent.name == "reqAllOpenOrders":
            deliver(compared, Undecodable(None, "openOrder", "bad", b"", known={"orderId": 99}))

    compare(compared, answer, 120)
    order = compared.orders.keyed("a", "k")
    assert order is not None
    assert order.reason is Reason.NOT_AT_TWS


def test_a_tws_that_contradicts_itself_in_each_list_is_not_asked_all_the_time(compared: Middle) -> None:
    def answer(sent: Sent) -> None:
        if sent.name == "reqAllOpenOrders":
            deliver(compared, *(status(FIRST_ID, name) for name in ("Submitted", "Cancelled", "Submitted")))

    assert compare(compared, answer, 300) < 300


# -- the journal


def test_an_order_whose_state_goes_on_changing_keeps_no_other_from_being_settled() -> None:
    journal = OrderJournal(MemoryOrderStore())
    noisy, quiet = (Order("a", key, number, {}, state=OrderState.DONE) for number, key in enumerate(("n", "q"), 1))
    journal.note(noisy)
    journal.note(quiet)
    for _ in range(2 * CLOSED):
        journal.tick()
        journal.note(noisy)
    assert quiet.settled
    assert not noisy.settled


class SilentStore(MemoryOrderStore):
    """Store whose disk may say nothing."""

    def find(self, kind: int, name: bytes) -> Any:
        return None if self.fault else super().find(kind, name)


def test_an_execution_counts_once_though_the_disk_is_silent_when_it_is_repeated() -> None:
    store = SilentStore()
    middle = Middle(order_store=store)
    execute(middle, "E1.01", "a/k", 100)
    assert middle.parts.streams.journal.commit()
    store.fault = "the disk says nothing"
    execute(middle, "E1.01", "a/k", 100)
    execute(middle, "E1.02", "a/k", 90)
    assert published(middle)[-1]["position"] == 100.0
    store.fault = ""
    execute(middle, "E1.02", "a/k", 90)
    assert published(middle)[-1]["position"] == 90.0


def test_a_position_that_cannot_be_read_begins_not_anew() -> None:
    store = SilentStore()
    middle = Middle(order_store=store)
    execute(middle, "E1.01", "a/k", 100, 10.0)
    execute(middle, "E2.01", "a/k", -100, 11.0)
    assert middle.parts.streams.journal.commit()
    again = Middle(order_store=store)
    again.parts.orders.positions.restore()
    store.fault = "the disk says nothing"
    execute(again, "E3.01", "a/k", 10, 10.0)
    assert not published(again)
    store.fault = ""
    execute(again, "E3.01", "a/k", 10, 10.0)
    assert published(again)[-1]["realizedPNL"] == 100.0
    assert published(again)[-1]["position"] == 10.0


def test_a_commission_for_a_position_that_cannot_be_read_leaves_the_position_as_it_was() -> None:
    store = SilentStore()
    middle = Middle(order_store=store)
    execute(middle, "E1.01", "a/k", 100, 10.0)
    execute(middle, "E2.01", "a/k", -100, 11.0)
    assert middle.parts.streams.journal.commit()
    again = Middle(order_store=store)
    execute(again, "E2.01", "a/k", -100, 11.0)
    store.fault = "the disk says nothing"
    report = {"execId": "E2.01", "commissionAndFees": 1.0, "currency": "USD"}
    deliver(again, Message("commissionAndFeesReport", {"commissionAndFeesReport": report}))
    store.fault = ""
    execute(again, "E3.01", "a/k", 10, 10.0)
    assert published(again)[-1]["realizedPNL"] == 100.0
