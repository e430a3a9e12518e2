"""The gate and the judge agree over random lives; and where the gate has a bug, they do not."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ibbridge.risk import evaluation, holding, rules
from ibbridge.risk.book import TradingBook
from ibbridge.risk.recent import RecentTimes
from tests.risk_world.world import Disagreement, RiskWorld

SEEDS, LENGTH = 40, 100
EVENTS = [
    "change",
    "fill",
    "fill",
    "end",
    "reject",
    "settle",
    "correct",
    "charge",
    "report",
    "move",
    "foreign",
    "restart",
]


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_the_gate_decides_as_the_judge_does(first):
    for seed in range(first, first + 10):
        world = RiskWorld(seed)
        for _ in range(LENGTH):
            world.step()
        assert world.seen["asked"] > 20


class RiskMachine(RuleBasedStateMachine):
    """The same world, in which Hypothesis chooses what happens next, and finds the shortest life that goes wrong."""

    @initialize(seed=st.integers(0, 10_000))
    def begin(self, seed):
        self.world = RiskWorld(1_000_000 + seed)

    @rule(seconds=st.sampled_from([0, 1, 59, 60, 3600, 86_400, -1, -3600]))
    def wait(self, seconds):
        self.world.now += seconds * 1_000_000

    @rule()
    def ask(self):
        self.world.ask_one(self.world.order())

    @rule()
    def ask_for_a_group(self):
        self.world.ask_group(self.world.family())

    @rule(name=st.sampled_from(EVENTS))
    def happen(self, name):
        getattr(self.world, name)()


TestRiskMachine = RiskMachine.TestCase
TestRiskMachine.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


# -- bugs that the judge must find


def disagreement(limit: int = 400) -> bool:
    """Return True if the judge finds a bug within some lives."""
    for seed in range(limit):
        world = RiskWorld(seed)
        try:
            for _ in range(LENGTH):
                world.step()
        except Disagreement:
            return True
    return False


@pytest.mark.parametrize("name", ["max_order_quantity", "max_open_orders", "max_daily_notional", "max_daily_loss"])
def test_a_rule_that_measures_too_little_is_found(name, monkeypatch):
    def changed(each):
        measure = each.measure

        def less(case, book, limits):
            value = measure(case, book, limits)
            return None if value is None else value / 2

        return dataclasses.replace(each, measure=less)

    wrong = tuple(changed(each) if each.name == name else each for each in rules.RULES)
    monkeypatch.setattr(evaluation, "RULES", wrong)
    assert disagreement()


@pytest.mark.parametrize("name", ["max_position", "max_daily_notional"])
def test_a_rule_that_spares_nothing_is_found(name, monkeypatch):
    wrong = tuple(dataclasses.replace(each, spares=None) if each.name == name else each for each in rules.RULES)
    monkeypatch.setattr(evaluation, "RULES", wrong)
    assert disagreement()


@pytest.mark.parametrize(
    ("where", "name", "wrong"),
    [
        (RecentTimes, "set_back", lambda self, before, now: None),
        (TradingBook, "_keep_larger", lambda self, made, old: None),
        (TradingBook, "_apart", lambda self, held, total: None),
        (TradingBook, "_drop_missing", lambda self, now: None),
        (TradingBook, "corrected", lambda self, old, new, now: None),
        (holding.Holding, "begin_day", lambda self: None),
    ],
)
def test_a_book_that_leaves_something_out_is_found(where, name, wrong, monkeypatch):
    monkeypatch.setattr(where, name, wrong)
    assert disagreement()
