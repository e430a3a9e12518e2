"""Queue of subscriptions that wait for a line: the oldest is requested as soon as there is one.

Pure. This module must not know how many lines there are (`lines`), or how a request is sent (`reissue_queue`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.requests.reissue_queue import Reissue
from ibbridge.subscriptions.lines import kinds_of
from ibbridge.subscriptions.state import SubscriptionEvent
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from ibbridge.protocol.errors import CommandRefused
    from ibbridge.requests.reissue_queue import ReissueQueue
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.requests.service import RequestService
    from ibbridge.subscriptions.registry import SubscriptionRegistry


def refusal(
    registry: SubscriptionRegistry, requests: RequestService, active: ActiveRequest, client: str
) -> CommandRefused | None:
    """Return the refusal of a subscription for which there is no line; None if there is one.

    Subscriptions that nobody holds any more are cancelled for it.
    """
    while (refused := registry.lines.refusal(active, client)) is not None:
        kinds = {*kinds_of(active)}
        unheld = (each.active for each in registry.all() if not each.active.subscribers)
        if (oldest := next((each for each in unheld if kinds & {*kinds_of(each)}), None)) is None:
            return refused
        requests.stop(oldest)
    return None


class LineQueue(ConnectionListener):
    """Queue of waiting subscriptions, in the registry."""

    def __init__(self, registry: SubscriptionRegistry, requests: RequestService, reissue_queue: ReissueQueue) -> None:
        self._registry = registry
        self._requests = requests
        self._reissue_queue = reissue_queue

    def tick(self, _: float) -> None:
        """Request waiting subscriptions for which there is a line, while there is a connection."""
        if not self._reissue_queue.is_open:
            return
        for subscription in self._registry.waiting():
            active = subscription.active
            if refusal(self._registry, self._requests, active, active.client) is None:
                subscription.step(SubscriptionEvent.SENT)
                self._registry.lines.opened(active)  # counted now, because others wait behind it
                self._reissue_queue.put([Reissue(active)])
        self._reissue_queue.take()
