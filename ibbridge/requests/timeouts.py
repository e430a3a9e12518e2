"""Timeouts of requests that TWS has not answered in time, or not before the connection was lost.

A one-shot that was lost with the connection, or that TWS may have dropped, is sent once more if that does no harm.
Otherwise the request is over, and its client is told. Pure. This module must not know subscriptions that deliver data
(`resubscription`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.codec.schema import Pace
from ibbridge.ib.notices import NOT_CONNECTED, TOO_FAST, is_historical_pacing
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.reissue_queue import Reissue
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from ibbridge.requests.issuer import RequestIssuer, ResponseDeadline
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.reissue_queue import ReissueQueue
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.tws.ib_servers import IbServers

MOST_REFUSALS = 3
"""Number of times that a request is sent again after TWS has refused the request for pacing."""


class RequestTimeouts(ConnectionListener):
    """Response timeouts: retries or fails requests that TWS has not answered by their deadline."""

    def __init__(
        self,
        issuer: RequestIssuer,
        tracker: RequestTracker,
        notifications: RequestNotifications,
        reissue_queue: ReissueQueue,
        servers: IbServers,
    ) -> None:
        self._issuer = issuer
        self._tracker = tracker
        self._notifications = notifications
        self._reissue_queue = reissue_queue
        self._servers = servers
        self._kept: list[ActiveRequest] = []  # to be sent once more on the next connection

    def connection_ready(self) -> None:
        """Queue the requests to send again on a new connection."""
        kept, self._kept = self._kept, []
        self._reissue_queue.put([Reissue(route) for route in kept if not route.ended])

    def connection_lost(self) -> None:
        """Keep the requests that can be sent again. End those that have failed, and tell their clients."""
        why = "the connection to TWS was lost before the answer was complete; ask again, under a new id"
        for route in self._failed():
            self._notifications.notify_error(route, NOT_CONNECTED, why)

    def _failed(self) -> list[ActiveRequest]:
        waiting = [route for route in self._reissue_queue.routes() if route.one_shot and not route.ended]
        self._reissue_queue.clear()
        failed = []
        for route in self._tracker.unanswered():
            if self._notifications.answer_partly(route):
                continue
            if route.on_response is None:
                if (
                    route.attempts - route.pacing_rejections == 1
                    and not route.begun
                    and route.request.repeatable(route.args)
                ):
                    self._kept.append(route)
                    continue
                failed.append(route)
            self._tracker.end(route)
        self._kept += [route for route in waiting if route not in self._kept]
        return failed

    def too_much(self, route: ActiveRequest, code: int | None, text: str) -> bool:
        """Queue a request again that TWS has refused for pacing.

        Return False if TWS has refused the request for another reason, or often enough (`MOST_REFUSALS`), or if the
        request must not be repeated.
        """
        refused = code == TOO_FAST or is_historical_pacing(code, text)
        if (
            not refused
            or route.begun
            or route.pacing_rejections == MOST_REFUSALS
            or not route.request.repeatable(route.args)
        ):
            return False
        route.pacing_rejections += 1
        self._reissue_queue.put([Reissue(route)])
        return True

    # -- deadlines

    def tick(self, now: float) -> None:
        """Retry or fail the requests whose deadlines have passed."""
        for due in self._issuer.overdue(now):
            self._expire(due)

    def _expire(self, due: ResponseDeadline) -> None:
        """Retry or fail a request. Without IB's servers no subscription begins: its time starts anew."""
        route = due.route
        if (
            route.ended
            or route.deadline is not due
            or route.attempts != due.attempts
            or (not route.one_shot and route.begun)
        ):
            return
        if self._notifications.answer_partly(route):
            return
        if route.waits or route.answers != due.answers or not (route.one_shot or self._servers.up):
            self._issuer.asked(route)
        elif not route.one_shot and route.channels:  # delivered data on an earlier connection, and is still wanted
            self._reissue_queue.put([Reissue(route, cancel_first=True)])
        elif route in self._kept or route in self._reissue_queue:
            self._give_up(route, "there was no connection to TWS for")
        elif _perhaps_dropped(route):
            self._reissue_queue.put([Reissue(route, cancel_first=True)])
        elif self._stop(route):
            self._give_up(route, "TWS has not answered for")
        else:
            self._issuer.asked(route)

    def _give_up(self, route: ActiveRequest, why: str) -> None:
        self._tracker.abandon(route)
        if route.on_response is None:
            text = f"{why} {route.request.within(route.args) or 0.0:g} s; ask again, under a new id"
            self._notifications.notify_error(route, NOT_CONNECTED, text)

    def _stop(self, route: ActiveRequest) -> bool:
        """Cancel a request at TWS. Return False if an open connection takes no message now.

        TWS then still has the request, unless the connection is soon found to be dead.
        """
        try:
            self._issuer.cancel(route)
        except CommandRefused:
            return not self._issuer.is_open
        return True


def _perhaps_dropped(route: ActiveRequest) -> bool:
    """Return True if TWS may have dropped the request silently, as TWS does with too many historical requests."""
    request = route.request
    asked_first = route.attempts == 1 and not route.begun
    return request.pace is Pace.HISTORY and route.one_shot and asked_first and request.repeatable(route.args)
