"""Errors of TWS: the request or order that each concerns and may end, and requests with an unreadable response.

Pure. This module knows requests, orders and the meaning of IB's codes. It must not know how a request is sent again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ibbridge import ib
from ibbridge.codec.messages import MESSAGES
from ibbridge.ib.notices import AGAIN, BAD_MESSAGE, UNTIED
from ibbridge.streams.market_depth import RESET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.streams.publisher import Publisher
    from ibbridge.streams.sequencer import Channel
    from ibbridge.subscriptions.resubscription import Resubscriber


log = logging.getLogger(__name__)


class ErrorRouter:
    """Publishes errors of TWS where they belong, and ends what they end."""

    def __init__(
        self,
        publisher: Publisher,
        tracker: RequestTracker,
        notifications: RequestNotifications,
        orders: OrderRegistry,
        resubscriber: Resubscriber,
    ) -> None:
        self._publisher = publisher
        self._tracker = tracker
        self._notifications = notifications
        self._orders = orders
        self._resubscriber = resubscriber

    def publish(self, data: dict[str, Any], ts: int) -> None:
        """Publish an error to the request or the order with its id, and end the request if the error does.

        An id never names both a request and an order. A subscription that may be over or not is kept. If a live
        subscription were taken for dead, its state would be lost, and its cancel would not reach TWS. If a dead one is
        taken for alive, the cost is a needless cancel. An order is marked as over only by an error that refuses,
        rejects or cancels it for sure; otherwise its status decides.
        """
        number, code, text = data["reqId"], data["errorCode"], data["errorString"]
        error = ib.about(code, text)
        if error.ends is not False or error.error_class == "order":
            log.info("TWS reports %s for id %s: %s", code, number, text)
        ends = error.ends
        channels: list[Channel] = []
        active = self._request(number, error)
        if active is not None:
            ends = self._end(active, error, code, text)
            channels = self._notifications.error_channels(active)
        elif concerned := self._orders.take_error(data, error, ts):
            whose, ends = concerned
            channels = [self._publisher.transient_channel("ord", *whose[:2], "error", ref=whose.ref)]
        for channel in channels or [self._publisher.channel("sys", "tws", "error")]:
            about = {"class": error.error_class, "ends": ends, "source": "tws"}
            self._publisher.publish_map(channel, {**data, **about}, ts)
        self._orders.states.publish(ts)
        if active is not None and not active.ended:
            self._resubscriber.troubled(active, code, ts)

    def _request(self, number: int | None, error: ib.ErrorCode) -> ActiveRequest | None:
        """Return the request that an error is about.

        TWS may bind an order that was made by hand to a number that the daemon has given to a request.
        """
        bound = error.error_class == "order" and self._orders.foreign.under(number) is not None
        return None if number in UNTIED or bound else self._tracker.find(number)

    def _end(self, active: ActiveRequest, error: ib.ErrorCode, code: int, text: str) -> bool | None:
        """Apply an error to a request. Return whether the request is over; None if the error does not say."""
        ends = error.ends_one_shot if active.one_shot else error.ends
        ends = None if ends and active.has_followup else ends
        ends = False if not active.ended and code in AGAIN and not active.one_shot else ends
        for listener in active.listeners:
            listener.failed(active, code)
        if not active.ended and self._resubscriber.refused_for_now(active, code, text):
            ends = False
        if ends and not active.ended:
            self._tracker.end(active)
        if code == RESET:
            _clear_books(active)
        return ends

    def unreadable(
        self, active: ActiveRequest, name: str, known: Mapping[str, Any], text: str, ts: int, *, admitted: bool
    ) -> None:
        """Tell the client of a request that a message for it cannot be read, with a text that says why.

        A client whose request ends is always told, another client only if the message is `admitted`.
        """
        was_over = active.ended and active.request.key is not None
        if was_over:  # its client has been told why
            return
        if name in active.request.answers:
            self._spoil(active, name, known, ts)
        if active.on_response is None and (admitted or active.ended):
            self._notifications.notify_error(active, BAD_MESSAGE, text)

    def _spoil(self, active: ActiveRequest, name: str, known: Mapping[str, Any], ts: int) -> None:
        """End a one-shot that has an unreadable response, because its responses can never be complete.

        A subscription goes on. A subscription to market depth is requested again, because its book is wrong.
        """
        if active.ended:
            return
        if not active.one_shot:
            active.respond()
            if MESSAGES[name].book:
                self._resubscriber.troubled(active, BAD_MESSAGE, ts)
            return
        last = MESSAGES[name].last
        if name in active.request.ends and (last is None or known.get(last, True)):
            self._tracker.answer(active)
        else:
            self._tracker.end(active)


def _clear_books(active: ActiveRequest) -> None:
    for channel in active.channels:
        if channel.book:
            channel.book.clear()
