"""Subscriptions from commands: clients that want the same share one subscription at TWS.

Pure. A command that is not executed raises `CommandRefused`. This module must not know what happens to a subscription
later (`resubscription`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import MESSAGES, OUTBOUND
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from ibbridge.codec.schema import Request
    from ibbridge.requests.request import ActiveRequest, CommandId
    from ibbridge.requests.request_factory import RequestFactory
    from ibbridge.requests.service import RequestService
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.subscriptions.registry import SubscriptionRegistry
    from ibbridge.subscriptions.singleton_streams import SingletonStreams

_ONE_AT_A_TIME = frozenset(
    request.name
    for request in OUTBOUND
    if request.name == "reqTickByTickData" or any(name in MESSAGES and MESSAGES[name].book for name in request.answers)
)
"""Subscriptions whose messages would be wrong if TWS sent them twice: ticks one by one, and market depth. Prices may
come twice, because only the last price counts."""


class SubscriptionService:
    """Subscriptions by command, with a request id or without one."""

    def __init__(
        self,
        requests: RequestService,
        registry: SubscriptionRegistry,
        tracker: RequestTracker,
        request_factory: RequestFactory,
        singletons: SingletonStreams,
    ) -> None:
        self._requests = requests
        self._registry = registry
        self._tracker = tracker
        self._request_factory = request_factory
        self._singletons = singletons

    def subscribe(self, request: Request, args: dict[str, Any], command_id: CommandId) -> dict[str, Any]:
        """Subscribe with checked arguments, and return the `result` of the reply."""
        active = self._request_factory.make(request, args, command_id)
        if not request.request_id:
            return self._request_factory.reply(active, self._singletons.ask(request, args, command_id))
        if again := self._requests.under_way(active, command_id):
            return again
        topic = self._request_factory.topic(active)
        if shared := self._registry.shared(request, topic, args) or self._only_one(active, topic):
            return self._requests.join(shared, active, command_id)
        self._requests.open(active, command_id)
        for number in self._registry.retired_ids(topic):
            self._tracker.ignore_late_responses(number)
        self._registry.add(active, topic, args, self._tracker.last(active))
        return self._requests.begun(active, command_id)

    def release(self, request: Request, args: dict[str, Any], command_id: CommandId) -> dict[str, Any]:
        """Release the client's share of a subscription without a request id."""
        if args:
            fault = f"{request.name} takes no arguments: this command gives up your share of {request.cancels}"
            raise CommandRefused("E_ARG", fault)
        return {} if self._singletons.release(request, args, command_id) else {"dup": True}

    def _only_one(self, active: ActiveRequest, topic: str) -> ActiveRequest | None:
        """Return the subscription on that topic, if its messages would be wrong when TWS sends them twice.

        Raises `CommandRefused` if that subscription has other arguments. The contracts may be spelt differently: the
        same topic means the same instrument.
        """
        if active.request.name not in _ONE_AT_A_TIME:
            return None
        for there in (subscription.active for subscription in self._registry.on_topic(topic)):
            names = sorted({*active.args, *there.args} - {active.request.key, "contract"})
            differing = [each for each in names if there.args.get(each) != active.args.get(each)]
            if not differing:
                return there
            said = " and ".join(f"{each} {_told(there.args.get(each))}" for each in differing)
            fault = f"{topic} can have one {active.request.name} at a time, and {there.client} has one with {said}"
            raise CommandRefused("E_BUSY", f"{fault}; use the same arguments to share it")
        return None


def _told(value: Any) -> str:
    return "left out" if value is None else ascii(value)[:60]
