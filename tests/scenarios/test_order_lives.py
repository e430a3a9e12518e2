"""The lives of orders as TWS tells them: each sequence of messages, with the variations that TWS is known to send.

Each life is told in bytes at a version with text and at one with protobuf. Behind each step are the states that it
must publish: state, reason, cause, filled/remaining@average, !last error, revision.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemon_core import AAPL, LIMIT
from tests.support.order_lives import (
    LEG,
    LOOK_UPS,
    MARKET,
    SPREAD,
    STOP,
    TARGET,
    VERSIONS,
    Command,
    Passing,
    Said,
    Stage,
    cancelled,
    changed,
    charged,
    completed,
    executed,
    failed,
    fills,
    grouped,
    opened,
    placed,
    states,
    status,
    topics,
)

E1, E2, E3 = "0000e0d5.5f3b.01.01", "0000e0d5.5f3c.01.01", "0000e0d5.5f3d.01.01"
E1_CORRECTED, E1_AGAIN = "0000e0d5.5f3b.01.02", "0000e0d5.5f3b.01.03"
LEG_1, LEG_2 = "0000e0d5.5f3b.02.01.01", "0000e0d5.5f3b.03.01.01"

NOT_UNTIL_OPEN = (
    "Order Message:\nBUY 100 AAPL NASDAQ.NMS\n"
    "Warning: your order will not be placed at the exchange until 2026-01-05 09:30:00 US/Eastern"
)
REJECTED = "Order rejected - reason:The exchange is closed.<br>Try again"
CANNOT = "OrderId 500 that needs to be cancelled can not be cancelled, state: "
NO_REASON = "Order Canceled - reason:"
JSON = '{"errors":[{"overridable":true,"code":"8229=IBDUPTRADE"}]}'

BRACKET: list[dict[str, Any]] = [
    {"key": "entry", "contract": AAPL, "order": LIMIT},
    {"key": "target", "contract": AAPL, "order": TARGET, "parent": "entry"},
    {"key": "stop", "contract": AAPL, "order": STOP, "parent": "entry"},
]
OCA: list[dict[str, Any]] = [
    {"key": key, "contract": AAPL, "order": {**LIMIT, "ocaGroup": "g", "ocaType": 1}} for key in ("one", "two")
]

LIVES: dict[str, list[tuple[Said | Command | Passing, str]]] = {
    "market order, immediate fill": [
        (placed(MARKET), "sent"),
        (opened("PreSubmitted"), "working"),
        (status("PreSubmitted"), "working 0/100"),
        (executed(E1, 100, 100), "working 100/0@150"),
        (opened("Filled"), "done filled 100/0@150"),
        (status("Filled", 100, 0, 150), ""),
        (charged(E1), ""),
    ],
    "market order, Filled before its execution": [
        (placed(MARKET), "sent"),
        (status("Filled", 100, 0, 150), "done filled 100/0@150"),
        (executed(E1, 100, 100), ""),
        (charged(E1), ""),
    ],
    "market order, execution and commission before Filled": [
        (placed(MARKET), "sent"),
        (executed(E1, 100, 100), "working 100/-@150"),
        (charged(E1), ""),
        (status("Filled", 100, 0, 150), "done filled 100/0@150"),
    ],
    "market order, commission before its execution": [
        (placed(MARKET), "sent"),
        (charged(E1).unheard(), ""),
        (executed(E1, 100, 100), "working 100/-@150"),
        (status("Filled", 100, 0, 150), "done filled 100/0@150"),
    ],
    "market order without a status": [
        (placed(MARKET), "sent"),
        (executed(E1, 100, 100), "working 100/-@150"),
        (charged(E1), ""),
        (Passing(1.0), ""),
        (Passing(6.0, LOOK_UPS[:1]), ""),
        (completed("Filled", "Filled Size: 100", 100.0), "done filled 100/-@150"),
    ],
    "limit order, resting": [
        (placed(), "sent"),
        (opened("Submitted"), "working"),
        (status("Submitted"), "working 0/100"),
        (status("Submitted"), ""),
        (opened("Submitted"), ""),
    ],
    "limit order, PreSubmitted and resting": [
        (placed(), "sent"),
        (opened("PreSubmitted"), "working"),
        (status("PreSubmitted"), "working 0/100"),
        (opened("Submitted"), "working 0/100"),
        (status("Submitted"), ""),
    ],
    "limit order, told by its status first, and pending at first": [
        (placed(), "sent"),
        (status("PendingSubmit"), "acked 0/100"),
        (status("ApiPending"), "acked 0/100"),
        (opened("PendingSubmit"), "acked 0/100"),
        (opened("Submitted"), "working 0/100"),
        (status("PendingSubmit"), "working 0/100"),
    ],
    "partial fills": [
        (placed(), "sent"),
        (opened("Submitted"), "working"),
        (status("Submitted"), "working 0/100"),
        (executed(E1, 30, 30, 149), "working 30/70@149"),
        (opened("Submitted"), ""),
        (status("Submitted", 30, 70, 149), ""),
        (charged(E1), ""),
        (executed(E2, 70, 100, 150, average=149.7), "working 100/0@149.7"),
        (charged(E2), ""),
        (status("Filled", 100, 0, 149.7), "done filled 100/0@149.7"),
    ],
    "partial fills, of which one has no status and one repeats": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (executed(E1, 30, 30, 149), "working 30/70@149"),
        (executed(E2, 20, 50, 150, average=149.4), "working 50/50@149.4"),
        (status("Submitted", 50, 50, 149.4), ""),
        (status("Submitted", 30, 70, 149), ""),
        (status("Submitted", 50, 50, 149.4), ""),
        (executed(E2, 20, 50, 150, average=149.4).unheard(), ""),
        (executed(E3, 50, 100, 150, average=149.7), "working 100/0@149.7"),
        (status("Filled", 100, 0, 149.7), "done filled 100/0@149.7"),
        (status("Filled", 100, 0, 149.7), ""),
    ],
    "limit order before the open": [
        (placed(), "sent"),
        (failed(399, NOT_UNTIL_OPEN), "acked !399"),
        (opened("PreSubmitted"), "working !399"),
        (status("PreSubmitted"), "working 0/100 !399"),
    ],
    "stop": [
        (placed(STOP), "sent"),
        (opened("PreSubmitted", orderType="STP", lmtPrice=1.7976931348623157e308), "working"),
        (status("PreSubmitted", held="trigger"), "working 0/100"),
        (status("PreSubmitted", held="trigger"), ""),
        (status("Submitted"), "working 0/100"),
        (executed(E1, 100, 100, 139), "working 100/0@139"),
        (status("Filled", 100, 0, 139), "done filled 100/0@139"),
        (charged(E1), ""),
    ],
    "trailing stop": [
        (placed({**STOP, "orderType": "TRAIL", "auxPrice": 1.0}), "sent"),
        (opened("PreSubmitted", orderType="TRAIL", lmtPrice=150.37), "working"),
        (status("PreSubmitted", held="trigger"), "working 0/100"),
        (opened("Submitted"), "working 0/100"),
        (status("Submitted"), ""),
        (executed(E1, 100, 100), "working 100/0@150"),
        (opened("Filled"), "done filled 100/0@150"),
        (status("Filled", 100, 0, 150), ""),
        (charged(E1), ""),
    ],
    "cancel": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (cancelled(), "cancelling 0/100"),
        (status("PendingCancel"), "cancelling 0/100"),
        (status("Cancelled"), "done cancelled by own 0/100"),
        (failed(202, NO_REASON), "done cancelled by own 0/100 !202"),
    ],
    "cancel without PendingCancel, error first": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (cancelled(), "cancelling 0/100"),
        (failed(202, NO_REASON), "done cancelled by own 0/100 !202"),
        (status("Cancelled"), "done cancelled by own 0/100 !202"),
        (status("Cancelled"), ""),
    ],
    "cancel before TWS has acknowledged": [
        (placed(), "sent"),
        (cancelled(), "cancelling"),
        (status("ApiCancelled"), "done cancelled by own 0/100"),
        (failed(202, NO_REASON), "done cancelled by own 0/100 !202"),
    ],
    "cancel of a partly filled order": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (executed(E1, 40, 40), "working 40/60@150"),
        (cancelled(), "cancelling 40/60@150"),
        (status("Cancelled", 40, 60, 150), "done cancelled by own 40/60@150"),
        (failed(202, NO_REASON), "done cancelled by own 40/60@150 !202"),
        (charged(E1), ""),
    ],
    "cancel in TWS by hand": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (status("Cancelled"), "done cancelled 0/100"),
        (failed(202, NO_REASON), "done cancelled 0/100 !202"),
        (completed("Cancelled", "Cancelled by Trader"), "done cancelled by by_hand 0/100 !202"),
    ],
    "IB cancels it": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (status("Cancelled"), "done cancelled 0/100"),
        (failed(202, "Order Canceled - reason:\nno longer valid"), "done cancelled by broker 0/100 !202"),
    ],
    "cancel loses to a fill": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (cancelled(), "cancelling 0/100"),
        (status("PendingCancel"), "cancelling 0/100"),
        (executed(E1, 100, 100), "cancelling 100/0@150"),
        (status("Filled", 100, 0, 150), "done filled 100/0@150"),
        (charged(E1), ""),
    ],
    "cancel is refused because of a fill that comes later": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (cancelled(), "cancelling 0/100"),
        (
            failed(10148, CANNOT + "Filled."),
            "unknown 0/100 !10148",
        ),
        (Passing(1.0, LOOK_UPS[:1]), ""),
        (executed(E1, 100, 100), "working 100/0@150 !10148"),
        (status("Filled", 100, 0, 150), "done filled 100/0@150 !10148"),
    ],
    "cancel is refused because of a fill that came before": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (cancelled(), "cancelling 0/100"),
        (status("Filled", 100, 0, 150), "done filled 100/0@150"),
        (
            failed(161, "not in a cancellable state. Order permId = 9"),
            "",
        ),
        (Passing(1.0), ""),
    ],
    "IOC unfilled": [
        (placed({**LIMIT, "tif": "IOC"}), "sent"),
        (opened("Submitted"), "working"),
        (status("PendingCancel"), "cancelling 0/100"),
        (status("Cancelled"), "done cancelled 0/100"),
    ],
    "FOK unfilled": [
        (placed({**LIMIT, "tif": "FOK"}), "sent"),
        (opened("Submitted"), "working"),
        (status("Inactive"), "acked 0/100"),
        (Passing(1.0), ""),
        (Passing(6.0, LOOK_UPS[:1]), ""),
        (completed("Cancelled", "Cancelled by System:\n"), "done cancelled by broker 0/100"),
    ],
    "local refusal: bad type": [
        (placed(), "sent"),
        (failed(321, "Error validating request"), "done rejected !321"),
    ],
    "local refusal: bad price": [(placed(), "sent"), (failed(110, "The price does not conform"), "done rejected !110")],
    "local refusal: bad contract": [
        (placed(), "sent"),
        (failed(200, "No security definition"), "done rejected !200"),
    ],
    "broker rejection by Inactive": [
        (placed(), "sent"),
        (status("Inactive"), "acked 0/100"),
        (failed(201, REJECTED, reason=JSON), "done rejected by broker 0/100 !201"),
        (status("Inactive"), ""),
        (Passing(1.0), ""),
    ],
    "broker rejection by Cancelled": [
        (placed(), "sent"),
        (opened("Cancelled"), "done cancelled"),
        (status("Cancelled"), "done cancelled 0/100"),
        (failed(201, REJECTED), "done rejected by broker 0/100 !201"),
    ],
    "broker rejection, error first": [
        (placed(), "sent"),
        (failed(201, REJECTED), "done rejected by broker !201"),
        (opened("Inactive"), "done rejected by broker !201"),
        (status("Inactive"), "done rejected by broker 0/100 !201"),
        (Passing(1.0), ""),
    ],
    "rejection of what is left": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (executed(E1, 40, 40), "working 40/60@150"),
        (failed(201, REJECTED), "done rejected by broker 40/60@150 !201"),
        (status("Cancelled", 40, 60, 150), "done rejected by broker 40/60@150 !201"),
    ],
    "precaution discards it": [
        (placed(), "sent"),
        (failed(10329, "Warning: the order is routed directly"), "unknown !10329"),
        (status("Cancelled"), "done cancelled 0/100 !10329"),
        (failed(201, "Order was discarded."), "done rejected by broker 0/100 !201"),
        (cancelled(), ""),
        (failed(10147, "OrderId 500 that needs to be cancelled is not found."), ""),
    ],
    "modify accepted": [
        (placed(), "sent"),
        (opened("Submitted"), "working"),
        (status("Submitted"), "working 0/100"),
        (changed(1, lmtPrice=151.0), "modifying 0/100 r1"),
        (opened("Submitted", lmtPrice=151.0), "working 0/100 r1"),
        (status("Submitted"), ""),
        (opened("Submitted", lmtPrice=151.0), ""),
        (status("Submitted"), ""),
    ],
    "modify too early": [
        (placed(), "sent"),
        (opened("PreSubmitted"), "working"),
        (changed(1, lmtPrice=151.0), "modifying r1"),
        (failed(2102, "Unable to modify this order as it is still being processed."), "working !2102 r1"),
        (Passing(1.0), ""),
    ],
    "modify a filled order whose end comes later": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (changed(1, lmtPrice=151.0), "modifying 0/100 r1"),
        (failed(104, "Can't modify a filled order"), "unknown 0/100 !104 r1"),
        (Passing(1.0, LOOK_UPS[:1]), ""),
        (status("Filled", 100, 0, 150), "done filled 100/0@150 !104 r1"),
    ],
    "modify a filled order whose end came before": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (changed(1, lmtPrice=151.0), "modifying 0/100 r1"),
        (status("Filled", 100, 0, 150), "done filled 100/0@150 r1"),
        (failed(104, "Can't modify a filled order"), "done filled 100/0@150 !104 r1"),
    ],
    "modify that does not match": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (changed(1, lmtPrice=151.0), "modifying 0/100 r1"),
        (failed(105, "Order being modified does not match original order"), "working 0/100 !105 r1"),
        (status("Submitted"), ""),
    ],
    "modify to market with a late execution": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (changed(1, orderType="MKT"), "modifying 0/100 r1"),
        (status("Filled", 100, 0, 150), "done filled 100/0@150 r1"),
        (executed(E1, 100, 100), ""),
        (charged(E1), ""),
    ],
    "transmit false, then true": [
        (placed({**LIMIT, "transmit": False}), "held"),
        (Passing(60.0), ""),
        (changed(1, transmit=True), "sent r1"),
        (opened("Submitted"), "working r1"),
        (status("Submitted"), "working 0/100 r1"),
    ],
    "bracket": [
        (grouped(BRACKET), "entry: sent; target: sent; stop: sent"),
        (opened("Submitted", "entry"), "entry: working"),
        (status("Submitted", key="entry"), "entry: working 0/100"),
        (opened("PreSubmitted", "target"), "target: working"),
        (status("PreSubmitted", key="target", held="child"), "target: working 0/100"),
        (opened("PreSubmitted", "stop"), "stop: working"),
        (status("PreSubmitted", key="stop", held="child"), "stop: working 0/100"),
        (executed(E1, 100, 100, key="entry"), "entry: working 100/0@150"),
        (status("Filled", 100, 0, 150, key="entry"), "entry: done filled 100/0@150"),
        (status("Submitted", key="target"), "target: working 0/100"),
        (status("PreSubmitted", key="stop", held="trigger"), ""),
        (executed(E2, 100, 100, 160, key="target"), "target: working 100/0@160"),
        (status("Filled", 100, 0, 160, key="target"), "target: done filled 100/0@160"),
        (status("Cancelled", key="stop"), "stop: done cancelled 0/100"),
        (failed(202, NO_REASON, key="stop"), "stop: done cancelled 0/100 !202"),
        (charged(E1, key="entry"), ""),
    ],
    "child before its parent is known": [
        (placed(), "k: sent"),
        (placed(STOP, "child", parent="k"), "child: sent"),
        (failed(10006, "Missing parent order.", key="child"), "child: done rejected !10006"),
        (status("Submitted"), "k: working 0/100"),
    ],
    "cancel of a parent": [
        (grouped(BRACKET[:2]), "entry: sent; target: sent"),
        (opened("Submitted", "entry"), "entry: working"),
        (status("Submitted", key="entry"), "entry: working 0/100"),
        (opened("PreSubmitted", "target"), "target: working"),
        (status("PreSubmitted", key="target", held="child"), "target: working 0/100"),
        (cancelled("entry"), "entry: cancelling 0/100"),
        (status("Cancelled", key="entry"), "entry: done cancelled by own 0/100"),
        (failed(202, NO_REASON, key="entry"), "entry: done cancelled by own 0/100 !202"),
        (status("Cancelled", key="target"), "target: done cancelled 0/100"),
        (failed(202, NO_REASON, key="target"), "target: done cancelled 0/100 !202"),
    ],
    "OCA group, one fills": [
        (grouped(OCA), "one: sent; two: sent"),
        (opened("Submitted", "one"), "one: working"),
        (status("Submitted", key="one"), "one: working 0/100"),
        (opened("Submitted", "two"), "two: working"),
        (status("Submitted", key="two"), "two: working 0/100"),
        (executed(E1, 100, 100, key="one"), "one: working 100/0@150"),
        (status("Cancelled", key="two"), "two: done cancelled 0/100"),
        (failed(202, NO_REASON, key="two"), "two: done cancelled 0/100 !202"),
        (status("Filled", 100, 0, 150, key="one"), "one: done filled 100/0@150"),
    ],
    "OCA group, one reduces the other": [
        (grouped(OCA), "one: sent; two: sent"),
        (opened("Submitted", "one"), "one: working"),
        (status("Submitted", key="one"), "one: working 0/100"),
        (opened("Submitted", "two"), "two: working"),
        (status("Submitted", key="two"), "two: working 0/100"),
        (executed(E1, 40, 40, key="one"), "one: working 40/60@150"),
        (opened("Submitted", "two", totalQuantity=60), ""),
        (status("Submitted", 0, 60, key="two"), "two: working 0/60"),
    ],
    "OCA group, a cancel races": [
        (grouped(OCA), "one: sent; two: sent"),
        (opened("Submitted", "one"), "one: working"),
        (status("Submitted", key="one"), "one: working 0/100"),
        (opened("Submitted", "two"), "two: working"),
        (status("Submitted", key="two"), "two: working 0/100"),
        (cancelled("two"), "two: cancelling 0/100"),
        (status("Cancelled", key="two"), "two: done cancelled by own 0/100"),
        (
            failed(10148, CANNOT + "Cancelled.", key="two"),
            "",
        ),
    ],
    "held for locate": [
        (placed({**LIMIT, "action": "SELL"}), "sent"),
        (failed(404, "Order held while securities are located."), "acked !404"),
        (status("PreSubmitted", held="locate"), "working 0/100 !404"),
        (status("Submitted"), "working 0/100 !404"),
    ],
    "outside hours flag ignored": [
        (placed({**LIMIT, "outsideRth": True}), "sent"),
        (failed(2109, "Order Event Warning: Attribute 'Outside Regular Trading Hours' is ignored"), "acked !2109"),
        (opened("Submitted"), "working !2109"),
        (status("Submitted"), "working 0/100 !2109"),
    ],
    "TIF restated": [
        (placed({**LIMIT, "tif": "GTX"}), "sent"),
        (opened("Submitted", tif="GTC"), "working"),
        (status("Submitted"), "working 0/100"),
    ],
    "goes Inactive although well-formed, and comes back": [
        (placed(), "sent"),
        (opened("PreSubmitted"), "working"),
        (status("Inactive"), "acked 0/100"),
        (status("PreSubmitted"), "working 0/100"),
        (status("Submitted"), "working 0/100"),
    ],
    "correction of an execution": [
        (placed(), "sent"),
        (executed(E1, 100, 100), "working 100/-@150"),
        (status("Filled", 100, 0, 150), "done filled 100/0@150"),
        (executed(E1_CORRECTED, 90, 100, 149.0), "done filled 90/0@149"),
        (executed(E1, 100, 100).unheard(), ""),
        (status("Filled", 100, 0, 150), ""),
        (executed(E1_AGAIN, 95, 95, 149.5), "done filled 95/0@149.5"),
    ],
    "bust of an execution": [
        (placed(), "sent"),
        (status("Submitted"), "working 0/100"),
        (executed(E1, 30, 30), "working 30/70@150"),
        (status("Submitted", 30, 70, 150), ""),
        (executed(E1_CORRECTED, 0, 30), "working 0/70"),
        (executed(E2, 70, 100, 151), "working 70/0@151"),
    ],
    "combination": [
        (placed(contract=SPREAD), "sent"),
        (opened("Submitted", contract=SPREAD), "working"),
        (status("Submitted"), "working 0/100"),
        (executed(LEG_1, 100, 100, 5.0, contract=LEG), ""),
        (executed(LEG_2, 100, 100, 6.5, contract=LEG), ""),
        (executed(E1, 40, 40, -1.5, contract=SPREAD), "working 40/60@-1.5"),
        (charged(LEG_1), ""),
        (status("Submitted", 40, 60, -1.5), ""),
        (executed(E2, 60, 100, -1.5, contract=SPREAD), "working 100/0@-1.5"),
        (status("Filled", 100, 0, -1.5), "done filled 100/0@-1.5"),
    ],
    "end of the day": [
        (placed({**LIMIT, "tif": "DAY"}), "sent"),
        (status("Submitted"), "working 0/100"),
        (Passing(30.0), ""),
        (status("Cancelled"), "done cancelled 0/100"),
        (failed(202, NO_REASON), "done cancelled 0/100 !202"),
    ],
    "an error of which nothing is known": [
        (placed(), "sent"),
        (failed(19999, "something new"), "unknown !19999"),
        (Passing(1.0, LOOK_UPS[:1]), ""),
        (status("Submitted"), "working 0/100 !19999"),
    ],
    "a live status after a rejection is looked up": [
        (placed(), "sent"),
        (failed(201, REJECTED), "done rejected by broker !201"),
        (status("PreSubmitted"), "done rejected by broker 0/100 !201"),
        (Passing(1.0, LOOK_UPS[:1]), ""),
        (status("PreSubmitted").unheard(), "working 0/100 !201"),
    ],
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("life", LIVES)
def test_each_step_of_a_life_is_published_with_its_state_and_sends_nothing_else(life: str, version: int) -> None:
    stage = Stage(version)
    keyed = len({step.key for step, _ in LIVES[life] if isinstance(step, Said)}) > 1
    for step, expected in LIVES[life]:
        heard = stage.do(step)
        assert "; ".join(states(heard, keyed=keyed)) == expected, step
        said = [each for each in heard if each.topic.startswith("ord.") and each.body["type"] != "orderState"]
        said += fills(heard)
        if isinstance(step, Said) and step.name == "execDetails":
            said = [each for each in said if each.body["type"] == "execDetails"]
        assert [each.topic for each in said] == topics(step), step
        for each in said:
            assert isinstance(step, Said)
            assert each.body["ref"] == {"owner": "a", "key": step.key, "orderId": stage.order_id(step.key)}


def test_a_commission_that_was_early_follows_its_execution() -> None:
    stage = Stage()
    for step, _ in LIVES["market order, commission before its execution"][:2]:
        stage.do(step)
    heard = stage.do(executed(E1, 100, 100))
    assert [each.topic for each in fills(heard)] == [
        "exec.a.execDetails.", "exec.a.commissionAndFeesReport."
    ]  # fmt: skip
