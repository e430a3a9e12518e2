from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.sim.market.price_path import DAY, Bar, PricePath, divide

seconds = st.integers(-5 * DAY, 5 * DAY)


def walk(key: int = 7) -> PricePath:
    return PricePath(key, 190.0, 0.02, 1e6)


@given(begin=seconds, first=st.integers(1, 4000), second=st.integers(1, 4000))
def test_two_bars_that_follow_each_other_make_up_the_bar_over_both(begin, first, second):
    one = walk()
    left, right = one.bar(begin, begin + first), one.bar(begin + first, begin + first + second)
    whole = one.bar(begin, begin + first + second)
    assert (whole.open, whole.close) == (left.open, right.close)
    assert whole.high == max(left.high, right.high)
    assert whole.low == min(left.low, right.low)
    assert whole.volume == pytest.approx(left.volume + right.volume)


@given(begin=seconds, others=st.lists(seconds, max_size=3))
def test_what_was_looked_at_before_changes_nothing(begin, others):
    fresh, used = walk(), walk()
    for other in others:
        used.bar(other, other + 77)
    assert fresh.bar(begin, begin + 60) == used.bar(begin, begin + 60)


@given(second=seconds)
def test_the_prices_of_a_second_reach_its_bar_and_stay_within(second):
    one = walk()
    bar, prices = one.bar(second, second + 1), [one.price(second * 4 + n) for n in range(4)]
    assert (prices[0], prices[-1], max(prices), min(prices)) == (bar.open, bar.close, bar.high, bar.low)


@given(parts=st.integers(1, 30), seed=st.integers(0, 100))
def test_the_parts_of_a_bar_chain_up_and_reach_its_extremes(parts, seed):
    whole = Bar(10.0, 12.0, 9.0, 11.0, 1000.0, 10.5)
    cut = divide(whole, parts, random.Random(seed))
    assert (cut[0].open, cut[-1].close) == (whole.open, whole.close)
    assert all(left.close == right.open for left, right in itertools.pairwise(cut))
    assert (max(p.high for p in cut), min(p.low for p in cut)) == (whole.high, whole.low)
    assert all(p.low <= min(p.open, p.close) <= max(p.open, p.close) <= p.high for p in cut)


def test_forgetting_and_drawing_again_gives_the_same(monkeypatch):
    usual = [walk().bar(n * 60, n * 60 + 60) for n in range(50)]
    monkeypatch.setattr("ibbridge.sim.market.price_path._REMEMBERED", 3)
    forgetful = walk()
    assert [forgetful.bar(n * 60, n * 60 + 60) for n in range(50)] == usual


def test_walks_of_different_keys_are_different():
    assert walk(1).bar(0, DAY) != walk(2).bar(0, DAY)


def test_an_empty_bar_is_refused():
    with pytest.raises(ValueError, match="no time"):
        walk().bar(5, 5)
