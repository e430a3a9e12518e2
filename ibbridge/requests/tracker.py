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
        self._requests: dict[int, ActiveRequest] = {}
        self._ended: OrderedDict[int, ActiveRequest] = OrderedDict()
        self._disowned: OrderedDict[int, None] = OrderedDict()
        self._waiting: dict[str, deque[list[ActiveRequest]]] = {}
        self.channels: dict[str, dict[Any, Channel]] = {name: {} for name in MESSAGES}
        """Channels of responses that have come before, by type of message and request id."""

    def connection_started(self) -> None:
        """Forget all request ids of the old connection, and begin a new generation of messages."""
        self._publisher.next_generation()
        self._requests.clear()
        self._ended.clear()
        self._disowned.clear()
        for channels in self.channels.values():
            channels.clear()

    def open(self, active: ActiveRequest) -> None:
        """Enter a request that is sent under `active.req_id`."""
        self._requests[active.req_id] = active
        active.attempts, active.spoken, active.since = active.attempts + 1, False, self._publisher.offset
        for listener in active.listeners:
            listener.opened(active)

    def renumber(self, active: ActiveRequest, number: int) -> None:
        """Give a request that is sent again a new request id, and disown the old one.

        Otherwise late responses with the old request id would pass for responses to the new request.
        """
        if self._requests.get(active.req_id) is active:
            del self._requests[active.req_id]
        if active.req_id:
            self.ignore_late_responses(active.req_id)
        active.req_id = number
        self.open(active)

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

    def wait(self, active: ActiveRequest) -> None:
        """Enter a request that is sent without a request id.

        If the same request is under way, one response answers both, unless the declaration says `fresh`.
        """
        active.attempts += 1
        queue = self._waiting.setdefault(active.request.ends[0], deque())
        for waiters in () if active.request.fresh else queue:
            if waiters[0].request is active.request and waiters[0].args == active.args:
                waiters.append(active)
                return
        queue.append([active])

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
                    found += [active for active in waiters if not active.ended]
                    break
        for active in found:
            active.end()
        return found

    def under_way(self, req_id: int) -> ActiveRequest | None:
        """Return the request with this request id, if the request is under way."""
        return self._requests.get(req_id)

    def find(self, number: int | None) -> ActiveRequest | None:
        """Return the request with this id, under way or completed a moment ago."""
        return self._requests.get(number) or self._ended.get(number)  # type: ignore[arg-type]

    def is_disowned(self, number: int | None) -> bool:
        """Return True if responses with this request id belong to nobody any more."""
        return number in self._disowned

    def answer(self, active: ActiveRequest) -> None:
        """End a one-shot whose last response has come."""
        for listener in active.listeners:
            listener.answered(active)
        self.end(active)

    def answer_waiting(self, active: ActiveRequest) -> None:
        """End a request without a request id whose last response has come."""
        for listener in active.listeners:
            listener.answered(active)
        self.finish(active)

    def end(self, active: ActiveRequest) -> None:
        """End a request. Late responses go to the same topic, but leave no state: no client holds the request."""
        self.finish(active)
        for used in active.channels:
            used.users -= 1
            if not used.users:
                self._publisher.forget(used)
        active.channels.clear()
        if self._requests.pop(active.req_id, None) is None:
            return
        self._ended[active.req_id] = active
        for channels in self.channels.values():
            channels.pop(active.req_id, None)
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def finish(self, active: ActiveRequest) -> None:
        """Mark a request as over, and release everything but what routing its late responses needs.

        No cycle of references may stay in the request. The garbage collector looks at old objects only when a
        connection is lost (`daemon.settle`), which may be never.
        """
        active.end()
        for listener in active.listeners:
            listener.ended(active)
        active.message = active.deadline = None
        active.args = {name: value for name, value in active.args.items() if not isinstance(value, dict | list)}

    @staticmethod
    def use(active: ActiveRequest, channel: Channel) -> None:
        """Note that a request's responses arrive on a channel, which other requests for the instrument may share."""
        active.respond()
        if not active.one_shot:  # earlier refusals no longer count: a subscription lives for months
            active.pacing_rejections = 0
        if not active.ended and channel not in active.channels:
            active.channels.append(channel)
            channel.users += 1

    def channel(self, active: ActiveRequest, name: str) -> Channel:
        """Return the channel of a request's responses of this type. Late responses leave no state."""
        channel = self._publisher.transient_channel if active.ended else self._publisher.channel
        return channel(*active.place(name), name, ref=active.ref)

    def unanswered(self) -> list[ActiveRequest]:
        """Forget and return the one-shots under way, to which a lost connection will bring no response."""
        keyed = [active for active in self._requests.values() if active.one_shot]
        waiting = [active for queue in self._waiting.values() for waiters in queue for active in waiters]
        for active in keyed:
            del self._requests[active.req_id]
        self._waiting.clear()
        return keyed + waiting

    def abandon(self, active: ActiveRequest) -> None:
        """End a request that TWS has not answered, and disown its late responses."""
        self.end(active)
        self.ignore_late_responses(active.req_id)
        if active.request.key is None:
            queue = self._waiting.get(active.request.ends[0]) or deque()
            for waiters in [each for each in queue if active in each]:
                waiters.remove(active)
                if not waiters:
                    queue.remove(waiters)

    def take_waiters(self, name: str, data: Mapping[str, Any]) -> list[ActiveRequest]:
        """Remove and return the oldest waiting requests that this message answers.

        If a response repeats arguments of its request, only requests with the same arguments match.
        """
        queue = self._waiting.get(name) or deque()
        for waiters in queue:
            active = waiters[0]
            if all(data[each] == active.args[each] for each in active.request.repeats):
                queue.remove(waiters)
                return waiters
        return []

    def is_awaited(self, name: str) -> bool:
        """Return True if a client waits for a response without a request id that has this type of message as a part.

        The daemon's own requests have a function for their responses.
        """
        queues = (self._waiting.get(end) or () for end in _ENDS_OF.get(name, ()))
        return any(active.on_response is None for queue in queues for waiters in queue for active in waiters)

    def last(self, active: ActiveRequest) -> int:
        """Return the last sequence number of the stream on which the responses to a request arrive."""
        return self._publisher.last(*active.place(GAP))

    def has_spoken(self, active: ActiveRequest) -> bool:
        """Return True if a message with the request's id has come since the last call, or since the request was sent.

        This is for subscriptions that share a topic, where the stream's sequence number says nothing about each of
        them. The call drops the request's channels, so that the next message takes the slow path and is noticed.
        """
        spoken, active.spoken = active.spoken, False
        for name in active.request.answers:
            if name in self.channels:
                self.channels[name].pop(active.req_id, None)
        return spoken

    def __len__(self) -> int:
        return len(self._requests)
