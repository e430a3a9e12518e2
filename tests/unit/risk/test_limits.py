"""Limits: how they are read, which of two is the stricter, and for whom they hold."""

from __future__ import annotations

import dataclasses

import pytest

from ibbridge.risk.evaluation import RiskGate
from ibbridge.risk.limits import IB_OPEN_ORDERS, LimitFaults, Limits, RiskPolicy, parse
from ibbridge.risk.rules import RULES
from tests.unit.risk.desk import Desk

HELPERS = {"max_quote_age", "delayed_quotes", "repeated_fills_window", "reject_window", "reject_pause"}
"""Limits that say how another one counts."""


def test_each_limit_has_its_rule():
    assert {each.name for each in dataclasses.fields(Limits)} == {each.name for each in RULES} - {
        "order_values"
    } | HELPERS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_position", -1), ("max_position", float("nan")), ("max_position", True), ("max_position", "10"),
        ("max_open_orders", 1.5), ("market_orders", "sometimes"), ("allow_live", 1), ("symbols", [1]),
        ("symbols", {"a": 1}), ("trading_window", ["noon"]), ("trading_window", []), ("duplicate_window", 301),
        ("max_positon", 1),
    ],
)  # fmt: skip
def test_a_fault_names_its_place(name, value):
    with pytest.raises(LimitFaults, match=rf"risk\.all\.{name}: "):
        parse({name: value}, "risk.all")


def test_all_faults_are_told_at_once():
    with pytest.raises(LimitFaults) as found:
        parse({"max_position": -1, "nothing": 1, "allow_live": None, "symbols": "A*"}, "x")
    assert len(found.value.faults) == 2


def test_the_stricter_of_two_limits_holds():
    one = parse({"max_position": 10, "market_orders": "rth", "duplicate_window": 1, "symbols": ["A*"]}, "x")
    two = parse({"max_position": 5, "market_orders": "never", "duplicate_window": 2, "allow_live": False}, "x")
    both = one.merged(two)
    assert both == two.merged(one)
    assert (both.max_position, both.market_orders, both.duplicate_window) == (5, "never", 2)
    assert (both.symbols, both.allow_live, both.max_open_orders) == ((("A*",),), False, None)
    assert both.merged(parse({"symbols": ["*L"]}, "x")).symbols == (("A*",), ("*L",))


def test_a_pattern_holds_for_each_whom_it_fits_alone():
    limits = {"*": Limits(max_position=100), "a*": Limits(max_position=10)}
    policy = RiskPolicy(accounts={}, clients=limits)
    assert policy.for_client("alpha").max_position == 10
    assert policy.for_client("beta").max_position == 100
    assert RiskPolicy().for_account("DU1").max_open_orders == IB_OPEN_ORDERS


def test_a_gate_that_observes_lets_pass_what_it_would_refuse():
    desk = Desk(max_position=10)
    desk.gate = RiskGate(dataclasses.replace(desk.policy, enforce=False), desk.gate.book, desk)
    decision = desk.ask(11)
    assert decision.allowed
    assert [each.rule for each in decision.breaches] == ["max_position"]


def test_a_decision_has_each_check_with_its_headroom():
    desk = Desk(max_position=100, market_orders="never", max_order_notional=1e6)
    decision = desk.ask(60)
    found = {each.rule: (each.scope, each.value, each.headroom) for each in decision.checks}
    assert found["max_position"] == (("client", "alpha"), 60.0, 40.0)
    assert found["max_order_notional"] == (("client", "alpha"), 3000.0, 997000.0)
    assert found["market_orders"] == (("client", "alpha"), None, None)
    assert desk.ask(60).id != decision.id


def test_a_warning_comes_once_for_each_time_that_a_limit_comes_near():
    desk = Desk(max_position=100)
    assert not desk.ask(69).warnings
    assert [each.rule for each in desk.ask(70).warnings] == ["max_position"]
    assert not desk.ask(80).warnings
    assert not desk.ask(60).warnings
    assert desk.ask(75).warnings


def test_another_policy_holds_at_once_and_forgets_nothing():
    desk = Desk(max_position=100)
    desk.place(60)
    desk.gate.set_policy(RiskPolicy(clients={"alpha": Limits(max_position=50)}))
    assert desk.refuses(1) == {"max_position"}
    assert desk.refuses(50, -1) == set()
