"""Re-subscription after a reconnect, after an outage of IB's servers or a farm, and after a refusal that may be false.

Pure. Clients are told of data that may be missing (`stream_gaps`). `silence_watch` looks after subscriptions that fall
silent without a notice. This module must not know how a request is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.ib import notices
from ibbridge.ib.notices import BAD_MESSAGE, BUST, COMPETING, DEPTH_HALTED, LIVE_UPDATES_FAILED
from ibbridge.protocol.answer_topics import OF_ACCOUNTS
from ibbridge.requests.reissue_queue import Reissue
from ibbridge.subscriptions.silence_watch import farm_kind
from ibbridge.subscriptions.state import SubscriptionEvent, SubscriptionState
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ibbridge.requests.reissue_queue import ReissueQueue
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.requests.timeouts import RequestTimeouts
    from ibbridge.subscriptions.registry import Subscription, SubscriptionRegistry
    from ibbridge.subscriptions.silence_watch import SilenceWatch
    from ibbridge.subscriptions.stream_gaps import StreamGaps

_DEAD: Mapping[int | None, tuple[str, SubscriptionEvent, bool]] = {
    LIVE_UPDATES_FAILED: ("farm", SubscriptionEvent.FARM_FAILED, False),
    COMPETING: ("silent", SubscriptionEvent.COMPETING, False),
    DEPTH_HALTED: ("ended", SubscriptionEvent.ENDED, True),
    BUST: ("ended", SubscriptionEvent.ENDED, True),
    BAD_MESSAGE: ("unreadable", SubscriptionEvent.ENDED, True),
}
"""Codes by which TWS says that a subscription is or may be dead, or the daemon says that its data is unusable. The
values: the reason of the gap, the event of the subscription, and whether to re-subscribe at once."""


class Resubscriber(ConnectionListener):
    """Re-subscription: keeps the subscriptions at TWS equal to those that clients want."""

    def __init__(
        self,
        registry: SubscriptionRegistry,
        gaps: StreamGaps,
        reissue_queue: ReissueQueue,
        watch: SilenceWatch,
        timeouts: RequestTimeouts,
    ) -> None:
        self._registry = registry
        self._gaps = gaps
        self._reissue_queue = reissue_queue
        self._watch = watch
        self._timeouts = timeouts
        self._servers = watch.servers

    # -- connections

    def connection_ready(self) -> None:
        """Queue all wanted subscriptions for a new connection."""
        self._reissue_queue.put_all([Reissue(subscription.active) for subscription in self._registry.live()])

    def connection_lost(self) -> None:
        """Publish `gap` on every subscription."""
        self._gaps.publish_all("connection")

    # -- what IB says

    def on_notice(self, code: int | None, farm: str = "") -> None:
        """Apply one of IB's codes about its own servers. `farm` names the data farm whose state the code changes."""
        was_lost = self._servers.apply_upstream(code)
        if code == notices.LOST_DATA:
            self._data_lost()
        elif code == notices.KEPT_DATA:
            self._kept_data(was_lost=was_lost)
        elif code in notices.DEFINITIONS:
            self._servers.definitions = notices.DEFINITIONS[code]
            self._ask_refused()
        elif code in notices.FARM_KINDS and farm:
            self._farm(code, farm)

    def _farm(self, code: int, farm: str) -> None:
        was_down, kind = self._servers.apply_farm(code, farm), notices.FARM_KINDS[code]
        if notices.FARMS[code] == "down":
            return
        of_kind = [each for each in self._watch.watched() if farm_kind(each.active.request) == kind]
        all_up = self._servers.farms_are_up(kind)
        if kind == "history" and all_up:
            self._renew(
                subscription
                for subscription in of_kind
                if subscription.state is SubscriptionState.FARM_DOWN or (was_down and not subscription.active.begun)
            )
            self._reissue_queue.take()
        if was_down and all_up:
            self._watch.resumed(of_kind)

    def _data_lost(self) -> None:
        """Re-subscribe everything after 1101: IB has lost all subscriptions.

        Each subscription is cancelled first, so that one that IB still has does not exist twice.
        """
        self._gaps.publish_all("data")
        live = self._registry.live()
        self._reissue_queue.put_all([Reissue(subscription.active, cancel_first=True) for subscription in live])
        self._reissue_queue.take()

    def _kept_data(self, *, was_lost: bool) -> None:
        """Resume after 1102: TWS has kept all subscriptions.

        If TWS was disconnected from IB before, it may have lost requests that were sent meanwhile. These are sent
        again, and so are subscriptions whose silence proves nothing.
        """
        live = self._registry.live()
        if was_lost:
            self._renew(each for each in live if each.asked is None and not each.active.begun)
        self._renew(subscription for subscription in live if _beyond_watching(subscription))
        self._ask_refused()
        self._watch.resumed()

    def _renew(self, subscriptions: Iterable[Subscription]) -> None:
        """Queue subscriptions to be cancelled and requested again."""
        self._reissue_queue.put([Reissue(subscription.active, cancel_first=True) for subscription in subscriptions])

    def _ask_refused(self) -> None:
        """Re-subscribe those that TWS refused while IB's servers were away, once the servers are back."""
        if self._servers.up and self._servers.definitions:
            live = self._registry.live()
            self._reissue_queue.put(
                [Reissue(subscription.active) for subscription in live if subscription.state is SubscriptionState.AWAY]
            )
        self._reissue_queue.take()

    # -- errors about requests

    def refused_for_now(self, active: ActiveRequest, code: int | None, text: str) -> bool:
        """Return True if an error refuses a request for a reason that passes: the request is then sent again."""
        return self._while_away(active, code) or self._timeouts.too_much(active, code, text)

    def _while_away(self, active: ActiveRequest, code: int | None) -> bool:
        """Keep a subscription that TWS has refused while IB's servers are away, and re-subscribe later.

        TWS cannot know contracts then, so its refusal may be false. Return False if this is no such refusal.
        """
        subscription = self._registry.find(active)
        servers = self._servers
        if subscription is None or code not in notices.PERHAPS_FALSE or (servers.up and servers.definitions):
            return False
        self._gaps.publish(subscription, "silent")
        subscription.died(SubscriptionEvent.REFUSED_AWAY, self._gaps.last(subscription))
        return True

    def troubled(self, active: ActiveRequest, code: int | None, ts: int) -> None:
        """Mark a subscription as dead after an error that says so, and re-subscribe at once where that helps."""
        subscription = self._registry.find(active)
        if subscription is None or code not in _DEAD:
            return
        reason, event, at_once = _DEAD[code]
        self._gaps.publish(subscription, reason, ts)
        subscription.died(event, self._gaps.last(subscription))
        if at_once and not subscription.tries:  # later tries are left to the stall detector: TWS may refuse each one
            subscription.tries = 1
            self._renew([subscription])
            self._reissue_queue.take()


def _beyond_watching(subscription: Subscription) -> bool:
    """Return True if a subscription is served by IB, and its silence proves nothing: scanners, news."""
    return not subscription.instrument and subscription.active.request.name not in OF_ACCOUNTS
