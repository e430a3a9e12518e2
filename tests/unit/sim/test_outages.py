"""Order events during an outage of IB's servers: they come late, are lost, doubled or out of order."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.sim.engine import SimulatedTws
from ibbridge.sim.faults.injector import FaultInjector
from ibbridge.sim.faults.script import ORDER_EVENTS, step
from tests.support.simulator_client import AAPL

if TYPE_CHECKING:
    from ibbridge.sim.context import Sent

ORDERS = 6
ASKED: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("reqAllOpenOrders", {}, "openOrder"),
    ("reqExecutions", {"reqId": 99, "execFilter": {}}, "execDetails"),
    ("reqCompletedOrders", {"apiOnly": False}, "completedOrder"),
)


class Host:
    """Simulated TWS with one client."""

    def __init__(self) -> None:
        self.core = SimulatedTws(3)
        self.injector = FaultInjector(self.core)
        self.session = self.core.connect(1)
        self.injector.joined(self.session)
        self.heard()

    def ask(self, name: str, args: dict[str, Any]) -> list[Sent]:
        self.injector.asked(self.session, name, args, 0.0)
        return self.heard()

    def heard(self) -> list[Sent]:
        return self.injector.said(self.session, self.session.take(), 0.0)

    def fault(self, **given: Any) -> list[Sent]:
        self.injector.begin(step(given), 0.0)
        return self.heard()


def outage(events: str) -> tuple[Host, list[Sent], list[Sent]]:
    """Return a host after an outage; the order events that happened in it; and the messages that came after it."""
    host = Host()
    for number in range(1, ORDERS + 1):
        order = {"action": "BUY", "totalQuantity": 10, "orderType": "MKT"}
        host.ask("placeOrder", {"orderId": number, "contract": AAPL, "order": order})
    host.fault(do="1100", events=events)
    host.core.advance(host.core.now + 5)
    happened = host.session.take()
    assert {name for name, _ in happened} == {*ORDER_EVENTS}
    assert host.injector.said(host.session, happened, 0.0) == []
    (name, notice), *came = host.fault(do="1102")
    assert (name, notice["errorCode"]) == ("error", 1102)
    return host, happened, came


def counted(messages: list[Sent]) -> Counter[str]:
    return Counter(map(repr, messages))


def test_late_events_come_behind_the_notice_in_their_order() -> None:
    _, happened, came = outage("late")
    assert came == happened


def test_lost_events_never_come() -> None:
    _, _, came = outage("lost")
    assert came == []


def test_some_events_are_lost() -> None:
    _, happened, came = outage("some")
    assert 0 < len(came) < len(happened)
    assert counted(came) <= counted(happened)


def test_doubled_events_come_twice() -> None:
    _, happened, came = outage("duplicate")
    assert counted(came) == counted(happened + happened)


def test_events_out_of_order_all_come() -> None:
    _, happened, came = outage("reorder")
    assert came != happened
    assert counted(came) == counted(happened)


@pytest.mark.parametrize("events", ["late", "lost", "some", "duplicate", "reorder"])
def test_whoever_asks_afterwards_hears_the_truth(events: str) -> None:
    host, _, _ = outage(events)
    found = {row: [data for name, data in host.ask(asked, args) if name == row] for asked, args, row in ASKED}
    assert found["openOrder"] == []
    assert len(found["execDetails"]) == ORDERS
    assert {each["orderState"]["status"] for each in found["completedOrder"]} == {"Filled"}


def test_an_error_that_ends_an_order_is_an_event_of_it() -> None:
    """IB's servers end it, and TWS does not hear of that."""
    host = Host()
    order = {"action": "BUY", "totalQuantity": 10, "orderType": "LMT", "lmtPrice": 1.0}
    host.ask("placeOrder", {"orderId": 1, "contract": AAPL, "order": order})
    host.fault(do="1100", events="lost")
    host.core.orders.entry.cancel_all(host.session, {})
    assert host.heard() == []
    assert [data["errorCode"] for _, data in host.fault(do="1101")] == [1101]


def test_what_is_read_late_is_read_in_its_order() -> None:
    """A cancel does not overtake its order, also when the fault is over meanwhile."""
    host = Host()
    order = {"action": "BUY", "totalQuantity": 10, "orderType": "LMT", "lmtPrice": 1.0}
    host.fault(**{"do": "delay", "seconds": 3.0, "for": 1.0})
    host.injector.asked(host.session, "placeOrder", {"orderId": 1, "contract": AAPL, "order": order}, 0.0)
    host.injector.tick(1.0)
    host.injector.asked(host.session, "cancelOrder", {"orderId": 1, "orderCancel": {}}, 1.0)
    assert host.heard() == []
    host.injector.tick(3.0)
    said = host.injector.said(host.session, host.session.take(), 3.0)
    assert [name for name, _ in said] == ["openOrder", "orderStatus", "orderStatus", "error"]
