"""Re-subscription: subscriptions are requested again after lost connections, outages at IB and stalls.

All subscriptions (`registry`, `singleton_streams`) are requested again on every new connection and after IB has lost
them (1101). A single subscription is requested again when it is silent but should not be (`stall_detector`). Each
interruption is published as a `gap`. One-shots are for `timeouts`, and sending is for `issuer`. Pure: the caller gives
the time in seconds of a clock that only goes forward, and `stamp` gives the time for published messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.codec.schema import Pace
from ibbridge.ib import notices
from ibbridge.ib.notices import BAD_MESSAGE, BUST, COMPETING, DEPTH_HALTED, LIVE_UPDATES_FAILED, NOT_CONNECTED
from ibbridge.ib.trading_hours import TradingCalendar
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.issuer import ResponseDeadline
from ibbridge.requests.reissue_queue import Reissue, ReissueQueue
from ibbridge.requests.request import ActiveRequest
from ibbridge.requests.request_factory import OF_ACCOUNTS
from ibbridge.requests.timeouts import RequestTimeouts
from ibbridge.subscriptions.singleton_streams import Incomplete
from ibbridge.subscriptions.stall_detector import StallDetector
from ibbridge.subscriptions.state import SubscriptionEvent, SubscriptionState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.requests.deadlines import Deadlines
    from ibbridge.requests.issuer import RequestIssuer
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.subscriptions.registry import Subscription, SubscriptionRegistry
    from ibbridge.subscriptions.singleton_streams import SingletonStreams

_DEAD: Mapping[int | None, tuple[str, SubscriptionEvent, bool]] = {
    LIVE_UPDATES_FAILED: ("farm", SubscriptionEvent.FARM_FAILED, False),
    COMPETING: ("silent", SubscriptionEvent.COMPETING, False),
    DEPTH_HALTED: ("ended", SubscriptionEvent.ENDED, True),
    BUST: ("ended", SubscriptionEvent.ENDED, True),
    BAD_MESSAGE: ("unreadable", SubscriptionEvent.ENDED, True),
}
"""Codes by which TWS says that a subscription is or may be dead, or the daemon says that its data is unusable. The
values: the reason of the gap, the event of the subscription, and whether to re-subscribe at once."""

OWN = "~hours"
"""Client name for the daemon's own requests for trading hours. Their responses go to `req.~hours.<instrument>.`."""

AGAIN = 60.0
"""Seconds of silence after which the trading hours of a contract are requested, if they are not known."""


