"""The states of a subscription: every event in every state."""

from __future__ import annotations

import itertools

import pytest

from ibbridge.subscriptions.state import DEAD, MAY_FLOW, TRANSITIONS, SubscriptionEvent, SubscriptionState

S, E = SubscriptionState, SubscriptionEvent

WHATEVER_WAS = {
    E.SENT: S.REQUESTED,
    E.COMPETING: S.CONTESTED,
    E.FARM_FAILED: S.FARM_DOWN,
    E.REFUSED_AWAY: S.AWAY,
    E.ENDED: S.ENDED,
}
"""Events after which it does not matter what was before."""

FLOWED = {S.LIVE, S.SUSPECT}


def expected(state: SubscriptionState, event: SubscriptionEvent) -> SubscriptionState:
    """Return the next state, as somebody would say it who does not know the table."""
    if state is S.WAITING:  # TWS has never seen it
        return {E.SENT: S.REQUESTED, E.ENDED: S.ENDED}.get(event, state)
    if event in WHATEVER_WAS:
        return WHATEVER_WAS[event]
    if event is E.DATA:  # what has ended at TWS sends nothing: the data is of another subscription on the topic
        return state if state in {S.FARM_DOWN, S.AWAY, S.ENDED} else S.LIVE
    if event is E.RELEASE:
        return S.RELEASED if state is S.CONTESTED else state
    if state in FLOWED:  # an outage proves nothing about a subscription that never delivered data, or is dead
        return S.SUSPECT if event is E.RESUMED_OFTEN else S.LIVE
    return state


@pytest.mark.parametrize(("state", "event"), [*itertools.product(S, E)])
def test_every_event_in_every_state(state: SubscriptionState, event: SubscriptionEvent) -> None:
    assert TRANSITIONS.get((state, event), state) is expected(state, event)


def test_every_state_can_be_reached_and_left() -> None:
    reached, new = {S.WAITING}, {S.WAITING}
    while new:
        new = {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached
        reached |= new
    assert reached == set(S)
    assert {before for before, event in TRANSITIONS if event is E.SENT} == set(S)


def test_what_is_dead_was_said_by_tws() -> None:
    assert {S.CONTESTED, S.RELEASED, S.FARM_DOWN, S.AWAY, S.ENDED} == DEAD
    assert set(S) == MAY_FLOW | DEAD | {S.WAITING}
