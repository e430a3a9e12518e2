"""The cancel of all orders, `reqGlobalCancel`: one message to TWS for all clients that ask for it at a time.

Pure. This module must not know how a single order is placed or cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.schema import Pace
from ibbridge.ib.notices import NOT_CONNECTED
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.orders.placement import OrderPlacement
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.request import ActiveRequest, CommandId
    from ibbridge.requests.request_factory import RequestFactory
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import RequestSender

MOST_JOINED = 100
"""Most further commands that share one message to TWS."""


class GlobalCancel:
    """The cancels of all orders that are queued, each with the requests that receive the errors about it."""

    def __init__(
        self,
        sender: RequestSender,
        placement: OrderPlacement,
        notifications: RequestNotifications,
        request_factory: RequestFactory,
    ) -> None:
        self._sender = sender
        self._placement = placement
        self._notifications = notifications
        self._request_factory = request_factory
        self._requesters: dict[OutboundMessage, list[ActiveRequest]] = {}

    def execute(self, request: Request, args: dict[str, Any], command_id: CommandId) -> dict[str, Any]:
        """Withdraw all queued orders, which the cancel overtakes and means too, and queue the cancel.

        Return the `result` of the reply, which says `dup` if the same cancel of this client is queued already. Raise
        `CommandRefused` if the cancel cannot be queued.
        """
        active = self._request_factory.make(request, args, command_id)
        self._placement.withdraw_all("all orders were cancelled before it could be sent")
        if requesters := self._joinable(args, active):
            requesters.append(active)
            return {"dup": True}
        message = self._sender.message(
            active.request, args, client=active.client, on_send=self._leaves, on_drop=self._dropped
        )
        message.about = {"does": "cancel all"}
        self._requesters[message] = [active]
        try:
            self._sender.send(message)
        except CommandRefused:
            del self._requesters[message]
            raise
        return {}

    def _joinable(self, args: Mapping[str, Any], active: ActiveRequest) -> list[ActiveRequest]:
        for message in self._sender.waiting(Pace.CANCEL):
            requesters = self._requesters.get(message, [])
            if message.args == args and message.client == active.client and 0 < len(requesters) <= MOST_JOINED:
                return requesters
        return []

    def _leaves(self, message: OutboundMessage) -> bool:
        del self._requesters[message]
        self._placement.cancelled_by(message.client)
        return True

    def _dropped(self, message: OutboundMessage) -> None:
        """Tell the clients that the cancel of all orders never left, because the connection is gone."""
        why = "the connection to TWS was lost before the cancel of all orders could be sent; cancel them again"
        for active in self._requesters.pop(message):
            active.end()
            self._notifications.notify_error(active, NOT_CONNECTED, why)
