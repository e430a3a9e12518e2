"""Re-sending and cancelling of requests, and the start of their response deadlines.

Pure. This module knows requests and how they are sent (`sender`). It must not know why a request is sent again
(`resubscription` decides that), commands, or time.
"""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import OUTBOUND
from ibbridge.codec.schema import Kind
from ibbridge.protocol import arguments
from ibbridge.protocol.errors import Refused

if TYPE_CHECKING:
    from ibbridge.codec.schema import Request
    from ibbridge.requests.deadlines import Deadlines
    from ibbridge.requests.request import Route
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.tws.send_queue import Waiting
    from ibbridge.tws.sender import Outgoing

REST_WITHIN = 5.0
"""Seconds after a partial response in which the complete one must come: less than clients wait for a response."""

_CANCELS = {request.cancels: request for request in OUTBOUND if request.cancels}


@dataclass(slots=True, eq=False)
class Due:
    """Response deadline of a request, with its counts of sends and responses when the deadline was set."""

    route: Route
    asks: int
    answers: int


class Asker:
    """Issuer of requests to TWS: re-sends and cancels requests, and starts the response deadline of each."""

    def __init__(self, outgoing: Outgoing, tracker: RequestTracker, deadlines: Deadlines[object]) -> None:
        self._outgoing = outgoing
        self._tracker = tracker
        self._deadlines = deadlines
        self._lingering: deque[tuple[Request, dict[str, Any], Waiting | None]] = deque()
        tracker.answered = self._answered
        tracker.partly_answered = self._partly_answered

    @property
    def is_open(self) -> bool:
        """True while there is a connection on which to send."""
        return self._outgoing.is_open

    # -- asking

    def ask_again(self, route: Route) -> None:
        """Send a request again, under a new request id if the request carries one. Raises `Refused`."""
        request = route.request
        if _unnumbered(request):
            self._outgoing.send(request, self._outgoing.check(request, dict(route.args)), about=route)
        else:
            if route.message is not None:
                self._outgoing.over(route.message)  # the old request id no longer counts against TWS's limits
            number = self._outgoing.number()
            args = arguments.numbered(route.args, request.request_id or (), number)
            self._outgoing.send(request, self._outgoing.check(request, dict(args)), about=route)
            route.args = args
            self._tracker.renumber(route, number)
        self.asked(route)

    def asked(self, route: Route) -> None:
        """Start the response deadline of a request that has been queued or written, replacing an earlier deadline."""
        if seconds := route.request.within(route.args):
            route.due = due = Due(route, route.asks, route.answers)
            self._deadlines.add(due, seconds)

    def begin(self) -> None:
        """Forget the requests that lingered on the old connection: a new connection begins."""
        self._lingering.clear()

    # -- stopping

    def cancel(self, route: Route) -> None:
        """Withdraw a queued request, or cancel a sent one at TWS, if IB has a cancel for the request.

        Raises `Refused` if the cancel cannot be sent now.
        """
        if self._outgoing.withdraw(route.message):
            return
        cancel = _CANCELS.get(route.request.name)
        if cancel is not None and cancel.request_id and route.request.does is not Kind.ORDER:
            try:
                values = self.cancelling(cancel, route)
            except Refused as error:
                if error.outcome == "refused":
                    return  # this version has no such cancel
                raise
            self._outgoing.send(cancel, values)

    def cancelling(self, cancel: Request, route: Route) -> dict[str, Any]:
        """Return the arguments of the cancel of a request. Raises `Refused`."""
        same: dict[str, Any] = {f.name: route.args[f.name] for f in cancel.shape.shape if f.name in route.args}
        return self._outgoing.check(cancel, arguments.numbered(same, cancel.request_id or (), route.req_id))

    def _answered(self, route: Route) -> None:
        """Cancel an answered one-shot that TWS keeps open until a cancel. Clients need not know of this."""
        if route.request.lingers and self.is_open:
            cancel = _CANCELS[route.request.name]
            with contextlib.suppress(Refused):  # this version has no such cancel
                self._lingering.append((cancel, self.cancelling(cancel, route), route.message))
                route.message = None  # it takes room at TWS until the cancel has left
                self.tidy()

    def _partly_answered(self, route: Route) -> None:
        """Set the deadline for the rest of a partial response (`REST_WITHIN`)."""
        route.due = due = Due(route, route.asks, route.answers)
        self._deadlines.add(due, REST_WITHIN)

    def tidy(self) -> None:
        """Cancel answered requests that TWS keeps open, as long as TWS accepts messages."""
        while self._lingering:
            cancel, values, message = self._lingering[0]
            try:
                self._outgoing.send(cancel, values)
            except Refused:
                return
            self._lingering.popleft()
            if message is not None:
                self._outgoing.over(message)

    def over(self, route: Route) -> None:
        """Withdraw the message of a request that is over, or free its share of TWS's limits."""
        if route.message is not None and not self._outgoing.withdraw(route.message):
            self._outgoing.over(route.message)

    # -- on the way to TWS

    def leaving(self, message: Waiting, route: Route) -> bool:
        """Prepare for the writing of a request's message. Return False if the message must not be sent any more."""
        if _unnumbered(message.request):
            if route.ended:
                return False
            self._await(route)  # not earlier: TWS responds in the order in which messages are written
        elif message.request.key:
            self.asked(route)
        return True

    def unsent(self, message: Waiting, route: Route) -> None:
        """Treat a request's message that never left, because the connection is gone, as if it had left."""
        if _unnumbered(message.request):
            self._await(route)

    def _await(self, route: Route) -> None:
        """Wait for a response without a request id. This counts as a send, so an earlier deadline is void."""
        self._tracker.wait(route)
        self.asked(route)


def _unnumbered(request: Request) -> bool:
    """Return True if the response names no request id, and so belongs to the oldest request of its kind."""
    return request.does is Kind.ONE_SHOT and request.key is None
