"""Position arithmetic: average cost, realised profit, corrections in any order."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.orders.position import NOTHING, ZERO, Fill, Position


def fill(quantity: float, price: float) -> Fill:
    return Fill(Decimal(str(quantity)), Decimal(str(price)))


def after(*fills: Fill) -> Position:
    position = Position()
    for each in fills:
        position.add(each)
    return position


def summary(position: Position) -> tuple[float, float, float]:
    return float(position.quantity), float(position.average), float(position.realized)


@pytest.mark.parametrize(
    ("fills", "expected"),
    [
        ([(100, 10)], (100, 10, 0)),
        ([(100, 10), (100, 12)], (200, 11, 0)),
        ([(100, 10), (-40, 12)], (60, 10, 80)),
        ([(100, 10), (-100, 12)], (0, 0, 200)),
        ([(100, 10), (-150, 12)], (-50, 12, 200)),
        ([(-100, 10), (40, 8)], (-60, 10, 80)),
        ([(-100, 10), (150, 8)], (50, 8, 200)),
        ([(100, 10), (-100, 12), (10, 20), (-10, 19)], (0, 0, 190)),
        ([(0.5, 100), (0.25, 130)], (0.75, 110, 0)),
    ],
)
def test_executions_open_close_and_turn_a_position(
    fills: list[tuple[float, float]], expected: tuple[float, float, float]
) -> None:
    assert summary(after(*(fill(*each) for each in fills))) == expected


def test_the_multiplier_counts_for_the_profit_and_not_for_the_average_price() -> None:
    position = Position(multiplier=Decimal(100))
    for each in (fill(2, 1.5), fill(-2, 2.5)):
        position.add(each)
    assert summary(position) == (0, 0, 200)


def test_a_correction_of_the_price_counts_as_if_it_had_been_the_price_from_the_start() -> None:
    position = Position()
    first = position.add(fill(100, 10))
    position.add(fill(100, 12))
    position.add(fill(-50, 13))
    position.correct(first, fill(100, 11))
    assert summary(position) == summary(after(fill(100, 11), fill(100, 12), fill(-50, 13)))


def test_a_bust_takes_an_execution_back() -> None:
    position = Position()
    first, second = position.add(fill(100, 10)), position.add(fill(100, 12))
    position.correct(second, NOTHING)
    assert summary(position) == (100, 10, 0)
    position.correct(first, NOTHING)
    assert summary(position) == (0, 0, 0)


def test_a_correction_that_turns_the_position_has_the_new_price() -> None:
    position = Position()
    first = position.add(fill(100, 10))
    position.add(fill(-40, 12))
    position.correct(first, fill(10, 10))
    assert summary(position)[:2] == (-30, 10)


def test_a_correction_from_before_the_position_was_flat_moves_only_the_profit() -> None:
    position = Position()
    first = position.add(fill(100, 10))
    position.add(fill(-100, 12))
    position.add(fill(10, 20))
    position.correct(first, fill(100, 11))
    assert summary(position) == (10, 20, 100)


def test_commissions_are_summed_by_currency_and_taken_back() -> None:
    position = Position()
    for amount, currency in ((1.5, "USD"), (2, "EUR"), (-0.5, "USD")):
        position.charge(Decimal(str(amount)), currency)
    assert position.commissions == {"USD": Decimal("1.0"), "EUR": Decimal(2)}


FILLS = st.tuples(
    st.integers(-50, 50).filter(bool).map(Decimal), st.integers(1, 400).map(lambda cents: Decimal(cents) / 4)
).map(lambda each: Fill(*each))


@given(st.lists(st.tuples(FILLS, st.none() | FILLS), max_size=12))
def test_quantity_and_whole_profit_depend_only_on_the_executions_that_count(
    executions: list[tuple[Fill, Fill | None]],
) -> None:
    position, counted = Position(), []
    for done, corrected in [(position.add(first), corrected) for first, corrected in executions]:
        last = done if corrected is None else position.correct(done, corrected)
        counted.append(position.correct(last, NOTHING) if last.price > 90 else last)
    assert position.quantity == sum((each.quantity for each in counted), ZERO)
    assert position.cash == -sum((each.quantity * each.price for each in counted), ZERO)
    mark = Decimal(50)
    whole = position.realized + position.quantity * (mark - position.average)
    assert abs(whole - sum((each.quantity * (mark - each.price) for each in counted), ZERO)) < Decimal("1e-20")
    if not position.quantity:
        assert position.average == 0


@given(st.lists(FILLS, min_size=1, max_size=12))
def test_the_average_price_lies_between_the_prices_of_the_executions(fills: list[Fill]) -> None:
    position = after(*fills)
    if position.quantity:
        prices = [each.price for each in fills]
        assert min(prices) - Decimal("1e-20") <= position.average <= max(prices) + Decimal("1e-30")
