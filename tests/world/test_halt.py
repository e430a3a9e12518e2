"""A halt with cancels under every fault that the simulator knows: what it says of each order, by the books of TWS.

Each life trades calmly until one fault of `ibbridge sim` strikes, about when the operator halts trading and cancels.
The books are compared twice: at the deadline, and when the fault is over and all has come right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.sim.faults.script import FARM_CODES, FAULTS, ORDER_EVENTS
from ibbridge.sim.orders.order import API_CANCELLED, FILLED, HELD
from tests.world.faults import BLINDNESS
from tests.world.process import CLIENT_ID
from tests.world.world import BEGIN, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ibbridge.sim.orders.order import SimulatedOrder

DEADLINE = 12.0
LATE = 11.0
"""Seconds after the deadline within which the alarm comes: two heartbeats of these worlds."""
SEEDS = (1, 3)

Step = dict[str, Any]

AAPL = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
REPORTS = [*ORDER_EVENTS]
ORDER_REQUESTS = ["placeOrder", "cancelOrder", "reqAllOpenOrders", "reqExecutions", "reqCompletedOrders"]

VARIANTS: dict[str, Sequence[Step]] = {
    "refuse": [{"do": "close"}, {"do": "refuse", "for": 8}],
    "accept-close": [{"do": "accept-close", "times": 3}, {"do": "close"}],
    "stall": [{"do": "stall", "stage": "ready"}],
    "id-in-use": [{"do": "id-in-use", "times": 2}, {"do": "close"}],
    "stuck-id": [{"do": "stuck-id", "seconds": 10}, {"do": "close"}],
    "greet": [{"do": "greet", "announce": 187, "times": 1}, {"do": "close"}],
    "drop": [{"do": "drop", "bytes": 100}],
    "slow": [{"do": "slow", "rate": 200}],
    "merge": [{"do": "merge", "seconds": 3}],
    "1101": [{"do": "1100"}, {"do": "1101"}],
    "1102": [{"do": "1100"}, {"do": "1102"}],
    "farm": [{"do": "farm", "code": code, "farm": "usfarm"} for code in FARM_CODES],
    "restart": [{"do": "restart", "ids": -3, "for": 6}],
    "ignore": [{"do": "ignore", "requests": ORDER_REQUESTS}],
    "lose": [{"do": "lose", "messages": REPORTS}],
    "delay": [{"do": "delay", "seconds": 5}],
    "pace": [{"do": "pace", "rate": 2}],
    "by-hand": [{"do": "by-hand", "symbol": "AAPL", "action": "BUY", "price": 1.0}],
}
"""Steps of the faults for which one word is not enough."""

FURTHER: dict[str, Sequence[Step]] = {
    "1100 lost": [{"do": "1100", "events": "lost"}],
    "1100 some": [{"do": "1100", "events": "some", "repeat": 5}],
    "1100 reorder": [{"do": "1100", "events": "reorder"}],
    "2110 duplicate": [{"do": "2110", "events": "duplicate"}],
    "stall accepted": [{"do": "stall", "stage": "accepted"}, {"do": "close"}],
    "stall version": [{"do": "stall", "stage": "version"}, {"do": "close"}],
    "stall start": [{"do": "stall", "stage": "start"}, {"do": "close"}],
    "id-in-use close": [{"do": "id-in-use", "how": "close", "times": 2}, {"do": "close"}],
    "close abort": [{"do": "close", "abort": True}],
    "ignore cancels": [{"do": "ignore", "requests": ["cancelOrder"]}],
    "lose statuses": [{"do": "lose", "messages": ["orderStatus"]}],
    "delay cancels": [{"do": "delay", "seconds": 20, "requests": ["cancelOrder"]}],
    "delay orders": [{"do": "delay", "seconds": 20, "requests": ["placeOrder"]}],
    "pace wait": [{"do": "pace", "rate": 2, "how": "wait"}],
    "reject 103": [{"do": "reject", "code": 103, "text": "Duplicate order id"}],
    "reorder": [{"do": "order-events", "how": "reorder"}],
    "lose events": [{"do": "order-events", "how": "lose"}],
    **{f"garbage {kind}": [{"do": "garbage", "kind": kind}] for kind in ("undecodable", "surplus", "empty", "length")},
}
"""Other arguments of the same faults, by a name of their own."""

LIVES = {**{do: VARIANTS.get(do, [{"do": do}]) for do in FAULTS}, **FURTHER}


class HaltedWorld(World):
    """World in which all is calm but for one fault, and a halt of all trading with cancels."""

    def __init__(self, seed: int, steps: Sequence[Step]) -> None:
        super().__init__(seed, calm=True)
        self._steps = steps
        self.struck |= BLINDNESS  # the daemon compares its orders when the fault is over
        self.wrong: list[str] = []
        self.open_at_halt = 0

    def _trade(self) -> None:
        chance, timeline = self.chance, self.timeline
        for client in self.clients:
            self._act(client, 0.5)
        timeline.run(BEGIN + chance.uniform(12.0, 18.0))
        before = chance.random() < 0.5
        if before:
            self._strike()
            timeline.run(timeline.now + chance.choice((0.05, 0.5, 3.0)))
        self.open_at_halt = sum(order.working for order in self.own)
        self.operate("halt", cancel=True, deadline=DEADLINE)
        if not before:
            timeline.run(timeline.now + chance.choice((0.001, 0.01, 0.2)))
            self._strike()
        timeline.run(timeline.now + DEADLINE + LATE)
        self._compare("at the deadline")

    def _strike(self) -> None:
        for step in self._steps:
            self.history.fault(self.timeline.now, f"TWS: {step}")
            if step["do"] == "by-hand":
                order = {"action": "BUY", "totalQuantity": 100.0, "orderType": "LMT", "lmtPrice": step["price"]}
                self.tws.core.enter_order(AAPL, order)
                self.tws.flush()
            else:
                self.tws.fault(**step)

    def operate(self, cmd: str, **args: Any) -> None:
        """Send a command of the operator's, who does not resume trading: no new order is accepted after the halt."""
        if cmd != "resume":
            super().operate(cmd, **args)

    def _audit(self) -> None:
        self._compare("at the end", settled=True)
        super()._audit()

    @property
    def own(self) -> list[SimulatedOrder]:
        """Orders of the daemon in the books of TWS."""
        return [order for order in self.tws.orders if order.client == CLIENT_ID and order.order.get("orderRef")]

    def _compare(self, when: str, *, settled: bool = False) -> None:
        (about,) = self._ask("haltStatus")["cancels"]
        lists = self._ask("haltStatus", cancel=about["id"])["cancel"]
        faults = [*self._contradictions(lists, settled=settled)]
        if not about["over"]:
            faults.append("the mass cancel goes on")
        left = [each for name in ("refused", "unknown") for each in lists[name] if each["state"] != "done"]
        if (left and not self._alarmed()) or (settled and self._alarmed() and not left):
            faults.append(f"{len(left)} orders are not over, and the alarm is {self._alarmed()}")
        self.wrong += [f"{when}: {fault}" for fault in faults]

    def _alarmed(self) -> bool:
        told = [each.data for each in self.history.heard if each.kind == "alarm"]
        last = [data["raised"] for data in told if data["alarm"] == "haltCancel"]
        return bool(last and last[-1])

    def _contradictions(self, lists: dict[str, Any], *, settled: bool) -> Iterator[str]:
        """Yield where the three lists and the books differ.

        `settled`: the daemon has compared its orders with those of TWS, so it has to know what became of each.
        """
        named: dict[str, str] = {}
        for name in ("cancelled", "refused", "unknown"):
            for each in lists[name]:
                ref = f"{each['owner']}/{each['key']}"
                order = self._order(each)
                if ref in named:
                    yield f"{ref} is in two lists, {named[ref]} and {name}"
                named[ref] = name
                status = order.status if order is not None else None
                if not _agree(name, each, order, settled=settled):
                    yield f"{ref} is {name} ({each}), and the books have {status}"
        for order in self.own:
            if order.working and (ref := order.order["orderRef"]) not in named:
                yield f"{ref} works ({order.status}), and is in none of the lists"

    def _order(self, each: dict[str, Any]) -> SimulatedOrder | None:
        if each["owner"] == "ext":
            return next((order for order in self.tws.orders if order.perm_id == each["permId"]), None)
        found = [order for order in self.own if order.order["orderRef"] == f"{each['owner']}/{each['key']}"]
        return found[-1] if found else None


