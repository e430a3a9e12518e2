"""Answers take their time, in the order that they must have."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.codec.messages import REQUESTS
from ibbridge.sim import SimulatedTws
from ibbridge.sim.faults.injector import FaultInjector
from ibbridge.sim.latency import LONGEST, TYPICAL, DelayedResponses, LatencyModel
from tests.support.simulator_client import AAPL, codes, names, only

HISTORY = {
    "endDateTime": "", "durationStr": "1 D", "barSizeSetting": "1 hour", "whatToShow": "TRADES", "useRTH": 0,
    "formatDate": 1, "keepUpToDate": False,
}  # fmt: skip


def test_delays_are_of_requests_that_there_are():
    assert TYPICAL.keys() <= REQUESTS.keys()


@pytest.mark.parametrize("name", ["reqContractDetails", "reqHistoricalData", "placeOrder"])
def test_delays_are_near_what_is_usual_and_have_a_tail(name):
    drawn = [delays.draw(name) for delays in [LatencyModel(7)] for _ in range(2000)]
    assert statistics.median(drawn) == pytest.approx(TYPICAL[name], rel=0.1)
    assert 2 * TYPICAL[name] < max(drawn) <= LONGEST * TYPICAL[name]
    assert 0 < min(drawn) < TYPICAL[name] / 2


def test_the_same_seed_gives_the_same_delays_and_another_others():
    def drawn(seed):
        delays = LatencyModel(seed)
        return [delays.draw("reqContractDetails") for _ in range(10)]

    assert drawn(3) == drawn(3) != drawn(4)


def test_what_needs_no_server_is_answered_at_once():
    assert {LatencyModel(1).draw(name) for name in ("reqCurrentTime", "reqIds", "reqMarketDataType")} == {0.0}


class Line:
    """A client of a host behind delays: asks at a time, and is given what is due."""

    def __init__(self, delays=None):
        self.trouble = FaultInjector(SimulatedTws(seed=1), delays=delays or LatencyModel(1))
        self.host = self.trouble._core
        self.session = self.host.connect(1)
        self.trouble.joined(self.session)
        self.trouble.said(self.session, self.session.take())

    def ask(self, now, name, **args):
        self.trouble.asked(self.session, name, args, now)

    def hear(self, now):
        return self.trouble.said(self.session, self.session.take(), now)


def test_an_answer_comes_when_it_is_due_and_not_before():
    line = Line()
    line.ask(10.0, "reqContractDetails", reqId=1, contract=AAPL)
    due = line.trouble.next_answer
    assert due is not None
    assert 10.0 < due < 10.2
    assert line.hear(due - 0.001) == []
    assert names(line.hear(due)) == ["contractDetails", "contractDetailsEnd"]
    assert line.trouble.next_answer is None


def test_answers_to_two_questions_overtake_each_other():
    line = Line()
    for number in range(20):
        line.ask(0.0, "reqContractDetails", reqId=number, contract=AAPL)
    order = [data["reqId"] for data in only(line.hear(9.0), "contractDetails")]
    assert sorted(order) == list(range(20)) != order


def test_ticks_do_not_come_before_the_answer_that_begins_them():
    line = Line()
    line.ask(0.0, "reqMktData", reqId=1, contract=AAPL, genericTickList="")
    line.host.advance(line.host.now + 2)
    assert line.hear(0.0) == []
    assert names(line.hear(1.0))[:2] == ["marketDataType", "tickReqParams"]


def test_events_of_orders_stay_in_order_although_orders_are_placed_one_after_the_other():
    line, told = Line(), []
    for number in range(1, 21):
        order = {"action": "BUY", "totalQuantity": 1.0, "orderType": "MKT"}
        line.ask(number / 1000, "placeOrder", orderId=number, contract=AAPL, order=order)
        line.host.advance(line.host.now + 0.25)
        told += line.hear(number / 1000)
    told += line.hear(9.0)
    assert [data["orderId"] for data in only(told, "openOrder")] == [n for n in range(1, 21) for _ in range(2)]
    for number in range(1, 21):
        states = [data["status"] for data in only(told, "orderStatus") if data["orderId"] == number]
        assert states == ["PreSubmitted", "Filled"]


def test_history_that_is_cancelled_before_it_came_is_162_and_no_bars():
    line = Line()
    line.ask(0.0, "reqHistoricalData", reqId=5, contract=AAPL, **HISTORY)
    line.ask(0.001, "cancelHistoricalData", reqId=5)
    told = line.hear(9.0)
    assert codes(told) == [162]
    assert told[0][1]["errorString"].endswith("API historical data query cancelled: 5")
    line.ask(10.0, "reqHistoricalData", reqId=6, contract=AAPL, **HISTORY)
    assert "historicalData" in names(line.hear(19.0))
    line.ask(20.0, "cancelHistoricalData", reqId=6)
    assert codes(line.hear(29.0)) == [366]


def test_a_cancel_of_another_kind_withdraws_nothing():
    line = Line()
    line.ask(0.0, "reqHistoricalData", reqId=5, contract=AAPL, **HISTORY)
    line.ask(0.001, "cancelMktData", reqId=5)
    assert names(line.hear(9.0)) == ["historicalData", "historicalDataEnd", "error"]


def test_a_refusal_takes_its_time_too():
    line = Line()
    line.ask(0.0, "reqContractDetails", reqId=1, contract=AAPL | {"symbol": "NOSUCH"})
    assert line.hear(0.0) == []
    assert codes(line.hear(1.0)) == [200]


def test_without_delays_answers_are_there_at_once():
    trouble = FaultInjector(SimulatedTws(seed=1))
    session = trouble._core.connect(1)
    trouble.joined(session)
    trouble.said(session, session.take(), 0.0)
    trouble.asked(session, "reqContractDetails", {"reqId": 1, "contract": AAPL}, 0.0)
    assert names(trouble.said(session, session.take(), 0.0)) == ["contractDetails", "contractDetailsEnd"]


MESSAGES = st.sampled_from(
    [("tickPrice", {"reqId": 1}), ("tickPrice", {"reqId": 2}), ("openOrder", {"orderId": 1}), ("position", {}),
     ("orderStatus", {"orderId": 2}), ("error", {"reqId": -1}), ("execDetails", {"reqId": 1})]
)  # fmt: skip


@given(st.lists(st.tuples(MESSAGES, st.floats(0, 5), st.floats(0, 1)), max_size=40))
def test_nothing_is_lost_and_nothing_overtakes_its_like(given_):
    answers, told, now = DelayedResponses(), [], 0.0
    for number, ((name, data), delay, later) in enumerate(given_):
        now += later
        answers.put([(name, data | {"number": number})], now + delay)
        told += answers.take(now)
    told += answers.take(1e9)
    assert sorted(data["number"] for _, data in told) == list(range(len(given_)))
    families = {"openOrder": 0, "orderStatus": 0, "execDetails": 0}
    by_family: dict[object, list[int]] = {}
    for name, data in told:
        by_family.setdefault(families.get(name, (name, data.get("reqId"))), []).append(data["number"])
    assert all(numbers == sorted(numbers) for numbers in by_family.values())
    assert answers.due is None
