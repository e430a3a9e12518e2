"""Queue of requests to send again, the most urgent first, as fast as TWS accepts messages.

Pure. This module knows how to send (`issuer`, `singleton_streams`). It must not know why a request is sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ibbridge.ib.notices import NOT_CONNECTED
from ibbridge.protocol.answer_topics import OF_ACCOUNTS
from ibbridge.protocol.errors import CommandRefused
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.requests.issuer import RequestIssuer
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.requests.tracker import RequestTracker


class WithoutId(Protocol):
    """A subscription without a request id."""

    request: Request


class WithoutIds(Protocol):
    """Wanted subscriptions without a request id: `subscriptions.singleton_streams`, as far as it is needed here."""

    def to_reissue(self) -> Iterable[tuple[WithoutId, dict[str, Any]]]:
        """Return the wanted subscriptions, with their arguments, which will all be sent again."""

    def reissue(self, singleton: Any, args: Mapping[str, Any]) -> None:
        """Send one of them again."""

    def refused(self, singleton: Any, args: Mapping[str, Any]) -> list[ActiveRequest]:
        """Return the requests of its clients, because it was refused for good."""


class Renewable(Protocol):
    """A subscription with a request id."""

    def renewed(self, seq: int) -> None:
        """Note that it was sent again, and the last sequence number of its stream then."""


class WithIds(Protocol):
    """Wanted subscriptions with a request id: `subscriptions.registry`, as far as it is needed here."""

    def find(self, active: ActiveRequest) -> Renewable | None:
        """Return the subscription of a request, if the request is one."""


class Reissue(NamedTuple):
    """A request to send: one with a request id (`active`), or a subscription without one (`singleton`).

    A `cancel_first` request is cancelled first.
    """

    active: ActiveRequest | None
    cancel_first: bool = False
    singleton: WithoutId | None = None
    args: Mapping[str, Any] = {}


class ReissueQueue(ConnectionListener):
    """Queue of requests to send again, in order of urgency. The clients of requests refused for good are told why."""

    def __init__(
        self,
        issuer: RequestIssuer,
        tracker: RequestTracker,
        notifications: RequestNotifications,
        subscriptions: WithIds,
        singletons: WithoutIds,
    ) -> None:
        self._notifications = notifications
        self._issuer = issuer
        self._tracker = tracker
        self._subscriptions = subscriptions
        self._singletons = singletons
        self._queue: list[Reissue] = []  # first things last

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def is_open(self) -> bool:
        """True while there is a connection on which to send."""
        return self._issuer.is_open

    def __contains__(self, active: ActiveRequest) -> bool:
        return any(reissue.active is active for reissue in self._queue)

    def requests(self) -> list[ActiveRequest]:
        """Return the queued requests that carry a request id, the least urgent first."""
        return [reissue.active for reissue in self._queue if reissue.active]

    def connection_started(self) -> None:
        """Empty the queue: its requests are those of the old connection."""
        self.clear()

    def connection_ready(self) -> None:
        """Send what is wanted on a new connection. TWS may speak an older version, and refuse some of it."""
        self.take()

    def tick(self, _: float) -> None:
        """Send queued requests that TWS did not take before."""
        if self.is_open:
            self.take()

    def clear(self) -> None:
        """Empty the queue: there is no connection to send on."""
        self._queue.clear()

    def put(self, reissues: list[Reissue]) -> None:
        """Queue these requests by urgency, leaving out those that are queued already."""
        there = set(self.requests())
        kept = [reissue for reissue in self._queue if reissue.active or not any(other.singleton for other in reissues)]
        added = [reissue for reissue in reissues if reissue.active is None or reissue.active not in there]
        both = [*reversed(kept), *added]
        self._queue = sorted(both, key=_urgency)[::-1]

    def put_all(self, reissues: list[Reissue]) -> None:
        """Queue these requests and all wanted subscriptions without a request id."""
        singletons = self._singletons.to_reissue()
        self.put([*reissues, *(Reissue(None, singleton=singleton, args=args) for singleton, args in singletons)])

    def take(self) -> None:
        """Send queued requests as long as TWS accepts them, and tell the clients of those refused for good."""
        refused: list[tuple[ActiveRequest, str]] = []
        while self._queue:
            reissue = self._queue[-1]
            try:
                self._ask(reissue)
            except CommandRefused as error:
                if error.outcome != "refused":
                    break
                refused += [(active, str(error)) for active in self._refused(reissue)]
            self._queue.pop()
        for active, why in refused:
            self._notifications.notify_error(active, NOT_CONNECTED, why)

    def _ask(self, reissue: Reissue) -> None:
        if reissue.singleton is not None:
            self._singletons.reissue(reissue.singleton, reissue.args)
            return
        active = reissue.active
        if active is None or active.ended:
            return
        if reissue.cancel_first:
            self._issuer.cancel(active)
            self._queue[-1] = reissue._replace(cancel_first=False)
        self._issuer.reissue(active)
        if subscription := self._subscriptions.find(active):
            subscription.renewed(self._tracker.last(active))

    def _refused(self, reissue: Reissue) -> list[ActiveRequest]:
        if reissue.active is not None:
            self._tracker.end(reissue.active)
            return [reissue.active]
        return self._singletons.refused(reissue.singleton, reissue.args) if reissue.singleton else []


def _urgency(reissue: Reissue) -> tuple[bool, int, bool]:
    """Return the sort key: accounts first, one-shots before subscriptions, history last."""
    request = reissue.singleton.request if reissue.singleton else reissue.active.request  # type: ignore[union-attr]
    streams = reissue.active is None or not reissue.active.one_shot
    return request.name not in OF_ACCOUNTS, request.pace.value, streams
