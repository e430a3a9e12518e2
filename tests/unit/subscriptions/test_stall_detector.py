"""Which silence is one too many: in virtual time, without any request."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.codec.messages import REQUESTS
from ibbridge.requests.request import ActiveRequest
from ibbridge.subscriptions.registry import Subscription
from ibbridge.subscriptions.stall_detector import StallDetector


def a_route():
    return ActiveRequest(REQUESTS["reqMktData"], "a", 1, {}, lambda _: ("md", "x"), None)


class World:
    """Streams that speak when they are told to."""

    def __init__(self, count, per_minute=6):
        self.watchdog = StallDetector(180.0, per_minute)
        self.streams = [Subscription(a_route(), str(each)) for each in range(count)]
        self.seqs = dict.fromkeys(map(id, self.streams), 0)
        self.now = 0.0
        self.is_open = True
        self.up = True
        self.dead = set()
        self.asked = []

    def seq(self, each):
        return self.seqs[id(each)]

    def farm_is_up(self, _):
        return self.up

    def open(self, _):
        return self.is_open

    def run(self, seconds, speaking=(), revive=False, step=5):
        for _ in range(0, seconds, step):
            self.now += step
            for each in speaking:
                if each not in self.dead:
                    self.seqs[id(each)] += 1
            for each in self.watchdog.tick(self.streams, self, self.now):
                self.asked.append((self.now, each))
                each.renewed(self.seq(each))
                if revive:
                    self.dead.discard(each)


def test_one_of_many_that_dies_is_found_once_and_lives_again():
    world = World(20)
    world.run(300, world.streams)
    world.dead = {world.streams[3]}
    world.run(400, world.streams, revive=True)
    ((when, which),) = world.asked
    assert which is world.streams[3]
    assert 180 <= when - 300 <= 190
    world.run(3600, world.streams)
    assert len(world.asked) == 1
    assert which.tries == 0


def test_pauses_grow_for_one_that_stays_dead():
    world = World(3)
    world.run(300, world.streams)
    world.dead = {world.streams[0]}
    world.run(24 * 3600, world.streams)
    times = [when for when, _ in world.asked]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= 360
    assert 3600 <= pauses[-1] <= 3610, "and go on for ever"


@pytest.mark.parametrize(("is_open", "up"), [(False, True), (True, False)])
def test_a_closed_market_or_a_farm_that_is_down_is_no_silence(is_open, up):
    world = World(3)
    world.run(300, world.streams)
    world.is_open, world.up = is_open, up
    world.run(7200)
    assert world.asked == []


def test_all_that_died_together_are_found_together_once_one_has_proven_it():
    world = World(40, per_minute=20)
    world.run(300, world.streams)
    world.dead = set(world.streams)
    world.run(1800, world.streams, revive=True)
    assert world.dead == set()


def test_data_that_comes_at_once_proves_nothing():
    """TWS repeats what it knows of a closed market for whoever asks: so a holiday must not look like success."""
    world = World(40)
    world.run(300, world.streams)
    for _ in range(24 * 60):
        before = len(world.asked)
        world.run(60)
        for _, each in world.asked[before:]:
            world.seqs[id(each)] += 3
    assert 0 < len(world.asked) <= 24 * 3600 / 180


def test_none_per_minute_is_none_ever():
    world = World(3, per_minute=0)
    world.run(300, world.streams)
    world.run(7200)
    assert world.asked == []


def test_those_that_never_spoke_neither_hide_one_that_died_nor_go_before_it():
    world = World(40, per_minute=2)
    alive = world.streams[:4]
    world.run(175, alive)
    world.dead = {alive[0]}
    world.run(300, alive)
    ours = [when for when, each in world.asked if each is alive[0]]
    assert len(ours) == 1
    assert ours[0] <= 175 + 185
    assert all(not each.spoke for _, each in world.asked if each is not alive[0])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_never_more_in_a_minute_than_allowed_whatever_happens(data):
    world = World(12, per_minute=4)
    for _ in range(data.draw(st.integers(1, 8))):
        speaking = data.draw(st.sets(st.sampled_from(range(12))))
        world.is_open = data.draw(st.sampled_from((True, False, None)))
        world.up = data.draw(st.booleans())
        if data.draw(st.booleans()):
            world.watchdog.resumed(world.streams, world.now)
        world.run(data.draw(st.sampled_from((30, 300, 3000))), [world.streams[each] for each in speaking])
    times = [when for when, _ in world.asked]
    assert all(after - before >= 60 for before, after in zip(times, times[4:], strict=False))
