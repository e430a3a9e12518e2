"""Subscriptions from commands: clients that want the same share one subscription at TWS.

Pure. A command that is not executed raises `CommandRefused`. This module must not know what happens to a subscription
later (`resubscription`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec.messages import MESSAGES, OUTBOUND
from ibbridge.codec.schema import Kind
from ibbridge.protocol.answer_topics import DATA_TYPES
from ibbridge.protocol.errors import CommandRefused
from ibbridge.subscriptions.line_queue import refusal

if TYPE_CHECKING:
    from ibbridge.codec.schema import Request
    from ibbridge.requests.request import ActiveRequest, CommandId
    from ibbridge.requests.request_factory import RequestFactory
    from ibbridge.requests.service import RequestService
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.subscriptions.registry import SubscriptionRegistry
    from ibbridge.subscriptions.singleton_streams import SingletonStreams


class LeaseOptions(NamedTuple):
    """Words of a client about its lease, beside IB's arguments.

    `keep`: the lease outlives the client. `wait`: if there is no line, wait for one. `marketDataType`: IB's number of
    the type of market data (1 live to 4 delayed and frozen) for this subscription alone; 0 for the connection's.
    """

    keep: bool = False
    wait: bool = False
    marketDataType: int = 0  # noqa: N815 - IB's name


DEFAULTS = LeaseOptions()


def lease_options(request: Request, args: dict[str, Any]) -> tuple[dict[str, Any], LeaseOptions]:
    """Return the arguments of IB's, and what the client says of its lease. Raise `CommandRefused` for other values."""
    if request.does is not Kind.SUBSCRIPTION and not request.turns:
        return args, DEFAULTS
    given = {name: args[name] for name in LeaseOptions._fields if name in args}
    kind = given.get("marketDataType", 0)
    flags = (name for name in ("keep", "wait") if not isinstance(given.get(name, True), bool))
    faults = [f"{name} must be true or false" for name in flags]
    if not isinstance(kind, int) or isinstance(kind, bool) or kind not in DATA_TYPES:
        faults.append("marketDataType must be 1 (live), 2 (frozen), 3 (delayed) or 4 (delayed and frozen)")
    if kind and request.name != "reqMktData":
        faults.append(f"marketDataType is for reqMktData; {request.name} takes none")
    if faults:
        raise CommandRefused("E_ARG", *faults)
    return {name: value for name, value in args.items() if name not in given}, LeaseOptions(**given)


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

    def subscribe(
        self, request: Request, args: dict[str, Any], command_id: CommandId, options: LeaseOptions = DEFAULTS
    ) -> dict[str, Any]:
        """Subscribe with checked arguments, and return the `result` of the reply."""
        result = self._subscribed(request, args, command_id, options)
        self._registry.leases.note(command_id, request, keep=options.keep)
        return result

    def _subscribed(
        self, request: Request, args: dict[str, Any], command_id: CommandId, options: LeaseOptions
    ) -> dict[str, Any]:
        active = self._request_factory.make(request, args, command_id, options.marketDataType)
        if not request.request_id:
            return self._request_factory.reply(active, self._singletons.ask(request, args, command_id))
        if again := self._requests.under_way(active, command_id):
            return again
        topic = self._request_factory.topic(active)
        if shared := self._registry.shared(request, topic, args) or self._only_one(active, topic):
            return self._requests.join(shared, active, command_id)
        if refused := refusal(self._registry, self._requests, active, command_id.client):
            if not options.wait:
                raise refused
            self._registry.add(active, topic, args, 0, waits=True)
            return self._requests.wait(active, command_id)
        self._requests.open(active, command_id)
        for number in self._registry.retired_ids(topic):
            self._tracker.ignore_late_responses(number)
        self._registry.add(active, topic, args, self._tracker.last(active))
        return self._requests.begun(active, command_id)

    def concern(self, request: Request, args: dict[str, Any], command_id: CommandId) -> dict[str, Any]:
        """Cancel or update an earlier request of the same client, subscription or not."""
        result = self._requests.concern(request, args, command_id)
        if request.cancels:
            self._registry.leases.ended(command_id._replace(id=args["id"]), request.cancels)
        return result

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
