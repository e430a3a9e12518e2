"""Requests under way: by request id, by command, waiting for a response without an id, and completed a moment ago.

Pure. This module knows requests and streams. It must not know what a message means, or how a request is sent.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import INBOUND, MESSAGES, OUTBOUND
from ibbridge.ib.notices import UNTIED
from ibbridge.protocol.topics import GAP
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.requests.request import ActiveRequest
    from ibbridge.streams.publisher import Publisher
    from ibbridge.streams.sequencer import Channel

MOST_ENDED = 10_000
"""Most completed requests that are remembered, so that a late response still reaches its client."""

_ENDS_OF: Mapping[str, tuple[str, ...]] = {
    message.name: tuple(
        dict.fromkeys(
            request.ends[0]
            for request in OUTBOUND
            if message.name in request.answers and request.ends and not request.key and not request.subscribes({})
        )
    )
    for message in INBOUND
}
"""Types of message that end a response without a request id, by the types of message that are part of the response."""


class RequestTracker(ConnectionListener):
    """Requests that are under way, and those that were completed a moment ago."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._routes: dict[int, ActiveRequest] = {}
        self._ended: OrderedDict[int, ActiveRequest] = OrderedDict()
        self._disowned: OrderedDict[int, None] = OrderedDict()
        self._waiting: dict[str, deque[list[ActiveRequest]]] = {}
        self.channels: dict[str, dict[Any, Channel]] = {name: {} for name in MESSAGES}
        """Channels of responses that have come before, by type of message and request id."""

    def connection_started(self) -> None:
        """Forget all request ids of the old connection, and begin a new generation of messages."""
        self._publisher.next_generation()
        self._routes.clear()
        self._ended.clear()
        self._disowned.clear()
        for channels in self.channels.values():
            channels.clear()

    def open(self, route: ActiveRequest) -> None:
        """Enter a request that is sent under `route.req_id`."""
        self._routes[route.req_id] = route
        route.attempts, route.spoken = route.attempts + 1, False

    def renumber(self, route: ActiveRequest, number: int) -> None:
        """Give a request that is sent again a new request id, and disown the old one.

        Otherwise late responses with the old request id would pass for responses to the new request.
        """
        if self._routes.get(route.req_id) is route:
            del self._routes[route.req_id]
        self.ignore_late_responses(route.req_id)
        route.req_id = number
        self.open(route)

    def ignore_late_responses(self, number: int) -> None:
        """Stop treating messages with this request id as responses.

        The router publishes them under `~<reqId>` and keeps them out of snapshots.
        """
        self._ended.pop(number, None)
        self._disowned[number] = None
        if len(self._disowned) > MOST_ENDED:
            self._disowned.popitem(last=False)
        for channels in self.channels.values():
            channels.pop(number, None)

    def wait(self, route: ActiveRequest) -> None:
        """Enter a request that is sent without a request id.

        If the same request is under way, one response answers both, unless the declaration says `fresh`.
        """
        route.attempts += 1
        queue = self._waiting.setdefault(route.request.ends[0], deque())
        for waiters in () if route.request.fresh else queue:
            if waiters[0].request is route.request and waiters[0].args == route.args:
                waiters.append(route)
                return
        queue.append([route])

    def concerned(self, number: int | None) -> ActiveRequest | None:
        """Return the request with this request id, under way or over; None for an id that names no request."""
        return None if number in UNTIED else self.find(number)

    def incomplete(self, name: str, known: Mapping[str, Any]) -> list[ActiveRequest]:
        """End and return the requests whose response, without a request id, has this unreadable message as a part.

        If the message was the last part, the requests stop waiting. Otherwise they still receive the last part.
        """
        found: list[ActiveRequest] = []
        for end in _ENDS_OF.get(name, ()):
            queue = self._waiting.get(end) or deque()
            for waiters in queue:
                args, repeats = waiters[0].args, waiters[0].request.repeats
                if all(known.get(each, args[each]) == args[each] for each in repeats):
                    if name == end:
                        queue.remove(waiters)
                    found += [route for route in waiters if not route.ended]
                    break
        for route in found:
            route.end()
        return found

    def route(self, req_id: int) -> ActiveRequest | None:
        """Return the request with this request id, if the request is under way."""
        return self._routes.get(req_id)

    def find(self, number: int | None) -> ActiveRequest | None:
        """Return the request with this id, under way or completed a moment ago."""
        return self._routes.get(number) or self._ended.get(number)  # type: ignore[arg-type]

    def is_disowned(self, number: int | None) -> bool:
        """Return True if responses with this request id belong to nobody any more."""
        return number in self._disowned

    def answer(self, route: ActiveRequest) -> None:
        """End a one-shot whose last response has come."""
        for listener in route.listeners:
            listener.answered(route)
        self.end(route)

    def end(self, route: ActiveRequest) -> None:
        """End a request. Late responses go to the same topic, but leave no state: no client holds the request."""
        self.finish(route)
        for used in route.channels:
            used.users -= 1
            if not used.users:
                self._publisher.forget(used)
        route.channels.clear()
        if self._routes.pop(route.req_id, None) is None:
            return
        self._ended[route.req_id] = route
        for channels in self.channels.values():
            channels.pop(route.req_id, None)
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def finish(self, route: ActiveRequest) -> None:
        """Mark a request as over, and release everything but what routing its late responses needs.

        No cycle of references may stay in the request. The garbage collector looks at old objects only when a
        connection is lost (`daemon.settle`), which may be never.
        """
        route.end()
        for listener in route.listeners:
            listener.ended(route)
        route.message = route.deadline = None
        route.args = {name: value for name, value in route.args.items() if not isinstance(value, dict | list)}

    @staticmethod
    def use(route: ActiveRequest, channel: Channel) -> None:
        """Note that a request's responses arrive on a channel, which other requests for the instrument may share."""
        route.respond()
        if not route.one_shot:  # earlier refusals no longer count: a subscription lives for months
            route.pacing_rejections = 0
        if not route.ended and channel not in route.channels:
            route.channels.append(channel)
            channel.users += 1

    def channel(self, route: ActiveRequest, name: str) -> Channel:
        """Return the channel of a request's responses of this type. Late responses leave no state."""
        channel = self._publisher.transient_channel if route.ended else self._publisher.channel
        return channel(*route.place(name), name, ref=route.ref)

    def unanswered(self) -> list[ActiveRequest]:
        """Forget and return the one-shots under way, to which a lost connection will bring no response."""
        keyed = [route for route in self._routes.values() if route.one_shot]
        waiting = [route for queue in self._waiting.values() for waiters in queue for route in waiters]
        for route in keyed:
            del self._routes[route.req_id]
        self._waiting.clear()
        return keyed + waiting

    def abandon(self, route: ActiveRequest) -> None:
        """End a request that TWS has not answered, and disown its late responses."""
        self.end(route)
        self.ignore_late_responses(route.req_id)
        if route.request.key is None:
            queue = self._waiting.get(route.request.ends[0]) or deque()
            for waiters in [each for each in queue if route in each]:
                waiters.remove(route)
                if not waiters:
                    queue.remove(waiters)

    def take_waiters(self, name: str, data: Mapping[str, Any]) -> list[ActiveRequest]:
        """Remove and return the oldest waiting requests that this message answers.

        If a response repeats arguments of its request, only requests with the same arguments match.
        """
        queue = self._waiting.get(name) or deque()
        for waiters in queue:
            route = waiters[0]
            if all(data[each] == route.args[each] for each in route.request.repeats):
                queue.remove(waiters)
                return waiters
        return []

    def last(self, route: ActiveRequest) -> int:
        """Return the last sequence number of the stream on which the responses to a request arrive."""
        return self._publisher.last(*route.place(GAP))

    def has_spoken(self, route: ActiveRequest) -> bool:
        """Return True if a message with the request's id has come since the last call, or since the request was sent.

        This is for subscriptions that share a topic, where the stream's sequence number says nothing about each of
        them. The call drops the request's channels, so that the next message takes the slow path and is noticed.
        """
        spoken, route.spoken = route.spoken, False
        for name in route.request.answers:
            if name in self.channels:
                self.channels[name].pop(route.req_id, None)
        return spoken

    def __len__(self) -> int:
        return len(self._routes)
