"""A subscription that carries no request id, with its clients. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.clock import Deadlines
from ibbridge.codec.messages import OUTBOUND
from ibbridge.protocol.arguments import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.requests.request import CommandId
    from ibbridge.tws.outbound import OutboundMessage


@dataclass(slots=True, eq=False)
class SingletonStream:
    """A subscription without a request id, with its clients and the arguments of each.

    `attempts` counts the sends. `answered`: the first values have come completely since the last send. `queued`: it is
    to be sent again, and has not been sent yet. `messages` are the requests and cancels that may still be queued.
    """

    request: Request
    subscribers: dict[CommandId, dict[str, Any]] = field(default_factory=dict)
    attempts: int = 0
    answered: bool = False
    queued: bool = False
    messages: list[OutboundMessage] = field(default_factory=list)

    @property
    def clients(self) -> list[tuple[CommandId, dict[str, Any]]]:
        """The subscribers that are clients. The daemon's own parts have names that begin with a tilde."""
        return [(command_id, args) for command_id, args in self.subscribers.items() if command_id.client[:1] != "~"]

    def wanted(self) -> list[tuple[CommandId, dict[str, Any]]]:
        """Return the different arguments in use, each with one of the clients that use them."""
        return list({canonical(args): (command_id, args) for command_id, args in self.subscribers.items()}.values())

    def ending(self, args: Mapping[str, Any]) -> tuple[Request, dict[str, Any]]:
        """Return the message that ends the subscription: its cancel, or the request with `subscribe: false`."""
        cancel = next((each for each in OUTBOUND if each.cancels == self.request.name), None)
        return (self.request, {**args, "subscribe": False}) if cancel is None else (cancel, {})


class Incomplete(NamedTuple):
    """Deadline by which the first values of a subscription must be complete, with its count of sends at that time."""

    singleton: SingletonStream
    attempts: int


class FirstValues(Deadlines[Incomplete]):
    """Deadlines of the first values of subscriptions."""
