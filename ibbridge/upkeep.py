"""What is done about requests as time passes and connections go: asked again, given up, told to be stale.

Everything that clients want (`subscriptions`) is asked for on every new connection, when IB has lost it (1101), and
alone when it should speak and does not (`watchdog`). A question that is lost with its connection is put once more if
that does no harm; one that TWS does not answer in time is over. Pure: told the time in seconds of a clock that only
goes forward, and given `stamp` for what is published. Knows what is to be asked again and when; how that is done is for
`requests`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ibbridge.codec.messages import REQUESTS
from ibbridge.codec.schema import Pace
from ibbridge.deadlines import Deadlines
from ibbridge.hours import Calendar
from ibbridge.outgoing import NOT_CONNECTED
from ibbridge.pacing import NO_HISTORY, TOO_FAST
from ibbridge.places import OF_ACCOUNTS
from ibbridge.refusal import Refused
from ibbridge.routing import COMPETING, LIVE_UPDATES_FAILED, Route
from ibbridge.watchdog import COMPETING as CONTESTED
from ibbridge.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.routing import Router
    from ibbridge.subscriptions import Subscription, Subscriptions
    from ibbridge.wholes import Whole, Wholes

LOST_DATA, KEPT_DATA = 1101, 1102
_LOST = frozenset((1100, 2110))
_FARMS = {2103: "market", 2104: "market", 2105: "history", 2106: "history", 2107: "history", 2108: "market"}
_FARM_DOWN = frozenset((2103, 2105))
_DEFINITIONS = {2157: False, 2158: True}

_PERHAPS_FALSE = frozenset((162, 200, 504))
_AWAY = "away"
"""What TWS says of contracts while IB's servers are away, and why a stream is dead that it has said this of."""

MOST_REFUSALS = 3
"""How often a request is asked again that was too much for TWS."""

OWN = "~hours"
"""Under which the daemon's own questions for trading hours are answered: `req.~hours.<instrument>.`."""

AGAIN = 60.0
"""Seconds of silence after which the hours of a contract are asked for, if they are not known."""


class Asker(Protocol):
    """What sends."""

    @property
    def is_open(self) -> bool:
        """Whether there is a connection on which to ask."""

    def ask_again(self, route: Route) -> None:
        """Ask TWS for this, under a new number if it has one. Raises `Refused`."""

    def cancel(self, route: Route) -> None:
        """Have TWS stop what it sends under the route's number, if there is a way. Raises `Refused`."""


class Turn(NamedTuple):
    """What is to be asked for: a request under a number, or (of `whole`) a stream without one.

    What is `live` is cancelled first.
    """

    route: Route | None
    live: bool = False
    whole: Whole | None = None
    args: Mapping[str, Any] = {}


@dataclass(slots=True, eq=False)
class _Due:
    """That a request has to be answered: as it was asked then, after so many answers."""

    route: Route
    asks: int
    answers: int


