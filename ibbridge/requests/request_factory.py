"""Making of requests with the topics of their responses: the instrument's, the account's, or the client's own.

This module knows declarations and the arguments of commands. It must not know TWS, or requests that are under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import MESSAGES, OUTBOUND
from ibbridge.codec.schema import Kind, Topic
from ibbridge.protocol import topics
from ibbridge.protocol.errors import CommandRefused
from ibbridge.protocol.instrument_key import instrument_key, tape
from ibbridge.protocol.topics import LONGEST_STREAM
from ibbridge.requests.request import ActiveRequest
from ibbridge.streams.publisher import GAP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ibbridge.codec.schema import Request
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.request import CommandId, RequestListener

OF_ACCOUNTS = frozenset(
    request.name
    for request in OUTBOUND
    if any(name in MESSAGES and MESSAGES[name].topic is Topic.ACCOUNT for name in request.answers)
)
"""Names of requests whose responses are about accounts."""


class RequestFactory:
    """Factory of requests.

    `names` are the configured names of instruments, by instrument key. `listeners` are told how each request goes on.
    """

    def __init__(
        self, notifications: RequestNotifications, names: Mapping[str, str], listeners: Sequence[RequestListener]
    ) -> None:
        self._notifications = notifications
        self._names = names
        self._listeners = listeners

    def route(self, request: Request, args: Mapping[str, Any], command_id: CommandId) -> ActiveRequest:
        """Return the request of a command, with the topics of its responses.

        Raises `CommandRefused` for a too long topic.
        """
        own = ("req", command_id.client, str(command_id.id))
        place = answer_topic(request, args, own, self._instrument)
        ref = (
            None
            if request.does is Kind.SUBSCRIPTION and "contract" in args
            else {"client": command_id.client, "id": command_id.id}
        )
        if request.name.startswith("reqPnL"):
            ref = {each: args[each] for each in ("account", "modelCode", "conid") if each in args}
        listeners = self._listeners
        route = ActiveRequest(request, command_id.client, command_id.id, args, place, ref, listeners=listeners)
        if (length := len(self.topic(route))) > LONGEST_STREAM:
            fault = f"the topic of the responses would have {length} bytes, and {LONGEST_STREAM} are the most"
            what = "contract" if "contract" in args else request.name
            raise CommandRefused("E_ARG", f"{what}: {fault}; leave out fields that the instrument does not need")
        return route

    def _instrument(self, contract: Mapping[str, Any]) -> str:
        key = instrument_key(contract)
        return self._names.get(key, key)

    def topic(self, route: ActiveRequest) -> str:
        """Return the topic on which the responses arrive; for requests about accounts, the topic of the account."""
        if route.request.name in OF_ACCOUNTS:
            account = route.args.get("account")
            return self._notifications.named("acct", *([account] if account else []))
        return self._notifications.named(*route.place(""))

    def reply(self, route: ActiveRequest, topic: str = "") -> dict[str, Any]:
        """Return the topics for the reply to a command.

        `topic` carries most responses. `topics` are all prefixes under which messages about the request are published.
        """
        topic = topic or self.topic(route)
        found = [topic, *(self._notifications.named(*each) for each in (*_places(route), route.place("error")))]
        return {"topic": topic, "topics": _without_covered(found)}


def _places(route: ActiveRequest) -> Iterator[tuple[str, ...]]:
    """Yield the topic components of each type of response, except accounts and bulletins (on the route's topic)."""
    for name in route.request.answers:
        kind = MESSAGES[name].topic if name in MESSAGES else Topic.REQUEST
        if kind is Topic.ORDER and route.request.does is Kind.ONE_SHOT:
            yield ("ord",)  # an order is published under its owner and key, whoever asks
        elif kind not in (Topic.ORDER, Topic.ACCOUNT, Topic.NEWS):
            yield route.place("" if route.one_shot else name)


def _without_covered(prefixes: list[str]) -> list[str]:
    """Return the prefixes that no other prefix covers, each once, in their order."""
    return [
        each
        for place, each in enumerate(prefixes)
        if each not in prefixes[:place] and not any(each != other and each.startswith(other) for other in prefixes)
    ]


def answer_topic(
    request: Request,
    args: Mapping[str, Any],
    own: tuple[str, ...],
    instrument: Callable[[Mapping[str, Any]], str],
) -> Callable[[str], tuple[str, ...]]:
    """Return a function from type of response to topic components: the instrument's stream, or the client's `own`.

    Responses about accounts are not covered.
    """
    if "contract" not in args or request.name not in _KINDS:
        return lambda _: own
    market = tape(args["contract"]) or ("md", instrument(args["contract"]) + _KINDS[request.name](args))
    if request.does is Kind.SUBSCRIPTION:
        place = market if request.subscribes(args) else own
        return lambda _: place
    return lambda name: market if name in ("historicalDataUpdate", GAP) else own


def answer_topic_of_all(request: Request, args: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the topic components of a subscription without a request id: an account, all accounts, or bulletins."""
    if Topic.NEWS in (MESSAGES[name].topic for name in request.answers):
        return topics.BULLETINS
    account = args.get("acctCode", "")
    return ("acct", account) if account else ("acct",)


def _bars(args: Mapping[str, Any]) -> str:
    return f"{args['whatToShow']}-{'rth' if args.get('useRTH') else 'all'}"


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "reqMktData": lambda _: "",
    "reqMktDepth": lambda args: "+depth-smart" if args.get("isSmartDepth") else "+depth",
    "reqTickByTickData": lambda args: f"+tbt-{args['tickType']}",
    "reqRealTimeBars": lambda args: f"+bars-{_bars(args)}",
    "reqHistoricalData": lambda args: f"+hist-{args['barSizeSetting'].replace(' ', '')}-{_bars(args)}",
}
"""Suffix to the instrument's key for each kind of subscription, from its arguments. Plain market data has none."""
