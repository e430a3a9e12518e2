"""The states of a request: every event in every state."""

from __future__ import annotations

import itertools

import pytest

from ibbridge.requests.state import TRANSITIONS, RequestEvent, RequestState

S, E = RequestState, RequestEvent


def expected(state: RequestState, event: RequestEvent) -> RequestState:
    """Return the next state, as somebody would say it who does not know the table."""
    if state is S.ENDED or event is E.END:  # a late response, or a repeated end, does not wake a request
        return S.ENDED
    if event is E.LEAVE:  # only a message that waits can leave
        return S.SENT if state is S.QUEUED else state
    return S.QUEUED if event is E.QUEUE else S.ANSWERING


@pytest.mark.parametrize(("state", "event"), [*itertools.product(S, E)])
def test_every_event_in_every_state(state: RequestState, event: RequestEvent) -> None:
    assert TRANSITIONS.get((state, event), state) is expected(state, event)


def test_every_state_can_be_reached() -> None:
    assert {S.QUEUED} | set(TRANSITIONS.values()) == set(S)
