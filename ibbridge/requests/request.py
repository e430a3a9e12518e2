"""A request under way: its declaration, its arguments, its client, and its responses so far.

Pure. This module must not know how requests are sent, or where their responses are published.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.requests.state import TRANSITIONS, RequestEvent, RequestState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ibbridge.codec.schema import Request
    from ibbridge.streams.sequencer import Channel
    from ibbridge.tws.outbound import OutboundMessage


class CommandId(NamedTuple):
    """The client of a command, and its command id."""

    client: str
    id: str | int

    @property
    def named(self) -> CommandId:
        """The client and the id as topics spell them, where every id is text."""
        return CommandId(self.client, str(self.id))


class RequestListener:
    """A part that is told how a request goes on. Each method does nothing by default."""

    def opened(self, active: ActiveRequest) -> None:
        """Act on a request that is sent under a request id, for the first time or again."""

    def failed(self, active: ActiveRequest, code: int | None) -> None:
        """Act on an error of TWS about a request, before it ends the request."""

    def answered(self, active: ActiveRequest) -> None:
        """Act on the last response to a one-shot, before the request ends."""

    def partly_answered(self, active: ActiveRequest) -> None:
        """Act on a response to a what-if that has no margins yet."""

    def ended(self, active: ActiveRequest) -> None:
        """Act on the end of a request, for whatever reason."""


@dataclass(slots=True, eq=False)
class ActiveRequest:
    """A request under way: its client, its request id, its arguments, and the topics of its responses.

    - `place(type)`: the components of the topic for a type of response, without the type itself.
    - `ref`: published with every response; None where clients share the responses.
    - `has_followup`: a later command, such as an update, named this request, so an error may belong to that command.
    - `attempts`: how often the request was sent to TWS. `pacing_rejections`: how often TWS refused it for pacing.
    - `state`: its progress. `spoken`: a response has come since the last `has_spoken`.
    - `since`: the last offset before the request was sent.
    - `answers`: the number of responses of the types that are `counted`.
    - `deadline`: the latest deadline of the request. Earlier deadlines are void.
    - `on_response`: receives each counted response; set only for requests of the daemon itself.
    - `subscribers`: the clients that share the request.
    - `channels`: the channels of its responses. The state of a channel is kept as long as a request uses the channel.
    - `message`: the message that carries the request to TWS, sent or not.
    - `partial`: a packed response that may be incomplete.
    - `listeners`: the parts that are told how the request goes on, in this order.
    - `data_type`: the market data type that the client wants for this request alone; 0 for the connection's.
    """

    request: Request
    client: str
    id: str | int
    args: Mapping[str, Any]
    place: Callable[[str], tuple[str, ...]]
    ref: Mapping[str, Any] | None
    req_id: int = 0
    has_followup: bool = False
    attempts: int = 0
    pacing_rejections: int = 0
    since: int = 0
    answers: int = 0
    deadline: object = None
    state: RequestState = RequestState.QUEUED
    spoken: bool = False
    on_response: Callable[[Mapping[str, Any]], None] | None = None
    subscribers: set[CommandId] = field(default_factory=set)
    channels: list[Channel] = field(default_factory=list)
    message: OutboundMessage | None = None
    partial: bytes | None = None
    listeners: Sequence[RequestListener] = ()
    data_type: int = 0

    def step(self, event: RequestEvent) -> None:
        """Change the state as the table says."""
        self.state = TRANSITIONS.get((self.state, event), self.state)

    def respond(self) -> None:
        """Note that a response has come."""
        self.step(RequestEvent.RESPONSE)
        self.spoken = True

    def end(self) -> None:
        """Note that the request is over. `RequestTracker.end` and `finish` also release what it holds."""
        self.step(RequestEvent.END)

    @property
    def ended(self) -> bool:
        """True if the request is over."""
        return self.state is RequestState.ENDED

    @property
    def begun(self) -> bool:
        """True if a response has come since the request was written last, and the request is not over."""
        return self.state is RequestState.ANSWERING

    @property
    def one_shot(self) -> bool:
        """True if the last response ends the request. A regulatory snapshot is one, and costs money when repeated."""
        return not self.request.subscribes(self.args)

    @property
    def blamed(self) -> Mapping[str, Any]:
        """The `ref` of an error about this request. On a shared stream the `ref` names all clients of the request."""
        if self.ref is not None:
            return self.ref
        holders = [
            {"client": command_id.client, "id": command_id.id} for command_id in sorted(self.subscribers, key=str)
        ]
        return {"client": self.client, "id": self.id, "holders": holders}

    @property
    def waits(self) -> bool:
        """True while the request is still queued. The time for its response has not begun then."""
        return self.message is not None and self.message.waits
