"""Deadlines: each is due once, never too early, and in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ibbridge.clock import Deadlines


def test_time_counts_from_the_next_look():
    deadlines: Deadlines[str] = Deadlines()
    deadlines.add("a", 10)
    assert deadlines.due(100) == []
    assert deadlines.due(109.9) == []
    assert deadlines.due(110) == ["a"]
    assert deadlines.due(1000) == []
    assert not len(deadlines)


@given(st.lists(st.one_of(st.floats(0, 100), st.tuples(st.floats(0, 50))), max_size=60))
def test_everything_is_due_once_never_too_early_and_in_order(steps):
    deadlines: Deadlines[int] = Deadlines()
    now = 0.0
    before: list[tuple[int, float]] = []
    due_at: dict[int, float] = {}
    told: list[int] = []
    for number, step in enumerate(steps):
        if isinstance(step, float):
            deadlines.add(number, step)
            before.append((number, step))
            continue
        now += step[0]
        due_at |= {each: now + seconds for each, seconds in before}
        before.clear()
        found = deadlines.due(now)
        assert [due_at[each] for each in found] == sorted(due_at[each] for each in found)
        told += found
        assert set(told) == {each for each, when in due_at.items() if when <= now}
    assert len(told) == len(set(told))
    assert len(deadlines) == len(before) + len(due_at) - len(told)
