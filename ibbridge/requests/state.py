"""States of a request under way, and the events that change them: one table.

Pure. The module must not know how a request is sent, or what its responses say.
"""

from __future__ import annotations

from enum import Enum


class RequestState(Enum):
    """Progress of a request."""

    QUEUED = "queued"
    """The request was not written to TWS yet, or waits to be written again."""
    SENT = "sent"
    """The request was written, and no response has come since."""
    ANSWERING = "answering"
    """A response has come since the request was written last."""
    ENDED = "ended"
    """The request is over. Late responses leave no state."""


class RequestEvent(Enum):
    """Event that may change the state of a request."""

    QUEUE = "the request is queued"
    LEAVE = "the message is written to TWS, or dropped with the connection"
    RESPONSE = "a response comes"
    END = "the last response or an error comes, the client cancels, or nothing comes in time"


_State, _Event = RequestState, RequestEvent

TRANSITIONS: dict[tuple[RequestState, RequestEvent], RequestState] = {
    **{(state, _Event.QUEUE): _State.QUEUED for state in (_State.QUEUED, _State.SENT, _State.ANSWERING)},
    (_State.QUEUED, _Event.LEAVE): _State.SENT,
    **{(state, _Event.RESPONSE): _State.ANSWERING for state in (_State.QUEUED, _State.SENT, _State.ANSWERING)},
    **{(state, _Event.END): _State.ENDED for state in _State},
}
"""The next state by state and event. A pair that is not here changes nothing."""
