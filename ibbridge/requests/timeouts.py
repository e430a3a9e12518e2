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
        self._reissue_queue.put([Reissue(active) for active in kept if not active.ended])

    def connection_lost(self) -> None:
        """Keep the requests that can be sent again. End those that have failed, and tell their clients."""
        why = "the connection to TWS was lost before the answer was complete; ask again, under a new id"
        for active in self._failed():
            self._notifications.notify_error(active, NOT_CONNECTED, why)

    def _failed(self) -> list[ActiveRequest]:
        waiting = [active for active in self._reissue_queue.requests() if active.one_shot and not active.ended]
        self._reissue_queue.clear()
        failed = []
        for active in self._tracker.unanswered():
            if self._notifications.answer_partly(active):
                continue
            if active.on_response is None:
                if (
                    active.attempts - active.pacing_rejections == 1
                    and not active.begun
                    and active.request.repeatable(active.args)
                ):
                    self._kept.append(active)
                    continue
                failed.append(active)
            self._tracker.end(active)
        self._kept += [active for active in waiting if active not in self._kept]
        return failed

    def too_much(self, active: ActiveRequest, code: int | None, text: str) -> bool:
        """Queue a request again that TWS has refused for pacing.

        Return False if TWS has refused the request for another reason, or often enough (`MOST_REFUSALS`), or if the
        request must not be repeated.
        """
        refused = code == TOO_FAST or is_historical_pacing(code, text)
        if (
            not refused
            or active.begun
            or active.pacing_rejections == MOST_REFUSALS
            or not active.request.repeatable(active.args)
        ):
            return False
        active.pacing_rejections += 1
        self._reissue_queue.put([Reissue(active)])
        return True

    # -- deadlines

    def tick(self, now: float) -> None:
        """Retry or fail the requests whose deadlines have passed."""
        for due in self._issuer.overdue(now):
            self._expire(due)

    def _expire(self, due: ResponseDeadline) -> None:
        """Retry or fail a request. Without IB's servers no subscription begins: its time starts anew."""
        active = due.active
        if (
            active.ended
            or active.deadline is not due
            or active.attempts != due.attempts
            or (not active.one_shot and active.begun)
        ):
            return
        if self._notifications.answer_partly(active):
            return
        if active.waits or active.answers != due.answers or not (active.one_shot or self._servers.up):
            self._issuer.asked(active)
        elif not active.one_shot and active.channels:  # delivered data on an earlier connection, and is still wanted
            self._reissue_queue.put([Reissue(active, cancel_first=True)])
        elif active in self._kept or active in self._reissue_queue:
            self._give_up(active, "there was no connection to TWS for")
        elif _perhaps_dropped(active):
            self._reissue_queue.put([Reissue(active, cancel_first=True)])
        elif self._stop(active):
            self._give_up(active, "TWS has not answered for")
        else:
            self._issuer.asked(active)

    def _give_up(self, active: ActiveRequest, why: str) -> None:
        self._tracker.abandon(active)
        if active.on_response is None:
            text = f"{why} {active.request.within(active.args) or 0.0:g} s; ask again, under a new id"
            self._notifications.notify_error(active, NOT_CONNECTED, text)

    def _stop(self, active: ActiveRequest) -> bool:
        """Cancel a request at TWS. Return False if an open connection takes no message now.

        TWS then still has the request, unless the connection is soon found to be dead.
        """
        try:
            self._issuer.cancel(active)
        except CommandRefused:
            return not self._issuer.is_open
        return True


def _perhaps_dropped(active: ActiveRequest) -> bool:
    """Return True if TWS may have dropped the request silently, as TWS does with too many historical requests."""
    request = active.request
    asked_first = active.attempts == 1 and not active.begun
    return request.pace is Pace.HISTORY and active.one_shot and asked_first and request.repeatable(active.args)