class Resubscriber:
    """Re-subscription: keeps the subscriptions at TWS equal to those that clients want."""

    def __init__(
        self,
        issuer: RequestIssuer,
        tracker: RequestTracker,
        notifications: RequestNotifications,
        subscriptions: SubscriptionRegistry,
        singletons: SingletonStreams,
        *,
        deadlines: Deadlines[object],
        silent_after: float = 180.0,
        per_minute: int = 6,
        stamp: Callable[[], int] = lambda: 0,
    ) -> None:
        self._issuer = issuer
        self._tracker = tracker
        self._notifications = notifications
        self._subscriptions = subscriptions
        self._singletons = singletons
        self._deadlines = deadlines
        self._stamp = stamp
        self._stall_detector = StallDetector(silent_after, per_minute)
        self._silent_after = silent_after
        self._reissue_queue = ReissueQueue(issuer, tracker, subscriptions, singletons)
        self._timeouts = RequestTimeouts(issuer, tracker, notifications, self._reissue_queue, stamp)
        self._hours = TradingCalendar()
        self._asking_hours: ActiveRequest | None = None
        self._now = 0.0
        self._up = True
        self._definitions = True
        self._down: dict[str, set[str]] = {"market": set(), "history": set()}

    # -- connections

    def begin(self) -> None:
        """Begin a new connection: forget the request ids and the farm states of the old one."""
        self._reissue_queue.clear()
        self._issuer.begin()
        self._tracker.reconnected()
        self._subscriptions.reconnected()
        self._up, self._definitions = True, True
        for down in self._down.values():
            down.clear()

    def connected(self) -> list[tuple[ActiveRequest, str]]:
        """Send all wanted requests on a new connection.

        Return the requests that could not be sent, with the reasons: TWS may speak an older version.
        """
        live = self._subscriptions.live()
        self._reissue_queue.put_all(
            [*self._timeouts.connected(), *(Reissue(subscription.route) for subscription in live)]
        )
        return self._reissue_queue.take()

    def lost(self) -> list[ActiveRequest]:
        """Publish `gap` on every subscription, because the connection is lost. Return the requests that have failed."""
        ts = self._stamp()
        for subscription in self._subscriptions.live():
            self._outdate(subscription, "connection", ts)
        self._singletons.gaps("connection", ts)
        return self._timeouts.lost()

    # -- gaps

    def _outdate(self, subscription: Subscription, reason: str, ts: int) -> None:
        """Publish `gap` for a subscription, unless no message has come since its last `gap`."""
        last = self._tracker.last(subscription.route)
        if subscription.stale and last == subscription.seq:
            return
        if self._notifications.gap(subscription.route, reason, ts):
            last = self._tracker.last(subscription.route)
            for other in self._subscriptions.on_topic(subscription.topic):
                other.stale, other.seq = True, last

    # -- what IB says

    def on_notice(self, code: int | None, farm: str = "") -> None:
        """Apply one of IB's codes about its own servers. `farm` names the data farm whose state the code changes."""
        if notices.UPSTREAM.get(code or 0) == "lost":
            self._up = False
        elif code == notices.LOST_DATA:
            self._up = True
            self._data_lost()
        elif code == notices.KEPT_DATA:
            was_up, self._up = self._up, True
            self._kept_data(asked=not was_up)
        elif code in notices.DEFINITIONS:
            self._definitions = notices.DEFINITIONS[code]
            self._ask_refused()
        elif code in notices.FARM_KINDS and farm:
            self._farm(notices.FARM_KINDS[code], farm, up=notices.FARMS[code] != "down")

    def _farm(self, kind: str, farm: str, *, up: bool) -> None:
        down = self._down[kind]
        if not up:
            down.add(farm)
            return
        was_down = farm in down
        down.discard(farm)
        of_kind = [subscription for subscription in self._watched() if _farms_of(subscription.route.request) == kind]
        if kind == "history" and not down:
            died = [
                subscription
                for subscription in of_kind
                if subscription.state is SubscriptionState.FARM_DOWN or (was_down and not subscription.route.begun)
            ]
            self._reissue_queue.put([Reissue(subscription.route, cancel_first=True) for subscription in died])
            self._go_on()
        if was_down and not down:
            self._stall_detector.resumed(of_kind, self._now)

    def _data_lost(self) -> None:
        """Re-subscribe everything after 1101: IB has lost all subscriptions.

        Each subscription is cancelled first, so that one that IB still has does not exist twice.
        """
        ts = self._stamp()
        live = self._subscriptions.live()
        for subscription in live:
            self._outdate(subscription, "data", ts)
        self._singletons.gaps("data", ts)
        self._reissue_queue.put_all([Reissue(subscription.route, cancel_first=True) for subscription in live])
        self._go_on()

    def _kept_data(self, *, asked: bool) -> None:
        """Resume after 1102: TWS has kept all subscriptions.

        `asked`: TWS was disconnected from IB before, and may have lost requests that were sent meanwhile. These are
        sent again, and so are subscriptions whose silence proves nothing.
        """
        if asked:
            unheard = [
                subscription
                for subscription in self._subscriptions.live()
                if subscription.asked is None and not subscription.route.begun
            ]
            self._reissue_queue.put([Reissue(subscription.route, cancel_first=True) for subscription in unheard])
        unwatched = [subscription for subscription in self._subscriptions.live() if _beyond_watching(subscription)]
        self._reissue_queue.put([Reissue(subscription.route, cancel_first=True) for subscription in unwatched])
        self._ask_refused()
        self._stall_detector.resumed(self._watched(), self._now)

    def _ask_refused(self) -> None:
        """Re-subscribe those that TWS refused while IB's servers were away, once the servers are back."""
        if self._up and self._definitions:
            live = self._subscriptions.live()
            self._reissue_queue.put(
                [Reissue(subscription.route) for subscription in live if subscription.state is SubscriptionState.AWAY]
            )
        self._go_on()

    def uncontested(self) -> None:
        """Resume market data after another login has released it."""
        self._stall_detector.uncontested(self._watched(), self._now)

    def refused_for_now(self, route: ActiveRequest, code: int | None, text: str) -> bool:
        """Return True if an error refuses a request for a reason that passes: the request is then sent again."""
        return self._while_away(route, code) or self._timeouts.too_much(route, code, text)

    def _while_away(self, route: ActiveRequest, code: int | None) -> bool:
        """Keep a subscription that TWS has refused while IB's servers are away, and re-subscribe later.

        TWS cannot know contracts then, so its refusal may be false. Return False if this is no such refusal.
        """
        subscription = self._subscriptions.find(route)
        if subscription is None or code not in notices.PERHAPS_FALSE or (self._up and self._definitions):
            return False
        self._outdate(subscription, "silent", self._stamp())
        subscription.died(SubscriptionEvent.REFUSED_AWAY, self._tracker.last(route))
        return True

    def troubled(self, route: ActiveRequest, code: int | None, ts: int) -> None:
        """Mark a subscription as dead after an error that says so, and re-subscribe at once where that helps."""
        subscription = self._subscriptions.find(route)
        if subscription is None or code not in _DEAD:
            return
        reason, event, at_once = _DEAD[code]
        self._outdate(subscription, reason, ts)
        subscription.died(event, self._tracker.last(route))
        if at_once and not subscription.tries:  # later tries are left to the stall detector: TWS may refuse each one
            subscription.tries = 1
            self._reissue_queue.put([Reissue(route, cancel_first=True)])
            self._go_on()

    # -- time

    def tick(self, now: float) -> None:
        """Do the work that is due at `now`. Call this about every second."""
        self._now = now
        self._expire(now)
        if not self._issuer.is_open:
            return
        self._issuer.cancel_lingering()
        self._go_on()
        if self._up:
            self._watch(now)

    def _expire(self, now: float) -> None:
        for due in self._deadlines.due(now):
            if isinstance(due, ResponseDeadline):
                self._timeouts.expire(due, up=self._up)
            elif isinstance(due, Incomplete):
                self._singletons.expire(due, able=self._up and not self._reissue_queue)

    def _go_on(self) -> None:
        for route, why in self._reissue_queue.take():
            self._notifications.notify_error(route, NOT_CONNECTED, why, self._stamp())

    def _watched(self) -> list[Subscription]:
        return [subscription for subscription in self._subscriptions.live() if subscription.instrument]

    def _watch(self, now: float) -> None:
        watched = self._watched()
        turns = set(self._reissue_queue.routes())
        watched = [
            subscription for subscription in watched if subscription.route not in turns and not subscription.route.waits
        ]
        found = self._stall_detector.tick(watched, self, now)
        for subscription in found:
            self._outdate(subscription, "silent", self._stamp())
        self._reissue_queue.put([Reissue(subscription.route, cancel_first=True) for subscription in found])
        self._go_on()
        self._ask_hours(now)

    def seq(self, subscription: Subscription) -> int:
        """Return the last sequence number of its stream; the one before, if another subscription sent that message."""
        if self._subscriptions.is_alone(subscription) or self._tracker.has_spoken(subscription.route):
            return self._tracker.last(subscription.route)
        return subscription.seq

    def farm_is_up(self, subscription: Subscription) -> bool:
        """Return True if all farms are up that may deliver the subscription."""
        return not self._down[_farms_of(subscription.route.request)]

    def open(self, subscription: Subscription) -> bool | None:
        """Return whether the market of its instrument is open; None if that is not known."""
        return self._hours.open(subscription.instrument, self._stamp() / 1e6)

    def _ask_hours(self, now: float) -> None:
        """Request the trading hours of a silent subscription's contract if they are unknown, one contract at a time."""
        if not self._definitions or (self._asking_hours is not None and not self._asking_hours.ended):
            return
        at = self._stamp() / 1e6
        quiet = min(AGAIN, self._silent_after / 2)
        for subscription in self._stall_detector.looked_at:
            since = subscription.heard if subscription.heard is not None else subscription.asked
            if since is None or now - since < quiet or not self._hours.wants(subscription.instrument, at):
                continue
            self._hours.asking(subscription.instrument, at)
            try:
                self._asking_hours = self._question(subscription.instrument, subscription.route.args["contract"])
            except CommandRefused:
                continue
            return

    def _question(self, instrument: str, contract: Mapping[str, Any]) -> ActiveRequest:
        request = REQUESTS["reqContractDetails"]

        def on_response(data: Mapping[str, Any]) -> None:
            details = data.get("contractDetails") or {}
            self._hours.learn(instrument, details.get("liquidHours", ""), details.get("timeZoneId", ""))

        args = {"contract": contract, "reqId": 0}
        route = ActiveRequest(
            request, OWN, instrument, args, lambda _: ("req", OWN, instrument), None, on_response=on_response
        )
        self._issuer.reissue(route)
        return route


def _beyond_watching(subscription: Subscription) -> bool:
    """Return True if a subscription is served by IB, and its silence proves nothing: scanners, news."""
    return not subscription.instrument and subscription.route.request.name not in OF_ACCOUNTS


def _farms_of(request: Request) -> str:
    return "history" if request.pace is Pace.HISTORY else "market"
