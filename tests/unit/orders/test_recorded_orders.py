"""Orders in a recording, judged by limits."""

from __future__ import annotations

from typing import Any

from ibbridge.codec import Dialect
from ibbridge.config.model import RiskConfig
from ibbridge.orders.recorded_orders import RecordedOrders
from tests.support.daemon_core import AAPL, LIMIT

VERSION = 200
NAMED = {**AAPL, "conId": 265598}
AT = 1_767_623_400_000_000


class Recorded:
    """A recording, frame by frame."""

    def __init__(self, **limits: Any) -> None:
        self.judged = RecordedOrders(RiskConfig(all=limits, base_currency="USD"))
        self.judged.connected(VERSION)
        self.at = AT
        self.say("managedAccounts", accountsList="DU1")

    def ask(self, name: str, **data: Any) -> None:
        self.at += 1_000_000
        self.judged.take(self.at, Dialect.client(VERSION).put(name, data)[4:], outbound=True)

    def say(self, name: str, **data: Any) -> None:
        self.judged.take(self.at, Dialect.server(VERSION).put(name, data)[4:], outbound=False)

    def order(self, number: int, **order: Any) -> None:
        self.ask("placeOrder", orderId=number, contract=AAPL, order={**LIMIT, "orderRef": f"a/k{number}", **order})

    @property
    def rules(self) -> list[tuple[str, str, float | None]]:
        return [(each.order, each.rule, each.value) for each in self.judged.refused]


def test_orders_over_a_limit_are_named_and_count_no_more() -> None:
    recorded = Recorded(max_position=300, max_order_quantity=250)
    recorded.order(1, totalQuantity=200)
    recorded.order(2, totalQuantity=251)
    recorded.order(3, totalQuantity=101)
    recorded.order(4, totalQuantity=100)
    assert recorded.rules == [("a/k2", "max_order_quantity", 251), ("a/k3", "max_position", 301)]
    assert recorded.judged.count == 4


def test_what_is_filled_or_over_and_positions_count_as_they_did() -> None:
    recorded = Recorded(max_position=300)
    recorded.order(1, totalQuantity=300)
    recorded.say("orderStatus", orderId=1, status="Cancelled", filled=0.0, remaining=300.0, clientId=0)
    recorded.order(2, totalQuantity=100)
    execution = {"execId": "e.1.01.01", "orderId": 2, "side": "BOT", "shares": 100.0, "price": 1.0, "acctNumber": "DU1"}
    for _ in range(2):
        recorded.say("execDetails", reqId=-1, contract=NAMED, execution=execution)
    recorded.say("orderStatus", orderId=2, status="Filled", filled=100.0, remaining=0.0, clientId=0)
    recorded.order(3, totalQuantity=201)
    assert recorded.rules == [("a/k3", "max_position", 301)]


def test_quotes_of_the_recording_count() -> None:
    recorded = Recorded(price_collar_percent=5)
    recorded.order(1)
    recorded.ask("reqMktData", reqId=7, contract=AAPL)
    recorded.say("tickPrice", reqId=7, tickType=2, price=150.0, size=1.0)
    recorded.order(2, lmtPrice=157.5)
    recorded.order(3, lmtPrice=158.0)
    assert [(order, rule) for order, rule, _ in recorded.rules] == [
        ("a/k1", "price_collar_percent"),
        ("a/k3", "price_collar_percent"),
    ]
