"""Messages about the connection to TWS, and the parts that are told of the connection.

A message about the connection is handled here before it is published. This module must not know sockets.
"""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING, Any

from ibbridge.ib import notices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ibbridge.clock import Clock
    from ibbridge.monitoring.connection_status import ConnectionStatus
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.streams.publisher import Publisher
    from ibbridge.subscriptions.resubscription import Resubscriber
    from ibbridge.tws.connection_listener import ConnectionListener
    from ibbridge.tws.send_queue import SendQueue
    from ibbridge.tws.sender import RequestSender
    from ibbridge.tws.supervisor import Supervisor

log = logging.getLogger(__name__)

LEFT_OUT = 1000
"""Order ids that are left out if other programs may have used some of them."""


class NoticeHandler:
    """Handler of IB's notices: they change the session, the pacing and the subscriptions."""

    def __init__(
        self,
        supervisor: Supervisor,
        send_queue: SendQueue,
        resubscriber: Resubscriber,
        publisher: Publisher,
        clock: Clock,
    ) -> None:
        self._supervisor = supervisor
        self._send_queue = send_queue
        self._resubscriber = resubscriber
        self._publisher = publisher
        self._clock = clock

    def apply(self, data: dict[str, Any], ts: int) -> None:
        """Apply an error or notice of TWS, and publish the farm whose state it changes."""
        code, text = data["errorCode"], data["errorString"]
        if code in notices.ABOUT_PACING:
            if done := self._send_queue.complained(code, text, self._clock.monotonic()):
                log.warning("TWS reports too many messages (%s: %s): %s", code, text, done)
        elif code in notices.ABOUT_SERVERS:
            self._apply(code, text, ts)

    def _apply(self, code: int, text: str, ts: int) -> None:
        farm = ""
        if changed := self._supervisor.on_notice(code, text, self._clock.monotonic()):
            farm, state = changed
            channel = self._publisher.channel("sys", "tws", "farm")
            self._publisher.publish_map(channel, {"farm": farm, "state": state}, ts, farm)
        self._resubscriber.on_notice(code, farm)


class ConnectionTracker:
    """Tracker of the connection: its messages change the session, and its events reach the listeners."""

    def __init__(
        self,
        sender: RequestSender,
        orders: OrderRegistry,
        notices: NoticeHandler,
        status: ConnectionStatus,
        listeners: Sequence[ConnectionListener],
    ) -> None:
        self._sender = sender
        self._session = status.session
        self._orders = orders
        self._status = status
        self._listeners = listeners
        self._numbered = False  # TWS has named the next order id on this connection
        self.handlers: Mapping[str, Callable[[dict[str, Any], int], None]] = {
            "serverVersion": self._started,
            "nextValidId": self._next_id,
            "managedAccounts": self._accounts,
            "openOrder": self._open_order,
            "orderBound": self._order_bound,
            "error": notices.apply,
        }
        """Handlers of messages about the connection, by type, with the data and the time of a message."""

    def _started(self, _: dict[str, Any], __: int) -> None:
        self._numbered = False
        for listener in self._listeners:
            listener.connection_started()

    def _next_id(self, data: dict[str, Any], _: int) -> None:
        """Take no order id that TWS may have given to another program while the daemon was not connected.

        TWS names the id above the highest one it knows of this client id. If that is not the daemon's, other programs
        have had the client id, or the counter was reset, and then some orders of theirs may have higher ids.
        """
        number, ids = data["orderId"], self._sender.ids
        if number is None:
            return
        expected, highest = self._numbered or self._orders.highest is None, self._orders.highest
        self._numbered = True
        ids.raise_to(number - 1)
        if not expected and number - 1 != highest:
            ids.raise_to(max(number - 1, highest or 0) + LEFT_OUT)

    def _accounts(self, data: dict[str, Any], _: int) -> None:
        self._session.named(data["accountsList"])

    def _open_order(self, data: dict[str, Any], _: int) -> None:
        if self._orders.ours(data["order"].get("clientId", 0)):
            self._sender.ids.raise_to(data["orderId"])

    def _order_bound(self, data: dict[str, Any], _: int) -> None:
        if self._orders.ours(data["clientId"] or 0):
            self._sender.ids.raise_to(data["orderId"])

    def stage_changed(self) -> None:
        """Publish another stage of the connection, or the beginning or end of a competing session."""
        if not self._session.competing:
            for listener in self._listeners:
                listener.uncontested()
        self._status.stage_changed()

    def ready(self) -> None:
        """Tell the listeners that the connection takes requests."""
        for listener in self._listeners:
            listener.connection_ready()

    def lost(self) -> None:
        """Tell the listeners that the connection is lost."""
        gc.unfreeze()  # let the garbage collector examine the objects of that connection once more (`daemon.settle`)
        for listener in self._listeners:
            listener.connection_lost()