def _agree(name: str, each: dict[str, Any], order: SimulatedOrder | None, *, settled: bool) -> bool:
    """Return True if what a list says of an order is so in the books."""
    if name == "cancelled":
        if order is not None and order.status == HELD and each["reason"] == "not_at_tws":
            return True  # TWS has heard it late, and lists no order that is not transmitted: nobody can know of it
        return order is None or (order.done and order.status != FILLED)
    if name == "refused":
        if each["reason"] in ("filled", "Filled"):
            return order is not None and order.status == FILLED
        return order is not None and not order.done
    # No list of TWS has an order that ended so, if the word of its end was lost.
    return not settled or order is None or not order.done or order.status == API_CANCELLED


@pytest.mark.parametrize("name", LIVES)
def test_a_halt_tells_the_truth_of_each_order_at_the_deadline_and_at_the_end(name: str) -> None:
    halted = 0
    for seed in SEEDS:
        world = HaltedWorld(seed, [] if name in ("figures", "off") else LIVES[name])
        evidence = world.live()
        assert world.wrong == [], f"seed {seed}: " + "\n".join(evidence.history.faults)
        assert evidence.history.errors == []
        halted += world.open_at_halt
    assert halted, "no order was open when the halt came"


def test_every_fault_of_the_simulator_has_its_life() -> None:
    assert {step["do"] for steps in LIVES.values() for step in steps} == {*FAULTS}
