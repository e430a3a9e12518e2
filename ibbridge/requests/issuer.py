"""Puts a request to TWS once more, under a new number, or has TWS stop; notes by when each must be answered.

Pure. Knows routes and how they are sent (`sender`); nothing of why something is asked again, which is for
`resubscription`, nor of commands or time.
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
    from ibbridge.inbound.router import Route, Router
    from ibbridge.requests.deadlines import Deadlines
    from ibbridge.tws.send_queue import Waiting
    from ibbridge.tws.sender import Outgoing

REST_WITHIN = 5.0
"""Seconds after a partial answer in which the whole one has to come: less than clients wait for an answer."""

_CANCELS = {request.cancels: request for request in OUTBOUND if request.cancels}


@dataclass(slots=True, eq=False)
class Due:
    """That a request has to be answered: as it was asked then, after so many answers."""

    route: Route
    asks: int
    answers: int


class Asker:
    """Asks TWS for what has a route."""

    def __init__(self, outgoing: Outgoing, router: Router, deadlines: Deadlines[object]) -> None:
        self._outgoing = outgoing
        self._router = router
        self._deadlines = deadlines
        self._lingering: deque[tuple[Request, dict[str, Any], Waiting | None]] = deque()
        router.answered = self._answered
        router.partly_answered = self._partly_answered

    @property
    def is_open(self) -> bool:
        """Whether there is a connection on which to ask."""
        return self._outgoing.is_open

    # -- asking

    def ask_again(self, route: Route) -> None:
        """Ask TWS for this, under a new number if it has one. Raises `Refused`."""
        request = route.request
        if _unnumbered(request):
            self._outgoing.send(request, self._outgoing.check(request, dict(route.args)), about=route)
        else:
            if route.message is not None:
                self._outgoing.over(route.message)  # under its old number it takes no room at TWS any more
            number = self._outgoing.number()
            args = arguments.numbered(route.args, request.request_id or (), number)
            self._outgoing.send(request, self._outgoing.check(request, dict(args)), about=route)
            route.args = args
            self._router.renumber(route, number)
        self.asked(route)

    def asked(self, route: Route) -> None:
        """TWS has been asked for this, the first time or again, or is so only now, after a wait: its time begins."""
        if seconds := route.request.within(route.args):
            route.due = due = Due(route, route.asks, route.answers)
            self._deadlines.add(due, seconds)

    def begin(self) -> None:
        """A new connection begins: what lingered on the old one is gone."""
        self._lingering.clear()

    # -- stopping

    def cancel(self, route: Route) -> None:
        """Have TWS stop what it sends under the route's number, if there is a way. What still waits is withdrawn.

        Raises `Refused`.
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
        """The arguments that cancel what a route asked for."""
        same: dict[str, Any] = {f.name: route.args[f.name] for f in cancel.shape.shape if f.name in route.args}
        return self._outgoing.check(cancel, arguments.numbered(same, cancel.request_id or (), route.req_id))

    def _answered(self, route: Route) -> None:
        """A one-shot is over. TWS keeps some until they are cancelled, and there is no need for clients to know."""
        if route.request.lingers and self.is_open:
            cancel = _CANCELS[route.request.name]
            with contextlib.suppress(Refused):  # this version has no such cancel
                self._lingering.append((cancel, self.cancelling(cancel, route), route.message))
                route.message = None  # it takes room at TWS until the cancel has left
                self.tidy()

    def _partly_answered(self, route: Route) -> None:
        """Give TWS some seconds for the rest."""
        route.due = due = Due(route, route.asks, route.answers)
        self._deadlines.add(due, REST_WITHIN)

    def tidy(self) -> None:
        """Cancel what has been answered and lingers, as far as TWS takes anything."""
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
        """Let go of what a request that is over takes up: its place in the queue, or its room at TWS."""
        if route.message is not None and not self._outgoing.withdraw(route.message):
            self._outgoing.over(route.message)

    # -- on the way to TWS

    def leaving(self, message: Waiting, route: Route) -> bool:
        """What asks for it is about to be written. False if it must not be any more."""
        if _unnumbered(message.request):
            if route.ended:
                return False
            self._await(route)  # only now: answers come in the order in which TWS was asked
        elif message.request.key:
            self.asked(route)
        return True

    def unsent(self, message: Waiting, route: Route) -> None:
        """The connection is gone, and what asks for it never left. It is treated as if it had."""
        if _unnumbered(message.request):
            self._await(route)

    def _await(self, route: Route) -> None:
        """It waits for an answer without a number. That counts as an ask, so a deadline of before is void."""
        self._router.wait(route)
        self.asked(route)


def _unnumbered(request: Request) -> bool:
    """Whether its answer names no request, and belongs to the one that was sent first."""
    return request.does is Kind.ONE_SHOT and request.key is None
