"""The streams that clients want of TWS, in one table: what, who, under which number it is asked for, what became of it.

It outlives connections: everything in it is asked for again on each new one. Pure. Knows routes and declarations;
nothing of how TWS is asked (`ib_requests`, `resubscription`), of what is published, or of time but what it is told.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ibbridge.protocol.arguments import canonical
from ibbridge.protocol.topics import instrument_key, tape
from ibbridge.streams.publisher import GAP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibbridge.codec.schema import Request
    from ibbridge.inbound.router import Asking, Route

MOST_REMEMBERED = 5_000
"""Requests that are over, or were cancelled, and are still known by their commands."""


@dataclass(slots=True, eq=False)
class Subscription:
    """A stream under a number, which its `route` has; the route's holders are who wants it.

    `seq` is the number of its topic's stream when that was looked at last, `heard` when it had changed then (None: no
    data on this connection yet), `every` how many seconds lie between its messages while it flows. `asked` is when TWS
    was asked, as far as that has been looked at; `tries` how often it was asked again because nothing came. It is
    `stale` from a gap until data comes, `suspect` after something that may have killed it silently, `dead` when TWS has
    said that it is, and says why. `instrument` is whose market it speaks of, if it does so all the time that this is
    open; who asks the same, which `sharing` is made of, shares it. One that `spoke` has done so on this connection or
    an earlier one, so that its silence means more. What it says after its first answers may come `elsewhere`: bars that
    are kept up to date go on where everybody hears them.
    """

    route: Route
    topic: str
    seq: int = 0
    instrument: str = ""
    sharing: str = ""
    heard: float | None = None
    every: float | None = None
    asked: float | None = None
    tries: int = 0
    stale: bool = False
    spoke: bool = False
    suspect: bool = False
    dead: str = ""
    elsewhere: bool = False

    def renewed(self, seq: int) -> None:
        """It is asked for anew, when its stream was at `seq`. Of before, what is kept is how often it spoke."""
        self.seq, self.heard, self.asked = seq, None, None
        self.suspect, self.dead = False, ""


class Subscriptions:
    """The table."""

    def __init__(self) -> None:
        self._shared: dict[tuple[str, str], Subscription] = {}
        self._of: dict[Route, Subscription] = {}
        self._on: dict[str, list[Subscription]] = {}
        self._by_command: dict[Asking, Route] = {}
        self._gone: OrderedDict[Asking, str] = OrderedDict()  # what was cancelled: a cancel may come again
        self._late: OrderedDict[str, list[int]] = OrderedDict()
        self._tidy_at = 0

    def __len__(self) -> int:
        return len(self._shared)

    # -- by command

    def under(self, asking: Asking) -> Route | None:
        """The request that was made by this command, if it is remembered."""
        return self._by_command.get(asking)

    def remember(self, asking: Asking, route: Route) -> None:
        """Know a request by its command. What is over is forgotten now and then: one-shots end by themselves."""
        self._by_command[asking] = route
        self._gone.pop(asking, None)
        if len(self._by_command) > self._tidy_at:
            self._by_command = {asking: route for asking, route in self._by_command.items() if not route.ended}
            self._shared = {sharing: each for sharing, each in self._shared.items() if not each.route.ended}
            self._of, self._on = {}, {}
            for each in self._shared.values():
                self._index(each)
            self._tidy_at = max(MOST_REMEMBERED, 2 * len(self._by_command))

    def give_up(self, asking: Asking) -> None:
        """Its holder has cancelled it."""
        self._gone[asking] = self._by_command.pop(asking).request.name
        if len(self._gone) > MOST_REMEMBERED:
            self._gone.popitem(last=False)

    def given_up(self, asking: Asking) -> str | None:
        """The name of the request that was made by this command, if it was cancelled since."""
        return self._gone.get(asking)

    # -- streams under a number

    def add(self, route: Route, topic: str, args: Any, seq: int) -> None:
        """A stream is asked for; `args` are those that whoever shares it has, too. `seq` is where its topic's is."""
        elsewhere = route.place(GAP) != route.place("")
        sharing = _sharing(route.request, args)
        subscription = Subscription(route, topic, seq, _market(route), sharing, elsewhere=elsewhere)
        if former := self._shared.get((topic, subscription.sharing)):
            self._drop(former)
        self._shared[topic, subscription.sharing] = subscription
        self._index(subscription)

    def _index(self, subscription: Subscription) -> None:
        self._of[subscription.route] = subscription
        self._on.setdefault(subscription.topic, []).append(subscription)

    def _drop(self, subscription: Subscription) -> None:
        del self._shared[subscription.topic, subscription.sharing], self._of[subscription.route]
        there = self._on[subscription.topic]
        there.remove(subscription)
        if not there:
            del self._on[subscription.topic]

    def shared(self, request: Request, topic: str, args: Any) -> Route | None:
        """The stream of this request on that topic with these arguments, if it is there."""
        found = self._shared.get((topic, _sharing(request, args)))
        return None if found is None or found.route.ended else found.route

    def on(self, topic: str) -> Iterator[Subscription]:
        """The streams on that topic, whatever their arguments."""
        there = self._on.get(topic, ())
        yield from (each for each in there if not each.route.ended)

    def alone(self, subscription: Subscription) -> bool:
        """Whether nothing else speaks on its topic."""
        return not subscription.elsewhere and len(self._on.get(subscription.topic, ())) == 1

    def of(self, route: Route) -> Subscription | None:
        """What is known of this stream."""
        return self._of.get(route)

    def live(self) -> list[Subscription]:
        """Every stream that somebody wants."""
        return [each for each in self._shared.values() if not each.route.ended and each.route.holders]

    def over(self, route: Route) -> None:
        """Forget a stream that is over: one that TWS has refused is never cancelled by anybody."""
        if left := self._of.get(route):
            self._drop(left)

    def leave(self, route: Route, topic: str) -> None:
        """The last one has given it up. What TWS still sends under its number must not reach who asks next."""
        self.over(route)
        self._late.setdefault(topic, []).append(route.req_id)
        if len(self._late) > MOST_REMEMBERED:
            self._late.popitem(last=False)

    def late(self, topic: str) -> list[int]:
        """The numbers under which that topic was left, each told once."""
        return self._late.pop(topic, [])

    def reconnected(self) -> None:
        """No number of the old connection means anything."""
        self._late.clear()


def _sharing(request: Request, args: Any) -> str:
    """What is the same for all who share a stream on a topic. Two requests may take the same arguments."""
    return f"{request.name} {canonical(args)}"


def _market(route: Route) -> str:
    """The instrument whose hours a stream keeps; a tape of news keeps none."""
    contract = route.args.get("contract")
    return instrument_key(contract) if route.request.flows and contract and tape(contract) is None else ""
