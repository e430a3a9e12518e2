"""Queue of requests to send again, the most urgent first, as fast as TWS accepts messages.

Pure. This module knows how to send (`issuer`, `singleton_streams`). It must not know why a request is sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ibbridge.protocol.errors import Refused
from ibbridge.requests.request_factory import OF_ACCOUNTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.requests.issuer import Asker
    from ibbridge.requests.request import Route
    from ibbridge.requests.tracker import RequestTracker


class WithoutId(Protocol):
    """A subscription without a request id."""

    request: Request


class WithoutIds(Protocol):
    """All wanted subscriptions without a request id: `subscriptions.singleton_streams`, as far as it is needed here."""

    def wanted(self) -> Iterable[tuple[WithoutId, dict[str, Any]]]:
        """Return the wanted subscriptions, with their arguments."""

    def ask_again(self, whole: Any, args: Mapping[str, Any]) -> None:
        """Send one of them again."""

    def refused(self, whole: Any, args: Mapping[str, Any]) -> list[Route]:
        """Return the requests of its clients, because it was refused for good."""


class Renewable(Protocol):
    """A subscription with a request id."""

    def renewed(self, seq: int) -> None:
        """Note that it was sent again, and the last sequence number of its stream then."""


class WithIds(Protocol):
    """All wanted subscriptions with a request id: `subscriptions.registry`, as far as it is needed here."""

    def of(self, route: Route) -> Renewable | None:
        """Return the subscription of a request, if the request is one."""


class Turn(NamedTuple):
    """A request to send: one with a request id (`route`), or a subscription without one (`whole`).

    A `live` request is cancelled first.
    """

    route: Route | None
    live: bool = False
    whole: WithoutId | None = None
    args: Mapping[str, Any] = {}


class Turns:
    """Queue of requests to send again, in order of urgency."""

    def __init__(self, asker: Asker, tracker: RequestTracker, subscriptions: WithIds, wholes: WithoutIds) -> None:
        self._asker = asker
        self._tracker = tracker
        self._subscriptions = subscriptions
        self._wholes = wholes
        self._turns: list[Turn] = []  # first things last

    def __bool__(self) -> bool:
        return bool(self._turns)

    def __contains__(self, route: Route) -> bool:
        return any(turn.route is route for turn in self._turns)

    def routes(self) -> list[Route]:
        """Return the queued requests that carry a request id, the least urgent first."""
        return [turn.route for turn in self._turns if turn.route]

    def clear(self) -> None:
        """Empty the queue: there is no connection to send on."""
        self._turns.clear()

    def put(self, turns: list[Turn]) -> None:
        """Queue these requests by urgency, leaving out those that are queued already."""
        there = set(self.routes())
        kept = [turn for turn in self._turns if turn.route or not any(each.whole for each in turns)]
        both = [*reversed(kept), *(turn for turn in turns if turn.route is None or turn.route not in there)]
        self._turns = sorted(both, key=_urgency)[::-1]

    def put_all(self, turns: list[Turn]) -> None:
        """Queue these requests and all wanted subscriptions without a request id."""
        self.put([*turns, *(Turn(None, whole=whole, args=args) for whole, args in self._wholes.wanted())])

    def take(self) -> list[tuple[Route, str]]:
        """Send queued requests as long as TWS accepts them. Return the requests refused for good, with the reasons."""
        refused = []
        while self._turns:
            turn = self._turns[-1]
            try:
                self._ask(turn)
            except Refused as error:
                if error.outcome != "refused":
                    break
                refused += [(route, str(error)) for route in self._refused(turn)]
            self._turns.pop()
        return refused

    def _ask(self, turn: Turn) -> None:
        if turn.whole is not None:
            self._wholes.ask_again(turn.whole, turn.args)
            return
        route = turn.route
        if route is None or route.ended:
            return
        if turn.live:
            self._asker.cancel(route)
            self._turns[-1] = turn._replace(live=False)
        self._asker.ask_again(route)
        if subscription := self._subscriptions.of(route):
            subscription.renewed(self._tracker.last(route))

    def _refused(self, turn: Turn) -> list[Route]:
        if turn.route is not None:
            self._tracker.end(turn.route)
            return [turn.route]
        return self._wholes.refused(turn.whole, turn.args) if turn.whole else []


def _urgency(turn: Turn) -> tuple[bool, int, bool]:
    """Return the sort key: accounts first, one-shots before subscriptions, history last."""
    request = turn.whole.request if turn.whole else turn.route.request  # type: ignore[union-attr]
    streams = turn.route is None or not turn.route.one_shot
    return request.name not in OF_ACCOUNTS, request.pace.value, streams