class Upkeep:
    """Keeps what TWS is asked for equal to what is wanted."""

    def __init__(
        self,
        asker: Asker,
        router: Router,
        subscriptions: Subscriptions,
        wholes: Wholes,
        *,
        silent_after: float = 180.0,
        per_minute: int = 6,
        stamp: Callable[[], int] = lambda: 0,
    ) -> None:
        self._asker = asker
        self._router = router
        self._subscriptions = subscriptions
        self._wholes = wholes
        self._stamp = stamp
        self._watchdog = Watchdog(silent_after, per_minute)
        self._silent_after = silent_after
        self._deadlines: Deadlines[_Due] = Deadlines()
        self._turns: list[Turn] = []  # first things last
        self._kept: list[Route] = []  # questions to be put once more
        self._hours = Calendar()
        self._asking_hours: Route | None = None
        self._now = 0.0
        self._up = True
        self._definitions = True
        self._down: dict[str, set[str]] = {"market": set(), "history": set()}
        self.waiting: Callable[[Route], bool] = lambda _: False
        """Whether a request has not yet left for TWS: its time has not begun then."""
        router.troubled = self._troubled
        router.refused_for_now = self._refused_for_now

    # -- connections

    def begin(self) -> None:
        """A new connection begins: the numbers of the old one mean nothing any more."""
        self._turns.clear()
        self._router.reconnected()
        self._subscriptions.reconnected()
        self._up, self._definitions = True, True
        for down in self._down.values():
            down.clear()

    def connected(self) -> list[tuple[Route, str]]:
        """Ask for all that is wanted. Returns what could not be asked for, and why: TWS may speak an older version."""
        kept, self._kept = self._kept, []
        self._put(
            [
                *(Turn(route) for route in kept if not route.ended),
                *(Turn(each.route) for each in self._subscriptions.live()),
                *self._all_wholes(),
            ]
        )
        return self._take_turns()

    def lost(self) -> list[Route]:
        """The connection is gone: say so on every stream. Returns the requests that are over without an answer."""
        ts = self._stamp()
        for each in self._subscriptions.live():
            self._outdate(each, "connection", ts)
        self._wholes.gaps("connection", ts)
        waiting = [turn.route for turn in self._turns if turn.route and turn.route.one_shot and not turn.route.ended]
        self._turns.clear()
        failed = []
        for route in self._router.unanswered():
            if route.hears is not None:
                self._asking_hours = None
            elif route.asks - route.refusals == 1 and not route.begun and route.request.repeatable(route.args):
                self._kept.append(route)
                continue
            else:
                failed.append(route)
            self._router.end(route)
        self._kept += [route for route in waiting if route not in self._kept]
        return failed

    def _all_wholes(self) -> list[Turn]:
        return [Turn(None, whole=whole, args=args) for whole, args in self._wholes.wanted()]

    # -- asking again

    def _put(self, turns: list[Turn]) -> None:
        """Have these asked for, most urgent first, unless they are to be asked for anyway."""
        there = {turn.route for turn in self._turns if turn.route}
        kept = [turn for turn in self._turns if turn.route or not any(each.whole for each in turns)]
        both = [*reversed(kept), *(turn for turn in turns if turn.route is None or turn.route not in there)]
        self._turns = sorted(both, key=_urgency)[::-1]

    def _take_turns(self) -> list[tuple[Route, str]]:
        """Ask for what is to be asked for, as far as TWS takes it; what was refused for good, and why."""
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
        self.asked(route)
        if subscription := self._subscriptions.of(route):
            subscription.renewed(self._router.last(route))

    def _refused(self, turn: Turn) -> list[Route]:
        if turn.route is not None:
            self._router.end(turn.route)
            return [turn.route]
        return self._wholes.refused(turn.whole, turn.args) if turn.whole else []

    # -- deadlines

    def asked(self, route: Route) -> None:
        """TWS has been asked for this, the first time or again."""
        if seconds := route.request.within(route.args):
            self._deadlines.add(_Due(route, route.asks, route.answers), seconds)

    def _expire(self, now: float) -> None:
        self._wholes.expire(now, able=self._up and not self._turns)
        for due in self._deadlines.due(now):
            self._expire_one(due)

    def _expire_one(self, due: _Due) -> None:
        route = due.route
        if route.ended or route.asks != due.asks or (not route.one_shot and route.begun):
            return
        seconds = route.request.within(route.args) or 0.0
        if self.waiting(route) or route.answers != due.answers or not (route.one_shot or self._up):
            self._deadlines.add(_Due(route, route.asks, route.answers), seconds)
            return
        if not route.one_shot and route.channels:  # it has spoken on an earlier connection, and is wanted as it was
            self._put([Turn(route, live=True)])
            return
        if route in self._kept or any(turn.route is route for turn in self._turns):
            why = f"there was no connection on which TWS could have answered, for {seconds:g} s"
        elif _perhaps_dropped(route):
            self._put([Turn(route, live=True)])
            return
        else:
            self._stop(route)
            why = f"TWS has not answered for {seconds:g} s"
        self._router.give_up(route)
        if route.hears is None:
            self._router.tell(route, NOT_CONNECTED, f"{why}; ask again, under a new id", self._stamp())
        else:
            self._asking_hours = None

    def _stop(self, route: Route) -> None:
        try:
            self._asker.cancel(route)
        except Refused:  # a connection that takes nothing forgets all, and a version without the cancel has none
            return

    # -- gaps

    def _outdate(self, each: Subscription, reason: str, ts: int) -> None:
        """Tell a stream's subscribers, unless nothing has come since they were told last."""
        last = self._router.last(each.route)
        if each.stale and last == each.seq:
            return
        if self._router.gap(each.route, reason, ts):
            last = self._router.last(each.route)
            for other in self._subscriptions.on(each.topic):
                other.stale, other.seq = True, last

    # -- what IB says

    def notice(self, code: int | None, farm: str = "") -> None:
        """One of IB's codes about its own servers; `farm` names one whose state has changed by it."""
        if code in _LOST:
            self._up = False
        elif code == LOST_DATA:
            self._up = True
            self._data_lost()
        elif code == KEPT_DATA:
            was_up, self._up = self._up, True
            self._kept_data(asked=not was_up)
        elif code in _DEFINITIONS:
            self._definitions = _DEFINITIONS[code]
            self._ask_refused()
        elif code in _FARMS and farm:
            self._farm(_FARMS[code], farm, up=code not in _FARM_DOWN)

    def _farm(self, kind: str, farm: str, *, up: bool) -> None:
        down = self._down[kind]
        if not up:
            down.add(farm)
            return
        was_down = farm in down
        down.discard(farm)
        of_kind = [each for each in self._watched() if _farms_of(each.route.request) == kind]
        if kind == "history" and not down:
            self._put([Turn(each.route, live=True) for each in of_kind if each.dead == "farm"])
            self._tell(self._take_turns())
        if was_down and not down:
            self._watchdog.resumed(of_kind, self._now)

    def _data_lost(self) -> None:
        """Every subscription is gone, says IB; those that are not are cancelled, so that none is there twice."""
        ts = self._stamp()
        live = self._subscriptions.live()
        for each in live:
            self._outdate(each, "data", ts)
        self._wholes.gaps("data", ts)
        self._put([*(Turn(each.route, live=True) for each in live), *self._all_wholes()])
        self._tell(self._take_turns())

    def _kept_data(self, *, asked: bool) -> None:
        """TWS has all subscriptions, says IB: but perhaps not those that it was `asked` for meanwhile."""
        if asked:
            unheard = [each for each in self._subscriptions.live() if each.asked is None and not each.route.begun]
            self._put([Turn(each.route, live=True) for each in unheard])
        self._ask_refused()
        self._watchdog.resumed(self._watched(), self._now)

    def _ask_refused(self) -> None:
        """What was refused because IB's servers were away."""
        if self._up and self._definitions:
            self._put([Turn(each.route) for each in self._subscriptions.live() if each.dead == _AWAY])
        self._tell(self._take_turns())

    def uncontested(self) -> None:
        """Another login has let go of the market data."""
        self._watchdog.uncontested(self._watched(), self._now)

    def _refused_for_now(self, route: Route, code: int | None, text: str) -> bool:
        return self._while_away(route, code) or self._too_much(route, code, text)

    def _while_away(self, route: Route, code: int | None) -> bool:
        """TWS, which cannot know while IB's servers are away, has refused a stream: it is kept, and asked for later."""
        subscription = self._subscriptions.of(route)
        if subscription is None or code not in _PERHAPS_FALSE or (self._up and self._definitions):
            return False
        self._outdate(subscription, "silent", self._stamp())
        subscription.dead, subscription.heard, subscription.asked = _AWAY, None, None
        subscription.seq = self._router.last(route)
        return True

    def _too_much(self, route: Route, code: int | None, text: str) -> bool:
        """TWS has refused a request because there were too many: it is asked again in its turn, some times."""
        refused = code == TOO_FAST or (code == NO_HISTORY and "pacing" in text.lower())
        if not refused or route.begun or route.refusals == MOST_REFUSALS or not route.request.repeatable(route.args):
            return False
        route.refusals += 1
        self._put([Turn(route)])
        return True

    def _troubled(self, route: Route, code: int | None, ts: int) -> None:
        """An error about something that is under way: of a stream, it may have to be asked for again."""
        subscription = self._subscriptions.of(route)
        if subscription is None or code not in (LIVE_UPDATES_FAILED, COMPETING):
            return
        reason = "farm" if code == LIVE_UPDATES_FAILED else "silent"
        self._outdate(subscription, reason, ts)
        subscription.dead = "farm" if code == LIVE_UPDATES_FAILED else CONTESTED
        subscription.heard, subscription.asked = None, None
        subscription.seq = self._router.last(route)

    # -- time

    def tend(self, now: float) -> None:
        """Do what it is time for. To be called every second or so."""
        self._now = now
        self._expire(now)
        if not self._asker.is_open:
            return
        self._tell(self._take_turns())
        if self._up:
            self._watch(now)

    def _tell(self, refused: list[tuple[Route, str]]) -> None:
        for route, why in refused:
            self._router.tell(route, NOT_CONNECTED, why, self._stamp())

    def _watched(self) -> list[Subscription]:
        return [each for each in self._subscriptions.live() if each.instrument]

    def _watch(self, now: float) -> None:
        watched = self._watched()
        if waiting := {turn.route for turn in self._turns}:
            watched = [each for each in watched if each.route not in waiting]
        found = [each for each in self._watchdog.look(watched, self, now) if not self.waiting(each.route)]
        for each in found:
            self._outdate(each, "silent", self._stamp())
        self._put([Turn(each.route, live=True) for each in found])
        self._tell(self._take_turns())
        self._ask_hours(now)

    def seq(self, subscription: Subscription) -> int:
        """The number of its stream's last message."""
        return self._router.last(subscription.route)

    def farm_is_up(self, subscription: Subscription) -> bool:
        """Whether all farms are up that such streams may come from."""
        return not self._down[_farms_of(subscription.route.request)]

    def open(self, subscription: Subscription) -> bool | None:
        """Whether its market is; None if that is not known."""
        return self._hours.open(subscription.instrument, self._stamp() / 1e6)

    def _ask_hours(self, now: float) -> None:
        """Ask for the hours of a contract whose stream is silent and whose hours are not known: one at a time."""
        if not self._definitions or (self._asking_hours is not None and not self._asking_hours.ended):
            return
        at = self._stamp() / 1e6
        quiet = min(AGAIN, self._silent_after / 2)
        for each in self._watchdog.looked_at:
            since = each.heard if each.heard is not None else each.asked
            if not each.spoke or since is None or now - since < quiet or not self._hours.wants(each.instrument, at):
                continue
            self._hours.asking(each.instrument, at)
            try:
                self._asking_hours = self._question(each.instrument, each.route.args["contract"])
            except Refused:
                continue
            return

    def _question(self, instrument: str, contract: Mapping[str, Any]) -> Route:
        request = REQUESTS["reqContractDetails"]

        def hears(data: Mapping[str, Any]) -> None:
            details = data.get("contractDetails") or {}
            self._hours.told(instrument, details.get("liquidHours", ""), details.get("timeZoneId", ""))

        args = {"contract": contract, "reqId": 0}
        route = Route(request, OWN, instrument, args, lambda _: ("req", OWN, instrument), None, hears=hears)
        self._asker.ask_again(route)
        self.asked(route)
        return route


def _perhaps_dropped(route: Route) -> bool:
    """Whether TWS may have dropped it without a word, as it does with history when there is too much of it."""
    request = route.request
    asked_first = route.asks == 1 and not route.begun
    return request.pace is Pace.HISTORY and route.one_shot and asked_first and request.repeatable(route.args)


def _farms_of(request: Request) -> str:
    return "history" if request.pace is Pace.HISTORY else "market"


def _urgency(turn: Turn) -> tuple[bool, int, bool]:
    """Accounts first, questions before streams, history last."""
    request = turn.whole.request if turn.whole else turn.route.request  # type: ignore[union-attr]
    streams = turn.route is None or not turn.route.one_shot
    return request.name not in OF_ACCOUNTS, request.pace.value, streams
