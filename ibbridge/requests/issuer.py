"""Re-sending and cancelling of requests, and the start of their response deadlines.

Pure. This module knows requests and how they are sent (`sender`). It must not know why a request is sent again
(`resubscription` decides that), commands, or time.
"""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ibbridge.clock import Deadlines
from ibbridge.codec.messages import OUTBOUND
from ibbridge.codec.schema import Kind
from ibbridge.protocol import arguments
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import RequestListener
from ibbridge.requests.state import RequestEvent
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from ibbridge.codec.schema import Request
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import RequestSender

REST_WITHIN = 5.0
"""Seconds after a partial response in which the complete one must come: less than clients wait for a response."""

_CANCELS = {request.cancels: request for request in OUTBOUND if request.cancels}


@dataclass(slots=True, eq=False)
class ResponseDeadline:
    """Response deadline of a request, with its counts of sends and responses when the deadline was set."""

    active: ActiveRequest
    attempts: int
    answers: int


class RequestIssuer(ConnectionListener, RequestListener):
    """Issuer of requests to TWS: sends, re-sends and cancels requests, and starts the response deadline of each."""

    def __init__(self, sender: RequestSender, tracker: RequestTracker) -> None:
        self._sender = sender
        self._tracker = tracker
        self._deadlines: Deadlines[ResponseDeadline] = Deadlines()
        self._lingering: deque[tuple[Request, dict[str, Any], OutboundMessage | None]] = deque()

    @property
    def is_open(self) -> bool:
        """True while there is a connection on which to send."""
        return self._sender.is_open

    def next_id(self) -> int:
        """Return a new request id."""
        return self._sender.ids.take()

    # -- asking

    def reissue(self, active: ActiveRequest) -> None:
        """Send a request again, under a new request id if the request carries one. Raises `CommandRefused`."""
        request = active.request
        if _unnumbered(request):
            self.send(active, self._sender.check(request, dict(active.args)))
        else:
            if active.message is not None:
                self._sender.completed(active.message)  # the old request id no longer counts against TWS's limits
            number = self._sender.ids.take()
            args = arguments.numbered(active.args, request.request_id or (), number)
            self.send(active, self._sender.check(request, dict(args)))
            active.args = args
            self._tracker.renumber(active, number)
        self.asked(active)

    def send(self, active: ActiveRequest, values: dict[str, Any], client: str = "") -> None:
        """Queue a request with these checked values, in the turn of `client`. Raises `CommandRefused`."""
        on_send, on_drop = partial(self._on_send, active), partial(self._on_drop, active)
        active.message = self._sender.message(active.request, values, client=client, on_send=on_send, on_drop=on_drop)
        active.message.weight = 3 if active.data_type else 1
        before = active.state
        active.step(RequestEvent.QUEUE)  # first, because the message may leave at once
        try:
            self._sender.send(active.message)
        except CommandRefused:
            active.state = before
            raise

    def asked(self, active: ActiveRequest) -> None:
        """Start the response deadline of a request that has been queued or written, replacing an earlier deadline."""
        if seconds := active.request.within(active.args):
            active.deadline = due = ResponseDeadline(active, active.attempts, active.answers)
            self._deadlines.add(due, seconds)

    def overdue(self, now: float) -> list[ResponseDeadline]:
        """Return the response deadlines that have passed, the earliest first."""
        return self._deadlines.due(now)

    def connection_started(self) -> None:
        """Forget the requests that lingered on the old connection."""
        self._lingering.clear()

    def tick(self, now: float) -> None:
        """Cancel lingering requests whose cancels TWS did not take before."""
        if self.is_open:
            self._cancel_lingering()

    # -- stopping

    def cancel(self, active: ActiveRequest) -> None:
        """Withdraw a queued request, or cancel a sent one at TWS, if IB has a cancel for the request.

        Raises `CommandRefused` if the cancel cannot be sent now.
        """
        if self._sender.withdraw(active.message):
            return
        cancel = _CANCELS.get(active.request.name)
        if cancel is not None and cancel.request_id and active.request.does is not Kind.ORDER:
            try:
                values = self._cancelling(cancel, active)
            except CommandRefused as error:
                if error.outcome == "refused":
                    return  # this version has no such cancel
                raise
            self._sender.send(self._sender.message(cancel, values))

    def give_up(self, active: ActiveRequest) -> None:
        """Withdraw a queued request, or end a sent one whose response nobody waits for any more."""
        self._sender.withdraw(active.message)
        self._tracker.abandon(active)

    def cancel_with(self, cancel: Request, active: ActiveRequest, client: str) -> None:
        """Withdraw a queued request, or send this cancel of it in the turn of `client`. Raises `CommandRefused`."""
        if self.is_open and not self._sender.withdraw(active.message):
            self._sender.send(self._sender.message(cancel, self._cancelling(cancel, active), client=client))

    def update(self, update: Request, active: ActiveRequest, args: dict[str, Any], client: str) -> None:
        """Send an update of a request under way, such as of a display group. Raises `CommandRefused`."""
        values = self._sender.check(update, arguments.numbered(args, update.request_id or (), active.req_id))
        self._sender.send(self._sender.message(update, values, client=client))
        active.has_followup = True

    def _cancelling(self, cancel: Request, active: ActiveRequest) -> dict[str, Any]:
        """Return the arguments of the cancel of a request. Raises `CommandRefused`."""
        same: dict[str, Any] = {f.name: active.args[f.name] for f in cancel.shape.shape if f.name in active.args}
        return self._sender.check(cancel, arguments.numbered(same, cancel.request_id or (), active.req_id))

    def answered(self, active: ActiveRequest) -> None:
        """Cancel an answered one-shot that TWS keeps open until a cancel. Clients need not know of this."""
        if active.request.lingers and self.is_open:
            cancel = _CANCELS[active.request.name]
            with contextlib.suppress(CommandRefused):  # this version has no such cancel
                self._lingering.append((cancel, self._cancelling(cancel, active), active.message))
                active.message = None  # it takes room at TWS until the cancel has left
                self._cancel_lingering()

    def partly_answered(self, active: ActiveRequest) -> None:
        """Set the deadline for the rest of a partial response (`REST_WITHIN`)."""
        active.deadline = due = ResponseDeadline(active, active.attempts, active.answers)
        self._deadlines.add(due, REST_WITHIN)

    def _cancel_lingering(self) -> None:
        """Cancel answered requests that TWS keeps open, as long as TWS accepts messages."""
        while self._lingering:
            cancel, values, message = self._lingering[0]
            try:
                self._sender.send(self._sender.message(cancel, values))
            except CommandRefused:
                return
            self._lingering.popleft()
            if message is not None:
                self._sender.completed(message)

    def ended(self, active: ActiveRequest) -> None:
        """Withdraw the message of a request that is over, or free its share of IB's limits."""
        self._sender.release(active.message)

    # -- on the way to TWS

    def _on_send(self, active: ActiveRequest, message: OutboundMessage) -> bool:
        """Prepare for the writing of a request's message. Return False if the message must not be sent any more."""
        if _unnumbered(message.request):
            if active.ended:
                return False
            self._await(active)  # not earlier: TWS responds in the order in which messages are written
        elif message.request.key:
            self.asked(active)
        if active.data_type:  # now, because the connection's type may change while the message waits
            message.data = self._sender.with_data_type(message.data, active.data_type)
        active.step(RequestEvent.LEAVE)
        return True

    def _on_drop(self, active: ActiveRequest, message: OutboundMessage) -> None:
        """Treat a request's message that never left, because the connection is gone, as if it had left."""
        if _unnumbered(message.request):
            self._await(active)
        active.step(RequestEvent.LEAVE)

    def _await(self, active: ActiveRequest) -> None:
        """Wait for a response without a request id. This counts as a send, so an earlier deadline is void."""
        self._tracker.wait(active)
        self.asked(active)


def _unnumbered(request: Request) -> bool:
    """Return True if the response names no request id, and so belongs to the oldest request of its kind."""
    return request.does is Kind.ONE_SHOT and request.key is None
