"""Errors, gaps and delays of the daemon's own about requests, published to the clients of the requests.

Pure. This module knows requests, streams and the classes of IB's error codes. It must not know the causes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge import ib
from ibbridge.protocol.topics import GAP
from ibbridge.requests.request import CommandId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.clock import Clock
    from ibbridge.codec.schema import Request
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.streams.publisher import Publisher
    from ibbridge.streams.sequencer import Channel


class RequestNotifications:
    """Publishes what the daemon says about requests."""

    def __init__(self, publisher: Publisher, tracker: RequestTracker, clock: Clock) -> None:
        self._publisher = publisher
        self._tracker = tracker
        self._clock = clock

    def named(self, *components: str) -> str:
        """Return the topic with these components as clients subscribe to the topic."""
        return self._publisher.named(*components)

    def gap(self, active: ActiveRequest, reason: str, ts: int) -> bool:
        """Publish `gap` on the streams of a request. Return False if no response has ever come."""
        streams = {channel.stream.name: channel.stream for channel in active.channels}
        place = active.place(GAP)
        for stream in streams.values():
            own = self._publisher.components(stream)
            self._publisher.gap(active.channels, place if place[:2] == own else own, reason, ts)
        return bool(streams)

    def gap_of_all(self, request: Request, place: tuple[str, ...], reason: str, ts: int) -> None:
        """Publish `gap` on the streams of a subscription without a request id, such as all accounts or bulletins."""
        for components, channels in self._publisher.holding(place, frozenset(request.answers)).items():
            self._publisher.gap(channels, components, reason, ts)

    def forget_types(self, place: tuple[str, ...], kinds: frozenset[str]) -> None:
        """Forget the state of these types of message on the topics under `place`."""
        self._publisher.forget_types(place, kinds)

    def notify_error(self, active: ActiveRequest, code: int, text: str) -> None:
        """Publish an error of the daemon's own about a request, with `ends` as the caller has set `active.ended`."""
        ts = self._clock.utc_us()
        for channel in (self._tracker.channel(active, "error"), *self._to_others(active)):
            publish_error(self._publisher, channel, own_error(active.req_id, code, text), ts, ends=active.ended)

    def notify_held(self, active: ActiveRequest, about: Mapping[str, Any]) -> None:
        """Publish `held` for a request that a limit holds back, with the time until which it waits."""
        self._publisher.publish_map(self._tracker.channel(active, "held"), about, self._clock.utc_us())

    def answer_partly(self, active: ActiveRequest) -> bool:
        """Publish a kept partial response as the final one. Return False if there is none."""
        if active.partial is None:
            return False
        self._tracker.end(active)
        self._publisher.publish_packed(self._tracker.channel(active, "openOrder"), active.partial, self._clock.utc_us())
        return True

    def error_channels(self, active: ActiveRequest) -> list[Channel]:
        """Return the channels on which an error about a request is published."""
        return [
            self._publisher.transient_channel(*active.place("error"), "error", ref=active.blamed),
            *self._to_others(active),
        ]

    def _to_others(self, active: ActiveRequest) -> list[Channel]:
        """Return the error channels of further clients that share an account's subscription with the first client."""
        if active.place("error")[0] != "req":
            return []
        others = sorted(active.subscribers - {CommandId(active.client, active.id).named}, key=str)
        return [
            self._publisher.transient_channel(
                "req",
                command_id.client,
                str(command_id.id),
                "error",
                ref={"client": command_id.client, "id": command_id.id},
            )
            for command_id in others
        ]


def publish_error(
    publisher: Publisher, channel: Channel, data: Mapping[str, Any], ts: int, *, ends: bool | None
) -> None:
    """Publish an error of the daemon's own with its class, and with `ends`: whether its request or order is over."""
    error_class = ib.about(data["errorCode"], data["errorString"]).error_class
    publisher.publish_map(channel, {**data, "class": error_class, "ends": ends, "source": "bridge"}, ts)


def own_error(number: int, code: int, text: str) -> dict[str, Any]:
    """Return an error of the daemon's own in the form of an error of TWS."""
    said = {"reqId": number, "errorTime": 0, "errorCode": code, "errorString": text}
    return {**said, "advancedOrderRejectJson": ""}
