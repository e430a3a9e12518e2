"""Delays of requests that one of IB's limits holds back.

The reply to a command says how long the request is expected to wait. A request that waits longer is announced on its
topic. Pure: the caller says when to look, and a clock gives the time of day. This module must not know the limits
(`send_queue`), or what happens to a request afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.tws.sender import RequestSender


class HeldRequests(ConnectionListener):
    """Table of delayed requests, each with the time that its client was told last."""

    def __init__(self, sender: RequestSender, notifications: RequestNotifications, clock: Clock) -> None:
        self._sender = sender
        self._notifications = notifications
        self._clock = clock
        self._until: dict[ActiveRequest, int | None] = {}

    def reply(self, active: ActiveRequest) -> dict[str, Any]:
        """Return the delay of an accepted request for the reply; an empty map if no limit holds the request back.

        `held_until` is the earliest time at which the request can leave if nothing changes, in microseconds since 1970
        UTC; None if that depends on the end of another request. `held_by` names the limit, for people.
        """
        if (about := self._look(active)) is None:
            return {}
        self._until[active] = about["held_until"]
        return about

    def tick(self, _: float) -> None:
        """Publish `held` on the topic of each request that waits longer than its client was told."""
        now = self._clock.utc_us()
        for active, until in [*self._until.items()]:
            if active.ended or not active.waits:
                del self._until[active]
            elif until is not None and now > until and (about := self._look(active)) is not None:
                self._until[active] = about["held_until"]
                self._notifications.notify_held(active, about)

    def _look(self, active: ActiveRequest) -> dict[str, Any] | None:
        held = self._sender.held(active.message)
        if held is None:
            return None
        until = None if held.seconds is None else self._clock.utc_us() + int(held.seconds * 1e6)
        return {"held_until": until, "held_by": held.by}
