"""States of a subscription at TWS, and the events that change them: one table.

Pure. The module must not know times, sequence numbers, or how a subscription is requested again.
"""

from __future__ import annotations

from enum import Enum


class SubscriptionState(Enum):
    """Liveness of a subscription, as far as it is known."""

    WAITING = "waiting"
    """The request waits for a line, and was never sent."""
    REQUESTED = "requested"
    """The request was sent on this connection, and no data has come."""
    LIVE = "live"
    """Data flows."""
    SUSPECT = "suspect"
    """Data flowed until an outage that may have ended the subscription silently."""
    CONTESTED = "contested"
    """Another login of the same user has the market data."""
    RELEASED = "released"
    """The other login has released the market data; whether TWS sends data again is to be seen."""
    FARM_DOWN = "farm down"
    """TWS has ended the live updates, because a farm is down."""
    AWAY = "away"
    """TWS has refused the subscription while IB's servers were away."""
    ENDED = "ended"
    """TWS has ended the subscription, or its data is unusable."""


class SubscriptionEvent(Enum):
    """Event that may change the state of a subscription."""

    SENT = "the request is sent, or sent again"
    DATA = "data comes"
    RESUMED_OFTEN = "an outage is over, and data came often before"
    RESUMED_SELDOM = "an outage is over, and data came seldom before"
    COMPETING = "another login takes the market data"
    RELEASE = "the other login releases the market data"
    FARM_FAILED = "TWS ends live updates because of a farm"
    REFUSED_AWAY = "TWS refuses the request while IB's servers are away"
    ENDED = "TWS ends the subscription, or its data is unusable"


_State, _Event = SubscriptionState, SubscriptionEvent

_SENT = frozenset(_State) - {_State.WAITING}
"""States of a subscription that TWS has seen."""

MAY_FLOW = frozenset((_State.REQUESTED, _State.LIVE, _State.SUSPECT, _State.CONTESTED, _State.RELEASED))
"""States in which data may still come. In any other the subscription has ended at TWS, and data belongs to another."""

DEAD = frozenset((_State.CONTESTED, _State.RELEASED, _State.FARM_DOWN, _State.AWAY, _State.ENDED))
"""States in which TWS has said that no data comes."""

TRANSITIONS: dict[tuple[SubscriptionState, SubscriptionEvent], SubscriptionState] = {
    **{(state, _Event.SENT): _State.REQUESTED for state in _State},
    **{(state, _Event.DATA): _State.LIVE for state in MAY_FLOW},
    **{(state, _Event.RESUMED_OFTEN): _State.SUSPECT for state in (_State.LIVE, _State.SUSPECT)},
    **{(state, _Event.RESUMED_SELDOM): _State.LIVE for state in (_State.LIVE, _State.SUSPECT)},
    **{(state, _Event.COMPETING): _State.CONTESTED for state in _SENT},
    (_State.CONTESTED, _Event.RELEASE): _State.RELEASED,
    **{(state, _Event.FARM_FAILED): _State.FARM_DOWN for state in _SENT},
    **{(state, _Event.REFUSED_AWAY): _State.AWAY for state in _SENT},
    **{(state, _Event.ENDED): _State.ENDED for state in _State},
}
"""The next state by state and event. A pair that is not here changes nothing."""
