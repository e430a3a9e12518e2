"""Requests that one of IB's limits holds back: until when, as far as that can be told.

Who asked hears of it in the reply, and on the request's topic if it takes longer than was said. Pure: told when to
look, and given `stamp` for the time of day. Knows nothing of limits (`send_queue`), nor of what becomes of a request
then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.inbound.router import Route, Router
    from ibbridge.tws.sender import Outgoing


class Delays:
    """Requests that are held back, each with the time until which its asker expects that."""

    def __init__(self, outgoing: Outgoing, router: Router, stamp: Callable[[], int]) -> None:
        self._outgoing = outgoing
        self._router = router
        self._stamp = stamp
        self._until: dict[Route, int | None] = {}

    def reply(self, route: Route) -> dict[str, Any]:
        """Return what the reply says of a request that was accepted: nothing if no limit holds it back.

        `held_until` is in microseconds since 1970 UTC, the earliest time at which it can leave if nothing changes; None
        if that depends on the end of another request. `held_by` is the limit, for people.
        """
        if (about := self._look(route)) is None:
            return {}
        self._until[route] = about["held_until"]
        return about

    def tend(self) -> None:
        """Tell on its topic of each request that waits for longer than was said."""
        now = self._stamp()
        for route, until in [*self._until.items()]:
            if route.ended or not route.waits:
                del self._until[route]
            elif until is not None and now > until and (about := self._look(route)) is not None:
                self._until[route] = about["held_until"]
                self._router.tell_held(route, about, now)

    def _look(self, route: Route) -> dict[str, Any] | None:
        held = self._outgoing.held(route.message)
        if held is None:
            return None
        until = None if held.seconds is None else self._stamp() + int(held.seconds * 1e6)
        return {"held_until": until, "held_by": held.by}
